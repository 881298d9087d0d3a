/** Tables as CSV (RFC 4180), the same in every locale. Pure functions. */

import type { Value } from '../api.js'

/** Cells that a spreadsheet would run as a formula when they are text (OWASP, CSV injection). */
const formula = /^[=+\-@\t\r\n]/

/**
 * Returns a cell: numbers with a point and without separators, texts in quotes where needed. A text that a spreadsheet
 * would take for a formula gets an apostrophe in front.
 */
export function cell(value: Value | undefined): string {
  if (value === undefined) return ''
  if (typeof value !== 'string') return String(value)
  const harmless = formula.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}

export function row(cells: readonly (Value | undefined)[]): string {
  return `${cells.map(cell).join(',')}\r\n`
}

/** Returns a time in UTC (ISO 8601), with all digits that it has: milliseconds, or microseconds. */
export function timeText(time: number): string {
  const whole = Math.floor(time)
  const micros = Math.round((time - whole) * 1_000)
  const text = new Date(whole).toISOString()
  return micros === 0 || micros === 1_000 ? text : text.replace('Z', `${String(micros).padStart(3, '0')}Z`)
}

/** Readings of one series, oldest first. */
export interface Readings {
  readonly times: readonly number[]
  readonly values: readonly Value[]
}

/** Returns rows with the time and a cell for each series; readings of the same time share a row. */
export function rows(series: readonly Readings[]): string {
  const at = series.map(() => 0)
  const lines: string[] = []
  for (;;) {
    let time = Number.POSITIVE_INFINITY
    for (const [i, { times }] of series.entries()) time = Math.min(time, times[at[i] ?? 0] ?? time)
    if (time === Number.POSITIVE_INFINITY) return lines.join('')
    const cells = series.map(({ times, values }, i) => {
      const place = at[i] ?? 0
      if (times[place] !== time) return undefined
      at[i] = place + 1
      return values[place]
    })
    lines.push(row([timeText(time), ...cells]))
  }
}

/** Returns a name for a file of letters, digits and hyphens. */
export function fileName(name: string, from: number, to: number): string {
  const safe = name
    .normalize('NFKC')
    .replace(/[^\p{L}\p{N}]+/gu, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 60)
  const day = (time: number) => new Date(time).toISOString().slice(0, 16).replaceAll(':', '')
  return `${safe || 'telehub'}_${day(from)}_${day(to)}.csv`
}
