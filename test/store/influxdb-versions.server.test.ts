import { createServer } from 'node:http'
import t from 'tap'
import { InfluxStore } from '../../src/store/influxdb.js'
import { all, listed, noon, reading, storeContract, temperature } from '../contract/store.js'
import { connectMqtt, eventually, history, runCli, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { org, startInfluxThree, startInfluxTwo, token } from '../services/influxdb-versions.js'
import { freePort } from '../services/service.js'
import { startVictoriaMetrics } from '../services/victoria-metrics.js'

const influx = await startInflux()
t.teardown(() => influx.stop())
let databases = 0
const newName = () => `versions${process.pid}-${databases++}`
const hour = 3_600_000
const mode = 'telemetry,device=t,room=hall mode'

t.test('contract, over the API of InfluxDB 2', async t => {
  const { url, requests } = await startInfluxTwo(t, influx.url)
  storeContract(t, async () => {
    const bucket = newName()
    return () => new InfluxStore({ url: `${url}/${bucket}`, token, org })
  })
  t.teardown(() => {
    if (requests.some(one => one.endsWith(' /write'))) throw new Error('the API of 1.x was written to')
  })
})

t.test('contract, over the API of InfluxDB 3', async t => {
  const { url } = await startInfluxThree(t, influx.url)
  storeContract(t, async () => {
    const bucket = newName()
    return () => new InfluxStore({ url, token, bucket })
  })
})

t.test('a bucket that nothing maps is mapped, so that it can be asked', async t => {
  const { url, requests } = await startInfluxTwo(t, influx.url, false)
  const store = new InfluxStore({ url, token, org, bucket: newName() })
  t.teardown(() => store.stop())
  t.strictSame(await all(store, temperature), [], 'nothing is there yet')
  t.notMatch(requests, ['POST /api/v2/dbrps'])
  t.strictSame(await store.write([reading(noon, 1)]), [])
  t.strictSame(await all(store, temperature), [[noon, 1]])
  t.equal((await listed(store, 10)).length, 1)
  t.equal(requests.filter(one => one === 'POST /api/v2/dbrps').length, 1)
})

t.test('the time that a bucket of InfluxDB 2 keeps is read and changed', async t => {
  const { url } = await startInfluxTwo(t, influx.url)
  const store = new InfluxStore({ url: `${url}/${newName()}`, token, org })
  t.teardown(() => store.stop())
  t.equal(await store.policies.usual(), undefined, 'no bucket yet')
  await store.write([reading(noon, 1)])
  t.match(await store.policies.usual(), { keptMs: Number.POSITIVE_INFINITY })
  await store.policies.alter('', 720 * hour)
  t.match(await store.policies.usual(), { keptMs: 720 * hour })
  await store.policies.alter('', Number.POSITIVE_INFINITY)
  t.match(await store.policies.usual(), { keptMs: Number.POSITIVE_INFINITY })
})

t.test('what keeps a token from working is said', async t => {
  const two = await startInfluxTwo(t, influx.url)
  const three = await startInfluxThree(t, influx.url)
  for (const [options, message] of [
    [{ url: two.url, token: 'other', org }, /401: unauthorized access; check influx.token/],
    [{ url: two.url, token }, /is InfluxDB v2\.7\.12, which needs the organisation.*influx\.org/],
    [{ url: two.url, token, org: 'other' }, /404: organization name "other" not found/],
    [{ url: three.url }, /401: the request was not authenticated; check user and password/],
    [{ url: three.url, token: 'other' }, /401.*check influx.token/],
  ] as const) {
    const store = new InfluxStore(options)
    t.teardown(() => store.stop())
    await t.rejects(store.write([reading(noon, 1)]), { code: 'store_unavailable', message }, String(message))
  }
})

t.test('a server that is replaced by another version is found again after a failure', async t => {
  const name = newName()
  const two = await startInfluxTwo(t, influx.url)
  const three = await startInfluxThree(t, influx.url)
  let target = two.url
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', part => parts.push(part))
    request.on('end', async () => {
      const { method = 'GET', url = '/', headers } = request
      const body = method === 'GET' ? undefined : Buffer.concat(parts)
      const { authorization = '' } = headers
      const more = headers['content-type'] ? { 'content-type': headers['content-type'] } : {}
      const answer = await fetch(target + url, { method, headers: { authorization, ...more }, ...(body && { body }) })
      const version = answer.headers.get('x-influxdb-version')
      response.writeHead(answer.status, version ? { 'x-influxdb-version': version } : {})
      response.end(Buffer.from(await answer.arrayBuffer()))
    })
  })
  const port = await freePort()
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const store = new InfluxStore({ url: `http://127.0.0.1:${port}`, token, org, bucket: name })
  t.teardown(() => store.stop())
  t.strictSame(await store.write([reading(noon, 1)]), [])
  t.equal(await store.version(), 'v2.7.12')
  target = three.url
  await t.rejects(store.write([reading(noon, 2)]), { code: 'store_unavailable' })
  t.strictSame(await store.write([reading(noon, 2)]), [])
  t.equal(await store.version(), '3.8.0')
})

t.test('no user in the URL: nobody is named to the server', async t => {
  const seen: (string | undefined)[] = []
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization)
    request.resume().on('end', () => {
      response.setHeader('x-influxdb-version', '1.8.10')
      if (request.url?.startsWith('/query')) response.end('{"results":[{}]}')
      else response.writeHead(204).end()
    })
  })
  const port = await freePort()
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const store = new InfluxStore({ url: `http://127.0.0.1:${port}/x` })
  t.teardown(() => store.stop())
  await store.write([reading(noon, 1)])
  await all(store, temperature)
  t.ok(seen.length >= 4)
  t.strictSame(new Set(seen), new Set([undefined]))
  seen.length = 0
  const withToken = new InfluxStore({ url: `http://127.0.0.1:${port}/x`, token })
  t.teardown(() => withToken.stop())
  await withToken.write([reading(noon, 1)])
  t.strictSame(new Set(seen), new Set([`Token ${token}`]))
})

t.test('a hub with InfluxDB 2 and 3: stored, asked, ready; the doctor and store.keep say what holds', async t => {
  for (const [version, start] of [
    ['v2.7.12', startInfluxTwo],
    ['3.8.0', startInfluxThree],
  ] as const) {
    const server = await start(t, influx.url)
    const settings = {
      'influx.url': server.url,
      'influx.bucket': newName(),
      'influx.org': org,
      'store.keep': 'raw=30d',
    }
    const environment = { TELEHUB_INFLUX_TOKEN: token }
    const hub = await startHub(t, settings, undefined, environment)
    const device = await connectMqtt(t, hub.mqttUrl)
    await device.publishAsync('home/hall/t/telemetry', '{"value": 21.5, "mode": "auto"}', { qos: 1 })
    await eventually(async () => (await history(hub, mode)).length > 0, `the text is stored in ${version}`)
    t.strictSame(await history(hub, mode), ['auto'])
    const { body } = await hub.get<{ settings: { key: string; value: string }[] }>('/api/settings')
    t.equal(body.settings.find(({ key }) => key === 'influx.token')?.value, '***')
    t.notMatch(JSON.stringify(body), token)
    t.notMatch(hub.log(), token)
    await hub.stop()
    const args = [
      'doctor',
      '--data.dir',
      hub.dir,
      ...Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value]),
    ]
    const doctor = runCli(args, environment)
    await doctor.exited
    t.match(doctor.stdout(), `✓ InfluxDB: version ${version} answers`)
    t.match(doctor.stdout(), /✓ store identity: 1 of 1 last readings/)
    t.notMatch(doctor.stdout(), token)
  }
})

t.test('VictoriaMetrics is refused with a sentence; nothing is written, and nothing is lost', async t => {
  const { url, server } = await startVictoriaMetrics()
  t.teardown(() => server.stop())
  const store = new InfluxStore({ url: `${url}/telehub` })
  t.teardown(() => store.stop())
  const message = /does not say that it is InfluxDB.*VictoriaMetrics.*store texts as 0/
  await t.rejects(store.write([reading(noon, 'auto', 'mode')]), { code: 'store_unavailable', message })
  await t.rejects(all(store, temperature), { code: 'store_unavailable', message })

  const first = await startHub(t, { 'influx.url': `${url}/telehub` })
  const device = await connectMqtt(t, first.mqttUrl)
  await device.publishAsync('home/hall/t/telemetry', '{"value": 21.5, "mode": "auto"}', { qos: 1 })
  await eventually(() => message.test(first.log()), 'the log says so')
  const ready = await first.get<unknown>('/readyz')
  t.match(JSON.stringify(ready.body), message)
  const doctor = runCli(['doctor', '--data.dir', first.dir, '--influx.url', url])
  await doctor.exited
  t.match(doctor.stdout(), /✗ InfluxDB: .*does not say that it is InfluxDB/)
  const names = await (await fetch(`${url}/api/v1/label/__name__/values`)).json()
  t.strictSame((names as { data: string[] }).data, [], 'VictoriaMetrics has nothing')
  await first.stop()

  const bucket = newName()
  const second = await startHub(t, { 'influx.url': `${influx.url}/${bucket}` }, first.dir)
  await eventually(async () => (await history(second, mode)).length > 0, 'the spool had kept the message')
  t.strictSame(await history(second, mode), ['auto'])
})
