import { duration, type SettingKind } from './kinds.js'

/** Readings as stored, and their roll-ups over a minute, an hour and a day: each has a time to be kept for. */
export const tiers = ['raw', '1m', '1h', '1d'] as const
export type Tier = (typeof tiers)[number]

/** Milliseconds that each kind is kept; `Infinity`: for ever. What is not named is as elsewhere. */
export type KeepTimes = Readonly<Partial<Record<Tier, number>>>

/** Readings go by whole days (UTC), so that no hour or day of the roll-ups has lost a part of the readings that make the value. */
const leastMs = 864e5
const yearMs = 365 * 864e5

/** Times that are allowed, for people. */
export const keepAllowed = 'times such as {raw: 90d, 1m: 2y, 1h: forever}, of at least 1d, for raw, 1m, 1h and 1d'

/** Parses one time: `90d`, `2y` of 365 days, or `forever`. Returns milliseconds; undefined for any other text. */
export function keepTime(given: unknown): number | undefined {
  const text = String(given).trim()
  if (text === 'forever') return Number.POSITIVE_INFINITY
  const years = /^(\d+(?:\.\d+)?)\s*y$/.exec(text)
  const ms = years ? Number(years[1]) * yearMs : duration.parse(text)
  return ms !== undefined && ms >= leastMs ? ms : undefined
}

/** Parses a map of times, or the text of one: `raw=90d,1m=2y`. Returns undefined when a part is not allowed. */
export function keepTimes(given: unknown): KeepTimes | undefined {
  const pairs = pairsOf(given)
  const times: Partial<Record<Tier, number>> = {}
  for (const [name, value] of pairs ?? []) {
    const tier = tiers.find(one => one === name)
    const ms = keepTime(value)
    if (!tier || ms === undefined || times[tier] !== undefined) return undefined
    times[tier] = ms
  }
  return pairs && times
}

function pairsOf(given: unknown): (readonly [string, unknown])[] | undefined {
  if (typeof given === 'object' && given !== null) return Array.isArray(given) ? undefined : Object.entries(given)
  if (typeof given !== 'string') return undefined
  const text = given.trim().replace(/^\{(.*)\}$/s, '$1')
  return text === ''
    ? []
    : text.split(',').map(one => {
        const [name = '', ...value] = one.split(/[=:]/)
        return [name.trim(), value.join(':')] as const
      })
}

/** Returns the text of times, in the order of the tiers: `raw=90d,1h=forever`. Equal times have equal texts. */
export function showKeep(times: KeepTimes): string {
  return tiers.flatMap(tier => (times[tier] === undefined ? [] : [`${tier}=${showKeepTime(times[tier])}`])).join(',')
}

function showKeepTime(ms: number): string {
  if (ms === Number.POSITIVE_INFINITY) return 'forever'
  if (ms % yearMs === 0) return `${ms / yearMs}y`
  return ms % 864e5 === 0 ? `${ms / 864e5}d` : `${ms / 36e5}h`
}

/** The setting `store.keep`. A roll-up is what is left of the finer ones, and is never kept for a shorter time. */
export const keepKind: SettingKind<KeepTimes> = {
  allowed: `${keepAllowed}; a roll-up at least as long as what is finer, and what is not named forever`,
  parse: given => {
    const times = keepTimes(given)
    return times && isOrdered(times) ? times : undefined
  },
}

function isOrdered(times: KeepTimes): boolean {
  const all = tiers.map(tier => times[tier] ?? Number.POSITIVE_INFINITY)
  return all.every((ms, i) => i === 0 || ms >= (all[i - 1] as number))
}

/** Returns times in which no roll-up goes before what is finer. */
export function ordered(times: KeepTimes): KeepTimes {
  let least = 0
  const found: Partial<Record<Tier, number>> = {}
  for (const tier of tiers) {
    least = Math.max(least, times[tier] ?? Number.POSITIVE_INFINITY)
    if (least < Number.POSITIVE_INFINITY || times[tier] !== undefined) found[tier] = least
  }
  return found
}
