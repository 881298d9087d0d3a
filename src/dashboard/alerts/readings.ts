/** Readings of the past for a chart of a rule. */

import { hub } from '../hub.js'
import { comparedWith, type Definition, keyOfSeries, seriesName } from './definition.js'
import type { ChartData } from './rule-chart.js'

const points = 600
/** Most states that are told apart on a chart. */
const mostWords = 12

interface Asked {
  readonly series: string
  readonly type: 'number' | 'boolean' | 'text'
  readonly from: number
  readonly to: number
  readonly minus?: Definition['minus']
}

/** Resolves with what a chart draws: numbers with their extremes, differences of two series, or states as steps. */
export async function readingsOf({ series, type, from, to, minus }: Asked): Promise<ChartData> {
  const span = { from: Math.floor(from), to: Math.ceil(to), points }
  const own = seriesName(series)
  if (minus !== undefined && own) {
    const fn = 'last'
    const [a, b] = await Promise.all([
      hub.history(series, { ...span, fn }),
      hub.history(keyOfSeries(comparedWith(own, minus)), { ...span, fn }),
    ])
    return { from, to, ...differences(a, b) }
  }
  if (type !== 'number') {
    const { times, values } = await hub.history(series, { ...span, fn: 'last' })
    const all = values.map(String)
    const words = type === 'boolean' ? ['false', 'true'] : [...new Set(all)].slice(0, mostWords)
    const numbers = all.map(one => (words.includes(one) ? words.indexOf(one) : null))
    const last = numbers.at(-1)
    // A state holds until the next reading.
    return last === undefined
      ? { from, to, times, values: numbers, words }
      : { from, to, times: [...times, to], values: [...numbers, last], words }
  }
  const { times, values } = await hub.history(series, { ...span, fn: 'mean' })
  const numbers = values.map(numberOf)
  if (times.length < points / 2) return { from, to, times, values: numbers }
  const [lows, highs] = await Promise.all(
    (['min', 'max'] as const).map(async fn => (await hub.history(series, { ...span, fn })).values.map(numberOf)),
  )
  const fits = lows?.length === times.length && highs?.length === times.length
  return { from, to, times, values: numbers, ...(fits && { lows: lows ?? [], highs: highs ?? [] }) }
}

function numberOf(value: unknown): number | null {
  if (typeof value === 'boolean') return Number(value)
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}

interface Columns {
  readonly times: readonly number[]
  readonly values: readonly unknown[]
}

/** Returns the differences at the times of the first series, to the newest value of the other. */
function differences(a: Columns, b: Columns): { times: number[]; values: (number | null)[] } {
  let at = -1
  const values = a.times.map((time, i) => {
    while ((b.times[at + 1] ?? Number.POSITIVE_INFINITY) <= time) at++
    const [one, other] = [numberOf(a.values[i]), at < 0 ? null : numberOf(b.values[at])]
    return one === null || other === null ? null : one - other
  })
  return { times: [...a.times], values }
}
