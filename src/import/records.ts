import { open } from 'node:fs/promises'

/** How lines of a file end, where a line end may be part of a value. */
export type Quoting = 'csv' | 'line' | 'none'

/** A record of a text file: usually a line. */
export interface TextRecord {
  readonly text: string
  /** Number of the first line, from 1 on. */
  readonly line: number
  /** Byte behind the record, where reading can begin again. */
  readonly end: number
  /** Line behind the record. */
  readonly nextLine: number
}

/** Longest record. A longer one is cut there: a quote that is never closed does not take the rest of the file along. */
const longest = 1_000_000

const readBytes = 1 << 20
const lineEnd = 10
const quote = 34
const backslash = 92
const equals = 61

/** Reads the records of a file from a byte on, in lists. Rejects as Node does when the file cannot be read. */
export async function* readRecords(
  path: string,
  quoting: Quoting,
  from: { readonly offset: number; readonly line: number } = { offset: 0, line: 1 },
): AsyncGenerator<readonly TextRecord[]> {
  const file = await open(path)
  try {
    let rest = Buffer.alloc(0)
    let { offset, line } = from
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(readBytes), 0, readBytes, offset + rest.length)
      const data =
        rest.length > 0 ? Buffer.concat([rest, buffer.subarray(0, bytesRead)]) : buffer.subarray(0, bytesRead)
      const cut = cutRecords(data, quoting, { offset, line, isEnd: bytesRead === 0 })
      if (cut.records.length > 0) yield cut.records
      if (bytesRead === 0) return
      rest = Buffer.from(data.subarray(cut.used))
      offset += cut.used
      line = cut.line
    }
  } finally {
    await file.close()
  }
}

function cutRecords(
  data: Buffer,
  quoting: Quoting,
  { offset, line, isEnd }: { readonly offset: number; readonly line: number; readonly isEnd: boolean },
) {
  const records: TextRecord[] = []
  let start = 0
  let first = line
  let isQuoted = false
  const take = (end: number, behind: number) => {
    const text = data.toString('utf8', start, end > start && data[end - 1] === 13 ? end - 1 : end)
    records.push({ text, line: first, end: offset + behind, nextLine: line })
    start = behind
    first = line
    isQuoted = false
  }
  for (let at = 0; at < data.length; at++) {
    const byte = data[at]
    if (byte === lineEnd) {
      line++
      if (!isQuoted || at - start > longest) take(at, at + 1)
    } else if (byte === quote && quoting !== 'none') {
      if (quoting === 'csv') isQuoted = !isQuoted
      else if (isQuoted) isQuoted = isEscaped(data, at)
      else isQuoted = data[at - 1] === equals
    }
  }
  if (isEnd && start < data.length) take(data.length, data.length)
  return { records, used: start, line: first }
}

/** Whether an odd number of backslashes stands before a byte. */
function isEscaped(data: Buffer, at: number): boolean {
  let before = at - 1
  while (data[before] === backslash) before--
  return (at - before) % 2 === 0
}
