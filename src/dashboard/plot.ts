import type { HistoryColumns } from '@telehub/client'
import type { Value } from './api.js'

/** A stretch of time; `to` is not included. */
export interface Span {
  readonly from: number
  readonly to: number
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
  /** Replaces all data by history. `window` is the width of one of the store's windows. */
  set(past: HistoryColumns, span: Span, window: number): void
  /** Takes the extremes of the windows whose means are shown, where those are means of numbers. */
  widen?(lows: HistoryColumns, highs: HistoryColumns): void
  /** Adds a live reading, which is visible after the next draw. */
  push(time: number, value: Value): void
  draw(span: Span): void
  destroy(): void
}
