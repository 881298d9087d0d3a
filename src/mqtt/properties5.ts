/** Properties in packets of MQTT 5 (§2.2.2): which packet may have which, how they are read and written. */

import { isTopicName } from '../topics.js'
import type { Authentication } from './codec.js'
import { maxPropertyBytes, propertyId } from './message-properties.js'
import {
  checkField,
  checkText,
  lengthSize,
  MalformedPacket,
  protocolError,
  readBytes,
  readText,
  statements5,
  u16,
  writeLength,
} from './primitives.js'
import { type Fault, reasonCode } from './reason-codes.js'

type Name = keyof typeof propertyId
/** `flag`, `two` and `four` are numbers of one, two and four bytes, `variable` is one of up to four. (§1.5) */
type PropertyKind = 'flag' | 'two' | 'four' | 'variable' | 'text' | 'data' | 'pair'

const kinds: Readonly<Record<Name, PropertyKind>> = {
  payloadFormat: 'flag',
  messageExpiry: 'four',
  contentType: 'text',
  responseTopic: 'text',
  correlationData: 'data',
  subscriptionId: 'variable',
  sessionExpiry: 'four',
  assignedClientId: 'text',
  serverKeepAlive: 'two',
  authenticationMethod: 'text',
  authenticationData: 'data',
  requestProblem: 'flag',
  willDelay: 'four',
  requestResponse: 'flag',
  responseInformation: 'text',
  serverReference: 'text',
  reason: 'text',
  receiveMaximum: 'two',
  topicAliasMaximum: 'two',
  topicAlias: 'two',
  maximumQoS: 'flag',
  retainAvailable: 'flag',
  user: 'pair',
  maximumPacketSize: 'four',
  wildcardAvailable: 'flag',
  subscriptionIdAvailable: 'flag',
  sharedAvailable: 'flag',
}

interface Definition {
  /** The name in sentences for people. */
  readonly name: string
  readonly kind: PropertyKind
  /** The bit of this property in sets of properties. */
  readonly bit: number
}

const byId: (Definition | undefined)[] = []
for (const [i, name] of (Object.keys(kinds) as Name[]).entries()) {
  const words = name.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`)
  byId[propertyId[name]] = { name: words, kind: kinds[name], bit: 1 << i }
}

function definitionOf(id: number): Definition {
  return byId[id] as Definition
}

function setOf(names: readonly Name[]): number {
  return names.reduce((set, name) => set | definitionOf(propertyId[name]).bit, 0)
}

const zeroIsWrong = setOf(['receiveMaximum', 'maximumPacketSize', 'subscriptionId'])
const travelling = setOf(['payloadFormat', 'contentType', 'responseTopic', 'correlationData', 'user'])

/** Returns whether a property goes with a message from publisher to subscriber. */
function travels(id: number): boolean {
  return (definitionOf(id).bit & travelling) !== 0
}

/** The properties that a client may put into one kind of packet, and the section of the specification. */
export interface Scope {
  readonly packet: string
  readonly section: string
  readonly allowed: number
  /** Bytes of all properties of one packet. Those of CONNECT, a will and PUBLISH are bounded otherwise. */
  readonly most: number
}

function scope(packet: string, section: string, ...names: readonly Name[]): Scope {
  return { packet, section: `MQTT-${section}`, allowed: setOf(names), most: Infinity }
}

/** Returns the scope of a packet whose properties are for the hub alone: no client needs more. */
function bounded(...of: Parameters<typeof scope>): Scope {
  return { ...scope(...of), most: maxPropertyBytes }
}

const message = ['payloadFormat', 'messageExpiry', 'contentType', 'responseTopic', 'correlationData', 'user'] as const

export const scopes = {
  connect: scope(
    'CONNECT',
    '3.1.2.11',
    'sessionExpiry',
    'receiveMaximum',
    'maximumPacketSize',
    'topicAliasMaximum',
    'requestResponse',
    'requestProblem',
    'user',
    'authenticationMethod',
    'authenticationData',
  ),
  will: scope('will', '3.1.3.2', 'willDelay', ...message),
  publish: scope('PUBLISH', '3.3.2.3', 'topicAlias', 'subscriptionId', ...message),
  puback: bounded('PUBACK', '3.4.2.2', 'reason', 'user'),
  pubrec: bounded('PUBREC', '3.5.2.2', 'reason', 'user'),
  pubrel: bounded('PUBREL', '3.6.2.2', 'reason', 'user'),
  pubcomp: bounded('PUBCOMP', '3.7.2.2', 'reason', 'user'),
  subscribe: bounded('SUBSCRIBE', '3.8.2.1', 'subscriptionId', 'user'),
  unsubscribe: bounded('UNSUBSCRIBE', '3.10.2.1', 'user'),
  disconnect: bounded('DISCONNECT', '3.14.2.2', 'sessionExpiry', 'reason', 'user'),
  auth: bounded('AUTH', '3.15.2.2', 'authenticationMethod', 'authenticationData', 'reason', 'user'),
}

const nothing: Buffer = Buffer.alloc(0)

/**
 * Goes through the properties of one packet, and makes the checks that concern one property alone: the form, whether
 * the packet may have the property, whether the property is repeated. Allocates nothing for values that are not read.
 */
export class PropertyReader {
  /** Identifier of the property that `next` moved to. */
  id = 0
  /** Value of a property that is a number. */
  value = 0
  /** Where the bytes of the property are, from the identifier on. */
  from = 0
  to = 0
  #buffer = nothing
  #end = 0
  #seen = 0
  #scope: Scope = scopes.connect

  /** Begins anew, at the length of the properties. Returns where the properties end. */
  begin(buffer: Buffer, at: number, end: number, scope: Scope): number {
    if (at >= end) throw new MalformedPacket('MQTT-2.2.2-1', `a ${scope.packet} without the length of its properties`)
    const length = readVariable(buffer, at, end, 'length of properties')
    this.to = at + lengthSize(length)
    this.#end = this.to + length
    if (this.#end > end)
      throw new MalformedPacket('MQTT-2.2.2.1', `a ${scope.packet} with properties that do not fit it`)
    if (length > scope.most)
      throw protocolError('limit', `a ${scope.packet} with ${tooManyProperties.reason}`, tooManyProperties.code)
    this.#buffer = buffer
    this.#scope = scope
    this.#seen = 0
    return this.#end
  }

  /** Moves to the next property; false when there is none left. */
  next(): boolean {
    const at = this.to
    if (at >= this.#end) {
      this.stop()
      return false
    }
    const { packet, section, allowed } = this.#scope
    const id = this.#buffer[at] as number
    const definition = byId[id]
    if (!definition || (allowed & definition.bit) === 0)
      throw new MalformedPacket('MQTT-2.2.2.2', `a ${packet} with property ${id}, which it does not have`)
    const { name, kind, bit } = definition
    // §2.2.2.2: no other property may be repeated, except in packets that only a server sends.
    if ((this.#seen & bit) !== 0 && kind !== 'pair') throw protocolError(section, `a ${packet} with two of ${name}`)
    this.#seen |= bit
    this.id = id
    this.from = at
    this.to = this.#read(kind, name, at + 1)
    if (kind === 'flag' && this.value > 1) throw protocolError(section, `a ${packet} with ${this.value} as ${name}`)
    if ((bit & zeroIsWrong) !== 0 && this.value === 0) throw protocolError(section, `a ${packet} with 0 as ${name}`)
    return true
  }

  /** Releases the buffer: no value can be read any more. */
  stop(): void {
    this.#buffer = nothing
  }

  /** Returns the value of a property that is text. */
  text(): string {
    return readText(this.#buffer, this.from + 1, this.to, definitionOf(this.id).name, statements5)
  }

  /** Returns whether the property is the user property of this name and value. */
  isPair(name: string, value: string): boolean {
    if (this.id !== propertyId.user) return false
    const buffer = this.#buffer
    const at = this.from + 1
    const between = at + 2 + u16(buffer, at)
    return buffer.toString('utf8', at + 2, between) === name && buffer.toString('utf8', between + 2, this.to) === value
  }

  /** Returns the value of a property that is data: a copy, not in the pool. */
  data(): Buffer {
    return readBytes(this.#buffer, this.from + 1, this.to, definitionOf(this.id).name, statements5)
  }

  /** Checks the value at `at`. Returns where the value ends. */
  #read(kind: PropertyKind, name: string, at: number): number {
    const buffer = this.#buffer
    const end = this.#end
    switch (kind) {
      case 'text':
        return checkText(buffer, at, end, name, statements5)
      case 'pair':
        return checkText(buffer, checkText(buffer, at, end, 'property name', statements5), end, name, statements5)
      case 'data':
        checkField(buffer, at, end, name, statements5.dataCut)
        return at + 2 + u16(buffer, at)
      case 'variable':
        this.value = readVariable(buffer, at, end, name)
        return at + lengthSize(this.value)
    }
    const size = kind === 'four' ? 4 : kind === 'two' ? 2 : 1
    if (at + size > end) throw new MalformedPacket('MQTT-2.2.2.2', `a ${name} that does not fit the properties`)
    this.value = buffer.readUIntBE(at, size)
    return at + size
  }
}

/** Reads the properties of a PUBLISH or of a will. */
export class MessageReader {
  readonly #reader = new PropertyReader()
  /** The properties that go with the message, in the order sent. Undefined when there are none, or too many. */
  properties: Buffer | undefined
  /** True when more than `maxPropertyBytes` would go with the message. The other fields are as in the packet. */
  isTooLarge = false
  /** Seconds; -1 when there is none. */
  expiry = -1
  delay = 0
  /** Topic alias; -1 when there is none. */
  alias = -1

  /** Reads the properties. Returns where they end. */
  read(buffer: Buffer, at: number, end: number, scope: Scope): number {
    this.properties = undefined
    this.isTooLarge = false
    this.expiry = this.alias = -1
    this.delay = 0
    const reader = this.#reader
    let size = 0
    const after = reader.begin(buffer, at, end, scope)
    const first = reader.to
    while (reader.next()) {
      const { id, value, from, to } = reader
      if (travels(id)) size += to - from
      if (id === propertyId.messageExpiry) this.expiry = value
      else if (id === propertyId.topicAlias) this.alias = value
      else if (id === propertyId.willDelay) this.delay = value
      else if (id === propertyId.responseTopic) checkResponseTopic(reader.text())
      else if (id === propertyId.subscriptionId)
        throw protocolError('MQTT-3.3.4-6', 'a PUBLISH of a client with a subscription identifier')
    }
    this.isTooLarge = size > maxPropertyBytes
    if (size === 0 || this.isTooLarge) return after
    // A will comes once and is kept for long: not in the pool. Of publishes there may be many.
    const kept = scope === scopes.will ? Buffer.allocUnsafeSlow(size) : Buffer.allocUnsafe(size)
    if (size === after - first) buffer.copy(kept, 0, first, after)
    else {
      let filled = 0
      reader.begin(buffer, at, end, scope)
      while (reader.next()) {
        const { id, from, to } = reader
        if (travels(id)) filled += buffer.copy(kept, filled, from, to)
      }
    }
    this.properties = kept
    return after
  }
}

/** Checks a response topic, but not the number of levels: nothing is filed under a response topic here. */
function checkResponseTopic(topic: string): void {
  if (topic.length === 0) throw protocolError('MQTT-4.7.3-1', 'an empty response topic')
  if (!isTopicName(topic)) throw protocolError('MQTT-3.3.2-14', 'a response topic with a wildcard')
}

export const tooManyProperties: Fault = {
  code: reasonCode.quotaExceeded,
  reason: `properties of more than ${maxPropertyBytes} bytes`,
}

/** Returns the authentication in CONNECT or AUTH. Undefined when there is neither method nor data. */
export function authenticationOf(
  method: string | undefined,
  data: Buffer | undefined,
  { packet, section }: Scope,
): Authentication | undefined {
  if (method !== undefined) return { method, data }
  if (data) throw protocolError(section, `a ${packet} with authentication data and no method`)
  return undefined
}

/** Returns the seconds of a session expiry, of which the largest number is for ever. (§3.1.2.11.2) */
export function forEver(seconds: number): number {
  return seconds === 0xffffffff ? Infinity : seconds
}

function readVariable(buffer: Buffer, at: number, end: number, what: string): number {
  let value = 0
  for (let i = 0; i < 4 && at + i < end; i++) {
    const byte = buffer[at + i] as number
    value |= (byte & 0x7f) << (7 * i)
    if (byte > 0x7f) continue
    if (byte === 0 && i > 0) throw new MalformedPacket('MQTT-1.5.5-1', `a ${what} in more bytes than it needs`)
    return value
  }
  throw new MalformedPacket('MQTT-1.5.5', `a ${what} that is cut, or of more than four bytes`)
}

/** Encodes a property that is a number. A number too large for the property becomes the largest that fits. */
export function numberProperty(id: number, value: number): Buffer {
  const { kind } = definitionOf(id)
  if (kind === 'variable') {
    const property = Buffer.allocUnsafe(1 + lengthSize(value))
    property[0] = id
    writeLength(property, 1, value)
    return property
  }
  const size = kind === 'four' ? 4 : kind === 'two' ? 2 : 1
  const property = Buffer.allocUnsafe(1 + size)
  property[0] = id
  property.writeUIntBE(Math.min(value, 2 ** (8 * size) - 1), 1, size)
  return property
}

/** Encodes a property that is text or data. */
export function fieldProperty(id: number, value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  if (bytes.length > 0xffff) throw new RangeError(`a ${definitionOf(id).name} of ${bytes.length} bytes cannot be sent`)
  return Buffer.concat([Buffer.from([id, bytes.length >> 8, bytes.length & 0xff]), bytes])
}
