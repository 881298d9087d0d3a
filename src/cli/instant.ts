import { usage } from './command.js'

/** The form of a time on the command line, for the help of the flags that take one. */
export const instantHelp = 'TIME is 2026-01-31T12:00:00Z, or 90m, 2h or 3d ago.'

const units: Readonly<Record<string, number>> = { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }

/** Parses a time into milliseconds since the epoch. Undefined when the flag is not given. */
export function instant(flag: string, given: string | undefined, now: number): number | undefined {
  if (given === undefined) return undefined
  const ago = /^(\d+(?:\.\d+)?)([smhd])$/.exec(given)
  // JavaScript takes other formats as local time, or as a time that was not meant.
  const isDate = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(given)
  const at = ago ? now - Number(ago[1]) * (units[ago[2] as string] as number) : isDate ? Date.parse(given) : Number.NaN
  if (Number.isNaN(at)) {
    throw usage(`--${flag}: given ${given}, allowed is a time such as 2026-01-31T12:00:00Z, or 90m, 2h, 3d ago`)
  }
  return at
}

export function age(ms: number): string {
  const unit = (['d', 'h', 'm'] as const).find(name => ms >= (units[name] as number))
  return unit ? `${(ms / (units[unit] as number)).toFixed(1)} ${unit}` : `${Math.max(0, Math.round(ms / 1e3))} s`
}
