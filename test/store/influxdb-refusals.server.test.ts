import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import type { Point } from '../../src/model.js'
import { InfluxStore } from '../../src/store/influxdb.js'
import { all, listed, noon, point, reading, temperature } from '../contract/store.js'
import { dockerAnswers } from '../services/docker.js'
import { startInflux } from '../services/influxdb.js'
import { influxProxy } from './influx-proxy.js'

const given = Boolean(process.env.TEST_INFLUX_URL) || (await dockerAnswers())
// Read by an influxd that we start.
process.env.INFLUXDB_DATA_MAX_VALUES_PER_TAG = '8'
process.env.INFLUXDB_DATA_MAX_SERIES_PER_DATABASE = '30'
process.env.INFLUXDB_HTTP_MAX_BODY_SIZE = '400000'
const influx = await startInflux()
t.teardown(() => influx.stop())
const noLimits = given && 'the limits of this server are not ours to set'
let databases = 0

async function query(q: string, base = influx.url, user?: string): Promise<string> {
  const headers = user ? { authorization: `Basic ${Buffer.from(user).toString('base64')}` } : {}
  const answer = await fetch(`${base}/query`, { method: 'POST', headers, body: new URLSearchParams({ q }) })
  return answer.text()
}

/** A new database behind a proxy, by a policy that keeps points for `keep`. */
async function place(t: Test, keep = 'INF') {
  const name = `refusals${process.pid}-${databases++}`
  await query(`CREATE DATABASE "${name}" WITH DURATION ${keep}`)
  const { writes, faults, url } = await influxProxy(t, influx.url)
  const store = () => {
    const made = new InfluxStore({ url: `${url}/${name}` })
    t.teardown(() => made.stop())
    return made
  }
  const raw = async (lines: string) => {
    const answer = await fetch(`${influx.url}/write?db=${name}&precision=u`, { method: 'POST', body: lines })
    if (answer.status !== 204) throw new Error(await answer.text())
  }
  return { store, raw, writes, faults }
}

const now = Math.floor(Date.now() / 60_000) * 60_000_000
const tooOld = now - 2 * 86_400_000_000
const unparsable = (time: number) => point('climate', [['device', 'x'.repeat(70_000)]], [['temperature', 3]], time)

t.test('of two thousand two are refused, one goes to the field beside: with few requests', async t => {
  const { store, raw, writes } = await place(t, '1h')
  const own = store()
  await own.write([])
  await raw(`climate,device=d1 state="on" ${now}`)
  const batch = Array.from({ length: 2_000 }, (_, i) => reading(now + i, i))
  batch[700] = reading(now + 700, 5, 'state')
  batch[1200] = unparsable(now + 1200)
  batch[1500] = reading(tooOld, 1)
  t.match(await own.write(batch), [
    { index: 1200, reason: 'store_refused', detail: /^unable to parse 'climate.*max key length exceeded/s },
    { index: 1500, reason: 'beyond_retention', detail: /points beyond retention policy/ },
  ])
  t.ok(writes.length <= 6, `${writes.length} requests`)
  t.ok(
    writes.slice(1).every(({ lines }) => lines.length < 2_000),
    'the whole batch was written once',
  )
  t.strictSame(await all(own, { ...temperature, field: 'state_num' }), [[now + 700, 5]])
  const stored = await all(own, temperature)
  t.strictSame(
    stored.map(([time]) => Number(time) - now),
    Array.from({ length: 2_000 }, (_, i) => i).filter(i => ![700, 1200, 1500].includes(i)),
  )
})

t.test('where the count of the dropped adds up, the good points are in and nothing is written again', async t => {
  const { store, raw, writes } = await place(t, '1h')
  const own = store()
  await own.write([])
  await raw(`climate,device=d1 state="on",count=1i ${now}`)
  const good = [reading(now + 1, 1), reading(now + 3, 3)]
  const [first, second] = good as [Point, Point]
  const conflicts = [first, reading(now + 1, 4, 'state'), second, reading(now + 2, 4, 'state')]
  t.strictSame(await own.write(conflicts), [])
  t.strictSame(
    writes.map(({ lines }) => lines.length),
    [4, 2],
    'what was refused goes beside in a second one',
  )
  t.strictSame(await own.write(conflicts.slice(1, 2)), [])
  t.equal(writes.length, 3, 'the type was learnt from the refusal')
  t.match(await own.write([reading(tooOld, 0), first, reading(tooOld + 5, 0), second]), [
    { index: 0, reason: 'beyond_retention' },
    { index: 2, reason: 'beyond_retention' },
  ])
  t.equal(writes.length, 4)
  for (let attempt = 0; attempt < 2; attempt++) {
    t.strictSame(await own.write([first, reading(now + 1, 4, 'count')]), [])
  }
  t.equal(writes.length, 7, 'that whole numbers are integers here was learnt from the refusal')
  t.strictSame(await all(own, { ...temperature, field: 'count' }), [
    [now, 1],
    [now + 1, 4],
  ])
  t.equal((await all(own, temperature)).length, 2)
})

t.test('a count that adds up does not hide lines that InfluxDB could not parse', async t => {
  const { store, raw } = await place(t, '1h')
  const own = store()
  await own.write([])
  await raw(`climate,device=d1 state="on" ${now}`)
  t.match(await own.write([unparsable(now), reading(now, 4, 'state'), reading(now + 1, 1)]), [
    { index: 0, reason: 'store_refused' },
  ])
  const rejected = await own.write([unparsable(tooOld), reading(tooOld + 9, 1), reading(now + 2, 1)])
  t.strictSame(
    rejected.map(({ index }) => index),
    [0, 1],
  )
  t.equal((await all(own, temperature)).length, 2)
})

t.test('a conflict in one shard says nothing of the points in others', async t => {
  const { store, raw } = await place(t)
  const own = store()
  const month = 30 * 86_400_000_000
  await raw(`climate,device=d1 temperature=5i ${noon}`)
  const batch = [0, 1, 2, 3].flatMap(i => [reading(noon + 1 + i, i), reading(noon + i * month + month, i)])
  t.strictSame(await own.write(batch), [])
  t.strictSame(await all(own, temperature), [
    [noon, 5],
    ...[0, 1, 2, 3].map(i => [noon + 1 + i, i]),
    ...[0, 1, 2, 3].map(i => [noon + i * month + month, i]),
  ])
})

t.test('a count that adds up by chance is not believed across shards', async t => {
  const { store, raw } = await place(t)
  const own = store()
  await raw(`climate,device=d1 temperature=5i,humidity=5i ${noon}`)
  const elsewhere = noon + 30 * 86_400_000_000
  const batch = [reading(noon + 1, 1), reading(noon + 2, 2, 'humidity'), reading(elsewhere, 3)]
  // Two are dropped, and two are like the one that is named.
  t.strictSame(await own.write(batch), [])
  t.strictSame(await all(own, temperature), [
    [noon, 5],
    [noon + 1, 1],
    [elsewhere, 3],
  ])
  t.strictSame(await all(own, { ...temperature, field: 'humidity' }), [
    [noon, 5],
    [noon + 2, 2],
  ])
})

t.test('what InfluxDB refused for one field is stored with all of its fields', async t => {
  const { store, raw } = await place(t)
  const own = store()
  await own.write([])
  await raw(`climate,device=d1 state="on" ${noon}`)
  const fields: Point['fields'] = [
    ['humidity', 5],
    ['state', 1],
  ]
  const batch = [point('climate', [['device', 'd1']], fields, noon), reading(noon, 1)]
  t.strictSame(await own.write(batch), [])
  t.strictSame(await all(own, { ...temperature, field: 'state_num' }), [[noon, 1]])
  t.strictSame(await all(own, { ...temperature, field: 'humidity' }), [[noon, 5]])
  t.strictSame(await own.write([reading(noon, 'warm')]), [])
  t.strictSame(await all(own, { ...temperature, field: 'temperature_str' }), [[noon, 'warm']])
})

t.test('names with quotes, spaces and backslashes are known again in the words of a refusal', async t => {
  const { store, writes } = await place(t)
  const names = ['a" on measurement "b', "it's", 'C:\\temp\\', 'a b,c=d', 'line\nbreak', 'time', '温 🌡️']
  for (const name of names) {
    const [one, two] = [store(), store()]
    await two.write([])
    await one.write([point(name, [[name, name]], [[name, 1]], noon)])
    const before = writes.length
    const rejected = await two.write([
      point(name, [[name, name]], [[`${name}2`, 1]], noon),
      point(name, [[name, name]], [[name, 'text']], noon + 1),
    ])
    t.strictSame(rejected, [], name)
    t.equal(writes.length, before + 2, 'one request, and one for the field beside')
  }
})

t.test('tag values beyond the limit are refused, all others stored', { skip: noLimits }, async t => {
  const { store, writes } = await place(t)
  const own = store()
  const device = (name: string, time: number) => point('m', [['device', name]], [['v', 1]], time)
  t.strictSame(await own.write(Array.from({ length: 8 }, (_, i) => device(`d${i}`, noon))), [])
  const batch = Array.from({ length: 200 }, (_, i) => device(i % 10 === 7 ? `new ${i % 3}` : `d${i % 8}`, noon + i))
  const late = batch.flatMap(({ tags }, i) => (tags[0]?.[1].startsWith('new') ? [i] : []))
  for (let attempt = 0; attempt < 2; attempt++) {
    const before = writes.length
    const rejected = await own.write(batch)
    t.strictSame(
      rejected.map(({ index }) => index),
      late,
    )
    t.ok(rejected.every(({ reason, detail }) => reason === 'series_limit' && /max-values-per-tag/.test(detail)))
    t.ok(writes.length - before <= (attempt === 0 ? 4 : 3), `${writes.length - before} requests`)
  }
  const count = await Promise.all(
    Array.from({ length: 8 }, (_, i) => all(own, { measurement: 'm', tags: [['device', `d${i}`]], field: 'v' })),
  )
  // InfluxDB drops some of the good ones with the bad. One is at the time of a first one.
  t.equal(new Set(count.flatMap((rows, i) => rows.map(([time]) => `${i} ${time}`))).size, 200 - late.length + 7)
})

t.test('series beyond the limit are refused, and found at once the next time', { skip: noLimits }, async t => {
  const { store, writes } = await place(t)
  const own = store()
  const room = (n: number, time: number) => point(`m${n >> 2}`, [['room', String(n & 3)]], [['v', n]], time)
  t.strictSame(await own.write(Array.from({ length: 30 }, (_, n) => room(n, noon))), [])
  const batch = Array.from({ length: 300 }, (_, i) => room(i % 33, noon + i + 1))
  const late = batch.flatMap((_, i) => (i % 33 >= 30 ? [i] : []))
  for (let attempt = 0; attempt < 3; attempt++) {
    const before = writes.length
    const rejected = await own.write(batch)
    t.strictSame(
      rejected.map(({ index }) => index),
      late,
    )
    t.ok(rejected.every(({ reason, detail }) => reason === 'series_limit' && /max-series-per-database/.test(detail)))
    if (attempt > 0) t.ok(writes.length - before <= 3, `${writes.length - before} requests`)
  }
  t.equal((await all(own, { measurement: 'm0', tags: [['room', '1']], field: 'v' })).length, 11)
})

t.test(
  'too large a body is cut smaller, the next ones at once; one point alone is refused',
  { skip: noLimits },
  async t => {
    const { store, writes } = await place(t)
    const own = store()
    const texts = (from: number) =>
      Array.from({ length: 1_000 }, (_, i) => reading(noon + from + i, `${i}`.repeat(500).slice(0, 500), 'text'))
    t.strictSame(
      await own.write([reading(noon, '', 'text')]),
      [],
      'the series, as InfluxDB counts its points against the limit',
    )
    t.strictSame(await own.write(texts(0)), [])
    t.equal(writes.filter(({ status }) => status === 413).length, 1)
    t.strictSame(await own.write(texts(1_000)), [])
    t.equal(writes.filter(({ status }) => status === 413).length, 1)
    t.strictSame(
      (await all(own, { ...temperature, field: 'text' })).map(([time]) => Number(time) - noon),
      Array.from({ length: 2_000 }, (_, i) => i),
    )
    const batch = [reading(noon, 1), reading(noon + 1, 'x'.repeat(500_000), 'text'), reading(noon + 2, 3)]
    t.match(await own.write(batch), [{ index: 1, reason: 'too_large', detail: /Request Entity Too Large/ }])
    t.equal((await all(own, temperature)).length, 2)
  },
)

t.test('whatever is mixed: what is not refused is stored, what is refused is not', { skip: noLimits }, async t => {
  let seed = 7
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((seed / 2_147_483_648) * below)
  }
  for (let round = 0; round < 8; round++) {
    const { store, raw, writes } = await place(t, round % 2 ? '1h' : 'INF')
    const own = store()
    await own.write([])
    const hours = round % 3 ? 1 : 4
    await raw(Array.from({ length: 8 }, (_, i) => `m,n=${i} a="t",b=1i,c=true,v=1 ${now}`).join('\n'))
    const kinds: string[] = []
    const batch = Array.from({ length: 120 }, (_, i) => {
      const time = now + i + 1 - (round % 2 ? 0 : random(hours) * 3_600_000_000)
      const kind = random(12)
      kinds.push(['conflict', 'integer', 'old', 'long', 'value'][kind] ?? 'good')
      const n = String(kind === 4 ? 100 + random(3) : random(8))
      if (kind === 0)
        return point(
          'm',
          [['n', n]],
          [
            ['a', i],
            ['v', i],
          ],
          now + i + 1,
        )
      if (kind === 1)
        return point(
          'm',
          [['n', n]],
          [
            ['b', i],
            ['v', i],
          ],
          now + i + 1,
        )
      if (kind === 2 && round % 2) return point('m', [['n', n]], [['v', i]], tooOld + random(1_000))
      if (kind === 3) return point('m', [['n', `${i}${'x'.repeat(70_000)}`]], [['v', i]], time)
      if (kind === 2) kinds[i] = 'good'
      return point('m', [['n', n]], [['v', i]], time)
    })
    const rejected = await own.write(batch)
    const bad = new Map(rejected.map(({ index, reason }) => [index, reason]))
    t.equal(bad.size, rejected.length, 'each once')
    t.strictSame(
      [...bad.keys()],
      kinds.flatMap((kind, i) => (['good', 'conflict', 'integer'].includes(kind) ? [] : [i])),
      `round ${round}: ${writes.length} requests`,
    )
    const found = new Set<string>()
    for (const { tags, field } of await listed(own, 1_000)) {
      if (field !== 'v') continue
      for (const [time, value] of await all(own, { measurement: 'm', tags, field })) {
        found.add(`${tags[0]?.[1]} ${time} ${value}`)
      }
    }
    const expected = batch.flatMap(({ tags, fields, time }, i) =>
      bad.has(i) ? [] : [`${tags[0]?.[1]} ${time} ${fields.at(-1)?.[1]}`],
    )
    t.strictSame(
      expected.filter(row => !found.has(row)),
      [],
    )
    t.equal(found.size, expected.length + 8)
    t.comment(`${rejected.length} of ${batch.length} refused with ${writes.length} requests`)
  }
})

t.test('answers of 500, some of them after the points were in: the whole batch is there, once', async t => {
  const { store, writes, faults } = await place(t)
  const own = store()
  await own.write([reading(noon, 0)])
  writes.length = 0
  faults.push(
    response => response.writeHead(500).end('{"error":"timeout"}'),
    async (response, pass) => {
      await pass()
      response.writeHead(500).end('{"error":"timeout"}')
    },
    async (response, pass) => {
      await pass()
      response.writeHead(500, { 'content-length': '100' })
      response.write('{"error":', () => setImmediate(() => response.destroy()))
    },
    response => response.destroy(),
  )
  const batch = Array.from({ length: 500 }, (_, i) => reading(noon + i, i))
  for (let failure = 0; failure < 4; failure++) {
    await t.rejects(own.write(batch), { code: 'store_unavailable' })
  }
  t.strictSame(await own.write(batch), [])
  t.strictSame(
    writes.map(({ lines }) => lines.length),
    [500, 500, 500, 500, 500],
    'never a part of it',
  )
  t.strictSame(
    await all(own, temperature),
    batch.map((_, i) => [noon + i, i]),
  )
})

t.test('types that are known of a database that is gone are forgotten with it', async t => {
  const name = `refusals${process.pid}-${databases++}`
  const own = new InfluxStore({ url: `${influx.url}/${name}` })
  t.teardown(() => own.stop())
  await own.write([reading(noon, 'text')])
  await query(`DROP DATABASE "${name}"`)
  t.strictSame(await own.write([reading(noon, true, 'flag'), reading(noon, 21)]), [])
  t.strictSame(await all(own, temperature), [[noon, 21]])
})

t.test('users without a right: what is missing is said, in InfluxDB’s words and ours', { skip: noLimits }, async t => {
  process.env.INFLUXDB_HTTP_AUTH_ENABLED = 'true'
  const guarded = await startInflux()
  t.teardown(() => guarded.stop())
  delete process.env.INFLUXDB_HTTP_AUTH_ENABLED
  const admin = 'admin:secret'
  await query(`CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES`, guarded.url)
  for (const q of [
    `CREATE DATABASE telehub`,
    `CREATE USER hub WITH PASSWORD 'secret'`,
    `CREATE USER reader WITH PASSWORD 'secret'`,
    `GRANT ALL ON telehub TO hub`,
    `GRANT READ ON telehub TO reader`,
  ]) {
    t.notMatch(await query(q, guarded.url, admin), 'error')
  }
  const as = (user: string) => {
    const store = new InfluxStore({ url: `${guarded.url.replace('//', `//${user}:secret@`)}/telehub` })
    t.teardown(() => store.stop())
    return store
  }
  const advice = /check user and password in influx.url/
  const own = as('hub')
  t.strictSame(await own.write([reading(noon, 1)]), [])
  for (const user of ['nobody', 'reader']) {
    const error = await as(user)
      .write([reading(noon, 1)])
      .catch(error => error)
    t.match(error, { code: 'store_unavailable', message: advice }, user)
    t.match(error.message, user === 'nobody' ? /401: authorization failed/ : /403: .*not authorized/, user)
    t.notMatch(error.message, 'secret')
  }
  await query('DROP DATABASE telehub', guarded.url, admin)
  const error = await own.write([reading(noon, 1)]).catch(error => error)
  t.match(error, {
    code: 'store_unavailable',
    message: /no database 'telehub', and creating it failed: .*403: .*requires admin privilege/,
  })
  t.notMatch(inspect(error, { depth: 9 }), Buffer.from('hub:secret').toString('base64'), 'the password stays here')
})
