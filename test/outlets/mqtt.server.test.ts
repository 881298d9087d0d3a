import mqtt from 'mqtt'
import t from 'tap'
import { FieldsReading, SettingFields } from '../../src/config/settings.js'
import type { Message } from '../../src/model.js'
import { decodeProperties, encodeProperties, viaProperty } from '../../src/mqtt/message-properties.js'
import { mqttKind } from '../../src/outlets/mqtt.js'
import type { Outlet } from '../../src/queue/queue.js'
import { outletContract } from '../contract/outlet.js'
import { message as anyMessage } from '../contract/queue.js'
import { eventually } from '../harness.js'
import { ensureMosquitto, type MosquittoServer, startMosquitto } from '../services/mosquitto.js'

await ensureMosquitto()

const message = (sequence: number, more: Partial<Message> = {}) =>
  anyMessage(sequence, { topic: 'plant/a', payload: Buffer.from(String(sequence)), ...more })

async function open(given: Readonly<Record<string, unknown>>): Promise<Outlet> {
  const reading = new FieldsReading(() => undefined)
  const fields = new SettingFields(given, 'outlets: test', reading)
  const target = mqttKind.read(fields)
  fields.end()
  if (reading.faults.length > 0) throw new Error(reading.faults.join('\n'))
  const silent = { info: () => {}, warn: () => {} }
  return target.open({ name: 'test', hubId: 'hub1', dir: '.', log: silent, incidents: { report: () => {} } })
}

/** A Mosquitto, and a reader with a session that outlives a restart. */
async function watched() {
  const server: MosquittoServer = await startMosquitto({ persistence: true })
  const reader = mqtt.connect(server.url, { clientId: 'reader', clean: false, reconnectPeriod: 50 })
  reader.on('error', () => {})
  const seen: { topic: string; text: string; via: unknown }[] = []
  reader.on('message', (topic, payload, { properties }) =>
    seen.push({ topic, text: String(payload), via: properties?.userProperties?.[viaProperty] }),
  )
  await reader.subscribeAsync('plant/#', { qos: 2 })
  let markers = 0
  return {
    server,
    seen,
    /** Resolves once everything that Mosquitto has is seen. */
    settled: async () => {
      const marker = `marker ${markers++}`
      await reader.publishAsync('plant/marker', marker, { qos: 2 })
      await eventually(() => seen.some(({ text }) => text === marker), 'the marker is seen')
    },
    close: async () => {
      await reader.endAsync(true)
      await server.stop()
    },
  }
}

t.test('the contract', async t => {
  outletContract(t, async () => {
    const { server, seen, settled, close } = await watched()
    return {
      outlet: await open({ url: server.url }),
      has: async () => {
        await settled()
        return seen.filter(({ topic }) => topic === 'plant/a').map(({ text }) => Number(text))
      },
      message,
      // Debian's Mosquitto ends the connection where its rules say no: a hub is asked in test/e2e/remote-brokers.
      refused: undefined,
      takeAway: () => server.stop(),
      bringBack: () => server.restart(),
      close,
    }
  })
})

t.test('topics are mapped; what has been here, was too far, came from there or has expired stays', async t => {
  const { server, seen, settled, close } = await watched()
  const outlet = await open({ url: server.url, strip: 'home/', prefix: 'plant/7/' })
  t.teardown(async () => {
    await outlet.close()
    await close()
  })
  const passed = (...hubs: readonly string[]) => {
    const properties = encodeProperties({ userProperties: hubs.map(hub => [viaProperty, hub] as const) })
    return properties ? { properties } : {}
  }
  const outcomes = await outlet.deliver(
    [
      message(1, { topic: 'home/a' }),
      message(2, { topic: 'garden/a' }),
      message(3, { topic: 'home/a', ...passed('hub2') }),
      message(4, { topic: 'home/a', ...passed('hub2', 'hub1') }),
      message(5, { topic: 'home/a', ...passed('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h') }),
      message(6, { topic: 'home/a', clientId: 'inlet:test' }),
      message(7, { topic: 'home/a', expiresAt: 1 }),
    ],
    new AbortController().signal,
  )
  t.same(outcomes, ['ack', 'ignored', 'ack', 'ignored', 'ignored', 'ignored', 'ignored'])
  await settled()
  const got = seen.filter(({ topic }) => topic !== 'plant/marker')
  t.same(
    got.map(({ topic, text }) => `${topic} ${text}`),
    ['plant/7/a 1', 'plant/7/a 3'],
  )
  const { userProperties } = decodeProperties(passed('hub2', 'hub1').properties as Buffer) ?? {}
  t.equal(userProperties?.length, 2)
})

t.test('the ids of the hubs go along, in their order', async t => {
  const { server, close } = await watched()
  const outlet = await open({ url: server.url })
  const reader = await mqtt.connectAsync(server.url, { protocolVersion: 5 })
  t.teardown(async () => {
    await reader.endAsync(true)
    await outlet.close()
    await close()
  })
  const seen: unknown[] = []
  reader.on('message', (_topic, _payload, { properties }) => seen.push(properties?.userProperties?.[viaProperty]))
  await reader.subscribeAsync('plant/#', { qos: 1 })
  const properties = encodeProperties({ userProperties: [[viaProperty, 'hub2']] }) as Buffer
  await outlet.deliver([message(1), message(2, { properties })], new AbortController().signal)
  await eventually(() => seen.length === 2, 'both are there')
  t.strictSame(seen, ['hub1', ['hub2', 'hub1']])
})
