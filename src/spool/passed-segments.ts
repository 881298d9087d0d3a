import type { Files } from '../disk/files.js'
import { describe } from '../errors.js'
import type { SentenceLog } from '../observe/log.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { Archive } from './archive.js'
import { segmentPath } from './segment-file.js'
import { type Retention, type Segment, type Segments, surplus } from './segments.js'

/** Hears of the room that deleted segments leave. */
export interface FreedListener {
  freed(bytes: number): void
}

export interface PassedSegmentsOptions {
  readonly dir: string
  readonly segments: Segments
  /** Where segments go before they are deleted, if anywhere. */
  readonly archive: Archive | undefined
  readonly retention: Retention
  readonly clock: MicrosecondClock
  readonly files: Files
  readonly listener: FreedListener
  readonly log: Pick<SentenceLog, 'warn'>
}

/** Share of the limit of the spool up to which segments wait for the archive. */
const waitingShare = 0.75

/** Deletes segments of the spool that every cursor has passed, once they are archived where that is wished. */
export class PassedSegments {
  readonly #options: PassedSegmentsOptions
  #deletingFails = false

  constructor(options: PassedSegmentsOptions) {
    this.#options = options
  }

  /** Deletes the segments before `needed` that are past their time, or too large. */
  delete(needed: number): void {
    const { segments, archive, retention, clock } = this.#options
    archive?.expire()
    let count = surplus(segments.list, needed, retention, clock.now())
    for (let [oldest] = segments.list; oldest && count > 0; [oldest] = segments.list) {
      if (archive && !this.#isArchived(archive, oldest)) {
        const all = segments.list.reduce((sum, { bytes }) => sum + bytes, 0)
        if (all <= retention.limitBytes * waitingShare) {
          archive.request(oldest.segment, () => this.delete(needed))
          return
        }
        archive.passOver(oldest.segment, (segments.list[1]?.segment ?? oldest.segment + 1) - oldest.segment)
      }
      if (!this.#remove(oldest)) return
      count--
    }
  }

  /**
   * Makes room on a full disk: deletes the oldest of the archive; once there is none, all segments before `needed` at
   * once.
   */
  giveUp(needed: number): void {
    const { segments, archive, clock } = this.#options
    if (archive?.yieldRoom()) return
    let count = surplus(segments.list, needed, { keepMs: 0, keepBytes: 0, limitBytes: 0 }, clock.now())
    for (let [oldest] = segments.list; oldest && count > 0; [oldest] = segments.list) {
      if (!this.#remove(oldest)) return
      count--
    }
  }

  #isArchived(archive: Archive, { segment, bytes }: Segment): boolean {
    // A file of another size is of another spool, or its header is damaged.
    return archive.find(segment)?.rawBytes === bytes
  }

  #remove(oldest: Segment): boolean {
    const { dir, segments, files, listener, log } = this.#options
    const path = segmentPath(dir, oldest.segment)
    try {
      files.removeSync(path)
    } catch (error) {
      if (!this.#deletingFails) log.warn(`could not delete ${path}: ${describe(error)}; retrying`)
      this.#deletingFails = true
      return false
    }
    this.#deletingFails = false
    segments.shift()
    listener.freed(oldest.bytes)
    return true
  }
}
