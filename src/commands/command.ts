/*
 * The life of a command:
 *
 *     queued ─► sent ─► delivered ─► answered | failed
 *        └────────┴───────► expired | cancelled | failed
 *
 * `queued`: the hub holds the command back. `sent`: on its way to the device, which may have it. `delivered`: the device
 * has acknowledged it (PUBACK). `answered`: the device has said that it was done; `failed`: that it was not, or the device
 * does not take it. A command that is delivered, and to which no answer is known or came in time, is over as delivered;
 * one that was sent to a device which subscribes with QoS 0, as sent.
 */

export type CommandState = 'queued' | 'sent' | 'delivered' | 'answered' | 'failed' | 'expired' | 'cancelled'

/** Way by which a command came to the hub. */
export type CommandWay = 'http' | 'mqtt' | 'amqp' | 'socket.io'

/** A command that is asked for. */
export interface CommandRequest {
  readonly topic: string
  readonly payload: Buffer
  /** Client id of the one client that is meant. Undefined: the client that subscribes to the topic most exactly. */
  readonly client?: string | undefined
  /** Milliseconds after which the command must not reach the device any more. Undefined: `commands.expiry`. */
  readonly expiryMs?: number | undefined
  /** Who asks. Empty without authentication, and for callers that everything is allowed. */
  readonly user: string
  /** The caller as the audit log shows it. Undefined: the user. */
  readonly caller?: string | undefined
  readonly address?: string | undefined
  readonly via: CommandWay
  /**
   * Idempotency key of the user: while the hub knows the command, a request with the same key is that command. Another
   * command with the key is refused.
   */
  readonly key?: string | undefined
  /** Milliseconds to wait for the end of the command. Undefined: until the command is on disk. */
  readonly waitMs?: number | undefined
}

/** An answer of a device. */
export interface CommandAnswer {
  readonly payload: Buffer
  /** Topic on which the answer came. */
  readonly topic: string
  /** Whether the device has done what it was told. */
  readonly isGood: boolean
  /** Whether the payload is only the beginning of a long answer. */
  readonly isCut: boolean
}

/** A command and what became of it. Times in microseconds since the epoch. */
export interface DeviceCommand {
  readonly id: string
  readonly topic: string
  /** Only the beginning, once the command is over. */
  readonly payload: Buffer
  readonly client: string | undefined
  readonly user: string
  readonly via: CommandWay
  readonly state: CommandState
  /** Whether the state is final. */
  readonly isOver: boolean
  /** Why the state is what it is, for people; where that is not obvious. */
  readonly reason: string | undefined
  /** Family of devices whose way of answering is known. */
  readonly family: string | undefined
  readonly askedAt: number
  readonly expiresAt: number
  readonly sentAt: number | undefined
  readonly deliveredAt: number | undefined
  readonly overAt: number | undefined
  /** How often the command was sent. From the second time on it is marked as sent before (DUP). */
  readonly sends: number
  readonly answer: CommandAnswer | undefined
  /** True when the request was a repetition of an earlier one with the same key. */
  readonly isRepeated?: boolean
}

/** The members of a command that say whether a list wants it. */
export type ListedCommand = Pick<DeviceCommand, 'topic' | 'client' | 'user' | 'state' | 'isOver'>
