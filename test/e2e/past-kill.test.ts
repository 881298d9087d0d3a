import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { Random } from '../fixtures/packets.js'
import { asAdmin, connectMqtt, eventually, history, type RunningHub, runCli, startHub } from '../harness.js'
import { smallDisk } from '../services/small-disk.js'

/* Rules for the past, and the inbox and noise, when the hub is killed at any moment, and when the disk is full. */

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1e9)
const settings = { 'spool.keep': '1h' }
const old = 'plant,topic=plant/press rpm'
const fresh = 'press,machine=press speed'
const rule = { topic: 'plant/{machine}', measurement: 'press', fields: { rpm: 'speed' } }

type Past = Answer<'GET /api/mapping/past'>

const pastOf = async (hub: RunningHub) => (await hub.get<Past>('/api/mapping/past')).body
const post = (hub: RunningHub, path: string, body: object) =>
  fetch(`${hub.httpUrl}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...asAdmin(hub.dir) },
    body: JSON.stringify(body),
  })
const ownRules = async (hub: RunningHub) =>
  (await hub.get<Answer<'GET /api/mapping'>>('/api/mapping')).body.rules
    .filter(({ place }) => place.from === 'hub')
    .map(one => one.rule as object)

/** Resolves with the number of readings. While the processor thread starts with other rules, nobody answers. */
async function lengthOf(hub: RunningHub, key: string): Promise<number> {
  const answer = await eventually(async () => {
    const values = (await history(hub, key)) as unknown[] | undefined
    return values && { length: values.length }
  }, 'an answer')
  return answer.length
}

/** Publishes messages, and resolves when all are stored. */
async function fill(test: Test, hub: RunningHub, count: number, note = ''): Promise<void> {
  const device = await connectMqtt(test, hub.mqttUrl, { clientId: 'press' })
  const sent: Promise<unknown>[] = []
  for (let n = 0; n < count; n++)
    sent.push(device.publishAsync('plant/press', JSON.stringify({ rpm: n, ...(note && { note }) }), { qos: 1 }))
  await Promise.all(sent)
  await eventually(async () => (await history(hub, old)).length === count, 'stored')
  await device.endAsync()
}

t.test('killed at any moment, the past is by the one rules or by the other, and the hub goes on by itself', async t => {
  t.comment(`FUZZ_SEED=${seed}`)
  const random = new Random(seed)
  const count = 4_000
  let hub = await startHub(t, settings)
  await fill(t, hub, count)
  /** Both at one moment cannot be asked: none may be lost, and never a part of them shows. */
  const look = async () => {
    const [before, after] = [await lengthOf(hub, old), await lengthOf(hub, fresh)]
    t.ok([0, count].includes(before) && [0, count].includes(after), `${before} and ${after} readings`)
    return [before, after]
  }
  for (const step of ['apply', 'undo', 'apply', 'undo'] as const) {
    const [asked, final] =
      step === 'apply'
        ? [() => post(hub, '/api/mapping/apply', { rules: [rule], from: 0 }), 'done']
        : [() => post(hub, '/api/mapping/apply/undo', {}), 'undone']
    let kills = 0
    for (let isOver = false; !isOver; ) {
      const { change } = await pastOf(hub)
      if (change?.phase === final) break
      if (change?.phase !== 'applying' && change?.phase !== 'undoing')
        await asked().then(
          response => response.body?.cancel(),
          () => {},
        )
      if (kills < 4) {
        kills++
        await sleep(random.below(600))
        await hub.kill()
        hub = await startHub(t, settings, hub.dir)
        await look()
      } else {
        await eventually(async () => (await pastOf(hub)).progress.finished, 'it ends')
        isOver = true
      }
    }
    t.match(await pastOf(hub), { change: { phase: final }, progress: { finished: true } })
    t.same(await look(), step === 'apply' ? [0, count] : [count, 0])
    t.same(await ownRules(hub), step === 'apply' ? [rule] : [])
  }
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'press' })
  await device.publishAsync('plant/press', '{"rpm":1}', { qos: 1 })
  await eventually(async () => (await history(hub, old)).length === count + 1, 'the hub goes on')
  t.match((await hub.get('/api/balance')).body, { received: count + 1, stored: count + 1, residual: 0 })
})

t.test('a rule of the inbox is accepted although the hub is killed meanwhile', async t => {
  let hub = await startHub(t, settings)
  await fill(t, hub, 3_000)
  for (const ms of [0, 80, 200]) {
    const { change } = await pastOf(hub)
    if (change) break
    const run = runCli(['inbox', 'accept', 'plant/+', '--url', hub.httpUrl, '--data.dir', hub.dir])
    await eventually(async () => {
      const isBegun = (await pastOf(hub)).change !== undefined
      return isBegun
    }, 'begun')
    await sleep(ms)
    await hub.kill()
    t.equal(await run.exited, 1)
    hub = await startHub(t, settings, hub.dir)
  }
  await eventually(async () => (await pastOf(hub)).progress.finished, 'it ends')
  t.match(await pastOf(hub), { change: { phase: 'done', topic: 'plant/+' }, progress: { stored: 3_000 } })
  t.same(await lengthOf(hub, 'plant,device=press rpm'), 3_000)
  t.same(await history(hub, old), [])
})

t.test('on a full disk nothing is changed, and with room again it is', async t => {
  const disk = await smallDisk(t, 64e6)
  if (!disk) return t.pass('no file system may be mounted here')
  const hub = await startHub(t, { ...settings, 'spool.limit': '20MB', 'spool.segment': '1MB' }, disk.dir)
  await fill(t, hub, 3_000, 'x'.repeat(200))
  const noisy = (await hub.get<Answer<'GET /api/noise'>>('/api/noise')).body.rows[0]?.series ?? ''
  disk.fill(0)

  const applied = await (await post(hub, '/api/mapping/apply', { rules: [rule], from: 0 })).text()
  t.match(applied, /error/, 'it is refused, or ends with an error')
  const fixed = await post(hub, '/api/noise/fix', { series: [noisy], deadband: 5 })
  t.notOk(fixed.ok, 'a rule that cannot be kept is not in force')
  t.same(await ownRules(hub), [])
  t.equal(await lengthOf(hub, old), 3_000)
  t.same(await history(hub, fresh), [])

  disk.free()
  await eventually(async () => {
    await (await post(hub, '/api/mapping/apply', { rules: [rule], from: 0 })).text()
    return (await pastOf(hub)).change?.phase === 'done'
  }, 'with room again it is done')
  t.equal(await lengthOf(hub, fresh), 3_000)
  t.same(await history(hub, old), [])

  disk.fill(0)
  const undone = await (await post(hub, '/api/mapping/apply/undo', {})).text()
  t.match(undone, /error/)
  t.equal(await lengthOf(hub, fresh), 3_000, 'all is by the new rules still')
  disk.free()
  await eventually(async () => {
    await (await post(hub, '/api/mapping/apply/undo', {})).text()
    return (await pastOf(hub)).change?.phase === 'undone'
  }, 'with room again it is taken back')
  t.equal(await lengthOf(hub, old), 3_000)
  t.same(await ownRules(hub), [])
  const shown = (await hub.get<Answer<'GET /api/noise'>>('/api/noise')).body.rows[0]?.series ?? ''
  t.ok((await post(hub, '/api/noise/fix', { series: [shown] })).ok)
  t.equal((await ownRules(hub)).length, 1)
})
