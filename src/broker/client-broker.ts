import type { Principal, ScramExchange, Verdict } from '../auth/principal.js'
import type { PendingPublish } from '../model.js'
import type { ConnectPacket } from '../mqtt/codec.js'
import type { PublishReader } from '../mqtt/publish.js'
import type { Fault } from '../mqtt/reason-codes.js'
import type { Sessions } from '../sessions/sessions.js'
import type { AedesConnection } from './aedes-handshake.js'

/** What clients may have, as MQTT 5 is told in CONNACK. */
export interface ClientLimits {
  /** QoS 1 and 2 publishes of one client that it has no acknowledgement for. */
  readonly receiveMaximum: number
  /** Bytes of a packet. */
  readonly maximumPacketSize: number
  /** Topic aliases, each way. */
  readonly topicAliasMaximum: number
  /** Seconds that a session is kept; Infinity: for ever. */
  readonly sessionExpiry: number
}

/** What a client, a `C`, asks of the broker. */
export interface ClientBroker<C> {
  readonly sessions: Sessions
  readonly limits: ClientLimits
  /** One for all clients. */
  readonly reader: PublishReader
  /** Who is it, and may it be that client? `done` once, with the fault when not. */
  authenticate(client: C, connect: ConnectPacket, done: (verdict: Principal | Fault) => void): void
  /** Begins enhanced authentication; undefined: not with that method. */
  exchange(client: C, method: string, username: string | undefined): ScramExchange | undefined
  /** May who has shown this be, or go on being, that client? */
  judge(client: C, verdict: Verdict): Principal | Fault
  /** Begins the handshake. */
  open(client: C): AedesConnection
  /** Makes a publish durable and distributes it, then settles it. QoS 0 at once, or `inOrder` after those before it. */
  accept(publish: PendingPublish, inOrder: boolean): void
  /** Why a client may not do this; undefined when it may. */
  publishFault(client: C, topic: string): Fault | undefined
  /** Takes a publish of a client if it is what a bridge says of itself; false when it is something else. */
  bridgeState(client: C, topic: string, payload: Buffer): boolean
  subscribeFault(client: C, filter: string): Fault | undefined
  refused(client: C, action: 'publish' | 'subscribe', topic: string, reason: string): void
  /** A QoS 0 delivery is larger than the client takes. */
  tooLarge(client: C): void
  connected(client: C): void
  /** Its connection is over, whether it was connected or not. */
  closed(client: C): void
  /** `reason` in words: why its connection has ended. */
  left(client: C, reason: string): void
  /** Its connection is to be closed, as another one with its client id has come. */
  replaced(client: C): void
  /** It publishes. */
  seen(client: C): void
  /** A connection ended for something that is neither its fault nor said anywhere else. */
  debug(sentence: string): void
  /** Microseconds since the epoch. */
  now(): number
}
