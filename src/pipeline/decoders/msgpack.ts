import { Decoder, ExtensionCodec } from '@msgpack/msgpack'
import { Undecodable } from './sample.js'
import { type Tree, toTree } from './tree.js'
import { type JsonLimits, tooDeep } from './tree-reader.js'

/** Decodes MessagePack: one value and nothing behind it. Throws {@link Undecodable}. */
export function decodeMessagePack(payload: Buffer, limits: JsonLimits): Tree {
  examine(payload, limits.depth)
  try {
    return toTree(decoder.decode(payload))
  } catch (error) {
    throw bad((error as Error).message)
  }
}

function bad(detail: string): Undecodable {
  return new Undecodable('bad_msgpack', `not valid MessagePack: ${detail}`)
}

const extensionCodec = new ExtensionCodec()
const decoder = new Decoder({
  extensionCodec,
  useBigInt64: true,
  mapKeyConverter: key => (typeof key === 'string' ? key : JSON.stringify(toTree(key))),
})
const decodeKnown = extensionCodec.decode.bind(extensionCodec)
// The bytes of an unknown extension are kept as text, without the extension's number.
extensionCodec.decode = (bytes, type, context) => (type === -1 ? decodeKnown(bytes, type, context) : bytes)

/**
 * Checks that the payload is one whole value, and that the nesting is within `depth`. The library allocates an array as
 * long as the payload names it, so a few bytes could take any amount of memory.
 */
function examine(payload: Buffer, depth: number): void {
  /** Values that are still to come in each array and map that is open. */
  const open: number[] = []
  let at = 0
  do {
    if (at >= payload.length) throw bad('the payload ends within a value')
    const head = payload[at++] as number
    const { bytes, values } = extentOf(head, payload, at)
    at += bytes
    if (at + values > payload.length) throw bad('the payload ends within a value')
    if (values > 0) {
      open.push(values)
      if (open.length > depth) throw tooDeep(depth)
      continue
    }
    while (open.length > 0) {
      const left = (open.pop() as number) - 1
      if (left > 0) {
        open.push(left)
        break
      }
    }
  } while (open.length > 0)
  if (at < payload.length) throw bad(`${payload.length - at} bytes behind the value`)
}

/** Returns the number of bytes behind the first byte of a value, and the number of values within the value. */
function extentOf(head: number, payload: Buffer, at: number): { bytes: number; values: number } {
  if (head < 0x80 || head >= 0xe0) return { bytes: 0, values: 0 }
  if (head < 0x90) return { bytes: 0, values: 2 * (head & 0x0f) }
  if (head < 0xa0) return { bytes: 0, values: head & 0x0f }
  if (head < 0xc0) return { bytes: head & 0x1f, values: 0 }
  const sizeBytes = sizes[head - 0xc0] as number
  if (sizeBytes < 0) return { bytes: -sizeBytes - 1, values: 0 }
  if (sizeBytes === 0) throw bad('a byte that begins no value')
  if (at + sizeBytes > payload.length) throw bad('the payload ends within a value')
  const size = payload.readUIntBE(at, sizeBytes)
  if (head >= 0xdc) return { bytes: sizeBytes, values: head >= 0xde ? 2 * size : size }
  return { bytes: sizeBytes + size + (head >= 0xc7 && head <= 0xc9 ? 1 : 0), values: 0 }
}

/**
 * For the first bytes from 0xc0 to 0xdf: the number of bytes that hold a size; or -1 less the number of bytes, where the
 * first byte alone determines that; or 0 for the byte that begins no value.
 */
const sizes = [
  ...[-1, 0, -1, -1, 1, 2, 4, 1, 2, 4, -5, -9, -2, -3, -5, -9],
  ...[-2, -3, -5, -9, -3, -4, -6, -10, -18, 1, 2, 4, 2, 4, 2, 4],
]
