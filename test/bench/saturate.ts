import { Connection } from './connection.js'
import { topicOf } from './publishers.js'
import { Subscribers } from './subscribers.js'
import type { Task } from './task.js'
import { monotonicMicros, publishPacket, reading, stamp, type Version } from './wire.js'

/**
 * Publishers and the subscribers they publish to, in one process. With a window the publishers keep so many messages
 * under way, which is as many as the broker can pass on without loss; without, they send as fast as TCP takes it.
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
  /** 3.1.1 without it. */
  readonly version?: Version
  /** Of publishes and subscriptions, 0 without it. With 1 a message is under way until it is acknowledged, too. */
  readonly qos?: 0 | 1
  /** The subscribers share one subscription, of a group of this name. */
  readonly group?: string
  /** What is published to, and what matches all of it, instead of {@link topicOf}. */
  readonly topics?: { readonly names: readonly string[]; readonly filter: string }
  /** Topic aliases that each subscriber takes; none without it. */
  readonly topicAliases?: number
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
  readonly #batches: readonly Batch[]
  readonly #copies: number
  readonly #qos: 0 | 1
  /** The last one each connection has used. */
  readonly #packetIds = new Map<Connection, number>()
  #next = 0
  #sent = 0
  #acknowledged = 0
  #lost = 0
  #running = false

  constructor(job: SaturateJob, onFailure: (error: Error) => void) {
    this.#job = job
    this.#copies = job.filters > 0 || job.group !== undefined ? 1 : job.subscribers
    this.#batches = batchesOf(job)
    const { port, webSocketPort, version, qos = 0, topicAliases } = job
    this.#qos = qos
    const how = {
      port: webSocketPort ?? port,
      webSocket: webSocketPort !== undefined,
      sampleEvery: 64,
      qos,
      ...(version && { version }),
      ...(topicAliases && { topicAliases }),
    }
    this.#subscribers = new Subscribers(how, filtersOf(job), onFailure, () => this.#pump())
    const acknowledged = (data: Buffer, start: number) => {
      if (data[start] === 0x40) this.#acknowledged++
    }
    this.#connections = Array.from(
      { length: job.publishers },
      (_, n) =>
        new Connection({
          port: job.port,
          clientId: `source-${n}`,
          ...(version && { version }),
          ...(qos === 0 ? { onPacket: () => {} } : { onPacket: acknowledged, onChunk: () => this.#pump() }),
          onFailure,
        }),
    )
  }

  get latencies() {
    return this.#subscribers.latencies
  }

  async prepare(): Promise<void> {
    const window = this.#qos === 0 ? 0 : this.#job.window
    await Promise.all([this.#subscribers.prepare(), ...this.#connections.map(connection => connection.takes(window))])
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
    return { sent: this.#sent, ...this.#subscribers.counts() }
  }

  get #underWay(): number {
    const delivered = this.#subscribers.received / this.#copies
    return this.#sent - this.#lost - (this.#qos === 0 ? delivered : Math.min(delivered, this.#acknowledged))
  }

  #pump(): void {
    if (!this.#running) return
    const { window, batch } = this.#job
    while (this.#idle.length > 0 && (window === 0 || this.#underWay + batch <= window)) {
      const connection = this.#idle.shift() as Connection
      // A copy: the one before may not be with the kernel yet.
      const { bytes, idsAt } = this.#batches[this.#next++ % this.#batches.length] as Batch
      const packets = Buffer.from(bytes)
      if (this.#qos > 0) this.#number(connection, packets, idsAt)
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

  /** The window is far from the 65,535 there are: none is in use still. */
  #number(connection: Connection, packets: Buffer, idsAt: readonly number[]): void {
    let id = this.#packetIds.get(connection) ?? 0
    for (const at of idsAt) {
      id = (id % 65_535) + 1
      packets.writeUInt16BE(id, at)
    }
    this.#packetIds.set(connection, id)
  }
}

/** Packets of one write, and where their packet identifiers are. */
interface Batch {
  readonly bytes: Buffer
  readonly idsAt: readonly number[]
}

/** Half of the filters are exact, half have a wildcard; topic `i` matches filter `i` and no other. */
const exact = (i: number) => i % 2 === 0
const filterOf = (i: number) => (exact(i) ? `site/${i}/boiler/temp` : `site/${i}/+/temp`)
const siteTopicOf = (i: number) => `site/${i}/boiler/temp`

function filtersOf({ filters, subscribers, topics, group }: SaturateJob): string[][] {
  const all = topics?.filter ?? 'bench/#'
  const filter = group === undefined ? all : `$share/${group}/${all}`
  if (filters === 0) return Array.from({ length: subscribers }, () => [filter])
  const spread: string[][] = Array.from({ length: subscribers }, () => [])
  for (let i = 0; i < filters; i++) spread[i % subscribers]?.push(filterOf(i))
  return spread
}

function batchesOf(job: SaturateJob): Batch[] {
  const { filters, publishers, batch, payloadBytes, version = 4, qos = 0 } = job
  const many = () => Array.from({ length: publishers }, (_, n) => topicOf(n))
  const topics = job.topics?.names ?? (filters === 0 ? many() : siteTopics(filters))
  const packets = Array.from({ length: leastCommonMultiple(topics.length, batch) }, (_, n) =>
    publishPacket(topics[n % topics.length] as string, reading(n, payloadBytes), qos, 1, version),
  )
  const behindId = reading(0, payloadBytes).length + (version === 5 ? 3 : 2)
  return Array.from({ length: packets.length / batch }, (_, n) => {
    const its = packets.slice(n * batch, (n + 1) * batch)
    let end = 0
    const idsAt = its.map(({ length }) => {
      end += length
      return end - behindId
    })
    return { bytes: Buffer.concat(its), idsAt }
  })
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
