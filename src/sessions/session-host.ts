import type { EncodedPublish, PublishOptions } from '../mqtt/publish.js'
import type { Fault } from '../mqtt/reason-codes.js'
import type { GroupName, Queued } from './delivery.js'
import type { FeedBeats } from './feed-beats.js'
import type { QueueMemory, WaitingLimits } from './session-queue.js'
import type { Qos0Target, SlowReceiverServices } from './slow-receiver.js'

/** The parts of a client's connection that a session uses. */
export interface DeliveryTarget extends Qos0Target {
  /** Number of unacknowledged QoS 1 and 2 publishes that the client accepts. */
  readonly receiveMaximum: number
  /** Whether the client knows response topics. (MQTT 5 §4.10) */
  readonly canRespond?: boolean
  /** Sends a PUBLISH of QoS 1 or 2. Returns false when the packet is larger than the client accepts, and not sent. */
  publish(message: EncodedPublish, sending: PublishOptions, dup: boolean): boolean
  /** Sends an acknowledgement; `code` only to clients whose protocol has reason codes. */
  writeAck(type: number, packetId: number, code?: number): void
  /** Ends the connection so that the client connects again. */
  end(fault: Fault): void
}

/** Why a queued message goes undelivered. */
export type DropReason = 'queue' | 'not_permitted' | 'expired' | 'too_large' | 'client_refused'

/** The services that a session (`S`) uses, and the events reported about queued messages. */
export interface SessionEvents<S> {
  /** Milliseconds since the epoch. */
  now(): number
  readonly memory: QueueMemory
  readonly slow: SlowReceiverServices
  readonly feeds: FeedBeats
  /** Calls `pump` of the session in one of the next turns of the event loop. */
  later(session: S): void
  queued(session: S, entry: Queued): void
  /** Reports that a message was given a packet id. */
  sent(session: S, entry: Queued): void
  /**
   * Reports PUBREC. Calls `done` when that outlives a crash: before that, PUBREL must not be sent, or the client might
   * get the whole message again.
   */
  released(session: S, packetId: number, done: (error?: Error) => void): void
  /** Calls `done` when every event reported until the end of this turn outlives a crash. */
  kept(done: (error?: Error) => void): void
  acknowledged(session: S, packetId: number): void
  /** Reports and counts a message that goes undelivered. */
  dropped(session: S, entry: Queued, why: DropReason): void
  /** Reports that another member of the group has, or had, the message. */
  moved(session: S, entry: Queued): void
  /** Reports that the session has no message of a group left. */
  groupDone(session: S, group: GroupName): void
  /** Gives messages of absent group members to a session that has room. Returns true when there were any. */
  takeOver(session: S): boolean
}

export interface QueueLimits extends WaitingLimits {
  /** Maximum number of deliveries without an acknowledgement. */
  readonly window: number
}
