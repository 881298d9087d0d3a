import { type Files, nodeFiles } from '../disk/files.js'
import { describe } from '../errors.js'
import type { Message } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { type MicrosecondClock, type MillisecondClock, machineClock } from '../runtime/time.js'
import { Archive, type ArchiveOptions, type ArchiveStatus } from './archive.js'
import { Meter } from './backlog-meter.js'
import { Cursor, type CursorOwner } from './cursor.js'
import { CursorFile, type CursorPlace, listCursors } from './cursor-file.js'
import { firstStamp } from './first-stamp.js'
import { type PastRange, type PastSource, type ReplayRange, readNumbered, readPast } from './history.js'
import { PassedSegments } from './passed-segments.js'
import { segmentHeaderBytes } from './segment-file.js'
import { passedOf, type Segment, Segments } from './segments.js'
import type { SpoolPosition } from './spool.js'

export { beginAbove, endOfSegment, readCut, type SpoolCut } from './spool-cut.js'

export interface CursorsOptions {
  readonly dir: string
  /** Consumer groups that will read. The cursor of any other group is removed. */
  readonly groups: readonly string[]
  /**
   * For a group without a cursor, the group whose cursor is the start, if there is one: the backlog changes hands and
   * does not start over.
   */
  readonly inherit: Readonly<Record<string, string>>
  /** Groups that begin behind the last message when they have no cursor yet. Others begin with the oldest in the spool. */
  readonly atEnd?: readonly string[]
  /** Where the spool was committed when the reading side started. */
  readonly position: SpoolPosition
  /** How long, and up to how many bytes, messages are kept that every cursor has passed. 0: not at all. */
  readonly keepMs?: number
  readonly keepBytes?: number
  /** Where passed segments are kept compressed, for longer. Without a time there is no archive. */
  readonly archive?: Pick<ArchiveOptions, 'dir' | 'keepMs' | 'limitBytes'>
  /** Limit of the spool. Kept messages never fill the spool beyond half of the limit. */
  readonly limitBytes?: number
  /** Returns the sequence number from which everything must stay readable. */
  readonly pinned?: () => number
  /**
   * Most messages per second that a cursor drains of a backlog, beyond new arrivals; 0: no limit. Does not apply to
   * `live`.
   */
  readonly rate?: number
  /** Returns the time in microseconds since the epoch. */
  readonly clock?: MicrosecondClock
  /** Returns milliseconds of a clock that never jumps. */
  readonly monotonic?: MillisecondClock
  /**
   * Called when the numbers from `from` to `to` will not come. `damaged`: there were messages, and those left cannot be
   * read, or their file is gone. Otherwise the disk refused them, and they were never acknowledged. Called before the
   * message behind them is delivered, and again after a restart unless that message was settled.
   */
  readonly skipped?: (group: string, from: number, to: number, damaged: boolean) => void | Promise<void>
  /** Called when segments were deleted. */
  readonly freed: (bytes: number) => void
  readonly log: Pick<SentenceLog, 'warn'>
  readonly incidents: IncidentReporter
  readonly files?: Files
}

/** State of the spool, for people. Times are in microseconds since the epoch. */
export interface SpoolStatus {
  readonly bytes: number
  readonly limit: number
  /** Bytes in segments that every cursor has passed. */
  readonly keptBytes: number
  readonly segments: readonly {
    /** First sequence number of the segment. */
    readonly segment: number
    readonly bytes: number
    /** When the first message was received. Undefined for a segment without messages. */
    readonly from: number | undefined
    /** When the last message was received. Undefined while the segment is being written. */
    readonly to: number | undefined
    readonly kept: boolean
  }[]
  /** Undefined without an archive. */
  readonly archive?: ArchiveStatus
  readonly cursors: readonly {
    readonly name: string
    /** Next sequence number to read. */
    readonly sequence: number
    /** Number of messages not settled, and of bytes from there on. */
    readonly lag: number
    readonly lagBytes: number
    /** When the next message to read was received. Undefined when the cursor has caught up. */
    readonly oldest: number | undefined
  }[]
}

/**
 * The reading side of the spool, on the processor thread: a cursor for each consumer group, each at its own pace,
 * `live` first. Segments that every cursor has passed are kept for a while, so that they can be read again, and then
 * deleted. The newest two stay: the broker restores its own state from the last messages after a crash
 * (`Spool.replay`).
 */
export class Cursors implements CursorOwner {
  readonly #options: CursorsOptions
  readonly #files: Files
  readonly #segments: Segments
  readonly #cursors = new Map<string, Cursor>()
  readonly #meters: Meter[] = []
  readonly #clock: MicrosecondClock
  readonly #archive: Archive | undefined
  readonly #passed: PassedSegments
  #position: SpoolPosition
  #timer: NodeJS.Timeout | undefined

  constructor(options: CursorsOptions) {
    this.#options = options
    this.#position = options.position
    this.#clock = options.clock ?? machineClock
    this.#files = options.files ?? nodeFiles
    const { dir, archive, log, incidents, monotonic = performance } = options
    const { keepMs = 0, keepBytes = 0, limitBytes = Number.POSITIVE_INFINITY } = options
    const shared = { clock: this.#clock, files: this.#files, log }
    this.#segments = new Segments(dir, this.#clock, this.#files)
    this.#archive =
      archive && archive.keepMs > 0
        ? new Archive({ ...archive, ...shared, spoolDir: dir, monotonic, incidents })
        : undefined
    const retention = { keepMs, keepBytes, limitBytes }
    this.#passed = new PassedSegments({
      ...shared,
      ...{ dir, segments: this.#segments, archive: this.#archive, retention, listener: options },
    })
  }

  start(): void {
    const { dir, groups, inherit, atEnd = [] } = this.#options
    this.#archive?.start()
    this.#segments.start()
    this.#segments.grow(this.#position)
    const names = listCursors(dir, this.#files)
    const files = new Map([...names, ...groups].map(name => [name, new CursorFile(dir, name, this.#files)] as const))
    const places = new Map([...files].map(([name, file]) => [name, this.#read(name, file)] as const))
    for (const group of groups) {
      const file = files.get(group) as CursorFile
      const isNew = !names.includes(group)
      const place = isNew && atEnd.includes(group) ? this.#end : (places.get(group) ?? places.get(inherit[group] ?? ''))
      this.#add(group, file, place, isNew)
    }
    for (const [name, file] of files) if (!groups.includes(name)) this.#forget(name, file)
    // Kept segments expire, and pinned ones are released, also while no cursor reads.
    this.#timer = setInterval(() => this.deletePassed(), checkEveryMs).unref()
  }

  /** The place behind the last message. */
  get #end(): CursorPlace {
    const { sequence, segment, end } = this.#position
    return { sequence: sequence + 1, segment, offset: end }
  }

  #read(name: string, file: CursorFile): CursorPlace | undefined {
    let why = 'both of its positions are damaged'
    try {
      const { place, damaged } = file.read()
      // A file that a crash left empty, before there was any message, is not damaged.
      if (!damaged || this.#position.sequence === 0) return place
    } catch (error) {
      why = describe(error)
    }
    this.#options.incidents.report(
      'cursor_damaged',
      `cursor ${name} cannot be read (${why}); it starts at the oldest message in the spool, and messages are delivered again`,
    )
    return undefined
  }

  #forget(name: string, file: CursorFile): void {
    try {
      file.remove()
    } catch (error) {
      this.#options.log.warn(`cursor ${name} could not be removed: ${describe(error)}; the next start tries again`)
    }
  }

  // — CursorOwner —

  get position(): SpoolPosition {
    return this.#position
  }

  get first(): Cursor | undefined {
    return this.#cursors.get(firstLane)
  }

  skipped(group: string, from: number, to: number, damaged: boolean): void | Promise<void> {
    return this.#options.skipped?.(group, from, to, damaged)
  }

  moved(): void {
    this.deletePassed()
  }

  #add(name: string, file: CursorFile, saved: CursorPlace | undefined, isNew: boolean): void {
    const { dir, rate = 0, monotonic, log, incidents } = this.#options
    const { place, displaced } = this.#locate(name, saved)
    if (!saved || isNew) {
      try {
        file.create(place)
      } catch (error) {
        log.warn(`cursor ${name} could not be created: ${describe(error)}`)
      }
    }
    const isFirst = name === firstLane
    const meter = rate > 0 && !isFirst ? new Meter({ rate, clock: monotonic ?? performance }) : undefined
    if (meter) this.#meters.push(meter)
    const cursor = new Cursor({
      name,
      dir,
      place,
      displaced,
      file,
      segments: this.#segments,
      owner: this,
      isFirst,
      meter,
      log,
      incidents,
      files: this.#files,
    })
    this.#cursors.set(name, cursor)
  }

  #locate(name: string, saved: CursorPlace | undefined): { place: CursorPlace; displaced: boolean } {
    const { list } = this.#segments
    const oldest = list[0]?.segment ?? 1
    if (!saved) {
      return { place: { sequence: oldest, segment: oldest, offset: segmentHeaderBytes }, displaced: false }
    }
    if (!this.#segments.find(saved.segment)) {
      const segment = this.#segments.after(saved.segment)?.segment
      if (segment !== undefined) {
        return { place: { sequence: saved.sequence, segment, offset: segmentHeaderBytes }, displaced: true }
      }
    }
    return { place: this.#notBeyond(name, saved), displaced: false }
  }

  /**
   * Limits a place to the end of the spool. With `spool.fsync: interval` a loss of power may take messages that a
   * cursor has already passed.
   */
  #notBeyond(group: string, place: CursorPlace): CursorPlace {
    const { sequence, segment, end } = this.#position
    if (
      place.sequence <= sequence + 1 &&
      (place.segment < segment || (place.segment === segment && place.offset <= end))
    )
      return place
    const sentence = `the spool ends before the position of cursor ${group}; the cursor continues at the end`
    this.#options.incidents.report('spool_cut', sentence)
    return { sequence: Math.min(place.sequence, sequence + 1), segment, offset: end }
  }

  /** Called when the spool has committed more. */
  committed(position: SpoolPosition): void {
    const arrived = position.sequence - this.#position.sequence
    this.#segments.grow(position)
    this.#position = position
    for (const meter of this.#meters) meter.arrived(arrived)
    for (const cursor of this.#cursors.values()) cursor.wake()
  }

  reader(group: string): Cursor {
    const cursor = this.#cursors.get(group)
    if (!cursor) throw new Error(`no cursor ${group}`)
    return cursor
  }

  /** Saves every cursor. Nothing is read or settled afterwards. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    for (const cursor of this.#cursors.values()) await cursor.close()
    await this.#archive?.stop()
  }

  get groups(): readonly string[] {
    return this.#options.groups
  }

  /** Returns the number of committed messages that `group` has not settled. */
  depth(group: string): number {
    return this.reader(group).lag
  }

  /** Reads the messages of a time range that are still in the spool, or in the archive. */
  past(range: PastRange, signal: AbortSignal): ReplayRange {
    return readPast(this.#past, this.#position, range, signal)
  }

  /** Reads the messages of a range of sequence numbers that are still in the spool, or in the archive. */
  numbered(
    range: { readonly from: number; readonly to: number },
    signal: AbortSignal,
  ): AsyncIterable<readonly Message[]> {
    return readNumbered(this.#past, this.#position, range, signal)
  }

  get #past(): PastSource {
    return { dir: this.#options.dir, files: this.#files, segments: this.#segments, archive: this.#archive }
  }

  /** First sequence number still in the spool. */
  get oldest(): number {
    return this.#segments.list[0]?.segment ?? 1
  }

  /** First sequence number that can still be read, in the archive or in the spool. */
  get oldestKept(): number {
    return Math.min(this.oldest, this.#archive?.list[0]?.segment ?? Number.POSITIVE_INFINITY)
  }

  /** First sequence numbers of the segments, the newest segment first. */
  get segments(): readonly number[] {
    return this.#segments.list.map(({ segment }) => segment).reverse()
  }

  /** Deletes segments that no reader needs any more and that are not to be kept. */
  deletePassed(): void {
    this.#passed.delete(this.#needed)
  }

  /**
   * Makes room, as the disk is full: the archive yields first, and then all segments that every cursor has passed go at
   * once, also pinned ones. Without room no state of the readers can be saved, and so no segment would ever be released.
   */
  giveUpKept(): void {
    this.#passed.giveUp(this.#settledSegment)
  }

  /** The first segment that a cursor still reads, or that is read again after a crash. */
  get #needed(): number {
    const { pinned } = this.#options
    const settled = this.#settledSegment
    return pinned ? Math.min(settled, this.#segments.holding(pinned())) : settled
  }

  get #settledSegment(): number {
    return Math.min(...[...this.#cursors.values()].map(cursor => cursor.settled.segment))
  }

  /** Returns the bytes of the spool from the place of a group on. */
  bytesBehind(group: string): number {
    const { settled, lag } = this.reader(group)
    const behind = lag > 0 ? this.#segments.list.filter(({ segment }) => segment >= settled.segment) : []
    const passed = behind[0]?.segment === settled.segment ? settled.offset : 0
    return Math.max(0, behind.reduce((all, { bytes }) => all + bytes, 0) - passed)
  }

  /** The segments, the oldest first. */
  get list(): readonly Segment[] {
    return this.#segments.list
  }

  async status(): Promise<SpoolStatus> {
    const { list } = this.#segments
    const kept = passedOf(list, this.#needed)
    const sum = (segments: readonly { readonly bytes: number }[]) => segments.reduce((all, { bytes }) => all + bytes, 0)
    return {
      bytes: sum(list),
      limit: this.#options.limitBytes ?? 0,
      keptBytes: sum(kept),
      segments: list.map(({ segment, bytes, from }, i) => ({
        segment,
        bytes,
        from: from || undefined,
        to: list[i + 1]?.before,
        kept: i < kept.length,
      })),
      ...(this.#archive && { archive: this.#archive.status() }),
      cursors: await Promise.all([...this.#cursors].map(([name, cursor]) => this.#statusOf(name, cursor))),
    }
  }

  async #statusOf(name: string, { settled, lag }: Cursor): Promise<SpoolStatus['cursors'][number]> {
    const place = { ...settled }
    const lagBytes = this.bytesBehind(name)
    const oldest = lag > 0 ? await firstStamp(place, this.#past, this.#position) : undefined
    return { name, sequence: place.sequence, lag, lagBytes, oldest }
  }
}

/** The group that feeds the screens. Other cursors let this one read first, and its rate is not limited. */
const firstLane = 'live'

/** Time between two checks for segments that have been kept long enough. */
const checkEveryMs = 500
