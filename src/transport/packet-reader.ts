import type { Duplex } from 'node:stream'
import { Framer } from '../mqtt/framer.js'
import { MalformedPacket, packetType } from '../mqtt/primitives.js'
import { RateLimit } from '../runtime/rate-limit.js'
import { charge } from '../runtime/work.js'
import type { Pool, Transport } from './pool.js'

/** Reasons for which reading is paused, as bit flags: several may hold at a time. */
export const pauseReason = {
  turn: 1,
  inflight: 2,
  rate: 4,
  overload: 8,
  connecting: 16,
  outbox: 32,
  restoring: 64,
} as const

const connectHeader = packetType.connect << 4

/** Longest timer: Node takes a longer one for 1 ms. */
const maxTimerMs = 2 ** 31 - 1

/** Bytes in one read that come only from a client sending as fast as possible: Node reads up to twice as many. */
const bulkBytes = 32_768

/** The connection, as the reader uses one. */
export interface ReadConnection {
  /** True once nothing more is to be read. */
  readonly isClosed: boolean
  readonly traffic: { bytesIn: number }
  /** Called when bytes have come, before they are read. May close the connection. */
  arrived(bytes: number): void
  /** Called when the framer is at a whole packet. */
  packet(framer: Framer): void
  /** Called when a packet could not be read, or the handler has thrown. */
  failed(error: unknown): void
  /** Called when the peer has closed and all packets that came before are handled. */
  finished(): void
}

/**
 * The reading half of a connection: cuts incoming bytes into packets, with true back-pressure, as bytes that are not
 * read stay with the sender, in TCP. Reading is paused, for one or several reasons, until each is over; then the
 * connection waits for its turn.
 */
export class PacketReader {
  readonly #stream: Transport
  readonly #pool: Pool
  readonly #connection: ReadConnection
  #framer: Framer
  /** True once CONNECT has come. */
  #hasBegun = false
  /** The reasons for which reading is paused; 0 for none. */
  #holds = 0
  #isStopped = false
  #hasTurn = false
  /** Work done beyond this connection's turns, for which later turns are skipped. */
  #debt = 0
  /** True when the peer has closed and bytes that came before are still to be read. */
  #isPeerGone = false
  /** Publishes that wait for the disk, and their bytes. */
  #inflight = 0
  #inflightBytes = 0
  /**
   * One extra place in flight for MQTT 5 clients. They were sent Receive Maximum: a publish beyond the limit must be
   * read and rejected as a protocol error, not left in the socket.
   */
  #overQuotaSlack = 0
  readonly #rate = new RateLimit()
  #rateTimer: NodeJS.Timeout | undefined
  #lastRead: number

  constructor(stream: Transport, pool: Pool, connection: ReadConnection) {
    this.#stream = stream
    this.#pool = pool
    this.#connection = connection
    this.#framer = new Framer(pool.limits.helloBytes)
    this.#lastRead = pool.now
    stream.on('data', this.#read.bind(this))
  }

  /** Called when CONNECT is with the broker: pauses reading, as later packets would overtake CONNECT. */
  connecting(): void {
    this.#hasBegun = true
    this.pause(pauseReason.connecting)
  }

  /** Called when the client is connected: reads all packets, within the limits. */
  open(overQuotaSlack: number): void {
    const { limits, now } = this.#pool
    this.#overQuotaSlack = overQuotaSlack
    this.#framer.limit = limits.packetBytes
    this.#rate.fill(limits, now)
    this.#lastRead = now
  }

  /** Called when a publish of `bytes` begins to wait for the disk. */
  begin(bytes: number): void {
    this.#inflight++
    this.#inflightBytes += bytes
    const { inflight, inflightBytes } = this.#pool.limits
    if (this.#inflight >= inflight + this.#overQuotaSlack || this.#inflightBytes >= inflightBytes)
      this.pause(pauseReason.inflight)
  }

  /** Called when such a publish is on disk or refused. */
  done(bytes: number): void {
    this.#inflight--
    this.#inflightBytes -= bytes
    if ((this.#holds & pauseReason.inflight) === 0) return
    const { inflight, inflightBytes } = this.#pool.limits
    if (this.#inflight * 2 <= inflight && this.#inflightBytes * 2 <= inflightBytes) this.resume(pauseReason.inflight)
  }

  /** True while publishes of this connection wait for the disk. */
  get waiting(): boolean {
    return this.#inflight > 0
  }

  /** Counts one more publish of `bytes`; above the rate limit, pauses reading until the rate is within the limit. */
  spend(bytes: number): void {
    const owed = this.#rate.take(this.#pool.limits, bytes, this.#pool.now)
    if (owed === 0 || (this.#holds & pauseReason.rate) !== 0) return
    this.pause(pauseReason.rate)
    const ms = Math.min(maxTimerMs, Math.max(1, owed * 1_000))
    this.#rateTimer = setTimeout(() => this.resume(pauseReason.rate), ms).unref()
  }

  #read(chunk: Buffer): void {
    const connection = this.#connection
    connection.arrived(chunk.length)
    if (connection.isClosed) return
    // A client whose first byte is not that of CONNECT is refused without waiting for more. [MQTT-3.1.0-1]
    const isFirst = !this.#hasBegun && this.#framer.buffered === 0
    if (isFirst && chunk[0] !== connectHeader) {
      connection.failed(new MalformedPacket('MQTT-3.1.0-1', 'the first packet is not CONNECT'))
      return
    }
    this.#pool.traffic.bytesIn += chunk.length
    connection.traffic.bytesIn += chunk.length
    this.#framer.push(chunk)
    const hasTurn = this.#hasTurn
    this.#hasTurn = false
    if (this.#holds !== 0) this.#stop()
    else if (this.#pool.overloaded) this.pause(pauseReason.overload)
    else if (this.#isGranted(chunk.length) || hasTurn) {
      this.#process()
      // A flooding client waits for the next turn with bytes in the kernel, not in memory.
      if (chunk.length >= bulkBytes) this.yield()
    } else this.pause(pauseReason.turn)
  }

  #isGranted(bytes: number): boolean {
    return this.#hasBegun ? this.#pool.grant(bytes) : this.#pool.grantConnect()
  }

  /** Pauses reading until the next turn of this connection. */
  yield(): void {
    if (this.#holds === 0 && !this.#connection.isClosed) this.pause(pauseReason.turn)
  }

  /**
   * Called when this connection's turn has come and `workEnd` is set. Returns the bytes that the turn may be used for.
   * A connection that did more work than a turn allows lets turns pass until the others have done as much.
   */
  takeTurn(): number {
    const { work, workEnd } = this.#pool
    this.#debt -= Math.min(this.#debt, workEnd - work.done)
    if (this.#debt > 0 && !this.#connection.isClosed) {
      this.#pool.queue(this)
      return 0
    }
    const { buffered } = this.#framer
    this.#holds &= ~(pauseReason.turn | pauseReason.overload)
    this.#hasTurn = this.#holds === 0
    if (this.#holds === 0) this.#process()
    return Math.max(buffered, bulkBytes)
  }

  /** True while the client waits for the hub: for a turn, or for the answer to CONNECT. */
  get isPaused(): boolean {
    return this.#holds !== 0
  }

  /** True once CONNECT has come. */
  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** Bytes that came and are not handled yet. */
  get buffered(): number {
    return this.#framer.buffered
  }

  #process(): void {
    const framer = this.#framer
    const connection = this.#connection
    const { work, traffic, workEnd } = this.#pool
    try {
      while (this.#holds === 0 && !connection.isClosed && framer.next()) {
        this.#lastRead = this.#pool.now
        traffic.packetsIn++
        work.done += charge.packet
        connection.packet(framer)
        if (work.done < workEnd) continue
        this.#debt += work.done - workEnd
        this.yield()
      }
    } catch (error) {
      connection.failed(error)
    }
    if (this.#holds !== 0) return
    if (this.#isPeerGone) connection.finished()
    else if (this.#isStopped && !connection.isClosed) this.#start()
  }

  // — pauses —

  pause(reason: number): void {
    this.#holds |= reason
    if (reason === pauseReason.turn || reason === pauseReason.overload) this.#pool.queue(this)
    this.#stop()
  }

  resume(reasons: number): void {
    if ((this.#holds & reasons) === 0) return
    this.#holds &= ~reasons
    if (this.#holds !== 0) return
    this.#holds = pauseReason.turn
    this.#pool.queue(this)
  }

  /**
   * Stops reading at the socket's handle, too: a paused stream would read 64 KB more, and a thousand paused connections
   * a thousand times as much. Node must go on believing that the handle reads, or would start reading again.
   */
  #stop(): void {
    if (this.#isStopped) return
    this.#isStopped = true
    this.#stream.pause()
    handleOf(this.#stream)?.readStop()
  }

  #start(): void {
    this.#isStopped = false
    handleOf(this.#stream)?.readStart()
    this.#stream.resume()
  }

  /** Milliseconds without a packet at `now`; 0 while the hub itself does not read, and starts over afterwards. */
  silentMs(now: number): number {
    if (this.#holds !== 0) this.#lastRead = now
    return now - this.#lastRead
  }

  /** Forgives a time (ms) in which the hub itself was stalled. */
  extendDeadline(ms: number): void {
    this.#lastRead += ms
  }

  // — the end —

  /**
   * Called when the peer is gone: packets that came before still count, a DISCONNECT above all. Returns true while some
   * are to be handled.
   */
  peerGone(): boolean {
    if (this.#holds === 0 || this.#framer.buffered === 0) return false
    this.#isPeerGone = true
    this.resume(pauseReason.rate | pauseReason.outbox)
    return true
  }

  get isPeerGone(): boolean {
    return this.#isPeerGone
  }

  /** Discards what still comes: a peer that still sends must not keep the last packets from leaving. */
  discard(): void {
    this.#start()
  }

  close(): void {
    clearTimeout(this.#rateTimer)
    this.#framer = new Framer(0)
  }
}

interface ReadHandle {
  readStop(): void
  readStart(): void
}

/** Returns the handle of a plain TCP socket. TLS and WebSocket streams have buffers in between: undefined. */
function handleOf(stream: Duplex): ReadHandle | undefined {
  const { _handle: handle, encrypted } = stream as Duplex & { _handle?: ReadHandle | null; encrypted?: boolean }
  return handle && !encrypted ? handle : undefined
}
