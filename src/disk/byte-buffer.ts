/** Writes binary fields. Integers are little endian; a text is a length in bytes (u16) and UTF-8. */
export class ByteWriter {
  #bytes = Buffer.allocUnsafe(4_096)
  #length = 0

  get length(): number {
    return this.#length
  }

  clear(): void {
    this.#length = 0
  }

  /** Bytes written so far, as a view that is valid until the next call. */
  get written(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  u8(value: number): void {
    this.#room(1)
    this.#bytes[this.#length++] = value
  }

  u16(value: number): void {
    this.#room(2)
    this.#length = this.#bytes.writeUInt16LE(value, this.#length)
  }

  u32(value: number): void {
    this.#room(4)
    this.#length = this.#bytes.writeUInt32LE(value, this.#length)
  }

  u48(value: number): void {
    this.#room(6)
    this.#length = this.#bytes.writeUIntLE(value, this.#length, 6)
  }

  f64(value: number): void {
    this.#room(8)
    this.#length = this.#bytes.writeDoubleLE(value, this.#length)
  }

  text(value: string): void {
    // A UTF-16 code unit takes at most three bytes.
    this.#room(2 + value.length * 3)
    const written = this.#bytes.write(value, this.#length + 2)
    this.#bytes.writeUInt16LE(written, this.#length)
    this.#length += 2 + written
  }

  /** Writes the length (u32) and the bytes. */
  sized(value: Buffer): void {
    this.u32(value.length)
    this.raw(value)
  }

  raw(value: Buffer): void {
    this.#room(value.length)
    this.#bytes.set(value, this.#length)
    this.#length += value.length
  }

  #room(more: number): void {
    const needed = this.#length + more
    if (needed <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2))
    larger.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = larger
  }
}

/** The inverse of {@link ByteWriter}. Throws a `RangeError` at the end of the bytes. */
export class ByteReader {
  readonly #bytes: Buffer
  #at: number

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes
    this.#at = at
  }

  get at(): number {
    return this.#at
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1))
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2))
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4))
  }

  u48(): number {
    return this.#bytes.readUIntLE(this.#take(6), 6)
  }

  f64(): number {
    return this.#bytes.readDoubleLE(this.#take(8))
  }

  text(): string {
    const length = this.u16()
    const at = this.#take(length)
    return this.#bytes.toString('utf8', at, at + length)
  }

  /** Returns a view of the bytes, not a copy. */
  sized(): Buffer {
    const length = this.u32()
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }

  /** Returns a view of all remaining bytes. */
  rest(): Buffer {
    return this.#bytes.subarray(this.#at)
  }

  #take(length: number): number {
    const at = this.#at
    this.#at += length
    if (this.#at > this.#bytes.length) throw new RangeError('cut off')
    return at
  }
}
