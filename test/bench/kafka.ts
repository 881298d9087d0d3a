import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import mqtt from 'mqtt'
import { startHub } from '../harness.js'
import { type MockCluster, startMockKafka } from '../services/kafka.js'

/*
 * npm run bench -- kafka: the adapter of Kafka beside its client library alone, with the same messages, in one run; and a
 * whole hub that drains its spool into Kafka. On librdkafka's mock cluster, which keeps records in memory: it costs less
 * than a real one, so that what the hub adds shows the more. Turns alternate, as a machine is not always as fast.
 */

const messages = 200_000
const turns = 3
const target = 0.8

const sender = fileURLToPath(new URL('kafka-sender.js', import.meta.url))
const run = promisify(execFile)

export async function kafka(): Promise<void> {
  const rates: Record<string, number[]> = { client: [], message: [], batch: [], hub: [] }
  for (let turn = 0; turn < turns; turn++)
    for (const how of Object.keys(rates)) {
      // The mock keeps all that it was sent in memory, so each turn has one of its own.
      const cluster = await startMockKafka()
      try {
        const rate = how === 'hub' ? await ofHub(cluster) : await ofSender(cluster, how)
        rates[how]?.push(rate)
      } finally {
        await cluster.stop()
      }
    }
  const median = (how: string) => [...(rates[how] ?? [])].sort((a, b) => a - b)[Math.floor(turns / 2)] ?? 0
  const alone = median('client')
  told('client library alone', alone, '')
  for (const [how, what] of [
    ['message', 'adapter, envelope message'],
    ['batch', 'adapter, envelope batch'],
    ['hub', 'hub: spool to Kafka, envelope message'],
  ] as const) {
    const ratio = median(how) / alone
    const verdict = how === 'message' ? `, target ${target} ×: ${ratio >= target ? 'reached' : 'missed'}` : ''
    told(what, median(how), `, ${ratio.toFixed(2)} × the client alone${verdict}`)
  }
}

async function ofSender({ brokers }: MockCluster, how: string): Promise<number> {
  const { stdout } = await run(process.execPath, [sender, how, brokers, 'bench.', String(messages)])
  return (JSON.parse(stdout) as { perSecond: number }).perSecond
}

/** Messages a second from the first to the last that the brokers get, after all were in the spool. */
async function ofHub(cluster: MockCluster): Promise<number> {
  const ends: (() => unknown)[] = []
  try {
    const settings = { 'kafka.brokers': cluster.brokers, 'kafka.record': 'false', 'limits.inflight': '5000' }
    const hub = await startHub({ teardown: end => void ends.push(end) }, settings)
    await sleep(2_000)
    await cluster.down(1, 2, 3)
    const clients = 100
    const devices = await Promise.all(
      Array.from({ length: 20 }, (_, n) => mqtt.connectAsync(hub.mqttUrl, { clientId: `bench-${n}` })),
    )
    for (let at = 0; at < messages; at += 5_000)
      await Promise.all(
        Array.from({ length: 5_000 }, (_, i) => {
          const n = at + i
          const payload = `{"temperature":${n % 40},"humidity":${n % 100},"power":${n % 3_000}}`
          const device = devices[n % devices.length] as mqtt.MqttClient
          return device.publishAsync(`bench/floor-${n % 10}/meter-${n % clients}/telemetry`, payload, { qos: 1 })
        }),
      )
    await Promise.all(devices.map(device => device.endAsync()))
    const count = () =>
      cluster.produced.reduce((sum, { topic, count }) => sum + (topic.endsWith('telemetry') ? count : 0), 0)
    const before = count()
    await cluster.up(1, 2, 3)
    while (count() === before) await sleep(1)
    const [from, begin] = [count(), performance.now()]
    while (count() < messages) await sleep(5)
    return (1_000 * (count() - from)) / (performance.now() - begin)
  } finally {
    for (const end of ends) await end()
  }
}

function told(what: string, perSecond: number, more: string): void {
  console.log(`${what}: ${Math.round(perSecond).toLocaleString('en')}/s${more}`)
}
