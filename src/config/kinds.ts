import { isIP } from 'node:net'

/** Kind of a setting: how a given value is parsed, and what a message names as allowed. */
export interface SettingKind<T> {
  readonly allowed: string
  /** @returns undefined when `given` is not allowed */
  parse(given: unknown): T | undefined
  /** Whether values are shown to nobody. */
  readonly isSecret?: boolean
  /** Returns what is wrong in which element of a list. Without, the whole value is shown. */
  mistakes?(given: unknown): readonly (readonly [index: number, mistake: string])[]
}

/** A setting of the table: how a value is read, the value without any, and what it does. */
export interface SettingRow<T> {
  readonly kind: SettingKind<T>
  readonly default: T
  readonly help: string
}

export const row = <T>(kind: SettingKind<T>, fallback: T, help: string): SettingRow<T> => ({
  kind,
  default: fallback,
  help,
})

export const text = (allowed = 'a text', test = /^[^\0]*$/): SettingKind<string> => ({
  allowed,
  parse: given => (typeof given === 'string' && test.test(given) ? given : undefined),
})

/** A secret that goes into a header of HTTP. */
export const secret: SettingKind<string> = {
  allowed: 'a text of printable ASCII characters without spaces',
  isSecret: true,
  parse: given => (typeof given === 'string' && /^[!-~]*$/.test(given) ? given : undefined),
}

export const integer = (min: number, max: number): SettingKind<number> => ({
  allowed: `a whole number from ${min} to ${max}`,
  parse: given => {
    const value = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : given
    return Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? (value as number)
      : undefined
  },
})

export const portOrOff: SettingKind<number | 'off'> = {
  allowed: 'off or a port from 0 to 65535',
  parse: given => (given === 'off' ? 'off' : integer(0, 65_535).parse(given)),
}

/** List, or text with commas between. */
export const list = (isOne: (text: string) => boolean, allowed: string): SettingKind<readonly string[]> => ({
  allowed,
  parse: given => {
    const all = typeof given === 'string' ? given.split(',').map(one => one.trim()) : given
    if (!Array.isArray(all)) return undefined
    const named = all.filter(one => one !== '')
    return named.every(one => typeof one === 'string' && isOne(one)) ? named : undefined
  },
})

export function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const version = isIP(address)
  return (
    version > 0 &&
    rest.length === 0 &&
    (bits === undefined || (/^\d+$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128)))
  )
}

export function isOrigin(text: string): boolean {
  return text === '*' || (URL.canParse(text) && new URL(text).origin === text)
}

export const oneOf = <T extends string>(...values: T[]): SettingKind<T> => ({
  allowed: `one of ${values.join(', ')}`,
  parse: given => values.find(value => value === given),
})

export const flag: SettingKind<boolean> = {
  allowed: 'true or false',
  parse: given =>
    given === true || given === 'true' ? true : given === false || given === 'false' ? false : undefined,
}

/** `auto`, or a name of the IANA time zone database. */
export const timeZone: SettingKind<string> = {
  allowed: 'auto, or a time zone such as Europe/Berlin or UTC',
  parse: given => (typeof given === 'string' && (given === 'auto' || isTimeZone(given)) ? given : undefined),
}

export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }) !== undefined
  } catch {
    return false
  }
}

const units: Readonly<Record<string, number>> = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 }

/** Bytes; `10GB`, `512KB` or a plain number. */
export const size = (min: number): SettingKind<number> => ({
  allowed: `a size of at least ${min} bytes such as 64KB, 512MB or 10GB`,
  parse: given => {
    const found = /^(\d+(?:\.\d+)?)\s*([KMGT]?B)?$/i.exec(String(given).trim())
    if (!found) return undefined
    const bytes = Math.round(Number(found[1]) * (units[(found[2] ?? 'B').toUpperCase()] ?? 1))
    return bytes >= min ? bytes : undefined
  },
})

const times: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 }

/** Milliseconds; `500ms`, `10s`, `5m`, `2h`, `30d`. */
export const duration: SettingKind<number> = {
  allowed: 'a time such as 500ms, 10s, 5m, 2h or 30d',
  parse: given => {
    const found = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(String(given).trim())
    return found ? Number(found[1]) * (times[found[2] as string] as number) : undefined
  },
}

export const url = (...protocols: string[]): SettingKind<string> => ({
  allowed: `empty, or a URL that begins with ${protocols.map(p => `${p}//`).join(' or ')}`,
  parse: given => {
    if (given === '') return ''
    if (typeof given !== 'string' || !URL.canParse(given)) return undefined
    const { protocol, hostname } = new URL(given)
    return protocols.includes(protocol) && hostname !== '' ? given : undefined
  },
})

/** Several URLs, as a list, or as a text with commas between. No user name or password may hold a comma before a scheme. */
export const urls = (...protocols: string[]): SettingKind<readonly string[]> => {
  const one = url(...protocols)
  return {
    allowed: `${one.allowed}; several with commas between`,
    parse: given => {
      const all =
        typeof given === 'string' ? given.split(/,(?=\s*[a-z][a-z\d+.-]*:\/\/)/i).map(text => text.trim()) : given
      if (!Array.isArray(all)) return undefined
      const named = all.filter(text => text !== '')
      // A comma in the host is a URL without its scheme.
      const isGood = (text: unknown) => one.parse(text) !== undefined && !new URL(text as string).hostname.includes(',')
      return named.every(isGood) ? named : undefined
    },
  }
}

export function showSize(bytes: number): string {
  const unit = (['GB', 'MB', 'KB'] as const).find(name => bytes >= (units[name] as number)) ?? 'B'
  return `${bytes / (units[unit] as number)}${unit}`
}

export function showTime(ms: number): string {
  const unit = (['d', 'h', 'm', 's'] as const).find(name => ms > 0 && ms % (times[name] as number) === 0)
  return unit ? `${ms / (times[unit] as number)}${unit}` : `${ms / 1e3}s`
}
