/** CONNECT of MQTT 5.0, whose statements are cited. */

import type { QoS } from '../model.js'
import { tooLong } from '../topics.js'
import type { Authentication, ConnectPacket, Will } from './codec.js'
import { propertyId } from './message-properties.js'
import {
  afterField,
  MalformedPacket,
  protocolError,
  readBytes,
  readText,
  readTopic,
  statements5,
  u16,
  wrongFlags,
} from './primitives.js'
import { authenticationOf, forEver, MessageReader, PropertyReader, scopes, tooManyProperties } from './properties5.js'
import { reasonCode } from './reason-codes.js'

/** Returns whether a CONNECT is of MQTT 5, well-formed or not. */
export function isMqtt5(buffer: Buffer, start: number, end: number): boolean {
  return end - start > 6 && buffer.toString('latin1', start, start + 7) === '\0\x04MQTT\x05'
}

const properties = new PropertyReader()
const message = new MessageReader()

/**
 * Reads a CONNECT for which {@link isMqtt5} is true. The result has copies of all bytes. The client id is refused only
 * after everything else has been checked.
 */
export function readConnect5(header: number, buffer: Buffer, start: number, end: number): ConnectPacket {
  if ((header & 0x0f) !== 0) throw wrongFlags(header, 'MQTT-2.1.3-1')
  // `isMqtt5` has checked the protocol's name and level.
  let at = start + 7
  if (at + 3 > end) throw new MalformedPacket('MQTT-3.1.2', 'a CONNECT that ends in its variable header')
  const flags = buffer[at] as number
  checkConnectFlags(flags)
  const keepAlive = u16(buffer, at + 1)
  const said = new ConnectProperties()
  at = said.read(buffer, at + 3, end)
  const clientId = readText(buffer, at, end, 'client id', statements5)
  at = afterField(buffer, at)
  let will: Will | undefined
  if (flags & 0x04) {
    at = message.read(buffer, at, end, scopes.will)
    if (message.isTooLarge)
      throw protocolError('limit', `a will with ${tooManyProperties.reason}`, tooManyProperties.code)
    // [MQTT-3.1.3-11]
    const topic = readTopic(buffer, at, end, 'will topic', 'MQTT-4.7.0-1', statements5)
    at = afterField(buffer, at)
    const payload = readBytes(buffer, at, end, 'will message', statements5)
    at = afterField(buffer, at)
    const expiry = message.expiry < 0 ? undefined : message.expiry
    const { delay, properties } = message
    will = { topic, payload, qos: ((flags >> 3) & 3) as QoS, retain: (flags & 0x20) !== 0, delay, expiry, properties }
  }
  let username: string | undefined
  if (flags & 0x80) {
    username = readText(buffer, at, end, 'user name', statements5)
    at = afterField(buffer, at)
  }
  let password: Buffer | undefined
  if (flags & 0x40) {
    password = readBytes(buffer, at, end, 'password', statements5)
    at = afterField(buffer, at)
  }
  if (at !== end) throw new MalformedPacket('MQTT-3.1.4-1', `a CONNECT with ${end - at} bytes after its last field`)
  const longName = username === undefined ? undefined : tooLong('user name', username)
  if (longName) throw protocolError('limit', longName, reasonCode.badCredentials)
  const longId = tooLong('client id', clientId)
  if (longId) throw protocolError('MQTT-3.1.3-8', longId, reasonCode.clientIdNotValid)
  const { sessionExpiry, receiveMaximum, maximumPacketSize, topicAliasMaximum, requestResponse, requestProblem } = said
  return {
    protocol: 5,
    bridge: false,
    clean: (flags & 0x02) !== 0,
    sessionExpiry,
    keepAlive,
    clientId,
    will,
    username,
    password,
    receiveMaximum,
    maximumPacketSize,
    topicAliasMaximum,
    requestResponse,
    requestProblem,
    authentication: said.authentication,
  }
}

function checkConnectFlags(flags: number): void {
  if (flags & 0x01) throw new MalformedPacket('MQTT-3.1.2-3', 'a CONNECT with the reserved flag set')
  if (flags & 0x04) {
    if ((flags & 0x18) === 0x18) throw new MalformedPacket('MQTT-3.1.2-12', 'a will with QoS 3')
  } else {
    if (flags & 0x18) throw new MalformedPacket('MQTT-3.1.2-11', 'a CONNECT with a will QoS and no will')
    if (flags & 0x20) throw new MalformedPacket('MQTT-3.1.2-13', 'a CONNECT with will retain and no will')
  }
}

class ConnectProperties {
  sessionExpiry = 0
  receiveMaximum = 65_535
  maximumPacketSize = Infinity
  topicAliasMaximum = 0
  requestResponse = false
  requestProblem = true
  authentication: Authentication | undefined

  read(buffer: Buffer, at: number, end: number): number {
    let method: string | undefined
    let data: Buffer | undefined
    const after = properties.begin(buffer, at, end, scopes.connect)
    while (properties.next()) {
      const { id, value } = properties
      if (id === propertyId.sessionExpiry) this.sessionExpiry = forEver(value)
      else if (id === propertyId.receiveMaximum) this.receiveMaximum = value
      else if (id === propertyId.maximumPacketSize) this.maximumPacketSize = value
      else if (id === propertyId.topicAliasMaximum) this.topicAliasMaximum = value
      else if (id === propertyId.requestResponse) this.requestResponse = value === 1
      else if (id === propertyId.requestProblem) this.requestProblem = value === 1
      else if (id === propertyId.authenticationMethod) method = properties.text()
      else if (id === propertyId.authenticationData) data = properties.data()
    }
    this.authentication = authenticationOf(method, data, scopes.connect)
    return after
  }
}
