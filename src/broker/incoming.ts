import type { PendingPublish, QoS } from '../model.js'
import type { NamedPublish } from '../spool/message-codec.js'

/** Who is told what becomes of it. */
export interface Publisher {
  readonly id: string
  readonly user: string
  settled(publish: InboundPublish, error: Error | undefined): void
}

/** A publish of a client on its way to the disk. One object for all that has to be known then: there may be many. */
export class InboundPublish implements PendingPublish, NamedPublish {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly clientId: string
  readonly user: string
  readonly packetId: number
  /** The packet id of a QoS 1 publish too. */
  readonly ackId: number
  /** What it counts for among those that wait for the disk; 0 when it does not. */
  bytes: number
  /** For QoS 2: the session has its packet id. */
  received: ((error?: Error) => void) | undefined
  properties: Buffer | undefined
  expiresAt: number | undefined
  readonly names: Buffer | undefined
  readonly #client: Publisher

  constructor(
    client: Publisher,
    topic: string,
    payload: Buffer,
    qos: QoS,
    retain: boolean,
    packetId: number,
    bytes: number,
    names: Buffer | undefined,
  ) {
    this.#client = client
    this.topic = topic
    this.payload = payload
    this.qos = qos
    this.retain = retain
    this.clientId = client.id
    this.user = client.user
    this.packetId = qos === 2 ? packetId : 0
    this.ackId = packetId
    this.bytes = bytes
    this.names = names
  }

  settle(error: Error | undefined): void {
    if (this.received) this.received(error)
    else this.#client.settled(this, error)
  }
}
