import { Connection } from './connection.js'
import { topicOf } from './publishers.js'
import { Subscribers } from './subscribers.js'
import type { Task } from './task.js'
import { monotonicMicros, publishPacket, reading, stamp } from './wire.js'

/**
 * QoS 0 publishers and the subscribers they publish to, in one process. With a window the publishers keep so many
 * messages under way, which is as many as the broker can pass on without loss; without, they send as fast as TCP takes
 * it.
 */
export interface SaturateJob {
  readonly kind: 'saturate'
  readonly port: number
  /** Where the subscribers connect; without it they come over TCP as the publishers do. */
  readonly webSocketPort?: number
  readonly publishers: number
  readonly subscribers: number
  /** 0: every subscriber gets every message. Else so many filters, spread over the subscribers, one for a message. */
  readonly filters: number
  /** Messages under way; 0: no bound but TCP's. */
  readonly window: number
  /** Messages of one write. */
  readonly batch: number
  readonly payloadBytes: number
}

/** Topics that are published to when there are more filters than this. */
const mostTopics = 5_000

/** After so long without a delivery, what was under way is lost. */
const lostMs = 500

export class Saturate implements Task {
  readonly #job: SaturateJob
  readonly #subscribers: Subscribers
  readonly #connections: readonly Connection[]
  /** Connections whose last write is with the kernel. */
  readonly #idle: Connection[] = []
  readonly #batches: readonly Buffer[]
  readonly #copies: number
  #next = 0
  #sent = 0
  #lost = 0
  #running = false

  constructor(job: SaturateJob, onFailure: (error: Error) => void) {
    this.#job = job
    this.#copies = job.filters > 0 ? 1 : job.subscribers
    this.#batches = batchesOf(job)
    const { port, webSocketPort } = job
    const where = { port: webSocketPort ?? port, webSocket: webSocketPort !== undefined, sampleEvery: 64 }
    this.#subscribers = new Subscribers(where, filtersOf(job), onFailure, () => this.#pump())
    this.#connections = Array.from(
      { length: job.publishers },
      (_, n) => new Connection({ port: job.port, clientId: `source-${n}`, onPacket: () => {}, onFailure }),
    )
  }

  get latencies() {
    return this.#subscribers.latencies
  }

  async prepare(): Promise<void> {
    await Promise.all([this.#subscribers.prepare(), ...this.#connections.map(({ ready }) => ready)])
  }

  run(): void {
    this.#running = true
    this.#idle.push(...this.#connections)
    this.#pump()
    let before = -1
    setInterval(() => {
      const { received } = this.#subscribers
      if (received === before) this.#lost += Math.max(0, this.#underWay)
      before = received
      this.#pump()
    }, lostMs)
  }

  counts() {
    return { sent: this.#sent, received: this.#subscribers.received }
  }

  get #underWay(): number {
    return this.#sent - this.#lost - this.#subscribers.received / this.#copies
  }

  #pump(): void {
    if (!this.#running) return
    const { window, batch } = this.#job
    while (this.#idle.length > 0 && (window === 0 || this.#underWay + batch <= window)) {
      const connection = this.#idle.shift() as Connection
      // A copy: the one before may not be with the kernel yet.
      const packets = Buffer.from(this.#batches[this.#next++ % this.#batches.length] as Buffer)
      stamp(packets, packets.length, monotonicMicros())
      this.#sent += batch
      connection.write(packets, error => {
        if (error) return
        this.#idle.push(connection)
        // In a turn of its own: else a broker that takes all at once would leave us no time to read.
        if (window === 0) setImmediate(() => this.#pump())
        else if (this.#idle.length === 1) this.#pump()
      })
    }
  }
}

/** Half of the filters are exact, half have a wildcard; topic `i` matches filter `i` and no other. */
const exact = (i: number) => i % 2 === 0
const filterOf = (i: number) => (exact(i) ? `site/${i}/boiler/temp` : `site/${i}/+/temp`)
const siteTopicOf = (i: number) => `site/${i}/boiler/temp`

function filtersOf({ filters, subscribers }: SaturateJob): string[][] {
  if (filters === 0) return Array.from({ length: subscribers }, () => ['bench/#'])
  const spread: string[][] = Array.from({ length: subscribers }, () => [])
  for (let i = 0; i < filters; i++) spread[i % subscribers]?.push(filterOf(i))
  return spread
}

function batchesOf({ filters, publishers, batch, payloadBytes }: SaturateJob): Buffer[] {
  const topics = filters === 0 ? Array.from({ length: publishers }, (_, n) => topicOf(n)) : siteTopics(filters)
  const packets = Array.from({ length: leastCommonMultiple(topics.length, batch) }, (_, n) =>
    publishPacket(topics[n % topics.length] as string, reading(n, payloadBytes), 0),
  )
  return Array.from({ length: packets.length / batch }, (_, n) =>
    Buffer.concat(packets.slice(n * batch, (n + 1) * batch)),
  )
}

/** From all over the filters: the step has no factor in common with a power of ten. Exact ones and wildcards take turns. */
function siteTopics(filters: number): string[] {
  const count = Math.min(filters, mostTopics)
  const step = Math.floor(filters / count) | 1
  return Array.from({ length: count }, (_, n) => siteTopicOf((n * step) % filters))
}

function leastCommonMultiple(a: number, b: number): number {
  let n = Math.max(a, b)
  while (n % a !== 0 || n % b !== 0) n++
  return n
}
