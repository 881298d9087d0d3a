import { HubError } from '../../errors.js'
import type { PendingPublish, QoS } from '../../model.js'
import type { PacketCodec } from '../../mqtt/codec.js'
import type { Framer } from '../../mqtt/framer.js'
import type { PublishReader } from '../../mqtt/publish.js'
import { type Fault, reasonCode } from '../../mqtt/reason-codes.js'
import type { Session } from '../../sessions/sessions.js'
import type { NamedPublish } from '../../spool/message-codec.js'
import { isRequest } from '../../topics.js'
import type { Client } from '../client.js'
import type { CommandClient, CommandPublish } from '../command-port.js'
import type { TopicService } from '../topic-services.js'

/** Handles PUBLISH: authorises the publish, hands the publish to the spool, and acknowledges once that is on disk. */
export function handlePublish(client: Client, codec: PacketCodec, session: Session, framer: Framer): void {
  const { broker, connection } = client
  const { header, buffer, start, end } = framer
  const { reader } = broker
  codec.readPublish(reader, header, buffer, start, end)
  const { topic, qos, retain, packetId, properties, expiry } = reader
  const bytes = end - start
  connection.spend(bytes)
  client.published++
  client.publishedAt = performance.now()
  if (qos > 0) client.quota?.take(qos, packetId)
  // A retransmission of an accepted publish is acknowledged again, whatever the packet contains now.
  if (qos === 2 && session.incoming.has(packetId)) {
    client.acknowledge(qos, packetId)
    return
  }
  const payload = buffer.subarray(reader.payloadStart, end)
  const { access } = session
  const fault =
    reader.fault ??
    (client.lastTopic.isPermitted(topic, access) ? undefined : broker.policy.publishFault(client, topic))
  if (fault) {
    if (reader.fault) refuse(client, codec, topic, qos, packetId, fault)
    else if (broker.bridges.takes(client, topic, payload)) acknowledgeUnkept(client, session, qos, packetId)
    else if (!topic.startsWith(commandTopics) && !isRequest(topic)) refuse(client, codec, topic, qos, packetId, fault)
    else {
      const { id, user, name } = client
      const publish = { topic, payload, properties, expiry, dup: reader.dup }
      takeCommand(client, codec, session, {
        ...publish,
        client: { id, user, name, access },
        qos,
        packetId,
        bytes,
        fault,
      })
    }
    return
  }
  if (properties !== undefined && broker.loops.has(properties)) {
    broker.refusals.looped()
    acknowledgeUnkept(client, session, qos, packetId)
    return
  }
  if (client.shownAs === '') broker.presence.seen(client)
  const service = broker.services.find(topic)
  // A service may take a permission back, as when a shadow becomes somebody else's.
  if (!service) client.lastTopic.permit(topic, access)
  else {
    acceptForService(client, session, service, reader, payload, bytes)
    return
  }
  const publish = new InboundPublish(client, topic, payload, qos, retain, packetId, bytes)
  publish.properties = properties
  if (expiry >= 0) publish.expiresAt = broker.clock.now() + expiry * 1e6
  accept(client, session, publish)
}

/** Hands a publish to the spool, which settles the publish: on disk, or refused. */
function accept(client: Client, session: Session, publish: InboundPublish): void {
  const { broker, connection } = client
  const { qos, retain, bytes } = publish
  if (qos === 2) {
    connection.begin(bytes)
    const toSpool = (done: (error?: Error) => void) => {
      publish.received = done
      broker.sink.accept(publish, true)
    }
    broker.sessions.receive(session, publish.ackId, toSpool, error => acknowledge(client, publish, error))
    return
  }
  // QoS 0 stays behind earlier publishes of the client that are still on the way to the disk.
  // A retained one is for sessions, which may get it from the spool alone.
  const waits = qos === 1 || connection.waiting || (retain && !broker.restoration.isOver)
  if (waits) connection.begin(bytes)
  else publish.bytes = 0
  broker.sink.accept(publish, waits)
}

/** Beginning of the topics by which clients ask for commands and answer them. */
const commandTopics = '$hub/command'

interface InboundCommand extends CommandPublish {
  readonly client: CommandClient
  readonly qos: QoS
  readonly packetId: number
  readonly bytes: number
  /** Why a publish that is none of a command is refused. */
  readonly fault: Fault
}

/** Hands a command, or the answer to one, to the commands. Acknowledged once on disk. */
function takeCommand(client: Client, codec: PacketCodec, session: Session, command: InboundCommand): void {
  const { broker, connection } = client
  const { topic, qos, packetId, bytes, fault } = command
  const take = (done: (error?: Error) => void) => {
    const refused = broker.commands?.take(command.client, command, done) ?? undefined
    if (refused) refuse(client, codec, topic, qos, packetId, refused === 'other' ? fault : refused)
    return !refused
  }
  if (!broker.commands || qos === 0) {
    if (broker.commands) take(() => {})
    else refuse(client, codec, topic, qos, packetId, fault)
    return
  }
  connection.begin(bytes)
  const settle = (error?: Error) => {
    connection.done(bytes)
    if (!error) client.acknowledge(qos, packetId)
    else if (codec.version === 5 && error instanceof HubError && error.httpStatus < 500) {
      const code = error.code === 'too_many' ? reasonCode.quotaExceeded : reasonCode.implementationSpecific
      client.acknowledge(qos, packetId, { code, reason: error.message })
    } else client.notAcknowledged(error)
  }
  if (qos === 1) {
    if (!take(settle)) connection.done(bytes)
    return
  }
  // The packet id is remembered only of a publish that was taken.
  const isTaken = take(error => {
    if (error) settle(error)
    else broker.sessions.receive(session, packetId, done => done(), settle)
  })
  if (!isTaken) connection.done(bytes)
}

/** Sends PUBACK or PUBREC for a publish that is on disk; after an error closes the connection. */
function acknowledge(client: Client, { qos, ackId, bytes }: InboundPublish, error: Error | undefined): void {
  if (bytes > 0) client.connection.done(bytes)
  if (error) client.notAcknowledged(error)
  else if (qos > 0) client.acknowledge(qos, ackId)
}

function refuse(client: Client, codec: PacketCodec, topic: string, qos: QoS, packetId: number, fault: Fault): void {
  client.broker.refusals.refused(client, 'publish', topic, fault.reason)
  if (codec.version === 5) {
    if (qos > 0) client.acknowledge(qos, packetId, fault)
    return
  }
  // 3.1.1 has no way to refuse a publish: an acknowledgement would be a lie. [MQTT-3.3.5-2] QoS 0 expects none, and a
  // device is not cut off from what is allowed. A client that publishes to the hub's own topics means no good.
  if (qos > 0 || topic.charCodeAt(0) === 36) client.connection.end()
}

/** Acknowledges a publish that is not spooled: the state that a bridge reports, or a message that was here before. */
function acknowledgeUnkept(client: Client, session: Session, qos: QoS, packetId: number): void {
  if (qos === 1) client.acknowledge(qos, packetId)
  else if (qos === 2) {
    client.broker.sessions.receive(
      session,
      packetId,
      done => done(),
      error => (error ? client.notAcknowledged(error) : client.acknowledge(qos, packetId)),
    )
  }
}

/** Hands a publish to a service of the hub, and acknowledges when the service is done. */
function acceptForService(
  client: Client,
  session: Session,
  service: TopicService,
  { topic, qos, packetId, properties, expiry }: PublishReader,
  payload: Buffer,
  bytes: number,
): void {
  const { broker, connection, id: clientId, user } = client
  const expiresAt = expiry >= 0 ? broker.clock.now() + expiry * 1e6 : undefined
  const publish = { topic, payload, qos, properties, expiresAt, clientId, user }
  const settle = (error?: Error) => {
    connection.done(bytes)
    if (error) client.notAcknowledged(error)
    else if (qos > 0) client.acknowledge(qos, packetId)
  }
  connection.begin(bytes)
  if (qos < 2) service.accept(publish, settle)
  else broker.sessions.receive(session, packetId, done => service.accept(publish, done), settle)
}

/** A client's publish on the way to the disk. One object holds everything needed on arrival, as there may be many. */
class InboundPublish implements PendingPublish, NamedPublish {
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
  /** For QoS 2: called instead of the acknowledgement, as the session has to record the packet id first. */
  received: ((error?: Error) => void) | undefined
  properties: Buffer | undefined
  expiresAt: number | undefined
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
  ) {
    this.#client = client
    this.topic = topic
    this.payload = payload
    this.qos = qos
    this.retain = retain
    this.clientId = client.id
    this.user = client.user
    this.packetId = qos === 2 && client.session?.durable ? packetId : 0
    this.ackId = packetId
    this.bytes = bytes
    this.names = client.lastTopic.names(client.id, client.user, topic)
  }

  settle(error: Error | undefined): void {
    if (this.received) this.received(error)
    else acknowledge(this.#client, this, error)
  }
}
