import { randomUUID } from 'node:crypto'
import type { Principal, ScramStep } from '../auth/principal.js'
import type { Access } from '../auth/rules.js'
import { describe, HubError } from '../errors.js'
import type { QoS } from '../model.js'
import type { ConnackFields, ConnectPacket, PacketCodec, Subscribe, Unsubscribe, Will } from '../mqtt/codec.js'
import type { Framer } from '../mqtt/framer.js'
import { isServerPacket, MalformedPacket, packetType, protocolError } from '../mqtt/primitives.js'
import type { EncodedPublish, PublishOptions } from '../mqtt/publish.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import { checkEmpty, Mqtt3, pingresp } from '../mqtt/v3.js'
import { Mqtt5, readConnect } from '../mqtt/v5.js'
import type { Session } from '../sessions/session.js'
import type { DeliveryTarget } from '../sessions/session-host.js'
import { sessionName } from '../sessions/session-name.js'
import { encodeNames } from '../spool/message-codec.js'
import { responsesTo, sharedFilter } from '../topics.js'
import type { Connection, PacketHandler } from '../transport/connection.js'
import type { AedesConnection, Controlled } from './aedes-handshake.js'
import type { ClientBroker } from './client-broker.js'
import { EnhancedAuthentication, unknownMethod } from './enhanced-authentication.js'
import { InboundPublish } from './incoming.js'
import { ReceiveQuota } from './receive-quota.js'

const mqtt31 = new Mqtt3(3)
const mqtt311 = new Mqtt3(4)

/**
 * The server's side of MQTT on one connection, for every version: a {@link PacketCodec} reads and writes the packets.
 * Publishes and acknowledgements, in both directions, and subscriptions are handled here. Aedes decides who may
 * connect, in whose place, and whose will is due.
 */
export class Client implements PacketHandler, Controlled, DeliveryTarget {
  readonly connection: Connection
  readonly #broker: ClientBroker<Client>
  /** The client id. Empty until CONNECT. */
  id = ''
  /** The user name. Empty until the client is authenticated. */
  user = ''
  /** The client's CONNECT. Undefined before CONNECT, and once the client is connected. */
  connect: ConnectPacket | undefined
  /** The {@link sessionName}. Empty until the client is authenticated. */
  name = ''
  /** The name under which the client's presence is shown. Empty while not shown. */
  shownAs = ''
  /** When a refusal of this client was last logged, in microseconds since the epoch. */
  refusedAt = 0
  receiveMaximum = 0
  #isBridge = false
  #wire: PacketCodec | undefined
  #principal: Principal | undefined
  #enhanced: EnhancedAuthentication | undefined
  #port: AedesConnection | undefined
  #session: Session | undefined
  /** True once CONNACK is sent. */
  #isAnswered = false
  /** True once DISCONNECT has come. */
  #isLeaving = false
  /** Undefined before MQTT 5. */
  #quota: ReceiveQuota | undefined
  #permitted: string | undefined
  #permittedBy: Access | undefined
  #lastTopic = ''
  #lastNames: Buffer | undefined

  constructor(connection: Connection, broker: ClientBroker<Client>) {
    this.connection = connection
    this.#broker = broker
  }

  get session(): Session | undefined {
    return this.#session
  }

  get will(): Will | undefined {
    return this.connect?.will
  }

  /** False once the user is gone or the credentials have changed. */
  isValid(): boolean {
    return this.#principal?.isValid() === true
  }

  // — Protocol: packets from the client —

  packet(framer: Framer): void {
    const { header, buffer, start, end } = framer
    const type = header >> 4
    const wire = this.#wire
    if (!wire) {
      if (type !== packetType.connect) {
        throw new MalformedPacket('MQTT-3.1.0-1', `the first packet is of type ${type}, not CONNECT`)
      }
      this.#connect(framer)
      return
    }
    const session = this.#session
    if (!session) this.#beforeSession(wire, type, header, buffer, start, end)
    else if (type === packetType.publish) this.#publish(wire, session, header, buffer, start, end)
    else this.#packet(wire, session, type, header, buffer, start, end)
  }

  #packet(
    wire: PacketCodec,
    session: Session,
    type: number,
    header: number,
    buffer: Buffer,
    start: number,
    end: number,
  ) {
    switch (type) {
      case packetType.puback:
        check(session.acknowledge(wire.readAck(header, buffer, start, end), wire.ackCode >= 0x80))
        break
      case packetType.pubrec:
        check(session.received(wire.readAck(header, buffer, start, end), wire.ackCode >= 0x80))
        break
      case packetType.pubcomp:
        check(session.complete(wire.readAck(header, buffer, start, end)))
        break
      case packetType.pubrel:
        this.#release(session, wire.readAck(header, buffer, start, end))
        break
      case packetType.subscribe:
        this.#subscribe(wire, session, wire.readSubscribe(header, buffer, start, end))
        break
      case packetType.unsubscribe:
        this.#unsubscribe(wire, session, wire.readUnsubscribe(header, buffer, start, end))
        break
      case packetType.pingreq:
        checkEmpty(header, start, end)
        this.connection.write(pingresp)
        break
      case packetType.disconnect:
        this.#disconnect(wire, session, header, buffer, start, end)
        break
      case packetType.auth:
        this.#reauthenticate(wire, header, buffer, start, end)
        break
      case packetType.connect:
        throw protocolError('MQTT-3.1.0-2', 'a second CONNECT')
      default:
        throw new MalformedPacket(
          'MQTT-2.2.1',
          isServerPacket(type) ? `a packet of type ${type}, which no client sends` : `a packet of type ${type}`,
        )
    }
  }

  writable(): void {
    this.#session?.pump()
  }

  disconnectPacket(fault: Fault): Buffer | undefined {
    if (this.#isAnswered) return this.#wire?.disconnect(fault)
    // [MQTT-3.14.0-1]
    return this.#wire?.version === 5 ? this.#wire.refused(fault) : undefined
  }

  closed(): void {
    const session = this.#session
    this.#session = undefined
    if (session) this.#broker.sessions.leave(session)
    this.#broker.closed(this)
    this.#port?.close()
  }

  // — connecting —

  #connect(framer: Framer): void {
    const { limits } = this.#broker
    const connect = this.#read(framer)
    const wire = connect.protocol === 5 ? new Mqtt5(connect, limits) : connect.protocol === 4 ? mqtt311 : mqtt31
    this.connect = connect
    this.#wire = wire
    this.receiveMaximum = connect.receiveMaximum
    this.#isBridge = connect.bridge
    if (wire.version === 5) {
      this.#quota = new ReceiveQuota(limits.receiveMaximum)
      framer.strict()
    }
    this.connection.connecting()
    // Aedes knows a client by id, and has no authenticator to wait for: each decision of Aedes comes at once.
    this.id = connect.clientId || `auto-${randomUUID()}`
    const { authentication, username } = connect
    if (!authentication) {
      this.#broker.authenticate(this, connect, verdict => this.#judged(wire, verdict))
      return
    }
    const { method, data } = authentication
    this.#enhanced = new EnhancedAuthentication(method, () =>
      this.#broker.exchange(this, method, this.user || username),
    )
    const step = this.#enhanced.begin(data)
    if (step) this.#step(wire, step)
    else this.#refuse(wire, unknownMethod(method))
  }

  #read({ header, buffer, start, end }: Framer): ConnectPacket {
    try {
      return readConnect(header, buffer, start, end)
    } catch (error) {
      // [MQTT-3.1.2-2] [MQTT-3.1.3-9] This CONNACK also makes a client of a later version fall back to 3.1.1.
      if (error instanceof MalformedPacket && error.connack) this.connection.write(error.connack)
      throw error
    }
  }

  /** Handles a packet that comes before CONNACK: only AUTH and DISCONNECT may. [MQTT-3.1.2-30] */
  #beforeSession(wire: PacketCodec, type: number, header: number, buffer: Buffer, start: number, end: number): void {
    if (type === packetType.disconnect) {
      wire.readDisconnect(header, buffer, start, end)
      this.connection.end()
      return
    }
    if (type !== packetType.auth || !this.#enhanced) {
      throw protocolError('MQTT-3.1.2-30', `a packet of type ${type} before CONNACK`)
    }
    this.connection.connecting()
    this.#step(wire, this.#enhanced.continued(wire.readAuth(header, buffer, start, end)))
  }

  #step(wire: PacketCodec, step: ScramStep): void {
    if ('verdict' in step) this.#judged(wire, this.#broker.judge(this, step.verdict), step.data)
    else {
      this.#auth(wire, reasonCode.continueAuthentication, step.challenge)
      this.connection.awaitAuthPacket()
    }
  }

  #auth(wire: PacketCodec, code: number, data: Buffer | undefined): void {
    this.#write(wire.auth(code, { method: this.#enhanced?.method ?? '', data }))
  }

  /**
   * Writes an answer. Undefined stands for an answer larger than the client takes, without which the client cannot go
   * on: the connection is closed and the result is false. [MQTT-3.1.2-24]
   */
  #write(packet: Buffer | undefined): boolean {
    if (packet) this.connection.write(packet)
    else this.connection.end(answerTooLarge)
    return packet !== undefined
  }

  #refuse(wire: PacketCodec, fault: Fault): void {
    const packet = wire.refused(fault)
    if (packet) this.connection.write(packet)
    this.connection.end()
  }

  #judged(wire: PacketCodec, verdict: Principal | Fault, data?: Buffer): void {
    const { connect } = this
    if (this.connection.isClosed || !connect) return
    if ('code' in verdict) {
      this.#refuse(wire, verdict)
      return
    }
    this.#principal = verdict
    this.user = verdict.user
    this.name = sessionName(verdict.user, this.id)
    const authentication = this.#enhanced && { method: this.#enhanced.method, data }
    const said = { ...connect, authentication }
    this.connect = said
    // A client that takes no packet as large as CONNACK is refused before replacing another and before leaving a will.
    if (!wire.accepted(this.#accepted(said))) this.#refuse(wire, answerTooLarge)
    else this.#port = this.#broker.open(this)
  }

  /** Returns the fields of CONNACK, apart from those of the session. */
  #accepted({ protocol, clientId, sessionExpiry, keepAlive, authentication }: ConnectPacket): ConnackFields {
    const granted = this.connection.grantedKeepAlive(keepAlive, protocol === 5)
    const expiry = this.#expiry(sessionExpiry)
    return {
      sessionPresent: false,
      assignedClientId: clientId === '' ? this.id : undefined,
      sessionExpiry: expiry === sessionExpiry ? undefined : expiry,
      keepAlive: granted === keepAlive ? undefined : granted,
      responseInformation: undefined,
      authentication,
    }
  }

  /** Returns the session expiry to grant. Before MQTT 5 that is the one asked for; the broker drops old sessions. */
  #expiry(asked: number): number {
    return this.#wire?.version === 5 ? Math.min(asked, this.#broker.limits.sessionExpiry) : asked
  }

  /** Handles AUTH of a connected client, which authenticates again and goes on meanwhile. (MQTT 5 §4.12.1) */
  #reauthenticate(wire: PacketCodec, header: number, buffer: Buffer, start: number, end: number): void {
    this.connection.spend(end - start)
    const auth = wire.readAuth(header, buffer, start, end)
    const step = this.#enhanced?.again(auth)
    if (step && 'challenge' in step) {
      this.#auth(wire, reasonCode.continueAuthentication, step.challenge)
      return
    }
    const verdict = step ? this.#broker.judge(this, step.verdict) : unknownMethod(auth.method)
    if ('code' in verdict) {
      const { serverBusy, notAuthorized } = reasonCode
      // DISCONNECT has no reason code for a wrong password or an unknown method.
      this.connection.end({ ...verdict, code: verdict.code === serverBusy ? serverBusy : notAuthorized })
    } else {
      this.#principal = verdict
      this.#auth(wire, reasonCode.success, step?.data)
    }
  }

  #disconnect(wire: PacketCodec, session: Session, header: number, buffer: Buffer, start: number, end: number): void {
    const { code, sessionExpiry } = wire.readDisconnect(header, buffer, start, end)
    if (sessionExpiry !== undefined) {
      this.#broker.sessions.setExpiry(session, this.#expiry(sessionExpiry))
    }
    this.#isLeaving = true
    // [MQTT-3.14.4-3] With any other code the client's will is due.
    if (code === reasonCode.success) this.#port?.goodbye()
    else this.connection.end()
  }

  // — publishes of the client —

  #publish(wire: PacketCodec, session: Session, header: number, buffer: Buffer, start: number, end: number): void {
    const broker = this.#broker
    const { connection } = this
    const { reader } = broker
    wire.readPublish(reader, header, buffer, start, end)
    const { topic, qos, retain, packetId, properties, expiry } = reader
    const bytes = end - start
    connection.spend(bytes)
    if (qos > 0) this.#quota?.take(qos, packetId)
    // A retransmission of an accepted publish is acknowledged again, whatever the packet contains now.
    if (qos === 2 && session.incoming.has(packetId)) {
      this.#acknowledge(qos, packetId)
      return
    }
    const fault = reader.fault ?? this.#publishFault(session, topic)
    if (fault) {
      const state = buffer.subarray(reader.payloadStart, end)
      if (!reader.fault && broker.bridgeState(this, topic, state)) this.#reported(session, qos, packetId)
      else this.#refusePublish(wire, topic, qos, packetId, fault)
      return
    }
    this.#permitted = topic
    this.#permittedBy = session.access
    if (this.shownAs === '') broker.seen(this)
    const payload = buffer.subarray(reader.payloadStart, end)
    const publish = new InboundPublish(this, topic, payload, qos, retain, packetId, bytes, this.#namesFor(topic))
    publish.properties = properties
    if (expiry >= 0) publish.expiresAt = broker.now() + expiry * 1e6
    if (qos === 2) {
      connection.begin(bytes)
      const accept = (done: (error?: Error) => void) => {
        publish.received = done
        broker.accept(publish, true)
      }
      broker.sessions.receive(session, packetId, accept, error => this.settled(publish, error))
    } else {
      // QoS 0 stays behind earlier publishes of the client that are still on the way to the disk.
      const waits = qos === 1 || connection.waiting
      if (waits) connection.begin(bytes)
      else publish.bytes = 0
      broker.accept(publish, waits)
    }
  }

  /** Most devices publish to one topic: the last topic is not checked again while the client's rules are the same. */
  #publishFault(session: Session, topic: string): Fault | undefined {
    const isPermitted = topic === this.#permitted && session.access === this.#permittedBy
    return isPermitted ? undefined : this.#broker.publishFault(this, topic)
  }

  /** Acknowledges the state that a bridge reports, which is not spooled. */
  #reported(session: Session, qos: QoS, packetId: number): void {
    if (qos === 1) this.#acknowledge(qos, packetId)
    else if (qos === 2) {
      this.#broker.sessions.receive(
        session,
        packetId,
        done => done(),
        error => (error ? this.#notAcknowledged(error) : this.#acknowledge(qos, packetId)),
      )
    }
  }

  #refusePublish(wire: PacketCodec, topic: string, qos: QoS, packetId: number, fault: Fault): void {
    this.#broker.refused(this, 'publish', topic, fault.reason)
    if (wire.version === 5) {
      if (qos > 0) this.#acknowledge(qos, packetId, fault)
      return
    }
    // 3.1.1 has no way to refuse a publish: an acknowledgement would be a lie. [MQTT-3.3.5-2] QoS 0 expects none, and a
    // device is not cut off from what is allowed. A client that publishes to the hub's own topics means no good.
    if (qos > 0 || topic.charCodeAt(0) === 36) this.connection.end()
  }

  /** Returns the names of a publish, encoded once while the topic is the same, as from most devices; else undefined. */
  #namesFor(topic: string): Buffer | undefined {
    if (topic !== this.#lastTopic) {
      this.#lastTopic = topic
      this.#lastNames = undefined
    } else this.#lastNames ??= encodeNames({ clientId: this.id, user: this.user, topic })
    return this.#lastNames
  }

  /** Called when a publish, or the publish of which this is a retransmission, is on disk or refused. */
  settled({ qos, ackId, bytes }: InboundPublish, error: Error | undefined): void {
    if (bytes > 0) this.connection.done(bytes)
    if (error) this.#notAcknowledged(error)
    else if (qos > 0) this.#acknowledge(qos, ackId)
  }

  /** Sends PUBACK or PUBREC; after one with a fault nothing follows. */
  #acknowledge(qos: QoS, packetId: number, fault?: Fault): void {
    this.#quota?.acknowledged(qos, packetId, fault !== undefined)
    this.#writeAck(qos === 1 ? packetType.puback : packetType.pubrec, packetId, fault)
  }

  /** Closes the connection after a failure of the hub: the client is to come back and send again. */
  #notAcknowledged(error: unknown): void {
    const reason = describe(error)
    this.#broker.debug(`${this.id}: not acknowledged: ${reason}`)
    const isFull =
      error instanceof HubError &&
      (error.code === 'spool_full' || error.code === 'spool_share' || error.code === 'too_many')
    this.connection.end({ code: isFull ? reasonCode.quotaExceeded : reasonCode.unspecified, reason })
  }

  #release(session: Session, packetId: number): void {
    this.connection.begin(recordBytes)
    this.#broker.sessions.release(session, packetId, (error, isKnown) => {
      this.connection.done(recordBytes)
      this.#quota?.released(packetId)
      if (error) this.#notAcknowledged(error)
      else this.#writeAck(packetType.pubcomp, packetId, isKnown ? undefined : unknownPacketId)
    })
  }

  // — subscriptions —

  /** Handles SUBSCRIBE. SUBACK has a code for every filter, also for a repeated one. [MQTT-3.8.4-4] [MQTT-3.8.4-5] */
  #subscribe(wire: PacketCodec, session: Session, { packetId, id, subscriptions }: Subscribe): void {
    const { sessions } = this.#broker
    let refusals = 0
    /** Subscriptions that get retained messages, up to those that were retained when the subscription was made. */
    const retained: { readonly filter: string; readonly qos: QoS; readonly until: number }[] = []
    const answers = subscriptions.map(subscription => {
      const { filter, qos, retainHandling } = subscription
      const fault = this.#broker.subscribeFault(this, filter)
      if (fault) {
        // Only the first refusal of a packet is logged: there may be a hundred thousand.
        if (refusals++ === 0) this.#broker.refused(this, 'subscribe', filter, fault.reason)
        return fault
      }
      const isNew = !session.subscriptions.has(filter)
      const asBridge = this.#isBridge && !sharedFilter(filter) && { noLocal: true, asPublished: true }
      sessions.subscribe(session, { ...subscription, id, ...asBridge })
      // [MQTT-3.8.4-4]
      if (!sharedFilter(filter) && (retainHandling === 0 || (retainHandling === 1 && isNew)))
        retained.push({ filter, qos, until: sessions.retainedSoFar(filter) })
      return qos
    })
    this.#whenKept(session, () => {
      if (!this.#write(wire.suback(packetId, answers))) return
      for (const { filter, qos, until } of retained) {
        if (session.subscriptions.has(filter)) sessions.offerRetained(session, filter, qos, until)
      }
    })
  }

  #unsubscribe(wire: PacketCodec, session: Session, { packetId, filters }: Unsubscribe): void {
    const { sessions } = this.#broker
    const answers = filters.map(filter => sessions.unsubscribe(session, filter))
    this.#whenKept(session, () => this.#write(wire.unsuback(packetId, answers)))
  }

  /** Answers a client once the change is on disk, if the session outlives the connection; otherwise at once. */
  #whenKept(session: Session, answer: () => void): void {
    if (!session.durable) {
      answer()
      return
    }
    this.connection.begin(recordBytes)
    this.#broker.sessions.flush().then(
      () => {
        this.connection.done(recordBytes)
        if (session.attached) answer()
      },
      error => this.#notAcknowledged(error),
    )
  }

  // — DeliveryTarget: packets to the client —

  get hasCapacity(): boolean {
    return this.connection.hasCapacity
  }

  deliverQos0(message: EncodedPublish, retain: boolean, ids: readonly number[] | undefined): boolean {
    // Checked before the message is encoded: a packet that defines a topic alias must be sent.
    if (this.connection.drops()) return false
    const parts = this.#encode(message, retain || ids ? { qos: 0, packetId: 0, retain, ids } : plainQoS0, false)
    if (parts) this.connection.publish(parts)
    else this.#broker.tooLarge(this)
    return parts !== undefined
  }

  publish(message: EncodedPublish, sending: PublishOptions, dup: boolean): boolean {
    const parts = this.#encode(message, sending, dup)
    if (parts) this.connection.publish(parts)
    return parts !== undefined
  }

  #encode(message: EncodedPublish, sending: PublishOptions, dup: boolean): readonly Buffer[] | undefined {
    const now = message.expiresAt === undefined ? 0 : this.#broker.now()
    return this.#wire?.publish(message, sending, dup, now)
  }

  writeAck(type: number, packetId: number, code: number = reasonCode.success): void {
    this.#writeAck(type, packetId, code === reasonCode.packetIdNotFound ? unknownPacketId : undefined)
  }

  #writeAck(type: number, packetId: number, fault: Fault | undefined): void {
    const packet = fault && this.#wire?.ack(type, packetId, fault)
    if (packet) this.connection.write(packet)
    else this.connection.writeAck(type, packetId)
  }

  // — Controlled: decisions of Aedes —

  answered(code: number): void {
    const { connect, connection } = this
    const wire = this.#wire
    if (!connect || !wire || connection.isClosed) return
    if (code !== 0) {
      this.#refuse(wire, { code: reasonCode.serverUnavailable, reason: `not accepted (${code})` })
      return
    }
    const { clean, requestResponse } = connect
    const expiry = this.#expiry(connect.sessionExpiry)
    const { session, present } = this.#broker.sessions.open(this.id, { clean, expiry, user: this.user })
    const responses = responsesTo(this.id)
    this.#session = session
    this.#isAnswered = true
    // [MQTT-3.2.2-2]
    const packet = wire.accepted({
      ...this.#accepted(connect),
      sessionPresent: present,
      responseInformation:
        requestResponse && session.access?.subscribe(responses).allowed !== false ? responses : undefined,
    })
    if (this.#write(packet)) session.attach(this)
  }

  ready(): void {
    const { connect } = this
    if (!this.#session || !connect) return
    this.#broker.connected(this)
    // No longer needed, and possibly large.
    this.connect = undefined
    const isTold = connect.protocol === 5
    this.connection.open(this.connection.grantedKeepAlive(connect.keepAlive, isTold), isTold)
  }

  end(fault = takenOver): void {
    if (!this.#isLeaving && fault === takenOver && !this.connection.isClosed) this.#broker.replaced(this)
    this.connection.end(this.#isLeaving ? undefined : fault)
  }

  left(): void {
    const { isClosed, endReason = 'its network connection ended without a DISCONNECT' } = this.connection
    // Aedes reports a replaced client as gone before closing the connection.
    const reason = isClosed ? endReason : takenOver.reason
    this.#broker.left(this, this.#isLeaving ? 'it sent DISCONNECT' : reason)
  }
}

/** Bytes that a change of the session counts for in flight while the change waits for the disk. */
const recordBytes = 256

const plainQoS0: PublishOptions = { qos: 0, packetId: 0, retain: false, ids: undefined }

const takenOver: Fault = { code: reasonCode.sessionTakenOver, reason: 'another connection has this client id now' }
const answerTooLarge: Fault = {
  code: reasonCode.packetTooLarge,
  reason: 'the answer is larger than its maximum packet size',
}
const unknownPacketId: Fault = { code: reasonCode.packetIdNotFound, reason: 'no such packet id' }

function check(fault: string | undefined): void {
  if (fault) throw protocolError('MQTT-4.3', fault)
}
