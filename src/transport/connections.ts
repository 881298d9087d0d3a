import type { Duplex } from 'node:stream'
import type { SettingsFollower } from '../config/reload.js'
import type { Settings } from '../config/settings.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import type { Counters, Traffic } from '../observe/counters.js'
import type { DebugLog } from '../observe/log.js'
import type { AddressGate } from '../runtime/addresses.js'
import { sourceOf } from '../runtime/addresses.js'
import type { Backpressure, ReliefListener } from '../runtime/backpressure.js'
import { hurriedWork, sliceWork, turnWork, type Work } from '../runtime/work.js'
import { Arrivals } from './arrivals.js'
import { Connection, type PacketHandler } from './connection.js'
import { connectionLimits, type PoolLimits } from './connection-limits.js'
import type { ConnectionSink, Flushed, Peer, Pool, TurnTaker } from './pool.js'

export type { Connection, PacketHandler } from './connection.js'
export { connectionLimits } from './connection-limits.js'
export type { RefusalReport } from './pool.js'

/** Speaks MQTT on the connections. Implemented by `Broker`. */
export interface ProtocolServer {
  /** Returns the MQTT side of a connection that is within the limits. */
  protocol(connection: Connection): PacketHandler
  /** Resolves when every publish read so far is acknowledged or refused. */
  drained(): Promise<void>
}

export interface ConnectionsOptions {
  readonly limits: PoolLimits
  readonly work: Work
  /** Decides whose connections are taken. */
  readonly gate: AddressGate
  readonly server: ProtocolServer
  /** While one of them is overloaded nothing is read: publishes accepted already wait. */
  readonly backpressure: readonly Backpressure[]
  readonly counters: Counters
  readonly log: Pick<DebugLog, 'debug'>
}

/** Bytes read from all connections in one turn of the event loop; more has to wait for a later turn. */
const turnBytes = 262_144

/** Bytes read at once even when the turn is spent: a client that sends little must not wait behind flooding ones. */
const smallBytes = 2_048

/** The most work for one connection once the turn is spent, or when many wait. */
const smallWork = 2_000

/** Longest CONNECT that devices send; clients that sent more are evicted first when memory is short. */
const usualHelloBytes = 4_096

/** Bytes of all connections that are read and held for a later turn; above that, none is read before a turn comes. */
const heldBytes = 33_554_432

const sweepMs = 500

const noRoom: Fault = { code: reasonCode.serverBusy, reason: 'no CONNECT yet, and closed to make room' }
const shuttingDown: Fault = { code: reasonCode.shuttingDown, reason: 'the hub is stopping' }

/**
 * All connections, and what they share: the turns of the event loop, in which each gets a share of reading and one
 * flush of the outbox, the limits on how many there are, and one timer for everything that can take too long.
 */
export class Connections implements Pool, ConnectionSink, ReliefListener, SettingsFollower {
  readonly name = 'connections'
  /** The limits, to be replaced at any time; open connections follow new ones as far as they read them again. */
  limits: PoolLimits
  readonly work: Work
  workEnd = 0
  readonly traffic: Traffic
  now = performance.now()
  readonly #options: ConnectionsOptions
  readonly #all = new Set<Connection>()
  /** Connections before CONNECT is accepted, the longest waiting first, with the bytes that each has sent. */
  readonly #unconnected = new Map<Connection, number>()
  /** Unconnected ones that have sent more than any CONNECT needs. */
  readonly #talkative = new Set<Connection>()
  #helloBytes = 0
  /** Numbers of connections by source: all addresses of an IPv6 /64 are one. */
  readonly #sources = new Map<string, number>()
  readonly #dirty: Flushed[] = []
  #queue: TurnTaker[] = []
  readonly #arrivals: Arrivals
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
    this.#arrivals = new Arrivals(options.work)
    this.traffic = options.counters.traffic
    for (const each of options.backpressure) each.relieves(this)
  }

  onSettings(settings: Settings): void {
    this.limits = connectionLimits(settings)
  }

  start(): void {
    this.#sweptAt = performance.now()
    this.#timer = setInterval(() => this.#sweep(), sweepMs).unref()
  }

  /** Stops reading, sends the remaining acknowledgements, then ends every connection. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#options.server.drained()
    await new Promise(resolve => setImmediate(resolve))
    const all = [...this.#all]
    for (const connection of all) connection.end(shuttingDown)
    // Written packets leave with the next turns, to clients that take them.
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
    if (!this.#options.gate.admits(peer.address)) {
      this.#options.counters.refuse('banned')
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
    this.#arrivals.accepted()
    this.#schedule()
    const connection = new Connection(stream, peer, this)
    this.#all.add(connection)
    this.#unconnected.set(connection, 0)
    this.#sources.set(source, ofSource + 1)
    stream.once('close', () => this.#gone(connection))
    connection.serve(this.#options.server.protocol(connection))
  }

  onRelieved(): void {
    this.#schedule()
  }

  // — Pool —

  get overloaded(): boolean {
    for (const each of this.#options.backpressure) if (each.overloaded) return true
    return this.#stopping
  }

  grant(bytes: number): boolean {
    this.#schedule()
    const { done } = this.work
    const used = done - this.#turnBegan
    const most = this.#turnWork
    const isLeft = this.#left > 0 && used < most
    this.#left -= bytes
    this.workEnd = done + (isLeft ? sliceWork : smallWork)
    return isLeft || (bytes <= smallBytes && used < 2 * most)
  }

  /** The most work in one turn; with twice as much, nothing is read at once any more, however little. */
  get #turnWork(): number {
    return this.work.isHurried ? hurriedWork : turnWork
  }

  grantConnect(): boolean {
    this.#schedule()
    this.workEnd = this.work.done + sliceWork
    return this.#arrivals.admits()
  }

  queue(reader: TurnTaker): void {
    if (!reader.hasBegun) {
      this.#arrivals.add(reader)
      this.#schedule()
      return
    }
    this.#queue.push(reader)
    this.#held += reader.buffered
    this.#schedule()
    if (this.#held < heldBytes || this.#allWait) return
    this.#allWait = true
    for (const each of this.#all) each.yield()
  }

  dirty(writer: Flushed): void {
    this.#dirty.push(writer)
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
      this.refused(
        'gave_way',
        `${victim.peer.address} sent ${sent} bytes before its CONNECT was accepted (limits.helloMemory)`,
      )
      this.#closeUnauthenticated(victim)
    }
  }

  opened(connection: Connection): void {
    this.#helloBytes -= this.#unconnected.get(connection) ?? 0
    this.#unconnected.delete(connection)
    this.#talkative.delete(connection)
  }

  refused(reason: string, sentence: string): void {
    this.#options.counters.refuse(reason)
    this.#options.log.debug(sentence)
  }

  // — turns —

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.now = performance.now()
    setImmediate(this.#turn)
  }

  /** Called at the end of a turn: reads waiting connections, the longest waiting first, and flushes all outboxes. */
  readonly #turn = (): void => {
    this.#scheduled = false
    this.now = performance.now()
    this.#left = turnBytes
    this.#turnBegan = this.work.done
    if (this.#arrivals.turn()) this.#schedule()
    if (!this.overloaded) {
      if (this.#queue.length > 0) this.#resume()
      if (this.#arrivals.welcome(this.#connect)) this.#schedule()
    }
    for (const writer of this.#dirty.splice(0)) writer.flush()
  }

  #resume(): void {
    const waiting = this.#queue
    this.#queue = []
    let served = 0
    const { work } = this
    const most = this.#turnWork
    const turnEnd = work.done + most
    const slice = Math.max(smallWork, Math.min(sliceWork, Math.floor(most / waiting.length)))
    while (served < waiting.length && this.#left > 0 && work.done < turnEnd) {
      this.workEnd = work.done + slice
      this.#left -= (waiting[served++] as TurnTaker).takeTurn()
    }
    // Those not served stay first in line.
    if (served < waiting.length) this.#queue = waiting.slice(served).concat(this.#queue)
    this.#held = 0
    for (const reader of this.#queue) this.#held += reader.buffered
    this.#allWait &&= this.#held > heldBytes / 2
    if (this.#queue.length > 0) this.#schedule()
  }

  readonly #connect = (reader: TurnTaker): void => {
    this.workEnd = this.work.done + sliceWork
    reader.takeTurn()
  }

  #sweep(): void {
    const now = performance.now()
    const away = now - this.#sweptAt - sweepMs
    this.now = this.#sweptAt = now
    for (const connection of this.#all) {
      // After a pause of the whole hub, packets that came meanwhile are not read yet.
      if (away > sweepMs) connection.extendDeadlines(away)
      connection.sweep()
    }
  }

  /** Evicts the connection that has waited longest for CONNECT, from one source or from all; false if there is none. */
  #evictPending(setting: string, source?: string): boolean {
    for (const waiting of this.#unconnected.keys()) {
      if (source !== undefined && sourceOf(waiting.peer.address) !== source) continue
      this.refused(
        'gave_way',
        `${waiting.peer.address} had sent no CONNECT yet, and was closed to make room (${setting})`,
      )
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
