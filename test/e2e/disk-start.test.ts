import { execFileSync } from 'node:child_process'
import mqtt from 'mqtt'
import t from 'tap'
import { connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'
import { smallDisk } from '../services/small-disk.js'

/*
 * The real hub, started on a disk that takes no writes: it serves what it can, refuses publishes, and goes on by itself.
 */

interface Ready {
  readonly ready: boolean
  readonly alarms: readonly { readonly name: string }[]
}

/** Publishes until one is acknowledged, each over a connection of its own. */
async function publishOnceItWorks(hub: RunningHub, topic: string, payload: string): Promise<void> {
  await eventually(async () => {
    const client = await mqtt.connectAsync(hub.mqttUrl, { protocolVersion: 4, reconnectPeriod: 0 })
    client.on('error', () => {})
    const closed = new Promise<false>(resolve => client.once('close', () => resolve(false)))
    const acknowledged = client.publishAsync(topic, payload, { qos: 1 }).then(
      () => true,
      () => false,
    )
    const works = await Promise.race([acknowledged, closed])
    await client.endAsync(true)
    return works
  }, `${payload} is acknowledged`)
}

/** Resolves when a QoS 1 publish is answered by closing the connection. */
async function isRefused(hub: RunningHub): Promise<boolean> {
  const client = await mqtt.connectAsync(hub.mqttUrl, { protocolVersion: 4, reconnectPeriod: 0 })
  client.on('error', () => {})
  const closed = new Promise<true>(resolve => client.once('close', () => resolve(true)))
  const acknowledged = client.publishAsync('a', '{"value":0}', { qos: 1 }).then(
    () => false,
    () => true,
  )
  const refused = await Promise.race([closed, acknowledged])
  await client.endAsync(true)
  return refused
}

t.test('a new hub on a full disk serves, refuses publishes, and works once there is room', async t => {
  const disk = await smallDisk(t, 48e6)
  if (!disk) return t.pass('no file system can be mounted here; the fault-injecting file layer is the other test')
  disk.fill(0)
  const hub = await startHub(t, {}, disk.dir)
  t.match(hub.log(), /hub\.json could not be written: ENOSPC/)
  const listener = await connectMqtt(t, hub.mqttUrl)
  await listener.subscribeAsync('live')
  const heard = new Promise<string>(resolve => listener.once('message', (_topic, payload) => resolve(String(payload))))
  const other = await connectMqtt(t, hub.mqttUrl)
  t.ok(await isRefused(hub), 'a publish that would have to be kept is refused')
  t.equal((await fetch(`${hub.httpUrl}/healthz`)).status, 200)
  t.equal((await fetch(`${hub.httpUrl}/readyz`)).status, 503)
  disk.free()
  await eventually(async () => (await fetch(`${hub.httpUrl}/readyz`)).status === 200, 'ready')
  await other.publishAsync('live', 'again')
  t.equal(await heard, 'again', 'clients that were connected meanwhile go on')
  await publishOnceItWorks(hub, 'after', '{"value":1}')
  await eventually(async () => (await history(hub, 'after,topic=after value')).length === 1, 'stored')
  t.match(await hub.get<Ready>('/readyz'), { body: { ready: true } }, 'its admin key is written by now')
  t.equal(await hub.stop(), 0)
})

t.test('killed while the disk was full, it starts on the full disk with all that was acknowledged', async t => {
  const disk = await smallDisk(t, 48e6)
  if (!disk) return t.pass('no file system can be mounted here')
  const hub = await startHub(t, {}, disk.dir)
  const kept = await connectMqtt(t, hub.mqttUrl, { clientId: 'kept', clean: false })
  await kept.subscribeAsync('a', { qos: 1 })
  await kept.endAsync()
  for (let value = 1; value <= 5; value++) await publishOnceItWorks(hub, 'a', `{"value":${value}}`)
  disk.fill(0)
  await hub.kill()
  disk.fill(0)
  const again = await startHub(t, {}, disk.dir)
  t.equal((await fetch(`${again.httpUrl}/healthz`)).status, 200)
  disk.free()
  await publishOnceItWorks(again, 'a', '{"value":6}')
  const heard: string[] = []
  const back = mqtt.connect(again.mqttUrl, { clientId: 'kept', clean: false, protocolVersion: 4, reconnectPeriod: 50 })
  t.teardown(() => back.endAsync(true))
  back.on('error', () => {})
  back.on('message', (_topic, payload) => heard.push(String(payload)))
  await eventually(() => heard.includes('{"value":6}'), 'the kept session has all')
  for (let value = 1; value <= 6; value++) t.ok(heard.includes(`{"value":${value}}`), `${value}`)
  const stored = async () => new Set(await history(again, 'a,topic=a value'))
  await eventually(async () => (await stored()).size === 6, 'all are stored')
  t.equal(await again.stop(), 0)
})

t.test('on a read-only disk it serves, and takes publishes once it may write', async t => {
  const disk = await smallDisk(t, 48e6)
  if (!disk) return t.pass('no file system can be mounted here')
  const remount = (how: string) => execFileSync('mount', ['-o', `remount,${how}`, disk.dir])
  const hub = await startHub(t, {}, disk.dir)
  await publishOnceItWorks(hub, 'a', '{"value":1}')
  t.equal(await hub.stop(), 0)
  remount('ro')
  const again = await startHub(t, {}, disk.dir)
  t.match(again.log(), /cannot be locked \(.*\); publishes are refused until it is locked/)
  t.ok(await isRefused(again))
  t.equal((await fetch(`${again.httpUrl}/readyz`)).status, 503)
  remount('rw')
  await publishOnceItWorks(again, 'a', '{"value":2}')
  await eventually(async () => (await history(again, 'a,topic=a value')).length === 2, 'both are stored')
  t.match(again.log(), /is locked now/)
  t.equal(await again.stop(), 0)
})
