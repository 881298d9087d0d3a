import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { doctor } from '../doctor/examination.js'
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

/** Payloads of the dead letters, the oldest first. */
async function dead(hub: RunningHub): Promise<string[]> {
  const { body } = await hub.get<{ dead: readonly { payload: string }[] }>('/api/dead')
  return body.dead.map(({ payload }) => Buffer.from(payload, 'base64').toString()).reverse()
}

t.test(
  'dead letters that are damaged, cut, emptied, removed: the hub starts, says what is lost, and takes more',
  async t => {
    let hub = await startHub(t)
    const letter = (n: number) => `{broken ${n}`
    const path = () =>
      join(hub.dir, 'dead', readdirSync(join(hub.dir, 'dead')).find(name => name.endsWith('.log')) as string)
    let next = 0
    const fill = async (count: number) => {
      const client = await connectMqtt(t, hub.mqttUrl)
      for (const end = next + count; next < end; next++) await client.publishAsync('bad', letter(next), { qos: 1 })
      await client.endAsync()
      await eventually(async () => (await dead(hub)).includes(letter(next - 1)), 'it is a dead letter')
      // What is there is written down a moment later.
      await new Promise(resolve => setTimeout(resolve, 200))
    }
    const flip = () => {
      const bytes = readFileSync(path())
      bytes.fill(0xff, bytes.indexOf(letter(1)), bytes.indexOf(letter(1)) + 5)
      writeFileSync(path(), bytes)
    }
    const damages: [string, () => void, left: number, lost: number][] = [
      ['flipped', flip, 3, 1],
      ['cut', () => truncateSync(path(), readFileSync(path()).length - 3), 6, 1],
      ['emptied', () => truncateSync(path(), 0), 0, 10],
      ['removed', () => rmSync(path()), 0, 4],
    ]
    for (const [what, harm, left, lost] of damages) {
      await fill(4)
      await hub.kill()
      harm()
      if (what !== 'flipped') {
        const found = await doctor(hub.dir)
        t.match(found.of('dead letter files'), what === 'removed' ? /is gone, with 4 dead letters/ : /\.log has .* of/)
      }
      hub = await startHub(t, {}, hub.dir)
      const found = await incident(hub, 'dead_letters_lost')
      t.match(found, { count: 1, lost: { messages: lost } }, what)
      t.match(hub.log(), /(with it \d+ dead letters|dead letters are lost)/)
      t.equal(await metric(hub, 'telehub_lost_messages_total{kind="dead_letters_lost"}'), lost)
      t.equal((await dead(hub)).length, left, what)
      if (left > 0)
        t.ok(
          readdirSync(join(hub.dir, 'dead')).some(name => name.endsWith('.bad')),
          'a copy is kept',
        )
      // The balance sheet keeps what is lost within a second or two: the next kill must not be sooner.
      t.equal(await hub.stop(), 0)
      hub = await startHub(t, {}, hub.dir)
      t.same((await hub.get<Ready>('/readyz')).body.incidents, [], 'it is told once')
    }
    await fill(2)
    t.same(await dead(hub), [letter(16), letter(17)])
    t.match(await balance(hub), { received: 18, dead: 18, lost: 16 }, 'the balance sheet says that some are lost')
  },
)

t.test('a file in place of the dead letters: the hub starts, and holds what it cannot keep', async t => {
  const first = await startHub(t)
  const { dir } = first
  await first.stop()
  rmSync(join(dir, 'dead'), { recursive: true })
  writeFileSync(join(dir, 'dead'), 'garbage')
  const hub = await startHub(t, {}, dir)
  await incident(hub, 'dead_letters_unreadable')
  const client = await connectMqtt(t, hub.mqttUrl)
  await client.publishAsync('bad', '{broken', { qos: 1 })
  await eventually(
    async () => /could not open the dead letters/.test(JSON.stringify((await hub.get('/readyz')).body)),
    'it waits',
  )
  rmSync(join(dir, 'dead'))
  await eventually(async () => (await dead(hub)).length === 1, 'it is kept once it can be')
  t.match(await balance(hub), { received: 1, dead: 1, residual: 0 })
})
