import { type AuditEvent, auditFiles, auditLines, parseAuditLine } from './audit-chain.js'

/** Selects lines of the audit log; all that is given must fit. */
export interface AuditQuery {
  readonly user?: string | undefined
  readonly event?: string | undefined
  /** Text anywhere in the line, in any case. */
  readonly text?: string | undefined
  /** Milliseconds since the epoch: `from` included, `to` not. */
  readonly from?: number | undefined
  readonly to?: number | undefined
  /** Only lines with lower numbers. */
  readonly before?: number | undefined
  readonly limit: number
  /** Most files that are read, of at most 8 MB each. Undefined: all. */
  readonly files?: number
}

export interface FoundLine {
  readonly n: number
  readonly text: string
  /** Undefined when the text is no line of an audit log. */
  readonly line: (AuditEvent & { readonly at: string }) | undefined
}

export interface AuditPage {
  /** The newest first. */
  readonly lines: readonly FoundLine[]
  /** `before` of the next page. Undefined when the log was read to its beginning. */
  readonly next: number | undefined
}

/** Reads the newest lines that fit, in pieces, from the newest file on. Throws when a file cannot be read. */
export async function searchAudit(dir: string, query: AuditQuery): Promise<AuditPage> {
  const { before = Number.POSITIVE_INFINITY, limit, files: most = Number.POSITIVE_INFINITY } = query
  const fits = filterOf(query)
  const files = auditFiles(dir).filter(({ first }) => first < before)
  const found: FoundLine[] = []
  let read = 0
  for (const { path, first } of files.toReversed()) {
    if (read++ >= most) return { lines: found, next: files.at(-read + 1)?.first as number }
    const ofFile: FoundLine[] = []
    const room = limit - found.length
    let hasMore = false
    let row = 0
    let newest = 0
    for await (const { text } of auditLines(path)) {
      const n = first + row++
      if (n >= before) break
      const line = parseAuditLine(text)
      newest = Date.parse(line?.at ?? '') || newest
      if (!fits(text, line)) continue
      ofFile.push({ n, text, line })
      if (ofFile.length <= room) continue
      ofFile.shift()
      hasMore = true
    }
    found.push(...ofFile.reverse())
    const last = found.at(-1)
    if (last && found.length >= limit && (hasMore || first > (files[0]?.first ?? 0)))
      return { lines: found, next: last.n }
    // Older files have older lines only.
    if (query.from !== undefined && newest > 0 && newest < query.from) break
  }
  return { lines: found, next: undefined }
}

function filterOf({ user, event, text, from, to }: AuditQuery) {
  const wanted = text?.toLowerCase()
  const isFiltered = [user, event, text, from, to].some(one => one !== undefined)
  return (whole: string, line: FoundLine['line']): boolean => {
    if (!isFiltered) return true
    if (!line) return false
    if (user !== undefined && line.user !== user) return false
    if (event !== undefined && line.event !== event) return false
    const at = Date.parse(line.at)
    if ((from !== undefined && at < from) || (to !== undefined && at >= to)) return false
    return wanted === undefined || whole.toLowerCase().includes(wanted)
  }
}
