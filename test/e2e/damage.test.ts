import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { connectMqtt, eventually, metric, type RunningHub, startHub } from '../harness.js'
import { freePort } from '../services/service.js'

interface Ready {
  readonly incidents: readonly { kind: string; count: number; detail: string; lost: { messages: number } }[]
}

/** The incident of a kind, once there is one. */
async function incident(hub: RunningHub, kind: string): Promise<Ready['incidents'][number]> {
  return eventually(async () => {
    const { body } = await hub.get<Ready>('/readyz')
    return body.incidents.find(one => one.kind === kind)
  }, `an incident ${kind}`)
}

async function balance(hub: RunningHub): Promise<Record<string, number>> {
  return (await hub.get<Record<string, number>>('/api/balance')).body
}

/** A store that does not answer: what is published stays in the spool. */
const noStore = async () => ({ 'influx.url': `http://127.0.0.1:${await freePort()}/telehub` })

t.test('messages lost to damage in a segment: in the log, /readyz, the metrics and the balance sheet', async t => {
  const hub = await startHub(t, await noStore())
  const client = await connectMqtt(t, hub.mqttUrl)
  for (let n = 0; n < 9; n++) await client.publishAsync('lost', `{"value":${n}}`, { qos: 1 })
  await hub.kill()
  const dir = join(hub.dir, 'spool')
  const segment = join(dir, readdirSync(dir).find(name => name.endsWith('.seg')) as string)
  const bytes = readFileSync(segment)
  const at = bytes.indexOf('{"value":4}')
  bytes.fill(0xff, at, at + 5)
  writeFileSync(segment, bytes)

  const again = await startHub(t, {}, hub.dir)
  const found = await incident(again, 'spool_lost')
  t.match(found, { count: 1, lost: { messages: 1 }, detail: /messages 5 to 5 are lost/ })
  t.match(again.log(), /messages 5 to 5 are lost/)
  t.equal(await metric(again, 'telehub_lost_messages_total{kind="spool_lost"}'), 1)
  await eventually(async () => (await balance(again)).stored === 8, 'the others are stored')
  t.match(await balance(again), { received: 9, stored: 8, residual: 1, lost: 1 })
  await again.stop()
  const third = await startHub(t, {}, hub.dir)
  t.match(await balance(third), { received: 9, residual: 1, lost: 1 }, 'the balance sheet remembers')
})
