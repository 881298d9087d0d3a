import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from './connection.js'
import { startGenerator } from './generator.js'
import { residentBytes, startHub, type Target } from './targets.js'
import { type Distribution, distribution } from './task.js'
import { monotonicMicros, publishPacket, reading } from './wire.js'

/*
 * npm run bench -- overload [--seconds 60] [--close]: many times more than the hub can take, from clients that do not care. It
 * must not crash, its memory must stay bounded, and who behaves must still be served: a client that connects anew and
 * one that was there before are measured twice a second. With --close the flooders end in order: see flooders.ts.
 */

export interface FloodOptions {
  readonly qos: 0 | 1
  readonly connections: number
  readonly seconds: number
  readonly ending: 'reset' | 'close'
}

/** How a client that behaves fared. Times are milliseconds; what was not answered in {@link answerMs} is `unserved`. */
export interface Served {
  /** From connecting to CONNACK, of a new client each time. */
  readonly connect?: Distribution
  /** From a QoS 1 PUBLISH to its PUBACK, of a client that was connected before. */
  readonly roundTrip?: Distribution
  readonly unserved: number
  readonly asked: number
}

export interface FloodResult extends Served {
  /** Publishes the kernel took from the flooders, and PUBACKs they got. */
  readonly written: number
  readonly acknowledged: number
  /** Flooders whose connection was ended. */
  readonly closed: number
  /** The most memory the hub's process had since its start. */
  readonly peakBytes: number
  /** From the end of the flood until a new client is served as usual; infinite when that took over a minute. */
  readonly normalAfterMs: number
}

const answerMs = 10_000
const everyMs = 500

/** A client is served as usual when it is answered within this. */
const normalMs = 50

/** Longer than this nobody waits for it to be normal again. */
const patienceMs = 60_000

/** Floods a hub and resolves when it serves as usual again, or does not for a minute; rejects when it has ended. */
export async function flood(hub: Pick<Target, 'pid' | 'port'>, options: FloodOptions): Promise<FloodResult> {
  const { port, pid } = hub
  const { qos, connections, seconds, ending } = options
  const probe = new Probe(port)
  const flooders = await startGenerator({ kind: 'flood', port, qos, connections, ending, payloadBytes: 100 })
  try {
    await probe.warmUp()
    const begin = monotonicMicros()
    const served = probe.during(seconds)
    const { counts } = await flooders.run({ begin, end: begin + seconds * 1e6 })
    await flooders.end()
    const normalAfterMs = await probe.untilNormal(pid)
    const { written = 0, acknowledged = 0, closed = 0 } = counts
    return { written, acknowledged, closed, peakBytes: residentBytes(pid).peak, ...(await served), normalAfterMs }
  } finally {
    probe.end()
    await flooders.end()
  }
}

/** Sockets that never become clients, while new clients come: how those fared. */
export async function halfOpen(
  hub: Pick<Target, 'port'>,
  { sockets, seconds }: { readonly sockets: number; readonly seconds: number },
): Promise<Served & { readonly closed: number }> {
  const { port } = hub
  const probe = new Probe(port)
  const generator = await startGenerator({ kind: 'half-open', port, sockets })
  try {
    const begin = monotonicMicros()
    const served = probe.during(seconds)
    const { counts } = await generator.run({ begin, end: begin + seconds * 1e6 })
    return { ...(await served), closed: counts.closed ?? 0 }
  } finally {
    probe.end()
    await generator.end()
  }
}

type Login = { readonly username: string; readonly password: string }

/** A client that behaves. */
export class Probe {
  readonly #port: number
  readonly #login: Login | undefined
  #number = 0
  #old: Client | undefined

  constructor(port: number, login?: Login) {
    this.#port = port
    this.#login = login
  }

  /** The first of everything is slow. */
  async warmUp(): Promise<void> {
    for (let n = 0; n < 20; n++) await this.#roundTrip()
    ;(await this.#connect()).client.end()
  }

  async during(seconds: number): Promise<Served> {
    const end = monotonicMicros() + seconds * 1e6
    const connects: number[] = []
    const roundTrips: number[] = []
    let unserved = 0
    let asked = 0
    const keep = (micros: Promise<number>, all: number[]) =>
      micros.then(
        value => all.push(value),
        () => unserved++,
      )
    while (monotonicMicros() < end) {
      const next = sleep(everyMs)
      const connecting = this.#connect().then(({ client, micros }) => {
        client.end()
        return micros
      })
      asked += 2
      await Promise.all([keep(connecting, connects), keep(this.#roundTrip(), roundTrips)])
      await next
    }
    return {
      ...(connects.length > 0 && { connect: distribution(Float64Array.from(connects)) }),
      ...(roundTrips.length > 0 && { roundTrip: distribution(Float64Array.from(roundTrips)) }),
      unserved,
      asked,
    }
  }

  /**
   * Resolves with how many milliseconds it took until a new client is served as usual, several times in a row; rejects
   * when the process has ended.
   */
  async untilNormal(pid: number): Promise<number> {
    const from = monotonicMicros()
    let since = from
    for (let inARow = 0; inARow < 3; ) {
      const at = monotonicMicros()
      if (inARow === 0) since = at
      inARow = (await this.#isQuick()) ? inARow + 1 : 0
      if (!isAlive(pid)) throw new Error('the hub has ended')
      if (at - from > patienceMs * 1_000) return Infinity
      await sleep(20)
    }
    return (since - from) / 1_000
  }

  end(): void {
    this.#old?.end()
  }

  async #isQuick(): Promise<boolean> {
    try {
      const { client, micros } = await this.#connect()
      const from = monotonicMicros()
      await inTime(client.publish()).finally(() => client.end())
      return micros < normalMs * 1_000 && monotonicMicros() - from < normalMs * 1_000
    } catch {
      return false
    }
  }

  async #connect(): Promise<{ client: Client; micros: number }> {
    const from = monotonicMicros()
    const client = new Client(this.#port, `well-behaved-${this.#number++}`, this.#login)
    try {
      await inTime(client.connection.ready)
    } catch (error) {
      client.end()
      throw error
    }
    return { client, micros: monotonicMicros() - from }
  }

  async #roundTrip(): Promise<number> {
    if (!this.#old || this.#old.ended) this.#old = (await this.#connect()).client
    const from = monotonicMicros()
    try {
      await inTime(this.#old.publish())
    } catch (error) {
      this.#old.end()
      throw error
    }
    return monotonicMicros() - from
  }
}

class Client {
  readonly connection: Connection
  ended = false
  #waiting: { resolve: () => void; reject: (error: Error) => void } | undefined

  constructor(port: number, clientId: string, login: Login | undefined) {
    this.connection = new Connection({
      port,
      clientId,
      ...(login && { login }),
      onPacket: (data, start) => {
        if (data[start] === 0x40) this.#waiting?.resolve()
      },
      onFailure: error => {
        this.ended = true
        this.#waiting?.reject(error)
      },
    })
  }

  /** Resolves with the PUBACK; one at a time. */
  publish(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      this.connection.write(publishPacket('well/behaved', reading(1, 100), 1))
    })
  }

  end(): void {
    this.ended = true
    this.connection.end()
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function inTime<T>(what: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not answered in ${answerMs} ms`)), answerMs)
  })
  return Promise.race([what, late]).finally(() => clearTimeout(timer))
}

/** All four floods and the half-open sockets, each on a hub of its own with its default limits. Prints as it goes. */
export async function overload(seconds: number, ending: FloodOptions['ending']): Promise<void> {
  for (const connections of [100, 5_000]) {
    for (const qos of [0, 1] as const) {
      process.stderr.write(`QoS ${qos} flood from ${connections} connections for ${seconds} s …\n`)
      console.log(
        `QoS ${qos} flood, ${connections} connections: ${await onHub(hub => printedFlood(hub, qos, connections))}`,
      )
    }
  }
  const sockets = 12_000
  process.stderr.write(`${sockets} half-open sockets …\n`)
  console.log(`${sockets} half-open sockets: ${await onHub(printedHalfOpen)}`)

  async function printedFlood(hub: Target, qos: 0 | 1, connections: number): Promise<string> {
    const result = await flood(hub, { qos, connections, seconds, ending })
    const { written, acknowledged, closed, peakBytes, normalAfterMs } = result
    return [
      `${perSecond(written)} written`,
      ...(qos > 0 ? [`${perSecond(acknowledged)} acknowledged`] : []),
      ...(closed > 0 ? [`${closed} closed`] : []),
      `peak memory ${Math.round(peakBytes / 1e6)} MB`,
      ...printedServed(result),
      Number.isFinite(normalAfterMs)
        ? `normal again after ${Math.round(normalAfterMs)} ms`
        : `NOT normal again after ${patienceMs / 1_000} s`,
    ].join(' · ')
  }

  async function printedHalfOpen(hub: Target): Promise<string> {
    const result = await halfOpen(hub, { sockets, seconds: Math.min(seconds, 20) })
    const peak = Math.round(residentBytes(hub.pid).peak / 1e6)
    return [`${result.closed} closed`, `peak memory ${peak} MB`, ...printedServed(result)].join(' · ')
  }

  function perSecond(count: number): string {
    return `${Math.round(count / seconds).toLocaleString('en')}/s`
  }
}

function printedServed({ connect, roundTrip, unserved, asked }: Served): string[] {
  const all = (times: Distribution | undefined) =>
    times ? `${[times.p50, times.p99, times.max].map(ms => ms.toFixed(1)).join(' / ')} ms` : 'never'
  return [
    `connect p50 / p99 / max ${all(connect)}`,
    `QoS 1 round trip ${all(roundTrip)}`,
    ...(unserved > 0 ? [`${unserved} of ${asked} not served`] : []),
  ]
}

async function onHub(run: (hub: Target) => Promise<string>): Promise<string> {
  const hub = await startHub([])
  try {
    return await run(hub)
  } catch (error) {
    process.exitCode = 1
    return `FAILED: ${(error as Error).message}`
  } finally {
    await hub.stop()
  }
}
