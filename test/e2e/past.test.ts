import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { connectMqtt, eventually, history, runCli, startHub } from '../harness.js'

t.test('rules are tried over spool and archive, before and after a kill -9, and nothing is stored by that', async t => {
  const settings = { 'spool.segment': '66KB', 'spool.archive': '30d' }
  const hub = await startHub(t, settings)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'press' })
  const filler = 'x'.repeat(2_000)
  for (let n = 0; n < 300; n++)
    await device.publishAsync(`plant/press${n % 3}`, JSON.stringify({ rpm: n, note: filler }), { qos: 1 })
  await eventually(
    () => readdirSync(join(hub.dir, 'archive')).filter(name => name.endsWith('.arc')).length > 2,
    'archived',
  )

  const file = join(t.testdir(), 'new.yaml')
  writeFileSync(file, 'mapping:\n  - {topic: "plant/{machine}", measurement: press, fields: {rpm: speed}}\n')
  const diff = async (dir: string, ...more: string[]) => {
    const run = runCli(['map', 'diff', file, '--from', '1h', '--data.dir', dir, ...more])
    const code = await run.exited
    return { code, out: run.stdout(), err: run.stderr() }
  }
  const { code, out, err } = await diff(hub.dir, '--url', hub.httpUrl)
  t.equal(code, 0, err)
  t.match(out, /messages +300 +300/)
  t.match(out, /0 series stay, 3 appear, 6 vanish, 0 change type/)
  t.match(out, /press,machine=press0 speed +number +→ 0 +plant\/press0|press,machine=press0 speed/)
  t.same((await hub.get<{ series: unknown[] }>('/api/series')).body.series.length, 6, 'nothing new is stored')

  const shown = runCli(['spool', '--url', hub.httpUrl, '--data.dir', hub.dir])
  t.equal(await shown.exited, 0)
  t.match(shown.stdout(), /archive .* of 10(\.0)? GB, kept for 30\.0 d: \d+ messages/)

  // The oldest messages are in the archive alone, and found by time, by number, and page by page.
  const find = async (query: string) => (await hub.get<Answer<'GET /api/find'>>(`/api/find?${query}`)).body
  t.match((await find('device=press&limit=1')).messages, [{ sequence: 1, topic: 'plant/press0' }])
  t.match((await find('sequence=2')).messages, [{ sequence: 2, topic: 'plant/press1' }])
  const found: number[] = []
  for (let after: number | undefined = 0; after !== undefined; ) {
    const { messages, next }: Answer<'GET /api/find'> = await find(`device=press&limit=100&after=${after}`)
    found.push(...messages.map(({ sequence }) => sequence))
    after = next
  }
  t.same(
    found,
    Array.from({ length: 300 }, (_, i) => i + 1),
  )

  await hub.kill()
  const again = await startHub(t, settings, hub.dir)
  t.match((await diff(again.dir, '--url', again.httpUrl)).out, /messages +300 +300/)

  writeFileSync(file, 'mapping:\n  - {topic: "plant/{machine}", measurement: press}\n  - {topic: 7}\n')
  const wrong = await diff(again.dir, '--url', again.httpUrl)
  t.equal(wrong.code, 1)
  t.match(wrong.err, /new\.yaml:3: /)
})

t.test('a store that is lost is filled from the archive, too', async t => {
  const settings = { 'spool.segment': '66KB', 'spool.archive': '30d' }
  const hub = await startHub(t, settings)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'press' })
  const filler = 'x'.repeat(2_000)
  for (let n = 0; n < 200; n++)
    await device.publishAsync('plant/press', JSON.stringify({ rpm: n, note: filler }), { qos: 1 })
  const key = 'plant,topic=plant/press rpm'
  await eventually(async () => (await history(hub, key)).length === 200, 'stored')
  await eventually(
    () => readdirSync(join(hub.dir, 'archive')).filter(name => name.endsWith('.arc')).length > 2,
    'archived',
  )
  await hub.kill()
  for (const name of ['store.duckdb', 'store.duckdb.wal']) rmSync(join(hub.dir, name), { force: true })
  const again = await startHub(t, settings, hub.dir)
  await eventually(async () => (await history(again, key)).length === 200, 'all is there again')
  t.same(
    await history(again, key),
    Array.from({ length: 200 }, (_, n) => n),
  )
})

t.test(
  'topics that nothing knows are listed by shape, and accepting one stores their past by the proposed rule',
  async t => {
    const hub = await startHub(t)
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'shop' })
    for (let n = 0; n < 12; n++) {
      await device.publishAsync(`shop/till${n % 4}/state`, JSON.stringify({ total: n }), { qos: 1 })
      await device.publishAsync('home/hall/t1/telemetry', '{"temperature":21}', { qos: 1 })
    }
    await device.publishAsync('odd', '{"half', { qos: 1 })
    const inbox = async () => (await hub.get<Answer<'GET /api/inbox'>>('/api/inbox')).body
    await eventually(async () => (await inbox()).groups.some(({ fates }) => fates.refused === 1), 'judged')
    const { topics, groups } = await inbox()
    t.equal(topics, 5, 'those of home have a rule')
    t.match(groups, [
      {
        filter: 'shop/+/state',
        ...{ topics: 4, messages: 12, fates: { stored: 4, refused: 0 } },
        sample: { clientId: 'shop' },
        rule: { topic: 'shop/{till}/state', measurement: 'shop' },
      },
      { filter: 'odd', topics: 1, messages: 1, reasons: { bad_json: 1 } },
    ])
    const cli = async (...args: string[]) => {
      const run = runCli([...args, '--url', hub.httpUrl, '--data.dir', hub.dir])
      t.equal(await run.exited, 0, run.stderr())
      return run.stdout()
    }
    t.match(await cli('inbox'), /shop\/\+\/state +4 .*stored by topic .*\{"total":\d+\}/)
    t.match(
      await cli('inbox', 'accept', 'shop/+/state'),
      /is in force\npast: 12 messages stored; dead letters: 0 stored/,
    )
    t.same(await history(hub, 'shop,till=till3 total'), [3, 7, 11])
    t.same((await inbox()).groups, [], 'a topic of which nothing is stored is known again with its next message')
  },
)

t.test('rules are put in force with the past, at once, and taken back with the readings as they were', async t => {
  const hub = await startHub(t, { 'spool.keep': '1h' })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'press' })
  const send = (rpm: number) => device.publishAsync('plant/press', JSON.stringify({ rpm, on: true }), { qos: 1 })
  for (const rpm of [1, 2]) await send(rpm)
  await device.publishAsync('plant/other', '{"rpm":7}', { qos: 1 })
  const old = 'plant,topic=plant/press rpm'
  const fresh = 'press,machine=press speed'
  await eventually(async () => (await history(hub, old)).length === 2, 'stored')
  const file = join(t.testdir(), 'new.yaml')
  writeFileSync(file, '- {topic: "plant/{machine}", measurement: press, fields: {rpm: speed}}\n')
  const cli = async (...args: string[]) => {
    const run = runCli([...args, '--url', hub.httpUrl, '--data.dir', hub.dir])
    t.equal(await run.exited, 0, run.stderr())
    return run.stdout()
  }
  const names = async () =>
    (await hub.get<{ series: { key: string }[] }>('/api/series')).body.series.map(({ key }) => key).sort()
  const before = await names()
  const said = await cli('map', 'apply', file, '--from', '1h', '--topic', 'plant/press')
  t.match(said, /in force, for the past, too: 2 messages stored, 0 rejected, 4 readings removed/)
  t.same(await history(hub, fresh), [1, 2])
  t.same(await history(hub, old), [], 'what only the rules before made is gone')
  t.same(await names(), [fresh, 'plant,topic=plant/other rpm'].sort(), 'other topics stay as they were')
  t.match(
    await cli('map', 'past'),
    /^rules are in force for the past.*\n.*plant\/press: 2 messages.*\ntelehub map undo/,
  )
  await send(3)
  await eventually(async () => (await history(hub, fresh)).length === 3, 'what comes is by the new rules')

  t.match(await cli('map', 'undo'), /the rules before are in force, and the past is as it was/)
  t.same(await history(hub, old), [1, 2, 3], 'also what came meanwhile')
  t.same(await history(hub, fresh), [])
  t.same(await names(), before)
  t.same(
    (await hub.get<Answer<'GET /api/mapping'>>('/api/mapping')).body.rules.filter(({ place }) => place.from === 'hub'),
    [],
  )
  await send(4)
  await eventually(async () => (await history(hub, old)).length === 4, 'as before')
  t.match(await cli('map', 'past'), /taken back/)
})
