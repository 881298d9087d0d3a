import { type KeepTimes, type Tier, tiers } from '../../config/settings.js'

/** Rows of a tier: those that are there, and those that come in a day. */
export interface TierRate {
  readonly tier: Tier
  /** Rows there are, and days between the oldest and now. */
  readonly rows: number
  readonly days: number
  readonly bytesPerRow: number
  /** Rows in a day, of series with times of their own and of all others. */
  readonly classes: readonly { readonly perDay: number; readonly keep: KeepTimes }[]
}

export interface Forecast {
  /** Bytes of the store in so many days. */
  readonly at: readonly { readonly days: number; readonly bytes: number }[]
  /** Bytes that the store never exceeds. Undefined: the store grows for ever. */
  readonly most: number | undefined
  /** Days until the store has as many bytes as there is room for. Undefined: not within ten years. */
  readonly fullInDays: number | undefined
}

const asked = [30, 365, 5 * 365]
const mostDays = 3_650

/**
 * Computes how large the store becomes, if as much arrives as in the last days, and is kept as given.
 *
 * @param other Bytes of the store that are no readings.
 * @param room Bytes that the store may have: the limit, or the bytes of now and those that are free on the disk.
 */
export function forecast(rates: readonly TierRate[], other: number, room: number): Forecast {
  const bytesIn = (days: number) => other + rates.reduce((sum, rate) => sum + bytesOf(rate, days), 0)
  const grows = rates.some(({ tier, classes }) =>
    classes.some(({ perDay, keep }) => perDay > 0 && !isEnding(keep, tier)),
  )
  let full: number | undefined
  for (let days = 0; days <= mostDays && full === undefined; days++) if (bytesIn(days) >= room) full = days
  return {
    at: asked.map(days => ({ days, bytes: Math.round(bytesIn(days)) })),
    most: grows ? undefined : Math.round(bytesIn(100 * 365)),
    fullInDays: full,
  }
}

/** Returns the bytes of a tier in so many days: what there is shrinks to the days to keep, and new rows come. */
function bytesOf({ tier, rows, days: age, bytesPerRow, classes }: TierRate, days: number): number {
  const perDay = classes.reduce((sum, one) => sum + one.perDay, 0)
  let all = 0
  for (const one of classes) {
    const kept = one.keep[tier] ?? Number.POSITIVE_INFINITY
    const keptDays = kept / 864e5
    // Rows of before are shared out as the new ones are.
    const old = perDay > 0 ? (rows * one.perDay) / perDay : rows / classes.length
    const oldLeft = age <= 0 ? old : old * Math.min(1, Math.max(0, keptDays - days) / age)
    all += oldLeft + one.perDay * Math.min(days, keptDays)
  }
  return (classes.length > 0 ? all : rows) * bytesPerRow
}

function isEnding(keep: KeepTimes, tier: Tier): boolean {
  return (keep[tier] ?? Number.POSITIVE_INFINITY) < Number.POSITIVE_INFINITY
}

/** Returns times of which one tier after the other is replaced by those given. */
export function withTimes(usual: KeepTimes, given: KeepTimes): KeepTimes {
  return Object.fromEntries(
    tiers.flatMap(tier => {
      const ms = given[tier] ?? usual[tier]
      return ms === undefined ? [] : [[tier, ms]]
    }),
  )
}
