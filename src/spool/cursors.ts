import { type Files, nodeFiles } from '../disk/files.js'
import { describe } from '../errors.js'
import type { Message } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { Meter } from './backlog-meter.js'
import { Cursor } from './cursor.js'
import { CursorFile, listCursors, type Place } from './cursor-file.js'
import { type PastRange, type ReplayRange, readNumbered, readPast } from './history.js'
import { decodeMessage } from './message-codec.js'
import { segmentHeaderBytes, segmentPath } from './segment-file.js'
import { SegmentReader } from './segment-reader.js'
import { passedOf, Segments, surplus } from './segments.js'
import type { SpoolPosition } from './spool.js'

export interface CursorsOptions {
  readonly dir: string
  /** The groups that will read. The cursor of a group that is no longer here is forgotten. */
  readonly groups: readonly string[]
  /** A group without a cursor begins where this one was, if it is there: the backlog changes hands, it does not start over. */
  readonly inherit: Readonly<Record<string, string>>
  /** Where the spool was committed when this side started. */
  readonly position: SpoolPosition
  /** How long, and up to how many bytes, messages are kept that every cursor has passed. 0: not at all. */
  readonly keepMs?: number
  readonly keepBytes?: number
  /** The spool's: what is kept never takes more than makes half of it. */
  readonly limitBytes?: number
  /** From this sequence number on everything must stay readable. */
  readonly pinned?: () => number
  /** Most messages a second that a cursor drains of a backlog, beyond what arrives; 0: as fast as it can. Not `live`. */
  readonly rate?: number
  /** Microseconds since the epoch. */
  readonly now?: () => number
  /** Milliseconds of a clock that never jumps. */
  readonly monotonic?: () => number
  /**
   * The numbers from `from` to `to` will not come. `damaged`: there were messages, and what is left of them cannot be
   * read, or their file is gone. Otherwise the disk refused them, and they were never acknowledged. Told before the
   * message behind them is delivered; told again after a restart unless that one was settled.
   */
  readonly skipped?: (group: string, from: number, to: number, damaged: boolean) => void | Promise<void>
  /** Segments were deleted. */
  readonly freed: (bytes: number) => void
  readonly warn: (sentence: string) => void
  readonly incidents: IncidentReporter
  readonly files?: Files
}

/** What people are told of the spool. Times in microseconds since the epoch. */
export interface SpoolStatus {
  readonly bytes: number
  readonly limit: number
  /** Of those, in segments that every cursor has passed. */
  readonly keptBytes: number
  readonly segments: readonly {
    /** Its first sequence number. */
    readonly segment: number
    readonly bytes: number
    /** When its first message was received; undefined while there is none. */
    readonly from: number | undefined
    /** When its last message was received; undefined while it is being written. */
    readonly to: number | undefined
    readonly kept: boolean
  }[]
  readonly cursors: readonly {
    readonly name: string
    /** The next one it wants. */
    readonly sequence: number
    /** Messages it has not settled, and bytes from there on. */
    readonly lag: number
    readonly lagBytes: number
    /** When the next message it wants was received; undefined when it has caught up. */
    readonly oldest: number | undefined
  }[]
}

/**
 * The reading side of the spool, on the processor thread: a cursor per consumer group, each at its own pace, `live`
 * first. Segments that every cursor has passed are kept for a while, so that they can be read again, and deleted then;
 * the newest two stay: the broker makes its own state good from the last messages after a crash (`Spool.replay`).
 */
export class Cursors {
  readonly #options: CursorsOptions
  readonly #files: Files
  readonly #segments: Segments
  readonly #cursors = new Map<string, Cursor>()
  readonly #meters: Meter[] = []
  readonly #now: () => number
  #position: SpoolPosition
  #timer: NodeJS.Timeout | undefined
  #deletingFails = false

  constructor(options: CursorsOptions) {
    this.#options = options
    this.#position = options.position
    this.#now = options.now ?? (() => Date.now() * 1_000)
    this.#files = options.files ?? nodeFiles
    this.#segments = new Segments(options.dir, this.#now, this.#files)
  }

  start(): void {
    const { dir, groups, inherit } = this.#options
    this.#segments.start()
    this.#segments.grow(this.#position)
    const names = listCursors(dir, this.#files)
    const files = new Map([...names, ...groups].map(name => [name, new CursorFile(dir, name, this.#files)] as const))
    const places = new Map([...files].map(([name, file]) => [name, this.#read(name, file)] as const))
    for (const group of groups) {
      const file = files.get(group) as CursorFile
      const place = places.get(group) ?? places.get(inherit[group] ?? '')
      this.#add(group, file, place)
    }
    for (const [name, file] of files) if (!groups.includes(name)) this.#forget(name, file)
    // What is kept expires, and what is pinned is released, without anybody reading.
    this.#timer = setInterval(() => this.deletePassed(), checkEveryMs).unref()
  }

  #read(name: string, file: CursorFile): Place | undefined {
    let why = 'no place in it is whole'
    try {
      const { place, damaged } = file.read()
      // A file that a crash left empty, before there was any message, is none that was damaged.
      if (!damaged || this.#position.sequence === 0) return place
    } catch (error) {
      why = describe(error)
    }
    this.#options.incidents.report(
      'cursor_damaged',
      `cursor ${name} cannot be read (${why}); it begins at the oldest message that the spool has, and those come again`,
    )
    return undefined
  }

  #forget(name: string, file: CursorFile): void {
    try {
      file.remove()
    } catch (error) {
      this.#options.warn(`cursor ${name} could not be removed: ${describe(error)}; the next start tries again`)
    }
  }

  #add(name: string, file: CursorFile, saved: Place | undefined): void {
    const { dir, rate = 0, monotonic, skipped, warn, incidents } = this.#options
    const { place, displaced } = this.#locate(name, saved)
    if (!saved) {
      try {
        file.create(place)
      } catch (error) {
        warn(`cursor ${name} could not be made: ${describe(error)}`)
      }
    }
    const isFirst = name === firstLane
    const meter = rate > 0 && !isFirst ? new Meter({ rate, now: monotonic ?? (() => performance.now()) }) : undefined
    if (meter) this.#meters.push(meter)
    const cursor = new Cursor({
      name,
      dir,
      place,
      displaced,
      file,
      segments: this.#segments,
      position: () => this.#position,
      first: () => (isFirst ? undefined : this.#cursors.get(firstLane)),
      meter,
      skipped: (from, to, damaged) => skipped?.(name, from, to, damaged),
      moved: () => this.deletePassed(),
      warn,
      incidents,
      files: this.#files,
    })
    this.#cursors.set(name, cursor)
  }

  #locate(name: string, saved: Place | undefined): { place: Place; displaced: boolean } {
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

  /** With `spool.fsync: interval` a loss of power may take what a cursor has passed already. */
  #notBeyond(group: string, place: Place): Place {
    const { sequence, segment, end } = this.#position
    if (
      place.sequence <= sequence + 1 &&
      (place.segment < segment || (place.segment === segment && place.offset <= end))
    )
      return place
    const sentence = `the spool ends before the place of cursor ${group}; it goes on at the end`
    this.#options.incidents.report('spool_cut', sentence)
    return { sequence: Math.min(place.sequence, sequence + 1), segment, offset: end }
  }

  /** The spool has committed more. */
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
  }

  get groups(): readonly string[] {
    return this.#options.groups
  }

  /** Messages committed that `group` has not settled. */
  depth(group: string): number {
    return this.reader(group).lag
  }

  /** What is still here of a part of the past. */
  past(range: PastRange, signal: AbortSignal): ReplayRange {
    return readPast(this.#options.dir, this.#files, this.#segments, this.#position, range, signal)
  }

  /** The messages of a range of sequence numbers that are still here. */
  numbered(
    range: { readonly from: number; readonly to: number },
    signal: AbortSignal,
  ): AsyncIterable<readonly Message[]> {
    return readNumbered(this.#options.dir, this.#files, this.#segments, this.#position, range, signal)
  }

  /** The first sequence number that is still here. */
  get oldest(): number {
    return this.#segments.list[0]?.segment ?? 1
  }

  /** Deletes what nobody needs any more and is not to be kept. */
  deletePassed(): void {
    const { keepMs = 0, keepBytes = 0, limitBytes = Number.POSITIVE_INFINITY } = this.#options
    this.#delete({ keepMs, keepBytes, limitBytes })
  }

  /**
   * The disk is full: what every cursor has passed is deleted at once, also what is pinned. Without room nothing of what
   * is counted can be saved, and so nothing would ever be released.
   */
  giveUpKept(): void {
    this.#delete({ keepMs: 0, keepBytes: 0, limitBytes: 0 }, this.#settledSegment)
  }

  #delete(retention: Parameters<typeof surplus>[2], needed = this.#needed): void {
    const { dir, freed, warn } = this.#options
    let count = surplus(this.#segments.list, needed, retention, this.#now())
    for (; count > 0; count--) {
      const oldest = this.#segments.list[0]
      if (!oldest) return
      const path = segmentPath(dir, oldest.segment)
      try {
        this.#files.removeSync(path)
      } catch (error) {
        if (!this.#deletingFails) warn(`could not delete ${path}: ${describe(error)}; tried again`)
        this.#deletingFails = true
        return
      }
      this.#deletingFails = false
      this.#segments.shift()
      freed(oldest.bytes)
    }
  }

  /** The first segment that somebody still reads, or begins to read again after a crash. */
  get #needed(): number {
    const { pinned } = this.#options
    const settled = this.#settledSegment
    return pinned ? Math.min(settled, this.#segments.holding(pinned())) : settled
  }

  get #settledSegment(): number {
    return Math.min(...[...this.#cursors.values()].map(cursor => cursor.settled.segment))
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
      cursors: await Promise.all([...this.#cursors].map(([name, cursor]) => this.#statusOf(name, cursor))),
    }
  }

  async #statusOf(name: string, { settled, lag }: Cursor): Promise<SpoolStatus['cursors'][number]> {
    const place = { ...settled }
    const behind = this.#segments.list.filter(({ segment }) => segment >= place.segment)
    const lagBytes =
      behind.reduce((all, { bytes }) => all + bytes, 0) - (behind[0]?.segment === place.segment ? place.offset : 0)
    const oldest = lag > 0 ? await this.#stampAt(place) : undefined
    return { name, sequence: place.sequence, lag, lagBytes: lag > 0 ? Math.max(0, lagBytes) : 0, oldest }
  }

  /** When the next message from a place on was received, or, when it cannot be read, about when. */
  async #stampAt({ segment, offset }: Place): Promise<number | undefined> {
    const reader = new SegmentReader(this.#options.dir, this.#files)
    try {
      for (let at: number | undefined = segment; at !== undefined; at = this.#segments.after(at)?.segment) {
        const end = at === this.#position.segment ? this.#position.end : reader.size(at)
        const begin = at === segment ? offset : segmentHeaderBytes
        if (begin >= end) continue
        const damaged = await reader.load(at, begin, end)
        const frame = reader.at(at, begin + damaged)
        const message = frame && decodeMessage(frame.body)
        if (message) return message.receivedAt
      }
      return undefined
    } catch {
      return this.#segments.after(segment)?.before
    } finally {
      reader.close()
    }
  }
}

/** It feeds the screens: the others let it go first, and it is never metered. */
const firstLane = 'live'

/** How often is looked for what has been kept long enough. */
const checkEveryMs = 500
