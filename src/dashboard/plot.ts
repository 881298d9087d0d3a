import type { Columns, Value } from './api.js'

/** A stretch of time; `to` is not included. */
export interface Span {
  readonly from: number
  readonly to: number
}

/** History of a span from the store. Extremes are present only where values were averaged. */
export interface Past {
  readonly values: Columns
  readonly lows?: Columns
  readonly highs?: Columns
}

export interface Figure {
  readonly name: string
  readonly text: string
}

/** A view of one series over time: lines and steps, or texts as a list. */
export interface Plot {
  /** Number of readings or windows of readings drawn. */
  readonly points: number
  /** A few figures for the whole span. */
  readonly figures: readonly Figure[]
  /** Replaces all data. `window` is the width of one of the store's windows. */
  set(past: Past, span: Span, window: number): void
  /** Adds a live reading, which is visible after the next draw. */
  push(time: number, value: Value): void
  draw(span: Span): void
  destroy(): void
}
