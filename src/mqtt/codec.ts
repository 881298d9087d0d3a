import type { QoS } from '../model.js'
import type { EncodedPublish, PublishOptions, PublishReader } from './publish.js'
import type { Fault } from './reason-codes.js'

/** The protocol level: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. */
export type Version = 3 | 4 | 5

export interface Will {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  /** Seconds that it waits for the client to come back, as long as its session lives. */
  readonly delay: number
  /** Seconds after which it is not delivered any more, from when it is published; undefined: never. */
  readonly expiry: number | undefined
  /** As in message-properties.ts. */
  readonly properties: Buffer | undefined
}

/** A CONNECT. What it has not said is as the version before 5 would have it. */
export interface ConnectPacket {
  readonly protocol: Version
  /**
   * A bridge of another broker, as Mosquitto says in the highest bit of the protocol level of 3.1 and 3.1.1: it is sent
   * nothing that it has published itself, and RETAIN flags as they were published. MQTT 5 has options for both.
   */
  readonly bridge: boolean
  /** Begin without what a session before left. */
  readonly clean: boolean
  /** Seconds that the session outlives the connection; Infinity: for ever. 3.1.1: 0 with `clean`, else Infinity. */
  readonly sessionExpiry: number
  /** Seconds; 0 is for ever. */
  readonly keepAlive: number
  /** Empty when the server is to give one. */
  readonly clientId: string
  readonly will: Will | undefined
  readonly username: string | undefined
  readonly password: Buffer | undefined
  /** QoS 1 and 2 publishes the client takes without having acknowledged them; 65,535 when it has not said. */
  readonly receiveMaximum: number
  /** Bytes of the largest packet it takes; Infinity when it has not said. */
  readonly maximumPacketSize: number
  /** Topic aliases it takes. */
  readonly topicAliasMaximum: number
  /** It wants to be told where to have its responses sent. */
  readonly requestResponse: boolean
  /** It wants reason strings. */
  readonly requestProblem: boolean
  /** Enhanced authentication, as SCRAM-SHA-256. (§4.12) */
  readonly authentication: Authentication | undefined
}

export interface Authentication {
  readonly method: string
  readonly data: Buffer | undefined
}

/** What CONNACK says of a connection that is accepted. */
export interface ConnackFields {
  readonly sessionPresent: boolean
  /** The hub gave this id, as the client had none. */
  readonly assignedClientId: string | undefined
  /** Seconds; undefined: as the client asked. */
  readonly sessionExpiry: number | undefined
  /** Seconds; undefined: as the client asked. */
  readonly keepAlive: number | undefined
  readonly responseInformation: string | undefined
  /** The last step of enhanced authentication. */
  readonly authentication: Authentication | undefined
}

export interface SubscribeOption {
  readonly filter: string
  readonly qos: QoS
  /** What the client itself publishes is not delivered. */
  readonly noLocal: boolean
  /** Deliveries have the RETAIN flag that the publish had. */
  readonly asPublished: boolean
  /** Retained messages: 0 sent, 1 sent when the subscription is new, 2 not sent. (§3.8.3.1) */
  readonly retainHandling: 0 | 1 | 2
}

export interface Subscribe {
  readonly packetId: number
  /** The subscription identifier; 0: none. */
  readonly id: number
  readonly subscriptions: readonly SubscribeOption[]
}

export interface Unsubscribe {
  readonly packetId: number
  readonly filters: readonly string[]
}

export interface Disconnect {
  readonly code: number
  /** Seconds that the session is kept from now on; undefined: as it was. */
  readonly sessionExpiry: number | undefined
}

/**
 * MQTT as one client speaks it: what its packets mean, and how ours are written. One object for each connection with
 * MQTT 5; the versions before need no memory and share one. What a `read…` throws is a `MalformedPacket`.
 */
export interface PacketCodec {
  readonly version: Version
  /** Reads a PUBLISH into the fields of `reader`. */
  readPublish(reader: PublishReader, header: number, buffer: Buffer, start: number, end: number): void
  /** PUBACK, PUBREC, PUBREL or PUBCOMP: the packet id. What the client says of it is in {@link ackCode}. */
  readAck(header: number, buffer: Buffer, start: number, end: number): number
  /** Of what was read last; 0 in the versions before 5. */
  readonly ackCode: number
  readSubscribe(header: number, buffer: Buffer, start: number, end: number): Subscribe
  readUnsubscribe(header: number, buffer: Buffer, start: number, end: number): Unsubscribe
  readDisconnect(header: number, buffer: Buffer, start: number, end: number): Disconnect
  /** AUTH, with its reason code. */
  readAuth(header: number, buffer: Buffer, start: number, end: number): Authentication & { readonly code: number }

  // Undefined also where what they write is larger than the client takes. [MQTT-3.1.2-24]

  /** CONNACK, and nothing after it when it is a fault. Codes that it cannot have become others. */
  accepted(answer: ConnackFields): Buffer | undefined
  refused(fault: Fault): Buffer | undefined
  /** PUBACK, PUBREC, PUBREL or PUBCOMP that says more than its four bytes; the versions before 5 cannot say it: undefined. */
  ack(type: number, packetId: number, fault: Fault): Buffer | undefined
  /** `answers` has the granted QoS or the fault of each filter, in their order. */
  suback(packetId: number, answers: readonly (QoS | Fault)[]): Buffer | undefined
  /** `answers` has for each filter, in their order, whether there was such a subscription. */
  unsuback(packetId: number, answers: readonly boolean[]): Buffer | undefined
  /** Undefined when the version has no DISCONNECT of a server, or no AUTH. */
  disconnect(fault: Fault): Buffer | undefined
  auth(code: number, authentication: Authentication): Buffer | undefined
  /**
   * The PUBLISH in parts that nobody may write into; undefined when it is larger than the client takes. What it says of
   * topic aliases holds from now on: it must be sent. `now`: microseconds since the epoch, for how long the message still
   * has.
   */
  publish(message: EncodedPublish, sending: PublishOptions, dup: boolean, now: number): readonly Buffer[] | undefined
}
