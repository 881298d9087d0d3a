import { createServer, type RequestListener } from 'node:http'
import { gunzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { InfluxStore } from '../../src/store/influxdb.js'
import { all, noon, point, reading, storeContract, temperature } from '../contract/store.js'
import { eventually } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
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

t.test('a type that only InfluxDB knows of is a conflict too', async t => {
  const url = newDatabase()
  const one = new InfluxStore({ url })
  const two = new InfluxStore({ url })
  t.teardown(() => Promise.all([one.stop(), two.stop()]))
  await one.write([reading(noon, 1)])
  await two.write([reading(noon, 1)])
  await one.write([reading(noon, 'text', 'state')])
  const batch = [reading(noon, 2), reading(noon, 5, 'state'), reading(noon + 1, 3)]
  t.match(await two.write(batch), [{ index: 1, reason: 'type_conflict', detail: /field type conflict/ }])
  t.equal((await all(two, temperature)).length, 2)
  t.match(await two.write(batch), [{ index: 1, reason: 'type_conflict', detail: /is fixed to text/ }])
})

t.test('a database that is dropped is created again by the next write', async t => {
  const url = newDatabase()
  const store = new InfluxStore({ url })
  t.teardown(() => store.stop())
  await store.write([reading(noon, 1)])
  const drop = new URLSearchParams({ q: `DROP DATABASE "${new URL(url).pathname.slice(1)}"` })
  t.ok((await fetch(`${influx.url}/query`, { method: 'POST', body: drop })).ok)
  // While the shards of the old one are closing InfluxDB answers with passing errors, which the callers repeat.
  t.strictSame(await eventually(() => all(store, temperature), 'a history again'), [])
  t.strictSame(await eventually(() => store.series(10), 'series again'), [])
  t.strictSame(await eventually(() => store.write([reading(noon, 2)]), 'a write again'), [])
  t.strictSame(await all(store, temperature), [[noon, 2]])
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
    await t.rejects(store.series(1), { code: 'store_unavailable' })
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
      const body = Buffer.concat(parts)
      authorizations.push(request.headers.authorization)
      if (!request.url?.startsWith('/write')) return query(request, response)
      bodies.push(gunzipSync(body).toString())
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
    [401, '{"error":"authorization failed"}', /401.*authorization failed/],
    [403, '{"error":"not authorized to write"}', /403.*not authorized/],
    [500, '{"error":"timeout"}', /500.*timeout/],
    [502, '<html>Bad gateway</html>', /502.*Bad gateway/],
    [429, '', /429.*no reason given/],
    [404, '{"error":"no such page"}', /404.*no such page/],
  ] as const) {
    const { host } = await scripted(t, answer(status, body))
    const store = new InfluxStore({ url: `http://${host}/telehub` })
    await t.rejects(store.write([reading(noon, 1)]), { code: 'store_unavailable', message }, String(status))
    await store.stop()
  }
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

t.test('user name and password of the url go along, on writes and queries', async t => {
  const { host, authorizations } = await scripted(t, answer(204, ''))
  const store = new InfluxStore({ url: `http://us%40er:p%3Ass@${host}/telehub` })
  t.teardown(() => store.stop())
  await store.write([reading(noon, 1)])
  await all(store, temperature)
  const expected = `Basic ${Buffer.from('us@er:p:ss').toString('base64')}`
  t.strictSame(authorizations, [expected, expected, expected])
})

t.test('stop gives up what is under way', async t => {
  const { host } = await scripted(t, hang)
  const store = new InfluxStore({ url: `http://${host}/telehub` })
  const write = t.rejects(store.write([reading(noon, 1)]), { code: 'store_unavailable', message: /stopped/ })
  await new Promise(resolve => setTimeout(resolve, 50))
  await store.stop()
  await write
})
