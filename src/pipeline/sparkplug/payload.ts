import { inflate } from '../decoders/inflate.js'
import { type BinaryReader, BinaryWriter, readMessage, shortestFloat, WireType } from '../decoders/protobuf.js'
import { Undecodable } from '../decoders/sample.js'

/*
 * The payload of Sparkplug B 3.0 (§6.4): a message of Protobuf. What the hub has no use for is skipped.
 */

/** Types of metrics. [Sparkplug 3.0 §6.4.16] */
export const dataType = {
  int8: 1,
  int16: 2,
  int32: 3,
  int64: 4,
  uint8: 5,
  uint16: 6,
  uint32: 7,
  uint64: 8,
  boolean: 11,
  dateTime: 13,
  dataSet: 16,
  template: 19,
} as const

/** A value as the bytes have it: integers are unsigned until the type of the metric is known. */
export type RawValue =
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'long'; readonly value: bigint }
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'boolean'; readonly value: boolean }
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'bytes'; readonly value: Uint8Array }
  | { readonly kind: 'dataset'; readonly value: DataSet }
  | { readonly kind: 'template'; readonly value: Template }

export interface DataSet {
  readonly columns: readonly string[]
  readonly types: readonly number[]
  readonly rows: readonly (readonly (RawValue | undefined)[])[]
}

export interface Template {
  readonly metrics: readonly Metric[]
  readonly isDefinition: boolean
}

export interface Metric {
  readonly name?: string
  readonly alias?: number
  /** Milliseconds since the epoch. */
  readonly timestamp?: number
  readonly dataType?: number
  readonly isTransient?: boolean
  readonly isNull?: boolean
  readonly unit?: string
  /** Undefined when there is no value. */
  readonly value?: RawValue
}

export interface SparkplugPayload {
  /** Milliseconds since the epoch. */
  readonly timestamp?: number
  readonly metrics: readonly Metric[]
  /** From 0 to 255. */
  readonly seq?: number
}

type Mutable<T> = { -readonly [Name in keyof T]: T[Name] }

/** Most levels of templates within templates. */
const maxDepth = 16
/** Most metrics of one payload, those in templates included. */
const maxMetrics = 100_000
/** Mark of a payload that holds another one, compressed. */
const compressed = 'SPBV1.0_COMPRESSED'
/** Names of the property of a metric that tells the unit, as Ignition, Canary and others write them. */
const unitProperties = new Set(['engunit', 'engunits', 'engineeringunits', 'engineering units', 'unit', 'units', 'uom'])

/**
 * Decodes a payload. Throws {@link Undecodable}.
 * @param inflated Bytes that a compressed payload may become
 */
export function decodeSparkplug(bytes: Uint8Array, inflated: number): SparkplugPayload {
  const { uuid, body, ...payload } = decodePayload(bytes)
  if (uuid !== compressed || !body) return payload
  const isGzip = payload.metrics.some(({ name, value }) => name === 'algorithm' && value?.value === 'GZIP')
  const buffer = Buffer.from(body.buffer, body.byteOffset, body.length)
  const { uuid: _, body: __, ...inner } = decodePayload(inflate(buffer, isGzip ? 'gzip' : 'zlib', inflated))
  return { ...inner, ...(payload.seq !== undefined && { seq: payload.seq }) }
}

function decodePayload(bytes: Uint8Array): SparkplugPayload & { readonly uuid?: string; readonly body?: Uint8Array } {
  const budget = { metrics: maxMetrics }
  const metrics: Metric[] = []
  const payload: Mutable<Omit<ReturnType<typeof decodePayload>, 'metrics'>> = {}
  readMessage(bytes, (field, reader, wireType) => {
    if (wireType === WireType.Varint && field === 1) payload.timestamp = Number(reader.uint64())
    else if (wireType === WireType.Varint && field === 3) payload.seq = Number(reader.uint64())
    else if (wireType !== WireType.LengthDelimited) return false
    else if (field === 2) metrics.push(decodeMetric(reader.bytes(), maxDepth, budget))
    else if (field === 4) payload.uuid = reader.string()
    else if (field === 5) payload.body = reader.bytes()
    else return false
    return true
  })
  return { ...payload, metrics }
}

function decodeMetric(bytes: Uint8Array, depth: number, budget: { metrics: number }): Metric {
  if (--budget.metrics < 0) throw new Undecodable('too_many_fields', `more than ${maxMetrics} metrics`)
  const metric: Mutable<Metric> = {}
  readMessage(bytes, (field, reader, wireType) => {
    if (wireType === WireType.Varint) {
      if (field === 2) metric.alias = Number(reader.uint64())
      else if (field === 3) metric.timestamp = Number(reader.uint64())
      else if (field === 4) metric.dataType = reader.uint32()
      else if (field === 6) metric.isTransient = reader.bool()
      else if (field === 7) metric.isNull = reader.bool()
      else return take(metric, scalar(field, reader, wireType, 10))
      return true
    }
    if (wireType !== WireType.LengthDelimited) return take(metric, scalar(field, reader, wireType, 10))
    if (field === 1) metric.name = reader.string()
    else if (field === 9) Object.assign(metric, decodeProperties(reader.bytes()))
    else if (field === 16) metric.value = { kind: 'bytes', value: reader.bytes() }
    else if (field === 17) metric.value = { kind: 'dataset', value: decodeDataSet(reader.bytes()) }
    else if (field === 18) {
      if (depth === 0) throw new Undecodable('too_deep', `templates nested deeper than ${maxDepth} levels`)
      metric.value = { kind: 'template', value: decodeTemplate(reader.bytes(), depth - 1, budget) }
    } else return take(metric, scalar(field, reader, wireType, 10))
    return true
  })
  return metric
}

function take(metric: Mutable<Metric>, value: RawValue | undefined): boolean {
  if (value) metric.value = value
  return value !== undefined
}

/**
 * Reads one of the fields that hold a value, which follow each other from the field `first` in every message that has
 * them: int, long, float, double, boolean, text. Undefined for another field.
 */
function scalar(field: number, reader: BinaryReader, wireType: WireType, first: number): RawValue | undefined {
  switch (field - first) {
    case 0:
      return wireType === WireType.Varint ? { kind: 'int', value: reader.uint32() } : undefined
    case 1:
      return wireType === WireType.Varint ? { kind: 'long', value: BigInt(reader.uint64()) } : undefined
    case 2:
      return wireType === WireType.Bit32 ? { kind: 'number', value: shortestFloat(reader.float()) } : undefined
    case 3:
      return wireType === WireType.Bit64 ? { kind: 'number', value: reader.double() } : undefined
    case 4:
      return wireType === WireType.Varint ? { kind: 'boolean', value: reader.bool() } : undefined
    case 5:
      return wireType === WireType.LengthDelimited ? { kind: 'text', value: reader.string() } : undefined
    default:
      return undefined
  }
}

function decodeProperties(bytes: Uint8Array): Pick<Metric, 'unit'> {
  const names: string[] = []
  const texts: (string | undefined)[] = []
  readMessage(bytes, (field, reader, wireType) => {
    if (wireType !== WireType.LengthDelimited) return false
    if (field === 1) names.push(reader.string())
    else if (field === 2) texts.push(textOf(reader.bytes()))
    else return false
    return true
  })
  const unit = texts[names.findIndex(name => unitProperties.has(name.toLowerCase()))]
  return unit ? { unit } : {}
}

/** Returns the value of a property that is a text. */
function textOf(bytes: Uint8Array): string | undefined {
  let text: string | undefined
  readMessage(bytes, (field, reader, wireType) => {
    if (field !== 8 || wireType !== WireType.LengthDelimited) return false
    text = reader.string()
    return true
  })
  return text
}

function decodeDataSet(bytes: Uint8Array): DataSet {
  const columns: string[] = []
  const types: number[] = []
  const rows: (RawValue | undefined)[][] = []
  readMessage(bytes, (field, reader, wireType) => {
    if (field === 3 && wireType === WireType.Varint) types.push(reader.uint32())
    else if (wireType !== WireType.LengthDelimited) return false
    else if (field === 2) columns.push(reader.string())
    else if (field === 3) {
      const end = reader.uint32() + reader.pos
      while (reader.pos < Math.min(end, reader.len)) types.push(reader.uint32())
    } else if (field === 4) rows.push(decodeRow(reader.bytes()))
    else return false
    return true
  })
  return { columns, types, rows }
}

function decodeRow(bytes: Uint8Array): (RawValue | undefined)[] {
  const elements: (RawValue | undefined)[] = []
  readMessage(bytes, (field, reader, wireType) => {
    if (field !== 1 || wireType !== WireType.LengthDelimited) return false
    let value: RawValue | undefined
    readMessage(reader.bytes(), (inner, innerReader, innerType) => {
      const found = scalar(inner, innerReader, innerType, 1)
      value = found ?? value
      return found !== undefined
    })
    elements.push(value)
    return true
  })
  return elements
}

function decodeTemplate(bytes: Uint8Array, depth: number, budget: { metrics: number }): Template {
  const metrics: Metric[] = []
  let isDefinition = false
  readMessage(bytes, (field, reader, wireType) => {
    if (field === 2 && wireType === WireType.LengthDelimited) metrics.push(decodeMetric(reader.bytes(), depth, budget))
    else if (field === 5 && wireType === WireType.Varint) isDefinition = reader.bool()
    else return false
    return true
  })
  return { metrics, isDefinition }
}

/** Returns the payload of a command that asks an edge node for its births. [Sparkplug 3.0 §6.4.19] */
export function encodeRebirth(timestamp: number): Buffer {
  const metric = new BinaryWriter()
  metric.tag(1, WireType.LengthDelimited).string('Node Control/Rebirth')
  metric.tag(3, WireType.Varint).uint64(timestamp)
  metric.tag(4, WireType.Varint).uint32(dataType.boolean)
  metric.tag(14, WireType.Varint).bool(true)
  const payload = new BinaryWriter().tag(1, WireType.Varint).uint64(timestamp)
  return Buffer.from(payload.tag(2, WireType.LengthDelimited).bytes(metric.finish()).finish())
}
