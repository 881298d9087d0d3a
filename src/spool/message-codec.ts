import type { Message, Publish, QoS } from '../model.js'
import { decodeProperties, maxPropertyBytes } from '../mqtt/message-properties.js'
import { isTopicName } from '../topics.js'

/**
 * A message as bytes, the same in the spool and wherever else the hub keeps messages. Little endian.
 *
 *     ┌────────────┬──────────┬───────────────┬──────────────┬────────────────┬───────┬───────┬───────┬──────────┬──────┬───────┬─────────┐
 *     │ version u8 │ flags u8 │ packet id u16 │ sequence u64 │ receivedAt u64 │ client u16 │ user u16 │ topic u16 │ client │ user │ topic │ payload │
 *     └────────────┴──────────┴───────────────┴──────────────┴────────────────┴───────┴───────┴───────┴──────────┴──────┴───────┴─────────┘
 *     flags: bits 0–1 QoS · bit 2 retain          the three u16 are byte lengths · payload: the rest
 *
 * With properties or an expiry the version is 2, and between topic and payload are
 *
 *     ┌───────────────────────┬───────────────┬────────────┐
 *     │ properties length u32 │ expiresAt u64 │ properties │   as in message-properties.ts · expiresAt 0: never
 *     └───────────────────────┴───────────────┴────────────┘
 *
 * In the spool receivedAt is a stamp that only ascends. While the clock is behind the stamp, as after a jump ahead, the
 * version is 3, and the time of the clock is in front of the properties, behind the other two fields:
 *
 *     ┌───────────────────────┬───────────────┬────────────────┬────────────┐
 *     │ properties length u32 │ expiresAt u64 │ receivedAt u64 │ properties │
 *     └───────────────────────┴───────────────┴────────────────┴────────────┘
 */
const plainVersion = 1
const extendedVersion = 2
const stampedVersion = 3
/** Most bytes of one name in a batch: three names and the properties must fit the headers of AMQP. */
export const maxName = 12_288
const headerBytes = 26
const namesAt = 20
const extensionBytes = 12
const timeBytes = 8

/** A publish whose names may be encoded already. */
export interface NamedPublish extends Publish {
  readonly names?: Buffer | undefined
}

/**
 * Returns the three lengths, client id, user and topic as {@link encodePublish} writes them: many publishes share them.
 */
export function encodeNames({ clientId, user, topic }: Pick<Publish, 'clientId' | 'user' | 'topic'>): Buffer {
  const lengths = [clientId, user, topic].map(name => Buffer.byteLength(name))
  const names = Buffer.from(`      ${clientId}${user}${topic}`)
  for (const [i, length] of lengths.entries()) names.writeUInt16LE(length, i * 2)
  return names
}

export function encodedLength(message: NamedPublish): number {
  const rest = message.payload.length + (isExtended(message) ? extensionBytes + (message.properties?.length ?? 0) : 0)
  if (message.names) return namesAt + message.names.length + rest
  return (
    headerBytes +
    Buffer.byteLength(message.clientId) +
    Buffer.byteLength(message.user) +
    Buffer.byteLength(message.topic) +
    rest
  )
}

function isExtended({ properties, expiresAt }: Publish): boolean {
  return properties !== undefined || expiresAt !== undefined
}

/** Bytes needed beyond {@link encodedLength} when the time of the clock is written beside the stamp. */
export function stampedBytes(message: NamedPublish): number {
  return isExtended(message) ? timeBytes : extensionBytes + timeBytes
}

/** Returns the stamp, by which the spool orders messages. */
export function stampOf({ receivedAt, stamp }: Message): number {
  return stamp ?? receivedAt
}

/** Writes {@link encodedLength} bytes into `target` at `at`. */
export function encodeMessage(message: Message, target: Buffer, at: number): void {
  encodePublish(message, message.sequence, message.receivedAt, target, at)
}

/** Writes a publish with the given sequence number. With `time`, `receivedAt` is the stamp of the spool. */
export function encodePublish(
  message: NamedPublish,
  sequence: number,
  receivedAt: number,
  target: Buffer,
  at: number,
  time?: number,
): void {
  const extended = time !== undefined || isExtended(message)
  target[at] = time !== undefined ? stampedVersion : extended ? extendedVersion : plainVersion
  target[at + 1] = message.qos | (message.retain ? 4 : 0)
  target.writeUInt16LE(message.packetId, at + 2)
  writeUInt64(target, sequence, at + 4)
  writeUInt64(target, receivedAt, at + 12)
  if (message.names) {
    target.set(message.names, at + namesAt)
    const end = at + namesAt + message.names.length
    target.set(message.payload, extended ? encodeExtension(message, target, end, time) : end)
    return
  }
  let end = at + headerBytes
  const client = target.write(message.clientId, end)
  end += client
  const user = target.write(message.user, end)
  end += user
  const topic = target.write(message.topic, end)
  end += topic
  target.writeUInt16LE(client, at + 20)
  target.writeUInt16LE(user, at + 22)
  target.writeUInt16LE(topic, at + 24)
  target.set(message.payload, extended ? encodeExtension(message, target, end, time) : end)
}

/** Writes the extension and returns where the extension ends. */
function encodeExtension(
  { properties, expiresAt = 0 }: Publish,
  target: Buffer,
  at: number,
  time: number | undefined,
): number {
  target.writeUInt32LE(properties?.length ?? 0, at)
  writeUInt64(target, expiresAt, at + 4)
  let end = at + extensionBytes
  if (time !== undefined) {
    writeUInt64(target, time, end)
    end += timeBytes
  }
  if (properties) target.set(properties, end)
  return end + (properties?.length ?? 0)
}

/**
 * Decodes a message that {@link encodeMessage} wrote. Payload and properties are views into `body`. Undefined when the
 * version is unknown.
 */
export function decodeMessage(body: Buffer): Message | undefined {
  const version = body[0]
  if (!isVersion(version) || body.length < headerBytes) return undefined
  const flags = body[1] as number
  const clientEnd = headerBytes + body.readUInt16LE(20)
  const userEnd = clientEnd + body.readUInt16LE(22)
  const topicEnd = userEnd + body.readUInt16LE(24)
  const message: Message = {
    sequence: readUInt64(body, 4),
    receivedAt: readUInt64(body, 12),
    topic: body.toString('utf8', userEnd, topicEnd),
    payload: body.subarray(topicEnd),
    qos: (flags & 3) as QoS,
    retain: (flags & 4) !== 0,
    clientId: body.toString('utf8', headerBytes, clientEnd),
    user: body.toString('utf8', clientEnd, userEnd),
    packetId: body.readUInt16LE(2),
  }
  return version === plainVersion ? message : withExtension(message, version === stampedVersion)
}

function isVersion(version: number | undefined): boolean {
  return version === plainVersion || version === extendedVersion || version === stampedVersion
}

/** Moves the extension from the payload to the fields of the message. */
function withExtension(message: Message, isStamped: boolean): Message | undefined {
  const rest = message.payload
  const begin = extensionBytes + (isStamped ? timeBytes : 0)
  if (rest.length < begin) return undefined
  const end = begin + rest.readUInt32LE(0)
  if (end > rest.length) return undefined
  const expiresAt = readUInt64(rest, 4)
  return {
    ...message,
    payload: rest.subarray(end),
    ...(isStamped && { receivedAt: readUInt64(rest, extensionBytes), stamp: message.receivedAt }),
    ...(end > begin && { properties: rest.subarray(begin, end) }),
    ...(expiresAt !== 0 && { expiresAt }),
  }
}

/**
 * Returns the sequence number of the message at `at`, without decoding the message. Undefined when the version is
 * unknown.
 */
export function sequenceAt(bytes: Buffer, at: number, end: number): number | undefined {
  const version = bytes[at]
  if (!isVersion(version) || at + namesAt > end) return undefined
  return readUInt64(bytes, at + 4)
}

/** Returns the user of the message at `at`, without decoding the rest. Undefined as in {@link sequenceAt}. */
export function userAt(bytes: Buffer, at: number, end: number): string | undefined {
  if (!isVersion(bytes[at]) || at + headerBytes > end) return undefined
  const begin = at + headerBytes + bytes.readUInt16LE(at + 20)
  return bytes.toString('utf8', begin, Math.min(end, begin + bytes.readUInt16LE(at + 22)))
}

/**
 * Many messages as one body. Little endian.
 *
 *     ┌────────────┬───────┬───────────┬─ count times ───────────────────┐
 *     │ version u8 │ 0  u8 │ count u16 │ length u32 │ message, as above  │
 *     └────────────┴───────┴───────────┴─────────────────────────────────┘
 */
const batchVersion = 0x81
const batchHeaderBytes = 4
const lengthBytes = 4

/** Encodes at least one message, at most 65,535. `lengths`: what {@link encodedLength} returns of each. */
export function encodeBatch(messages: readonly Message[], lengths = messages.map(encodedLength)): Buffer {
  const body = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + lengthBytes + length, batchHeaderBytes))
  body[0] = batchVersion
  body[1] = 0
  body.writeUInt16LE(messages.length, 2)
  let at = batchHeaderBytes
  for (let i = 0; i < messages.length; i++) {
    const length = lengths[i] as number
    body.writeUInt32LE(length, at)
    encodeMessage(messages[i] as Message, body, at + lengthBytes)
    at += lengthBytes + length
  }
  return body
}

/** Decodes a batch that {@link encodeBatch} wrote. Undefined for anything else. The payloads are views into `body`. */
export function decodeBatch(body: Buffer): Message[] | undefined {
  if (body.length < batchHeaderBytes || body[0] !== batchVersion || body[1] !== 0) return undefined
  const count = body.readUInt16LE(2)
  const messages: Message[] = []
  let at = batchHeaderBytes
  for (let i = 0; i < count; i++) {
    if (at + lengthBytes > body.length) return undefined
    const start = at + lengthBytes
    at = start + body.readUInt32LE(at)
    if (at > body.length) return undefined
    const message = checkedMessage(body.subarray(start, at))
    if (!message) return undefined
    messages.push(message)
  }
  return count > 0 && at === body.length ? messages : undefined
}

/** Decodes a message as {@link decodeMessage} does, from bytes without a checksum. */
function checkedMessage(body: Buffer): Message | undefined {
  if (body.length < headerBytes || (body[1] as number) > 7 || ((body[1] as number) & 3) === 3) return undefined
  const names = body.readUInt16LE(20) + body.readUInt16LE(22) + body.readUInt16LE(24)
  // Longer names do not fit the headers of a dead letter.
  if (names > 3 * maxName || headerBytes + names > body.length) return undefined
  const message = decodeMessage(body)
  if (!message || !Number.isSafeInteger(message.sequence) || !Number.isSafeInteger(message.receivedAt)) return undefined
  const { properties, expiresAt, ...plain } = message
  // Properties for which a subscriber would close the connection are left out. The message is good without them.
  const isWrong = (properties && !isSound(properties)) || (expiresAt !== undefined && !Number.isSafeInteger(expiresAt))
  return isWrong ? plain : message
}

function isSound(properties: Buffer): boolean {
  const decoded = properties.length <= maxPropertyBytes ? decodeProperties(properties) : undefined
  return decoded !== undefined && (decoded.responseTopic === undefined || isTopicName(decoded.responseTopic))
}

/** Writes a safe integer, without BigInt. */
export function writeUInt64(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value % 0x1_0000_0000, at)
  target.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4)
}

export function readUInt64(source: Buffer, at: number): number {
  return source.readUInt32LE(at) + source.readUInt32LE(at + 4) * 0x1_0000_0000
}
