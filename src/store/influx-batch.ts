import type { AdaptedPoint } from './field-types.js'
import { type FixedType, judge, judgeLines, type LineRefusal, type RefusedEntry, shorten } from './influx-answers.js'
import { encodeLine, encodeSeries } from './line-protocol.js'
import type { RejectedPoint } from './store.js'

/** Refusal of points in InfluxDB's own words. `tooLarge`: the points were not even parsed. */
export interface PointRefusal {
  readonly tooLarge: boolean
  readonly words: string
  /** The lines that are refused, where the server says so of each. All others are stored. */
  readonly lines?: readonly LineRefusal[]
}

export interface WriteOutcome {
  /** Refused points, in no particular order. */
  readonly refused: readonly RejectedPoint[]
  /** Types that InfluxDB named in the refusals. */
  readonly fixed: readonly FixedType[]
}

/** Maximum size of a request body, in bytes before compression, unless the body is a single point. */
const maxBody = 5_000_000
/** Smallest limit that a refusal as too large can set for later bodies. */
const smallestLimit = 64 * 1024
/** Number of kinds of bad points after which a batch is halved, so that the batch is not sent once for each kind. */
const maxRounds = 4
const maxRemembered = 10_000

/**
 * Writes batches, and finds the points that InfluxDB has not stored, with few requests: points that InfluxDB names are
 * taken out. Only where the words do not name them is the batch halved. Points of one series stay in their order.
 */
export class BatchWriter {
  readonly #post: (lines: string) => Promise<PointRefusal | undefined>
  #largest = maxBody
  /** Series refused for the number of series: likely to be refused the next time, too. */
  readonly #beyondLimit = new Set<string>()

  /** `post` resolves with undefined when every line is stored, and rejects when the answer is not about the lines. */
  constructor(post: (lines: string) => Promise<PointRefusal | undefined>) {
    this.#post = post
  }

  /** Resolves when each of the points at `indices` is stored or refused for ever. */
  async write(points: readonly AdaptedPoint[], indices: readonly number[]): Promise<WriteOutcome> {
    const fixed: FixedType[] = []
    const refused: RejectedPoint[] = []
    const entries = indices.map(index => {
      const { point, integers } = points[index] as AdaptedPoint
      return { index, point, line: encodeLine(point, integers), integers }
    })
    for (const part of this.#parts(entries)) refused.push(...(await this.#send(part, fixed)))
    return { refused, fixed }
  }

  #parts(entries: readonly RefusedEntry[]): readonly (readonly RefusedEntry[])[] {
    let length = 0
    for (const { line } of entries) length += line.length
    // No UTF-16 unit takes more than three bytes.
    if (length * 3 <= this.#largest) return [entries]
    const parts: RefusedEntry[][] = [[]]
    let size = 0
    for (const entry of entries) {
      const bytes = Buffer.byteLength(entry.line)
      if (size > 0 && size + bytes > this.#largest) {
        parts.push([])
        size = 0
      }
      parts.at(-1)?.push(entry)
      size += bytes
    }
    return parts
  }

  async #send(entries: readonly RefusedEntry[], fixed: FixedType[], round = 0): Promise<readonly RejectedPoint[]> {
    const lines = entries.map(({ line }) => line).join('')
    const refusal = await this.#post(lines)
    if (!refusal) return []
    const { words } = refusal
    if (refusal.tooLarge) {
      if (entries.length === 1) return reject(entries, 'too_large', shorten(words))
      const half = Buffer.byteLength(lines) >> 1
      this.#largest = Math.max(smallestLimit, Math.min(this.#largest, half))
      return this.#halve(entries, fixed)
    }
    const named = refusal.lines && judgeLines(refusal.lines, entries)
    if (named) {
      fixed.push(...named.fixed)
      return named.refused
    }
    const verdict = judge(words, entries, entry => this.#beyondLimit.has(encodeSeries(entry.point)))
    if (verdict.fixed) fixed.push(verdict.fixed)
    const { reason, suspects, certain, restIsIn } = verdict
    if (suspects.length === 0 || (suspects.length === entries.length && !certain)) {
      if (entries.length > 1) return this.#halve(bySeries(entries), fixed)
      return this.#refuse(entries, reason, shorten(words))
    }
    const alone = suspects.map(({ entry }) => entry)
    const found = certain
      ? suspects.flatMap(({ entry, detail }) => this.#refuse([entry], reason, detail))
      : await this.#send(alone, fixed)
    if (found.length === entries.length || (restIsIn && found.length === suspects.length)) return found
    if (found.length === 0) return this.#halve(bySeries(entries), fixed)
    const bad = new Set(found.map(({ index }) => index))
    const rest = entries.filter(({ index }) => !bad.has(index))
    const more = round < maxRounds ? this.#send(rest, fixed, round + 1) : this.#halve(bySeries(rest), fixed)
    return [...found, ...(await more)]
  }

  async #halve(entries: readonly RefusedEntry[], fixed: FixedType[]): Promise<readonly RejectedPoint[]> {
    if (entries.length === 1) return this.#send(entries, fixed)
    const middle = entries.length >> 1
    const first = await this.#send(entries.slice(0, middle), fixed)
    return [...first, ...(await this.#send(entries.slice(middle), fixed))]
  }

  #refuse(entries: readonly RefusedEntry[], reason: string, detail: string): RejectedPoint[] {
    if (reason === 'series_limit') {
      if (this.#beyondLimit.size >= maxRemembered) this.#beyondLimit.clear()
      for (const entry of entries) this.#beyondLimit.add(encodeSeries(entry.point))
    }
    return reject(entries, reason, detail)
  }
}

function reject(entries: readonly RefusedEntry[], reason: string, detail: string): RejectedPoint[] {
  return entries.map(({ index }) => ({ index, reason, detail }))
}

/**
 * Sorts by series, so that points refused for their series stand together. The sort is stable: each series keeps its
 * order.
 */
function bySeries(entries: readonly RefusedEntry[]): readonly RefusedEntry[] {
  const keyed = entries.map(entry => ({ entry, series: encodeSeries(entry.point) }))
  keyed.sort((a, b) => (a.series < b.series ? -1 : a.series > b.series ? 1 : 0))
  return keyed.map(({ entry }) => entry)
}
