/**
 * A decoded payload of a binary format, as `JSON.parse` returns a text: objects, arrays, texts, numbers, booleans, null.
 */
export type Tree = null | boolean | number | string | readonly Tree[] | { readonly [name: string]: Tree }

const { MIN_SAFE_INTEGER: smallest, MAX_SAFE_INTEGER: largest } = Number

/** Returns an integer as a number when a number holds it exactly, else as text. */
export function exactInteger(value: bigint): number | string {
  return value >= smallest && value <= largest ? Number(value) : String(value)
}

/**
 * Returns what a library has decoded as a {@link Tree}. Bytes become hexadecimal text, an instant ISO 8601; NaN, the
 * infinities and undefined are null, as they say that there is no value. The nesting is bounded by the decoder.
 */
export function toTree(value: unknown): Tree {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value
    case 'number':
      return Number.isFinite(value) ? value : null
    case 'bigint':
      return exactInteger(value)
    case 'object':
      break
    default:
      return null
  }
  if (value === null) return null
  if (Array.isArray(value)) return value.map(toTree)
  if (value instanceof Uint8Array) return hex(value)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  const entries = value instanceof Map ? [...value] : Object.entries(value)
  return Object.fromEntries(entries.map(([name, inner]) => [nameOf(name), toTree(inner)]))
}

/** Returns the text for the key of a map, which may be a number or bytes. */
function nameOf(key: unknown): string {
  if (typeof key === 'string') return key
  return key instanceof Uint8Array ? hex(key) : JSON.stringify(toTree(key))
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
}

/** A tree that is an object. */
export type TreeObject = { readonly [name: string]: Tree }

export function isTreeObject(tree: Tree | undefined): tree is TreeObject {
  return typeof tree === 'object' && tree !== null && !Array.isArray(tree)
}
