import { existsSync, readdirSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { asAdmin, connectMqtt, eventually, metric, type RunningHub, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { type HookAnswer, type HookReceiver, startHookReceiver } from '../services/webhook-receiver.js'

type OutletRow = Answer<'GET /api/outlets'>['outlets'][number]

/** Starts a receiver that ends with the test. */
async function receive(t: Test, answer?: HookAnswer): Promise<HookReceiver> {
  const receiver = await startHookReceiver(answer)
  t.teardown(() => receiver.close())
  return receiver
}

const settingsOf = (...outlets: readonly object[]) => ({ outlets: JSON.stringify(outlets) })
const webhook = (url: string, more: object = {}) => ({ name: 'hook', kind: 'webhook', url, wait: '10ms', ...more })

async function outletOf(hub: RunningHub, name = 'hook'): Promise<OutletRow> {
  const { body } = await hub.get<Answer<'GET /api/outlets'>>('/api/outlets')
  const found = body.outlets.find(outlet => outlet.name === name)
  if (!found) throw new Error(`no outlet ${name}`)
  return found
}

async function post(hub: RunningHub, path: string, body: object): Promise<Response> {
  const headers = { ...asAdmin(hub.dir), 'content-type': 'application/json' }
  return fetch(hub.httpUrl + path, { method: 'POST', headers, body: JSON.stringify(body) })
}

/** Publishes values as JSON, in order; resolves when all are acknowledged. */
async function publish(t: Test, hub: RunningHub, topic: string, values: readonly number[]): Promise<void> {
  const device = await connectMqtt(t, hub.mqttUrl)
  await Promise.all(values.map(value => device.publishAsync(topic, JSON.stringify({ value }), { qos: 1 })))
  await device.endAsync()
}

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const valuesOf = ({ taken }: HookReceiver) => taken.map(({ payload }) => (payload as { value: number }).value)

t.test('everything in order, but what is filtered out; paused and resumed; numbers that add up', async t => {
  const receiver = await receive(t)
  const hub = await startHub(t, settingsOf(webhook(receiver.url, { topics: ['plant/#'], exclude: ['plant/log/#'] })))
  await publish(t, hub, 'plant/a', numbers(1, 500))
  await publish(t, hub, 'plant/log/a', [1, 2])
  await publish(t, hub, 'home/a', [1, 2, 3])
  await eventually(async () => (await outletOf(hub)).balance.behind === 0, 'all passed')
  t.same(valuesOf(receiver), numbers(1, 500))
  t.match(await outletOf(hub), {
    ...{ kind: 'webhook', target: new URL(receiver.url).origin, state: 'up' },
    balance: { received: 505, delivered: 500, filtered: 5, refused: 0, residual: 0 },
  })
  t.equal(await metric(hub, 'telehub_outlet_messages{outlet="hook",term="delivered"}'), 500)
  t.equal(await metric(hub, 'telehub_outlet_up{outlet="hook"}'), 1)

  t.equal((await post(hub, '/api/outlets/pause', { outlet: 'hook', paused: true })).status, 200)
  await publish(t, hub, 'plant/a', numbers(501, 520))
  await eventually(async () => (await outletOf(hub)).balance.behind === 20, 'they wait')
  t.equal(await hub.stop(), 0)
  const again = await startHub(t, settingsOf(webhook(receiver.url, { topics: ['plant/#'] })), hub.dir)
  t.match(await outletOf(again), { state: 'paused', balance: { behind: 20 } })
  t.equal((await post(again, '/api/outlets/pause', { outlet: 'hook', paused: false })).status, 200)
  await eventually(async () => (await outletOf(again)).balance.behind === 0, 'all passed')
  t.same(valuesOf(receiver), numbers(1, 520))
  t.equal((await post(again, '/api/outlets/pause', { outlet: 'other', paused: true })).status, 404)
})

t.test('killed again and again: nothing is lost or skipped, and the account agrees', async t => {
  const receiver = await receive(t)
  const settings = settingsOf(webhook(receiver.url, { batch: 20 }))
  let hub = await startHub(t, settings)
  const acknowledged: number[] = []
  let n = 0
  for (let round = 0; round < 4; round++) {
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'stream' })
    let running = true
    const streaming = Array.from({ length: 20 }, async () => {
      while (running) {
        const value = n++
        const sent = device.publishAsync('s', JSON.stringify({ value }), { qos: 1 })
        await Promise.race([
          sent.then(() => acknowledged.push(value)),
          new Promise<void>(resolve => device.once('close', () => resolve())),
        ])
      }
    })
    await new Promise(resolve => setTimeout(resolve, 200 + 100 * round))
    await hub.kill()
    running = false
    device.end(true)
    await Promise.allSettled(streaming)
    hub = await startHub(t, settings, hub.dir)
  }
  await eventually(async () => (await outletOf(hub)).balance.behind === 0, 'all passed')
  t.ok(acknowledged.length > 100, `${acknowledged.length} acknowledged`)
  const got = new Set(valuesOf(receiver))
  t.same(
    acknowledged.filter(value => !got.has(value)),
    [],
    'nothing is lost',
  )
  const ids = receiver.taken.map(({ sequence }) => sequence)
  const unique = [...new Set(ids)]
  t.ok(ids.length - unique.length <= 4 * 20, `${ids.length - unique.length} came twice: at most a batch for each kill`)
  t.same(
    unique,
    [...unique].sort((a, b) => a - b),
    'in order',
  )
  const { balance } = await outletOf(hub)
  t.equal(balance.delivered, unique.length, 'each counts once')
  t.equal(balance.residual, 0)
})

t.test('a target that fails for a while, one that hangs, and one that works beside them', async t => {
  let fails = true
  const failing = await receive(t, () => (fails ? 500 : 200))
  const hanging = await receive(t, () => undefined)
  const working = await receive(t)
  const hub = await startHub(
    t,
    settingsOf(
      webhook(failing.url, { name: 'failing' }),
      webhook(hanging.url, { name: 'hanging' }),
      webhook(working.url, { name: 'working' }),
    ),
  )
  await publish(t, hub, 'plant/a', numbers(1, 300))
  await eventually(() => working.taken.length === 300, 'the working one has all')
  t.same(valuesOf(working), numbers(1, 300))
  await eventually(async () => (await outletOf(hub, 'failing')).state === 'down', 'down')
  t.match(await outletOf(hub, 'failing'), { detail: /answers with 500/, balance: { behind: 300, residual: 0 } })
  t.match(await outletOf(hub, 'hanging'), { balance: { behind: 300, residual: 0 } })
  const { body } = await hub.get<{ ready: boolean; dependencies: { name: string; state: string }[] }>('/readyz')
  t.equal(body.ready, true, 'devices are served')
  t.match(
    body.dependencies.find(({ name }) => name === 'outlet failing'),
    { state: 'down' },
  )
  fails = false
  await eventually(async () => (await outletOf(hub, 'failing')).balance.behind === 0, 'all passed')
  t.same(valuesOf(failing), numbers(1, 300))
  t.match(hub.log(), 'outlet failing')
  t.equal(await hub.stop(), 0)
})

t.test('a message that the target refuses is a dead letter of the outlet; a replay goes there alone', async t => {
  let refuses = true
  const receiver = await receive(t, ({ messages }) =>
    refuses && messages.some(({ payload }) => (payload as { value: number }).value % 100 === 13) ? 422 : 200,
  )
  const hub = await startHub(t, settingsOf(webhook(receiver.url)))
  await publish(t, hub, 'home/kitchen/t1/telemetry', numbers(1, 250))
  await eventually(async () => (await outletOf(hub)).balance.behind === 0, 'all passed')
  t.match(await outletOf(hub), {
    balance: { delivered: 247, refused: 3, residual: 0 },
    dead: { letters: 3 },
  })
  const { body } = await hub.get<Answer<'GET /api/dead'>>('/api/dead?outlet=hook')
  t.same(
    body.dead.map(({ reason }) => reason),
    ['http_422', 'http_422', 'http_422'],
  )
  t.same((await hub.get<Answer<'GET /api/dead'>>('/api/dead')).body.dead, [], 'the store has all of them')
  t.equal((await hub.get('/api/dead?outlet=other')).status, 404)
  t.equal((await post(hub, '/api/dead/drop', { outlet: 'hook' })).status, 400, 'the name selects no letters')

  const [letter] = body.dead
  await (await post(hub, '/api/dead/drop', { outlet: 'hook', id: letter?.id })).text()
  refuses = false
  const replayed = await (await post(hub, '/api/dead/replay', { outlet: 'hook', all: true })).text()
  t.match(replayed, '"stored":2')
  t.equal(receiver.taken.length, 249)
  t.match(await outletOf(hub), { balance: { refused: 3, replayed: 2, dropped: 1, residual: 0 }, dead: { letters: 0 } })
  const sheet = await eventually(async () => {
    const { body } = await hub.get<Answer<'GET /api/balance'>>('/api/balance')
    return body.spool === 0 && body
  }, 'all stored')
  t.match(sheet, { received: 250, stored: 250, dead: 0, dropped: 0, residual: 0 })
})

t.test('one that is stuck holds the spool with an alarm; one that may skip does, counted and told', async t => {
  const hanging = await receive(t, () => undefined)
  const small = { 'spool.limit': '8MB', 'spool.segment': '65536' }
  const payload = 'x'.repeat(1_000)
  const hub = await startHub(t, { ...small, ...settingsOf(webhook(hanging.url, { whenFull: 'skip' })) })
  const device = await connectMqtt(t, hub.mqttUrl, { reconnectPeriod: 100 })
  for (let n = 0; n < 120; n++) {
    await Promise.all(numbers(1, 100).map(() => device.publishAsync('s', payload, { qos: 1 })))
    // Room is made four times a second. A client that is refused meanwhile sends again.
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  await device.endAsync()
  const { balance } = await outletOf(hub)
  t.ok(balance.skipped > 3_000, `${balance.skipped} skipped`)
  t.equal(balance.residual, 0)
  t.ok(balance.received >= 12_000, `${balance.received} received`)
  t.equal(balance.skipped + balance.behind, balance.received)
  const { body } = await hub.get<{ incidents: { kind: string; detail: string }[] }>('/readyz')
  t.match(
    body.incidents.find(({ kind }) => kind === 'outlet_skipped'),
    { detail: /outlet hook was too far behind: it skipped \d+ messages/ },
  )
  t.equal(await hub.stop(), 0)

  const waiting = await startHub(t, { ...small, ...settingsOf(webhook(hanging.url)) }, hub.dir)
  // Some more were skipped before the hub stopped.
  const kept = (await outletOf(waiting)).balance
  t.ok(kept.skipped >= balance.skipped, `${kept.skipped} skipped`)
  t.equal(kept.residual, 0)
  const alarms = await eventually(async () => {
    const { body } = await waiting.get<{ alarms: { name: string; detail: string }[] }>('/readyz')
    return body.alarms.some(({ name }) => name === 'outlets') && body.alarms
  }, 'an alarm')
  t.match(
    alarms.find(({ name }) => name === 'outlets'),
    { detail: /outlet hook holds \d+ % of spool.limit/ },
  )
})

t.test('settings that are read again: taken out, it is forgotten; put in again, it is new', async t => {
  const receiver = await receive(t, ({ messages }) => (messages.some(({ topic }) => topic === 'bad') ? 400 : 200))
  const dir = await tempDir()
  const file = join(dir, 'telehub.yaml')
  const write = (outlets: readonly object[]) => writeFile(file, JSON.stringify({ outlets }))
  await write([webhook(receiver.url)])
  const hub = await startHub(t, { config: file }, join(dir, 'data'))
  await publish(t, hub, 'a', [1, 2, 3])
  await publish(t, hub, 'bad', [4])
  await eventually(async () => (await outletOf(hub)).balance.behind === 0, 'all passed')
  const cursor = join(hub.dir, 'spool', 'outlet-hook.cursor')
  t.ok(existsSync(cursor))

  await write([{ ...webhook('nowhere'), topic: '#' }])
  process.kill(hub.pid, 'SIGHUP')
  await eventually(() => hub.log().includes('no such field; did you mean topics?'), 'the mistakes are told')
  t.match(hub.log(), 'outlets: hook.url: not allowed, allowed is an address')
  t.match(await outletOf(hub), { state: 'up' }, 'the old settings stay')

  await write([])
  process.kill(hub.pid, 'SIGHUP')
  await eventually(
    async () => (await hub.get<Answer<'GET /api/outlets'>>('/api/outlets')).body.outlets.length === 0,
    'taken out',
  )
  t.notOk(existsSync(cursor), 'its place in the spool is free')
  t.match(hub.log(), 'outlet hook is not in the settings any more')
  t.ok(readdirSync(join(hub.dir, 'outlets', 'hook', 'dead')).length > 0, 'its dead letters stay')
  await publish(t, hub, 'a', [5, 6])

  await write([webhook(receiver.url)])
  process.kill(hub.pid, 'SIGHUP')
  await eventually(
    async () => (await hub.get<Answer<'GET /api/outlets'>>('/api/outlets')).body.outlets.length === 1,
    'put in',
  )
  await publish(t, hub, 'a', [7])
  await eventually(() => valuesOf(receiver).includes(7), 'the next message')
  t.same(valuesOf(receiver), [1, 2, 3, 7])
  await eventually(async () => (await outletOf(hub)).balance.delivered === 1, 'the answer is noted')
  t.match(await outletOf(hub), { balance: { received: 1, delivered: 1 }, dead: { letters: 1 } })

  await write([webhook(receiver.url), webhook(receiver.url, { name: 'all', from: 'oldest' })])
  process.kill(hub.pid, 'SIGHUP')
  await eventually(async () => (await outletOf(hub, 'all')).balance.delivered === 6, 'from the oldest in the spool')
  t.match(await outletOf(hub, 'all'), { balance: { received: 7, refused: 1, residual: 0 } })
})

t.test('mistakes in the outlets stop a start, all at once', async t => {
  await t.rejects(
    startHub(t, settingsOf({ name: 'a', kind: 'webhook', url: 'x' }, { name: 'b', kind: 'carrier-pigeon' })),
    /outlets: a\.url: not allowed[\s\S]*outlets: b\.kind: given "carrier-pigeon", allowed is one of/,
  )
})

t.test('the folder of the spool is lost: a new account, an incident, and no later message is skipped', async t => {
  const receiver = await receive(t)
  const settings = settingsOf(webhook(receiver.url))
  const hub = await startHub(t, settings)
  await publish(t, hub, 'plant/a', numbers(1, 50))
  await eventually(() => receiver.taken.length === 50, 'they are there')
  t.equal(await hub.stop(), 0)
  await rm(join(hub.dir, 'spool'), { recursive: true })
  const again = await startHub(t, settings, hub.dir)
  await publish(t, again, 'plant/a', numbers(51, 70))
  await eventually(() => receiver.taken.length >= 70, 'later ones are there')
  t.same(valuesOf(receiver), numbers(1, 70))
  const { body } = await again.get<{ incidents: { kind: string }[] }>('/readyz')
  t.ok(body.incidents.some(({ kind }) => kind === 'outlet_account_lost'))
  t.match(await outletOf(again), { balance: { received: 20, delivered: 20, residual: 0 } })
})

t.test(
  'a folder that cannot be used: that outlet is down with the reason, all else works, and it starts later',
  async t => {
    const receiver = await receive(t)
    const dir = await tempDir()
    await mkdir(join(dir, 'outlets'), { mode: 0o700 })
    await writeFile(join(dir, 'outlets', 'hook'), 'a file where a folder belongs')
    const settings = settingsOf(webhook(receiver.url), webhook(receiver.url, { name: 'other', topics: ['none'] }))
    const hub = await startHub(t, settings, dir)
    await publish(t, hub, 'plant/a', numbers(1, 10))
    t.match(await outletOf(hub), { state: 'down', detail: /EEXIST/, since: Number })
    await eventually(async () => (await outletOf(hub, 'other')).balance.filtered === 10, 'the other one works')
    await rm(join(dir, 'outlets', 'hook'))
    await eventually(() => receiver.taken.length === 10, 'it has started')
    t.same(valuesOf(receiver), numbers(1, 10))
  },
)

t.test('a target that repeats in a refusal what it was sent: no secret is in a dead letter', async t => {
  const token = `token-${'x'.repeat(300)}`
  const receiver = await receive(t, ({ headers, url }, response) => {
    response.writeHead(422).end(`${url} ${'.'.repeat(200)} ${headers.authorization}`)
    return 422
  })
  const secret = { url: `${receiver.url}/secret-path`, headers: { authorization: `Bearer ${token}` } }
  const hub = await startHub(t, settingsOf(webhook(receiver.url, secret)))
  await publish(t, hub, 'plant/a', [1])
  const letters = () => hub.get<Answer<'GET /api/dead'>>('/api/dead?outlet=hook')
  const letter = await eventually(async () => (await letters()).body.dead[0], 'a dead letter')
  t.match(letter.detail, /answers with 422: .*\*\*\*/)
  t.notMatch(letter.detail, /secret-path|token-|xxx/)
})
