import { writeAck } from '../mqtt/v3.js'

/**
 * The frames of a transport: WebSocket puts each packet, or each part of a cut packet, into a separate frame; TCP and
 * TLS have no frames.
 */
export interface Framing {
  /** Returns the bytes of the header of a frame that carries `length` bytes. */
  headerBytes(length: number): number
  /** Writes that header. Returns where the header ends in `target`. */
  writeHeader(target: Buffer, at: number, length: number): number
}

/** A packet in one part, or in several that follow each other: header and payload of a PUBLISH. */
export type Packet = Buffer | readonly Buffer[]

const ackBytes = 4

/** Memory of a waiting packet or acknowledgement, beside the bytes, about. */
const overheadBytes = 32

/** Largest piece that is written at once; the time that one takes distinguishes a slow reader from a stuck one. */
const pieceBytes = 65_536

/**
 * The packets that wait to be written to one client. Whole packets go in; pieces for the transport come out. Only a
 * packet longer than a piece is cut, and nothing comes between the parts.
 */
export class Outbox {
  readonly #framing: Framing | undefined
  #packets: Packet[] = []
  /** Acknowledgements, each as `type << 16 | packetId`. */
  #acks: number[] = []
  #bytes = 0
  /** The rest of the packet that is being cut. */
  #rest: Buffer[] = []
  #restBytes = 0
  /** True when a packet was discarded in the middle: the client could read nothing that followed. */
  #isBroken = false

  constructor(framing?: Framing) {
    this.#framing = framing
  }

  /** Bytes of waiting packets, without the headers of the transport. */
  get bytes(): number {
    return this.#bytes
  }

  /** Memory of everything that waits, about. */
  get memory(): number {
    return this.#bytes + overheadBytes * (this.#packets.length + this.#acks.length)
  }

  /** True when the pieces taken so far end within a packet. */
  get isWithinPacket(): boolean {
    return this.#restBytes > 0 || this.#isBroken
  }

  push(packet: Packet): void {
    if (this.#isBroken) return
    this.#packets.push(packet)
    this.#bytes += lengthOf(packet)
  }

  /** Adds an acknowledgement of four bytes. These overtake other packets, which no version of MQTT forbids. */
  pushAck(type: number, packetId: number): void {
    if (this.#isBroken) return
    this.#acks.push((type << 16) | packetId)
    this.#bytes += ackBytes
  }

  /** Drops everything that waits. When that cuts a packet, the outbox takes no other. */
  discard(): void {
    this.#isBroken = this.isWithinPacket
    this.#packets = []
    this.#acks = []
    this.#rest = []
    this.#bytes = this.#restBytes = 0
  }

  /** Takes the next piece, framed. To be called only while `bytes` is not 0. */
  next(): Buffer {
    if (this.#restBytes > 0) return this.#nextPart()
    const [first] = this.#packets
    if (this.#acks.length === 0 && first) {
      if (lengthOf(first) > pieceBytes) {
        this.#packets.shift()
        this.#rest = Buffer.isBuffer(first) ? [first] : [...first]
        this.#restBytes = lengthOf(first)
        return this.#nextPart()
      }
      if (this.#packets.length === 1 && Buffer.isBuffer(first) && !this.#framing) {
        this.#packets = []
        this.#bytes -= first.length
        return first
      }
    }
    return this.#nextPackets()
  }

  /** Takes all acknowledgements, and as many whole packets as fit beside them. */
  #nextPackets(): Buffer {
    const packets = this.#packets
    const acks = this.#acks
    let size = acks.length * this.#framedBytes(ackBytes)
    let payload = acks.length * ackBytes
    let count = 0
    for (; count < packets.length; count++) {
      const length = lengthOf(packets[count] as Packet)
      // A full piece alone may exceed the limit by the header of the frame.
      if (size > 0 && size + length > pieceBytes) break
      size += this.#framedBytes(length)
      payload += length
    }
    const piece = Buffer.allocUnsafe(size)
    let at = 0
    for (const ack of acks) {
      at = this.#writeHeader(piece, at, ackBytes)
      writeAck(piece, at, ack >> 16, ack & 0xffff)
      at += ackBytes
    }
    for (let i = 0; i < count; i++) {
      const packet = packets[i] as Packet
      at = this.#writeHeader(piece, at, lengthOf(packet))
      if (Buffer.isBuffer(packet)) {
        piece.set(packet, at)
        at += packet.length
        continue
      }
      for (const part of packet) {
        piece.set(part, at)
        at += part.length
      }
    }
    if (acks.length > 0) this.#acks = []
    this.#packets = count === packets.length ? [] : packets.slice(count)
    this.#bytes -= payload
    return piece
  }

  /** Takes the next part of the packet that is being cut. */
  #nextPart(): Buffer {
    const length = Math.min(pieceBytes, this.#restBytes)
    this.#restBytes -= length
    this.#bytes -= length
    const [part] = this.#rest
    if (part && part.length >= length && !this.#framing) {
      if (part.length > length) this.#rest[0] = part.subarray(length)
      else this.#rest.shift()
      return part.subarray(0, length)
    }
    const piece = Buffer.allocUnsafe(this.#framedBytes(length))
    let at = this.#writeHeader(piece, 0, length)
    while (at < piece.length) {
      const part = this.#rest[0] as Buffer
      const taken = part.subarray(0, piece.length - at)
      piece.set(taken, at)
      at += taken.length
      if (taken.length < part.length) this.#rest[0] = part.subarray(taken.length)
      else this.#rest.shift()
    }
    return piece
  }

  #framedBytes(length: number): number {
    return length + (this.#framing?.headerBytes(length) ?? 0)
  }

  #writeHeader(target: Buffer, at: number, length: number): number {
    return this.#framing?.writeHeader(target, at, length) ?? at
  }
}

function lengthOf(packet: Packet): number {
  if (Buffer.isBuffer(packet)) return packet.length
  let length = 0
  for (const part of packet) length += part.length
  return length
}
