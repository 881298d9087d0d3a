import type { Message } from '../model.js'
import type { QueueReader } from '../queue/queue.js'

/** Takes what hubs announce to each other. */
export interface AnnouncementListener {
  /** Called for each announcement, also those of this hub. The content is whatever was sent there by anyone. */
  onAnnouncement(payload: Buffer): void
  /** Called when announcements are heard from now on. Earlier ones may have been missed. */
  onHearing(): void
}

/** The place of a reader in the log of the bus, in the words of the bus. */
export interface BusPlace {
  readonly offset: number
  /** Names the record at that offset: another one there means that the end of the log was lost. */
  readonly id: string
}

/** Keeps the place of a reader on disk. */
export interface PlaceKeeper {
  /** Undefined: the reader begins with the oldest record. */
  readonly place: BusPlace | undefined
  /** Called when everything up to there is done. */
  passed(place: BusPlace): void
  /** Called when the log cannot go on at `place`: the end was lost, or records behind the place were deleted. */
  broken(reason: string): void
}

/**
 * What hubs say to each other. Two kinds of traffic:
 *
 * The log has messages, in batches, in one order for all hubs, and keeps them for a while: every hub reads everything at
 * an own pace, from an own place. Announcements are heard by the hubs that listen at that moment, and by no other.
 *
 * Each operation is tried once: a failure rejects with `queue_unavailable`, and the consumer loop calls again.
 */
export interface Bus {
  /**
   * Resolves when the log has all messages, in their order. After a rejection some may be in the log, and all must be
   * appended again: a reader recognises them by hub and sequence number.
   */
  append(messages: readonly Message[]): Promise<void>
  /** Returns the reader of this hub, one in a process. The messages of other hubs name their `hub`. */
  reader(keeper: PlaceKeeper): QueueReader
  /** Tells the hubs that listen. Lost without a word while the bus is away. */
  announce(payload: Buffer): void
  /** Listens from now on, also after each loss of the bus, until `stop`. */
  listen(listener: AnnouncementListener): void
  stop(): Promise<void>
}
