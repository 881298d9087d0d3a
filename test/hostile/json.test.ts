import t from 'tap'
import { connectMqtt, eventually, history, metric, startHub } from '../harness.js'
import { stillServes } from './attempts.js'

/** Payloads that are JSON, or nearly, made to take what a hub has: memory, stack, time, or the names of its own objects. */

interface Letter {
  readonly topic: string
  readonly reason: string
  readonly detail: string
}

const series = (topic: string, field = 'v') => `${topic},topic=${topic} ${field}`

/** `{"a":{"a":… 1 …}}` */
const nested = (depth: number, open: string, close: string) => `${open.repeat(depth)}1${close.repeat(depth)}`
const fields = (count: number) => `{${Array.from({ length: count }, (_, i) => `"f${i}":1`).join(',')}}`

t.test('each is stored as it is or dead-lettered with its reason, and the next ones are served', async t => {
  const hub = await startHub(t, {
    'limits.packet': '16MB',
    'limits.inflightBytes': '64MB',
    'limits.jsonFields': '1000',
  })
  const device = await connectMqtt(t, hub.mqttUrl)
  const refused: readonly (readonly [attempt: string, payload: string | Buffer, reason: string])[] = [
    ['100,000 levels of [', nested(100_000, '[', ']'), 'too_deep'],
    ['100,000 levels of [ never closed', '['.repeat(100_000), 'too_deep'],
    ['100,000 levels of {', nested(100_000, '{"a":', '}'), 'too_deep'],
    ['100,000 levels of { never closed', '{"a":'.repeat(100_000), 'too_deep'],
    ['100,000 levels of [{', nested(50_000, '[{"a":', '}]'), 'too_deep'],
    ['one level more than limits.jsonDepth', nested(17, '{"a":', '}'), 'too_deep'],
    ['arrays in arrays', nested(10, '[', ']'), 'no_reading'],
    ['a million fields', fields(1_000_000), 'too_many_fields'],
    ['one field more than limits.jsonFields', fields(1_001), 'too_many_fields'],
    ['a million nulls', `{${'"n":null,'.repeat(999_999)}"n":1}`, 'too_many_fields'],
    ['a million elements', `[${'1,'.repeat(999_999)}1]`, 'too_many_fields'],
    ['a comment', '{"v":1/*x*/}', 'bad_json'],
    ['two values', '{"v":1}{"v":2}', 'bad_json'],
    ['half of a surrogate pair as value', '{"v":"\\ud800"}', 'bad_value'],
    ['half of a surrogate pair as name', '{"\\udfff":1}', 'bad_value'],
    ['half of a surrogate pair in UTF-8', Buffer.from('7b2276223a22eda080227d', 'hex'), 'not_utf8'],
    ['invalid UTF-8', Buffer.from('7b2276223a22c3287d', 'hex'), 'not_utf8'],
    ['overlong UTF-8', Buffer.from('7b2276223a22c0af227d', 'hex'), 'not_utf8'],
    ['a name of 500 KB before 1,000 short ones', `{"${'n'.repeat(500_000)}":${fields(1_000)}}`, 'names_too_long'],
  ]
  for (const [i, [, payload]] of refused.entries()) await device.publishAsync(`bad/${i}`, payload, { qos: 1 })

  const kept: readonly (readonly [attempt: string, payload: string | Buffer, field: string, value: unknown])[] = [
    ['limits.jsonDepth levels', nested(16, '{"a":', '}'), Array(16).fill('a').join('.'), 1],
    ['limits.jsonFields fields', fields(1_000), 'f999', 1],
    ['2^53+1, as text', '{"v":9007199254740993}', 'v', '9007199254740993'],
    ['a number of 1,000,000 digits, as text', `{"v":${'9'.repeat(1_000_000)}}`, 'v', '9'.repeat(1_000_000)],
    ['1e400 and NaN are absent', '{"v":1,"a":1e400,"b":NaN,"c":-Infinity,"d":undefined}', 'v', 1],
    ['1e400 as time', '{"v":1,"ts":1e400}', 'v', 1],
    ['a NUL behind it', '{"v":1}\0', 'v', 1],
    ['-0', '{"v":-0}', 'v', 0],
    ['1e-400', '{"v":1e-400}', 'v', 0],
    ['1.7976931348623157e308', '{"v":1.7976931348623157e308}', 'v', Number.MAX_VALUE],
    ['5e-324', '{"v":5e-324}', 'v', 5e-324],
    ['a million digits behind the point', `{"v":0.${'3'.repeat(1_000_000)}}`, 'v', 1 / 3],
    ['the same name twice: the last one', '{"v":1,"v":2}', 'v', 2],
    ['the same name written twice over', '{"a":{"b":1},"a.b":2}', 'a.b', 2],
    ['UTF-16', Buffer.from('\ufeff{"v":1}', 'utf16le'), 'v', 1],
    ['a byte order mark before it', '\ufeff{"v":3}', 'v', 3],
    ['escapes', '{"v":"a\\u0000\\ud83d\\ude00\\/\\"\\\\\\b\\f."}', 'v', 'a\0😀/"\\\b\f.'],
    ['a string of 1 MB', `{"v":"${'s'.repeat(1_000_000)}"}`, 'v', 's'.repeat(1_000_000)],
    ['__proto__', '{"__proto__":{"polluted":1}}', '__proto__.polluted', 1],
    ['empty names: a bare value', '{"":{"":7}}', 'value', 7],
    ['__proto__ itself', '{"__proto__":2}', '__proto__', 2],
    ['constructor.prototype', '{"constructor":{"prototype":{"x":3}}}', 'constructor.prototype.x', 3],
    ['toString', '{"toString":4}', 'toString', 4],
    ['hasOwnProperty', '{"hasOwnProperty":true}', 'hasOwnProperty', true],
    ['toJSON', '{"toJSON":"x"}', 'toJSON', 'x'],
    ['then', '{"then":1}', 'then', 1],
    ['length', '{"length":1e9}', 'length', 1e9],
  ]
  const place = (i: number) => `kept${i}`
  for (const [i, [, payload]] of kept.entries()) await device.publishAsync(place(i), payload, { qos: 1 })

  const letters = await eventually(async () => {
    const { dead } = (await hub.get<{ dead: Letter[] }>('/api/dead?limit=1000')).body
    return dead.length >= refused.length && dead
  }, 'the dead letters')
  const byTopic = new Map(letters.map(letter => [letter.topic, letter]))
  for (const [i, [attempt, , reason]] of refused.entries()) {
    const letter = byTopic.get(`bad/${i}`)
    t.equal(letter?.reason, reason, `${attempt}: ${letter?.detail.slice(0, 100)}`)
    t.ok((letter?.detail.length ?? 9e9) <= 1_000, `${attempt}: and no more of it is repeated than need be`)
  }
  t.equal(letters.length, refused.length, 'nothing else is dead')
  for (const [i, [attempt, , field, value]] of kept.entries()) {
    const values = await eventually(async () => {
      const found = await history(hub, series(place(i), field))
      return found.length > 0 && found
    }, attempt)
    t.ok(values.length === 1 && values[0] === value, attempt)
  }
  const { series: all } = (await hub.get<{ series: { measurement: string }[] }>('/api/series?limit=100000')).body
  const single = all.filter(({ measurement }) => measurement !== place(1))
  t.equal(single.length, kept.length - 1, 'no other series')
  await stillServes(t, hub)
})

t.test('the limits of depth and fields are settings', async t => {
  const hub = await startHub(t, { 'limits.jsonDepth': '2', 'limits.jsonFields': '3' })
  const device = await connectMqtt(t, hub.mqttUrl)
  for (const payload of ['{"a":{"b":1}}', '{"a":1,"b":2,"c":3}', '{"a":{"b":{"c":1}}}', '{"a":1,"b":2,"c":3,"d":4}']) {
    await device.publishAsync('x', payload, { qos: 1 })
  }
  const { dead } = await eventually(async () => {
    const { body } = await hub.get<{ dead: Letter[] }>('/api/dead')
    return body.dead.length === 2 && body
  }, 'two are refused')
  t.match(dead.map(({ reason, detail }) => `${reason}: ${detail}`).sort(), [/limits\.jsonDepth/, /limits\.jsonFields/])
  t.same(await history(hub, series('x', 'c')), [3])
})

t.test(
  'a little that becomes a lot: topics and names are repeated for each reading, and nothing is too much',
  async t => {
    const hub = await startHub(t)
    const device = await connectMqtt(t, hub.mqttUrl)
    const got = new Map<string, number>()
    device.on('message', (topic, payload) => got.set(topic, payload.length))
    await device.subscribeAsync('$hub/last/#')
    const long = 'l'.repeat(4_000)
    const start = Date.parse('2026-01-01T00:00:00Z')
    const batch = (count: number, field: (i: number) => string) =>
      `[${Array.from({ length: count }, (_, i) => `{"ts":${start + i},"${field(i)}":${i}}`).join(',')}]`
    await device.publishAsync(
      `${long}/a`,
      batch(20_000, () => 'v'),
      { qos: 1 },
    )
    await device.publishAsync(
      `${long}/b`,
      batch(20_000, i => `f${i}`),
      { qos: 1 },
    )
    const lines = Array.from({ length: 60_000 }, (_, i) => `m${i} v=${i}`).join('\n')
    await device.publishAsync('lines', lines, { qos: 1 })
    await eventually(() => got.size === 3, 'the newest of each is pushed')
    for (const [topic, length] of got) t.ok(length < 1.1e6, `${topic.slice(0, 20)}: ${length}`)
    const key = (topic: string, field: string) => `${topic.split('/')[0]},topic=${topic} ${field}`
    const count = async (name: string) => (await history(hub, name)).length
    await eventually(async () => (await count(key(`${long}/a`, 'v'))) === 20_000, 'every reading of a batch is stored')
    await eventually(async () => (await count(key(`${long}/b`, 'f19999'))) === 1, 'every field is stored')
    await eventually(async () => (await count('lines,measurement=m59999,topic=lines v')) === 1, 'every line is stored')
    t.equal(await metric(hub, 'telehub_spool_lag{cursor="live"}'), 0, 'nobody waits')
    await stillServes(t, hub)
  },
)
