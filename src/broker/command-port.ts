import type { Access, CommandSubjects } from '../access/rules.js'
import type { Fault } from '../mqtt/reason-codes.js'

/** A client that publishes to a topic of commands. */
export interface CommandClient {
  readonly id: string
  readonly user: string
  /** Session name. */
  readonly name: string
  /** Permissions of the client. Undefined: everything is allowed. */
  readonly access: Access | undefined
}

/** A publish to a topic of commands. Payload and properties may be views into the network chunk. */
export interface CommandPublish {
  readonly topic: string
  readonly payload: Buffer
  readonly properties: Buffer | undefined
  /** Seconds after which the message expires; negative: none given. (MQTT 5 §3.3.2.3.3) */
  readonly expiry: number
  /** The DUP flag: the client may have sent the publish before. */
  readonly dup: boolean
}

/** The commands, as far as MQTT clients ask for them, receive and answer them. Implemented by `Commands`. */
export interface CommandPort extends CommandSubjects {
  /** Called when a connected client has subscriptions that it did not have before, or is back with a kept session. */
  onSubscribed(filters: Iterable<string>): void
  /** Called when an administrator has removed a client. */
  onRemoved(clientId: string, user: string): void
  /**
   * Takes a publish by which a client asks for a command or answers one. Returns why it is refused, or `other` for a
   * publish that has nothing to do with commands. Otherwise `done` is called once it is on disk, or could not be kept.
   */
  take(client: CommandClient, publish: CommandPublish, done: (error?: Error) => void): Fault | 'other' | undefined
}
