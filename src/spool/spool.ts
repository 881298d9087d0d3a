import { constants } from 'node:fs'
import { join } from 'node:path'
import { CommitLog, isFull, keepDamaged, syncedWrites } from '../disk/commit-log.js'
import {
  type Files,
  nodeFiles,
  openNew,
  openToChange,
  openToRead,
  readWholeSync,
  syncDirectory,
} from '../disk/files.js'
import { DiskProbe } from '../disk/probe.js'
import { replaceFileSync } from '../disk/replace-file.js'
import { isDiskError } from '../disk/retried-write.js'
import { describe, HubError } from '../errors.js'
import type { Message, Publish } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { CursorFile, listCursors } from './cursor-file.js'
import { encodedLength, encodePublish, stampedBytes } from './message-codec.js'
import {
  listSegments,
  messagesOf,
  type Scanned,
  scanSegment,
  segmentHeaderBytes,
  segmentPath,
  writeSegmentHeader,
} from './segment-file.js'

/**
 * The spool: every accepted message, raw and in order, in files called segments.
 *
 *     spool/0000000000000001.seg      named after the first sequence number in it
 *           0000000000483920.seg      the newest is being written
 *           live.cursor  record.cursor  …   where each reader is; see cursors.ts
 *
 *     segment  ┌─────────────────────┬──────────────────────────┬─────────┬─────────┬───
 *              │ magic "THSPOOL1" 8B │ receivedAt of the last   │ frame   │ frame   │ …   frames: commit-log.ts
 *              │                     │ message before it u64    │         │         │     bodies: message-codec.ts
 *              └─────────────────────┴──────────────────────────┴─────────┴─────────┴───
 *
 * On start the newest segment is read: a torn tail (the group that a crash cut short, never acknowledged) is cut off.
 * Damage is treated differently: a copy is kept as `.bad`, readers step over the damaged bytes, and the sequence
 * numbers that may have been in them are not assigned again.
 *
 * A group that the disk refuses uses up its sequence numbers. Messages without a gap between them on disk, but with one
 * between their numbers, are therefore all that was ever acknowledged.
 */

/**
 * Sequence numbers passed over when some may have been lost: more than can be received in the second that is not
 * synced.
 */
const leapNumbers = 10_000_000

/** A clock that goes back by less is being corrected: times ascend in small steps until the clock catches up. */
const correctedMicros = 1e6

/** Interval and size of the test write that detects when a failing disk accepts writes again. */
const probeEveryMs = 1_000
const probeBytes = 3 << 20

/** End of the committed part: all of `segment` up to `end`, and all segments before. */
export interface SpoolPosition {
  /** First sequence number of the newest segment, which is the segment's name. */
  readonly segment: number
  readonly end: number
  /** Last sequence number that is committed. */
  readonly sequence: number
}

/** Hears of each group that the spool has committed, or that the disk has refused. */
export interface SpoolListener {
  /** Called after each group commit, when the messages can be read. */
  onCommitted?(position: SpoolPosition): void
  /** Called when the disk refused a group, to free disk space where possible. */
  onRefused?(): void
  /** Called last after each group, committed or refused: less waits for the disk. */
  onSettled?(): void
}

export interface SpoolOptions {
  readonly dir: string
  readonly segmentBytes: number
  readonly limitBytes: number
  readonly fsync: 'group' | 'interval'
  /** Returns microseconds since the epoch. This clock may jump; the stamps that order the messages do not. */
  readonly clock: MicrosecondClock
  /** Last sequence number known elsewhere, which must not be assigned again. */
  readonly known?: number
  /** The lock of the data directory. While it is not held, nothing may be written. */
  readonly lock?: { readonly held: boolean }
  /** Gets a sentence when the disk is full, and when it works again. */
  readonly log: Pick<SentenceLog, 'warn'>
  /** Receives the damage found at the start. */
  readonly incidents: IncidentReporter
  readonly files?: Files
}

/** The writing side of the spool, on the broker thread. The reading side is `cursors.ts`. */
export class Spool {
  readonly name = 'spool'
  readonly #options: SpoolOptions
  readonly #files: Files
  readonly #log: CommitLog
  readonly #probe: DiskProbe
  readonly #listeners: SpoolListener[] = []
  #segment = 1
  #sequence = 0
  #settledSequence = 0
  /** Stamp of the last message, strictly ascending whatever the clock does. */
  #receivedAt = 0
  /** Time of the last message, which is the time of a reading without its own. */
  #time = 0
  /** Stamps of the last message in the group that is being written, and of the last one committed. */
  #takenAt = 0
  #committedAt = 0
  /** Bytes of all segments but the newest. */
  #olderBytes = 0
  #failing: Error | undefined
  /** File descriptor opened at the start; negative when the disk refused. */
  #opened = -1

  constructor(options: SpoolOptions) {
    this.#options = options
    this.#files = options.files ?? nodeFiles
    this.#log = new CommitLog({
      files: this.#files,
      fsync: this.#writesAreSynced ? 'write' : options.fsync,
      rotateBytes: options.segmentBytes,
      rotate: async () => this.#newSegment(),
      taken: () => {
        this.#takenAt = this.#receivedAt
      },
      first: () => this.#settledSequence + 1,
      settled: (_end, frames, error) => {
        this.#settledSequence += frames
        if (error) this.#fails(error)
        else {
          this.#committedAt = this.#takenAt
          for (const listener of this.#listeners) listener.onCommitted?.(this.position)
        }
        for (const listener of this.#listeners) listener.onSettled?.()
      },
      unsynced: error =>
        options.log.warn(
          `the spool could not be synced: ${describe(error)}; its last second may be lost with the power`,
        ),
    })
    this.#probe = new DiskProbe({
      path: join(options.dir, 'probe'),
      bytes: probeBytes,
      everyMs: probeEveryMs,
      files: this.#files,
      works: () => this.#worksAgain(),
      // Segments that could not be deleted a moment ago may have been passed by now.
      refused: () => this.#failing && this.#tellRefused(),
    })
  }

  /** Adds listeners, which are called in the order given. */
  reportTo(...listeners: readonly SpoolListener[]): void {
    this.#listeners.push(...listeners)
  }

  /**
   * Finds the end of the spool, and continues there. A disk that is full or read-only is no reason to reject: then
   * every publish is refused until the disk takes writes again. Rejects with `data_dir_unusable` when the directory
   * cannot be read, or when the hub's user has no right to it.
   */
  async start(): Promise<void> {
    const { dir } = this.#options
    try {
      const isMade = this.#attempt(() => this.#files.makeDirectorySync(dir))
      const segments = listSegments(dir, this.#files)
      for (const segment of segments.slice(0, -1)) this.#olderBytes += this.#sizeOf(segment)
      const newest = segments.at(-1)
      if (newest !== undefined) await this.#recover(newest, segments.at(-2))
      else if (isMade) this.#open(() => this.#newSegment(), 0)
      else this.#log.open(-1, 0)
      const known = this.#highestKnown()
      if (known > this.#settledSequence) this.#passOver(known)
      else if (this.#mayHaveLost) this.#leap()
      this.#time = this.#receivedAt
      this.#attempt(() => this.#files.removeSync(this.#cleanPath))
    } catch (error) {
      throw new HubError('data_dir_unusable', `data.dir: cannot use ${dir}: ${describe(error)}`, { cause: error })
    }
  }

  async stop(): Promise<void> {
    await this.#log.close()
    await this.#probe.stop()
    if (this.#failing) return
    replaceFileSync(this.#cleanPath, `${this.#settledSequence}\n`, { files: this.#files })
  }

  get position(): SpoolPosition {
    return { segment: this.#segment, end: this.#log.end, sequence: this.#settledSequence }
  }

  /** Bytes of all segments, and of messages waiting to be written. */
  get bytes(): number {
    return this.#olderBytes + this.#log.end + this.#log.pendingBytes
  }

  /** Bytes accepted but not on disk yet. */
  get pendingBytes(): number {
    return this.#log.pendingBytes
  }

  get full(): boolean {
    return this.bytes >= this.#options.limitBytes
  }

  /** Share of the limit in use, 0 to 1; slightly more than 1 is possible. */
  get fill(): number {
    return this.bytes / this.#options.limitBytes
  }

  /** Why the disk refused the last write. Kept until the disk has taken the test write. */
  get failing(): Error | undefined {
    return this.#failing
  }

  /**
   * Appends a message. `done` runs once the message is committed, in the order of the calls, with the assigned sequence
   * number. An error means that the message is not kept: `spool_full`, or `spool_failed` when the disk refused the
   * write.
   */
  append<P extends Publish>(publish: P, done?: (publish: P, error: Error | undefined, sequence: number) => void): void {
    if (this.full) {
      const { limitBytes } = this.#options
      const error = new HubError('spool_full', `the spool holds its limit of ${limitBytes} bytes (spool.limit)`)
      done?.(publish, error, 0)
      return
    }
    // On a full disk new messages would take every freed block at once, and nothing could be settled.
    if (this.#failing && isFull(this.#failing.cause)) {
      done?.(publish, this.#failing, 0)
      return
    }
    this.#sequence++
    const now = this.#options.clock.now()
    // No two messages have the same time, also within a millisecond, and while a clock is corrected a little.
    this.#time = now > this.#time || this.#time - now > correctedMicros ? now : this.#time + 1
    this.#receivedAt = Math.max(this.#receivedAt + 1, this.#time)
    const length = encodedLength(publish)
    if (this.#time === this.#receivedAt) this.#log.append(length, publish, this.#encode, done)
    else this.#log.append(length + stampedBytes(publish), publish, this.#encodeStamped, done)
  }

  readonly #encode = (publish: Publish, target: Buffer, at: number): void =>
    encodePublish(publish, this.#sequence, this.#receivedAt, target, at)

  readonly #encodeStamped = (publish: Publish, target: Buffer, at: number): void =>
    encodePublish(publish, this.#sequence, this.#receivedAt, target, at, this.#time)

  /** Latest stamp, in microseconds since the epoch: the clock was there once. */
  get latest(): number {
    return this.#receivedAt
  }

  /** Resolves when everything appended so far is on disk or has been refused. */
  flush(): Promise<void> {
    return this.#log.flush()
  }

  /** Called when the reading side has deleted segments that every cursor has passed. */
  freed(bytes: number): void {
    this.#olderBytes = Math.max(0, this.#olderBytes - bytes)
  }

  /** Measures the files again after the reading side ended, perhaps without reporting its deletions. */
  recount(): void {
    const older = listSegments(this.#options.dir, this.#files).filter(segment => segment < this.#segment)
    this.#olderBytes = older.reduce((sum, segment) => sum + this.#sizeOf(segment), 0)
  }

  #fails(error: Error): void {
    if (!this.#failing) {
      this.#options.log.warn(
        `the spool: ${describe(error)}; what is published is not acknowledged, and devices send it again`,
      )
      // A small group may fit where others do not, so a successful write does not prove that the disk works again.
      this.#probe.start()
    }
    this.#failing = error
    this.#tellRefused()
  }

  #tellRefused(): void {
    for (const listener of this.#listeners) listener.onRefused?.()
  }

  #worksAgain(): void {
    if (!this.#mayWrite) throw notLocked()
    this.#files.removeSync(this.#cleanPath)
    this.#failing = undefined
    this.#options.log.warn('the spool: the disk takes what is written again')
  }

  get #mayWrite(): boolean {
    return this.#options.lock?.held ?? true
  }

  /**
   * Runs an action that the disk may refuse. Returns false when the disk does, and then the spool is failing; throws
   * other errors.
   */
  #attempt(act: () => void): boolean {
    let refusal: unknown = notLocked()
    if (this.#mayWrite) {
      try {
        act()
        return true
      } catch (error) {
        if (!isDiskError(error)) throw error
        refusal = error
      }
    }
    const sentence = `could not write to disk: ${describe(refusal)}`
    if (!this.#failing) this.#fails(new HubError('spool_failed', sentence, { cause: refusal }))
    return false
  }

  /**
   * Yields the messages with a sequence number above `after`, as far back as segments reach. For the start only, as
   * reads are synchronous. From these messages the broker restores state that was missing in the broker's own journal
   * after a crash.
   */
  *replay(after: number): Generator<Message> {
    const segments = listSegments(this.#options.dir, this.#files)
    for (const [i, segment] of segments.entries()) {
      const next = segments[i + 1]
      if (next !== undefined && next <= after + 1) continue
      const path = segmentPath(this.#options.dir, segment)
      const fd = this.#files.openSync(path, openToRead)
      try {
        for (const message of messagesOf(this.#files, fd)) if (message.sequence > after) yield message
      } catch (error) {
        if (!isDiskError(error)) throw error
        this.#unreadable(path, error)
      } finally {
        this.#files.closeSync(fd)
      }
    }
  }

  #unreadable(path: string, error: unknown): void {
    this.#options.incidents.report(
      'spool_unreadable',
      `segment ${path} cannot be read (${describe(error)}); what is published now goes to a new one. Check the disk`,
    )
  }

  get #writesAreSynced(): boolean {
    return this.#options.fsync === 'group' && syncedWrites !== 0
  }

  get #syncing(): number {
    return this.#writesAreSynced ? syncedWrites : 0
  }

  #newSegment(): { fd: number; end: number } {
    if (!this.#mayWrite) throw notLocked()
    const { dir } = this.#options
    const segment = this.#settledSequence + 1
    const path = segmentPath(dir, segment)
    // A segment that was begun, and could neither be finished nor be removed, holds nothing.
    const begun = (this.#files.sizeOfSync(path) ?? Number.POSITIVE_INFINITY) <= segmentHeaderBytes
    const flags = begun ? openToChange | constants.O_TRUNC : openNew
    const fd = this.#files.openSync(path, flags | this.#syncing)
    try {
      writeSegmentHeader(this.#files, fd, this.#committedAt)
      this.#files.fsyncSync(fd)
      syncDirectory(dir, this.#files)
    } catch (error) {
      this.#files.closeSync(fd)
      this.#removeBegun(path)
      throw error
    }
    if (this.#log.end > 0 && segment !== this.#segment) this.#olderBytes += this.#cutRefused()
    this.#segment = segment
    return { fd, end: segmentHeaderBytes }
  }

  /**
   * Removes a segment that could not be begun. A failure is ignored: the first error is the one to report, and the next
   * try uses an empty segment that stays.
   */
  #removeBegun(path: string): void {
    try {
      this.#files.removeSync(path)
    } catch {
      // The next try uses the segment.
    }
  }

  /**
   * Cuts off bytes that the disk refused and that could not be cut off then, as they would be read. Returns the size of
   * the segment.
   */
  #cutRefused(): number {
    const path = segmentPath(this.#options.dir, this.#segment)
    const { end } = this.#log
    try {
      if ((this.#files.sizeOfSync(path) ?? 0) > end) this.#truncate(path, end)
    } catch (error) {
      this.#options.log.warn(`what was refused could not be cut off ${path}, and may be read: ${describe(error)}`)
    }
    return end
  }

  #truncate(path: string, end: number): void {
    const fd = this.#files.openSync(path, openToChange)
    try {
      this.#files.ftruncateSync(fd, end)
    } finally {
      this.#files.closeSync(fd)
    }
  }

  #sizeOf(segment: number): number {
    return this.#files.sizeOfSync(segmentPath(this.#options.dir, segment)) ?? 0
  }

  /** Opens the file for the next group. `end` is where the segment ends when the disk refuses to open the file. */
  #open(act: () => { fd: number; end: number }, end: number): void {
    let opened = { fd: -1, end }
    this.#attempt(() => {
      opened = act()
    })
    this.#opened = opened.fd
    this.#log.open(opened.fd, opened.end)
  }

  /** Continues the newest segment behind the last whole message. */
  async #recover(segment: number, previous: number | undefined): Promise<void> {
    const { dir, incidents } = this.#options
    const path = segmentPath(dir, segment)
    this.#segment = segment
    const scanned = await this.#scan(path)
    if (!scanned) {
      // Numbers that may have been in the segment are not assigned again.
      this.#settledSequence = this.#sequence = segment + leapNumbers
      this.#receivedAt = this.#committedAt = await this.#lastStamp(previous, 0)
      this.#log.open(-1, this.#sizeOf(segment))
      return
    }
    const { size, stamp, tail, first, last = 0 } = scanned
    let { end } = scanned
    const isDamaged = typeof tail === 'object'
    this.#sequence = Math.max(segment - 1, scanned.sequence) + (isDamaged ? tail.messages : 0)
    if (isDamaged && !tail.endsInZeros) end = size
    // A header has no checksum, so the stamp is believed when plausible.
    const before =
      first === undefined
        ? await this.#lastStamp(previous, stamp ?? 0)
        : stamp !== undefined && stamp < first
          ? stamp
          : first - 1
    this.#receivedAt = this.#committedAt = Math.max(this.#receivedAt, last, before)
    this.#settledSequence = this.#sequence
    const isHeaderDamaged = first !== undefined && before !== stamp
    if (isDamaged || scanned.damagedBytes > 0 || isHeaderDamaged) {
      const bytes = scanned.damagedBytes + (isDamaged ? size - scanned.end : 0)
      const copy = this.#mayWrite ? await keepDamaged(path, this.#files) : 'it is not copied, as nothing may be written'
      incidents.report('spool_damaged', `segment ${path} is damaged (${bytes} bytes); what is whole is kept, ${copy}`, {
        bytes,
      })
    }
    if (end < size) {
      incidents.report(
        'spool_truncated',
        `${path}: ${size - end} bytes of a write that was never finished are cut off; unless the file was damaged, nothing of them was acknowledged`,
        { bytes: size - end },
      )
    }
    this.#open(() => {
      const fd = this.#files.openSync(path, openToChange | this.#syncing)
      try {
        if (end < size) this.#files.ftruncateSync(fd, end)
        if (before !== stamp) writeSegmentHeader(this.#files, fd, before)
        // The content written by the previous process, and the name of the segment, may not be on disk yet.
        this.#files.fsyncSync(fd)
        syncDirectory(dir, this.#files)
      } catch (error) {
        this.#files.closeSync(fd)
        throw error
      }
      return { fd, end: Math.max(end, segmentHeaderBytes) }
    }, end)
  }

  /** Scans a segment. Undefined when the disk cannot read the file. */
  async #scan(path: string): Promise<Scanned | undefined> {
    const fd = this.#files.openSync(path, openToRead)
    try {
      return await scanSegment(this.#files, fd)
    } catch (error) {
      if (!isDiskError(error)) throw error
      this.#unreadable(path, error)
      return undefined
    } finally {
      this.#files.closeSync(fd)
    }
  }

  /**
   * Passes over the lost tail of the spool: lost by a loss of power with `spool.fsync: interval`, or because a segment
   * was cut or removed. New messages go to a new segment, so that no reader's place is in the middle of one. The
   * readers report which of the lost messages they had not passed.
   */
  #passOver(known: number): void {
    this.#options.incidents.report(
      'spool_cut',
      `the spool ends at message ${this.#settledSequence}, and ${known} is known: its end was lost or removed, and what was not stored of it yet is lost`,
    )
    this.#settledSequence = this.#sequence = known
    // Differs from the stamp of the last message there, so that readers see that something is missing.
    this.#receivedAt++
    this.#committedAt = this.#receivedAt
    this.#goOnInNewSegment()
  }

  #goOnInNewSegment(): void {
    const old = this.#opened
    this.#open(() => this.#newSegment(), this.#log.end)
    if (old >= 0) this.#files.closeSync(old)
  }

  /**
   * Whether messages may have been lost: the spool was not synced, and not stopped. Messages lost with the power may be
   * in RabbitMQ and in the dead letters.
   */
  get #mayHaveLost(): boolean {
    return (
      this.#options.fsync === 'interval' &&
      this.#settledSequence > 0 &&
      this.#files.sizeOfSync(this.#cleanPath) === undefined
    )
  }

  get #cleanPath(): string {
    return join(this.#options.dir, 'clean')
  }

  /** Continues with numbers that cannot be known anywhere. Readers take the numbers between for never assigned. */
  #leap(): void {
    this.#settledSequence = this.#sequence = this.#settledSequence + leapNumbers
    this.#goOnInNewSegment()
  }

  #highestKnown(): number {
    const { dir, known } = this.#options
    let highest = Math.max(known ?? 0, this.#cleanEnd)
    for (const name of listCursors(dir, this.#files)) {
      try {
        highest = Math.max(highest, (new CursorFile(dir, name, this.#files).read().place?.sequence ?? 1) - 1)
      } catch {
        // The reading side reports the damage.
      }
    }
    return highest
  }

  /** Last sequence number when the spool was stopped; 0 when the spool was not stopped. */
  get #cleanEnd(): number {
    try {
      const end = Number(readWholeSync(this.#cleanPath, this.#files)?.toString('latin1'))
      return Number.isSafeInteger(end) ? end : 0
    } catch {
      return 0
    }
  }

  /**
   * Returns when the last message of the previous segment was received. `header` is the stamp of the newest segment.
   */
  async #lastStamp(previous: number | undefined, header: number): Promise<number> {
    const latest = this.#options.clock.now() + microsecondsPerDay
    if (previous === undefined) return header <= latest ? header : 0
    const scanned = await this.#scan(segmentPath(this.#options.dir, previous))
    const begun = scanned?.stamp ?? 0
    return scanned?.last ?? (begun <= latest ? begun : 0)
  }
}

const notLocked = () => new Error('the data directory is not locked')

const microsecondsPerDay = 86_400e6
