import { writeAck } from '../mqtt/v3.js'
import { Outbox, type Packet } from './outbox.js'
import type { Pool, Transport } from './pool.js'

/** The connection, as the writer uses one. */
export interface WrittenConnection {
  readonly traffic: { bytesOut: number }
  /** Called when so much waits that the client, which sends requests, does not seem to read the answers. */
  congested(): void
  /** Called when everything has left. */
  emptied(): void
  /** Called when there is room again. `isWanted`: whether the session has more to send than there was room for. */
  relieved(isWanted: boolean): void
}

/**
 * The writing half of a connection: gathers outgoing packets until the turn of the event loop ends, so that they leave
 * in one piece. One piece is on the way at a time.
 */
export class PacketWriter {
  readonly #stream: Transport
  readonly #pool: Pool
  readonly #connection: WrittenConnection
  readonly #outbox: Outbox
  /** Bytes of the piece on the way; 0 for none. */
  #writing = 0
  #writingSince = 0
  #isScheduled = false
  #isWanted = false
  #isPeerGone = false

  constructor(stream: Transport, pool: Pool, connection: WrittenConnection) {
    this.#stream = stream
    this.#pool = pool
    this.#connection = connection
    this.#outbox = new Outbox(stream.framing)
  }

  /** Bytes that the client has yet to take. */
  get unsent(): number {
    return this.#outbox.bytes + this.#writing
  }

  /** True when no packet waits; a piece may be on the way. */
  get isEmpty(): boolean {
    return this.#outbox.bytes === 0
  }

  get hasCapacity(): boolean {
    if (this.unsent < this.#pool.limits.outboxBytes / 2) return true
    this.#isWanted = true
    return false
  }

  /** True while so much waits that QoS 0 finds no room. */
  get isFull(): boolean {
    return this.unsent > this.#pool.limits.outboxBytes
  }

  /** Sends a PUBLISH, in one part or two. */
  publish(parts: readonly Buffer[]): void {
    this.#pool.traffic.publishesOut++
    this.write(parts.length === 1 ? (parts[0] as Buffer) : parts)
  }

  write(packet: Packet): void {
    this.#outbox.push(packet)
    this.#pushed()
  }

  /** Sends an acknowledgement, which overtakes other packets. */
  writeAck(type: number, packetId: number): void {
    this.#outbox.pushAck(type, packetId)
    this.#pushed()
  }

  /** Sends an acknowledgement in the right place: that of a resumed session must not overtake CONNACK. [MQTT-3.2.0-1] */
  writeAckInOrder(type: number, packetId: number): void {
    const packet = Buffer.allocUnsafe(4)
    writeAck(packet, 0, type, packetId)
    this.write(packet)
  }

  #pushed(): void {
    this.#pool.traffic.packetsOut++
    this.scheduleFlush()
    if (this.#outbox.memory > 2 * this.#pool.limits.outboxBytes) this.#connection.congested()
  }

  scheduleFlush(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    this.#pool.dirty(this)
  }

  /** Called at the end of a turn: writes the next piece, unless the last one is still on the way. */
  flush(): void {
    this.#isScheduled = false
    if (this.#isPeerGone) this.#outbox.discard()
    if (this.#writing > 0 || this.#outbox.bytes === 0) return
    const piece = this.#outbox.next()
    this.#writing = piece.length
    this.#writingSince = this.#pool.now
    this.#pool.traffic.bytesOut += piece.length
    this.#connection.traffic.bytesOut += piece.length
    this.#stream.write(piece, this.#written)
  }

  readonly #written = (): void => {
    this.#writing = 0
    if (this.#outbox.bytes > 0) this.flush()
    else this.#connection.emptied()
    if (this.unsent >= this.#pool.limits.outboxBytes / 2) return
    const isWanted = this.#isWanted
    this.#isWanted = false
    this.#connection.relieved(isWanted)
  }

  /** Returns whether the piece on the way takes longer than allowed. */
  isStuck(now: number): boolean {
    return this.#writing > 0 && now - this.#writingSince > this.#pool.limits.stuckMs
  }

  /** Forgives a time (ms) in which the hub itself was stalled. */
  extendDeadline(ms: number): void {
    this.#writingSince += ms
  }

  /** False once a packet was cut off: the client could not read another. */
  get isReadable(): boolean {
    return !this.#outbox.isWithinPacket
  }

  /** Discards what waits, and ends the stream with one last packet. */
  endWith(last: Buffer): void {
    this.#outbox.discard()
    this.#outbox.push(last)
    this.#stream.end(this.#outbox.next())
  }

  /** Discards what waits, and whatever is sent to a peer that is gone. */
  peerGone(): void {
    this.#isPeerGone = true
    this.discard()
  }

  discard(): void {
    this.#outbox.discard()
  }
}
