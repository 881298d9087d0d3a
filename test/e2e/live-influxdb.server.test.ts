import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { EventStream } from '../clients/event-stream.js'
import { asAdmin, connectMqtt, eventually, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'

interface Told {
  readonly series: string
  readonly times?: readonly number[]
  readonly values: readonly unknown[]
}

interface LiveValue {
  readonly series: string
  readonly value: unknown
  readonly time?: number
}

/** What a receiver was told: value by series and time, and what came more than once. */
function told(stream: EventStream) {
  const all = new Map<string, unknown>()
  const twice: string[] = []
  const conflicts: string[] = []
  const tell = (series: string, time: number, value: unknown) => {
    const key = `${series} ${time}`
    if (all.has(key)) (all.get(key) === value ? twice : conflicts).push(key)
    all.set(key, value)
  }
  for (const { event, data } of stream.events) {
    if (event === 'history') {
      const { series, times = [], values } = JSON.parse(data) as Told
      for (const [i, time] of times.entries()) tell(series, time, values[i])
    } else if (event === 'live') {
      const reading = JSON.parse(data) as { readonly time: number; readonly values: readonly LiveValue[] }
      for (const { series, value, time = reading.time } of reading.values) tell(series, time, value)
    }
  }
  return { all, twice, conflicts }
}

t.test('history of InfluxDB and live readings join without a gap; what comes twice is the same', async t => {
  const influx = await startInflux()
  t.teardown(() => influx.stop())
  let hub = await startHub(t, { 'influx.url': `${influx.url}/joined` })
  const streams: EventStream[] = []
  t.teardown(() => {
    for (const stream of streams) stream.close()
  })
  const begin = Date.now() - 3_600_000
  let sent = 0
  for (let round = 0; round < 3; round++) {
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'source' })
    for (let step = 0; step < 10; step++) {
      const some = Array.from({ length: 30 }, () => sent++)
      const publish = (n: number) =>
        device.publishAsync(`plant/line${n % 3}/press`, JSON.stringify({ time: begin + n * 10, level: n }), { qos: 1 })
      await Promise.all(some.map(publish))
      // Feeds begin while the store writes, and right after a restart.
      const url = `${hub.httpUrl}/api/live?topic=plant/%23&history=2h&points=10000`
      if (step % 3 === 0) streams.push(new EventStream(url, asAdmin(hub.dir)))
      await sleep(40)
    }
    const newest = streams.slice(-4)
    const hasAll = () => newest.every(stream => told(stream).all.size === sent)
    await eventually(hasAll, 'the newest receivers have everything').catch(error => {
      t.fail(`${newest.map(stream => told(stream).all.size)} of ${sent}`, { error })
    })
    for (const stream of newest) {
      const { twice, conflicts } = told(stream)
      t.same(conflicts, [], 'nothing is told in two ways')
      t.equal(stream.of('gap').length, 0)
      t.comment(`${twice.length} of ${sent} came twice`)
    }
    if (round === 2) break
    await device.endAsync(true)
    await hub.kill()
    hub = await startHub(t, { 'influx.url': `${influx.url}/joined` }, hub.dir)
  }
})
