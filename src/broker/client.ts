import { randomUUID } from 'node:crypto'
import type { Principal } from '../auth/authority.js'
import type { Access } from '../auth/rules.js'
import { describe } from '../errors.js'
import type { PendingPublish, QoS } from '../model.js'
import { encodeNames, type NamedPublish } from '../queue/codec.js'
import type { Connection, Protocol } from './connection.js'
import type { Controlled, Port } from './control.js'
import {
  type Connect,
  checkEmpty,
  connack,
  type Framer,
  isServerPacket,
  MalformedPacket,
  type PublishReader,
  packetType,
  pingresp,
  readConnect,
  readPacketId,
  readSubscribe,
  readUnsubscribe,
  type Subscribe,
  suback,
  type Unsubscribe,
  unsuback,
  wholePacket,
} from './packets.js'
import type { Session } from './session.js'
import type { Sessions } from './sessions.js'

/** What a client asks of the broker. */
export interface ClientBroker {
  readonly sessions: Sessions
  /** One for all clients. */
  readonly reader: PublishReader
  /** Who is it, and may it be that client? `done` once, with the return code of CONNACK when not. */
  authenticate(client: Client, connect: Connect, done: (verdict: Principal | number) => void): void
  /** Begins the handshake. */
  open(client: Client): Port
  /** Makes a publish durable and distributes it, then settles it. QoS 0 at once, or `inOrder` after those before it. */
  accept(publish: PendingPublish, inOrder: boolean): void
  /** Why a client may not do this; undefined when it may. */
  publishFault(client: Client, topic: string): string | undefined
  subscribeFault(client: Client, filter: string): string | undefined
  refused(client: Client, action: 'publish' | 'subscribe', topic: string, reason: string): void
  connected(client: Client): void
  left(client: Client): void
  /** It publishes. */
  seen(client: Client): void
  /** A connection ended for something that is neither its fault nor said anywhere else. */
  debug(sentence: string): void
}

/**
 * The server's side of MQTT 3.1 and 3.1.1 on one connection. Publishes and acknowledgements, both ways, and
 * subscriptions are handled here; who may connect, in whose place, and whose will is due, Aedes decides.
 */
export class Client implements Protocol, Controlled {
  readonly connection: Connection
  readonly #broker: ClientBroker
  /** Empty until it asks to connect. */
  id = ''
  /** Empty until it is authenticated. */
  user = ''
  connect: Connect | undefined
  /** Its presence is shown. */
  isShown = false
  /** When it was last told that it may not publish, in microseconds since the epoch. */
  refusedAt = 0
  #principal: Principal | undefined
  #port: Port | undefined
  #session: Session | undefined
  #permitted: string | undefined
  #permittedBy: Access | undefined
  #lastTopic = ''
  #lastNames: Buffer | undefined

  constructor(connection: Connection, broker: ClientBroker) {
    this.connection = connection
    this.#broker = broker
  }

  get session(): Session | undefined {
    return this.#session
  }

  /** False once its user is gone, or what it showed has changed. */
  isValid(): boolean {
    return this.#principal?.isValid() === true
  }

  // — Protocol: what the client sends —

  packet(framer: Framer): void {
    const { header, buffer, start, end } = framer
    const type = header >> 4
    if (!this.connect) {
      if (type !== packetType.connect) {
        throw new MalformedPacket('MQTT-3.1.0-1', `the first packet is of type ${type}, not CONNECT`)
      }
      this.#connect(header, buffer, start, end)
      return
    }
    const session = this.#session
    if (!session) throw new Error('a packet before the session')
    const { protocol } = this.connect
    if (type === packetType.publish) {
      this.#publish(session, header, buffer, start, end)
      return
    }
    const readId = () => readPacketId(header, buffer, start, end, protocol)
    switch (type) {
      case packetType.puback:
        check(session.acknowledge(readId()))
        break
      case packetType.pubrec:
        check(session.received(readId()))
        break
      case packetType.pubcomp:
        check(session.complete(readId()))
        break
      case packetType.pubrel:
        this.#release(session, readId())
        break
      case packetType.subscribe:
        this.#subscribe(session, readSubscribe(header, buffer, start, end, protocol))
        break
      case packetType.unsubscribe:
        this.#unsubscribe(session, readUnsubscribe(header, buffer, start, end, protocol))
        break
      case packetType.pingreq:
        checkEmpty(header, start, end)
        this.connection.write(pingresp)
        break
      case packetType.disconnect:
        checkEmpty(header, start, end)
        this.#port?.push(wholePacket(header, buffer, start, end))
        break
      case packetType.connect:
        throw new MalformedPacket('MQTT-3.1.0-2', 'a second CONNECT')
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

  closed(): void {
    const session = this.#session
    this.#session = undefined
    if (session) this.#broker.sessions.leave(session)
    this.#port?.close()
  }

  #connect(header: number, buffer: Buffer, start: number, end: number): void {
    try {
      this.connect = readConnect(header, buffer, start, end)
    } catch (error) {
      // [MQTT-3.1.2-2] [MQTT-3.1.3-9]; also what makes an MQTT 5 client fall back to 3.1.1.
      if (error instanceof MalformedPacket && error.returnCode !== undefined) {
        this.connection.write(connack(error.returnCode, false))
      }
      throw error
    }
    this.connection.connecting()
    const { connect } = this
    // Aedes knows a client by its id, and asks nobody: what it decides it decides at once.
    this.id = connect.clientId || `auto-${randomUUID()}`
    const packet = Buffer.from(wholePacket(header, buffer, start, end))
    this.#broker.authenticate(this, connect, verdict => {
      if (this.connection.isClosed) return
      if (typeof verdict === 'number') {
        this.connection.write(connack(verdict, false))
        this.connection.end()
        return
      }
      this.#principal = verdict
      this.user = verdict.user
      this.#port = this.#broker.open(this)
      this.#port.push(packet)
    })
  }

  #publish(session: Session, header: number, buffer: Buffer, start: number, end: number): void {
    const { reader, sessions } = this.#broker
    const { connection } = this
    reader.read(header, buffer, start, end)
    const { topic, qos, retain, packetId } = reader
    const bytes = end - start
    connection.spend(bytes)
    const fault = this.#isPermitted(session, topic) ? undefined : this.#broker.publishFault(this, topic)
    if (fault) {
      this.#broker.refused(this, 'publish', topic, fault)
      // 3.1.1 has no way to say no: an acknowledgement would be a lie. [MQTT-3.3.5-2] QoS 0 asks for none, and a
      // device is not cut off from what it may do; who reaches for the hub's own topics means no good.
      if (qos > 0 || topic.charCodeAt(0) === 36) connection.end()
      return
    }
    this.#permitted = topic
    this.#permittedBy = session.access
    if (!this.isShown) this.#broker.seen(this)
    const payload = buffer.subarray(reader.payloadStart, end)
    const publish = new Incoming(this, topic, payload, qos, retain, packetId, bytes, this.#namesFor(topic))
    if (qos === 2) {
      connection.begin(bytes)
      const accept = (done: (error?: Error) => void) => {
        publish.received = done
        this.#broker.accept(publish, true)
      }
      sessions.receive(session, packetId, accept, error => this.settled(publish, error))
    } else {
      // QoS 0 stays behind what the client published before it, if that is still on its way to the disk.
      const waits = qos === 1 || connection.waiting
      if (waits) connection.begin(bytes)
      else publish.bytes = 0
      this.#broker.accept(publish, waits)
    }
  }

  /** The topic it published to last, which most devices publish to next, as long as its rules are the same. */
  #isPermitted(session: Session, topic: string): boolean {
    return topic === this.#permitted && session.access === this.#permittedBy
  }

  /** Encoded once when the same topic comes again and again, as it does from most devices. */
  #namesFor(topic: string): Buffer | undefined {
    if (topic !== this.#lastTopic) {
      this.#lastTopic = topic
      this.#lastNames = undefined
    } else this.#lastNames ??= encodeNames({ clientId: this.id, user: this.user, topic })
    return this.#lastNames
  }

  /** A publish is on disk, or a retransmission of one that is; or it is refused. */
  settled({ qos, ackId, bytes }: Incoming, error: Error | undefined): void {
    if (bytes > 0) this.connection.done(bytes)
    if (error) {
      this.#broker.debug(`${this.id}: not acknowledged: ${error.message}`)
      this.connection.end()
    } else if (qos > 0) this.connection.writeAck(qos === 1 ? packetType.puback : packetType.pubrec, ackId)
  }

  #release(session: Session, packetId: number): void {
    this.connection.begin(recordBytes)
    this.#broker.sessions.release(session, packetId, error => {
      this.connection.done(recordBytes)
      if (error) {
        this.#broker.debug(`${this.id}: PUBREL not acknowledged: ${error.message}`)
        this.connection.end()
      } else this.connection.writeAck(packetType.pubcomp, packetId)
    })
  }

  /** SUBACK has a code for every filter, also for one that is there twice. [MQTT-3.8.4-4] [MQTT-3.8.4-5] */
  #subscribe(session: Session, { packetId, subscriptions }: Subscribe): void {
    const { sessions } = this.#broker
    let refusals = 0
    const codes = subscriptions.map(({ filter, qos }) => {
      const fault = this.#broker.subscribeFault(this, filter)
      if (!fault) sessions.subscribe(session, filter, qos)
      // The first of a packet is said: there may be a hundred thousand.
      else if (refusals++ === 0) this.#broker.refused(this, 'subscribe', filter, fault)
      return fault ? refusedCode : qos
    })
    this.#whenKept(session, () => {
      this.connection.write(suback(packetId, codes))
      for (const [i, { filter, qos }] of subscriptions.entries()) {
        if (codes[i] !== refusedCode) sessions.offerRetained(session, filter, qos)
      }
    })
  }

  #unsubscribe(session: Session, { packetId, filters }: Unsubscribe): void {
    for (const filter of filters) this.#broker.sessions.unsubscribe(session, filter)
    this.#whenKept(session, () => this.connection.write(unsuback(packetId)))
  }

  /** What a client is told of a session that outlives the connection is on disk before. */
  #whenKept(session: Session, answer: () => void): void {
    if (session.durable) {
      this.connection.begin(recordBytes)
      this.#broker.sessions.flush().then(
        () => {
          this.connection.done(recordBytes)
          if (session.attached) answer()
        },
        error => {
          this.#broker.debug(`${this.id}: not acknowledged: ${describe(error)}`)
          this.connection.end()
        },
      )
    } else answer()
  }

  // — Controlled: what Aedes decides —

  answered(returnCode: number): void {
    const { connect, connection } = this
    if (!connect || connection.isClosed) return
    if (returnCode !== 0) {
      connection.write(connack(returnCode, false))
      return
    }
    const { session, present } = this.#broker.sessions.open(this.id, connect.clean, this.user)
    this.#session = session
    // [MQTT-3.2.2-2]; a reserved byte in MQTT 3.1.
    connection.write(connack(0, present && connect.protocol === 4))
    session.attach(connection)
  }

  ready(): void {
    if (!this.#session) return
    this.#broker.connected(this)
    const { connect } = this
    if (!connect) return
    // Neither is needed any more, and each may be large.
    this.connect = { ...connect, will: undefined, password: undefined }
    this.connection.open(connect.keepAlive)
  }

  end(): void {
    this.connection.end()
  }

  left(): void {
    this.#broker.left(this)
  }
}

/** A publish of a client on its way to the disk. One object for all that has to be known then: there may be many. */
class Incoming implements PendingPublish, NamedPublish {
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
  readonly names: Buffer | undefined
  readonly #client: Client

  constructor(
    client: Client,
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

/** What a change of the session that waits for the disk counts for among what is in flight. */
const recordBytes = 256

/** The code of SUBACK for a filter that is refused. [MQTT-3.9.3-2] */
const refusedCode = 0x80

function check(fault: string | undefined): void {
  if (fault) throw new MalformedPacket('MQTT-4.3', fault)
}
