import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { deflateSync, gzipSync } from 'node:zlib'
import t from 'tap'
import type { Message, Outward } from '../../../src/model.js'
import { Undecodable } from '../../../src/pipeline/decoders/sample.js'
import { Mapping } from '../../../src/pipeline/mapping.js'
import { Births } from '../../../src/pipeline/sparkplug/births.js'
import { SparkplugHost, type SparkplugHostOptions } from '../../../src/pipeline/sparkplug/host.js'
import { decodeSparkplug } from '../../../src/pipeline/sparkplug/payload.js'
import { SparkplugReader } from '../../../src/pipeline/sparkplug/reader.js'
import { parseSparkplugTopic, readingTopic } from '../../../src/pipeline/sparkplug/topic.js'
import { tempDir } from '../../services/service.js'
import { encodePayload, type TestPayload } from './edge-node.js'

const inflated = 100_000
const at = 1_700_000_000_000
/** Time of receipt of the nth second, in microseconds. */
const second = (n: number) => (at + 1_000 * n) * 1_000

const message = (topic: string, payload: TestPayload, seconds = 0, clientId = 'edge'): Message => ({
  ...{ sequence: seconds + 1, receivedAt: second(seconds), topic, payload: encodePayload(payload), qos: 0 },
  ...{ retain: false, clientId, user: '', packetId: 0 },
})

const birth = (aliases: Readonly<Record<string, number>>, bdSeq = 0): TestPayload => ({
  timestamp: at,
  seq: 0,
  metrics: [
    { name: 'bdSeq', type: 8, long: bdSeq },
    { name: 'Node Control/Rebirth', type: 11, boolean: false },
    ...Object.entries(aliases).map(([name, alias]) => ({ name, alias, type: 3, int: 0 })),
  ],
})

const failing = { warn: (sentence: string) => t.fail(sentence) }
const readerWith = (births = new Births({ log: failing })) => new SparkplugReader(births, inflated)

function read(reader: SparkplugReader, one: Message): unknown {
  try {
    return reader.read(one)
  } catch (error) {
    if (error instanceof Undecodable) return error.reason
    throw error
  }
}

const fieldsOf = (samples: unknown) =>
  Array.isArray(samples) ? Object.fromEntries(samples.flatMap(({ fields }) => fields)) : samples

t.test('topics', async t => {
  t.same(parseSparkplugTopic('spBv1.0/g/NDATA/e'), { type: 'NDATA', node: 'g/e', device: undefined })
  t.same(parseSparkplugTopic('spBv1.0/g/DDATA/e/d'), { type: 'DDATA', node: 'g/e', device: 'd' })
  for (const other of [
    'spBv1.0/g/DDATA/e',
    'spBv1.0/g/NDATA/e/d',
    'spBv1.0/g/XDATA/e',
    'spBv1.0/STATE/h',
    'a/g/NDATA/e',
  ])
    t.equal(parseSparkplugTopic(other), undefined, other)
  t.equal(readingTopic('spBv1.0/g/DBIRTH/e/d'), 'spBv1.0/g/DDATA/e/d')
  t.equal(readingTopic('spBv1.0/g/NDEATH/e'), 'spBv1.0/g/NDATA/e')
  t.equal(readingTopic('home/x'), 'home/x')
})

t.test('data with names need no birth', async t => {
  const payload = Buffer.from('CIDQlf+8MRImChJJbnB1dHMvdGVtcGVyYXR1cmUYgNCV/7wxIAppAAAAAACANUAYAQ==', 'base64')
  t.same(readerWith().read({ topic: 'spBv1.0/g/DDATA/edge1/dev1', payload, receivedAt: 1 }), [
    { fields: [['Inputs/temperature', 21.5]], time: 1_700_000_000_000_000 },
  ])
  t.same(read(readerWith(), message('spBv1.0/g/NDATA/e', { seq: 3, metrics: [{ name: 'x', isNull: true }] })), [
    { fields: [], absent: ['x'] },
  ])
  const broken = { ...message('spBv1.0/g/NDATA/e', {}), payload: Buffer.from('{"temp":21.5}') }
  t.equal(read(readerWith(), broken), 'bad_protobuf')
  t.same(readerWith().read(message('spBv1.0/g/NCMD/e', birth({}))), [], 'a command is no reading')
})

t.test('names, types and units come from the birth', async t => {
  const reader = readerWith()
  const metrics = [
    { name: 'a', alias: 1, type: 1, int: 0 },
    { name: 'b', alias: 2, type: 4, long: 0 },
    { name: 'c', alias: 3, type: 8, long: 0 },
    { name: 'd', alias: 4, type: 9, float: 21.3, properties: { Quality: 'x', engUnit: '°C' } },
    { name: 'e', alias: 5, type: 11, boolean: true },
    { name: 'f', alias: 6, type: 12, text: 'on' },
  ]
  t.match(reader.read(message('spBv1.0/g/DBIRTH/e/d', { timestamp: at, seq: 1, metrics })), [
    { fields: [['online', true]] },
    {
      fields: [
        ['a', 0],
        ['b', 0],
        ['c', 0],
        ['d', 21.3],
        ['e', true],
        ['f', 'on'],
      ],
      units: [['d', '°C']],
    },
  ])
  const data = {
    timestamp: at + 5,
    seq: 2,
    metrics: [
      { alias: 1, int: -5 },
      { alias: 2, long: -3_000_000_000 },
      { alias: 3, long: 2n ** 64n - 1n },
      { alias: 4, float: -0.1 },
      { alias: 5, boolean: false },
      { alias: 6, text: 'off', timestamp: at + 6 },
    ],
  }
  t.same(reader.read(message('spBv1.0/g/DDATA/e/d', data, 1)), [
    {
      fields: [
        ['a', -5],
        ['b', -3_000_000_000],
        ['c', '18446744073709551615'],
        ['d', -0.1],
        ['e', false],
      ],
      time: (at + 5) * 1_000,
      units: [['d', '°C']],
    },
    { fields: [['f', 'off']], time: (at + 6) * 1_000 },
  ])
})

t.test('data sets, templates, arrays, and what is no value', async t => {
  const template = {
    metrics: [
      { name: 'speed', type: 10, double: 5 },
      { name: 'inner', type: 19, template: { metrics: [{ name: 'x', type: 3, int: -1 }] } },
    ],
  }
  const metrics = [
    { name: 'one', type: 16, dataSet: { columns: ['p', 'q'], types: [10, 10], rows: [[1, 2]] } },
    { name: 'two', type: 16, dataSet: { columns: ['p'], types: [10], rows: [[1], [2]] } },
    { name: 'motor', type: 19, template },
    { name: 'Definitions/motor', type: 19, template: { ...template, isDefinition: true } },
    { name: 'ints', type: 24, bytes: Uint8Array.of(1, 0, 0, 0, 255, 255, 255, 255) },
    { name: 'texts', type: 33, bytes: Buffer.from('a\0bc\0') },
    { name: 'raw', type: 17, bytes: Uint8Array.of(1, 171) },
    { name: 'null', type: 3, isNull: true },
    { name: 'transient', type: 3, int: 1, isTransient: true },
    { name: 'nan', type: 10, double: Number.NaN },
  ]
  t.same(fieldsOf(readerWith().read(message('spBv1.0/g/NDATA/e', { timestamp: at, metrics }))), {
    ...{ 'one/p': 1, 'one/q': 2, two: '[{"p":1},{"p":2}]', 'motor/speed': 5, 'motor/inner/x': -1 },
    ...{ ints: '[1,-1]', texts: '["a","bc"]', raw: '01ab' },
  })
  let deep: TestPayload['metrics'] = [{ name: 'x', int: 1 }]
  for (let i = 0; i < 20; i++) deep = [{ name: 'x', template: { metrics: deep ?? [] } }]
  t.equal(read(readerWith(), message('spBv1.0/g/NDATA/e', { metrics: deep ?? [] })), 'too_deep')
})

t.test('a compressed payload', async t => {
  const body = encodePayload({ timestamp: at, metrics: [{ name: 'v', type: 3, int: 7 }] })
  const uuid = 'SPBV1.0_COMPRESSED'
  t.match(decodeSparkplug(encodePayload({ seq: 3, uuid, body: deflateSync(body) }), inflated), {
    seq: 3,
    metrics: [{ name: 'v' }],
  })
  const metrics = [{ name: 'algorithm', type: 12, text: 'GZIP' }]
  t.match(decodeSparkplug(encodePayload({ uuid, metrics, body: gzipSync(body) }), inflated), {
    metrics: [{ name: 'v' }],
  })
  const bomb = encodePayload({ uuid, body: deflateSync(Buffer.alloc(inflated + 1)) })
  t.throws(() => decodeSparkplug(bomb, inflated), { message: /limits.inflated/ })
})

t.test('data wait for the birth, and the birth counts from its receipt on', async t => {
  const reader = readerWith()
  const data = (n: number) => message('spBv1.0/g/NDATA/e', { metrics: [{ alias: 1, int: n }] }, n)
  t.equal(read(reader, data(1)), 'no_birth')
  reader.read(message('spBv1.0/g/NBIRTH/e', birth({ speed: 1 }), 2))
  t.same(fieldsOf(read(reader, data(1))), { speed: 1 }, 'late data')
  reader.read(message('spBv1.0/g/NBIRTH/e', birth({ torque: 1, speed: 2 }), 10))
  t.same(fieldsOf(read(reader, data(9))), { speed: 9 }, 'by the birth of that time')
  t.same(fieldsOf(read(reader, data(10))), { torque: 10 })
  t.equal(read(reader, message('spBv1.0/g/NDATA/e', { metrics: [{ alias: 9, int: 1 }] }, 11)), 'no_birth')
  t.equal(read(reader, message('spBv1.0/g/NDATA/other', { metrics: [{ alias: 1, int: 1 }] }, 11)), 'no_birth')
  t.equal(read(reader, message('spBv1.0/h/NDATA/e', { metrics: [{ name: 'x', int: -1 }] }, 11)), 'no_birth', 'a sign')
})

t.test('a birth of the edge node ends those of its devices', async t => {
  const reader = readerWith()
  const data = (n: number) => message('spBv1.0/g/DDATA/e/d', { metrics: [{ alias: 1, int: n }] }, n)
  reader.read(message('spBv1.0/g/NBIRTH/e', birth({}), 1))
  reader.read(message('spBv1.0/g/DBIRTH/e/d', birth({ speed: 1 }), 2))
  t.same(fieldsOf(read(reader, data(3))), { speed: 3 })
  reader.read(message('spBv1.0/g/NBIRTH/e', birth({}), 10))
  t.equal(read(reader, data(11)), 'no_birth', 'aliases may be others now')
  reader.read(message('spBv1.0/g/DBIRTH/e/d', birth({ torque: 1 }), 12))
  t.same(fieldsOf(read(reader, data(11))), { torque: 11 })
  t.same(fieldsOf(read(reader, data(3))), { speed: 3 })
})

t.test('births and deaths say who is online; the death of an earlier session does not', async t => {
  const reader = readerWith()
  const death = (bdSeq: number, n: number) =>
    message('spBv1.0/g/NDEATH/e', { timestamp: at, metrics: [{ name: 'bdSeq', type: 8, long: bdSeq }] }, n)
  t.match(reader.read(message('spBv1.0/g/NBIRTH/e', birth({ speed: 1 }, 4), 1)), [{ fields: [['online', true]] }, {}])
  t.same(reader.read(death(3, 2)), [])
  t.same(reader.read(death(4, 2)), [{ fields: [['online', false]] }])
  t.same(reader.read(message('spBv1.0/g/DDEATH/e/d', { seq: 2 }, 3)), [{ fields: [['online', false]] }])
})

t.test('a metric that is null has no value: absent, with no dead letter', async t => {
  const mapping = new Mapping([], { depth: 16, fields: 100, inflated }, { sparkplug: readerWith() })
  mapping.read(message('spBv1.0/g/NBIRTH/e', birth({ speed: 1, level: 2 }, 1), 1))
  const metrics = [
    { alias: 1, isNull: true },
    { alias: 2, int: 5 },
  ]
  const some = mapping.read(message('spBv1.0/g/NDATA/e', { timestamp: at, metrics }, 2))
  t.match(some, { quality: /good|late/, points: [{ fields: [['level', 5]] }], absent: [{ field: 'speed' }] })
  const none = mapping.read(message('spBv1.0/g/NDATA/e', { timestamp: at, metrics: metrics.slice(0, 1) }, 3))
  t.match(none, { quality: 'absent', points: [], absent: [{ field: 'speed' }] })
})

t.test('births are kept on disk', async t => {
  const dir = join(await tempDir(), 'sparkplug')
  const births = new Births({ dir, log: failing })
  births.start()
  const reader = readerWith(births)
  for (const n of [1, 2, 3, 4, 5, 6]) reader.read(message('spBv1.0/g/NBIRTH/e', birth({ speed: n % 2 }, n), n))
  reader.read(
    message(
      'spBv1.0/g/DBIRTH/e/d',
      { metrics: [{ name: 'x', alias: 7, type: 9, float: 1, properties: { unit: 'V' } }] },
      7,
    ),
  )
  await births.flush()
  await births.flush()
  t.equal(readdirSync(dir).length, 2)
  // Its functions need the log itself, as those of pino do.
  const log = {
    warnings: [] as string[],
    warn(sentence: string) {
      this.warnings.push(sentence)
    },
  }
  writeFileSync(join(dir, 'broken.json'), '{')
  const again = new Births({ dir, log })
  again.start()
  t.match(log.warnings, [/broken.json cannot be read .* the damaged file is .*broken.json.bad now/])
  t.same(readdirSync(dir).length, 3, 'the damaged file is kept under another name')
  writeFileSync(join(dir, 'broken.json'), 'null')
  const reports: string[] = []
  const incidents = { report: (kind: string, sentence: string) => reports.push(`${kind}: ${sentence}`) }
  new Births({ dir, log: failing, incidents }).start()
  t.match(reports, [/^births_damaged: .*broken.json cannot be read .*broken.json.bad.2 now/])
  const device = { node: 'g/e', device: 'd' }
  t.match(again.find(device, second(8)), { receivedAt: second(7) })
  t.same(again.find(device, second(8))?.definitions.all, [{ name: 'x', alias: 7, dataType: 9, unit: 'V' }])
  const of = (n: number) => again.find({ node: 'g/e', device: undefined }, second(n))
  t.match([of(6)?.bdSeq, of(5)?.bdSeq, of(3)?.bdSeq, of(1)?.bdSeq], [6, 5, 3, 3], 'the last four')
  t.equal(of(6)?.definitions.byAlias.get(0)?.name, 'speed')
})

t.test('a disk that refuses births is no reason not to start, and is tried again', async t => {
  const warnings: string[] = []
  const parent = await tempDir()
  writeFileSync(join(parent, 'file'), '')
  const births = new Births({ dir: join(parent, 'file'), log: { warn: sentence => warnings.push(sentence) } })
  births.start()
  readerWith(births).read(message('spBv1.0/g/NBIRTH/e', birth({ speed: 1 }, 1), 1))
  await births.flush()
  t.match(warnings, [/births in .*file cannot be read: ENOTDIR/, /births are not kept on disk: EEXIST/])
  rmSync(join(parent, 'file'))
  await births.flush()
  t.equal(readdirSync(join(parent, 'file')).length, 1)
})

t.test('the mapping: births and data make one series, with their own topics and times', async t => {
  const mapping = new Mapping([], { depth: 16, fields: 100, inflated }, { sparkplug: readerWith() })
  const aliases = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`m${i}`, i + 1]))
  const born = mapping.read(message('spBv1.0/g/NBIRTH/e', birth(aliases), 1))
  const data = mapping.read(message('spBv1.0/g/NDATA/e', { timestamp: at, metrics: [{ alias: 5, int: 9 }] }, 2))
  const tags = [['topic', 'spBv1.0/g/NDATA/e']]
  if ('reason' in born) return t.fail(born.detail)
  t.match(born.points, [
    { measurement: 'spBv1.0', tags, fields: [['online', true]] },
    { tags, time: at * 1_000 },
  ])
  t.equal(born.points[1]?.fields.length, 500)
  t.match(data, { points: [{ measurement: 'spBv1.0', tags, fields: [['m4', 9]], time: at * 1_000 }] })
  t.match(mapping.read(message('spBv1.0/g/NCMD/e', birth({}), 3)), { points: [] })
  const named = new Mapping(
    [{ topic: 'spBv1.0/{group}/{type}/{edge}', measurement: 'plant', tags: ['edge'] }],
    { depth: 16, fields: 100, inflated },
    { sparkplug: readerWith() },
  )
  t.match(named.read(message('spBv1.0/g/NBIRTH/e', birth({ a: 1 }), 1)), {
    points: [{ measurement: 'plant', tags: [['edge', 'e']] }, {}],
  })
})

function hostWith(more: Partial<SparkplugHostOptions> = {}) {
  const sent: Outward[] = []
  const born: string[] = []
  const births = new Births({ log: failing })
  const clock = { ms: at, now: () => clock.ms }
  const host = new SparkplugHost({
    births,
    reader: readerWith(births),
    ...{ asksForBirths: true, hostId: '', inflated, log: { info: () => {}, warn: () => {} }, clock },
    delivery: { publish: async messages => void sent.push(...messages) },
    watcher: { born: clientIds => void born.push(...clientIds) },
    ...more,
  })
  return { host, sent, born, clock }
}

/** Runs the ticks of so many seconds. */
function pass({ host, clock }: ReturnType<typeof hostWith>, seconds: number) {
  for (let i = 0; i < seconds; i++) {
    clock.ms += 1_000
    host.ask()
  }
}

t.test('a missing birth is asked for after a while, and ever less often', async t => {
  const all = hostWith()
  const { host, sent, clock } = all
  const data = (n: number) => {
    const one = message('spBv1.0/g/NDATA/e', { seq: n % 256, metrics: [{ alias: 1, int: n }] })
    return { ...one, receivedAt: clock.ms * 1_000 }
  }
  host.observe([data(0)])
  pass(all, 4)
  t.equal(sent.length, 0)
  pass(all, 1)
  t.match(sent, [{ topic: 'spBv1.0/g/NCMD/e', qos: 0, retain: false }])
  t.match(decodeSparkplug(sent[0]?.payload ?? Buffer.alloc(0), inflated), {
    metrics: [{ name: 'Node Control/Rebirth', dataType: 11, value: { kind: 'boolean', value: true } }],
  })
  for (let n = 1; n <= 3_600; n++) {
    host.observe([data(n)])
    pass(all, 1)
  }
  t.ok(sent.length >= 5 && sent.length <= 7, `${sent.length} in an hour`)
  host.observe([{ ...message('spBv1.0/g/NBIRTH/e', birth({ speed: 1 })), receivedAt: clock.ms * 1_000 }])
  const before = sent.length
  host.observe([data(1), data(2), data(3)])
  pass(all, 100)
  t.equal(sent.length, before, 'the birth is there')
})

t.test('a gap in the sequence asks for a birth; a repetition, and what is old, do not', async t => {
  const all = hostWith()
  const { host, sent, clock } = all
  const data = (seq: number, ago = 0) => {
    const one = message('spBv1.0/g/DDATA/e/d', { seq, metrics: [{ name: 'x', type: 3, int: 1 }] })
    return { ...one, receivedAt: (clock.ms - 1_000 * ago) * 1_000 }
  }
  host.observe([message('spBv1.0/g/NBIRTH/e', birth({}))])
  host.observe([data(1), data(2), data(2), data(3)])
  pass(all, 10)
  t.equal(sent.length, 0)
  host.observe([data(9, 3_600)])
  pass(all, 10)
  t.equal(sent.length, 0, 'the past')
  host.observe([data(255), data(0)])
  pass(all, 10)
  t.equal(sent.length, 1)
})

t.test('many edge nodes are asked a few at a time', async t => {
  const all = hostWith()
  const nodes = Array.from({ length: 100 }, (_, i) =>
    message(`spBv1.0/g/NDATA/e${i}`, { seq: 0, metrics: [{ alias: 1, int: 1 }] }, 0, `client${i}`),
  )
  all.host.observe(nodes)
  pass(all, 5)
  t.equal(all.sent.length, 5)
  pass(all, 30)
  t.equal(new Set(all.sent.map(({ topic }) => topic)).size, 100)
})

t.test('a birth names the clients whose data may wait', async t => {
  const { host, born } = hostWith()
  host.observe([message('spBv1.0/g/DDATA/e/d', { seq: 4, metrics: [{ alias: 1, int: 1 }] }, 0, 'forwarder')])
  const nbirth = message('spBv1.0/g/NBIRTH/e', birth({}), 1, 'edge')
  host.observe([nbirth])
  t.same(born, ['forwarder', 'edge'])
  host.observe([nbirth])
  t.same(born, ['forwarder', 'edge'], 'told twice')
})

t.test('the state of the host application', async t => {
  const { host, sent } = hostWith({ hostId: 'scada' })
  host.start()
  await host.stop()
  t.match(sent, [
    { topic: 'spBv1.0/STATE/scada', retain: true, qos: 1 },
    { topic: 'spBv1.0/STATE/scada', retain: true },
  ])
  t.same(
    sent.map(({ payload }) => JSON.parse(payload.toString())),
    [
      { online: true, timestamp: at },
      { online: false, timestamp: at },
    ],
  )
  const silent = hostWith()
  silent.host.start()
  await silent.host.stop()
  t.same(silent.sent, [])
})
