import { InfluxDB } from 'influx'
import t, { type Test } from 'tap'
import { makeKey } from '../../src/users/users.js'
import { grafana, written } from '../fixtures/influxql.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'

const begin = 1_763_710_000

/** A hub with two rooms, and a service with a key that may read one of them. */
async function twoRooms(t: Test) {
  const users = await usersFile()
  await users.add('thermo', ['allow publish #'])
  await users.add('grafana', ['allow read home/kitchen/#'], { kind: 'service' })
  const { text: key, key: kept } = makeKey('', Date.now())
  await users.edit(file => file.addKey('grafana', kept))
  const hub = await startHub(t, users.settings)
  const device = await connectMqtt(t, hub.mqttUrl, { username: 'thermo', password: passwordOf('thermo') })
  for (let i = 0; i < 10; i++) {
    for (const room of ['kitchen', 'bath']) {
      const payload = { v: i + (room === 'bath' ? 100 : 0), on: i % 2 === 0, ts: begin + i * 60 }
      await device.publishAsync(`home/${room}/t1/telemetry`, JSON.stringify(payload), { qos: 1 })
    }
  }
  const admin = asAdmin(hub.dir).authorization.slice('Bearer '.length)
  for (const room of ['kitchen', 'bath']) {
    const stored = async () => (await history(hub, `telemetry,device=t1,room=${room} v`)).length === 10
    await eventually(stored, 'all is stored')
  }
  return { hub, key, admin }
}

function client(hub: RunningHub, password: string, username = 'any'): InfluxDB {
  const { hostname, port } = new URL(hub.httpUrl)
  return new InfluxDB({ host: hostname, port: Number(port), database: 'telehub', username, password })
}

const basic = (password: string, user = 'grafana') => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
})

async function query(hub: RunningHub, q: string, headers: Readonly<Record<string, string>>, more = '') {
  const response = await fetch(`${hub.httpUrl}/query?db=telehub&epoch=ms&q=${encodeURIComponent(q)}${more}`, {
    headers,
  })
  return { status: response.status, body: (await response.json()) as { error?: string; results?: object[] } }
}

t.test('the influx client reads what a key may read, and no more', async t => {
  const { hub, key, admin } = await twoRooms(t)
  const all = client(hub, admin)
  const some = client(hub, key)
  t.match(await all.ping(5_000), [{ online: true, version: '1.6.0-telehub' }])
  t.same(await all.getDatabaseNames(), ['telehub'])
  t.same(await all.getMeasurements(), ['telemetry'])
  t.same(await all.getSeries(), ['telemetry,device=t1,room=bath', 'telemetry,device=t1,room=kitchen'])
  t.same(await some.getSeries(), ['telemetry,device=t1,room=kitchen'])
  t.match(await some.showRetentionPolicies(), [{ name: 'autogen', default: true }])

  const means = await all.query<{ time: Date; mean: number }>('SELECT mean(v) FROM telemetry GROUP BY room')
  t.same(
    means.groups().map(({ tags, rows }) => [tags, rows[0]?.mean]),
    [
      [{ room: 'bath' }, 104.5],
      [{ room: 'kitchen' }, 4.5],
    ],
  )
  const rows = await some.query<{ time: Date; v: number; on: boolean }>('SELECT v, "on" FROM telemetry', {
    precision: 'ms',
  })
  t.equal(rows.length, 10)
  t.match(rows[3], { v: 3, on: false })
  t.equal(rows[3]?.time.getTime(), (begin + 180) * 1_000)
  const bound = await all.query<{ v: number }>('SELECT last(v) AS v FROM telemetry WHERE room = $room', {
    placeholders: { room: 'bath' },
  })
  t.match(bound[0], { v: 109 })
  await t.rejects(all.query('SELECT top(v, 2) FROM telemetry'), /top\(\) is not supported/)
  await t.rejects(all.createDatabase('other'), /SELECT or SHOW/)
  await t.rejects(all.dropMeasurement('telemetry'), /SELECT or SHOW/)
  await t.rejects(client(hub, 'wrong').getMeasurements(), /401/)
})

t.test('no statement shows what the rules forbid', async t => {
  const { hub, key } = await twoRooms(t)
  const asked = [
    ...[...grafana, ...written].map(q => q.replaceAll('climate', 'telemetry').replaceAll('temperature', 'v')),
    'SELECT * FROM telemetry',
    'SELECT count(*) FROM /./ GROUP BY *',
    "SELECT last(v) FROM telemetry WHERE room = 'bath'",
    "SELECT max(v) FROM telemetry WHERE room =~ /./ OR room != 'kitchen'",
    'SHOW TAG VALUES WITH KEY = room',
    'SHOW TAG VALUES WITH KEY =~ /./',
    'SHOW SERIES',
    "SHOW MEASUREMENTS WHERE room = 'bath'",
  ]
  for (const q of asked) {
    const { status, body } = await query(hub, q, basic(key))
    t.equal(status, 200, q)
    const text = JSON.stringify(body)
    t.notMatch(text, /bath|\b10\d\b/, q)
  }
  const { body } = await query(hub, 'SELECT max(v) FROM telemetry', basic(key))
  t.match(body.results, [{ series: [{ values: [[(begin + 540) * 1_000, 9]] }] }])
})

t.test('credentials: a key as the password of HTTP Basic, as p, or as bearer; nothing else, and only here', async t => {
  const { hub, key, admin } = await twoRooms(t)
  const q = 'SHOW MEASUREMENTS'
  const found = [{ series: [{ values: [['telemetry']] }] }]
  for (const headers of [basic(key), basic(key, ''), basic(admin), { authorization: `Bearer ${key}` }]) {
    const { status, body } = await query(hub, q, headers)
    t.equal(status, 200)
    t.match(body.results, found)
  }
  t.equal((await query(hub, q, {}, `&u=grafana&p=${key}`)).status, 200)
  for (const headers of [
    {},
    basic('wrong'),
    basic(passwordOf('thermo'), 'thermo'),
    basic(''),
    { cookie: `telehub=${key}` },
  ]) {
    const { status, body } = await query(hub, q, headers)
    t.equal(status, 401)
    t.match(body.error, /API key/, 'an error of InfluxDB is a sentence')
  }
  t.equal((await query(hub, q, {}, '&u=grafana&p=wrong')).status, 401)
  t.equal((await fetch(`${hub.httpUrl}/api/series`, { headers: basic(key) })).status, 401, 'not for other routes')
  t.equal((await fetch(`${hub.httpUrl}/api/series?p=${key}`)).status, 401)
  const ping = await fetch(`${hub.httpUrl}/ping`)
  t.equal(ping.status, 204)
  t.ok(ping.headers.get('x-influxdb-version'))

  const form = { method: 'POST', body: new URLSearchParams({ q: 'SELECT count(v) FROM telemetry', db: 'telehub' }) }
  const posted = await fetch(`${hub.httpUrl}/query`, { ...form, headers: basic(admin) })
  t.match(await posted.json(), { results: [{ series: [{ values: [['1970-01-01T00:00:00Z', 20]] }] }] })
  const foreign = { ...basic(admin), origin: 'https://evil.example' }
  t.equal((await fetch(`${hub.httpUrl}/query`, { ...form, headers: foreign })).status, 403)
  t.match((await query(hub, '', basic(key))).body, { error: 'missing required parameter "q"' })
  t.match((await query(hub, 'SELECT', basic(key))).body.error, /error parsing query/)
  const other = await fetch(`${hub.httpUrl}/query?db=other&q=${encodeURIComponent(q)}`, { headers: basic(key) })
  t.match(await other.json(), { results: [{ error: /database not found: other/ }] })
})

t.test('with InfluxDB as the store, /query names InfluxDB', async t => {
  const hub = await startHub(t, { 'influx.url': 'http://127.0.0.1:9/telehub' })
  const { status, body } = await query(hub, 'SHOW MEASUREMENTS', {})
  t.equal(status, 400)
  t.match(body.error, /influx\.url/)
})
