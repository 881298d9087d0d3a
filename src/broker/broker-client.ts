import type { ConnectPacket } from '../mqtt/codec.js'
import type { Session } from '../sessions/sessions.js'
import type { Connection } from '../transport/connections.js'

/** A client, as the parts of the broker that decide about clients and show them know one. */
export interface BrokerClient {
  /** The client id. */
  readonly id: string
  /** The user name. Empty until the client is authenticated. */
  readonly user: string
  /** The session name. Empty until the client is authenticated. */
  readonly name: string
  readonly connection: Connection
  /** The CONNECT packet. Undefined once the client is connected. */
  readonly connect: ConnectPacket | undefined
  /** Undefined while the client is not connected. */
  readonly session: Session | undefined
  /** The name under which the client's presence is shown. Empty while not shown. */
  shownAs: string
  /** When a refusal of this client was last logged, in microseconds since the epoch. */
  refusedAt: number
  /** Version of MQTT as in CONNECT: 3, 4 or 5. */
  readonly version: number
  /** When the client was connected, in microseconds since the epoch. */
  readonly connectedAt: number
  /** Publishes on this connection, and when the last one came by `performance.now()`; 0: none. */
  readonly published: number
  readonly publishedAt: number
  /** False once the user is gone or the credentials have changed. */
  isValid(): boolean
}
