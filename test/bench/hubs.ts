import { setTimeout as sleep } from 'node:timers/promises'
import { eventually, type RunningHub, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { startRabbit } from '../services/rabbitmq.js'
import { type Generator, startGenerator } from './generator.js'
import { monotonicMicros } from './wire.js'

/*
 * npm run bench -- hubs [--seconds 10]: what a second hub costs and gives, with one RabbitMQ. Publishers of QoS 1 with a
 * full window at the first hub, and one subscriber of everything: at the same hub, at the other one, or nowhere.
 */

interface Case {
  readonly name: string
  readonly hubs: 1 | 2
  /** Index of the hub with the subscriber. Undefined: there is none. */
  readonly subscriber: number | undefined
}

const cases: readonly Case[] = [
  { name: 'one hub, without a cluster, its own subscriber', hubs: 1, subscriber: 0 },
  { name: 'two hubs, nobody wants anything at the other', hubs: 2, subscriber: 0 },
  { name: 'two hubs, everything wanted at the other', hubs: 2, subscriber: 1 },
]

const load = { publishers: 50, window: 20, payloadBytes: 100 }

export async function hubs(seconds: number): Promise<void> {
  const [rabbit, influx] = await Promise.all([startRabbit(), startInflux()])
  try {
    for (const one of cases) await measure(one, seconds, rabbit.url, influx.url)
  } finally {
    await Promise.all([rabbit.stop(), influx.stop()])
  }
}

async function measure(
  { name, hubs, subscriber }: Case,
  seconds: number,
  rabbit: string,
  influx: string,
): Promise<void> {
  const ends: (() => unknown)[] = []
  const teardown = (end: () => unknown) => void ends.unshift(end)
  const generators: Generator[] = []
  try {
    const settings = {
      'rabbitmq.url': rabbit,
      'rabbitmq.envelope': 'batch',
      'influx.url': `${influx}/bench`,
      'sys.interval': '0s',
      ...(hubs > 1 && { 'cluster.name': 'bench' }),
    }
    const running: RunningHub[] = []
    while (running.length < hubs) running.push(await startHub({ teardown }, settings))
    const portOf = (hub: RunningHub | undefined) => Number(new URL(hub?.mqttUrl ?? '').port)
    const publishing = await startGenerator({ kind: 'acked', port: portOf(running[0]), ...load })
    generators.push(publishing)
    if (subscriber !== undefined) {
      const port = portOf(running[subscriber])
      const filters = ['bench/#']
      generators.push(
        await startGenerator({ kind: 'subscribe', port, webSocket: false, subscribers: 1, filters, sampleEvery: 50 }),
      )
    }
    if (hubs > 1) {
      await eventually(async () => {
        const { body } = await (running[0] as RunningHub).get<{ hubs: readonly { state: string }[] }>('/api/hubs')
        return body.hubs.some(({ state }) => state === 'up')
      }, 'the hubs know each other')
      // Until then everything counts as wanted.
      await sleep(5_000)
    }
    const begin = monotonicMicros() + 2e6
    const reports = await Promise.all(generators.map(one => one.run({ begin, end: begin + seconds * 1e6 })))
    const rate = (count = 0) => Math.round(count / seconds).toLocaleString('en')
    const [published, received] = reports
    const latency = received?.latencies
    const delay = latency ? `, p50 ${latency.p50.toFixed(1)} ms, p99 ${latency.p99.toFixed(1)} ms` : ''
    console.log(
      `${name}: ${rate(published?.counts.acknowledged)} PUBACKs/s, ${rate(received?.counts.received)} delivered/s${delay}`,
    )
  } finally {
    for (const one of generators) await one.end()
    for (const end of ends) await end()
  }
}
