import type { Principal } from '../auth/principal.js'
import { describe, HubError } from '../errors.js'
import type { QoS } from '../model.js'
import type { ConnectPacket, PacketCodec } from '../mqtt/codec.js'
import { packetType } from '../mqtt/primitives.js'
import type { EncodedPublish, PublishOptions } from '../mqtt/publish.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import type { DeliveryTarget, Session } from '../sessions/sessions.js'
import { historyPrefix } from '../topics.js'
import type { Connection } from '../transport/connections.js'
import type { AedesConnection } from './aedes-handshake.js'
import type { BrokerClient } from './broker-client.js'
import type { BrokerParts } from './broker-parts.js'
import type { EnhancedAuthentication } from './enhanced-authentication.js'
import type { HistoryReceiver } from './history-feeds.js'
import { HistorySubscriptions } from './history-subscriptions.js'
import { LastTopic } from './last-topic.js'
import type { ReceiveQuota } from './receive-quota.js'

/**
 * One client on one connection: who the client is, the session, and the packets that the hub sends, written by the
 * codec of the client's MQTT version. The files in `handlers` handle the packets that come.
 */
export class Client implements BrokerClient, DeliveryTarget, HistoryReceiver {
  readonly connection: Connection
  readonly broker: BrokerParts
  /** The client id. Empty until CONNECT. */
  id = ''
  /** The user name. Empty until the client is authenticated. */
  user = ''
  /** The session name, see `sessionName`. Empty until the client is authenticated. */
  name = ''
  /** The name under which the client's presence is shown. Empty while not shown. */
  shownAs = ''
  /** When a refusal of this client was last logged, in microseconds since the epoch. */
  refusedAt = 0
  connectedAt = 0
  published = 0
  publishedAt = 0
  receiveMaximum = 0
  /** True for a bridge of another broker that speaks MQTT 3.1 or 3.1.1. */
  isBridge = false
  /** The client's CONNECT. Undefined before CONNECT, and once the client is connected. */
  connect: ConnectPacket | undefined
  /** The codec of the client's MQTT version. Undefined until CONNECT. */
  codec: PacketCodec | undefined
  /** Undefined without enhanced authentication. */
  authentication: EnhancedAuthentication | undefined
  /** Undefined until the client is authenticated. */
  principal: Principal | undefined
  /** The client as Aedes sees it. Undefined until the client is authenticated. */
  aedes: AedesConnection | undefined
  /** Undefined until CONNACK is sent, and once the connection is over. */
  session: Session | undefined
  /** True once DISCONNECT has come. */
  isLeaving = false
  /** Undefined while the client has no subscription to history. */
  histories: HistorySubscriptions | undefined
  /** Undefined before MQTT 5. */
  quota: ReceiveQuota | undefined
  readonly lastTopic = new LastTopic()

  constructor(connection: Connection, broker: BrokerParts) {
    this.connection = connection
    this.broker = broker
  }

  /** False once the user is gone or the credentials have changed. */
  isValid(): boolean {
    return this.principal?.isValid() === true
  }

  /** Returns the session expiry to grant. Before MQTT 5 that is the one asked for; the broker drops old sessions. */
  grantedExpiry(asked: number): number {
    return this.codec?.version === 5 ? Math.min(asked, this.broker.limits.sessionExpiry) : asked
  }

  get version(): number {
    return this.codec?.version ?? 0
  }

  /** Permissions of the client. Undefined: everything is allowed. */
  get access(): Session['access'] {
    return this.session?.access
  }

  /** Begins to send history, then live, if that is what a filter subscribes to. */
  startHistory(filter: string): void {
    const { feeds } = this.broker
    if (!feeds || !filter.startsWith(historyPrefix)) return
    this.histories ??= new HistorySubscriptions(this, feeds)
    this.histories.start(filter)
  }

  // — answers —

  /**
   * Writes an answer. Undefined stands for an answer larger than the client takes, without which the client cannot go
   * on: the connection is closed and the result is false. [MQTT-3.1.2-24]
   */
  answer(packet: Buffer | undefined): boolean {
    if (packet) this.connection.write(packet)
    else this.connection.end(answerTooLarge)
    return packet !== undefined
  }

  /** Sends PUBACK or PUBREC; after one with a fault nothing follows. */
  acknowledge(qos: QoS, packetId: number, fault?: Fault): void {
    this.quota?.acknowledged(qos, packetId, fault !== undefined)
    this.writeFaultAck(qos === 1 ? packetType.puback : packetType.pubrec, packetId, fault)
  }

  /** Sends an acknowledgement, with the reason if there is a fault and the client's version has reasons. */
  writeFaultAck(type: number, packetId: number, fault: Fault | undefined): void {
    const packet = fault && this.codec?.ack(type, packetId, fault)
    if (packet) this.connection.write(packet)
    else this.connection.writeAck(type, packetId)
  }

  /** Sends CONNACK with a refusal, and closes the connection. */
  refuseConnect(fault: Fault): void {
    const packet = this.codec?.refused(fault)
    if (packet) this.connection.write(packet)
    this.connection.end()
  }

  /** Closes the connection after a failure of the hub: the client is to come back and send again. */
  notAcknowledged(error: unknown): void {
    const reason = describe(error)
    this.broker.log.debug(`${this.id}: not acknowledged: ${reason}`)
    const isFull =
      error instanceof HubError &&
      (error.code === 'spool_full' || error.code === 'spool_share' || error.code === 'too_many')
    this.connection.end({ code: isFull ? reasonCode.quotaExceeded : reasonCode.unspecified, reason })
  }

  /** Returns the packet with which the hub closes the connection: DISCONNECT, or CONNACK if none was sent. */
  disconnectPacket(fault: Fault): Buffer | undefined {
    if (this.session) return this.codec?.disconnect(fault)
    // [MQTT-3.14.0-1]
    return this.codec?.version === 5 ? this.codec.refused(fault) : undefined
  }

  // — DeliveryTarget: what the session sends —

  get hasCapacity(): boolean {
    return this.connection.hasCapacity
  }

  get canRespond(): boolean {
    return this.codec?.version === 5
  }

  deliverQos0(message: EncodedPublish, retain: boolean, ids: readonly number[] | undefined): boolean {
    // Checked before the message is encoded: a packet that defines a topic alias must be sent.
    if (this.connection.isFull) return false
    const parts = this.#encode(message, retain || ids ? { qos: 0, packetId: 0, retain, ids } : plainQoS0, false)
    if (parts) this.#written(message, 0, parts)
    else this.broker.tooLarge(this.id)
    return true
  }

  publish(message: EncodedPublish, sending: PublishOptions, dup: boolean): boolean {
    const parts = this.#encode(message, sending, dup)
    if (parts) this.#written(message, sending.qos, parts)
    return parts !== undefined
  }

  #written(message: EncodedPublish, qos: QoS, parts: readonly Buffer[]): void {
    this.connection.publish(parts)
    if (message.properties) this.broker.spans?.delivered(this.id, message, qos)
  }

  #encode(message: EncodedPublish, sending: PublishOptions, dup: boolean): readonly Buffer[] | undefined {
    const now = message.expiresAt === undefined ? 0 : this.broker.clock.now()
    return this.codec?.publish(message, sending, dup, now)
  }

  writeAck(type: number, packetId: number, code: number = reasonCode.success): void {
    this.writeFaultAck(type, packetId, code === reasonCode.packetIdNotFound ? unknownPacketId : undefined)
  }

  end(fault: Fault): void {
    this.connection.end(this.isLeaving ? undefined : fault)
  }

  /** Called when the connection is over. */
  closed(): void {
    const { session } = this
    this.session = undefined
    if (session) this.broker.sessions.leave(session)
    this.histories?.close()
    this.broker.presence.closed(this)
    this.aedes?.close()
  }
}

const plainQoS0: PublishOptions = { qos: 0, packetId: 0, retain: false, ids: undefined }

export const answerTooLarge: Fault = {
  code: reasonCode.packetTooLarge,
  reason: 'the reply is larger than its maximum packet size',
}

export const unknownPacketId: Fault = { code: reasonCode.packetIdNotFound, reason: 'no such packet id' }

/** Bytes that a change of a session counts for in flight while the change waits for the disk. */
export const recordBytes = 256
