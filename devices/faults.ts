/** What real fleets do wrong. Each fault is off unless asked for; what goes wrong when is decided by the seed. */

export const faultNames = ['duplicate', 'malformed', 'skew', 'storm'] as const
export type FaultName = (typeof faultNames)[number]
export type Faults = ReadonlySet<FaultName>

export const noFaults: Faults = new Set()

/** With `storm` every device drops its connection at once, this often, and all come back together. */
export const stormEveryMs = 30_000

/** How far the clock of the device with this seed is off, in milliseconds; every fifth believes it is 1970. */
export function clockSkew(faults: Faults, seed: number, now: number): number {
  if (!faults.has('skew')) return 0
  if (seed % 5 === 0) return -now
  return (((seed * 7_919) % 241) - 120) * 60_000
}

/**
 * What is sent instead of the `n`th payload of a device: with `duplicate` every twentieth twice, with `malformed`
 * every fiftieth cut short, as by a full buffer.
 */
export function withFaults(faults: Faults, seed: number, n: number, payload: string): readonly string[] {
  const text = faults.has('malformed') && (n + seed) % 50 === 0 ? payload.slice(0, payload.length >> 1) : payload
  return faults.has('duplicate') && (n + seed) % 20 === 0 ? [text, text] : [text]
}
