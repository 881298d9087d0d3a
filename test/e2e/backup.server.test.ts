import { join } from 'node:path'
import t from 'tap'
import { connectMqtt, eventually, history, type RunningHub, runCli, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { startRabbit } from '../services/rabbitmq.js'
import { tempDir } from '../services/service.js'

/* Backup and restore of hubs whose queue is RabbitMQ, and whose store is InfluxDB: their own data are not in the backup. */

async function telehub(...args: string[]): Promise<string> {
  const run = runCli(args)
  t.equal(await run.exited, 0, run.stderr())
  return run.stdout()
}

async function published(hub: RunningHub, from: number, to: number): Promise<void> {
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'device' })
  for (let value = from; value < to; value++) await device.publishAsync('line/1', JSON.stringify({ value }), { qos: 1 })
  await device.endAsync()
}

const sheetOf = async (hub: RunningHub) => (await hub.get<Record<string, number>>('/api/balance')).body

/** Waits until all is stored, and looks whether nothing is missing. */
async function settled(hub: RunningHub, received: number): Promise<void> {
  await eventually(async () => (await sheetOf(hub)).stored === received, `${received} are stored`)
  t.match(await sheetOf(hub), { received, stored: received, spool: 0, queue: 0, dead: 0, residual: 0 })
}

const series = 'line,topic=line/1 value'
const numbers = (to: number) => Array.from({ length: to }, (_, n) => n)

t.test('a hub with RabbitMQ is backed up while messages wait in the queue, and goes on from the backup', async t => {
  const rabbit = await startRabbit()
  t.teardown(() => rabbit.stop())
  const settings = { 'rabbitmq.url': rabbit.url }
  const hub = await startHub(t, settings)
  await published(hub, 0, 300)
  const to = join(await tempDir(), 'backup')
  const made = await telehub('backup', to, '--data.dir', hub.dir, '--url', hub.httpUrl, '--rabbitmq.url', rabbit.url)
  t.match(made, /not in the backup: messages that wait in RabbitMQ/)
  await settled(hub, 300)
  t.equal(await hub.stop(), 0)
  const data = join(await tempDir(), 'data')
  t.match(JSON.parse(await telehub('restore', to, '--to', data, '--json')), { received: 300, dead: 0, residual: 0 })
  const copy = await startHub(t, settings, data)
  // What RabbitMQ had already handed to the original is in the spool of the cut, and is stored from there.
  await published(copy, 300, 310)
  await settled(copy, 310)
  t.same(await history(copy, series), numbers(310))
  t.equal(await copy.stop(), 0)
})

t.test('a hub with InfluxDB is backed up without its readings, and goes on writing to it', async t => {
  const influx = await startInflux()
  t.teardown(() => influx.stop())
  const settings = { 'influx.url': `${influx.url}/telehub` }
  const hub = await startHub(t, settings)
  await published(hub, 0, 200)
  await settled(hub, 200)
  const to = join(await tempDir(), 'backup')
  const made = await telehub(
    'backup',
    to,
    '--data.dir',
    hub.dir,
    '--url',
    hub.httpUrl,
    '--influx.url',
    settings['influx.url'],
  )
  t.match(made, /not in the backup: the readings in InfluxDB .*influxd backup/)
  t.equal(await hub.stop(), 0)
  const data = join(await tempDir(), 'data')
  t.match(JSON.parse(await telehub('restore', to, '--to', data, '--json')), { received: 200, stored: 200, residual: 0 })
  const copy = await startHub(t, settings, data)
  await published(copy, 200, 210)
  await settled(copy, 210)
  t.same(await history(copy, series), numbers(210))
  t.equal(await copy.stop(), 0)
})
