import type { EncodedPublish, PublishOptions } from '../mqtt/publish.js'
import type { Fault } from '../mqtt/reason-codes.js'
import type { Queued } from './delivery.js'
import type { Session } from './session.js'
import type { QueueMemory } from './session-queue.js'

/** What a session needs of the connection its client has. */
export interface DeliveryTarget {
  /** False while so much waits to be written that what is next had better wait in the session. */
  readonly hasCapacity: boolean
  /** QoS 1 and 2 publishes the client takes without having acknowledged them. */
  readonly receiveMaximum: number
  /**
   * Sends a PUBLISH of QoS 0. False: it is dropped, and counted, as the outbox is full or the client does not take so
   * large a packet.
   */
  deliverQos0(message: EncodedPublish, retain: boolean, ids: readonly number[] | undefined): boolean
  /** A PUBLISH of QoS 1 or 2. False: it is larger than the client takes, and not sent. */
  publish(message: EncodedPublish, sending: PublishOptions, dup: boolean): boolean
  /** `code` is for those who understand it. */
  writeAck(type: number, packetId: number, code?: number): void
  /** The client is to come again. */
  end(fault: Fault): void
}

/** Why something queued goes undelivered. */
export type DropReason = 'queue' | 'not_permitted' | 'expired' | 'too_large' | 'client_refused'

/** What a session asks for, and whom it tells what becomes of what is queued. */
export interface SessionEvents {
  /** Milliseconds since the epoch. */
  now(): number
  readonly memory: QueueMemory
  /** Calls `pump` of the session in one of the next turns of the event loop. */
  later(session: Session): void
  queued(session: Session, entry: Queued): void
  /** It has its packet id. */
  sent(session: Session, entry: Queued): void
  /** `done` when that outlives a crash: only then may PUBREL be sent, or the client might get it all again. */
  released(session: Session, packetId: number, done: (error?: Error) => void): void
  /** Calls `done` when all that was told here until the end of this turn outlives a crash. */
  kept(done: (error?: Error) => void): void
  acknowledged(session: Session, packetId: number): void
  /** It goes undelivered, and is counted. */
  dropped(session: Session, entry: Queued, why: DropReason): void
  /** Another member of its group has it now, or had it. */
  moved(session: Session, entry: Queued): void
  /** There is room for more: what absent members of its groups have waiting. True when it was given some. */
  takeOver(session: Session): boolean
}

export interface QueueLimits {
  /** Deliveries without an acknowledgement. */
  readonly window: number
  readonly messages: number
  readonly bytes: number
  /** Milliseconds; 0 is for ever. */
  readonly ageMs: number
}
