/** The selection of a chart in the address of the page. Pure functions. */

import type { Span } from './span.js'

export const ranges = new Map([
  ['5m', 300_000],
  ['15m', 900_000],
  ['1h', 3_600_000],
  ['6h', 21_600_000],
  ['24h', 86_400_000],
  ['7d', 604_800_000],
  ['30d', 2_592_000_000],
])

/** Most series of a chart: more cannot be told apart, and a feed has few more. */
export const mostSeries = 8

/** Time by which the course that is compared with is older. */
export const comparisons = { day: 86_400_000, week: 604_800_000 } as const
export type Comparison = keyof typeof comparisons

export interface Selection {
  /** Keys of the series, the first of which names the chart. Never empty. */
  readonly keys: readonly string[]
  /** Name of a range up to now; undefined: that in which there are readings. */
  readonly range?: string | undefined
  /** A fixed span, which counts more than a range. */
  readonly span?: Span | undefined
  readonly compare?: Comparison | undefined
  /** Keys of the series that are not drawn. */
  readonly off: readonly string[]
}

/** Returns the selection of an address; undefined where there is none. */
export function selectionOf(parameters: URLSearchParams): Selection | undefined {
  const first = parameters.get('series')
  if (!first) return undefined
  const keys = [...new Set([first, ...parameters.getAll('with').filter(Boolean)])].slice(0, mostSeries)
  const range = parameters.get('range') ?? ''
  const [from, to] = [Number(parameters.get('from')), Number(parameters.get('to'))]
  const compare = parameters.get('compare')
  const off = parameters.getAll('off').flatMap(place => keys[Number(place) - 1] ?? [])
  return {
    keys,
    ...(ranges.has(range) && { range }),
    ...(from > 0 && to > from && { span: { from, to } }),
    ...(compare && Object.hasOwn(comparisons, compare) && { compare: compare as Comparison }),
    off,
  }
}

/** Returns the address of a selection. `more`: further parameters, which come last. */
export function addressOf({ keys, range, span, compare, off }: Selection, more: Readonly<Record<string, string>> = {}) {
  const [series = '', ...others] = keys
  const parameters = new URLSearchParams({ series })
  for (const key of others) parameters.append('with', key)
  if (range !== undefined) parameters.set('range', range)
  if (span) {
    parameters.set('from', String(Math.round(span.from)))
    parameters.set('to', String(Math.round(span.to)))
  }
  if (compare !== undefined) parameters.set('compare', compare)
  for (const key of off) if (keys.includes(key)) parameters.append('off', String(keys.indexOf(key) + 1))
  for (const [name, value] of Object.entries(more)) parameters.set(name, value)
  return `#${parameters}`
}
