import { randomUUID } from 'node:crypto'
import { assignedIdPrefix } from '../../model.js'
import type { ConnectPacket } from '../../mqtt/codec.js'
import type { Framer } from '../../mqtt/framer.js'
import { MalformedPacket } from '../../mqtt/primitives.js'
import { Mqtt3 } from '../../mqtt/v3.js'
import { Mqtt5, readConnect } from '../../mqtt/v5.js'
import type { Client } from '../client.js'
import { ReceiveQuota } from '../receive-quota.js'
import { admit } from './admit.js'
import { beginExchange } from './authenticate.js'

const mqtt31 = new Mqtt3(3)
const mqtt311 = new Mqtt3(4)

/**
 * Handles CONNECT: chooses the codec and authenticates the client. Once the verdict is there, {@link admit} accepts the
 * client and sends CONNACK.
 */
export function handleConnect(client: Client, framer: Framer): void {
  const { broker } = client
  const connect = read(client, framer)
  client.connect = connect
  client.receiveMaximum = connect.receiveMaximum
  client.isBridge = connect.bridge
  if (connect.protocol === 5) {
    client.codec = new Mqtt5(connect, broker.limits)
    client.quota = new ReceiveQuota(broker.limits.receiveMaximum)
    framer.strict()
  } else client.codec = connect.protocol === 4 ? mqtt311 : mqtt31
  client.connection.connecting()
  // Aedes knows a client by id, and has no authenticator to wait for: each decision of Aedes comes at once.
  client.id = connect.clientId || `${assignedIdPrefix}${randomUUID()}`
  const { authentication } = connect
  if (authentication) beginExchange(client, client.codec, authentication, connect.username)
  else broker.policy.authenticate(client, connect, verdict => admit(client, verdict))
}

function read(client: Client, { header, buffer, start, end }: Framer): ConnectPacket {
  try {
    return readConnect(header, buffer, start, end)
  } catch (error) {
    // [MQTT-3.1.2-2] [MQTT-3.1.3-9] This CONNACK also makes a client of a later version fall back to 3.1.1.
    if (error instanceof MalformedPacket && error.connack) client.connection.write(error.connack)
    throw error
  }
}
