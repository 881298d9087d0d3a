import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import mqtt from 'mqtt'
import t from 'tap'
import { connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'
import { freePort, tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

const padding = 'x'.repeat(2_000)

/** A device that sends one reading after the other, each until it is acknowledged. */
function device(test: { teardown(end: () => unknown): void }, url: string) {
  const client = mqtt.connect(url, { protocolVersion: 4, clientId: 'dev', clean: false, reconnectPeriod: 50 })
  client.on('error', () => {})
  let closed = 0
  client.on('close', () => closed++)
  test.teardown(() => client.endAsync(true).catch(() => {}))
  const acknowledged: number[] = []
  let running = true
  const sending = (async () => {
    for (let value = 0; running; value++) {
      await client.publishAsync('full', JSON.stringify({ value, padding }), { qos: 1 })
      acknowledged.push(value)
    }
  })()
  return {
    acknowledged,
    closed: () => closed,
    finish: async () => {
      running = false
      await sending
    },
  }
}

async function refused(hub: Pick<RunningHub, 'httpUrl'>, reason = 'spool_failed'): Promise<number> {
  const text = await (await fetch(`${hub.httpUrl}/metrics`)).text()
  return Number(new RegExp(`^telehub_refused_total\\{reason="${reason}"\\} (\\d+)$`, 'm').exec(text)?.[1] ?? 0)
}

async function storedValues(hub: RunningHub, wanted: readonly number[]): Promise<number[]> {
  return (await eventually(async () => {
    const found = await history(hub, 'full,topic=full value')
    return found.length >= wanted.length && found
  }, 'all that was acknowledged is stored')) as number[]
}

t.test('a full disk: nothing is acknowledged, the hub stays up, and all goes on when there is room', async t => {
  const disk = await smallDisk(t, 32e6)
  if (!disk) {
    t.pass('no file system can be mounted here; the limit of a file is the other test')
    return
  }
  const hub = await startHub(t, { 'spool.segment': '1MB' }, disk.dir)
  const dev = device(t, hub.mqttUrl)
  await eventually(() => dev.acknowledged.length > 20, 'it runs')
  disk.fill(300_000)
  await eventually(async () => (await refused(hub)) > 0, 'publishes are refused')
  const full = (ask: () => unknown, what: string) =>
    eventually(() => {
      disk.fill(0)
      return ask()
    }, what)
  await full(() => dev.closed() > 2, 'and not acknowledged: the connection is closed, again and again')
  const other = await connectMqtt(t, hub.mqttUrl, { clientId: 'other' })
  const before = await refused(hub)
  for (let n = 0; n < 20; n++) await other.publishAsync('qos0', `{"value":${n},"padding":"${padding}"}`)
  await full(async () => (await refused(hub)) >= before + 20, 'QoS 0 is counted')
  t.ok(other.connected, 'and its sender stays')
  t.equal((await hub.get('/healthz')).status, 200)
  await full(async () => (await hub.get('/readyz')).status === 503, 'not ready')
  t.match(await hub.get('/readyz'), { body: { ready: false } })
  const held = dev.acknowledged.length

  disk.free()
  await eventually(() => dev.acknowledged.length > held + 20, 'the same device goes on')
  await eventually(async () => (await hub.get('/readyz')).status === 200, 'ready again')
  await dev.finish()
  const stored = await storedValues(hub, dev.acknowledged)
  t.same(stored, dev.acknowledged, 'each once, in order')

  disk.fill(0)
  await eventually(async () => (await hub.get('/readyz')).status === 200, 'full, and nobody has noticed').catch(
    () => {},
  )
  await hub.kill()
  disk.free()
  const again = await startHub(t, {}, disk.dir)
  t.same(await storedValues(again, dev.acknowledged), dev.acknowledged)
})

t.test('a spool at its limit: refused as by a full disk, until its backlog is drained', async t => {
  const port = String(await freePort())
  // A store that does not answer: nothing is drained.
  const influx = `http://127.0.0.1:${await freePort()}/telehub`
  const hub = await startHub(t, { 'mqtt.port': port, 'influx.url': influx, 'spool.limit': '1MB' })
  const dev = device(t, hub.mqttUrl)
  await eventually(async () => (await refused(hub, 'spool_full')) > 2, 'publishes are refused')
  await eventually(() => dev.closed() > 1, 'and not acknowledged')
  const held = dev.acknowledged.length
  t.ok(held > 100 && held < 500, `${held} messages of 2 KB fit`)
  const other = await connectMqtt(t, hub.mqttUrl, { clientId: 'other' })
  const before = await refused(hub, 'spool_full')
  for (let n = 0; n < 20; n++) await other.publishAsync('qos0', '1')
  await eventually(async () => (await refused(hub, 'spool_full')) >= before + 20, 'QoS 0 is counted')
  t.match(await hub.get('/readyz'), { status: 503, body: { ready: false } })
  await hub.kill()
  const drained = await startHub(t, { 'mqtt.port': port, 'spool.limit': '1MB' }, hub.dir)
  await eventually(() => dev.acknowledged.length > held + 20, 'the same device goes on')
  await dev.finish()
  t.same(await storedValues(drained, dev.acknowledged), dev.acknowledged, 'each once, in order')
})

t.test('a file that cannot grow: that group is refused, sent again, and goes to a new file', async t => {
  const dir = await tempDir()
  const cli = fileURLToPath(new URL('../../bundle/cli.js', import.meta.url))
  const settings = { 'mqtt.port': '0', 'http.port': '0', 'data.dir': dir }
  const flags = Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value])
  // Blocks of 512 bytes. Without the trap the signal would end it.
  const script = 'trap "" XFSZ; ulimit -f 4000; exec "$@"'
  const child = spawn('sh', ['-c', script, 'sh', process.execPath, cli, 'start', ...flags], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  t.teardown(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
  })
  let stdout = ''
  child.stdout.on('data', chunk => {
    stdout += chunk
  })
  const ready = await eventually(() => /^telehub ready .*$/m.exec(stdout)?.[0], 'ready')
  const mqttUrl = /mqtt:\/\/\S+/.exec(ready)?.[0] ?? ''
  const httpUrl = /http:\/\/\S+/.exec(ready)?.[0] ?? ''
  const dev = device(t, mqttUrl)
  await eventually(async () => (await refused({ httpUrl })) > 0, 'a group is refused')
  const held = dev.acknowledged.length
  await eventually(() => dev.acknowledged.length > held + 50, 'and the device goes on')
  await dev.finish()
  t.ok(dev.closed() > 0)
  execFileSync('kill', ['-9', String(child.pid)])
  await once(child, 'close')
  const hub = await startHub(t, {}, dir)
  t.same(await storedValues(hub, dev.acknowledged), dev.acknowledged, 'each once, in order')
})
