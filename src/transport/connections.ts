import type { Duplex } from 'node:stream'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import { sourceOf } from '../runtime/addresses.js'
import { sliceWork, turnWork, type Work } from '../runtime/work.js'
import { Connection, type ConnectionLimits, type Peer, type Pool, type Protocol } from './connection.js'

export interface ConnectionsOptions {
  readonly limits: ConnectionLimits & {
    /** At a time, in all and of one address; of IPv6 of one /64. */
    readonly connections: number
    readonly perAddress: number
    /** Bytes that all clients together may have sent before they are connected. */
    readonly helloMemory: number
  }
  readonly work: Work
  /** What speaks MQTT over a connection that has passed the limits. */
  readonly protocol: (connection: Connection) => Protocol
  /** While true nothing is read: what is accepted already waits for the disk. */
  readonly overloaded: () => boolean
  /** A connection was refused or cut off: counted, and said. */
  readonly refused: (reason: string, sentence: string) => void
  /** A QoS 0 delivery found its subscriber's outbox full. */
  readonly dropped: () => void
  /** Resolves when every publish read so far is acknowledged or refused. */
  readonly drain: () => Promise<void>
}

/** Read in a turn of the event loop from all connections; what is more waits for one of the next. */
const turnBytes = 262_144

/** Read at once even when the turn is spent: a client that says little does not wait behind those that flood. */
const smallBytes = 2_048

/** The most work for one connection once the turn is spent, or when many wait. */
const smallWork = 2_000

/** No CONNECT that devices send is longer; what is longer gives way first when memory is short. */
const usualHelloBytes = 4_096

/** Past so much work in one turn nothing is read at once any more, however little it is. */
const maxWork = 2 * turnWork

/** Read and held for a later turn, of all connections; past it none is read before its turn. */
const heldBytes = 33_554_432

const sweepMs = 500

const noRoom: Fault = { code: reasonCode.serverBusy, reason: 'not connected when room was needed for others' }
const shuttingDown: Fault = { code: reasonCode.shuttingDown, reason: 'the hub is stopping' }

/**
 * All connections, and what they share: the turns of the event loop, in which each gets its share of reading and its
 * outbox is flushed once, the limits on how many there are, and one timer for everything that can take too long.
 */
export class Connections implements Pool {
  readonly name = 'connections'
  /** May be replaced at any time; open connections keep to the new ones as far as they read them again. */
  limits: ConnectionsOptions['limits']
  readonly work: Work
  workEnd = 0
  readonly traffic = { bytesIn: 0, bytesOut: 0, packetsIn: 0, packetsOut: 0, publishesOut: 0 }
  now = performance.now()
  readonly #options: ConnectionsOptions
  readonly #all = new Set<Connection>()
  /** Not connected yet, the longest waiting first, with the bytes that each has sent. */
  readonly #unconnected = new Map<Connection, number>()
  /** Those of them that have sent more than any CONNECT needs. */
  readonly #talkative = new Set<Connection>()
  #helloBytes = 0
  /** By source: all addresses of an IPv6 /64 are one. */
  readonly #sources = new Map<string, number>()
  readonly #dirty: Connection[] = []
  #queue: Connection[] = []
  #held = 0
  #allWait = false
  #left = turnBytes
  #turnBegan = 0
  #scheduled = false
  #stopping = false
  #sweptAt = performance.now()
  #timer: NodeJS.Timeout | undefined

  constructor(options: ConnectionsOptions) {
    this.#options = options
    this.limits = options.limits
    this.work = options.work
  }

  start(): void {
    this.#sweptAt = performance.now()
    this.#timer = setInterval(() => this.#sweep(), sweepMs).unref()
  }

  /** Reads no more, lets the acknowledgements out, then ends every connection. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#options.drain()
    await new Promise(resolve => setImmediate(resolve))
    const all = [...this.#all]
    for (const connection of all) connection.end(shuttingDown)
    // What was written leaves with the next turns, from whoever takes it.
    for (let wait = 0; wait < 10 && this.#all.size > 0; wait++) await new Promise(resolve => setTimeout(resolve, 20))
    for (const connection of this.#all) connection.destroy()
    clearInterval(this.#timer)
  }

  get count(): number {
    return this.#all.size
  }

  accept(stream: Duplex, peer: Peer): void {
    if (this.#stopping) {
      stream.on('error', () => {}).destroy()
      return
    }
    const { connections, perAddress } = this.limits
    const source = sourceOf(peer.address)
    const ofSource = this.#sources.get(source) ?? 0
    if (ofSource >= perAddress && !this.#evictPending('limits.address', source)) {
      this.#turnAway(stream, 'too_many_of_address', `${source} has ${ofSource} connections (limits.address)`)
      return
    }
    if (this.#all.size >= connections && !this.#evictPending('limits.connections')) {
      this.#turnAway(stream, 'too_many_connections', `${this.#all.size} connections are open (limits.connections)`)
      return
    }
    this.#schedule()
    const connection = new Connection(stream, peer, this)
    this.#all.add(connection)
    this.#unconnected.set(connection, 0)
    this.#sources.set(source, ofSource + 1)
    stream.once('close', () => this.#gone(connection))
    connection.serve(this.#options.protocol(connection))
  }

  /** The overload is over. */
  relieved(): void {
    this.#schedule()
  }

  // — Pool —

  get overloaded(): boolean {
    return this.#stopping || this.#options.overloaded()
  }

  grant(bytes: number): boolean {
    this.#schedule()
    const { done } = this.work
    const used = done - this.#turnBegan
    const isLeft = this.#left > 0 && used < turnWork
    this.#left -= bytes
    this.workEnd = done + (isLeft ? sliceWork : smallWork)
    return isLeft || (bytes <= smallBytes && used < maxWork)
  }

  queue(connection: Connection): void {
    this.#queue.push(connection)
    this.#held += connection.buffered
    this.#schedule()
    if (this.#held < heldBytes || this.#allWait) return
    this.#allWait = true
    for (const each of this.#all) each.yield()
  }

  dirty(connection: Connection): void {
    this.#dirty.push(connection)
    this.#schedule()
  }

  hello(connection: Connection, bytes: number): void {
    const before = this.#unconnected.get(connection)
    if (before === undefined) return
    this.#unconnected.set(connection, before + bytes)
    this.#helloBytes += bytes
    if (before + bytes > usualHelloBytes) this.#talkative.add(connection)
    while (this.#helloBytes > this.limits.helloMemory) {
      const [talkative] = this.#talkative
      const [longest] = this.#unconnected.keys()
      const victim = talkative ?? longest
      if (!victim) return
      const sent = this.#unconnected.get(victim)
      this.refused('gave_way', `${victim.peer.address} sent ${sent} bytes without being connected (limits.helloMemory)`)
      this.#closeUnauthenticated(victim)
    }
  }

  opened(connection: Connection): void {
    this.#helloBytes -= this.#unconnected.get(connection) ?? 0
    this.#unconnected.delete(connection)
    this.#talkative.delete(connection)
  }

  refused(reason: string, sentence: string): void {
    this.#options.refused(reason, sentence)
  }

  dropped(): void {
    this.#options.dropped()
  }

  // — turns —

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.now = performance.now()
    setImmediate(this.#turn)
  }

  /** The end of a turn: what was written leaves; who was held longest is read first. */
  readonly #turn = (): void => {
    this.#scheduled = false
    this.now = performance.now()
    this.#left = turnBytes
    this.#turnBegan = this.work.done
    if (this.#queue.length > 0 && !this.overloaded) this.#resume()
    for (const connection of this.#dirty.splice(0)) connection.flush()
  }

  #resume(): void {
    const waiting = this.#queue
    this.#queue = []
    let served = 0
    const { work } = this
    const turnEnd = work.done + turnWork
    const slice = Math.max(smallWork, Math.min(sliceWork, Math.floor(turnWork / waiting.length)))
    while (served < waiting.length && this.#left > 0 && work.done < turnEnd) {
      this.workEnd = work.done + slice
      this.#left -= (waiting[served++] as Connection).resume()
    }
    // Those not served stay first in line.
    if (served < waiting.length) this.#queue = waiting.slice(served).concat(this.#queue)
    this.#held = 0
    for (const connection of this.#queue) this.#held += connection.buffered
    this.#allWait &&= this.#held > heldBytes / 2
    if (this.#queue.length > 0) this.#schedule()
  }

  #sweep(): void {
    const now = performance.now()
    const away = now - this.#sweptAt - sweepMs
    this.now = this.#sweptAt = now
    for (const connection of this.#all) {
      // After a pause of the whole hub what came meanwhile is not read yet.
      if (away > sweepMs) connection.extendDeadlines(away)
      connection.sweep()
    }
  }

  /** The one that has waited longest for its CONNECT makes room, of one address or of all. */
  #evictPending(setting: string, source?: string): boolean {
    for (const waiting of this.#unconnected.keys()) {
      if (source !== undefined && sourceOf(waiting.peer.address) !== source) continue
      this.refused('gave_way', `${waiting.peer.address} had not connected when room was needed (${setting})`)
      this.#closeUnauthenticated(waiting)
      return true
    }
    return false
  }

  #closeUnauthenticated(connection: Connection): void {
    connection.giveUp(noRoom)
    this.#gone(connection)
  }

  #turnAway(stream: Duplex, reason: string, sentence: string): void {
    this.refused(reason, sentence)
    stream.on('error', () => {}).destroy()
  }

  #gone(connection: Connection): void {
    if (!this.#all.delete(connection)) return
    this.opened(connection)
    const source = sourceOf(connection.peer.address)
    const left = (this.#sources.get(source) ?? 1) - 1
    if (left === 0) this.#sources.delete(source)
    else this.#sources.set(source, left)
  }
}
