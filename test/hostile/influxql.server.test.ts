import { createServer, type RequestListener } from 'node:http'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { seriesKey } from '../../src/model.js'
import { InfluxStore } from '../../src/store/influxdb.js'
import { noon, point } from '../contract/store.js'
import { connectMqtt, eventually, history, startHub } from '../harness.js'
import { answersPing, startInflux } from '../services/influxdb.js'
import { freePort } from '../services/service.js'
import { attempts, stillServes } from './attempts.js'

/** What is asked over the API on its way into InfluxQL; and an InfluxDB whose answers are hostile. */

const influx = await startInflux()
t.teardown(() => influx.stop())

async function ask(database: string, q: string): Promise<unknown> {
  const answer = await fetch(`${influx.url}/query?db=${database}`, { method: 'POST', body: new URLSearchParams({ q }) })
  return ((await answer.json()) as { results: unknown }).results
}

t.test('parameters of the API ask for nothing but what they name, and change nothing', async t => {
  const database = `hostile-ql${process.pid}`
  const hub = await startHub(t, { 'influx.url': `${influx.url}/${database}` })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  for (const room of ['kitchen', 'hall']) {
    await device.publishAsync(`home/${room}/t1/telemetry`, '{"v":1,"ts":1767225600}', { qos: 1 })
  }
  await device.publishAsync('broken', '{', { qos: 1 })
  const kitchen = 'telemetry,device=t1,room=kitchen v'
  await eventually(async () => (await history(hub, kitchen)).length === 1, 'the readings are there')
  const dead = async (query = '') => (await hub.get<{ dead: object[] }>(`/api/dead?${query}`)).body.dead
  await eventually(async () => (await dead()).length === 1, 'the dead letter is there')
  const databases = await ask(database, 'SHOW DATABASES')
  const everything = await ask(database, 'SELECT * FROM /.*/')

  const change = (path: string, body: object) =>
    fetch(hub.httpUrl + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  for (const [attempt, text] of attempts) {
    const tags = [
      ['device', 't1'],
      ['room', text],
    ] as const
    const names: readonly [string, string][] = [
      ['as the whole key', text],
      ['as measurement', seriesKey({ measurement: text, tags: [], field: 'v' })],
      ['as tag', seriesKey({ measurement: 'telemetry', tags, field: 'v' })],
      [
        'as name of a tag',
        seriesKey({
          measurement: 'telemetry',
          tags: [
            ['device', 't1'],
            [text, 'x'],
          ],
          field: 'v',
        }),
      ],
      [
        'as field',
        seriesKey({
          measurement: 'telemetry',
          tags: [
            ['device', 't1'],
            ['room', 'hall'],
          ],
          field: text,
        }),
      ],
      ['as tag, not escaped', `telemetry,device=t1,room=kitchen${text} v`],
    ]
    for (const [place, series] of names) {
      const query = new URLSearchParams({ series, from: '0', to: '4102444800000', points: '1' })
      const { status, body } = await hub.get<object>(`/api/history?${query}`)
      if (status === 200) t.same(body, { times: [], values: [] }, `${attempt}, ${place}: no series of that name`)
      else t.match([status, body], [400, { error: 'bad_request' }], `${attempt}, ${place}: no key`)
    }
    for (const filter of ['reason', 'device', 'id']) {
      t.same(
        await dead(String(new URLSearchParams({ [filter]: text }))),
        [],
        `${attempt}, as ${filter} of dead letters`,
      )
      for (const job of ['drop', 'replay']) {
        const answer = await change(`/api/dead/${job}`, { [filter]: text })
        t.match(await answer.text(), /"done":0,.*"finished":true/, `${attempt}: ${job} by ${filter} takes none`)
      }
    }
  }
  t.equal((await change('/api/dead/drop', JSON.parse('{"__proto__":{"all":true}}'))).status, 400, 'no prototype')
  t.same(await ask(database, 'SHOW DATABASES'), databases, 'the databases are the same')
  t.same(await ask(database, 'SELECT * FROM /.*/'), everything, 'the points are the same')
  t.equal((await dead()).length, 1, 'the dead letter is there')
  await stillServes(t, hub)
})

/** An InfluxDB that knows no fields, and answers writes as told. */
async function fake(t: Test, write: RequestListener): Promise<InfluxStore> {
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      if (answersPing(request, response)) return
      if (request.url?.startsWith('/write')) write(request, response)
      else response.end('{"results":[{"statement_id":0}]}')
    })
  })
  const port = await freePort()
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  const store = new InfluxStore({ url: `http://127.0.0.1:${port}/x` })
  t.teardown(async () => {
    await store.stop()
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  })
  return store
}

t.test('an answer that inflates without end is given up, not kept', async t => {
  const bomb = gzipSync(Buffer.alloc(512 * 1024 * 1024, ' '), { level: 1 })
  for (const status of [204, 400, 413, 500]) {
    const store = await fake(t, (_, response) =>
      response.writeHead(status, { 'content-encoding': 'gzip', 'content-type': 'application/json' }).end(bomb),
    )
    const before = process.memoryUsage().rss
    const write = store.write([point('m', [], [['v', 1]], noon)])
    // 204 has no body, whatever the server says.
    if (status === 204) t.same(await write, [])
    else await t.rejects(write, { code: 'store_unavailable', message: /more than 16 MB/ }, `with status ${status}`)
    t.ok(process.memoryUsage().rss - before < 256 * 1024 * 1024, `with status ${status} it takes little memory`)
  }
})

t.test('a query is not inflated at all', async t => {
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      if (answersPing(request, response)) return
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('{}'))
    })
  })
  const port = await freePort()
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => new Promise(resolve => server.close(resolve)))
  const store = new InfluxStore({ url: `http://127.0.0.1:${port}/x` })
  t.teardown(() => store.stop())
  await t.rejects(store.series({ limit: 1 }), { code: 'store_unavailable' })
})

t.test('words of a payload that InfluxDB repeats are not taken for its own', async t => {
  const good = point('m', [['t', 'good']], [['v', 1]], noon)
  const conflict =
    'field type conflict: input field "v" on measurement "m" is type float, already exists as type string'
  const words: readonly [string, string, string][] = [
    [
      'a conflict in the name of a tag beyond its limit',
      'partial write: max-values-per-tag limit exceeded (9/8): ',
      conflict,
    ],
    ['a partial write in a line', 'strange: ', `partial write: ${conflict} dropped=2`],
    ['points beyond retention in a line', 'strange: ', 'partial write: points beyond retention policy dropped=2'],
    ['a shard that is deleted in a line', 'strange: ', 'partial write: shard 7 is pending deletion'],
    ['a limit in a line', 'strange: ', 'partial write: max-series-per-database limit exceeded: (2) dropped=2'],
    ['a line that cannot be parsed in a line', 'strange: ', `\nunable to parse 'm,t=good v=1 ${noon}': bad`],
    ['a database that is gone', 'strange: ', 'database not found: "x"'],
  ]
  for (const [attempt, own, echo] of words) {
    const evil = point('m', [['t', echo]], [['v', 1]], noon)
    let writes = 0
    const store = await fake(t, (request, response) => {
      writes++
      // Refuses whatever holds the evil point, as long as it is not alone without it.
      const length = Number(request.headers['content-length'])
      if (length < 40) return response.writeHead(204).end()
      const error = `${own}measurement="m" tag="t" value=${JSON.stringify(echo)} dropped=1`
      return response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error }))
    })
    const refused = await store.write([good, evil])
    t.same(
      refused.map(({ index }) => index),
      [1],
      `${attempt}: the innocent point is stored`,
    )
    t.not(refused[0]?.reason, 'type_conflict', attempt)
    t.not(refused[0]?.reason, 'beyond_retention', attempt)
    t.ok(writes < 6, `${attempt}: ${writes} writes`)
    t.same(await store.write([good]), [], `${attempt}: and no type is learnt from it`)
  }
})
