import { isUtf8 } from 'node:buffer'
import type { DecoderName } from '../../config/settings.js'
import { decodeCbor } from './cbor.js'
import { inflate, looksLikeGzip, looksLikeZlib } from './inflate.js'
import { decodeJson, innerParser, parseJson, type ReadOptions } from './json.js'
import { decodeLine, looksLikeLine } from './line.js'
import { trimmed } from './members.js'
import { decodeMessagePack } from './msgpack.js'
import type { RuleDecoder } from './rule-decoders.js'
import { type Sample, Undecodable } from './sample.js'
import { looksLikeSenml, readSenml } from './senml.js'
import { looksLikeTelegraf, readTelegraf } from './telegraf.js'
import { isTreeObject, type Tree } from './tree.js'
import { type JsonLimits, readTree } from './tree-reader.js'
import { decodeValue } from './value.js'

export interface DecodeOptions extends ReadOptions {
  readonly decoder?: DecoderName | undefined
  /** Decoder made of the files that the rule names; before all others. */
  readonly ownDecoder?: RuleDecoder | undefined
  /** Content type of the message, as MQTT 5 has it. */
  readonly contentType?: string | undefined
}

/**
 * Decodes the readings of a payload; none from an empty or blank payload (which clears a retained message and carries
 * nothing more). Throws {@link Undecodable}. The decoder is the one that the mapping names; else the one of the content type;
 * else the payload shows which. For text, the first characters choose: `{` or `[` is JSON, a line with
 * tags or a time is line protocol, anything else a bare value. A payload that looks like JSON and is not JSON is an error, not text. Bytes that
 * are no text must show beyond doubt what they are.
 */
export function decode(payload: Buffer, options: DecodeOptions): readonly Sample[] {
  if (payload.length === 0) return []
  const { ownDecoder, receivedAt, json } = options
  if (ownDecoder) return read(ownDecoder(payload, receivedAt, json), payload.length, options)
  const format = options.decoder ?? formatOf(payload, options.contentType)
  switch (format) {
    case 'gzip':
    case 'zlib': {
      const { decoder: _, contentType: __, ...others } = options
      const inflated = inflate(payload, format, options.json.inflated)
      // What is compressed twice stays bytes, so that a few of them cannot ask for one decompression after another.
      return isUtf8(inflated) ? decodeText(inflated, undefined, others) : decodeContainer(inflated, others)
    }
    case 'cbor':
      return read(decodeCbor(payload, options.json), payload.length, options)
    case 'msgpack':
      return read(decodeMessagePack(payload, options.json), payload.length, options)
    case 'senml': {
      const pack = isUtf8(payload) ? parseJson(payload.toString(), options.json) : decodeCbor(payload, options.json)
      return readSenml(pack as Tree, options.receivedAt, options.json)
    }
    case 'bytes':
      return decodeBytes(payload, options)
    default:
      // Without a format, the payload is known to be text.
      if (format !== undefined && !isUtf8(payload)) throw notText()
      return decodeText(payload, format, options)
  }
}

/** Content types, in lower case and without parameters, of formats that are not chosen by what the payload looks like. */
const byContentType = new Map<string, DecoderName>([
  ['application/cbor', 'cbor'],
  ['application/msgpack', 'msgpack'],
  ['application/x-msgpack', 'msgpack'],
  ['application/vnd.msgpack', 'msgpack'],
  ['application/senml+json', 'senml'],
  ['application/sensml+json', 'senml'],
  ['application/senml+cbor', 'senml'],
  ['application/sensml+cbor', 'senml'],
  ['application/gzip', 'gzip'],
  ['application/x-gzip', 'gzip'],
  ['application/zlib', 'zlib'],
])

/**
 * Returns the format of a payload for which the mapping names none: by content type, or whether the payload is text.
 * `bytes` are bytes that are no text, whose format only a try can tell. Undefined for text.
 */
export function formatOf(payload: Buffer, contentType?: string): DecoderName | 'bytes' | undefined {
  const known = contentType && byContentType.get((contentType.split(';')[0] as string).trim().toLowerCase())
  if (known) return known
  return isUtf8(payload) ? undefined : 'bytes'
}

function decodeText(payload: Buffer, decoder: DecoderName | undefined, options: DecodeOptions): readonly Sample[] {
  // Without what surrounds the text: a byte order mark, blanks, the NULs of C.
  const text = trimmed(payload.toString('utf8'))
  if (text.length === 0) return none
  switch (decoder ?? choose(text)) {
    case 'line':
      return decodeLine(text, options.receivedAt)
    case 'value':
      return decodeValue(text, options.rules, options.memory)
    default:
      return decodeJson(text, options)
  }
}

const none: readonly never[] = []

function choose(text: string): DecoderName {
  const first = text[0]
  if (first === '{') return 'json'
  if (first === '[') return isArray(text) ? 'json' : 'value'
  if (first === '"') return isString(text) ? 'json' : 'value'
  return looksLikeLine(text) ? 'line' : 'value'
}

/** Whether a text in brackets is an array, not a line of a log: `[D][sensor:093]: …`, `[12:30:01] started`. */
function isArray(text: string): boolean {
  return /^\[\s*(?:[[{"\]]|[+-]?[\d.]|true|false|null|nan|-?inf|$)/i.test(text) && !/^\[[^[\]{}"]*\]\s*[^\s]/.test(text)
}

function isString(text: string): boolean {
  try {
    return typeof JSON.parse(text) === 'string'
  } catch {
    return false
  }
}

/** Reads what a binary format holds. Its numbers are exact. */
function read(tree: unknown, length: number, options: DecodeOptions): Sample[] {
  if (looksLikeSenml(tree)) return readSenml(tree as Tree, options.receivedAt, options.json)
  if (looksLikeTelegraf(tree)) return readTelegraf(tree)
  return readTree(tree, length, { ...options, isExact: true, parseInner: innerParser(options.json) })
}

/** Decodes bytes that are no text, where they show beyond doubt which format they have. */
function decodeBytes(payload: Buffer, options: DecodeOptions): readonly Sample[] {
  // A byte order mark is a sure sign of UTF-16, as .NET and Java write it.
  if (payload.length % 2 === 0) {
    if (payload[0] === 0xff && payload[1] === 0xfe) {
      return decodeText(Buffer.from(payload.toString('utf16le')), undefined, options)
    }
    if (payload[0] === 0xfe && payload[1] === 0xff) {
      return decodeText(Buffer.from(Buffer.from(payload).swap16().toString('utf16le')), undefined, options)
    }
  }
  if (looksLikeGzip(payload)) return decode(payload, { ...options, decoder: 'gzip' })
  if (!looksLikeZlib(payload)) return decodeContainer(payload, options)
  try {
    return decode(payload, { ...options, decoder: 'zlib' })
  } catch (error) {
    // Two bytes are no proof. Where the check behind the contents is right, too, there is no doubt.
    if (error instanceof Undecodable && error.reason === 'bad_zlib') throw notText()
    throw error
  }
}

/** Decodes a map or an array of CBOR or MessagePack. */
function decodeContainer(payload: Buffer, options: DecodeOptions): readonly Sample[] {
  const tree = isContainer(payload[0] as number) ? treeOf(payload, options.json) : undefined
  if (tree === undefined) throw notText()
  return read(tree, payload.length, options)
}

/** Whether a first byte begins a map or an array of CBOR or MessagePack, or the mark of CBOR. */
function isContainer(first: number): boolean {
  return (first >= 0x80 && first <= 0xbf) || (first >= 0xdc && first <= 0xdf) || first === 0xd9
}

function treeOf(payload: Buffer, limits: JsonLimits): Tree | undefined {
  for (const decodeTree of [decodeMessagePack, decodeCbor]) {
    try {
      const tree = decodeTree(payload, limits)
      if (isSure(tree)) return tree
    } catch (error) {
      if (!(error instanceof Undecodable)) throw error
    }
  }
  return undefined
}

/**
 * Whether a tree is what a device means to send, and not a tree that other bytes form by chance: an object whose names
 * are words, or two numbers at least; a SenML pack; an array with such an object, a text or a fraction.
 */
function isSure(tree: Tree): boolean {
  if (Array.isArray(tree)) return looksLikeSenml(tree) || (tree.every(isPossible) && tree.some(isTelling))
  if (!isTreeObject(tree)) return false
  const names = Object.keys(tree)
  return names.every(isWord) && (names.length > 1 || names.some(name => !/^-?\d+$/.test(name)))
}

function isPossible(element: Tree): boolean {
  if (typeof element === 'string') return isWord(element)
  return typeof element !== 'object' || element === null || isSure(element)
}

function isTelling(element: Tree): boolean {
  if (typeof element === 'number') return !Number.isInteger(element)
  return typeof element === 'string' ? element.length > 1 : typeof element === 'object' && element !== null
}

function isWord(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what no word has
  return text.length > 0 && !/[\0-\x1f\x7f-\x9f\ufffd]/.test(text)
}

function notText(): Undecodable {
  return new Undecodable('not_utf8', 'the payload is not UTF-8 text')
}
