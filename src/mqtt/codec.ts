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
  /** Seconds that the will waits for the client to come back, as long as the session lives. */
  readonly delay: number
  /** Seconds after publication from which the will is no longer delivered. Undefined for no limit. */
  readonly expiry: number | undefined
  /** Encoded properties, as in message-properties.ts. */
  readonly properties: Buffer | undefined
}

/** A CONNECT. Fields that the client left out have the value that versions before 5 imply. */
export interface ConnectPacket {
  readonly protocol: Version
  /**
   * A bridge of another broker, which Mosquitto marks by the highest bit of the protocol level of 3.1 and 3.1.1. A
   * bridge gets none of the bridge's own publishes, and RETAIN flags as published. MQTT 5 has options for both.
   */
  readonly bridge: boolean
  /** True to begin without the state of an earlier session. */
  readonly clean: boolean
  /** Seconds that the session outlives the connection; Infinity: for ever. 3.1.1: 0 with `clean`, else Infinity. */
  readonly sessionExpiry: number
  /** Seconds; 0 is for ever. */
  readonly keepAlive: number
  /** Empty when the server is to assign a client id. */
  readonly clientId: string
  readonly will: Will | undefined
  readonly username: string | undefined
  readonly password: Buffer | undefined
  /** QoS 1 and 2 publishes the client takes without having acknowledged them; 65,535 by default. */
  readonly receiveMaximum: number
  /** Bytes of the largest packet the client takes; Infinity by default. */
  readonly maximumPacketSize: number
  /** Topic aliases the client takes. */
  readonly topicAliasMaximum: number
  /** True when the client asks for response information: the topics for responses. */
  readonly requestResponse: boolean
  /** True when the client wants reason strings. */
  readonly requestProblem: boolean
  /** Enhanced authentication, as SCRAM-SHA-256. (§4.12) */
  readonly authentication: Authentication | undefined
}

export interface Authentication {
  readonly method: string
  readonly data: Buffer | undefined
}

/** The fields of CONNACK for an accepted connection. */
export interface ConnackFields {
  readonly sessionPresent: boolean
  /** The client id assigned by the hub. Undefined when the client gave one. */
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
  /** True when the client's own publishes are not delivered to the client. */
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
  /** Whether the client asks, by user property, for no more than the newest message of each topic when it is slow. */
  readonly conflate: boolean
  readonly subscriptions: readonly SubscribeOption[]
}

export interface Unsubscribe {
  readonly packetId: number
  readonly filters: readonly string[]
}

export interface Disconnect {
  readonly code: number
  /** Seconds that the session is kept from now on; undefined: as before. */
  readonly sessionExpiry: number | undefined
}

/**
 * The MQTT version of one client: reads the client's packets and writes those of the hub. One object for each
 * connection with MQTT 5; the versions before need no memory and share one. Every `read…` throws `MalformedPacket`.
 */
export interface PacketCodec {
  readonly version: Version
  /** Reads a PUBLISH into the fields of `reader`. */
  readPublish(reader: PublishReader, header: number, buffer: Buffer, start: number, end: number): void
  /** Reads PUBACK, PUBREC, PUBREL or PUBCOMP and returns the packet id. The reason code is in {@link ackCode}. */
  readAck(header: number, buffer: Buffer, start: number, end: number): number
  /** The reason code of the acknowledgement read last; 0 in the versions before 5. */
  readonly ackCode: number
  readSubscribe(header: number, buffer: Buffer, start: number, end: number): Subscribe
  readUnsubscribe(header: number, buffer: Buffer, start: number, end: number): Unsubscribe
  readDisconnect(header: number, buffer: Buffer, start: number, end: number): Disconnect
  /** Reads AUTH, with the reason code. */
  readAuth(header: number, buffer: Buffer, start: number, end: number): Authentication & { readonly code: number }

  // The methods below return undefined also for a packet larger than the client takes. [MQTT-3.1.2-24]

  /** Writes the CONNACK of an accepted connection. */
  accepted(answer: ConnackFields): Buffer | undefined
  /** Writes the CONNACK of a refused connection, the last packet. Codes that CONNACK cannot have become others. */
  refused(fault: Fault): Buffer | undefined
  /** Writes PUBACK, PUBREC, PUBREL or PUBCOMP with a reason. Undefined before MQTT 5, where they have four bytes. */
  ack(type: number, packetId: number, fault: Fault): Buffer | undefined
  /** Writes SUBACK. `answers` has the granted QoS or the fault of each filter, in the order of SUBSCRIBE. */
  suback(packetId: number, answers: readonly (QoS | Fault)[]): Buffer | undefined
  /** Writes UNSUBACK. `answers` has for each filter, in the order of UNSUBSCRIBE, whether a subscription existed. */
  unsuback(packetId: number, answers: readonly boolean[]): Buffer | undefined
  /** Writes DISCONNECT. Undefined when the version has no DISCONNECT of a server. */
  disconnect(fault: Fault): Buffer | undefined
  /** Writes AUTH. Undefined when the version has no AUTH. */
  auth(code: number, authentication: Authentication): Buffer | undefined
  /**
   * Writes PUBLISH, in parts that are shared and must not be written to. Undefined when the packet is larger than the
   * client takes. The packet must be sent, as a topic alias in the packet holds from now on. `now`, in microseconds
   * since the epoch, gives the time that the message has left.
   */
  publish(message: EncodedPublish, sending: PublishOptions, dup: boolean, now: number): readonly Buffer[] | undefined
}
