/** How little of a value is news: what a sensor wobbles by must not look like a storm. Pure functions. */

/** The usual noise of a quantity by unit, as the least height of an axis. No name is looked at. */
const usual: Readonly<Record<string, number>> = {
  ...{ '°C': 1, K: 1, '°F': 2, '%': 2, '%RH': 2 },
  ...{ hPa: 2, mbar: 2, kPa: 0.2, Pa: 200, bar: 0.1 },
  ...{ V: 4, mV: 40, A: 0.2, mA: 20, W: 10, kW: 0.1, VA: 10, kWh: 0.1, Wh: 10, Hz: 0.1 },
  ...{ ppm: 40, ppb: 20, 'µg/m³': 4, 'μg/m³': 4, lx: 10, dB: 4, dBm: 6 },
}

/** Steps of its own resolution that a value may go up and down without filling an axis. */
const steps = 10
/** Part of a value of an unknown unit that fills an axis at least. */
const part = 0.005

/** Known facts about the values of an axis. */
export interface Wobble {
  readonly unit: string
  /** Digits behind the point that the values have. */
  readonly decimals: number
}

/** Returns the least height of an axis for values between two limits. */
export function leastHeight(low: number, high: number, { unit, decimals }: Wobble): number {
  const known = Object.hasOwn(usual, unit) ? usual[unit] : undefined
  const resolution = 10 ** -Math.max(0, decimals)
  const size = Math.max(Math.abs(low), Math.abs(high))
  // A value smaller than one has a resolution of its own, and a whole number may be a count.
  return Math.max(steps * Math.min(resolution, size || resolution), known ?? size * part) || 1
}

/** Returns limits around the values that are at least so far apart; never below zero for values that never are. */
export function withFloor(low: number, high: number, least: number): readonly [low: number, high: number] {
  if (high - low >= least) return [low, high]
  const middle = (low + high) / 2
  const [from, to] = [middle - least / 2, middle + least / 2]
  return low >= 0 && from < 0 ? [0, least] : [from, to]
}

/** Returns the limits of an axis: a floor for noise, room above and below. */
export function axisRange(low: number | null, high: number | null, wobble: Wobble): [low: number, high: number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1]
  const [from, to] = withFloor(low, high, leastHeight(low, high, wobble))
  const air = (to - from) * 0.12
  return [low >= 0 && from < air ? 0 : from - air, to + air]
}
