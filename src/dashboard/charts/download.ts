import type { HistoryColumns } from '@telehub/client'
import { row, rows } from './csv.js'
import type { Span } from './span.js'

/** Answers the readings of a series, or windows of them where there are more than `points`. */
export type AskHistory = (
  key: string,
  query: Span & { readonly points: number; readonly fn: 'last' },
) => Promise<HistoryColumns>

export interface CsvWanted {
  readonly series: readonly { readonly key: string; readonly title: string }[]
  readonly span: Span
  readonly ask: AskHistory
  /** Called with the rows so far, and the part of the span that is done. */
  readonly progress: (readings: number, part: number) => void
  readonly signal: AbortSignal
}

/** Most readings of one answer, which the hub allows, and few enough that others are not kept waiting. */
const page = 20_000
/** Readings of an answer from which the next one is asked for a longer stretch. */
const few = page / 4
const firstStretch = 6 * 3_600_000

/**
 * Fetches all readings of a span as they are stored, never means, in as many answers as it takes. Resolves with the parts
 * of the text. Rejects with the hub's refusal, and with the reason of the signal.
 */
export async function csvOf({ series, span, ask, progress, signal }: CsvWanted): Promise<readonly string[]> {
  const parts = [row(['time', ...series.map(({ title }) => title)])]
  const { from, to } = { from: Math.floor(span.from), to: Math.ceil(span.to) }
  let stretch = Math.min(to - from, firstStretch)
  let readings = 0
  for (let at = from; at < to; ) {
    signal.throwIfAborted()
    const until = Math.min(to, at + stretch)
    const answers = await Promise.all(
      series.map(({ key }) => ask(key, { from: at, to: until, points: page, fn: 'last' })),
    )
    // Windows instead of readings: a shorter stretch has fewer readings. One millisecond has at most a thousand times.
    // Windows much wider than asked for are all that is left of older readings.
    const asked = (until - at) / page
    if (answers.some(({ window }) => window !== undefined && window <= 2 * asked) && until - at > 1) {
      stretch = Math.max(1, Math.floor((until - at) / 2))
      continue
    }
    // A window that began before belongs to the stretch before.
    parts.push(rows(answers.map(answer => beginningAt(answer, at))))
    const most = Math.max(...answers.map(({ times }) => times.length))
    readings += answers.reduce((sum, { times }) => sum + times.length, 0)
    if (most < few) stretch *= 4
    at = until
    progress(readings, (at - from) / (to - from))
  }
  signal.throwIfAborted()
  return parts
}

/** Lets the browser keep a text as a file. */
export function keep(parts: readonly string[], name: string): void {
  // The mark of UTF-8 in front is for spreadsheets, which would take umlauts for something else.
  const url = URL.createObjectURL(new Blob(['\ufeff', ...parts], { type: 'text/csv;charset=utf-8' }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

/** Returns the rows from a time on. */
function beginningAt(columns: HistoryColumns, from: number): HistoryColumns {
  const first = columns.times.findIndex(time => time >= from)
  if (first === 0 || columns.times.length === 0) return columns
  if (first < 0) return { ...columns, times: [], values: [] }
  return { ...columns, times: columns.times.slice(first), values: columns.values.slice(first) }
}
