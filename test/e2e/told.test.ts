import t from 'tap'
import { connectMqtt, eventually, metric, startHub } from '../harness.js'

/* What the hub does to clients that cannot be told in MQTT 3.1.1: the log, $hub/why and the counts tell it. */

const hub = await startHub(t)

/** The reason on `$hub/why` of a client. */
async function whyOf(clientId: string): Promise<string> {
  const reader = await connectMqtt(t, hub.mqttUrl)
  const told = new Promise<string>(resolve => reader.once('message', (_, payload) => resolve(payload.toString())))
  await reader.subscribeAsync(`$hub/why/${clientId}`)
  const { reason } = JSON.parse(await told) as { reason: string }
  await reader.endAsync()
  return reason
}

t.test('a packet larger than limits.packet, over TCP and WebSocket', async t => {
  for (const [name, url] of Object.entries({ tcp: hub.mqttUrl, ws: hub.webSocketUrl })) {
    const client = await connectMqtt(t, url, { clientId: name, reconnectPeriod: 0 })
    const closed = new Promise<void>(resolve => client.once('close', () => resolve()))
    client.publish('large', Buffer.alloc(4_200_000), { qos: 1 })
    await closed
    t.match(
      await whyOf(name),
      /a packet of 42000\d\d bytes, larger than 4000000 \(limits\.packet\); its connection was/,
    )
    t.match(hub.log(), new RegExp(`refused ${name} to publish: a packet of 42000`))
  }
  t.equal(await metric(hub, 'telehub_refused_total{reason="packet_too_large"}'), 2)
  const counted = async () => {
    const { body } = await hub.get<{ refused: number; residual: number; devices: object[] }>('/api/balance')
    return body.refused === 2 && body.residual === 0 && body.devices.length === 2
  }
  await eventually(counted, 'the balance sheet counts both')
  const client = await connectMqtt(t, hub.mqttUrl)
  await client.publishAsync('fine', Buffer.alloc(3_900_000), { qos: 1 })
})

t.test('a client id that two connections have', async t => {
  await connectMqtt(t, hub.mqttUrl, { clientId: 'twice', reconnectPeriod: 0 })
  await connectMqtt(t, hub.mqttUrl, { clientId: 'twice' })
  t.match(await whyOf('twice'), /a connection from 127\.0\.0\.1 took the place of one from 127\.0\.0\.1/)
})

t.test('MQTT 3.1 with a client id of more than 23 characters', async t => {
  const clientId = 'esp32-living-room-temperature-and-humidity'
  const client = await connectMqtt(t, hub.mqttUrl, { clientId, protocolId: 'MQIsdp', protocolVersion: 3 })
  t.ok(client.connected)
})
