import { mkdirSync, rmSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type SelectableNames, SeriesSelection } from '../alerts/alerts.js'
import { HubError } from '../errors.js'
import type { SeriesId } from '../model.js'
import type { RowReading, RowSeries, RowsQuery, TimeSeriesStore } from '../store/store.js'
import { type RowFormat, rowFormat, textFormats } from './formats.js'

export { instant, textFormats, unharmed } from './formats.js'

export const exportFormats = [...textFormats, 'parquet'] as const
export type ExportFormat = (typeof exportFormats)[number]

export interface ExportQuery {
  readonly select: string
  /** Only series of this measurement. */
  readonly measurement?: string | undefined
  /** Microseconds since the epoch; `from` is included, `to` is not. */
  readonly from: number
  readonly to: number
  readonly format: ExportFormat
}

/** An export that has begun. */
export interface BegunExport {
  readonly id: number
  /** Microseconds of the first and last row. Undefined: none, or not known. */
  readonly extent: RowReading['extent']
  readonly order: RowReading['order']
  /** Bytes and rows of a file that is made as a whole. */
  readonly size?: { readonly bytes: number; readonly rows: number }
}

export interface ExportChunk {
  readonly bytes: Uint8Array
  readonly rows: number
}

/** Tells what exports need to know of series. */
export interface SeriesFacts {
  /** Returns the names of the device and the class of what is measured, as far as descriptions say. */
  describe(series: SeriesId): Omit<SelectableNames, 'id'>
}

export interface ExportsOptions {
  readonly store: Pick<TimeSeriesStore, 'rows'>
  readonly facts: SeriesFacts
  /** Folder of files that are being sent. */
  readonly dir: string
}

/** Whether a series may be read. */
export interface Readable {
  may(series: SeriesId): boolean
}

/** Exports at a time: each holds a list of series, and may hold a chunk. */
const mostExports = 8

/** Bytes of a file that are sent at a time. */
const fileChunk = 256 * 1024

/** Time after which an export that nobody reads is ended. */
const patienceMs = 10 * 60_000

/**
 * Exports of the processor thread. A chunk is made when the reader asks for one: a slow reader holds nothing back but
 * the own export.
 */
export class Exports {
  readonly #options: ExportsOptions
  readonly #open = new Map<number, OpenExport>()
  #last = 0

  constructor(options: ExportsOptions) {
    this.#options = options
    // Files of a hub that was killed.
    rmSync(options.dir, { recursive: true, force: true })
  }

  /**
   * Begins an export of those of the selected series that may be read. Rejects with `bad_request`, with `overloaded`
   * when too many are under way, and as the store does.
   */
  async begin({ select, measurement, from, to, format }: ExportQuery, readable: Readable): Promise<BegunExport> {
    const { rows } = this.#options.store
    if (!rows) throw new HubError('bad_request', 'the store of this hub cannot be exported')
    if (format === 'parquet' && !rows.parquet) {
      throw new HubError(
        'bad_request',
        'format: Parquet is made by the embedded store, and the store of this hub is InfluxDB: allowed are csv, jsonl and line',
      )
    }
    if (this.#open.size >= mostExports) {
      throw new HubError('overloaded', `${mostExports} exports are under way; try again`, { retryAfterMs: 5_000 })
    }
    const chosen = new ReadableSelection({
      selection: new SeriesSelection(select),
      measurement,
      facts: this.#options.facts,
      readable,
    })
    const query = { from, to, chosen }
    const id = ++this.#last
    const file = join(this.#options.dir, `${id}.parquet`)
    const made = format === 'parquet' ? new FileExport(file) : new TextExport(rowFormat(format))
    this.#open.set(id, made)
    try {
      const begun = await made.begin(rows, query)
      // The caller may have left meanwhile.
      if (!this.#open.has(id)) throw new HubError('not_found', 'the export was ended')
      made.expire(patienceMs, () => this.close(id))
      return { id, ...begun }
    } catch (error) {
      this.close(id)
      throw error
    }
  }

  /** Resolves with the next bytes; undefined at the end. Rejects with `not_found` for an export that has ended. */
  async next(id: number): Promise<ExportChunk | undefined> {
    const one = this.#open.get(id)
    if (!one) throw new HubError('not_found', 'the export has ended')
    const chunk = await one.next()
    if (chunk) one.expire(patienceMs, () => this.close(id))
    else this.close(id)
    return chunk
  }

  close(id: number): void {
    this.#open.get(id)?.close()
    this.#open.delete(id)
  }
}

type BegunReading = Omit<BegunExport, 'id'>
type Rows = NonNullable<TimeSeriesStore['rows']>

abstract class OpenExport {
  #timer: NodeJS.Timeout | undefined

  abstract begin(rows: Rows, query: RowsQuery): Promise<BegunReading>
  abstract next(): Promise<ExportChunk | undefined>
  protected abstract end(): void

  expire(ms: number, expired: () => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(expired, ms)
    this.#timer.unref()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.end()
  }
}

class TextExport extends OpenExport {
  readonly #format: RowFormat
  #reading: RowReading | undefined
  #isBegun = false
  #isClosed = false

  constructor(format: RowFormat) {
    super()
    this.#format = format
  }

  async begin(rows: Rows, query: RowsQuery): Promise<BegunReading> {
    this.#reading = await rows.open(query)
    if (this.#isClosed) this.#reading.close()
    const { extent, order } = this.#reading
    return { extent, order }
  }

  async next(): Promise<ExportChunk | undefined> {
    const reading = this.#reading as RowReading
    const head = this.#isBegun ? '' : this.#format.head
    this.#isBegun = true
    const chunk = await reading.next()
    if (!chunk && head === '') return undefined
    const text = head + (chunk ? this.#format.lines(chunk, reading.series) : '')
    return { bytes: Buffer.from(text), rows: chunk?.times.length ?? 0 }
  }

  protected end(): void {
    this.#isClosed = true
    this.#reading?.close()
  }
}

/** A file that is made first and sent then. */
class FileExport extends OpenExport {
  readonly #path: string
  readonly #abort = new AbortController()
  #file: Awaited<ReturnType<typeof open>> | undefined
  #rows = 0

  constructor(path: string) {
    super()
    this.#path = path
  }

  async begin(rows: Rows, query: RowsQuery): Promise<BegunReading> {
    mkdirSync(join(this.#path, '..'), { recursive: true })
    const made = await rows.parquet?.(query, this.#path, this.#abort.signal)
    this.#rows = made?.rows ?? 0
    this.#file = await open(this.#path)
    const { size: bytes } = await this.#file.stat()
    // An open file lives on without a name: nothing is left behind by a hub that is killed.
    await rm(this.#path)
    return { extent: undefined, order: 'time', size: { bytes, rows: this.#rows } }
  }

  async next(): Promise<ExportChunk | undefined> {
    const { bytesRead, buffer } = (await this.#file?.read(Buffer.allocUnsafeSlow(fileChunk))) ?? {}
    if (!bytesRead) return undefined
    const rows = this.#rows
    this.#rows = 0
    return { bytes: (buffer as Buffer).subarray(0, bytesRead), rows }
  }

  protected end(): void {
    this.#abort.abort()
    void this.#file?.close().catch(() => {})
    void rm(this.#path, { force: true }).catch(() => {})
  }
}

interface Choosing {
  readonly selection: SeriesSelection
  readonly measurement: string | undefined
  readonly facts: SeriesFacts
  readonly readable: Readable
}

class ReadableSelection {
  readonly #by: Choosing

  constructor(by: Choosing) {
    this.#by = by
  }

  includes(id: RowSeries): boolean {
    const { selection, measurement, facts, readable } = this.#by
    if (measurement !== undefined && id.measurement !== measurement) return false
    const known = selection.asksDevices ? facts.describe(id) : { devices: [], deviceClass: undefined }
    return selection.includes({ id, ...known }) && readable.may(id)
  }
}
