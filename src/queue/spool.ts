import { constants, fsyncSync, openSync, readdirSync, readFileSync, statSync, truncateSync, writeSync } from 'node:fs'
import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { HubError } from '../errors.js'
import { CommitLog, frameAt, nextFrame, syncDirectory, syncedWrites } from '../journal.js'
import type { Message, Publish } from '../model.js'
import { decodeMessage, encodedLength, encodePublish, readUInt64, writeUInt64 } from './codec.js'

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
 * off. Damage with whole frames behind it is another matter: a copy is kept as `.bad`, and readers step over it.
 */
const magic = 'THSPOOL1'
export const segmentHeaderBytes = 16

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
  /** Something a person should know: a tail cut, damage found. */
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
  /** Bytes of all segments but the newest. */
  #olderBytes = 0

  constructor(options: SpoolOptions) {
    this.#options = options
    this.#log = new CommitLog({
      fsync: this.#writesAreSynced ? 'write' : options.fsync,
      rotateBytes: options.segmentBytes,
      rotate: async () => this.#newSegment(),
      first: () => this.#settledSequence + 1,
      settled: (_end, frames, error) => {
        this.#settledSequence += frames
        if (!error) options.committed(this.position)
        options.settled()
      },
    })
  }

  async start(): Promise<void> {
    await mkdir(this.#options.dir, { recursive: true })
    const segments = listSegments(this.#options.dir)
    const newest = segments.at(-1)
    for (const segment of segments.slice(0, -1))
      this.#olderBytes += statSync(segmentPath(this.#options.dir, segment)).size
    const opened = newest === undefined ? this.#newSegment() : await this.#recover(newest)
    this.#log.open(opened.fd, opened.end)
  }

  async stop(): Promise<void> {
    await this.#log.close()
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
    this.#olderBytes -= bytes
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
    const segment = this.#settledSequence + 1
    const fd = openSync(segmentPath(this.#options.dir, segment), this.#flags | constants.O_CREAT | constants.O_EXCL)
    writeHeader(fd, this.#receivedAt)
    fsyncSync(fd)
    syncDirectory(this.#options.dir)
    if (this.#segment !== segment) this.#olderBytes += this.#log.end
    this.#segment = segment
    return { fd, end: segmentHeaderBytes }
  }

  async #recover(segment: number): Promise<{ fd: number; end: number }> {
    const path = segmentPath(this.#options.dir, segment)
    const buffer = readFileSync(path)
    this.#segment = segment
    this.#settledSequence = this.#sequence = segment - 1
    const headed = buffer.length >= segmentHeaderBytes && buffer.toString('latin1', 0, magic.length) === magic
    if (headed) this.#receivedAt = readUInt64(buffer, 8)

    let end = segmentHeaderBytes
    let damaged = !headed && nextFrame(buffer, end) !== undefined
    for (;;) {
      const frame = frameAt(buffer, end) ?? nextFrame(buffer, end)
      if (!frame) break
      damaged ||= frame.start !== end
      const message = decodeMessage(frame.body)
      if (message) {
        this.#sequence = Math.max(this.#sequence, message.sequence)
        this.#receivedAt = Math.max(this.#receivedAt, message.receivedAt)
      }
      end = frame.end
    }
    this.#settledSequence = this.#sequence
    if (damaged) {
      await copyFile(path, `${path}.bad`)
      this.#options.warn(
        `segment ${path} is damaged in the middle; what is whole is kept, the file as it was is ${path}.bad`,
      )
    }
    if (end < buffer.length) {
      truncateSync(path, end)
      this.#options.warn(`cut ${buffer.length - end} bytes of an unfinished write off ${path}`)
    }
    const fd = openSync(path, this.#flags)
    if (!headed) writeHeader(fd, this.#receivedAt)
    fsyncSync(fd)
    return { fd, end }
  }
}

function writeHeader(fd: number, receivedAt: number): void {
  const header = Buffer.alloc(segmentHeaderBytes)
  header.write(magic)
  writeUInt64(header, receivedAt, magic.length)
  writeSync(fd, header, 0, header.length, 0)
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
