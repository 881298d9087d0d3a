import { keepDamaged } from '../disk/commit-log.js'
import { type Files, openToRead } from '../disk/files.js'
import { isDiskError } from '../disk/retried-write.js'
import { describe } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { CursorFile, listCursors } from './cursor-file.js'
import { type Scanned, scanSegment, segmentPath } from './segment-file.js'
import type { SegmentEnd } from './segment-writer.js'

/**
 * Sequence numbers passed over when some may have been lost: more than can be received in the second that is not
 * synced.
 */
export const leapNumbers = 10_000_000

const microsecondsPerDay = 86_400e6

/** Where a spool goes on. */
export interface SpoolEnd {
  /** The last sequence number that may have been assigned. */
  readonly sequence: number
  /** Stamp of the last message. */
  readonly receivedAt: number
  /** Undefined: the disk cannot read the newest segment. */
  readonly segment: SegmentEnd | undefined
}

export interface SpoolRecoveryOptions {
  readonly dir: string
  readonly files: Files
  readonly incidents: IncidentReporter
  /** Whether a copy of a damaged segment may be written. */
  readonly mayWrite: boolean
  /** Microseconds since the epoch. */
  readonly now: number
}

/** Finds out at the start where a spool ends. */
export class SpoolRecovery {
  readonly #options: SpoolRecoveryOptions
  readonly #files: Files

  constructor(options: SpoolRecoveryOptions) {
    this.#options = options
    this.#files = options.files
  }

  /** Finds the end of the newest segment, behind the last whole message. Reports damage. */
  async end(segment: number, previous: number | undefined): Promise<SpoolEnd> {
    const path = this.#path(segment)
    const scanned = await this.#scan(path)
    if (!scanned) {
      // Numbers that may have been in the segment are not assigned again.
      const sequence = segment + leapNumbers
      return { sequence, receivedAt: await this.#lastStamp(previous, 0), segment: undefined }
    }
    const { size, stamp, tail, first, last = 0 } = scanned
    const isDamaged = typeof tail === 'object'
    const sequence = Math.max(segment - 1, scanned.sequence) + (isDamaged ? tail.messages : 0)
    const end = isDamaged && !tail.endsInZeros ? size : scanned.end
    // A header has no checksum, so the stamp is believed when plausible.
    const before =
      first === undefined
        ? await this.#lastStamp(previous, stamp ?? 0)
        : stamp !== undefined && stamp < first
          ? stamp
          : first - 1
    const isHeaderDamaged = first !== undefined && before !== stamp
    if (isDamaged || scanned.damagedBytes > 0 || isHeaderDamaged) {
      await this.#reportDamage(path, scanned.damagedBytes + (isDamaged ? size - scanned.end : 0))
    }
    if (end < size) this.#reportCut(path, size - end)
    const header = before === stamp ? undefined : before
    return { sequence, receivedAt: Math.max(last, before), segment: { size, end, header } }
  }

  /** Returns the highest sequence number that the cursors know. */
  knownToCursors(): number {
    const { dir } = this.#options
    let highest = 0
    for (const name of listCursors(dir, this.#files)) {
      try {
        highest = Math.max(highest, (new CursorFile(dir, name, this.#files).read().place?.sequence ?? 1) - 1)
      } catch {
        // The reading side reports the damage.
      }
    }
    return highest
  }

  /** Scans a segment. Undefined when the disk cannot read the file. */
  async #scan(path: string): Promise<Scanned | undefined> {
    const fd = this.#files.openSync(path, openToRead)
    try {
      return await scanSegment(this.#files, fd)
    } catch (error) {
      if (!isDiskError(error)) throw error
      this.unreadable(path, error)
      return undefined
    } finally {
      this.#files.closeSync(fd)
    }
  }

  /** Returns when the last message of the previous segment was received. `header` is the stamp of the newest segment. */
  async #lastStamp(previous: number | undefined, header: number): Promise<number> {
    const latest = this.#options.now + microsecondsPerDay
    if (previous === undefined) return header <= latest ? header : 0
    const scanned = await this.#scan(this.#path(previous))
    const begun = scanned?.stamp ?? 0
    return scanned?.last ?? (begun <= latest ? begun : 0)
  }

  #path(segment: number): string {
    return segmentPath(this.#options.dir, segment)
  }

  async #reportDamage(path: string, bytes: number): Promise<void> {
    const { mayWrite, incidents } = this.#options
    const copy = mayWrite
      ? await keepDamaged(path, this.#files)
      : 'it is not copied, as the data directory is read-only'
    incidents.report('spool_damaged', `segment ${path} is damaged (${bytes} bytes); the intact part is kept, ${copy}`, {
      bytes,
    })
  }

  #reportCut(path: string, bytes: number): void {
    this.#options.incidents.report(
      'spool_truncated',
      `${path}: ${bytes} bytes of an unfinished write are removed; unless the file was damaged, they were never acknowledged`,
      { bytes },
    )
  }

  /** Reports a segment that the disk cannot read. */
  unreadable(path: string, error: unknown): void {
    this.#options.incidents.report(
      'spool_unreadable',
      `segment ${path} cannot be read (${describe(error)}); new messages go to a new segment. Check the disk`,
    )
  }
}
