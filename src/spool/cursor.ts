import { setImmediate as turn } from 'node:timers/promises'
import { keepDamaged } from '../disk/commit-log.js'
import type { Files } from '../disk/files.js'
import { describe, systemCode } from '../errors.js'
import type { Message } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { type Batch, type QueueReader, Wakeup } from '../queue/queue.js'
import { pause } from '../runtime/retry.js'
import type { Meter } from './backlog-meter.js'
import type { CursorFile, CursorPlace } from './cursor-file.js'
import { decodeMessage, stampOf } from './message-codec.js'
import { segmentHeaderBytes, segmentPath } from './segment-file.js'
import { SegmentReader } from './segment-reader.js'
import type { Segments } from './segments.js'
import type { SpoolPosition } from './spool.js'

/** Shortest time between two saves of a cursor. Messages passed since the last save come again after a crash. */
const saveEveryMs = 100

/** Time until the next try after a failed save. */
const saveAgainMs = 1_000

/** Longest time that the other cursors wait for the first lane. */
const maxYieldMs = 20

/** All cursors together, as one cursor uses them. Implemented by `Cursors`. */
export interface CursorOwner {
  /** Position up to which the spool is committed. */
  readonly position: SpoolPosition
  /** The cursor that reads before the others. */
  readonly first: Cursor | undefined
  /** See `CursorsOptions`. */
  skipped(group: string, from: number, to: number, damaged: boolean): void | Promise<void>
  /** Called after each save, successful or not. */
  moved(): void
}

export interface CursorOptions {
  readonly name: string
  readonly dir: string
  readonly place: CursorPlace
  readonly file: CursorFile
  readonly segments: Segments
  /** Whether the saved segment was missing, and with it the messages between. */
  readonly displaced: boolean
  readonly owner: CursorOwner
  /** Whether this cursor reads before the others. */
  readonly isFirst: boolean
  readonly meter: Meter | undefined
  readonly log: Pick<SentenceLog, 'warn'>
  readonly incidents: IncidentReporter
  readonly files: Files
}

/** The place of one consumer group in the spool. */
export class Cursor implements QueueReader {
  readonly #options: CursorOptions
  readonly #reader: SegmentReader
  readonly #wakeup = new Wakeup()
  /** Where the next frame is read. */
  #place: CursorPlace
  /** Where reading would resume after a restart. */
  #settled: CursorPlace
  /** Whether there was damage since the last message that was read. */
  #damaged: boolean
  /** Stamp of the last message before the place. Undefined while unknown. */
  #lastStamp: number | undefined
  #timer: NodeJS.Timeout | undefined
  #unsaved = false
  #missing = 0
  #reading = false
  /** Place where reading goes on, once the last read has ended. */
  #skipped: CursorPlace | undefined
  #onTaken: (() => void)[] = []

  constructor(options: CursorOptions) {
    this.#options = options
    this.#reader = new SegmentReader(options.dir, options.files)
    this.#place = { ...options.place }
    this.#settled = { ...options.place }
    this.#damaged = options.displaced
  }

  get settled(): Readonly<CursorPlace> {
    return this.#settled
  }

  /** Number of committed messages that are not settled. */
  get lag(): number {
    return this.#options.owner.position.sequence + 1 - this.#settled.sequence
  }

  /** Moves back to `sequence`, if that is further back and still in the spool. Only before the first `next`. */
  rewind(sequence: number): void {
    if (sequence >= this.#place.sequence) return
    const segment = this.#options.segments.holding(sequence)
    this.#place = { sequence: Math.max(sequence, segment), segment, offset: segmentHeaderBytes }
    this.#settled = { ...this.#place }
    this.#lastStamp = undefined
  }

  /**
   * Gives up all messages before a segment. Returns the last sequence number that is given up; undefined when there is
   * none that was not settled. Messages in hand may still be settled, and change nothing then.
   */
  skipTo(segment: number): number | undefined {
    if (segment <= this.#settled.segment) return undefined
    const place = { sequence: Math.max(segment, this.#settled.sequence), segment, offset: segmentHeaderBytes }
    this.#skipped = place
    if (!this.#reading) this.#moveOn()
    this.#settle({ ...place })
    return place.sequence - 1
  }

  /** Continues behind what was given up, unless messages behind it are in hand already. */
  #moveOn(): void {
    const place = this.#skipped
    this.#skipped = undefined
    if (!place || place.segment <= this.#place.segment) return
    this.#place = { ...place }
    this.#lastStamp = this.#options.segments.find(place.segment)?.before
    this.#damaged = false
  }

  wake(): void {
    this.#wakeup.wake()
  }

  async next(limit: number, signal: AbortSignal): Promise<Batch | undefined> {
    this.#reading = true
    try {
      while (!signal.aborted) {
        this.#moveOn()
        const { segment, offset } = this.#place
        if (!this.#reader.at(segment, offset)) {
          const known = this.#options.owner.position
          if (!(await this.#read(known))) await this.#waitForCommit(known, signal)
          continue
        }
        const most = Math.min(limit, await this.#turn(signal))
        const messages = most > 0 ? await this.#take(most) : []
        if (messages.length === 0) continue
        this.#options.meter?.took(messages.length)
        const reached = { ...this.#place }
        return { messages, settle: () => this.#settle(reached) }
      }
      return undefined
    } finally {
      this.#reading = false
      for (const taken of this.#onTaken.splice(0)) taken()
    }
  }

  /** Saves the place and closes the files. Nothing is read or settled afterwards. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#save()
    try {
      this.#options.file.close()
      this.#reader.close()
    } catch (error) {
      this.#options.log.warn(`${this.#options.name}: ${describe(error)}`)
    }
  }

  /** Waits, for a moment, while this cursor has messages to read and is about to read them. */
  async passes(): Promise<void> {
    if (this.#place.sequence > this.#options.owner.position.sequence) return
    if (!this.#reading) {
      await turn()
      return
    }
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, maxYieldMs)
      this.#onTaken.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  /** Resolves with the number of messages that may be read now; 0 when the signal aborted. */
  async #turn(signal: AbortSignal): Promise<number> {
    const { owner, isFirst, meter } = this.#options
    if (!isFirst) await owner.first?.passes()
    if (!meter) return Number.POSITIVE_INFINITY
    for (;;) {
      const allowed = meter.allowed(owner.position.sequence + 1 - this.#place.sequence)
      if (allowed > 0) return allowed
      await pause(meter.waitMs, signal)
      if (signal.aborted) return 0
    }
  }

  /** Takes at most `most` messages of those in memory, up to a gap. */
  async #take(most: number): Promise<Message[]> {
    const messages: Message[] = []
    const place = this.#place
    while (messages.length < most) {
      const frame = this.#reader.at(place.segment, place.offset)
      if (!frame) break
      const message = decodeMessage(frame.body)
      if (message && message.sequence > place.sequence) {
        if (messages.length > 0) break
        await this.#skip(message.sequence - 1)
      }
      place.offset = frame.end
      if (!message) {
        this.#damaged = true
        continue
      }
      this.#lastStamp = stampOf(message)
      // The offset can be before messages that the cursor has passed, which are not delivered twice.
      if (message.sequence < place.sequence) continue
      place.sequence = message.sequence + 1
      this.#damaged = false
      messages.push(message)
    }
    return messages
  }

  /** Skips all numbers up to `to`, after `skipped` has dealt with them. */
  async #skip(to: number): Promise<void> {
    await this.#options.owner.skipped(this.#options.name, this.#place.sequence, to, this.#damaged)
    this.#place.sequence = to + 1
    this.#damaged = false
  }

  /** Loads the next frame, or moves to the next segment. Returns false when there is nothing more yet. */
  async #read(position: SpoolPosition): Promise<boolean> {
    const { segment, offset } = this.#place
    const next = this.#options.segments.after(segment)
    try {
      const newestEnd = position.segment === segment ? position.end : 0
      const end = next ? this.#reader.size(segment) : newestEnd
      if (offset < end) {
        const damaged = await this.#reader.load(segment, offset, end)
        if (damaged > 0) await this.#stepOver(damaged)
        return true
      }
      if (!next) {
        await this.#atEnd(position)
        return false
      }
      if (next.segment > this.#place.sequence && !this.#damaged) this.#damaged = !(await this.#isBehind(next.before))
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      if (this.#skipped) return true
      this.#lost(segment)
      if (!next) return false
    }
    this.#place = { sequence: this.#place.sequence, segment: next.segment, offset: segmentHeaderBytes }
    this.#lastStamp = next.before
    return true
  }

  /** Skips the remaining numbers once all that was committed has been read: no message in the spool has them. */
  async #atEnd({ segment, end, sequence }: SpoolPosition): Promise<void> {
    const place = this.#place
    if (place.segment !== segment || place.offset < end || place.sequence > sequence) return
    await this.#skip(sequence)
    // All messages taken before are settled: the next delivery is requested only then.
    this.#settle({ ...place })
  }

  /**
   * Whether the next segment was begun right behind the one that has been read, so that nothing between them is
   * missing.
   */
  async #isBehind(before: number): Promise<boolean> {
    this.#lastStamp ??= await this.#readLastStamp()
    return this.#lastStamp === before
  }

  async #readLastStamp(): Promise<number> {
    const { dir, segments, files } = this.#options
    const { segment } = this.#place
    const reader = new SegmentReader(dir, files)
    let stamp = segments.find(segment)?.before ?? 0
    try {
      const end = reader.size(segment)
      for (let offset = segmentHeaderBytes; offset < end; ) {
        const frame = reader.at(segment, offset)
        const message = frame && decodeMessage(frame.body)
        if (message) stamp = stampOf(message)
        offset = frame?.end ?? offset + (await reader.load(segment, offset, end))
      }
    } finally {
      reader.close()
    }
    return stamp
  }

  async #stepOver(bytes: number): Promise<void> {
    const { name, dir, files, incidents } = this.#options
    const { segment, offset } = this.#place
    const path = segmentPath(dir, segment)
    this.#damaged = true
    const copy = await keepDamaged(path, files)
    this.#place.offset = offset + bytes
    const sentence = `${name}: skipped ${bytes} damaged bytes at ${offset} of ${path}; ${copy}`
    incidents.report('spool_damaged', sentence, { bytes })
  }

  /** Reports a segment that was deleted by hand: there is nothing left to wait for. */
  #lost(segment: number): void {
    this.#damaged = true
    if (this.#missing === segment) return
    this.#missing = segment
    const { name, dir, incidents } = this.#options
    incidents.report(
      'spool_cut',
      `${name}: ${segmentPath(dir, segment)} is missing, with the messages that were not read yet`,
    )
  }

  async #waitForCommit(known: SpoolPosition, signal: AbortSignal): Promise<void> {
    // Every commit makes a new position. A different position here came while the file was being read.
    if (this.#options.owner.position === known) await this.#wakeup.sleep(signal)
  }

  #settle(reached: CursorPlace): void {
    // Given up meanwhile.
    if (reached.sequence < this.#settled.sequence) return
    this.#settled = reached
    this.#timer ??= setTimeout(() => this.#saveAndTell(), saveEveryMs)
  }

  #saveAndTell(): void {
    this.#timer = undefined
    this.#save()
    // Tries again, even when nothing is settled meanwhile.
    if (this.#unsaved) this.#timer = setTimeout(() => this.#saveAndTell(), saveAgainMs)
    this.#options.owner.moved()
  }

  #save(): void {
    const { name, file, log } = this.#options
    try {
      file.write(this.#settled)
      this.#unsaved = false
    } catch (error) {
      if (!this.#unsaved)
        log.warn(`cursor ${name} could not be saved: ${describe(error)}; messages may be delivered again`)
      this.#unsaved = true
    }
  }
}
