import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Connection } from './connection.js'
import { each, pace } from './pace.js'
import type { ReceiveJob, ReceiveReport } from './push-receivers.js'
import { hubLimits, processorSeconds, residentBytes, startHub, type Target } from './targets.js'
import { monotonicMicros, publishPacket } from './wire.js'

/*
 * npm run bench -- push [--seconds 10]: readings to many receivers of each kind at once, with receivers that read
 * nothing beside them; what a bare Socket.IO server does with the same readings; and how long a subscription to many
 * topics takes.
 */

const receiversEach = 100
const deafEach = 17
const offered = 100_000
const topics = 100

/** Publishes readings at a rate, each with the time as its value. */
class Readings {
  readonly #connection: Connection
  #timer: NodeJS.Timeout | undefined

  constructor(port: number) {
    this.#connection = new Connection({
      port,
      clientId: 'source',
      onPacket: () => {},
      // The hub is ended with the connection still there.
      onFailure: () => {},
    })
  }

  get ready(): Promise<void> {
    return this.#connection.ready
  }

  start(rate: number): void {
    this.#timer = pace(rate, (from, to) => {
      const payload = Buffer.from(`{"value":${Math.round(monotonicMicros())}}`)
      this.#connection.write(Buffer.concat(each(from, to, n => publishPacket(`bench/t${n % topics}`, payload, 0))))
    })
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#connection.socket.destroy()
  }
}

export async function push(seconds: number): Promise<void> {
  const all = ['socket.io', 'sse', 'mqtt'] as const
  await measure(
    `${all.length * receiversEach} receivers, ${deafEach * all.length} beside them that read nothing`,
    all,
    seconds,
    deafEach,
  )
  for (const kind of all) await measure(`${receiversEach} receivers`, [kind], seconds, 0)
  await bareSocketIo(seconds)
  for (const count of [10_000, 139_000]) await subscribing(count)
}

export async function measure(what: string, kinds: readonly ReceiveJob['kind'][], seconds: number, deaf: number) {
  const hub = await startHub([...hubLimits, '--http.address', '10000', '--http.connections', '10000'])
  const receivers: { readonly kind: string; readonly child: ChildProcess }[] = []
  try {
    for (const kind of kinds) {
      const port = kind === 'mqtt' ? hub.port : (hub.webSocketPort as number)
      receivers.push({ kind, child: await open({ kind, port, receivers: receiversEach, deaf, sampleEvery: 50 }) })
    }
    const source = new Readings(hub.port)
    await source.ready
    source.start(Math.round(offered / (kinds.length * receiversEach)))
    await sleep(3_000)
    for (const { child } of receivers) await report(child)
    const before = { cpu: processorSeconds(hub.pid), rss: residentBytes(hub.pid).now }
    const begin = performance.now()
    await sleep(seconds * 1_000)
    const reports = await Promise.all(receivers.map(({ child }) => report(child)))
    const tookSeconds = (performance.now() - begin) / 1_000
    source.stop()
    for (const [i, { received, latency }] of reports.entries()) {
      const { p50 = 0, p99 = 0, max = 0 } = latency ?? {}
      console.log(
        `${what} · ${receivers[i]?.kind}: ${Math.round(received / tookSeconds)} deliveries/s · ` +
          `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, worst ${max.toFixed(0)} ms`,
      )
    }
    const { now, peak } = residentBytes(hub.pid)
    console.log(
      `  hub: ${(processorSeconds(hub.pid) - before.cpu).toFixed(1)} s of processor time in ${tookSeconds.toFixed(1)} s · ` +
        `RSS ${mb(before.rss)} → ${mb(now)}, peak ${mb(peak)}`,
    )
  } finally {
    for (const { child } of receivers) child.kill('SIGKILL')
    await hub.stop()
  }
}

/** As much as a bare Socket.IO server and the hub deliver to the same receivers: the rate grows until they lag. */
async function bareSocketIo(seconds: number): Promise<void> {
  const bare = await saturation(seconds, async () => {
    const server = fork(fileURLToPath(new URL('./bare-socket-io.js', import.meta.url)))
    const port = await new Promise<number>(resolve => server.once('message', resolve))
    return {
      port,
      send: (values: readonly number[]) =>
        void server.send(
          values.map((value, n) => {
            const topic = `bench/t${n % topics}`
            const series = `bench,topic=${topic} value`
            const one = { series, measurement: 'bench', tags: { topic }, field: 'value', value }
            return { topic, sequence: value, time: Date.now(), received: Date.now(), quality: 'good', values: [one] }
          }),
        ),
      stop: async () => void server.kill('SIGKILL'),
    }
  })
  const own = await saturation(seconds, async () => {
    const hub: Target = await startHub([...hubLimits, '--http.address', '10000', '--http.connections', '10000'])
    const connection = new Connection({
      port: hub.port,
      clientId: 'source',
      onPacket: () => {},
      onFailure: () => {},
    })
    await connection.ready
    return {
      port: hub.webSocketPort as number,
      send: (values: readonly number[]) =>
        connection.write(
          Buffer.concat(
            values.map((value, n) => publishPacket(`bench/t${n % topics}`, Buffer.from(`{"value":${value}}`), 0)),
          ),
        ),
      stop: async () => {
        connection.socket.destroy()
        await hub.stop()
      },
    }
  })
  console.log(
    `Socket.IO, ${receiversEach} receivers: ${own} deliveries/s, a bare server ${bare} deliveries/s: ${(own / bare).toFixed(2)}`,
  )
}

interface Source {
  readonly port: number
  readonly send: (values: readonly number[]) => void
  readonly stop: () => Promise<void>
}

/** Returns the most deliveries per second, at a rate that grows until the receivers lag. */
async function saturation(seconds: number, start: () => Promise<Source>): Promise<number> {
  let best = 0
  for (let rate = 200; rate <= 6_400; rate = Math.round(rate * 1.25)) {
    const source = await start()
    const child = await open({
      kind: 'socket.io',
      port: source.port,
      receivers: receiversEach,
      deaf: 0,
      sampleEvery: 50,
    })
    const timer = pace(rate, (from, to) => {
      const now = Math.round(monotonicMicros())
      source.send(each(from, to, () => now))
    })
    await sleep(1_500)
    await report(child)
    const from = performance.now()
    await sleep((seconds * 1_000) / 2)
    const { received, latency } = await report(child)
    const perSecond = received / ((performance.now() - from) / 1_000)
    clearInterval(timer)
    child.kill('SIGKILL')
    await source.stop()
    best = Math.max(best, Math.round(perSecond))
    if (perSecond < rate * receiversEach * 0.95 || (latency?.p99 ?? 0) > 250) break
  }
  return best
}

/** How long a new subscriber to `$hub/last/#` waits for the first and for the last of so many topics. */
async function subscribing(count: number): Promise<void> {
  const hub = await startHub(hubLimits)
  try {
    const source = new Connection({ port: hub.port, clientId: 'source', onPacket: () => {}, onFailure: () => {} })
    await source.ready
    for (let n = 0; n < count; n += 500) {
      const some = Array.from({ length: Math.min(500, count - n) }, (_, i) => n + i)
      source.write(Buffer.concat(some.map(i => publishPacket(`many/a${i % 100}/b${i}`, Buffer.from('{"value":1}'), 0))))
      await sleep(20)
    }
    const look = async () => {
      let first = 0
      let last = 0
      let received = 0
      const begin = performance.now()
      const connection = new Connection({
        port: hub.port,
        clientId: `looks-${begin}`,
        onPacket: (data, start) => {
          if ((data[start] as number) >> 4 !== 3) return
          received++
          first ||= performance.now() - begin
          last = performance.now() - begin
        },
        onFailure: () => {},
      })
      await connection.ready
      await connection.subscribe(1, ['$hub/last/#'], 0)
      for (let before = -1; received < count && before < received; ) {
        before = received
        await sleep(2_000)
      }
      connection.socket.destroy()
      return { first, last, received }
    }
    // The first look waits until the processor thread has pushed all.
    for (let found = 0; found < count; ) found = (await look()).received
    const { first, last, received } = await look()
    if (received < count) throw new Error(`a subscriber got ${received} of ${count} topics`)
    console.log(
      `${received} topics: first value after ${first.toFixed(0)} ms, the last one after ${last.toFixed(0)} ms`,
    )
    source.socket.destroy()
  } finally {
    await hub.stop()
  }
}

async function open(job: ReceiveJob): Promise<ChildProcess> {
  const child = fork(fileURLToPath(new URL('./push-receivers.js', import.meta.url)))
  child.send(job)
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve())
    child.once('exit', code => reject(new Error(`the receivers ended with exit code ${code}`)))
  })
  return child
}

async function report(child: ChildProcess): Promise<ReceiveReport> {
  child.send('report')
  return new Promise(resolve => child.once('message', message => resolve(message as ReceiveReport)))
}

const mb = (bytes: number) => `${Math.round(bytes / 1e6)} MB`
