/** The nouns of every part of the hub. Types and pure functions only. */

export type QoS = 0 | 1 | 2

/** One accepted PUBLISH, exactly as the spool keeps the bytes: raw, undecoded. */
export interface Message {
  /** Ascending by one per accepted publish of this hub, never reused. */
  readonly sequence: number
  /**
   * Microseconds since the epoch, by the hub's clock: the time goes back when the clock is set back by more than a
   * second. Otherwise strictly ascending, so that no two messages have the same. The order of messages is that of
   * `sequence`.
   */
  readonly receivedAt: number
  /** Stamp by which the spool orders the messages, while the clock is behind the stamp. */
  readonly stamp?: number
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly clientId: string
  /** The authenticated user name; empty when anonymous. */
  readonly user: string
  /**
   * The packet identifier of a QoS 2 publish in a session that outlives the connection, else 0. With the client id it
   * recognises a retransmission.
   */
  readonly packetId: number
  /** MQTT 5 properties that travel with the message, encoded as in mqtt/message-properties.ts. Undefined: none. */
  readonly properties?: Buffer | undefined
  /** Expiry in microseconds since the epoch: not delivered to a subscriber from then on. Undefined: no expiry. */
  readonly expiresAt?: number | undefined
  /** The hub that accepted the message. Undefined for this hub. */
  readonly hub?: string
  /** Where the answer goes, if a program has put the message into RabbitMQ and waits for one. */
  readonly reply?: ReplyQueue
}

/** The queue of RabbitMQ in which a program waits for an answer. */
export interface ReplyQueue {
  readonly queue: string
  readonly correlationId: string | undefined
  /** Names the message among those of its sender: a message that is delivered again has the same key. */
  readonly key: string
  /** Whether the message may have been handed on before. A new message may have the key of an old one. */
  readonly isRedelivered: boolean
}

/** A publish of a client without a place in the spool yet. The payload may be a view into the network chunk. */
export type Publish = Omit<Message, 'sequence' | 'receivedAt' | 'stamp' | 'hub' | 'reply'>

/** A publish that waits to be on disk. */
export interface PendingPublish extends Publish {
  /** True for a publish of QoS 0 whose sender waits to hear that the message is on disk, unlike an MQTT client. */
  readonly isAwaited?: boolean
  /**
   * Called when the message is on disk and distributed; or, with an error, when the message is not kept and must not be
   * acknowledged. `sequence` is the place in the spool; 0 with an error, and for QoS 0 that is not awaited.
   */
  settle(error: Error | undefined, sequence: number): void
}

/** The way of a publish from the broker to the disk. Implemented by `Ingest`, in front of the spool. */
export interface PublishSink {
  /** Last sequence number on disk; 0 before the first message. */
  readonly sequence: number
  /** Whether so much waits for the disk that nothing more should be read. */
  readonly overloaded: boolean
  /**
   * Takes a publish, whose result the listener gets: QoS 0 at once or, with `inOrder`, in its place among the others;
   * QoS 1 and 2 after the group commit, in the order of the calls.
   */
  accept(publish: PendingPublish, inOrder: boolean): void
  /** Resolves when the listener has the result of everything accepted so far. */
  flush(): Promise<void>
  /** Returns the messages on disk above a sequence number. To be closed. */
  replay(after: number): Replay
}

/** The messages of the spool from some point on, in order, and those that are added while they are read. */
export interface Replay {
  /** Passes over messages up to a sequence number. */
  skipTo(after: number): void
  /**
   * Takes one step. Returns the next message; `passed` when messages were passed over; undefined when everything that
   * is on disk at this moment has been returned.
   */
  next(): Message | 'passed' | undefined
  close(): void
}

/** Gets the result of each publish that a {@link PublishSink} has accepted. Implemented by `Broker`. */
export interface DurabilityListener {
  /** Called at once for a publish of QoS 0 that need not wait for earlier ones: the sender waits for no answer. */
  onPassed(publish: PendingPublish): void
  /**
   * Called once for each other publish, in the order of `accept`. With an error the publish is not kept, and the sender
   * must not be acknowledged; QoS 0 has no sender to inform, unless awaited. `sequence` is the place in the spool, 0 for
   * QoS 0 that is not awaited.
   */
  onDurable(publish: PendingPublish, error: Error | undefined, sequence: number): void
  /** Called when everything up to a sequence number is on disk, after `onDurable` for each of those publishes. */
  onCommitted(sequence: number): void
}

/** A message of the hub itself for MQTT subscribers: pushes, presence, messages from back ends. */
export type Outward = Pick<Message, 'topic' | 'payload' | 'qos' | 'retain' | 'properties' | 'expiresAt'>

/** Whether a client is connected, and since when. */
export interface ClientPresence {
  /** The client id, preceded by the user where another user's client has that id. */
  readonly clientId: string
  readonly user: string
  readonly online: boolean
  /** Microseconds since the epoch. */
  readonly since: number
  /** True when the client is forgotten: the hub had assigned the id, so no client will come back with that id. */
  readonly isForgotten?: boolean
}

/** Gets the presence of each client, whenever that changes. Implemented by `PipelineThread`. */
export interface PresenceListener {
  onPresence(presence: ClientPresence): void
}

/** Value of a reading. Numbers are always stored as 64 bit floats. */
export type FieldValue = number | boolean | string

/** Sorted by name, names unique. Pairs, not objects: device text is never used as a property name. */
export type Tags = readonly (readonly [name: string, value: string])[]
export type Fields = readonly (readonly [name: string, value: FieldValue])[]

/** One row of a time series: several fields of one measurement and tag set at one instant. */
export interface Point {
  readonly measurement: string
  readonly tags: Tags
  /** At least one. No NaN, no infinity. */
  readonly fields: Fields
  /** Microseconds since the epoch. Series and time identify the point: written twice, the point is stored once. */
  readonly time: number
}

/**
 * How far a reading can be trusted.
 * `good`: as sent · `late`: the device's time is more than a minute behind the hub's (buffered or delayed) ·
 * `clock`: the device's time was impossible, the receive time was taken instead · `absent`: the device says that there
 * is no value.
 */
export type Quality = 'good' | 'late' | 'clock' | 'absent'

/** A decoded and mapped message. */
export interface Reading {
  readonly message: Message
  readonly points: readonly Point[]
  readonly quality: Quality
  /** Why values of the message are in none of the points. Undefined: all of them are. */
  readonly refused?: Rejection
  /** Series for which the message says that there is no value. */
  readonly absent?: readonly SeriesId[]
  /** By how many microseconds the device's clock is wrong, where its time was not taken. */
  readonly clockError?: number
  /** Why nothing of the message is a reading, although nothing is wrong with it. */
  readonly ignored?: IgnoredAs
}

/** Kind of a message that is no reading: it describes devices, is meant for one, is a log; or a rule ignores it. */
export type IgnoredAs = 'description' | 'command' | 'log' | 'ignored' | 'rule'

export type FieldType = 'number' | 'boolean' | 'text'

/** Names one series: one field of one measurement and tag set. */
export interface SeriesId {
  readonly measurement: string
  readonly tags: Tags
  readonly field: string
}

export interface Series extends SeriesId {
  readonly type: FieldType
  /** The newest value by time; time in microseconds. */
  readonly last: { readonly time: number; readonly value: FieldValue }
}

/** Why a message will never be stored as it is. `reason` is a stable word, `detail` a sentence for people. */
export interface Rejection {
  readonly reason: string
  readonly detail: string
  /** True when some values of the message are stored, and only the others are rejected. */
  readonly partly?: boolean
  /** The fields that are refused, where it is known which; all others of the message are stored. */
  readonly fields?: readonly string[]
}

/** Result of every hand-over: done; done, and nothing was to be stored; try again later; or never, with the reason (the message is dead-lettered). */
export type Outcome = 'ack' | 'ignored' | 'retry' | Rejection

/** A message that was rejected, kept with the reason for inspection and replay. */
export interface DeadLetter extends Rejection {
  readonly message: Message
  /** Microseconds since the epoch. */
  readonly failedAt: number
  readonly attempts: number
  /** The outlet whose target has refused it. Undefined: it could not be stored. Set where letters are read. */
  readonly outlet?: string
}

/** State of an MQTT client in the hub. */
export interface Device {
  readonly clientId: string
  readonly user: string
  readonly online: boolean
  /** Time since which the client is online or offline; microseconds. */
  readonly since: number
  /** Time of the last publish; microseconds, 0 if none. */
  readonly lastSeen: number
  readonly messages: number
  /** By how much the client's clock is wrong, where its time was not taken. Undefined while nothing is known to be wrong. */
  readonly clock?: ClientClock | undefined
}

/** A clock of a client that is wrong. */
export interface ClientClock {
  /** Microseconds; negative when the clock is behind. */
  readonly error: number
  /** Topic of the newest message with a wrong time. */
  readonly topic: string
}

/** Returns an id of a message that is unique among all that this hub may meet. */
export function messageId({ hub, sequence }: Pick<Message, 'hub' | 'sequence'>): string {
  return hub === undefined ? String(sequence) : `${hub}-${sequence}`
}

/**
 * Returns the line-protocol form `measurement,tag=value field`, with `\`, `,`, `=` and space escaped: one string per
 * series.
 */
export function seriesKey(id: SeriesId): string {
  let key = escapeKey(id.measurement)
  for (const [name, value] of id.tags) key += `,${escapeKey(name)}=${escapeKey(value)}`
  return `${key} ${escapeKey(id.field)}`
}

/** Reverses {@link seriesKey}. Undefined when `key` is not of that form. */
export function parseSeriesKey(key: string): SeriesId | undefined {
  const parts: string[] = []
  const marks: string[] = []
  let part = ''
  for (let i = 0; i < key.length; i++) {
    const char = key[i] as string
    if (char === '\\') part += key[++i] ?? ''
    else if (char === ',' || char === '=' || char === ' ') {
      parts.push(part)
      marks.push(char)
      part = ''
    } else part += char
  }
  parts.push(part)
  const [measurement, ...rest] = parts as [string, ...string[]]
  const field = rest.pop()
  if (marks.pop() !== ' ' || !measurement || !field || !/^(,=)*$/.test(marks.join(''))) return undefined
  const tags: [string, string][] = []
  for (let i = 0; i < rest.length; i += 2) tags.push([rest[i] as string, rest[i + 1] as string])
  return { measurement, tags, field }
}

function escapeKey(text: string): string {
  return /[\\,= ]/.test(text) ? text.replace(/[\\,= ]/g, '\\$&') : text
}

export function fieldType(value: FieldValue): FieldType {
  return typeof value === 'number' ? 'number' : typeof value === 'boolean' ? 'boolean' : 'text'
}

/** Returns the client id of what a user publishes without an MQTT connection, as over HTTP. */
export function requestClientId(user: string): string {
  return user === '' ? 'http' : `http:${user}`
}

const inletPrefix = 'inlet:'

/** Returns the client id of what comes from another broker through an inlet. */
export function inletClientId(name: string): string {
  return inletPrefix + name
}

/** Returns whether a client id has the form of those of inlets. */
export function isInletClientId(clientId: string): boolean {
  return clientId.startsWith(inletPrefix)
}

/** Hubs that a message may have passed. */
export const maxHops = 8

/** Beginning of the client ids that the hub assigns to clients that gave none, before a UUID. [MQTT-3.1.3-6] */
export const assignedIdPrefix = 'auto-'

/** Returns whether a client id has the form of those that the hub assigns. */
export function isAssignedClientId(clientId: string): boolean {
  const id = clientId.startsWith(assignedIdPrefix) ? clientId.slice(assignedIdPrefix.length) : ''
  return /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/.test(id)
}

/**
 * A sentence as a code and its values, so that a page can say it in another language. Numbers are in the unit `unit`;
 * those whose name ends with `Ms` are milliseconds.
 */
export interface Said {
  readonly code: string
  readonly values: Readonly<Record<string, string | number | boolean>>
}
