/** The faults of real fleets. Each is off unless asked for; the seed decides what goes wrong when. */

export const faultNames = ['duplicate', 'malformed', 'skew', 'storm'] as const
export type FaultName = (typeof faultNames)[number]
export type Faults = ReadonlySet<FaultName>

export const noFaults: Faults = new Set()

/** Interval, with `storm`, at which all devices drop their connections at once and come back together. */
export const stormEveryMs = 30_000

/** Returns the error of the clock of the device with this seed, in milliseconds; every fifth clock is at 1970. */
export function clockSkew(faults: Faults, seed: number, now: number): number {
  if (!faults.has('skew')) return 0
  if (seed % 5 === 0) return -now
  return (((seed * 7_919) % 241) - 120) * 60_000
}

/**
 * Returns the texts to send for the `n`th payload of a device: with `duplicate` every twentieth twice, with `malformed`
 * every fiftieth cut short, as by a full buffer.
 */
export function withFaults(faults: Faults, seed: number, n: number, payload: string): readonly string[] {
  const text = faults.has('malformed') && (n + seed) % 50 === 0 ? payload.slice(0, payload.length >> 1) : payload
  return faults.has('duplicate') && (n + seed) % 20 === 0 ? [text, text] : [text]
}
