import type { Principal, ScramExchange, Verdict } from '../auth/principal.js'
import type { PendingPublish } from '../model.js'
import type { ConnectPacket } from '../mqtt/codec.js'
import type { PublishReader } from '../mqtt/publish.js'
import type { Fault } from '../mqtt/reason-codes.js'
import type { Sessions } from '../sessions/sessions.js'
import type { AedesConnection, Controlled } from './aedes-handshake.js'

/** Limits of each client, as CONNACK of MQTT 5 announces them. */
export interface ClientLimits {
  /** QoS 1 and 2 publishes of one client without an acknowledgement. */
  readonly receiveMaximum: number
  /** Bytes of the largest packet. */
  readonly maximumPacketSize: number
  /** Topic aliases, in each direction. */
  readonly topicAliasMaximum: number
  /** Seconds that a session is kept; Infinity: for ever. */
  readonly sessionExpiry: number
}

/** The broker as a client, a `C`, uses it. */
export interface ClientBroker<C> {
  readonly sessions: Sessions
  readonly limits: ClientLimits
  /** The reader that all clients share. */
  readonly reader: PublishReader
  /** Authenticates a client and checks the client id. Calls `done` once, with a fault when the client is refused. */
  authenticate(client: C, connect: ConnectPacket, done: (verdict: Principal | Fault) => void): void
  /** Begins enhanced authentication; undefined when the method is not supported. */
  exchange(client: C, method: string, username: string | undefined): ScramExchange | undefined
  /** Decides whether a client may connect with this verdict, or go on after re-authentication. */
  judge(client: C, verdict: Verdict): Principal | Fault
  /** Begins the handshake with Aedes, whose decisions `owner` gets. */
  open(client: C, owner: Controlled): AedesConnection
  /** Stores, distributes, then settles a publish; QoS 0 at once or, with `inOrder`, after earlier publishes. */
  accept(publish: PendingPublish, inOrder: boolean): void
  /** Returns why a client may not publish to a topic; undefined when the client may. */
  publishFault(client: C, topic: string): Fault | undefined
  /** Takes a publish in which a bridge reports the bridge's own state; false for any other publish. */
  bridgeState(client: C, topic: string, payload: Buffer): boolean
  subscribeFault(client: C, filter: string): Fault | undefined
  refused(client: C, action: 'publish' | 'subscribe', topic: string, reason: string): void
  /** Called when a QoS 0 delivery is larger than the client takes. */
  tooLarge(client: C): void
  connected(client: C): void
  /** Called when the connection is over, whether the client was connected or not. */
  closed(client: C): void
  /** Called when a connected client has left. `reason`: why the connection ended, in words. */
  left(client: C, reason: string): void
  /** Called when the connection is to be closed because another one with the same client id has come. */
  replaced(client: C): void
  /** Called when a client publishes whose presence is not shown yet. */
  seen(client: C): void
  /** Logs why a connection ended, when that is neither the client's fault nor logged elsewhere. */
  debug(sentence: string): void
  /** Microseconds since the epoch. */
  now(): number
}
