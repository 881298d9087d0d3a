import type { Duplex } from 'node:stream'
import { Framer } from '../mqtt/framer.js'
import { MalformedPacket, packetType } from '../mqtt/primitives.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import { writeAck } from '../mqtt/v3.js'
import { charge, type Work } from '../runtime/work.js'
import { type Framing, Outbox, type Packet } from './outbox.js'

/** The other end of a connection. */
export interface Peer {
  readonly address: string
  readonly listener: 'mqtt' | 'mqtts' | 'ws' | 'wss'
  /** The names in the client certificate that was verified; empty without one. */
  readonly certificate: readonly string[]
}

/** A byte stream to a client. With `framing`, bytes written to the stream must be framed. */
export type Transport = Duplex & {
  readonly framing?: Framing
  /** Called with the number of bytes that came, by a transport that holds bytes back until a message is whole. */
  arrived?: ((bytes: number) => void) | undefined
  /** Called when the client is connected: allows messages as long as any packet, and ends the calls of `arrived`. */
  opened?(): void
}

/** The MQTT side of a connection. */
export interface PacketHandler {
  /** Called when the framer is at a whole packet. An error thrown closes the connection. */
  packet(framer: Framer): void
  /** Called when there is room in the outbox again. */
  writable(): void
  /** Returns the packet that tells the client why the connection is about to be closed. Undefined if there is none. */
  disconnectPacket(fault: Fault): Buffer | undefined
  /** Called once, when the connection is over. */
  closed(): void
}

export interface ConnectionLimits {
  /** Largest packet before `open` (`helloBytes`) and after, in bytes. */
  readonly helloBytes: number
  readonly packetBytes: number
  /** Publishes, and bytes of publishes, that may wait for the disk before reading is paused. */
  readonly inflight: number
  readonly inflightBytes: number
  /** Publishes and bytes a second; 0 is no limit. */
  readonly messages: number
  readonly bytes: number
  /** Bytes that may wait to be written; above that number QoS 0 is dropped. */
  readonly outboxBytes: number
  /** Milliseconds from the connection to `open`. */
  readonly connectMs: number
  /** Milliseconds that one write may take. */
  readonly stuckMs: number
  /** Longest keep alive in milliseconds; 0 is no limit. */
  readonly keepAliveMs: number
}

/** Counters of all connections since the start. */
export interface Traffic {
  bytesIn: number
  bytesOut: number
  packetsIn: number
  packetsOut: number
  publishesOut: number
}

/** All connections together, as one connection uses them. */
export interface Pool {
  readonly limits: ConnectionLimits
  /** Milliseconds of a clock that never jumps, as of this turn of the event loop. */
  readonly now: number
  /** While true nothing is read: publishes accepted already wait for the disk. */
  readonly overloaded: boolean
  readonly work: Work
  /** Returns whether so many bytes may be processed in this turn, or the connection has to wait for a later one. */
  grant(bytes: number): boolean
  /** The value of `work.done` at which the connection served now must let others have their turn. */
  readonly workEnd: number
  /** Queues a connection to be resumed in the next turn. */
  queue(connection: Connection): void
  /** Marks a connection to be flushed when this turn ends. */
  dirty(connection: Connection): void
  /** Counts bytes from a client that is not connected. May close this connection, or another, for want of room. */
  hello(connection: Connection, bytes: number): void
  opened(connection: Connection): void
  refused(reason: string, sentence: string): void
  dropped(): void
  readonly traffic: Traffic
}

/** Reasons for which reading is paused, as bit flags: several may hold at a time. */
const pauseReason = { turn: 1, inflight: 2, rate: 4, overload: 8, connecting: 16, outbox: 32 } as const

const connectHeader = packetType.connect << 4

/** How long a peer may take to close after the last packet has left. */
const lingerMs = 500

/** Longest timer: Node takes a longer one for 1 ms. */
const maxTimerMs = 2 ** 31 - 1

/** Bytes in one read that come only from a client sending as fast as possible: Node reads up to twice as many. */
const bulkBytes = 32_768

/**
 * One network connection, before and behind the MQTT protocol. Cuts incoming bytes into packets, with true
 * back-pressure (bytes that are not read stay with the sender, in TCP). Gathers outgoing packets until the turn of the
 * event loop ends, so that they leave in one piece. Everything is bounded.
 */
export class Connection {
  readonly peer: Peer
  readonly #stream: Transport
  readonly #pool: Pool
  #framer: Framer
  #openedAt: number
  #protocol: PacketHandler | undefined
  #state: 'hello' | 'open' | 'ending' | 'closed' = 'hello'
  /** True once CONNECT has come. */
  #hasBegun = false
  #holds = 0
  #stopped = false
  #hasTurn = false
  /** Work done beyond this connection's turns, for which later turns are skipped. */
  #debt = 0
  /** True when the peer has closed and bytes that came before are still to be read. */
  #isGone = false
  #endedAt = 0
  #endReason: string | undefined
  #rateTimer: NodeJS.Timeout | undefined
  #inflight = 0
  /**
   * One extra place in flight for MQTT 5 clients. They were sent Receive Maximum: a publish beyond the limit must be
   * read and rejected as a protocol error, not left in the socket.
   */
  #overQuotaSlack = 0
  #inflightBytes = 0
  #lastRead: number
  /** Milliseconds without a packet after which the connection is closed; 0: never. */
  #patienceMs = 0
  /** Publishes and bytes that may still be read before the rate limit holds. */
  #messagesLeft = 0
  #bytesLeft = 0
  #refilledAt = 0
  readonly #outbox: Outbox
  #writing = 0
  #writingSince = 0
  #isDirty = false
  /** True when the session has more to send than there was room for. */
  #wanted = false

  constructor(stream: Transport, peer: Peer, pool: Pool) {
    this.peer = peer
    this.#stream = stream
    this.#outbox = new Outbox(stream.framing)
    this.#pool = pool
    this.#framer = new Framer(pool.limits.helloBytes)
    this.#openedAt = this.#lastRead = pool.now
    if (stream.opened) stream.arrived = bytes => pool.hello(this, bytes)
    stream.on('data', this.#read.bind(this))
    stream.on('error', ignore)
    stream.on('close', () => this.#gone())
  }

  /** Sets the protocol that gets the packets. */
  serve(protocol: PacketHandler): void {
    this.#protocol = protocol
  }

  /** Called when CONNECT is with the broker: pauses reading until `open`, as later packets would overtake CONNECT. */
  connecting(): void {
    this.#hasBegun = true
    this.#pauseReading(pauseReason.connecting)
  }

  /**
   * Returns the keep alive to enforce, in seconds; 0 is none. With `isTold`, for MQTT 5, the hub's limit is a whole
   * number from 1 to 65,535, as CONNACK carries two bytes.
   */
  grantedKeepAlive(asked: number, isTold: boolean): number {
    const limit = this.#pool.limits.keepAliveMs / 1_000
    const most = isTold && limit > 0 ? Math.min(0xffff, Math.max(1, Math.floor(limit))) : limit
    return most > 0 && (asked === 0 || asked > most) ? most : asked
  }

  /** Resumes reading before `open` for the next AUTH of enhanced authentication. */
  awaitAuthPacket(): void {
    this.#resumeReading(pauseReason.connecting)
  }

  /**
   * Called when the client is connected: all packets may be read. `keepAlive`: as granted, in seconds; 0 for none.
   * `isTold`: whether the client knows how many publishes may be in flight.
   */
  open(keepAlive: number, isTold = false): void {
    if (this.#state !== 'hello') return
    this.#overQuotaSlack = isTold ? 1 : 0
    const { limits, now } = this.#pool
    this.#state = 'open'
    this.#framer.limit = limits.packetBytes
    this.#messagesLeft = limits.messages
    this.#bytesLeft = limits.bytes
    this.#refilledAt = this.#lastRead = now
    // [MQTT-3.1.2-24]
    this.#patienceMs = keepAlive * 1_500
    this.#stream.opened?.()
    this.#pool.opened(this)
    this.#resumeReading(pauseReason.connecting)
  }

  /** Called when a publish of `bytes` begins to wait for the disk. */
  begin(bytes: number): void {
    this.#inflight++
    this.#inflightBytes += bytes
    const { inflight, inflightBytes } = this.#pool.limits
    if (this.#inflight >= inflight + this.#overQuotaSlack || this.#inflightBytes >= inflightBytes)
      this.#pauseReading(pauseReason.inflight)
  }

  /** Called when such a publish is on disk or refused. */
  done(bytes: number): void {
    this.#inflight--
    this.#inflightBytes -= bytes
    if ((this.#holds & pauseReason.inflight) === 0) return
    const { inflight, inflightBytes } = this.#pool.limits
    if (this.#inflight * 2 <= inflight && this.#inflightBytes * 2 <= inflightBytes)
      this.#resumeReading(pauseReason.inflight)
  }

  /** True while publishes of this connection wait for the disk. */
  get waiting(): boolean {
    return this.#inflight > 0
  }

  /** Counts one more publish of `bytes`; above the rate limit, pauses reading until the rate is within the limit. */
  spend(bytes: number): void {
    const { messages, bytes: perSecond } = this.#pool.limits
    if (messages === 0 && perSecond === 0) return
    const now = this.#pool.now
    const seconds = (now - this.#refilledAt) / 1_000
    this.#refilledAt = now
    this.#messagesLeft = Math.min(messages, this.#messagesLeft + seconds * messages) - 1
    this.#bytesLeft = Math.min(perSecond, this.#bytesLeft + seconds * perSecond) - bytes
    const owed = Math.max(
      messages > 0 ? -this.#messagesLeft / messages : 0,
      perSecond > 0 ? -this.#bytesLeft / perSecond : 0,
    )
    if (owed <= 0 || (this.#holds & pauseReason.rate) !== 0) return
    this.#pauseReading(pauseReason.rate)
    const ms = Math.min(maxTimerMs, Math.max(1, owed * 1_000))
    this.#rateTimer = setTimeout(() => this.#resumeReading(pauseReason.rate), ms).unref()
  }

  // — out: nothing once the connection is about to be closed —

  get hasCapacity(): boolean {
    if (this.#unsent < this.#pool.limits.outboxBytes / 2) return true
    this.#wanted = true
    return false
  }

  /** Returns whether so much waits that QoS 0 is dropped, and counts one drop if so. */
  drops(): boolean {
    if (this.#unsent <= this.#pool.limits.outboxBytes) return false
    this.#pool.dropped()
    return true
  }

  /** Bytes that the client has yet to take. */
  get #unsent(): number {
    return this.#outbox.bytes + this.#writing
  }

  /** Sends a PUBLISH, in one part or two. */
  publish(parts: readonly Buffer[]): void {
    if (this.isClosed) return
    this.#pool.traffic.publishesOut++
    this.#push(parts.length === 1 ? (parts[0] as Buffer) : parts)
  }

  /** Sends any other packet. */
  write(packet: Buffer): void {
    if (!this.isClosed) this.#push(packet)
  }

  writeAck(type: number, packetId: number): void {
    if (this.isClosed) return
    if (this.#state === 'hello') {
      // Acknowledgements of a resumed session must not overtake CONNACK. [MQTT-3.2.0-1]
      const packet = Buffer.allocUnsafe(4)
      writeAck(packet, 0, type, packetId)
      this.#push(packet)
      return
    }
    this.#pool.traffic.packetsOut++
    this.#outbox.pushAck(type, packetId)
    this.#scheduleFlush()
    this.#checkOutbox()
  }

  #push(packet: Packet): void {
    this.#pool.traffic.packetsOut++
    this.#outbox.push(packet)
    this.#scheduleFlush()
    this.#checkOutbox()
  }

  /** Pauses reading when a client sends requests and does not read the answers. */
  #checkOutbox(): void {
    if (this.#state !== 'open' || this.#isGone) return
    if (this.#outbox.memory > 2 * this.#pool.limits.outboxBytes) this.#pauseReading(pauseReason.outbox)
  }

  #scheduleFlush(): void {
    if (this.#isDirty) return
    this.#isDirty = true
    this.#pool.dirty(this)
  }

  /** Called at the end of a turn: writes the next piece, unless the last one is still on the way. */
  flush(): void {
    this.#isDirty = false
    if (this.#isGone) this.#outbox.discard()
    if (this.#writing > 0 || this.#outbox.bytes === 0 || this.#state === 'closed') return
    const piece = this.#outbox.next()
    this.#writing = piece.length
    this.#writingSince = this.#pool.now
    this.#pool.traffic.bytesOut += piece.length
    this.#stream.write(piece, this.#written)
  }

  readonly #written = (): void => {
    this.#writing = 0
    if (this.#outbox.bytes > 0) this.flush()
    else if (this.#state === 'ending') this.#stream.end()
    if (this.#unsent >= this.#pool.limits.outboxBytes / 2) return
    this.#resumeReading(pauseReason.outbox)
    if (!this.#wanted) return
    this.#wanted = false
    this.#protocol?.writable()
  }

  // — in —

  #read(chunk: Buffer): void {
    if (this.#state === 'hello' && !this.#stream.opened) this.#pool.hello(this, chunk.length)
    if (this.#state !== 'hello' && this.#state !== 'open') return
    // A client whose first byte is not that of CONNECT is refused without waiting for more. [MQTT-3.1.0-1]
    const isFirst = !this.#hasBegun && this.#framer.buffered === 0
    if (isFirst && chunk[0] !== connectHeader) {
      this.#refuse(new MalformedPacket('MQTT-3.1.0-1', 'the first packet is not CONNECT'))
      return
    }
    this.#pool.traffic.bytesIn += chunk.length
    this.#framer.push(chunk)
    const hasTurn = this.#hasTurn
    this.#hasTurn = false
    if (this.#holds !== 0) this.#stop()
    else if (this.#pool.overloaded) this.#pauseReading(pauseReason.overload)
    else if (this.#pool.grant(chunk.length) || hasTurn) {
      this.#process()
      // A flooding client waits for the next turn with bytes in the kernel, not in memory.
      if (chunk.length >= bulkBytes) this.yield()
    } else this.#pauseReading(pauseReason.turn)
  }

  /** Pauses reading until the next turn of this connection. */
  yield(): void {
    if (this.#holds === 0 && !this.isClosed) this.#pauseReading(pauseReason.turn)
  }

  /**
   * Called when this connection's turn has come and `workEnd` is set. Returns the bytes that the turn may be used for.
   * A connection that did more work than a turn allows lets turns pass until the others have done as much.
   */
  resume(): number {
    const { work, workEnd } = this.#pool
    this.#debt -= Math.min(this.#debt, workEnd - work.done)
    if (this.#debt > 0 && !this.isClosed) {
      this.#pool.queue(this)
      return 0
    }
    const buffered = this.#framer.buffered
    this.#holds &= ~(pauseReason.turn | pauseReason.overload)
    this.#hasTurn = this.#holds === 0
    if (this.#holds === 0) this.#process()
    return Math.max(buffered, bulkBytes)
  }

  get buffered(): number {
    return this.#framer.buffered
  }

  #process(): void {
    const framer = this.#framer
    const { work, traffic, workEnd } = this.#pool
    try {
      while (this.#holds === 0 && (this.#state === 'open' || this.#state === 'hello') && framer.next()) {
        this.#lastRead = this.#pool.now
        traffic.packetsIn++
        work.done += charge.packet
        this.#protocol?.packet(framer)
        if (work.done < workEnd) continue
        this.#debt += work.done - workEnd
        this.yield()
      }
    } catch (error) {
      this.#refuse(error)
    }
    if (this.#holds !== 0) return
    if (this.#isGone) this.#close()
    else this.#start()
  }

  #refuse(error: unknown): void {
    const malformed = error instanceof MalformedPacket
    const reason = !malformed ? 'internal' : error.tooLarge ? 'packet_too_large' : 'malformed'
    this.#pool.refused(
      reason,
      `${error instanceof Error ? error.message : error}${malformed ? ` [${error.clause}]` : ''}`,
    )
    this.end(
      malformed
        ? { code: error.reasonCode, reason: error.message }
        : { code: reasonCode.unspecified, reason: 'an error in the hub' },
    )
  }

  #pauseReading(why: number): void {
    this.#holds |= why
    if (why === pauseReason.turn || why === pauseReason.overload) this.#pool.queue(this)
    this.#stop()
  }

  #resumeReading(why: number): void {
    if ((this.#holds & why) === 0) return
    this.#holds &= ~why
    if (this.#holds !== 0) return
    this.#holds = pauseReason.turn
    this.#pool.queue(this)
  }

  /**
   * Stops reading at the socket's handle, too: a paused stream would read 64 KB more, and a thousand paused connections
   * a thousand times as much. Node must go on believing that the handle reads, or would start reading again.
   */
  #stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#stream.pause()
    handleOf(this.#stream)?.readStop()
  }

  #start(): void {
    if (!this.#stopped || this.isClosed) return
    this.#resume()
  }

  #resume(): void {
    this.#stopped = false
    handleOf(this.#stream)?.readStart()
    this.#stream.resume()
  }

  // — the end —

  /** Called twice a second: closes a connection whose client sends nothing, takes nothing, or does not finish. */
  sweep(): void {
    const { limits, now } = this.#pool
    if (this.#state === 'hello' && now - this.#openedAt > limits.connectMs) {
      const reason = `not connected within ${limits.connectMs} ms`
      this.#pool.refused('connect_timeout', reason)
      this.giveUp({ code: reasonCode.notAuthorized, reason })
    } else if (this.#writing > 0 && now - this.#writingSince > limits.stuckMs) this.#cutOff()
    else if (this.#state === 'ending' && this.#outbox.bytes === 0 && now - this.#endedAt > lingerMs) this.destroy()
    else if (this.#patienceMs > 0 && this.#holds === 0 && now - this.#lastRead > this.#patienceMs) {
      if (this.isClosed) return
      const reason = `said nothing for ${Math.round(now - this.#lastRead)} ms`
      this.#pool.refused('keepalive_timeout', reason)
      this.end({ code: reasonCode.keepAliveTimeout, reason })
    } else if (this.#holds !== 0) this.#lastRead = now
  }

  /** Closes a connection that takes nothing: discards waiting packets, and sends the reason as the last packet. */
  #cutOff(): void {
    if (this.isClosed) {
      this.destroy()
      return
    }
    const waiting = this.#unsent
    const reason = `took nothing for ${this.#pool.limits.stuckMs} ms with ${waiting} bytes waiting`
    this.#pool.refused('slow_consumer', reason)
    this.#endReason = reason
    const isReadable = !this.#outbox.isWithinPacket
    const farewell = isReadable && this.#protocol?.disconnectPacket({ code: reasonCode.quotaExceeded, reason })
    this.#outbox.discard()
    if (!farewell) {
      this.destroy()
      return
    }
    this.#state = 'ending'
    this.#endedAt = this.#pool.now
    this.#over()
    this.#resume()
    this.#outbox.push(farewell)
    this.#stream.end(this.#outbox.next())
  }

  /** Extends all deadlines by a time (ms) in which the hub itself was stalled: no client is to blame. */
  extendDeadlines(ms: number): void {
    this.#lastRead += ms
    this.#writingSince += ms
    this.#openedAt += ms
  }

  /** Why the hub ends or has ended this connection, in words. Undefined when the peer did. */
  get endReason(): string | undefined {
    return this.#endReason
  }

  /** Closes the connection when all packets have left; reads nothing more. Sends the client the reason if possible. */
  end(fault?: Fault): void {
    if (this.isClosed) return
    this.#endReason = fault?.reason
    this.#end(fault && this.#protocol?.disconnectPacket(fault))
  }

  /** Closes a connection that is not `open`: at once, or after the time to send the client the reason, if possible. */
  giveUp(fault: Fault): void {
    const farewell = this.#protocol?.disconnectPacket(fault)
    if (!farewell) {
      this.destroy()
      return
    }
    this.#end(farewell)
    setTimeout(() => this.destroy(), lingerMs).unref()
  }

  #end(farewell: Buffer | undefined): void {
    if (farewell) this.write(farewell)
    this.#state = 'ending'
    this.#endedAt = this.#pool.now
    this.#over()
    // A peer that still sends must not keep the last packets from leaving: incoming bytes are discarded.
    this.#resume()
    if (this.#unsent === 0) this.#stream.end()
    else this.#scheduleFlush()
  }

  destroy(): void {
    this.#stream.destroy()
    this.#close()
  }

  get isClosed(): boolean {
    return this.#state === 'closed' || this.#state === 'ending'
  }

  /** Called when the peer is gone: packets that came before still count, a DISCONNECT above all. */
  #gone(): void {
    if (!this.isClosed && this.#holds !== 0 && this.#framer.buffered > 0) {
      this.#isGone = true
      this.#outbox.discard()
      this.#resumeReading(pauseReason.rate | pauseReason.outbox)
    } else this.#close()
  }

  #close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    clearTimeout(this.#rateTimer)
    this.#framer = new Framer(0)
    this.#outbox.discard()
    this.#over()
  }

  #over(): void {
    const protocol = this.#protocol
    this.#protocol = undefined
    protocol?.closed()
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

function ignore(): void {}
