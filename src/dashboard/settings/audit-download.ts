import { type AuditAsked, type AuditLine, fetchAudit } from './requests.js'

/** Most lines of one file: a page holds them all in memory. */
export const mostLines = 50_000

const columns = [
  ...['n', 'at', 'event', 'result', 'reason', 'user', 'address', 'via', 'client', 'what', 'detail', 'count', 'since'],
] as const

/** Fetches all lines that fit, the newest first, at most {@link mostLines}. Calls `progress` after each page. */
export async function fetchLines(
  asked: Omit<AuditAsked, 'before' | 'limit'>,
  progress: (lines: number) => void,
): Promise<readonly AuditLine[]> {
  const all: AuditLine[] = []
  for (let before: number | undefined; ; ) {
    const { lines, next } = await fetchAudit({ ...asked, limit: 1_000, before })
    all.push(...lines)
    progress(all.length)
    if (next === undefined || all.length >= mostLines) return all.slice(0, mostLines)
    before = next
  }
}

export function jsonLines(lines: readonly AuditLine[]): string {
  return lines.map(line => `${JSON.stringify(line)}\n`).join('')
}

/** Returns the lines as CSV (RFC 4180). A text that a spreadsheet would run as a formula gets an apostrophe in front. */
export function csv(lines: readonly AuditLine[]): string {
  const cell = (value: unknown) => {
    const text = String(value ?? '')
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
  }
  const rows = lines.map(line => columns.map(name => cell((line as Readonly<Record<string, unknown>>)[name])).join(','))
  return `${[columns.join(','), ...rows].join('\r\n')}\r\n`
}
