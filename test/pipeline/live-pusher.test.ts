import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Message, SeriesId } from '../../src/model.js'
import { ReadingJson } from '../../src/pipeline/feeds/reading-json.js'
import { LivePusher, type Push } from '../../src/pipeline/live-pusher.js'
import { Mapping } from '../../src/pipeline/mapping.js'
import { Recorder } from '../../src/pipeline/recorder.js'
import { Registry } from '../../src/pipeline/registry.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { tempDir } from '../services/service.js'

const units = { power: 'W' }
const mapping = new Mapping([{ topic: 'home/{room}/{device}/telemetry', measurement: 'telemetry', units }], {
  depth: 16,
  inflated: 1_000_000,
  fields: 1_000,
})

/** A store in which each value is in the field of its name. */
const asNamed = { fieldOf: ({ field }: SeriesId) => field }

const message = (sequence: number, topic: string, payload: string, clientId = 'c'): Message => ({
  sequence,
  receivedAt: 1_763_710_000_000_000 + sequence,
  topic,
  payload: Buffer.from(payload),
  qos: 1,
  retain: false,
  clientId,
  user: 'u',
  packetId: 0,
})

t.test('a topic that is forgotten for a newer one is taken from the screen, too', async t => {
  const pushes: Push[] = []
  const registry = new Registry(join(await tempDir(), 'registry.json'), { limits: { devices: 2, topics: 2 } })
  registry.start()
  const live = new LivePusher({
    mapping,
    registry,
    json: new ReadingJson(mapping, asNamed),
    delivery: { push: async more => void pushes.push(...more) },
  })
  await live.handle(['a', 'b', 'a', 'c'].map((topic, i) => message(i + 1, topic, String(i))))
  t.same(
    pushes.map(({ topic, json }) => [topic, json === '']),
    [
      ['$hub/last/a', false],
      ['$hub/last/b', false],
      ['$hub/last/a', true],
      ['$hub/last/c', false],
    ],
  )
  await live.handle([message(5, 'd', '5')])
  t.same(
    pushes.slice(4).map(({ topic, json }) => [topic, json === '']),
    [
      ['$hub/last/b', true],
      ['$hub/last/d', false],
    ],
  )
  t.same(
    [...registry.last()].map(([topic]) => topic),
    ['c', 'd'],
  )
  await registry.stop()
})

t.test('messages of one topic that come in one batch with different fields lose no value on the screen', async t => {
  const pushes: Push[] = []
  const registry = new Registry(join(await tempDir(), 'registry.json'))
  registry.start()
  const read: number[] = []
  const live = new LivePusher({
    mapping: {
      read: one => {
        read.push(one.sequence)
        return mapping.read(one)
      },
    },
    registry,
    json: new ReadingJson(mapping, asNamed),
    delivery: { push: async more => void pushes.push(...more) },
  })
  let sequence = 0
  const handle = async (...payloads: readonly string[]) => {
    pushes.length = read.length = 0
    await live.handle(payloads.map(payload => message(++sequence, 'mixed', payload)))
    t.equal(pushes.length, 1, 'one push, which replaces all before')
    const { time, values } = JSON.parse(pushes[0]?.json ?? '') as {
      time: number
      values: { field: string; value: unknown; time?: number }[]
    }
    return values.map(one => [one.field, one.value, one.time !== undefined && one.time < time])
  }
  const older = true
  const own = false
  t.same(await handle('first', '{"a":1}', '{"b":2,"text":"x1"}'), [
    ['b', 2, own],
    ['text', 'x1', own],
    ['a', 1, older],
    ['value', 'first', older],
  ])
  t.same((await handle('{"a":3}')).map(String), ['a,3,false', 'b,2,true', 'text,x1,true', 'value,first,true'])
  t.same((await handle('{"a":4}', '{"b":5}', '{"a":6}')).slice(0, 2), [
    ['a', 6, own],
    ['b', 5, older],
  ])
  t.same(
    (await handle('{"a":null}', '{"b":7}', 'not {json')).map(([field]) => field),
    ['value', 'b', 'text'],
    'a value that the device says is absent goes',
  )
  // Uniform messages, as most devices send them, are not decoded for a value that a newer one replaces.
  pushes.length = read.length = 0
  const uniform = Array.from({ length: 50 }, (_, n) => message(++sequence, 'uniform', `{"t1":${n}.5,"ok":true}`))
  await live.handle(uniform)
  t.equal(pushes.length, 1)
  t.ok(read.length <= 3, `${read.length} of 50 decoded`)
  t.match(pushes[0]?.json, /"value":49.5/)
  await registry.stop()
})

t.test('the newest values of 139,000 topics are kept', async t => {
  const registry = new Registry(join(await tempDir(), 'registry.json'))
  const forgotten = Array.from({ length: 139_000 }, (_, n) => registry.setLastReading(`a/${n}`, '{"value":1}'))
  t.same(forgotten.flat(), [])
  t.equal([...registry.last()].length, 139_000)
})

t.test('last readings and devices are forgotten of the user who has most, also after a restart', async t => {
  const path = join(await tempDir(), 'registry.json')
  const sharing = { shares: { isOpen: false, usual: 0.1, own: new Map() } }
  const first = new Registry(path, { limits: { devices: 20, topics: 20 }, sharing })
  first.start()
  first.setLastReading('bob/state', '1', 'bob')
  first.setPresence({ clientId: 'bob', user: 'bob', online: false, since: 1 })
  for (let n = 0; n < 60; n++) {
    first.setLastReading(`mallory/${n}`, '1', 'mallory')
    first.setPresence({ clientId: `m${n}`, user: 'mallory', online: false, since: 2 + n })
  }
  const isThere = (registry: Registry) => [
    [...registry.last()].some(([topic]) => topic === 'bob/state'),
    registry.devices().some(({ clientId }) => clientId === 'bob'),
  ]
  t.same(isThere(first), [true, true])
  t.ok([...first.last()].length <= 20)
  await first.stop()
  const second = new Registry(path, { limits: { devices: 20, topics: 20 }, sharing })
  second.start()
  const forgotten = [1, 2].flatMap(n => second.setLastReading(`mallory/more/${n}`, '1', 'mallory'))
  t.ok(forgotten.length > 0 && forgotten.every(topic => topic.startsWith('mallory/')), 'those of the same user')
  t.same(isThere(second), [true, true])
  await second.stop()
})

t.test('what is remembered of large readings and long names has an end, and can be saved', async t => {
  const path = join(await tempDir(), 'registry.json')
  const registry = new Registry(path)
  registry.start()
  const large = 'x'.repeat(10_000_000)
  const forgotten = Array.from({ length: 25 }, (_, i) => registry.setLastReading(String(i), large)).flat()
  t.same(forgotten, [...forgotten.keys()].map(String), 'those silent longest')
  t.ok(forgotten.length >= 6 && forgotten.length < 25)
  const long = 'c'.repeat(4_000)
  for (let i = 0; i < 5_000; i++) registry.recordMessage(message(i + 1, 'x', '1', `${long}${i}`))
  const known = registry.devices().length
  t.ok(known > 3_000 && known < 4_100, `${known} devices`)
  await registry.stop()
  const again = new Registry(path)
  again.start()
  t.equal(again.devices().length, known)
  t.equal([...again.last()].length, 25 - forgotten.length)
  await again.stop()
})

t.test(
  'live: the newest reading of each topic is pushed, with series, unit and quality; the rest is counted',
  async t => {
    const pushes: Push[] = []
    const registry = new Registry(join(await tempDir(), 'registry.json'))
    t.equal(registry.start(), 0)
    const live = new LivePusher({
      mapping,
      registry,
      json: new ReadingJson(mapping, asNamed),
      delivery: { push: async more => void pushes.push(...more) },
    })
    await live.handle([
      message(1, 'home/hall/m/telemetry', '{"power":1}'),
      message(2, 'x', '{"broken'),
      message(3, 'home/hall/m/telemetry', '{"power":2,"on":true}'),
      message(4, 'cleared', ''),
      message(5, 'y', '7', 'd'),
    ])
    t.same(
      pushes.map(({ topic, json }) => [topic, JSON.parse(json)]),
      [
        [
          '$hub/last/home/hall/m/telemetry',
          {
            topic: 'home/hall/m/telemetry',
            time: 1_763_710_000_000.003,
            received: 1_763_710_000_000.003,
            quality: 'good',
            values: [
              {
                series: 'telemetry,device=m,room=hall on',
                measurement: 'telemetry',
                tags: { device: 'm', room: 'hall' },
                field: 'on',
                value: true,
              },
              {
                series: 'telemetry,device=m,room=hall power',
                measurement: 'telemetry',
                tags: { device: 'm', room: 'hall' },
                field: 'power',
                value: 2,
                unit: 'W',
              },
            ],
          },
        ],
        [
          '$hub/last/y',
          {
            topic: 'y',
            time: 1_763_710_000_000.005,
            received: 1_763_710_000_000.005,
            quality: 'good',
            values: [{ series: 'y,topic=y value', measurement: 'y', tags: { topic: 'y' }, field: 'value', value: 7 }],
          },
        ],
      ],
    )
    t.match(registry.devices(), [
      { clientId: 'c', messages: 4, user: 'u' },
      { clientId: 'd', messages: 1, lastSeen: 1_763_710_000_000_005 },
    ])
    await registry.stop()
  },
)

t.test('by how much a clock is wrong is known of the client, over a restart, until its time is right', async t => {
  const path = join(await tempDir(), 'registry.json')
  const registry = new Registry(path)
  registry.start()
  const pusher = new LivePusher({
    mapping: new Mapping([], { depth: 8, fields: 100, inflated: 1e6 }),
    registry,
    json: new ReadingJson(mapping, asNamed),
    delivery: { push: async () => {} },
  })
  pusher.start()
  await pusher.handle([message(1, 'edge/a', '{"time":36,"v":1}'), message(2, 'edge/b', '7')])
  const [wrong] = registry.devices()
  t.equal(wrong?.clock?.topic, 'edge/a')
  t.equal(Math.round((wrong?.clock?.error ?? 0) / 1e6), 36 - 1_763_710_000)
  await registry.stop()
  const again = new Registry(path)
  again.start()
  t.same(again.devices()[0]?.clock, wrong?.clock)
  again.noteClock('c', 'edge/b', undefined)
  t.ok(again.devices()[0]?.clock, 'another topic says nothing about it')
  again.noteClock('c', 'edge/a', undefined)
  t.equal(again.devices()[0]?.clock, undefined)
  await again.stop()
})

t.test('a snapshot of many readings is written in parts, while they change, and is whole', async t => {
  const path = join(await tempDir(), 'registry.json')
  const registry = new Registry(path)
  registry.start()
  for (let i = 0; i < 9_000; i++) registry.setLastReading(`t/${i}`, `{"v":${i}}`)
  registry.recordMessage(message(7, 't/1', '1'))
  const stopped = registry.stop()
  for (let turn = 0; turn < 20; turn++) {
    for (let i = 0; i < 500; i++) registry.setLastReading(`t/${turn * 400 + i}`, '{"v":"new"}')
    await new Promise(resolve => setImmediate(resolve))
  }
  await stopped
  const again = new Registry(path)
  t.equal(again.start(), 8)
  t.equal([...again.last()].length, 9_000, 'each topic once')
  t.match(again.devices(), [{ clientId: 'c', messages: 1 }])
  await again.stop()
})

t.test(
  'registry: what it knows survives, with the place in the spool it belongs to; who was online is offline',
  async t => {
    const path = join(await tempDir(), 'registry.json')
    const first = new Registry(path)
    first.start()
    first.setPresence({ clientId: 'c', user: 'u', online: true, since: 5 })
    first.recordMessage(message(41, 'x', '1'))
    first.setLastReading('x', '{"v":1}')
    await first.stop()

    const second = new Registry(path)
    t.equal(second.start(), 42)
    t.match(second.devices(), [{ clientId: 'c', online: false, messages: 1 }])
    const pushed: Push[] = []
    await new LivePusher({
      mapping,
      registry: second,
      json: new ReadingJson(mapping, asNamed),
      delivery: { push: async more => void pushed.push(...more) },
    }).start()
    t.same(pushed, [{ topic: '$hub/last/x', json: '{"v":1}' }])
    await second.stop()

    writeFileSync(path, readFileSync(path, 'utf8').slice(0, 20))
    const third = new Registry(path)
    t.equal(third.start(), 0, 'a torn snapshot is none')
    await third.stop()
  },
)

t.test(
  'record: points are stored; what decoder or store refuse is rejected with its reason, and nothing else',
  async t => {
    const store = new DuckDbStore({ path: join(await tempDir(), 'store.duckdb') })
    await store.start()
    let counted: number[] = []
    const record = new Recorder({
      mapping,
      store,
      counts: {
        recorded: (...now) => {
          counted = now
        },
      },
    })
    const outcomes = await record.handle([
      message(1, 'a', '1'),
      message(2, 'a', '{"broken'),
      message(3, 'a', 'text now'),
      message(4, 'a', '{"\\ud800":1}'),
      message(5, 'b', '{"x":1,"y":"z"}'),
    ])
    t.match(outcomes, ['ack', { reason: 'bad_json' }, 'ack', { reason: 'bad_value' }, 'ack'])
    t.same(counted, [3, 3])
    t.same(
      (await store.series({ limit: 10 })).series.map(series => [series.field, series.type, series.last.value]),
      [
        ['value', 'number', 1],
        ['value_str', 'text', 'text now'],
        ['x', 'number', 1],
        ['y', 'text', 'z'],
      ],
    )
    await store.stop()
  },
)

t.test('record: a value that is refused does not take those beside it along', async t => {
  const store = new DuckDbStore({ path: join(await tempDir(), 'store.duckdb') })
  await store.start()
  t.teardown(() => store.stop())
  let counted: number[] = []
  const reading = mapping.read.bind(mapping)
  const decoded = Object.assign(Object.create(mapping) as Mapping, {
    thin: mapping.thin.bind(mapping),
    read: (message: Message) => {
      const read = reading(message)
      const refused = { reason: 'bad_value', detail: 'x: the number is too large' }
      return message.topic === 'decoder' ? { ...read, refused } : read
    },
  })
  const record = new Recorder({
    mapping: decoded,
    store,
    counts: {
      recorded: (...now) => {
        counted = now
      },
    },
  })
  const outcomes = await record.handle([
    message(1, 'a', '{"x":1,"\\ud800":2}'),
    message(2, 'b', '{"\\ud800":2}'),
    message(3, 'c', '[{"time":1,"x":1},{"time":2,"\\ud800":1},{"time":3,"\\ud800":1}]'),
    message(4, 'decoder', '{"y":1}'),
    message(5, 'e', '{"z":1}'),
  ])
  t.match(outcomes, [
    { reason: 'bad_value', detail: /all other values of the message are stored$/, partly: true },
    { reason: 'bad_value' },
    { reason: 'bad_value', detail: /1 more points; all other values/, partly: true },
    { reason: 'bad_value', detail: /the number is too large; all other/, partly: true },
    'ack',
  ])
  t.same(counted, [1, 4], 'messages that are stored whole, and points')
  t.same(
    (await store.series({ limit: 10 })).series.map(({ measurement, field }) => `${measurement} ${field}`),
    ['a x', 'c x', 'decoder y', 'e z'],
  )
})

t.test('what the store refuses is told with the reading, until a message of the topic is stored again', async t => {
  const registry = new Registry(join(await tempDir(), 'registry.json'))
  registry.start()
  const pushed: Push[] = []
  const delivery = { push: async (more: readonly Push[]) => void pushed.push(...more) }
  const store = {
    fieldOf: ({ field }: SeriesId, value: unknown) => (typeof value === 'string' ? `${field}_str` : field),
  }
  const live = new LivePusher({ mapping, registry, json: new ReadingJson(mapping, store), delivery })
  const told = () => JSON.parse(pushed.at(-1)?.json ?? '') as { values: object[]; refused?: object }
  const refused = { reason: 'bad_value', detail: 'x is NaN', partly: true, fields: ['x'] }
  const one = message(1, 'a', '{"x":1,"y":"text"}')
  await live.handle([one])
  t.match(told().values, [
    { field: 'x', series: 'a,topic=a x' },
    { field: 'y_str', series: 'a,topic=a y_str' },
  ])
  await live.judged([one], [refused])
  t.match(told(), { values: [{ field: 'x' }, {}], refused: { reason: 'bad_value', detail: 'x is NaN', fields: ['x'] } })
  const count = pushed.length
  await live.judged([message(2, 'a', '{"x":2}')], [refused])
  t.equal(pushed.length, count, 'nothing new to tell')
  await live.handle([message(3, 'a', '{"x":3}')])
  t.match(told(), { values: [{ value: 3 }], refused: { reason: 'bad_value' } }, 'of the new one nothing is known yet')
  await live.judged([message(1, 'a', '{"x":1}')], ['ack'])
  t.equal(told().refused !== undefined, true, 'an older one that is stored now')
  await live.judged([message(3, 'a', '{"x":3}'), message(4, 'b', 'unseen')], ['ack', refused])
  t.notOk('refused' in told(), 'stored again')
  await live.handle([message(5, 'b', '1')])
  t.match(told(), { topic: 'b', refused: { reason: 'bad_value' } }, 'the verdict came before the reading')

  await live.judged([message(5, 'b', '1')], ['ignored'])
  t.notOk('refused' in told(), 'what a rule ignores is not refused')

  await live.handle([{ ...message(6, 'b', ''), retain: true }])
  t.same(pushed.at(-1), { topic: '$hub/last/b', json: '' }, 'a cleared retained message')
  t.ok(registry.cleared.has('b'))
  await live.handle([{ ...message(7, 'a', ''), retain: false }])
  t.equal(pushed.at(-1)?.topic, '$hub/last/b', 'an empty message that clears nothing')
  await live.handle([message(8, 'spBv1.0/g/DDATA/e/d', '1')])
  await live.judged([message(9, 'spBv1.0/g/DBIRTH/e/d', '')], [refused])
  t.equal(pushed.at(-1)?.topic, '$hub/last/spBv1.0/g/DDATA/e/d')
  t.notOk('refused' in told(), 'an empty birth')
  await live.judged([message(10, 'spBv1.0/g/DBIRTH/e/d', 'x')], [refused])
  t.match(told(), { topic: 'spBv1.0/g/DDATA/e/d', refused: { reason: 'bad_value' } }, 'a birth is about the data')
  await registry.stop()
  const again = new Registry(join(await tempDir(), 'registry.json'))
  again.start()
  t.notOk(again.cleared.has('b'))
  await again.stop()
})

t.test('a damaged registry is set aside and reported, and does not keep the hub from starting', async t => {
  for (const damaged of [
    '',
    'null',
    '{"next":5,"devices":{},"last":[]}',
    '{"next":5,"devices":[{}],"last":[]}',
    '{"next":5,"devices":[],"last":[[1,2]]}',
    '{"next":"x","devices":[],"last":[]}',
  ]) {
    const path = join(await tempDir(), 'registry.json')
    writeFileSync(path, damaged)
    const reports: string[] = []
    const registry = new Registry(path, {
      incidents: { report: (kind, sentence) => reports.push(`${kind}: ${sentence}`) },
    })
    t.equal(registry.start(), 0, 'the spool is read again as far back as it reaches')
    t.match(reports, [/^registry_damaged: .*registry\.json\.bad now$/], damaged)
    t.same(registry.devices(), [])
    await registry.stop()
  }
})
