import { decode, Token, Tokenizer, Type } from 'cborg'
import { Undecodable } from './sample.js'
import { type Tree, toTree } from './tree.js'
import { type JsonLimits, tooDeep } from './tree-reader.js'

/** Decodes CBOR (RFC 8949): one data item and nothing behind it. Throws {@link Undecodable}. */
export function decodeCbor(payload: Buffer, limits: JsonLimits): Tree {
  const bytes = new Uint8Array(payload.buffer, payload.byteOffset, payload.length)
  try {
    return toTree(decode(bytes, { useMaps: true, tags, tokenizer: new BoundedTokenizer(bytes, limits.depth) }))
  } catch (error) {
    if (error instanceof Undecodable) throw error
    throw new Undecodable('bad_cbor', `not valid CBOR: ${(error as Error).message}`)
  }
}

/** Longest integer of a bignum, in bytes. */
const maxBignum = 64

/** Tags with a meaning here; all others are left out, and their contents stay. [RFC 8949 §3.4] */
const tags = {
  2: (contents: () => unknown) => bignum(contents()),
  3: (contents: () => unknown) => -1n - bignum(contents()),
  4: (contents: () => unknown) => fraction(contents(), 10),
  5: (contents: () => unknown) => fraction(contents(), 2),
}

function bignum(bytes: unknown): bigint {
  if (!(bytes instanceof Uint8Array) || bytes.length > maxBignum) throw new Error('a bignum of the wrong form')
  return bytes.length === 0 ? 0n : BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
}

/** Returns the number of a decimal fraction or a bigfloat: exponent and mantissa. */
function fraction(contents: unknown, base: 2 | 10): number {
  const [exponent, mantissa] = Array.isArray(contents) ? contents : []
  const isNumeric = (one: unknown): one is number | bigint => typeof one === 'number' || typeof one === 'bigint'
  if (!isNumeric(exponent) || !isNumeric(mantissa)) throw new Error('a fraction of the wrong form')
  return base === 10 ? Number(`${mantissa}e${exponent}`) : Number(mantissa) * 2 ** Number(exponent)
}

const majorText = 3

/**
 * Reads the tokens of a data item, and bounds the nesting, which the decoder follows by recursion. Strings in chunks
 * (§3.2.3), simple values (§3.3) and tags without a meaning here are read, too.
 */
class BoundedTokenizer extends Tokenizer {
  readonly #depth: number
  /** Items that are still to come in each array and map that is open; one for the content of a tag. */
  readonly #left: number[] = []

  constructor(bytes: Uint8Array, depth: number) {
    super(bytes, { allowBigInt: true })
    this.#depth = depth
  }

  override next(): Token {
    const token = this.#read()
    if (token.type === Type.array) this.#open(token.value as number)
    else if (token.type === Type.map) this.#open(2 * (token.value as number))
    else if (token.type === Type.tag) this.#open(1)
    else if (token.type === Type.break) {
      this.#left.pop()
      this.#close()
    } else this.#close()
    return token
  }

  #open(items: number): void {
    if (items === 0) {
      this.#close()
      return
    }
    this.#left.push(items)
    if (this.#left.length > this.#depth) throw tooDeep(this.#depth)
  }

  /** Notes that an item is complete, and with it everything of which it is the last item. */
  #close(): void {
    while (this.#left.length > 0) {
      const left = (this.#left.pop() as number) - 1
      if (left > 0) {
        this.#left.push(left)
        return
      }
    }
  }

  #read(): Token {
    for (;;) {
      const initial = this.data[this._pos] as number
      if (initial === undefined) throw new Error('unexpected end of data')
      if (initial === 0x5f || initial === 0x7f) return this.#chunks(initial >> 5)
      if (initial >= 0xe0 && initial <= 0xf3) return this.#simple(1)
      if (initial === 0xf8) return this.#simple(2)
      const token = super.next()
      if (token.type !== Type.tag || Object.hasOwn(tags, token.value as number)) return token
    }
  }

  /** Reads a string whose length is not known in advance: strings of the same type, and a break. */
  #chunks(major: number): Token {
    const start = this._pos++
    const chunks: Uint8Array[] = []
    for (;;) {
      const initial = this.data[this._pos] as number
      if (initial === 0xff) break
      if (initial === undefined || initial >> 5 !== major || (initial & 31) === 31) throw new Error('a bad chunk')
      const end = this._pos
      const { encodedLength = 0, value } = super.next()
      chunks.push(major === majorText ? Buffer.from(value as string) : (value as Uint8Array))
      if (encodedLength <= 0 || this._pos <= end) throw new Error('a bad chunk')
    }
    this._pos++
    const whole = Buffer.concat(chunks)
    const length = this._pos - start
    return major === majorText ? new Token(Type.string, whole.toString(), length) : new Token(Type.bytes, whole, length)
  }

  /** Reads a simple value of `bytes` bytes that has no meaning here: no value. */
  #simple(bytes: number): Token {
    if (this._pos + bytes > this.data.length) throw new Error('unexpected end of data')
    this._pos += bytes
    return new Token(Type.null, null, bytes)
  }
}
