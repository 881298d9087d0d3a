import { type FileRow, positionOf, type SeriesName } from './rows.js'

/**
 * Rows and bytes of a batch. Each batch costs a request and a write of the progress to disk; the hub stores a batch in
 * smaller writes.
 */
const batchRows = 20_000
const batchBytes = 4_000_000

/** Rows that are sent together, as columns. */
export class RowBatch {
  #from: string
  #last: FileRow | undefined
  #bytes = 0
  #records = 0
  #bad = 0
  #names = new Map<SeriesName | string, number>()
  #series: (readonly [string, SeriesName['tags'], string])[] = []
  #topics: string[] = []
  #indexes: number[] = []
  #lines: number[] = []
  #times: number[] = []
  #values: unknown[] = []
  #payloads: string[] = []

  constructor(position: string) {
    this.#from = position
  }

  /** Place in the file at which reading goes on behind the rows. */
  get position(): string {
    return this.#last ? positionOf(this.#last) : this.#from
  }

  /** Returns how far the reader is, from 0 to 1, in a file of so many bytes. */
  share(size: number): number {
    return this.#last?.share ?? (this.#last?.place ?? 0) / Math.max(1, size)
  }

  get isFull(): boolean {
    return this.#records >= batchRows || this.#lines.length >= batchRows || this.#bytes >= batchBytes
  }

  add(record: FileRow): void {
    this.#last = record
    this.#records++
    if (record.mistake !== undefined) this.#bad++
    for (const row of record.rows) {
      this.#lines.push(record.line)
      if ('payload' in row) {
        this.#indexes.push(this.#indexOf(row.topic, () => this.#topics.push(row.topic)))
        this.#payloads.push(row.payload)
        this.#bytes += row.payload.length
      } else {
        const { of, time, value } = row
        let index = this.#names.get(of)
        if (index === undefined) {
          index = this.#series.push([of.measurement, of.tags, of.field]) - 1
          for (const [name, text] of of.tags) this.#bytes += name.length + text.length
          this.#bytes += of.measurement.length + of.field.length
          this.#names.set(of, index)
        }
        this.#indexes.push(index)
        this.#times.push(time)
        this.#values.push(value)
        this.#bytes += typeof value === 'string' ? value.length : 16
      }
    }
  }

  /** Returns the rows as JSON. */
  get content(): string {
    const rows = { n: this.#lines, bad: this.#bad }
    return JSON.stringify(
      this.#payloads.length > 0
        ? { topics: this.#topics, m: this.#indexes, payloads: this.#payloads, ...rows }
        : { series: this.#series, s: this.#indexes, t: this.#times, v: this.#values, ...rows },
    )
  }

  clear(): void {
    this.#bytes = this.#records = this.#bad = 0
    this.#names = new Map()
    this.#series = []
    this.#topics = []
    this.#indexes = []
    this.#lines = []
    this.#times = []
    this.#values = []
    this.#payloads = []
  }

  #indexOf(name: string, add: () => number): number {
    const known = this.#names.get(name)
    if (known !== undefined) return known
    const index = add() - 1
    this.#names.set(name, index)
    return index
  }
}
