import { createServer, type RequestListener } from 'node:http'
import { gunzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import type { Tags } from '../../src/model.js'
import { InfluxStore } from '../../src/store/influxdb.js'
import { all, listed, noon, point, reading, storeContract, temperature } from '../contract/store.js'
import { eventually } from '../harness.js'
import { answersPing, startInflux } from '../services/influxdb.js'
import { freePort } from '../services/service.js'

const influx = await startInflux()
t.teardown(() => influx.stop())
let databases = 0

function newDatabase(): string {
  return `${influx.url}/test${process.pid}-${databases++}`
}

t.test('contract', async t => {
  storeContract(t, async () => {
    const url = newDatabase()
    return () => new InfluxStore({ url })
  })
})

t.test('what InfluxDB itself refuses stands alone, with its own words', async t => {
  const store = new InfluxStore({ url: newDatabase() })
  t.teardown(() => store.stop())
  const long = 'x'.repeat(70_000)
  const rejected = await store.write([
    reading(noon, 1),
    reading(noon + 1, 2),
    point('climate', [['device', long]], [['temperature', 3]], noon),
    reading(noon + 2, 4),
  ])
  t.match(rejected, [{ index: 2, reason: 'store_refused', detail: /max key length/ }])
  t.equal((await all(store, temperature)).length, 3)
})

t.test('a type that only InfluxDB knows of sends a value to the field beside it', async t => {
  const url = newDatabase()
  const one = new InfluxStore({ url })
  const two = new InfluxStore({ url })
  t.teardown(() => Promise.all([one.stop(), two.stop()]))
  await one.write([reading(noon, 1)])
  await two.write([reading(noon, 1)])
  await one.write([reading(noon, 'text', 'state')])
  const batch = [reading(noon, 2), reading(noon, 5, 'state'), reading(noon + 1, 3)]
  t.strictSame(await two.write(batch), [])
  t.equal((await all(two, temperature)).length, 2)
  t.strictSame(await all(two, { ...temperature, field: 'state_num' }), [[noon, 5]])
  t.strictSame(await two.write(batch), [])
  t.strictSame(await all(two, { ...temperature, field: 'state_num' }), [[noon, 5]])
})

t.test('integers of another program: whole numbers are stored as such, others in the field beside', async t => {
  const url = newDatabase()
  const first = new InfluxStore({ url })
  t.teardown(() => first.stop())
  await first.write([reading(noon, 1, 'other')])
  const [, database] = /\/([^/]+)$/.exec(url) ?? []
  const telegraf = `climate,device=d1 battery=93i ${noon}\n`
  const wrote = await fetch(`${influx.url}/write?db=${database}&precision=u`, { method: 'POST', body: telegraf })
  t.equal(wrote.status, 204)
  const tags: Tags = [['device', 'd1']]
  const batch = [
    point(
      'climate',
      tags,
      [
        ['battery', 92],
        ['humidity', 40],
        ['temperature', 21.5],
      ],
      noon + 1,
    ),
    point(
      'climate',
      tags,
      [
        ['battery', 91.5],
        ['humidity', 41],
      ],
      noon + 2,
    ),
    point(
      'climate',
      tags,
      [
        ['battery', -0],
        ['humidity', 42],
      ],
      noon + 3,
    ),
    point(
      'climate',
      tags,
      [
        ['battery', 2 ** 60],
        ['humidity', 43],
      ],
      noon + 4,
    ),
    point(
      'climate',
      tags,
      [
        ['battery', 'low'],
        ['humidity', 44],
      ],
      noon + 5,
    ),
  ]
  // The first store learns the type from a refusal, the second one when it begins.
  for (const store of [first, new InfluxStore({ url })]) {
    t.teardown(() => store.stop())
    t.strictSame(await store.write(batch), [])
    t.strictSame(await all(store, { ...temperature, field: 'battery' }), [
      [noon, 93],
      [noon + 1, 92],
      [noon + 3, 0],
    ])
    t.strictSame(await all(store, { ...temperature, field: 'battery_num' }), [
      [noon + 2, 91.5],
      [noon + 4, 2 ** 60],
    ])
    t.strictSame(await all(store, { ...temperature, field: 'battery_str' }), [[noon + 5, 'low']])
    t.equal((await all(store, { ...temperature, field: 'humidity' })).length, 5)
    t.equal((await listed(store, 100)).find(({ field }) => field === 'battery')?.type, 'number')
  }
  const query = new URLSearchParams({ q: 'SHOW FIELD KEYS', db: String(database) })
  const kinds = await (await fetch(`${influx.url}/query`, { method: 'POST', body: query })).text()
  t.match(kinds, '["battery","integer"]')
  t.notMatch(kinds, '["battery","float"]', 'no second type of the field')
})

t.test('a database that is dropped is created again by the next write, which is reported', async t => {
  const url = newDatabase()
  const reports: string[] = []
  const store = new InfluxStore({ url, incidents: { report: kind => reports.push(kind) } })
  t.teardown(() => store.stop())
  await store.write([reading(noon, 1)])
  const drop = new URLSearchParams({ q: `DROP DATABASE "${new URL(url).pathname.slice(1)}"` })
  t.ok((await fetch(`${influx.url}/query`, { method: 'POST', body: drop })).ok)
  // While the shards of the old one are closing InfluxDB answers with passing errors, which the callers repeat.
  t.strictSame(await eventually(() => all(store, temperature), 'a history again'), [])
  t.strictSame(await eventually(() => listed(store, 10), 'series again'), [])
  t.strictSame(await eventually(() => store.write([reading(noon, 2)]), 'a write again'), [])
  t.strictSame(await all(store, temperature), [[noon, 2]])
  t.strictSame(reports, ['store_dropped'], 'that it was made in the first place is no loss')
})

t.test('a name with a space and a quote is a database name', async t => {
  const name = `te"st ${process.pid}`
  const store = new InfluxStore({ url: `${influx.url}/${encodeURIComponent(name)}` })
  t.teardown(() => store.stop())
  await store.write([reading(noon, 2)])
  t.strictSame(await all(store, temperature), [[noon, 2]])
})

t.test('a server that is down: start resolves, the rest says so until it is back', async t => {
  if (process.env.TEST_INFLUX_URL) return t.comment('the server of TEST_INFLUX_URL is not ours to kill')
  const store = new InfluxStore({ url: newDatabase() })
  t.teardown(() => store.stop())
  await store.write([reading(noon, 1)])
  await influx.kill()
  await store.start()
  for (let attempt = 0; attempt < 2; attempt++) {
    await t.rejects(store.write([reading(noon + 1, 2)]), { code: 'store_unavailable', message: /ECONNREFUSED/ })
    await t.rejects(all(store, temperature), { code: 'store_unavailable', message: /ECONNREFUSED/ })
    await t.rejects(store.series({ limit: 1 }), { code: 'store_unavailable' })
  }
  await influx.restart()
  t.strictSame(await store.write([reading(noon + 1, 2)]), [])
  t.strictSame(await all(store, temperature), [
    [noon, 1],
    [noon + 1, 2],
  ])
})

/** A server that answers queries with nothing and writes as told; what it was sent is in `bodies`. */
async function scripted(t: Test, write: RequestListener, query: RequestListener = answerNothing) {
  const bodies: string[] = []
  const authorizations: (string | undefined)[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', part => parts.push(part))
    request.on('end', () => {
      if (answersPing(request, response)) return undefined
      const body = Buffer.concat(parts)
      authorizations.push(request.headers.authorization)
      if (!request.url?.startsWith('/write')) return query(request, response)
      bodies.push((request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString())
      return write(request, response)
    })
  })
  const port = await freePort()
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    return new Promise(resolve => server.close(resolve))
  })
  return { host: `127.0.0.1:${port}`, bodies, authorizations }
}

const answerNothing: RequestListener = (_, response) => response.end('{"results":[{}]}')

function answer(status: number, body: string): RequestListener {
  return (_, response) => response.writeHead(status).end(body)
}

const hang: RequestListener = () => {}

/** The headers and half of a body, then the connection is gone or silent. */
function headersThen(status: number, end: boolean): RequestListener {
  return (_, response) => {
    response.writeHead(status, { 'content-length': '100' })
    response.write('{"results":[', () => end && setImmediate(() => response.destroy()))
  }
}

t.test('every answer that is not about a point is store_unavailable, with status and words', async t => {
  for (const [status, body, message] of [
    [200, 'Welcome', /200: Welcome; .*check host and path in influx.url/],
    [301, '', /301: no reason given; check protocol and host in influx.url/],
    [400, '<html>The plain HTTP request was sent to HTTPS port', /400.*plain HTTP/],
    [400, '{"error":"partial write: shard 3 is pending deletion dropped=2"}', /400.*pending deletion/],
    [401, '{"error":"authorization failed"}', /401: authorization failed; check user and password in influx.url/],
    [403, '{"error":"not authorized to write"}', /403: not authorized to write; check user and password in influx.url/],
    [500, '{"error":"timeout"}', /500.*timeout/],
    [502, '<html>Bad gateway</html>', /502.*Bad gateway/],
    [429, '', /429.*no reason given/],
    [404, '{"error":"no such page"}', /404: no such page; check host and path in influx.url/],
  ] as const) {
    const { host, bodies } = await scripted(t, answer(status, body))
    const store = new InfluxStore({ url: `http://${host}/telehub` })
    const batch = [reading(noon, 1), reading(noon + 1, 2)]
    await t.rejects(store.write(batch), { code: 'store_unavailable', message }, String(status))
    t.equal(bodies.length, 1, 'no part of it is tried')
    await store.stop()
  }
})

t.test('the pause a server asks for goes along, as seconds or as a date', async t => {
  const date = 'Tue, 14 Nov 2023 22:13:20 GMT'
  for (const [status, after, expected] of [
    [429, '7', 7_000],
    [503, '120', 120_000],
    [503, 'Tue, 14 Nov 2023 22:13:25 GMT', 5_000],
    [503, 'Tue, 14 Nov 2023 22:13:00 GMT', 0],
    [429, 'soon', undefined],
  ] as const) {
    const refuse: RequestListener = (_, response) =>
      response.writeHead(status, { 'retry-after': after, date }).end('{"error":"busy"}')
    const writing = await scripted(t, refuse)
    const writer = new InfluxStore({ url: `http://${writing.host}/telehub` })
    t.teardown(() => writer.stop())
    const error = await writer.write([reading(noon, 1)]).catch(error => error)
    t.match(error, { code: 'store_unavailable', message: new RegExp(`${status}: busy`) })
    t.equal(error.retryAfterMs, expected, `${status} ${after}`)
    // The client for queries keeps nothing of an answer of 500 or more.
    if (status !== 429) continue
    const querying = await scripted(t, answer(204, ''), refuse)
    const reader = new InfluxStore({ url: `http://${querying.host}/telehub` })
    t.teardown(() => reader.stop())
    const refused = await all(reader, temperature).catch(error => error)
    t.match(refused, { code: 'store_unavailable', message: /429: busy/ })
    t.equal(refused.retryAfterMs, expected)
  }
})

t.test('a database that is missing and cannot be created is told in the words of the refusal', async t => {
  const missing = answer(404, '{"error":"database not found: \\"telehub\\""}')
  let creations = 0
  const refusals: [RequestListener, RegExp][] = [
    [answer(403, '{"error":"requires admin privilege"}'), /no database 'telehub'.*failed.*requires admin privilege/],
    [answer(200, '{"results":[{"error":"disk is full"}]}'), /no database 'telehub'.*failed.*disk is full/],
    [answer(200, '{"results":[{}]}'), /no database 'telehub'/],
    [headersThen(200, true), /no database 'telehub'.*failed/],
    [hang, /no database 'telehub'.*failed.*no answer within/],
  ]
  for (const [refuse, message] of refusals) {
    let queries = 0
    const { host, bodies } = await scripted(t, missing, (request, response) => {
      if (queries++ === 0) return answerNothing(request, response)
      creations++
      return refuse(request, response)
    })
    const store = new InfluxStore({ url: `http://${host}/telehub`, timeoutMs: 500 })
    t.teardown(() => store.stop())
    await t.rejects(store.write([reading(noon, 1)]), { code: 'store_unavailable', message }, String(message))
    t.ok(bodies.length <= 2, 'it is not tried for ever')
  }
  t.ok(creations >= refusals.length)
})

t.test('silence, before or after the headers, ends at the time limit; a lost connection at once', async t => {
  for (const [name, listener] of [
    ['hang', hang],
    ['silent after the headers', headersThen(204, false)],
    ['silent after the headers of an error', headersThen(500, false)],
    ['cut after the headers', headersThen(200, true)],
    ['cut after the headers of an error', headersThen(503, true)],
  ] as const) {
    const writing = await scripted(t, listener)
    const store = new InfluxStore({ url: `http://${writing.host}/telehub`, timeoutMs: 300 })
    await t.rejects(store.write([reading(noon, 1)]), { code: 'store_unavailable' }, `write: ${name}`)
    await store.stop()
    const reading_ = await scripted(t, answer(204, ''), listener)
    const reader = new InfluxStore({ url: `http://${reading_.host}/telehub`, timeoutMs: 300 })
    await t.rejects(all(reader, temperature), { code: 'store_unavailable' }, `read: ${name}`)
    await t.rejects(reader.write([reading(noon, 1)]), { code: 'store_unavailable' }, `types: ${name}`)
    await reader.stop()
  }
})

t.test('a batch that is too large is halved until it fits', async t => {
  const { host, bodies } = await scripted(t, (request, response) => {
    const lines = bodies.at(-1)?.trim().split('\n').length ?? 0
    answer(lines > 3 ? 413 : 204, '{"error":"Request Entity Too Large"}')(request, response)
  })
  const store = new InfluxStore({ url: `http://${host}/telehub` })
  t.teardown(() => store.stop())
  t.strictSame(await store.write(Array.from({ length: 10 }, (_, i) => reading(noon + i, i))), [])
  const fitting = bodies.map(body => body.trim().split('\n')).filter(lines => lines.length <= 3)
  t.strictSame(
    fitting.flat().map(line => Number(line.split(' ').at(-1)) - noon),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  )
})

t.test('no body is larger than five million bytes, and the order stays', async t => {
  const { host, bodies } = await scripted(t, answer(204, ''))
  const store = new InfluxStore({ url: `http://${host}/telehub` })
  t.teardown(() => store.stop())
  const texts = [...Array(30).fill('温'.repeat(100_000)), 'x'.repeat(6_000_000), 'last']
  t.strictSame(await store.write(texts.map((text, i) => reading(noon + i, text, 'text'))), [])
  const lines = bodies.map(body => body.trim().split('\n'))
  t.strictSame(
    lines.flat().map(line => Number(line.split(' ').at(-1)) - noon),
    texts.map((_, i) => i),
  )
  t.ok(bodies.every((body, i) => Buffer.byteLength(body) <= 5_000_000 || lines[i]?.length === 1))
  t.ok(bodies.length <= 5, `${bodies.length} bodies`)
})

t.test('a failure between the parts of a batch means that all of it is to be written again', async t => {
  const { host, bodies } = await scripted(t, (request, response) =>
    answer(bodies.length === 2 ? 500 : 204, '')(request, response),
  )
  const store = new InfluxStore({ url: `http://${host}/telehub` })
  t.teardown(() => store.stop())
  const batch = [0, 1, 2].map(i => reading(noon + i, 'x'.repeat(4_000_000), 'text'))
  await t.rejects(store.write(batch), { code: 'store_unavailable' })
  t.equal(bodies.length, 2)
  t.strictSame(await store.write(batch), [])
  t.equal(bodies.length, 5)
})

t.test('unparsable lines, of a server that then stores nothing: the others are written again', async t => {
  const { host, bodies } = await scripted(t, (request, response) => {
    const bad = bodies
      .at(-1)
      ?.split('\n')
      .find(line => line.includes('temperature=1 '))
    // As InfluxDB 2 has it: the others are stored only when the words speak of a partial write.
    const words = `unable to parse '${bad}': it's: 'bad'`
    answer(bad ? 400 : 204, JSON.stringify({ code: 'invalid', message: words }))(request, response)
  })
  const store = new InfluxStore({ url: `http://${host}/telehub` })
  t.teardown(() => store.stop())
  const batch = [reading(noon, 0), reading(noon + 1, 1), reading(noon + 2, 2)]
  t.match(await store.write(batch), [{ index: 1, reason: 'store_refused', detail: /^unable to parse .*'bad'$/ }])
  t.strictSame(
    bodies.slice(1).map(body => body.trim().split('\n').length),
    [2],
  )
})

t.test(
  'words that name no point: halves, until the bad ones stand alone, in no more requests than that takes',
  async t => {
    const { host, bodies } = await scripted(t, (request, response) => {
      const bad = /temperature=(77|78|500) /.test(bodies.at(-1) ?? '')
      answer(bad ? 422 : 204, '{"code":"unprocessable entity","message":"it does not please"}')(request, response)
    })
    const store = new InfluxStore({ url: `http://${host}/telehub` })
    t.teardown(() => store.stop())
    const rejected = await store.write(Array.from({ length: 1_024 }, (_, i) => reading(noon + i, i)))
    t.strictSame(
      rejected,
      [77, 78, 500].map(index => ({ index, reason: 'store_refused', detail: 'it does not please' })),
    )
    t.ok(bodies.length <= 61, `${bodies.length} requests`)
    const last = new Map(
      bodies.flatMap((body, i) =>
        body
          .trim()
          .split('\n')
          .map(line => [line, i] as const),
      ),
    )
    t.equal(last.size, 1_024)
  },
)

t.test('user name and password of the url go along, on writes and queries', async t => {
  const { host, authorizations } = await scripted(t, answer(204, ''))
  const store = new InfluxStore({ url: `http://us%40er:p%3Ass@${host}/telehub` })
  t.teardown(() => store.stop())
  await store.write([reading(noon, 1)])
  await all(store, temperature)
  const expected = `Basic ${Buffer.from('us@er:p:ss').toString('base64')}`
  t.strictSame(authorizations, [expected, expected, expected])
})

t.test('stop gives up what is under way, in whatever it hangs, and what waits behind it', async t => {
  const missing = answer(404, '{"error":"database not found"}')
  for (const [name, write, queries] of [
    ['the types', answer(204, ''), []],
    ['a write', hang, [answerNothing]],
    ['an answer', headersThen(400, false), [answerNothing]],
    ['a creation', missing, [answerNothing]],
  ] as const) {
    const asked: string[] = []
    const { host } = await scripted(
      t,
      (request, response) => {
        asked.push('write')
        return write(request, response)
      },
      (request, response) => (queries[asked.push('query') - 1] ?? hang)(request, response),
    )
    const store = new InfluxStore({ url: `http://${host}/telehub` })
    const writes = [0, 1].map(i => t.rejects(store.write([reading(noon, i)]), { message: /stopped/ }, name))
    const hanging = { 'the types': 1, 'a write': 2, 'an answer': 2, 'a creation': 3 }[name]
    await eventually(() => asked.length === hanging, 'what hangs was asked')
    await store.stop()
    await Promise.all(writes)
    await t.rejects(store.write([reading(noon, 1)]), { code: 'store_unavailable', message: /stopped/ })
    t.equal(asked.length, hanging, 'nobody is asked after the stop')
  }
})
