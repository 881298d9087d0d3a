import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, HubError, systemCode } from '../errors.js'
import {
  CommitLog,
  claimedEnd,
  frameHeaderBytes,
  isFull,
  keepDamaged,
  nextFrame,
  syncDirectory,
  syncedWrites,
} from '../journal.js'
import type { Message, Publish } from '../model.js'
import { decodeMessage, encodedLength, encodePublish, readUInt64, writeUInt64 } from './codec.js'
import { CursorFile, listCursors } from './cursor-file.js'

/**
 * The spool: every accepted message, raw and in order, in files called segments.
 *
 *     spool/0000000000000001.seg      named after the first sequence number in it
 *           0000000000483920.seg      the newest is being written
 *           live.cursor  record.cursor  …   where each reader is; see cursors.ts
 *
 *     segment  ┌─────────────────────┬──────────────────────────┬─────────┬─────────┬───
 *              │ magic "THSPOOL1" 8B │ receivedAt of the last   │ frame   │ frame   │ …   frames: journal.ts
 *              │                     │ message before it u64    │         │         │     bodies: codec.ts
 *              └─────────────────────┴──────────────────────────┴─────────┴─────────┴───
 *
 * On start the newest segment is read: a torn tail (the group that a crash cut short, never acknowledged) is cut
 * off. Damage is another matter: a copy is kept as `.bad`, readers step over it, and the sequence numbers that may
 * have been in it are not given again.
 *
 * A group that the disk refuses uses up its sequence numbers: messages without a gap between them on disk, but with one
 * between their numbers, are all that was ever acknowledged.
 */
const magic = 'THSPOOL1'
export const segmentHeaderBytes = 16

/** No frame of a message is shorter. */
const shortestFrame = frameHeaderBytes + 26

/** While the disk refuses what is written, it is asked so often whether it takes so much again. */
/** More than can be received in the second that is not synced. */
const leapNumbers = 10_000_000

const probeEveryMs = 1_000
const probeBytes = 3 << 20

/** How far the spool is committed: all of `segment` up to `end`, and all segments before it. */
export interface SpoolPosition {
  /** First sequence number of the newest segment: its name. */
  readonly segment: number
  readonly end: number
  /** The last sequence number that is committed. */
  readonly sequence: number
}

export interface SpoolOptions {
  readonly dir: string
  readonly segmentBytes: number
  readonly limitBytes: number
  readonly fsync: 'group' | 'interval'
  /** Microseconds since the epoch. It may jump; what the spool stamps does not. */
  readonly now: () => number
  /** After each group, committed or refused: less waits for the disk. */
  readonly settled: () => void
  /** After each group commit, when its messages can be read. */
  readonly committed: (position: SpoolPosition) => void
  /** The disk refused a group: what can be given up should be. */
  readonly refused?: (error: Error) => void
  /** The last sequence number known elsewhere, which must not be given again; asked at the start. */
  readonly known?: () => number
  /** Something a person should know: a tail cut, damage found, a disk that is full. */
  readonly warn: (sentence: string) => void
}

/** The writing side of the spool, on the broker thread. The reading side is `cursors.ts`. */
export class Spool {
  readonly name = 'spool'
  readonly #options: SpoolOptions
  readonly #log: CommitLog
  #segment = 1
  #sequence = 0
  #settledSequence = 0
  #receivedAt = 0
  /** Of the last message of the group that is being written, and of the last one committed. */
  #takenAt = 0
  #committedAt = 0
  /** Bytes of all segments but the newest. */
  #olderBytes = 0
  #failing: Error | undefined
  #probe: NodeJS.Timeout | undefined
  #probing: Promise<void> = Promise.resolve()

  constructor(options: SpoolOptions) {
    this.#options = options
    this.#log = new CommitLog({
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
          options.committed(this.position)
        }
        options.settled()
      },
      unsynced: error =>
        options.warn(`the spool could not be synced: ${describe(error)}; its last second may be lost with the power`),
    })
  }

  /** Rejects with `data_dir_unusable` when there is no room or no right to write. */
  async start(): Promise<void> {
    const { dir } = this.#options
    try {
      await mkdir(dir, { recursive: true })
      await rm(this.#probePath, { force: true })
      const segments = listSegments(dir)
      const newest = segments.at(-1)
      for (const segment of segments.slice(0, -1)) this.#olderBytes += statSync(segmentPath(dir, segment)).size
      const opened = newest === undefined ? this.#newSegment() : await this.#recover(newest, segments.at(-2))
      this.#log.open(opened.fd, opened.end)
      const known = this.#highestKnown()
      if (known > this.#settledSequence) this.#passOver(known, opened.fd)
      else if (this.#mayHaveLost) this.#leap(opened.fd)
      rmSync(this.#cleanPath, { force: true })
    } catch (error) {
      throw new HubError('data_dir_unusable', `data.dir: cannot use ${dir}: ${describe(error)}`, { cause: error })
    }
  }

  async stop(): Promise<void> {
    await this.#log.close()
    if (!this.#failing) closeSync(openSync(this.#cleanPath, 'w'))
    clearTimeout(this.#probe)
    await this.#probing
  }

  get position(): SpoolPosition {
    return { segment: this.#segment, end: this.#log.end, sequence: this.#settledSequence }
  }

  /** Bytes of all segments, and of what waits to be written. */
  get bytes(): number {
    return this.#olderBytes + this.#log.end + this.#log.pendingBytes
  }

  /** Bytes accepted that are not on disk yet. */
  get pendingBytes(): number {
    return this.#log.pendingBytes
  }

  get full(): boolean {
    return this.bytes >= this.#options.limitBytes
  }

  /** How much of the limit is taken, 0 to 1; a little more than 1 is possible. */
  get fill(): number {
    return this.bytes / this.#options.limitBytes
  }

  /** Why the disk refused what was written last, until it is seen to take so much again. */
  get failing(): Error | undefined {
    return this.#failing
  }

  /**
   * Takes a message; `done` runs once it is committed, in the order of the calls, with the sequence number it got.
   * An error means it is not kept: `spool_full`, or `spool_failed` when the disk refused it.
   */
  append<P extends Publish>(publish: P, done?: (publish: P, error: Error | undefined, sequence: number) => void): void {
    if (this.full) {
      const { limitBytes } = this.#options
      const error = new HubError('spool_full', `the spool holds its limit of ${limitBytes} bytes (spool.limit)`)
      done?.(publish, error, 0)
      return
    }
    // On a full disk every block that is given up would be eaten at once, and nothing could be settled.
    if (this.#failing && isFull(this.#failing.cause)) {
      done?.(publish, this.#failing, 0)
      return
    }
    this.#sequence++
    // Strictly ascending even when the clock stands still, within a millisecond, or jumps back.
    this.#receivedAt = Math.max(this.#receivedAt + 1, this.#options.now())
    this.#log.append(encodedLength(publish), publish, this.#encode, done)
  }

  readonly #encode = (publish: Publish, target: Buffer, at: number): void =>
    encodePublish(publish, this.#sequence, this.#receivedAt, target, at)

  /** Resolves when everything appended so far is on disk or has been refused. */
  flush(): Promise<void> {
    return this.#log.flush()
  }

  /** The reading side deleted segments that every cursor has passed. */
  freed(bytes: number): void {
    this.#olderBytes = Math.max(0, this.#olderBytes - bytes)
  }

  #fails(error: Error): void {
    const { warn, refused } = this.#options
    if (!this.#failing) {
      warn(`the spool: ${describe(error)}; what is published is not acknowledged, and devices send it again`)
      this.#askAgain()
    }
    this.#failing = error
    refused?.(error)
  }

  /**
   * A small group may fit where others do not, and somebody may wait for the hub to say that it works before anything
   * is published: so neither says that it is over, but this.
   */
  #askAgain(): void {
    clearTimeout(this.#probe)
    this.#probe = setTimeout(() => {
      this.#probing = this.#tryDisk().then(works => {
        if (!works) {
          // What could not be given up a moment ago may have been passed by now.
          if (this.#failing) this.#options.refused?.(this.#failing)
          return this.#askAgain()
        }
        this.#failing = undefined
        this.#options.warn('the spool: the disk takes what is written again')
      })
    }, probeEveryMs).unref()
  }

  async #tryDisk(): Promise<boolean> {
    try {
      const file = await open(this.#probePath, 'w')
      try {
        await file.writeFile(Buffer.alloc(probeBytes))
        await file.sync()
      } finally {
        await file.close()
        await rm(this.#probePath, { force: true })
      }
      return true
    } catch {
      return false
    }
  }

  get #probePath(): string {
    return join(this.#options.dir, 'probe')
  }

  /**
   * The messages with a sequence number above `after`, as far back as segments reach. For the start only: it reads
   * synchronously. This is how broker state that a crash kept from its own journal is made good.
   */
  *replay(after: number): Generator<Message> {
    const segments = listSegments(this.#options.dir)
    for (const [i, segment] of segments.entries()) {
      const next = segments[i + 1]
      if (next !== undefined && next <= after + 1) continue
      const buffer = readFileSync(segmentPath(this.#options.dir, segment))
      for (let at = segmentHeaderBytes; ; ) {
        const frame = nextFrame(buffer, at)
        if (!frame) break
        at = frame.end
        const message = decodeMessage(frame.body)
        if (message && message.sequence > after) yield message
      }
    }
  }

  get #writesAreSynced(): boolean {
    return this.#options.fsync === 'group' && syncedWrites !== 0
  }

  get #flags(): number {
    return constants.O_RDWR | (this.#writesAreSynced ? syncedWrites : 0)
  }

  #newSegment(): { fd: number; end: number } {
    const { dir } = this.#options
    const segment = this.#settledSequence + 1
    const path = segmentPath(dir, segment)
    // One that was begun, and could neither be finished nor be removed, holds nothing.
    const begun = existsSync(path) && statSync(path).size <= segmentHeaderBytes
    const fd = openSync(path, this.#flags | constants.O_CREAT | (begun ? constants.O_TRUNC : constants.O_EXCL))
    try {
      writeHeader(fd, this.#committedAt)
      fsyncSync(fd)
      syncDirectory(dir)
    } catch (error) {
      closeSync(fd)
      rmSync(path, { force: true })
      throw error
    }
    if (this.#log.end > 0) this.#olderBytes += this.#cutRefused()
    this.#segment = segment
    return { fd, end: segmentHeaderBytes }
  }

  /** What the disk refused and could not be cut off then would be read. Returns the size of the segment. */
  #cutRefused(): number {
    const path = segmentPath(this.#options.dir, this.#segment)
    const { end } = this.#log
    try {
      const { size } = statSync(path)
      if (size > end) truncateSync(path, end)
    } catch (error) {
      if (systemCode(error) !== 'ENOENT')
        this.#options.warn(`what was refused could not be cut off ${path}, and may be read: ${describe(error)}`)
    }
    return end
  }

  async #recover(segment: number, previous: number | undefined): Promise<{ fd: number; end: number }> {
    const { dir, warn } = this.#options
    const path = segmentPath(dir, segment)
    const buffer = readFileSync(path)
    this.#segment = segment
    this.#sequence = segment - 1
    const stamp = readStamp(buffer)
    let first = Number.POSITIVE_INFINITY
    let end = segmentHeaderBytes
    let damaged = stamp === undefined && nextFrame(buffer, end) !== undefined
    for (;;) {
      const frame = nextFrame(buffer, end)
      if (!frame) break
      damaged ||= frame.start !== end
      const message = decodeMessage(frame.body)
      if (message) {
        first = Math.min(first, message.receivedAt)
        this.#sequence = Math.max(this.#sequence, message.sequence)
        this.#receivedAt = Math.max(this.#receivedAt, message.receivedAt)
      }
      end = frame.end
    }
    const tail = buffer.subarray(end)
    if (!isTorn(tail)) {
      damaged = true
      this.#sequence += Math.ceil(tail.length / shortestFrame)
      if (!endsInZeros(tail)) end = buffer.length
    }
    // A header has no checksum: it is believed when it can be true.
    const hasFirst = first < Number.POSITIVE_INFINITY
    const before = hasFirst
      ? stamp !== undefined && stamp < first
        ? stamp
        : first - 1
      : this.#lastStamp(previous, stamp ?? 0)
    this.#receivedAt = Math.max(this.#receivedAt, before)
    this.#committedAt = this.#receivedAt
    this.#settledSequence = this.#sequence
    if (damaged || (hasFirst && before !== stamp)) {
      warn(`segment ${path} is damaged in the middle; what is whole is kept, ${await keepDamaged(path)}`)
    }
    if (end < buffer.length) {
      truncateSync(path, end)
      warn(`cut ${buffer.length - end} bytes of an unfinished write off ${path}`)
    }
    const fd = openSync(path, this.#flags)
    if (before !== stamp) writeHeader(fd, before)
    fsyncSync(fd)
    return { fd, end }
  }

  /**
   * With `spool.fsync: interval` a loss of power may take what others know of. What comes now goes to a new segment,
   * so that no place of theirs is in the middle of it.
   */
  #passOver(known: number, old: number): void {
    this.#options.warn(
      `the spool ends at ${this.#settledSequence}, and ${known} is known: messages between them may be lost`,
    )
    this.#settledSequence = this.#sequence = known
    // Not the stamp of the last message that is there: so readers see that something is missing.
    this.#receivedAt++
    this.#committedAt = this.#receivedAt
    const { fd, end } = this.#newSegment()
    this.#log.open(fd, end)
    closeSync(old)
  }

  /** Not synced, and not stopped: what is missing since a loss of power may be in RabbitMQ and in the dead letters. */
  get #mayHaveLost(): boolean {
    return this.#options.fsync === 'interval' && this.#settledSequence > 0 && !existsSync(this.#cleanPath)
  }

  get #cleanPath(): string {
    return join(this.#options.dir, 'clean')
  }

  /** Goes on with numbers that nobody can know; to readers those between are none that were ever given. */
  #leap(old: number): void {
    this.#settledSequence = this.#sequence = this.#settledSequence + leapNumbers
    const { fd, end } = this.#newSegment()
    this.#log.open(fd, end)
    closeSync(old)
  }

  #highestKnown(): number {
    const { dir, warn, known } = this.#options
    let highest = known?.() ?? 0
    for (const name of listCursors(dir)) {
      try {
        highest = Math.max(highest, (new CursorFile(dir, name).read()?.sequence ?? 1) - 1)
      } catch (error) {
        warn(`cursor ${name} cannot be read: ${describe(error)}`)
      }
    }
    return highest
  }

  /** When the last message of the segment before was received; `header` is what the newest one says. */
  #lastStamp(previous: number | undefined, header: number): number {
    const latest = this.#options.now() + microsecondsPerDay
    if (previous === undefined) return header <= latest ? header : 0
    const buffer = readFileSync(segmentPath(this.#options.dir, previous))
    const begun = readStamp(buffer) ?? 0
    let last = begun <= latest ? begun : 0
    for (let frame = nextFrame(buffer, segmentHeaderBytes); frame; frame = nextFrame(buffer, frame.end)) {
      last = decodeMessage(frame.body)?.receivedAt ?? last
    }
    return last
  }
}

const microsecondsPerDay = 86_400e6

/** Whether what is behind the last whole frame was never written to its end: then it was never acknowledged. */
function isTorn(tail: Buffer): boolean {
  const claimed = claimedEnd(tail, 0)
  return (
    tail.length < frameHeaderBytes || (claimed !== undefined && claimed > tail.length) || tail.every(byte => byte === 0)
  )
}

/** The file system made room, and the power failed before it was filled; most likely. */
function endsInZeros(tail: Buffer): boolean {
  return tail.length > zeroBytes && tail.subarray(-zeroBytes).every(byte => byte === 0)
}

const zeroBytes = 512

function writeHeader(fd: number, receivedAt: number): void {
  const header = Buffer.alloc(segmentHeaderBytes)
  header.write(magic)
  writeUInt64(header, receivedAt, magic.length)
  const written = writeSync(fd, header, 0, header.length, 0)
  if (written < header.length) throw new Error(`${written} of ${header.length} bytes were written`)
}

/** When the last message before a segment was received, by its header; undefined when that is damaged. */
export function readStamp(segment: Buffer): number | undefined {
  if (segment.length < segmentHeaderBytes || segment.toString('latin1', 0, magic.length) !== magic) return undefined
  return readUInt64(segment, magic.length)
}

export function segmentPath(dir: string, segment: number): string {
  return join(dir, `${String(segment).padStart(16, '0')}.seg`)
}

/** First sequence numbers of the segments there are, ascending. */
export function listSegments(dir: string): number[] {
  return readdirSync(dir)
    .filter(name => /^\d{16}\.seg$/.test(name))
    .map(name => Number(name.slice(0, 16)))
    .sort((a, b) => a - b)
}
