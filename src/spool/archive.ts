import { join } from 'node:path'
import { type Files, syncDirectory } from '../disk/files.js'
import { isDiskError } from '../disk/retried-write.js'
import { describe, systemCode } from '../errors.js'
import type { Message } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { pause } from '../runtime/retry.js'
import { inMilliseconds, type MicrosecondClock, type MillisecondClock } from '../runtime/time.js'
import { ArchiveClock } from './archive-clock.js'
import { type ArchivedRange, type Pace, readArchive, readArchiveHeader, writeArchive } from './archive-file.js'
import { segmentPath } from './segment-file.js'

export interface ArchiveOptions {
  /** Directory of the archive, and of the spool. */
  readonly dir: string
  readonly spoolDir: string
  /** How long archived messages are kept after their receipt, and how many bytes of them. */
  readonly keepMs: number
  readonly limitBytes: number
  readonly clock: MicrosecondClock
  readonly monotonic: MillisecondClock
  readonly files: Files
  readonly log: Pick<SentenceLog, 'warn'>
  readonly incidents: IncidentReporter
}

/** An archived segment. Times as in {@link ArchivedRange}; without a header nothing is known but the name and size. */
export interface ArchivedSegment extends ArchivedRange {
  /** First sequence number, which is the name of the file. */
  readonly segment: number
  readonly bytes: number
}

/** State of the archive, for people. Times are in microseconds since the epoch. */
export interface ArchiveStatus {
  readonly bytes: number
  readonly limit: number
  readonly keepMs: number
  /** Bytes before compression. */
  readonly rawBytes: number
  readonly messages: number
  readonly segments: number
  /** Times of receipt of the first and of the last message. Undefined while the archive is empty. */
  readonly from: number | undefined
  readonly to: number | undefined
  /** Numbers since the start of the hub: segments archived, deleted after their time, and given up before it. */
  readonly added: number
  readonly expired: number
  readonly givenUp: number
}

/** Processor time that compressing takes, as a share: it rests as long as it works, so half of one processor at most. */
const restShare = 1

/** How long nothing is archived after the disk refused, in milliseconds. */
const refusedMs = 60_000

/** Bytes that are deleted at once when the disk is full. */
const yieldedBytes = 64e6

/**
 * The archive: segments of the spool that every cursor has passed, compressed and kept longer (`spool.archive`). On the
 * processor thread, one segment at a time, in turns and with rests; the compression itself is in the threads of zlib.
 *
 * A segment is in the spool until its archived file is whole, synced, and has its name. A hub that is killed in between
 * finds it in the spool, in both, or in the archive. Whoever reads takes the one in the spool first.
 */
export class Archive {
  readonly #options: ArchiveOptions
  readonly #files: Files
  readonly #clock: ArchiveClock
  readonly #abort = new AbortController()
  #list: ArchivedSegment[] = []
  #bytes = 0
  #running: Promise<void> | undefined
  #pausedUntil = Number.NEGATIVE_INFINITY
  #counts = { added: 0, expired: 0, givenUp: 0 }

  constructor(options: ArchiveOptions) {
    this.#options = options
    this.#files = options.files
    const { dir, clock, monotonic, files } = options
    this.#clock = new ArchiveClock({ dir, wall: inMilliseconds(clock), monotonic, files })
  }

  /** Reads which segments there are. A disk that cannot be read leaves the archive empty, which is reported. */
  start(): void {
    const { dir, incidents } = this.#options
    this.#list = []
    this.#bytes = 0
    try {
      this.#files.makeDirectorySync(dir)
      for (const name of this.#files.listSync(dir).sort()) {
        if (/^\d{16}\.arc\.new$/.test(name)) this.#files.removeSync(join(dir, name))
        else if (/^\d{16}\.arc$/.test(name)) this.#add(this.#found(Number(name.slice(0, 16))))
      }
      this.#clock.start()
    } catch (error) {
      if (!isDiskError(error)) throw error
      incidents.report('archive_unreadable', `the archive ${dir} cannot be read: ${describe(error)}`)
    }
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    await this.#running
    if (this.#list.length > 0) this.#clock.save()
  }

  get bytes(): number {
    return this.#bytes
  }

  get list(): readonly ArchivedSegment[] {
    return this.#list
  }

  find(segment: number): ArchivedSegment | undefined {
    const found = this.#list[this.#placeOf(segment)]
    return found?.segment === segment ? found : undefined
  }

  /** Returns the segment with a sequence number, or else the first one behind it. */
  holding(sequence: number): ArchivedSegment | undefined {
    const before = this.#list[this.#placeOf(sequence + 1) - 1]
    return before && before.last >= sequence ? before : this.after(sequence)
  }

  /** Returns the first segment behind another. */
  after(segment: number): ArchivedSegment | undefined {
    return this.#list[this.#placeOf(segment + 1)]
  }

  /**
   * Begins to archive a segment of the spool, unless another one is under way or the disk has refused a moment ago.
   * `done` is called when the segment is in the archive for good.
   */
  request(segment: number, done: () => void): void {
    const { monotonic } = this.#options
    if (this.#running || this.#abort.signal.aborted || monotonic.now() < this.#pausedUntil) return
    this.#running = this.#archive(segment).then(
      () => {
        this.#running = undefined
        done()
      },
      error => {
        this.#running = undefined
        this.#failed(segment, error)
      },
    )
  }

  /** Notes that a segment of the spool goes without having been archived, as the spool needs the room. */
  passOver(segment: number, messages: number): void {
    this.#counts.givenUp++
    this.#options.incidents.report(
      'archive_passed_over',
      `the spool needs room: messages ${segment} to ${segment + messages - 1} are deleted and not archived`,
    )
  }

  /** Deletes what is past its time, and the oldest beyond the limit. */
  expire(): void {
    const { keepMs, limitBytes } = this.#options
    if (this.#list.length === 0) return
    const since = (this.#clock.now() - keepMs) * 1_000
    for (let [oldest] = this.#list; oldest; [oldest] = this.#list) {
      // Without a header the next segment tells that this one is older.
      const latest = oldest.latest || (this.#list[1]?.earliest ?? Number.POSITIVE_INFINITY)
      const isOver = this.#bytes > limitBytes
      if (latest >= since && !isOver) return
      if (!this.#removeOldest()) return
      if (latest < since) this.#counts.expired++
      else this.#counts.givenUp++
    }
  }

  /**
   * Makes room on a full disk: deletes some of the oldest segments. Returns false when there are none. Nothing is
   * archived for a while.
   */
  yieldRoom(): boolean {
    this.#pausedUntil = this.#options.monotonic.now() + refusedMs
    const before = this.#bytes
    const [first] = this.#list
    let last = first
    for (let [oldest] = this.#list; oldest && before - this.#bytes < yieldedBytes; [oldest] = this.#list) {
      if (!this.#removeOldest()) break
      this.#counts.givenUp++
      last = oldest
    }
    if (!first || !last || this.#bytes === before) return false
    this.#options.incidents.report(
      'archive_yielded',
      `the disk is full: the oldest messages of the archive are deleted for the spool, from ${first.segment} to ${last.last} (${Math.round((before - this.#bytes) / 1e6)} MB)`,
    )
    return true
  }

  /** Yields the messages of a segment with times of receipt in [from, to). Rejects with `ENOENT` when it is gone. */
  read(segment: number, range: { readonly from: number; readonly to: number }): AsyncIterable<readonly Message[]> {
    const path = this.#path(segment)
    return readArchive(this.#files, path, range, bytes =>
      this.#options.incidents.report('archive_damaged', `${path} is damaged (${bytes} bytes); the rest is read`),
    )
  }

  status(): ArchiveStatus {
    const { limitBytes, keepMs } = this.#options
    const sum = (of: (one: ArchivedSegment) => number) => this.#list.reduce((all, one) => all + of(one), 0)
    return {
      bytes: this.#bytes,
      limit: limitBytes,
      keepMs,
      rawBytes: sum(({ rawBytes }) => rawBytes),
      messages: sum(({ messages }) => messages),
      segments: this.#list.length,
      from: this.#list[0]?.earliest || undefined,
      to: this.#list.at(-1)?.latest || undefined,
      ...this.#counts,
    }
  }

  async #archive(segment: number): Promise<void> {
    const { dir, spoolDir, incidents } = this.#options
    const path = this.#path(segment)
    const fresh = `${path}.new`
    this.#files.removeSync(fresh)
    try {
      const from = segmentPath(spoolDir, segment)
      const { signal } = this.#abort
      const pace: Pace = { signal, rest: workedMs => pause(workedMs * restShare, signal) }
      const { damaged, ...written } = await writeArchive(this.#files, from, fresh, pace)
      this.#files.renameSync(fresh, path)
      syncDirectory(dir, this.#files)
      this.#add({ segment, ...written })
      this.#counts.added++
      if (damaged > 0)
        incidents.report('archive_damaged', `segment ${from} is damaged: ${damaged} bytes of it are not archived`)
    } catch (error) {
      this.#discard(fresh)
      throw error
    }
  }

  #failed(segment: number, error: unknown): void {
    if (this.#abort.signal.aborted) return
    const { monotonic, log } = this.#options
    const wasPaused = monotonic.now() < this.#pausedUntil + refusedMs
    this.#pausedUntil = monotonic.now() + refusedMs
    // Whoever waits in the spool is archived later, or goes when the spool needs room.
    if (!wasPaused) log.warn(`could not archive segment ${segment}: ${describe(error)}; retrying`)
  }

  #discard(path: string): void {
    try {
      this.#files.removeSync(path)
    } catch {
      // The next start removes it.
    }
  }

  #found(segment: number): ArchivedSegment {
    const path = this.#path(segment)
    const bytes = this.#files.sizeOfSync(path) ?? 0
    const range = readArchiveHeader(this.#files, path)
    if (range) return { segment, bytes, ...range }
    this.#options.incidents.report('archive_damaged', `the header of ${path} is damaged; its messages are still read`)
    return { segment, bytes, last: segment, earliest: 0, latest: 0, rawBytes: bytes, messages: 0 }
  }

  #add(archived: ArchivedSegment): void {
    const before = this.find(archived.segment)
    this.#list.splice(this.#placeOf(archived.segment), before ? 1 : 0, archived)
    this.#bytes += archived.bytes - (before?.bytes ?? 0)
  }

  #removeOldest(): boolean {
    const [oldest] = this.#list
    if (!oldest) return false
    const path = this.#path(oldest.segment)
    try {
      this.#files.removeSync(path)
    } catch (error) {
      if (systemCode(error) === undefined) throw error
      this.#options.log.warn(`could not delete ${path}: ${describe(error)}; retrying`)
      return false
    }
    this.#list.shift()
    this.#bytes -= oldest.bytes
    return true
  }

  /** Returns the place of the first segment at or behind a number. */
  #placeOf(segment: number): number {
    let [low, high] = [0, this.#list.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#list[middle] as ArchivedSegment).segment < segment) low = middle + 1
      else high = middle
    }
    return low
  }

  #path(segment: number): string {
    return join(this.#options.dir, `${String(segment).padStart(16, '0')}.arc`)
  }
}
