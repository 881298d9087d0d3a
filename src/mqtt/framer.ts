import { MalformedPacket } from './primitives.js'

const nothing: Buffer = Buffer.alloc(0)

/**
 * Cuts a byte stream into packets. A packet that came in one chunk is not copied; one that did not is put together in
 * a buffer that grows with what arrives, never with what is announced.
 */
export class Framer {
  /** Largest remaining length let through; may be changed between packets. */
  limit: number
  #isStrict = false
  /** The first byte of the packet `next` moved to. */
  header = 0
  /**
   * Holds the packet's body from `start` to `end`, until `push` or `next` is called again. The buffer is a view of the
   * pushed chunks: a caller that keeps bytes copies them.
   */
  buffer = nothing
  start = 0
  end = 0
  /** Bytes held that no packet returned so far contains. */
  buffered = 0
  /** The chunk being read. Bytes from `#at` on are in no packet returned so far. */
  #chunk = nothing
  #at = 0
  /** The chunks after `#chunk`, from `#head` on. */
  #queue: Buffer[] = []
  #head = 0
  /** The beginning of a packet that does not end in the same chunk. */
  #part = nothing
  #filled = 0
  /** Size of that packet with the fixed header; 0 as long as unknown. */
  #size = 0

  constructor(limit: number) {
    this.limit = limit
  }

  /**
   * Refuses remaining lengths encoded in more bytes than needed, from the packet on that `next` moved to. Only MQTT 5
   * has that rule.
   * @throws MalformedPacket when the length of that packet is encoded so
   */
  strict(): void {
    this.#isStrict = true
    // With a body the length is above 0, so a last byte of 0 is not needed.
    if (this.end > this.start && this.buffer[this.start - 1] === 0) throw spareByte()
  }

  /** Takes the next bytes of the stream. The chunk is not copied: the framer owns the bytes until they are returned. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return
    this.buffered += chunk.length
    if (this.#at < this.#chunk.length || this.#head < this.#queue.length) this.#queue.push(chunk)
    else {
      this.#chunk = chunk
      this.#at = 0
    }
  }

  /**
   * Moves to the next whole packet; false when more bytes are wanted.
   * @throws MalformedPacket as soon as a length is announced that is over the limit or encoded in too many bytes
   */
  next(): boolean {
    for (;;) {
      if (this.#filled > 0) {
        if (this.#assemble()) return true
      } else if (this.#at < this.#chunk.length) {
        const size = this.#measure(this.#chunk, this.#at, this.#chunk.length)
        if (size > 0 && this.#at + size <= this.#chunk.length) {
          this.#return(this.#chunk, this.#at, size)
          this.#at += size
          return true
        }
        this.#size = size
        this.#take(this.#chunk.length - this.#at)
      }
      if (this.#at === this.#chunk.length && !this.#turn()) {
        // A connection at rest holds no spare memory: neither the last packet's chunk, nor a chunk for a few bytes.
        this.buffer = nothing
        return false
      }
    }
  }

  /** Fills up the packet that began in an earlier chunk; true when the packet is whole. */
  #assemble(): boolean {
    while (this.#size === 0) {
      this.#size = this.#measure(this.#part, 0, this.#filled)
      if (this.#size > 0) break
      if (this.#at === this.#chunk.length) return false
      this.#take(1)
    }
    this.#take(Math.min(this.#size - this.#filled, this.#chunk.length - this.#at))
    if (this.#filled < this.#size) return false
    this.#return(this.#part, 0, this.#size)
    this.#part = nothing
    this.#filled = this.#size = 0
    return true
  }

  /** Moves bytes of the chunk to the part, which at most doubles and never outgrows the packet. */
  #take(count: number): void {
    const filled = this.#filled + count
    if (filled > this.#part.length) {
      const room = Math.max(2 * filled, 64)
      const part = Buffer.allocUnsafe(this.#size > 0 ? Math.min(room, this.#size) : room)
      this.#part.copy(part, 0, 0, this.#filled)
      this.#part = part
    }
    this.#chunk.copy(this.#part, this.#filled, this.#at, this.#at + count)
    this.#filled = filled
    this.#at += count
  }

  /** Called at the end of a chunk: moves to the next one; false when there is none. */
  #turn(): boolean {
    const chunk = this.#queue[this.#head]
    this.#chunk = chunk ?? nothing
    this.#at = 0
    if (chunk) this.#queue[this.#head++] = nothing
    else this.#head = this.#queue.length = 0
    return chunk !== undefined
  }

  /** Returns the size of the packet at `at`, fixed header included; 0 when the fixed header is incomplete. */
  #measure(buffer: Buffer, at: number, end: number): number {
    let length = 0
    for (let i = 0; i < 4; i++) {
      if (at + 1 + i >= end) return 0
      const byte = buffer[at + 1 + i] as number
      length |= (byte & 0x7f) << (7 * i)
      if (byte > 0x7f) continue
      if (byte === 0 && i > 0 && this.#isStrict) throw spareByte()
      if (length <= this.limit) return 2 + i + length
      throw new MalformedPacket('limit', `a packet of ${length} bytes, larger than ${this.limit}`, undefined, true)
    }
    throw new MalformedPacket('MQTT-2.2.3', 'a remaining length of more than four bytes')
  }

  #return(buffer: Buffer, at: number, size: number): void {
    let start = at + 2
    while ((buffer[start - 1] as number) > 0x7f) start++
    this.header = buffer[at] as number
    this.buffer = buffer
    this.start = start
    this.end = at + size
    this.buffered -= size
  }
}

function spareByte(): MalformedPacket {
  return new MalformedPacket('MQTT-1.5.5-1', 'a remaining length in more bytes than it needs')
}
