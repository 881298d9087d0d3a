import type { Columns, Value } from './api.js'

/** A stretch of time; `to` is not included. */
export interface Span {
  readonly from: number
  readonly to: number
}

/** What the store knows of a span. Extremes only where values were averaged. */
export interface Past {
  readonly values: Columns
  readonly lows?: Columns
  readonly highs?: Columns
}

export interface Figure {
  readonly name: string
  readonly text: string
}

/** A way to show one series over time: lines and steps, or texts as a list. */
export interface Plot {
  /** How many readings or windows of readings are drawn. */
  readonly points: number
  /** What can be said of the whole span in a few figures. */
  readonly figures: readonly Figure[]
  /** Replaces all there is. `window` is the width of one of the store's windows. */
  set(past: Past, span: Span, window: number): void
  /** Adds a live reading; not seen before the next draw. */
  push(time: number, value: Value): void
  draw(span: Span): void
  destroy(): void
}
