import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'

/*
 * Payloads of Sparkplug B as an edge node encodes them, written by field number from the specification (3.0 §6.4).
 */

export interface TestMetric {
  readonly name?: string
  readonly alias?: number
  readonly timestamp?: number
  readonly type?: number
  readonly isNull?: boolean
  readonly isTransient?: boolean
  readonly properties?: Readonly<Record<string, string>>
  readonly int?: number
  readonly long?: bigint | number
  readonly float?: number
  readonly double?: number
  readonly boolean?: boolean
  readonly text?: string
  readonly bytes?: Uint8Array
  readonly dataSet?: {
    readonly columns: readonly string[]
    readonly types: readonly number[]
    readonly rows: readonly (readonly number[])[]
  }
  readonly template?: { readonly isDefinition?: boolean; readonly metrics: readonly TestMetric[] }
}

export interface TestPayload {
  readonly timestamp?: number
  readonly metrics?: readonly TestMetric[]
  readonly seq?: number
  readonly uuid?: string
  readonly body?: Uint8Array
}

export function encodePayload({ timestamp, metrics = [], seq, uuid, body }: TestPayload): Buffer {
  const writer = new BinaryWriter()
  if (timestamp !== undefined) writer.tag(1, WireType.Varint).uint64(timestamp)
  for (const metric of metrics) writer.tag(2, WireType.LengthDelimited).bytes(encodeMetric(metric))
  if (seq !== undefined) writer.tag(3, WireType.Varint).uint64(seq)
  if (uuid !== undefined) writer.tag(4, WireType.LengthDelimited).string(uuid)
  if (body !== undefined) writer.tag(5, WireType.LengthDelimited).bytes(body)
  return Buffer.from(writer.finish())
}

function encodeMetric(metric: TestMetric): Uint8Array {
  const writer = new BinaryWriter()
  if (metric.name !== undefined) writer.tag(1, WireType.LengthDelimited).string(metric.name)
  if (metric.alias !== undefined) writer.tag(2, WireType.Varint).uint64(metric.alias)
  if (metric.timestamp !== undefined) writer.tag(3, WireType.Varint).uint64(metric.timestamp)
  if (metric.type !== undefined) writer.tag(4, WireType.Varint).uint32(metric.type)
  if (metric.isTransient !== undefined) writer.tag(6, WireType.Varint).bool(metric.isTransient)
  if (metric.isNull !== undefined) writer.tag(7, WireType.Varint).bool(metric.isNull)
  if (metric.properties) {
    const set = new BinaryWriter()
    for (const name of Object.keys(metric.properties)) set.tag(1, WireType.LengthDelimited).string(name)
    for (const value of Object.values(metric.properties)) {
      const property = new BinaryWriter()
        .tag(1, WireType.Varint)
        .uint32(12)
        .tag(8, WireType.LengthDelimited)
        .string(value)
      set.tag(2, WireType.LengthDelimited).bytes(property.finish())
    }
    writer.tag(9, WireType.LengthDelimited).bytes(set.finish())
  }
  if (metric.int !== undefined) writer.tag(10, WireType.Varint).uint32(metric.int >>> 0)
  if (metric.long !== undefined) writer.tag(11, WireType.Varint).uint64(BigInt.asUintN(64, BigInt(metric.long)))
  if (metric.float !== undefined) writer.tag(12, WireType.Bit32).float(metric.float)
  if (metric.double !== undefined) writer.tag(13, WireType.Bit64).double(metric.double)
  if (metric.boolean !== undefined) writer.tag(14, WireType.Varint).bool(metric.boolean)
  if (metric.text !== undefined) writer.tag(15, WireType.LengthDelimited).string(metric.text)
  if (metric.bytes !== undefined) writer.tag(16, WireType.LengthDelimited).bytes(metric.bytes)
  if (metric.dataSet) {
    const { columns, types, rows } = metric.dataSet
    const set = new BinaryWriter().tag(1, WireType.Varint).uint64(columns.length)
    for (const column of columns) set.tag(2, WireType.LengthDelimited).string(column)
    for (const type of types) set.tag(3, WireType.Varint).uint32(type)
    for (const row of rows) {
      const cells = new BinaryWriter()
      for (const cell of row) {
        cells.tag(1, WireType.LengthDelimited).bytes(new BinaryWriter().tag(4, WireType.Bit64).double(cell).finish())
      }
      set.tag(4, WireType.LengthDelimited).bytes(cells.finish())
    }
    writer.tag(17, WireType.LengthDelimited).bytes(set.finish())
  }
  if (metric.template) {
    const template = new BinaryWriter()
    for (const inner of metric.template.metrics) template.tag(2, WireType.LengthDelimited).bytes(encodeMetric(inner))
    template.tag(5, WireType.Varint).bool(metric.template.isDefinition ?? false)
    writer.tag(18, WireType.LengthDelimited).bytes(template.finish())
  }
  return writer.finish()
}
