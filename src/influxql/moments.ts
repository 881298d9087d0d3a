/*
 * Times and durations of InfluxQL, in nanoseconds since the epoch, as big integers: a number of JavaScript has no room
 * for them.
 */

const units: Readonly<Record<string, bigint>> = {
  ns: 1n,
  u: 1_000n,
  µ: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
  d: 86_400_000_000_000n,
  w: 604_800_000_000_000n,
}

/** Returns the nanoseconds of a duration such as `1h30m`. */
export function durationOf(text: string): bigint {
  let sum = 0n
  for (const [, count = '0', unit = 'ns'] of text.matchAll(/(\d+)(ns|ms|u|µ|s|m|h|d|w)/g)) {
    sum += BigInt(count) * (units[unit] as bigint)
  }
  return sum
}

const written = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})?)?$/

/** Returns the time of a text in RFC 3339, or as InfluxDB writes times, in UTC. Undefined for other texts. */
export function momentOf(text: string): bigint | undefined {
  const found = written.exec(text)
  if (!found) return undefined
  const [, date, time = '00:00:00', fraction = '', zone = 'Z'] = found
  const seconds = Date.parse(`${date}T${time}${zone}`)
  return Number.isNaN(seconds) ? undefined : BigInt(seconds) * 1_000_000n + BigInt(fraction.padEnd(9, '0'))
}

export const epochs = ['ns', 'n', 'u', 'µ', 'ms', 's', 'm', 'h'] as const
export type Epoch = (typeof epochs)[number]

/** Returns the JSON of a time: whole units since the epoch; without an epoch, RFC 3339 as Go writes such times. */
export function momentJson(nanoseconds: bigint, epoch: Epoch | undefined): string {
  if (epoch !== undefined) return String(nanoseconds / (units[epoch === 'n' ? 'ns' : epoch] as bigint))
  const below = ((nanoseconds % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
  const seconds = new Date(Number((nanoseconds - below) / 1_000_000n)).toISOString().slice(0, -5)
  const fraction = String(below).padStart(9, '0').replace(/0+$/, '')
  return `"${seconds}${fraction && `.${fraction}`}Z"`
}

/** Returns the beginning of the window that a time is in. */
export function windowStart(time: bigint, width: bigint, offset: bigint): bigint {
  const past = (((time - offset) % width) + width) % width
  return time - past
}
