/** The parts of packets that every version of MQTT shares. */

import { isUtf8 } from 'node:buffer'
import { isTopicFilter, isTopicName, tooDeep, tooLong } from '../topics.js'
import { reasonCode } from './reason-codes.js'

export const packetType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  /** MQTT 5 only. */
  auth: 15,
} as const

export const typeNames = ['type 0', ...Object.keys(packetType).map(name => name.toUpperCase())]

/** A packet that the specification does not allow: the connection is to be closed. [MQTT-4.8.0-1] */
export class MalformedPacket extends Error {
  /**
   * The statement broken, as `MQTT-3.3.1-4`, of the version that the client speaks; the section where a statement has
   * no number; `limit` for limits of the hub.
   */
  readonly clause: string
  /** Return code of the CONNACK for a CONNECT before MQTT 5. */
  readonly returnCode: number | undefined
  /** True when more bytes were announced than packets may have. */
  readonly tooLarge: boolean
  /** Reason code for CONNACK or DISCONNECT of MQTT 5. */
  readonly reasonCode: number
  /** The answer to a CONNECT, to be sent before the connection is closed; set by `readConnect`. */
  connack: Buffer | undefined

  constructor(
    clause: string,
    message: string,
    returnCode?: number,
    tooLarge = false,
    code: number = tooLarge ? reasonCode.packetTooLarge : reasonCode.malformed,
  ) {
    super(message)
    this.name = 'MalformedPacket'
    this.clause = clause
    this.returnCode = returnCode
    this.tooLarge = tooLarge
    this.reasonCode = code
    this.connack = undefined
  }
}

/** Returns the error for a well-formed packet that must not be sent, or not now. (MQTT 5.0 §4.13.1) */
export function protocolError(clause: string, message: string, code: number = reasonCode.protocolError) {
  return new MalformedPacket(clause, message, undefined, false, code)
}

/** The statements about the parts of packets, which have other numbers in MQTT 5. */
export interface Statements {
  /** Statements on a text that does not fit the packet (`textCut`), is ill-formed (`text`), or has U+0000 (`nul`). */
  readonly textCut: string
  readonly text: string
  readonly nul: string
  readonly dataCut: string
  readonly packetId: string
}

/** Statements of MQTT 3.1.1. */
export const statements3: Statements = {
  textCut: 'MQTT-1.5.3',
  text: 'MQTT-1.5.3-1',
  nul: 'MQTT-1.5.3-2',
  dataCut: 'MQTT-1.5.3',
  packetId: 'MQTT-2.3.1-1',
}

export const statements5: Statements = {
  textCut: 'MQTT-1.5.4',
  text: 'MQTT-1.5.4-1',
  nul: 'MQTT-1.5.4-2',
  dataCut: 'MQTT-1.5.6',
  packetId: 'MQTT-2.2.1-3',
}

const { connack: CONNACK, suback: SUBACK, unsuback: UNSUBACK, pingresp: PINGRESP } = packetType

/** Returns whether only a server sends packets of this type, or the type is reserved. */
export function isServerPacket(type: number): boolean {
  return type === 0 || type === CONNACK || type === SUBACK || type === UNSUBACK || type === PINGRESP || type === 15
}

export function wrongFlags(header: number, clause = 'MQTT-2.2.2-2'): MalformedPacket {
  const flags = (header & 0x0f).toString(2).padStart(4, '0')
  return new MalformedPacket(clause, `flags ${flags} in the header of ${typeNames[header >> 4]}`)
}

export function readId(buffer: Buffer, at: number, end: number, packet: string, clause: string): number {
  const isCut = at + 2 > end
  const id = isCut ? 0 : u16(buffer, at)
  if (id > 0) return id
  const message = `${packet} without a packet id, or with 0`
  throw isCut ? new MalformedPacket(clause, message) : protocolError(clause, message)
}

export function readTopic(
  buffer: Buffer,
  at: number,
  end: number,
  what = 'topic',
  wildcards = 'MQTT-3.3.2-2',
  statements = statements3,
): string {
  const topic = readText(buffer, at, end, what, statements)
  const invalid = reasonCode.topicNameInvalid
  if (topic.length === 0) throw protocolError('MQTT-4.7.3-1', `an empty ${what}`, invalid)
  const large = tooLong(what, topic) ?? tooDeep(what, topic)
  if (large) throw protocolError('limit', large, invalid)
  if (!isTopicName(topic)) throw protocolError(wildcards, `a ${what} with a wildcard`, invalid)
  return topic
}

export function readFilter(buffer: Buffer, at: number, end: number): string {
  const filter = readText(buffer, at, end, 'topic filter')
  if (isTopicFilter(filter)) return filter
  if (filter.length === 0) throw new MalformedPacket('MQTT-4.7.3-1', 'an empty topic filter')
  const clause = /[^/]#|#./.test(filter) ? 'MQTT-4.7.1-2' : 'MQTT-4.7.1-3'
  throw new MalformedPacket(clause, 'a topic filter with a wildcard that does not stand alone, or # before the end')
}

// A byte order mark is a character like others. [MQTT-1.5.3-3]
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Reads a string after two bytes of length. Refuses ill-formed UTF-8 and U+0000. [MQTT-1.5.3-1] [MQTT-1.5.3-2] */
export function readText(buffer: Buffer, at: number, end: number, what: string, statements = statements3): string {
  checkField(buffer, at, end, what, statements.textCut)
  let text: string
  try {
    text = utf8.decode(buffer.subarray(at + 2, afterField(buffer, at)))
  } catch {
    throw illFormed(what, statements)
  }
  if (text.includes('\u0000')) throw hasNul(what, statements)
  return text
}

/** Checks a string as {@link readText} does, without decoding. Returns where the string ends. */
export function checkText(buffer: Buffer, at: number, end: number, what: string, statements: Statements): number {
  checkField(buffer, at, end, what, statements.textCut)
  const to = afterField(buffer, at)
  let isAscii = true
  for (let i = at + 2; i < to; i++) {
    const byte = buffer[i] as number
    if (byte === 0) throw hasNul(what, statements)
    if (byte > 0x7f) isAscii = false
  }
  if (!isAscii && !isUtf8(buffer.subarray(at + 2, to))) throw illFormed(what, statements)
  return to
}

function illFormed(what: string, { text }: Statements): MalformedPacket {
  return new MalformedPacket(text, `a ${what} that is not well-formed UTF-8`)
}

function hasNul(what: string, { nul }: Statements): MalformedPacket {
  return new MalformedPacket(nul, `a ${what} with U+0000`)
}

/** Reads bytes after two bytes of length. The copy, kept as long as the connection, is not in the pool. */
export function readBytes(buffer: Buffer, at: number, end: number, what: string, statements = statements3): Buffer {
  checkField(buffer, at, end, what, statements.dataCut)
  const bytes = Buffer.allocUnsafeSlow(u16(buffer, at))
  buffer.copy(bytes, 0, at + 2)
  return bytes
}

export function checkField(buffer: Buffer, at: number, end: number, what: string, clause: string): void {
  if (afterField(buffer, at) > end) throw new MalformedPacket(clause, `a ${what} that does not fit the packet`)
}

/** Returns where the field at `at`, which begins with two bytes of length, ends. */
export function afterField(buffer: Buffer, at: number): number {
  return at + 2 + u16(buffer, at)
}

export function u16(buffer: Buffer, at: number): number {
  return ((buffer[at] as number) << 8) | (buffer[at + 1] as number)
}

/** Returns how many bytes the remaining length takes. [MQTT-2.2.3] */
export function lengthSize(length: number): number {
  return length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x200000 ? 3 : 4
}

/** Writes the fixed header. Returns where the header ends. */
export function writeHead(target: Buffer, header: number, length: number): number {
  if (length > 0x0fffffff) throw new RangeError(`a packet of ${length} bytes cannot be sent`)
  target[0] = header
  return writeLength(target, 1, length)
}

/** Writes a length, or another number of up to four bytes. Returns where the number ends. */
export function writeLength(target: Buffer, at: number, length: number): number {
  let rest = length
  for (; rest > 0x7f; rest >>= 7) target[at++] = (rest & 0x7f) | 0x80
  target[at++] = rest
  return at
}
