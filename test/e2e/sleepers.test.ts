import mqtt from 'mqtt'
import t from 'tap'
import type { CommandRow } from '../../src/contract/contract.js'
import { asAdmin, connectMqtt, eventually, metric, startHub } from '../harness.js'

const sleepers = 1_000
const each = 3

/** Does work for each number, some at a time. */
async function forEach(count: number, atOnce: number, work: (n: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

t.test('1,000 devices wake at once, and get what waits for them: in order, and never what has expired', async t => {
  const hub = await startHub(t, { 'limits.commands': '10000' })
  const isKept = (n: number) => n % 2 === 0
  const options = (n: number) =>
    ({ clientId: `sleeper-${n}`, clean: !isKept(n), keepalive: 0, protocolVersion: 4 }) as const
  // Every other one has a session that is kept, and is asleep.
  await forEach(sleepers, 50, async n => {
    if (!isKept(n)) return
    const client = await connectMqtt(t, hub.mqttUrl, options(n))
    await client.subscribeAsync(`sleepers/${n}/do`, { qos: 1 })
    await client.endAsync()
  })
  const headers = { ...asAdmin(hub.dir), 'content-type': 'application/json' }
  const ask = async (n: number, payload: string, expiry: number) => {
    const body = JSON.stringify({ topic: `sleepers/${n}/do`, payload, expiry })
    const response = await fetch(`${hub.httpUrl}/api/commands`, { method: 'POST', headers, body })
    if (response.status !== 200) throw new Error(await response.text())
  }
  await forEach(sleepers, 20, async n => {
    for (let i = 0; i < each; i++) {
      await ask(n, `${i}`, 600)
      if (i === 1) await ask(n, 'late', 0.05)
    }
  })
  await eventually(async () => (await metric(hub, 'telehub_commands_total{state="expired"}')) === sleepers, 'expired')

  const got = Array.from({ length: sleepers }, () => [] as string[])
  await forEach(sleepers, 200, async n => {
    // What waits may come with CONNACK.
    const client = mqtt.connect(hub.mqttUrl, { ...options(n), reconnectPeriod: 0 })
    t.teardown(() => client.endAsync(true).catch(() => {}))
    client.on('message', (_topic, payload, { dup }) => got[n]?.push(`${payload}${dup ? ' again' : ''}`))
    if (!isKept(n)) await client.subscribeAsync(`sleepers/${n}/do`, { qos: 1 })
  })
  await eventually(async () => (await metric(hub, 'telehub_commands_open')) === 0, 'all are over')
  const expected = Array.from({ length: each }, (_, i) => String(i))
  t.same(
    got.filter(one => one.join() !== expected.join()),
    [],
  )
  const { body } = await hub.get<{ commands: CommandRow[] }>('/api/commands?limit=10000')
  t.equal(body.commands.filter(({ state }) => state === 'delivered').length, sleepers * each)
})
