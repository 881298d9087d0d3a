import type { PendingPublish, QoS } from '../model.js'
import type { NamedPublish } from '../spool/message-codec.js'

/** The client that published, to be notified when the publish is on disk or refused. */
export interface Publisher {
  readonly id: string
  readonly user: string
  settled(publish: InboundPublish, error: Error | undefined): void
}

/** A client's publish on the way to the disk. One object holds everything needed on arrival, as there may be many. */
export class InboundPublish implements PendingPublish, NamedPublish {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly clientId: string
  readonly user: string
  readonly packetId: number
  /** The packet id to acknowledge: unlike `packetId`, also that of a QoS 1 publish. */
  readonly ackId: number
  /** Bytes counted for this publish while the publish waits for the disk; 0 when not counted. */
  bytes: number
  /** For QoS 2: called instead of the publisher, as the session has to record the packet id first. */
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
