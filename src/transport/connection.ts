import type { Framer } from '../mqtt/framer.js'
import { MalformedPacket } from '../mqtt/primitives.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import { PacketReader, pauseReason, type ReadConnection } from './packet-reader.js'
import { PacketWriter, type WrittenConnection } from './packet-writer.js'
import type { Peer, Pool, Transport } from './pool.js'

/** The MQTT side of a connection. */
export interface PacketHandler {
  /** Called when the framer is at a whole packet. An error thrown closes the connection. */
  packet(framer: Framer): void
  /** Called when there is room in the outbox again. */
  writable(): void
  /** Returns the packet that tells the client why the connection is about to be closed. Undefined if there is none. */
  disconnectPacket(fault: Fault): Buffer | undefined
  /**
   * Called when the client has sent a packet larger than allowed, before the connection is closed. Returns whether the
   * handler has counted and logged that.
   */
  tooLarge(sentence: string): boolean
  /** Called once, when the connection is over. */
  closed(): void
}

/** Code of the error of ws for a message beyond the limit. */
const messageTooLong = 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH'

/** How long a peer may take to close after the last packet has left. */
const lingerMs = 500
/** Limit of the time from the connection to CONNACK while the client waits for the hub, in `limits.connect`. */
const waitFactor = 3

/**
 * One network connection, before and behind the MQTT protocol: the {@link PacketReader} cuts what comes into packets,
 * the {@link PacketWriter} gathers what leaves, and the life of the connection joins both. Everything is bounded.
 */
export class Connection implements ReadConnection, WrittenConnection {
  readonly peer: Peer
  /** Bytes that came, and that were written. */
  readonly traffic = { bytesIn: 0, bytesOut: 0 }
  readonly #stream: Transport
  readonly #pool: Pool
  readonly #reader: PacketReader
  readonly #writer: PacketWriter
  #protocol: PacketHandler | undefined
  #state: 'hello' | 'open' | 'ending' | 'closed' = 'hello'
  #openedAt: number
  #endedAt = 0
  #endReason: string | undefined
  /** Whether the client is authenticated, and waits for the hub to be connected. */
  #isKeptWaiting = false
  /** Milliseconds without a packet after which the connection is closed; 0: never. */
  #patienceMs = 0

  constructor(stream: Transport, peer: Peer, pool: Pool) {
    this.peer = peer
    this.#stream = stream
    this.#pool = pool
    this.#openedAt = pool.now
    if (stream.opened) stream.arrived = bytes => pool.hello(this, bytes)
    this.#reader = new PacketReader(stream, pool, this)
    this.#writer = new PacketWriter(stream, pool, this)
    stream.on('error', error => this.#failed(error))
    stream.on('close', () => this.#gone())
  }

  /** Sets the protocol that gets the packets. */
  serve(protocol: PacketHandler): void {
    this.#protocol = protocol
  }

  /** Called when CONNECT is with the broker: pauses reading until `open`, as later packets would overtake CONNECT. */
  connecting(): void {
    this.#reader.connecting()
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

  /** Called when an authenticated client waits for the hub: limits of clients that are not connected end. */
  keepWaiting(): void {
    this.#isKeptWaiting = true
    this.#pool.opened(this)
  }

  /** Resumes reading before `open` for the next AUTH of enhanced authentication. */
  awaitAuthPacket(): void {
    this.#reader.resume(pauseReason.connecting)
  }

  /**
   * Called when the client is connected: all packets may be read. `keepAlive`: as granted, in seconds; 0 for none.
   * `isTold`: whether the client knows how many publishes may be in flight.
   */
  open(keepAlive: number, isTold = false): void {
    if (this.#state !== 'hello') return
    this.#state = 'open'
    this.#reader.open(isTold ? 1 : 0)
    // [MQTT-3.1.2-24]
    this.#patienceMs = keepAlive * 1_500
    this.#stream.opened?.()
    this.#pool.opened(this)
    this.#reader.resume(pauseReason.connecting)
  }

  /** Called when a publish of `bytes` begins to wait for the disk. */
  begin(bytes: number): void {
    this.#reader.begin(bytes)
  }

  /** Called when such a publish is on disk or refused. */
  done(bytes: number): void {
    this.#reader.done(bytes)
  }

  /** True while publishes of this connection wait for the disk. */
  get waiting(): boolean {
    return this.#reader.waiting
  }

  /** Counts one more publish of `bytes`; above the rate limit, pauses reading until the rate is within the limit. */
  spend(bytes: number): void {
    this.#reader.spend(bytes)
  }

  /** Pauses reading until {@link goOn}: the next packets are not to overtake one that waits for the hub. */
  waitForHub(): void {
    this.#reader.pause(pauseReason.restoring)
  }

  goOn(): void {
    this.#reader.resume(pauseReason.restoring)
  }

  /** Pauses reading until the next turn of this connection. */
  yield(): void {
    this.#reader.yield()
  }

  // — out: nothing once the connection is about to be closed —

  /** False while so much waits that further messages should wait in the session. */
  get hasCapacity(): boolean {
    return this.#writer.hasCapacity
  }

  /** True while so much waits that QoS 0 finds no room. */
  get isFull(): boolean {
    return this.#writer.isFull
  }

  /** Sends a PUBLISH, in one part or two. */
  publish(parts: readonly Buffer[]): void {
    if (!this.isClosed) this.#writer.publish(parts)
  }

  /** Sends any other packet. */
  write(packet: Buffer): void {
    if (!this.isClosed) this.#writer.write(packet)
  }

  writeAck(type: number, packetId: number): void {
    if (this.#state === 'open') this.#writer.writeAck(type, packetId)
    else if (this.#state === 'hello') this.#writer.writeAckInOrder(type, packetId)
  }

  // — ReadConnection, WrittenConnection: what the two halves report —

  arrived(bytes: number): void {
    if (this.#state === 'hello' && !this.#stream.opened) this.#pool.hello(this, bytes)
  }

  packet(framer: Framer): void {
    this.#protocol?.packet(framer)
  }

  failed(error: unknown): void {
    const malformed = error instanceof MalformedPacket
    const isTooLarge = malformed && error.tooLarge
    const reason = !malformed ? 'internal' : isTooLarge ? 'packet_too_large' : 'malformed'
    const sentence = `${error instanceof Error ? error.message : error}${malformed ? ` [${error.clause}]` : ''}`
    if (!isTooLarge || this.#protocol?.tooLarge(error.message) !== true) this.#pool.refused(reason, sentence)
    this.end(
      malformed
        ? { code: error.reasonCode, reason: error.message }
        : { code: reasonCode.unspecified, reason: 'internal error of the hub' },
    )
  }

  /** Called when the stream fails: ws gives up a message that is far longer than a packet may be. */
  #failed(error: Error & { readonly code?: string }): void {
    if (error.code !== messageTooLong || this.isClosed) return
    const sentence = 'a WebSocket message of more bytes than a packet may have'
    if (this.#protocol?.tooLarge(sentence) !== true) this.#pool.refused('packet_too_large', sentence)
  }

  finished(): void {
    this.#close()
  }

  congested(): void {
    if (this.#state === 'open' && !this.#reader.isPeerGone) this.#reader.pause(pauseReason.outbox)
  }

  emptied(): void {
    if (this.#state === 'ending') this.#stream.end()
  }

  relieved(isWanted: boolean): void {
    this.#reader.resume(pauseReason.outbox)
    if (isWanted) this.#protocol?.writable()
  }

  // — the end —

  /** Called twice a second: closes a connection whose client sends nothing, takes nothing, or does not finish. */
  sweep(): void {
    const { limits, now } = this.#pool
    // Ten thousand clients that come at once wait for each other, which is no fault of theirs.
    const connectMs = this.#reader.isPaused ? waitFactor * limits.connectMs : limits.connectMs
    if (this.#state === 'hello' && !this.#isKeptWaiting && now - this.#openedAt > connectMs) {
      const reason = `not connected within ${connectMs} ms`
      this.#pool.refused('connect_timeout', reason)
      this.giveUp({ code: reasonCode.notAuthorized, reason })
    } else if (this.#writer.isStuck(now)) this.#cutOff()
    else if (this.#state === 'ending' && this.#writer.isEmpty && now - this.#endedAt > lingerMs) this.destroy()
    else this.#checkKeepAlive(now)
  }

  #checkKeepAlive(now: number): void {
    const silentMs = this.#reader.silentMs(now)
    if (this.#patienceMs === 0 || silentMs <= this.#patienceMs || this.isClosed) return
    const reason = `sent nothing for ${Math.round(silentMs)} ms`
    this.#pool.refused('keepalive_timeout', reason)
    this.end({ code: reasonCode.keepAliveTimeout, reason })
  }

  /** Closes a connection that takes nothing: discards waiting packets, and sends the reason as the last packet. */
  #cutOff(): void {
    if (this.isClosed) {
      this.destroy()
      return
    }
    const reason = `read nothing for ${this.#pool.limits.stuckMs} ms, with ${this.#writer.unsent} bytes waiting`
    this.#pool.refused('slow_consumer', reason)
    this.#endReason = reason
    const farewell =
      this.#writer.isReadable && this.#protocol?.disconnectPacket({ code: reasonCode.quotaExceeded, reason })
    if (!farewell) {
      this.destroy()
      return
    }
    this.#ending()
    this.#writer.endWith(farewell)
  }

  /** Extends all deadlines by a time (ms) in which the hub itself was stalled: no client is to blame. */
  extendDeadlines(ms: number): void {
    this.#reader.extendDeadline(ms)
    this.#writer.extendDeadline(ms)
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
    this.#ending()
    if (this.#writer.unsent === 0) this.#stream.end()
    else this.#writer.scheduleFlush()
  }

  #ending(): void {
    this.#state = 'ending'
    this.#endedAt = this.#pool.now
    this.#over()
    this.#reader.discard()
  }

  destroy(): void {
    this.#stream.destroy()
    this.#close()
  }

  get isClosed(): boolean {
    return this.#state === 'closed' || this.#state === 'ending'
  }

  /** Called when the peer is gone. */
  #gone(): void {
    if (!this.isClosed && this.#reader.peerGone()) this.#writer.peerGone()
    else this.#close()
  }

  #close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#reader.close()
    this.#writer.discard()
    this.#over()
  }

  #over(): void {
    const protocol = this.#protocol
    this.#protocol = undefined
    protocol?.closed()
  }
}
