import { join } from 'node:path'
import { CommitLog, isFull, syncedWrites } from '../disk/commit-log.js'
import { type Files, nodeFiles } from '../disk/files.js'
import { DiskProbe } from '../disk/probe.js'
import { isDiskError } from '../disk/retried-write.js'
import { describe, HubError } from '../errors.js'
import type { Publish } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { CleanMark } from './clean-mark.js'
import { encodedLength, encodePublish, stampedBytes } from './message-codec.js'
import { MessageStamps } from './message-stamps.js'
import { listSegments } from './segment-file.js'
import { type OpenSegment, SegmentWriter } from './segment-writer.js'
import { restoredNumber } from './spool-cut.js'
import { leapNumbers, type SpoolEnd, SpoolRecovery } from './spool-recovery.js'
import { type ReplayedSpool, SpoolReplay } from './spool-replay.js'

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
export class Spool implements ReplayedSpool {
  readonly name = 'spool'
  readonly #options: SpoolOptions
  readonly #files: Files
  readonly #log: CommitLog
  readonly #probe: DiskProbe
  readonly #listeners: SpoolListener[] = []
  readonly #stamps = new MessageStamps()
  readonly #segments: SegmentWriter
  readonly #clean: CleanMark
  #failing: Error | undefined
  readonly #replays = new Set<SpoolReplay>()
  /** File descriptor opened at the start; negative when the disk refused. */
  #opened = -1

  constructor(options: SpoolOptions) {
    this.#options = options
    this.#files = options.files ?? nodeFiles
    this.#clean = new CleanMark(options.dir, this.#files)
    const writesAreSynced = options.fsync === 'group' && syncedWrites !== 0
    this.#segments = new SegmentWriter(options.dir, this.#files, writesAreSynced ? syncedWrites : 0, options.log)
    this.#log = new CommitLog({
      files: this.#files,
      fsync: writesAreSynced ? 'write' : options.fsync,
      rotateBytes: options.segmentBytes,
      rotate: async () => this.#newSegment(),
      taken: () => this.#stamps.taken(),
      first: () => this.#stamps.settledSequence + 1,
      settled: (_end, frames, error) => {
        this.#stamps.settled(frames, !error)
        if (error) this.#fails(error)
        else {
          for (const listener of this.#listeners) listener.onCommitted?.(this.position)
        }
        for (const listener of this.#listeners) listener.onSettled?.()
      },
      unsynced: error =>
        options.log.warn(`the spool could not be synced: ${describe(error)}; a loss of power may lose the last second`),
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
    const { dir, known = 0 } = this.#options
    try {
      const isMade = this.#attempt(() => this.#files.makeDirectorySync(dir))
      const recovery = this.#recovery()
      const segments = listSegments(dir, this.#files)
      const newest = segments.at(-1)
      if (newest !== undefined) this.#goOnIn(newest, await recovery.end(newest, segments.at(-2)))
      else if (isMade) this.#open(() => this.#newSegment(), 0)
      else this.#log.open(-1, 0)
      const highest = Math.max(known, this.#clean.sequence, recovery.knownToCursors())
      if (highest > this.#stamps.settledSequence) this.#passOver(highest)
      else if (this.#mayHaveLost) this.#leap(this.#stamps.settledSequence + leapNumbers)
      const restored = restoredNumber(dir, this.#files)
      if (restored > this.#stamps.settledSequence) this.#leap(restored)
      this.#stamps.time = this.#stamps.receivedAt
      this.#attempt(() => this.#clean.remove())
    } catch (error) {
      throw new HubError('data_dir_unusable', `data.dir: cannot use ${dir}: ${describe(error)}`, { cause: error })
    }
  }

  async stop(): Promise<void> {
    for (const replay of this.#replays) replay.close()
    await this.#log.close()
    await this.#probe.stop()
    if (this.#failing) return
    this.#clean.write(this.#stamps.settledSequence)
  }

  get position(): SpoolPosition {
    return { segment: this.#segments.newest, end: this.#log.end, sequence: this.#stamps.settledSequence }
  }

  /** Bytes of all segments, and of messages waiting to be written. */
  get bytes(): number {
    return this.#segments.olderBytes + this.#log.end + this.#log.pendingBytes
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
      const error = new HubError('spool_full', `the spool is full: ${limitBytes} bytes (spool.limit)`)
      done?.(publish, error, 0)
      return
    }
    // On a full disk new messages would take every freed block at once, and nothing could be settled.
    if (this.#failing && isFull(this.#failing.cause)) {
      done?.(publish, this.#failing, 0)
      return
    }
    const stamps = this.#stamps
    stamps.next(this.#options.clock.now())
    const length = encodedLength(publish)
    if (stamps.time === stamps.receivedAt) this.#log.append(length, publish, this.#encode, done)
    else this.#log.append(length + stampedBytes(publish), publish, this.#encodeStamped, done)
  }

  readonly #encode = (publish: Publish, target: Buffer, at: number): void =>
    encodePublish(publish, this.#stamps.sequence, this.#stamps.receivedAt, target, at)

  readonly #encodeStamped = (publish: Publish, target: Buffer, at: number): void =>
    encodePublish(publish, this.#stamps.sequence, this.#stamps.receivedAt, target, at, this.#stamps.time)

  /** Latest stamp, in microseconds since the epoch: the clock was there once. */
  get latest(): number {
    return this.#stamps.receivedAt
  }

  /** Resolves when everything appended so far is on disk or has been refused. */
  flush(): Promise<void> {
    return this.#log.flush()
  }

  /** Called when the reading side has deleted segments that every cursor has passed. */
  freed(bytes: number): void {
    this.#segments.freed(bytes)
  }

  /** Measures the files again after the reading side ended, perhaps without reporting its deletions. */
  recount(): void {
    this.#segments.measure()
  }

  #fails(error: Error): void {
    if (!this.#failing) {
      this.#options.log.warn(
        `the spool: ${describe(error)}; publishes are not acknowledged, and devices send them again`,
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
    this.#clean.remove()
    this.#failing = undefined
    this.#options.log.warn('the spool: the disk accepts writes again')
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
   * Returns the messages with a sequence number above `after`, as far back as segments reach. From these messages the
   * broker restores state that was missing in the broker's own journal after a crash. To be closed when read, or with
   * the spool.
   */
  replay(after: number): SpoolReplay {
    const replay = new SpoolReplay(after, this, this.#options.dir, this.#files)
    this.#replays.add(replay)
    return replay
  }

  unreadable(path: string, error: unknown): void {
    this.#recovery().unreadable(path, error)
  }

  replayed(replay: SpoolReplay): void {
    this.#replays.delete(replay)
  }

  #recovery(): SpoolRecovery {
    const { dir, incidents, clock } = this.#options
    return new SpoolRecovery({ dir, files: this.#files, incidents, mayWrite: this.#mayWrite, now: clock.now() })
  }

  #newSegment(): OpenSegment {
    if (!this.#mayWrite) throw notLocked()
    const opened = this.#segments.begin(this.#stamps.settledSequence + 1, this.#stamps.committedAt, this.#log.end)
    for (const replay of this.#replays) replay.begun(this.#segments.newest)
    return opened
  }

  /** Opens the file for the next group. `end` is where the segment ends when the disk refuses to open the file. */
  #open(act: () => OpenSegment, end: number): void {
    let opened: OpenSegment = { fd: -1, end }
    this.#attempt(() => {
      opened = act()
    })
    this.#opened = opened.fd
    this.#log.open(opened.fd, opened.end)
  }

  #goOnIn(newest: number, { sequence, receivedAt, segment }: SpoolEnd): void {
    this.#segments.newest = newest
    this.#segments.measure()
    this.#stamps.restore(sequence, receivedAt)
    if (segment) this.#open(() => this.#segments.goOn(segment), segment.end)
    else this.#log.open(-1, this.#segments.sizeOf(newest))
  }

  /**
   * Passes over the lost tail of the spool: lost by a loss of power with `spool.fsync: interval`, or because a segment
   * was cut or removed. New messages go to a new segment, so that no reader's place is in the middle of one. The
   * readers report which of the lost messages they had not passed.
   */
  #passOver(known: number): void {
    this.#options.incidents.report(
      'spool_cut',
      `the spool ends at message ${this.#stamps.settledSequence}, although message ${known} was accepted: the end of the spool is missing, and its messages that were not stored yet are lost`,
    )
    // The stamp differs from that of the last message there, so that readers see that something is missing.
    this.#stamps.restore(known, this.#stamps.receivedAt + 1)
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
    return this.#options.fsync === 'interval' && this.#stamps.settledSequence > 0 && !this.#clean.exists
  }

  /** Continues with numbers that cannot be known anywhere. Readers take the numbers between for never assigned. */
  #leap(to: number): void {
    this.#stamps.sequence = this.#stamps.settledSequence = to
    this.#goOnInNewSegment()
  }
}

const notLocked = () => new Error('the data directory is not locked')
