import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ReadRules } from '../../src/access/rules.js'
import { type Message, parseSeriesKey } from '../../src/model.js'
import { Dependencies } from '../../src/pipeline/dependencies.js'
import { ReadingJson } from '../../src/pipeline/feeds/reading-json.js'
import { LivePusher } from '../../src/pipeline/live-pusher.js'
import { Mapping } from '../../src/pipeline/mapping.js'
import { Queries, type QueriesOptions } from '../../src/pipeline/queries.js'
import { Recorder } from '../../src/pipeline/recorder.js'
import { Registry } from '../../src/pipeline/registry.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { tempDir } from '../services/service.js'

const start = 1_763_710_000_000_000

/** All that answers series, history and devices, over a real store. */
async function processing(t: Test) {
  const dir = await tempDir()
  const store = new DuckDbStore({ path: join(dir, 'store.duckdb') })
  await store.start()
  t.teardown(() => store.stop())
  const mapping = new Mapping(
    [
      { topic: 'home/{room}/{device}/telemetry', measurement: 'telemetry' },
      { topic: 'gate/{gate}/{device}', measurement: 'press', tags: ['device'] },
      { topic: 'line/{device}', measurement: 'press' },
      { topic: 'plant/{line}/{cell...}', measurement: '{line}_data', tags: ['cell'] },
      { topic: 'telegraf/#', measurement: 'telegraf', decoder: 'line' },
    ],
    { depth: 16, fields: 1_000, inflated: 1_000_000 },
  )
  const log = { info: () => {}, warn: (sentence: string) => t.comment(sentence) }
  const dependencies = new Dependencies({ names: { store: 'DuckDB' }, meanwhile: '', clock: Date, log })
  dependencies.heard('store', true)
  const record = new Recorder({ mapping, store })
  let sequence = 0
  const open = (registry = new Registry(join(dir, 'registry.json'))) => {
    registry.start()
    const live = new LivePusher({
      mapping,
      registry,
      json: new ReadingJson(mapping, store),
      delivery: { push: async () => {} },
    })
    // Neither dead letters nor the balance are asked for.
    const { dead, balance, offsets } = {} as QueriesOptions
    const answers = new Queries({
      trials: { trial: () => mapping },
      store,
      mapping,
      registry,
      dependencies,
      dir,
      dead,
      balance,
      offsets,
    })
    const publish = async (topic: string, payload: string, clientId = 'c') => {
      const message: Message = {
        sequence: ++sequence,
        receivedAt: start + sequence,
        topic,
        payload: Buffer.from(payload),
        qos: 1,
        retain: false,
        clientId,
        user: '',
        packetId: 0,
      }
      t.ok((await record.handle([message])).every(outcome => outcome === 'ack'))
      await live.handle([message])
    }
    return { registry, answers, publish }
  }
  return { ...open(), open }
}

const parsed = (bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString())

async function seriesOf(answers: Queries, rules: ReadRules | undefined, limit = 100): Promise<string[]> {
  return parsed(await answers.series({ limit, rules })).series.map(({ key }: { key: string }) => key)
}

const ask = (answers: Queries, key: string, rules: ReadRules | undefined) => {
  const series = parseSeriesKey(key)
  if (!series) throw new Error(key)
  return answers.history({ series, from: start, to: start + 1_000_000, points: 10, fn: 'last' }, rules)
}

const kitchen = 'telemetry,device=t1,room=kitchen v'
const bath = 'telemetry,device=t2,room=bath v'

t.test('series and history: of topics that may be read', async t => {
  const { answers, publish, registry, open } = await processing(t)
  await publish('home/kitchen/t1/telemetry', '{"v":1}')
  await publish('home/bath/t2/telemetry', '{"v":2}')
  const rules = { allow: ['home/kitchen/#'], deny: [] }
  t.same((await seriesOf(answers, undefined)).sort(), [kitchen, bath])
  t.same(await seriesOf(answers, rules), [kitchen])
  t.same(await seriesOf(answers, rules, 1), [kitchen], 'the limit is for what may be seen')
  t.same(await seriesOf(answers, { allow: ['#'], deny: ['home/kitchen/#'] }), [bath])
  t.same(await seriesOf(answers, { allow: [], deny: [] }), [])
  t.same(parsed(await ask(answers, kitchen, rules)).values, [1])
  const refused = { code: 'forbidden', message: /from no topic, or from a topic that this user may not read/ }
  await t.rejects(ask(answers, bath, rules), refused)
  await t.rejects(ask(answers, 'telemetry,device=t9,room=attic v', rules), refused, 'whether it is there is not said')
  for (const other of [
    'telemetry,room=kitchen,device=t1 v',
    'telemetry v',
    'telemetry,device=t1,room=kitchen,room=bath v',
  ]) {
    await t.rejects(ask(answers, other, rules), refused, other)
  }
  t.same(parsed(await ask(answers, bath, undefined)).values, [2])

  await registry.stop()
  const again = open()
  t.same(await seriesOf(again.answers, rules), [kitchen], 'after a restart')
  await again.registry.stop()
})

const forbidden = { code: 'forbidden' }

t.test(
  'who names a series of others in line protocol neither changes nor sees it, whatever the hub remembers',
  async t => {
    const { answers, publish, registry, open } = await processing(t)
    const rules = { allow: ['devices/evil/#'], deny: [] }
    const attack = async (of: Queries, send: typeof publish, at: string) => {
      for (const key of [kitchen, 'secret,id=1 v', 'zigbee,topic=zigbee/lamp v']) {
        await send('devices/evil/line', `${key}=7 ${(start + 500) * 1_000}`)
        await t.rejects(ask(of, key, rules), forbidden, `${key} ${at}`)
      }
      const own = await seriesOf(of, rules)
      t.ok(own.length === 3 && own.every(key => key.includes('topic=devices/evil/line')), at)
    }
    await publish('home/kitchen/t1/telemetry', '{"v":1}')
    await publish('zigbee/lamp', '{"v":2}')
    await publish('home/secret', `secret,id=1 v=3 ${start * 1_000}`)
    await attack(answers, publish, 'while it runs')
    t.same(
      parsed(await ask(answers, kitchen, { allow: ['home/#'], deny: [] })).values,
      [1],
      'what was there is as it was',
    )
    // What the hub knows of a topic is its newest reading: of the secret ones nothing is left.
    await publish('home/kitchen/t1/telemetry', '{"w":1}')
    await publish('zigbee/lamp', '{"w":1}')
    await publish('home/secret', '1')
    await registry.stop()
    const again = open()
    await attack(again.answers, again.publish, 'after a restart')
    await again.registry.stop()
    const { answers: forgetful, publish: send, registry: last } = open(new Registry(join(await tempDir(), 'none.json')))
    await attack(forgetful, send, 'when all is forgotten')
    await last.stop()
  },
)

t.test('a topic as tag shows the series of that topic alone, whoever wrote it', async t => {
  const { answers, publish, registry } = await processing(t)
  const rules = { allow: ['devices/evil/#'], deny: [] }
  await publish('zigbee/lamp', '{"v":1}')
  const forged = ['zigbee,topic=devices/evil/x v', 'telemetry,topic=devices/evil/x v', 'devices,topic=zigbee/lamp v']
  for (const [i, key] of forged.entries()) {
    await publish('devices/evil/x', `${key}=7 ${(start + i) * 1_000}`)
    await t.rejects(ask(answers, key, rules), forbidden, key)
  }
  await publish('devices/evil/x', '{"v":5}')
  t.same(await seriesOf(answers, rules), [
    'devices,line_topic=devices/evil/x,measurement=telemetry,topic=devices/evil/x v',
    'devices,line_topic=devices/evil/x,measurement=zigbee,topic=devices/evil/x v',
    'devices,line_topic=zigbee/lamp,measurement=devices,topic=devices/evil/x v',
    'devices,topic=devices/evil/x v',
  ])
  t.same(await seriesOf(answers, { allow: ['zigbee/#'], deny: [] }), ['zigbee,topic=zigbee/lamp v'])
  await registry.stop()
})

t.test('a series that several topics may make needs all of them', async t => {
  const { answers, publish, registry } = await processing(t)
  await publish('gate/north/p1', '{"v":1}')
  await publish('line/p1', '{"v":2}')
  const key = 'press,device=p1 v'
  const readable = ['gate/+/p1', 'line/+']
  t.same(await seriesOf(answers, { allow: readable, deny: [] }), [key])
  for (const allow of [['gate/#'], ['line/#'], ['gate/north/p1', 'line/p1']]) {
    t.same(await seriesOf(answers, { allow, deny: [] }), [], allow.join(' '))
    await t.rejects(ask(answers, key, { allow, deny: [] }), forbidden)
  }
  t.same(await seriesOf(answers, { allow: readable, deny: ['gate/south/#'] }), [], 'a gate that has not spoken yet')
  await registry.stop()
})

t.test('levels in the measurement, and the rest as tag', async t => {
  const { answers, publish, registry } = await processing(t)
  for (const topic of ['plant/L1/a/b', 'plant/L1/secret', 'plant/L2/a/b', 'plant/L1']) await publish(topic, '{"v":1}')
  const seen = async (allow: string[], deny: string[] = []) => (await seriesOf(answers, { allow, deny })).sort()
  t.same(await seen(['plant/L1/#'], ['plant/L1/secret']), ['L1_data v', 'L1_data,cell=a/b v'])
  t.same(await seen(['plant/+/a/#']), ['L1_data,cell=a/b v', 'L2_data,cell=a/b v'])
  t.same(await seen(['plant/L1']), [], 'plant/L1/ makes the same series')
  await registry.stop()
})

t.test('what line protocol names by itself is for those who may read everything', async t => {
  const { answers, publish, registry } = await processing(t)
  await publish('telegraf/a', `own,sensor=1 v=1 ${start * 1_000}`)
  await t.rejects(ask(answers, 'own,sensor=1 v', { allow: ['telegraf/#'], deny: [] }), forbidden)
  t.same(await seriesOf(answers, undefined), ['own,sensor=1 v'])
  await registry.stop()
})

t.test('a series is shown though the newest reading of its topic is of another one', async t => {
  const { answers, publish, registry } = await processing(t)
  await publish('home/kitchen/t1/telemetry', '{"v":1}')
  await publish('home/kitchen/t1/telemetry', '{"w":1}')
  const rules = { allow: ['home/kitchen/#'], deny: [] }
  t.same((await seriesOf(answers, rules)).sort(), [kitchen, 'telemetry,device=t1,room=kitchen w'])
  await registry.stop()
})

t.test('devices: whose presence may be read', async t => {
  const { answers, registry } = await processing(t)
  for (const clientId of ['thermo', 'a/b', '__proto__', '#'])
    registry.setPresence({ clientId, user: 'u', online: true, since: start })
  const seen = (rules: ReadRules | undefined) =>
    parsed(answers.devices({ presence: rules, rules })).devices.map(({ clientId }: { clientId: string }) => clientId)
  t.equal(seen(undefined).length, 4)
  t.same(seen({ allow: ['#'], deny: [] }), [], 'what begins with $ is not in #')
  t.same(seen({ allow: ['$hub/presence/thermo'], deny: [] }), ['thermo'])
  t.same(seen({ allow: ['$hub/presence/a%2Fb'], deny: [] }), ['a/b'])
  t.same(seen({ allow: ['$hub/#'], deny: ['$hub/presence/thermo'] }).length, 3)
  await registry.stop()
})
