import { connect } from 'amqplib'
import t from 'tap'
import { collector } from '../fixtures/collector.js'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { startRabbit } from '../services/rabbitmq.js'

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const parentId = '00f067aa0ba902b7'
const sampled = `00-${traceId}-${parentId}-01`

t.test('a trace goes on from a device over RabbitMQ to the store, and from a back end to a device', async t => {
  const rabbit = await startRabbit()
  t.teardown(() => rabbit.stop())
  const { url, spans } = await collector(t)
  const hub = await startHub(t, { 'otel.url': url, 'rabbitmq.url': rabbit.url, 'rabbitmq.envelope': 'message' })
  const connection = await connect(rabbit.url)
  t.teardown(() => connection.close().catch(() => {}))
  const channel = await connection.createChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, 'telehub.telemetry', 'hall.#')
  const got: Record<string, unknown>[] = []
  await channel.consume(queue, delivery => delivery && got.push(delivery.properties.headers ?? {}), { noAck: true })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'thermo', protocolVersion: 5 })
  const properties = { userProperties: { traceparent: sampled } }
  await device.publishAsync('hall/t', '{"value": 1}', { qos: 1, properties })
  await device.publishAsync('hall/t', '{"value": 2}', { qos: 1 })

  const named = (name: string) => spans.find(one => one.name === name)
  await eventually(() => got.length === 2 && named('telehub publish') && named('telehub store'), 'publish and store')
  const publish = named('telehub publish')
  t.match(publish, { traceId, parentSpanId: parentId })
  t.equal(got[0]?.traceparent, `00-${traceId}-${publish?.spanId}-01`, 'the header names the span of the hop')
  t.same(got[0]?.['mqtt-user-properties'], [['traceparent', got[0]?.traceparent]])
  t.equal(got[1]?.traceparent, undefined)
  t.match(named('telehub store'), { traceId })

  const told: unknown[] = []
  await device.subscribeAsync('to/thermo', { qos: 1 })
  device.on('message', (_topic, _payload, packet) => told.push(packet.properties?.userProperties?.traceparent))
  channel.publish('telehub.publish', 'to.thermo', Buffer.from('on'), {
    headers: { traceparent: sampled, 'mqtt-qos': 1 },
  })
  channel.publish('telehub.publish', 'to.thermo', Buffer.from('off'), {
    headers: { traceparent: 'none', 'mqtt-qos': 1 },
  })
  await eventually(() => told.length === 2 && named('telehub deliver'), 'the delivery')
  t.same(told, [sampled, undefined])
  t.match(named('telehub deliver'), { traceId, parentSpanId: parentId, kind: 4 })
})
