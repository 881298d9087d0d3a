import type { FieldValue, Message } from '../../model.js'
import { type Sample, Undecodable } from '../decoders/sample.js'
import { exactInteger } from '../decoders/tree.js'
import type { Births, MetricDefinition, MetricDefinitions } from './births.js'
import {
  type DataSet,
  dataType,
  decodeSparkplug,
  type Metric,
  type RawValue,
  type SparkplugPayload,
} from './payload.js'
import { parseSparkplugTopic, type SparkplugTopic } from './topic.js'

/** Reason for dead-lettering data whose birth is not known. They are replayed when the birth arrives. */
export const noBirth = 'no_birth'

/** Most characters of a text made of an array, a data set or bytes. */
const maxText = 4_000

type MessageOfSparkplug = Pick<Message, 'topic' | 'payload' | 'receivedAt'>

/** Reads the messages of Sparkplug B, with the names, types and units that the births of the edge nodes tell. */
export class SparkplugReader {
  readonly #births: Births
  readonly #inflated: number
  readonly #learns: boolean

  /**
   * @param inflated Bytes that a compressed payload may become
   * @param learns Whether births that are read count from then on
   */
  constructor(births: Births, inflated: number, learns = true) {
    this.#births = births
    this.#inflated = inflated
    this.#learns = learns
  }

  /**
   * Returns the samples of a message; none for a command, and for the death of an earlier session. A metric that is null
   * is absent. Undefined when the topic is not one of Sparkplug B. A birth is learned. Throws `Undecodable`; `no_birth` when names are missing that
   * only a birth tells.
   */
  read(message: MessageOfSparkplug): readonly Sample[] | undefined {
    const topic = parseSparkplugTopic(message.topic)
    if (!topic) return undefined
    const { type } = topic
    if (message.payload.length === 0 || type.endsWith('CMD')) return []
    const payload = decodeSparkplug(message.payload, this.#inflated)
    if (type.endsWith('DEATH')) return this.isOutdated(topic, payload, message.receivedAt) ? [] : [online(false)]
    const isBirth = type.endsWith('BIRTH')
    if (isBirth && this.#learns) this.learn(topic, payload, message.receivedAt)
    const samples = samplesOf(payload, this.#births.find(topic, message.receivedAt)?.definitions)
    return isBirth ? [online(true), ...samples] : samples
  }

  /** Learns a birth. Returns whether the birth is new. */
  learn(topic: SparkplugTopic, payload: SparkplugPayload, receivedAt: number): boolean {
    const definitions = payload.metrics.flatMap(({ name, alias, dataType, unit }): MetricDefinition[] =>
      name === undefined
        ? []
        : [
            {
              name,
              ...(alias !== undefined && { alias }),
              ...(dataType !== undefined && { dataType }),
              ...(unit !== undefined && { unit }),
            },
          ],
    )
    return this.#births.learn(topic, receivedAt, definitions, bdSeqOf(payload))
  }

  /** Whether a death is about a session before the one whose birth is known. [Sparkplug 3.0 §6.4.20] */
  isOutdated(topic: SparkplugTopic, payload: SparkplugPayload, receivedAt: number): boolean {
    if (topic.device !== undefined) return false
    const birth = this.#births.find(topic, receivedAt)
    const bdSeq = bdSeqOf(payload)
    return birth?.bdSeq !== undefined && birth.receivedAt <= receivedAt && bdSeq !== undefined && bdSeq !== birth.bdSeq
  }
}

/** Whether the hub knows online or offline of an edge node or a device. The time is that of receipt. */
function online(is: boolean): Sample {
  return { fields: [['online', is]] }
}

function bdSeqOf({ metrics }: SparkplugPayload): number | undefined {
  const value = metrics.find(({ name }) => name === 'bdSeq')?.value?.value
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : undefined
}

/** Metrics by which an edge node is controlled, or that belong to the protocol. */
const notReadings = /^(?:bdSeq$|(?:Node|Device) Control\/)/

function samplesOf(payload: SparkplugPayload, births: MetricDefinitions | undefined): Sample[] {
  const samples = new Map<number | undefined, MetricsOfTime>()
  const add = (metric: Metric, definition: MetricDefinition | undefined, name: string, ms: number | undefined) => {
    if (metric.isTransient) return
    const time = ms === undefined ? undefined : ms * 1_000
    let sample = samples.get(time)
    if (!sample) {
      sample = { fields: new Map(), units: new Map(), absent: new Set() }
      samples.set(time, sample)
    }
    const type = metric.dataType ?? definition?.dataType
    const found = metric.isNull || !metric.value ? none : fieldsOf(metric.value, type, name)
    if (found.length === 0) sample.absent.add(name || 'value')
    const unit = metric.unit ?? definition?.unit
    for (const [field, value] of found) {
      sample.fields.set(field, value)
      if (unit !== undefined && typeof value === 'number') sample.units.set(field, unit)
    }
  }
  const walk = (metric: Metric, within: string, outer: number | undefined) => {
    const definition = definitionOf(metric, births, within !== '')
    const name = within + (metric.name ?? definition?.name ?? '')
    const time = metric.timestamp ?? outer
    if (within === '' && notReadings.test(name)) return
    if (metric.value?.kind !== 'template') add(metric, definition, name, time)
    else if (!metric.value.value.isDefinition) {
      for (const inner of metric.value.value.metrics) walk(inner, `${name}/`, time)
    }
  }
  for (const metric of payload.metrics) walk(metric, '', payload.timestamp)
  return [...samples].map(([time, { fields, units, absent }]) => ({
    fields: [...fields],
    ...(time !== undefined && { time }),
    ...(units.size > 0 && { units: [...units] }),
    ...(absent.size > 0 && { absent: [...absent] }),
  }))
}

const none: readonly never[] = []

/** The metrics of one time. */
interface MetricsOfTime {
  readonly fields: Map<string, FieldValue>
  readonly units: Map<string, string>
  /** Metrics that are null, or hold no number: there is no value now. [Sparkplug 3.0 §6.4.6] */
  readonly absent: Set<string>
}

/** Returns what the birth tells of a metric. Throws `no_birth` when the metric cannot be read without. */
function definitionOf(
  metric: Metric,
  births: MetricDefinitions | undefined,
  isInner: boolean,
): MetricDefinition | undefined {
  const { name, alias } = metric
  if (name !== undefined && name !== '') {
    const known = births?.byName.get(name)
    if (!known && metric.dataType === undefined && isSignOpen(metric.value)) {
      throw new Undecodable(noBirth, `${name}: the type is not known before the birth of its edge node arrives`)
    }
    return known
  }
  const known = alias === undefined || isInner ? undefined : births?.byAlias.get(alias)
  if (known) return known
  if (alias === undefined) throw new Undecodable('bad_value', 'a metric without name and alias')
  throw new Undecodable(
    noBirth,
    `the metric with alias ${alias} is not known before the birth of its edge node arrives`,
  )
}

/** Whether an integer is positive or negative, depending on its type. */
function isSignOpen(value: RawValue | undefined): boolean {
  if (value?.kind === 'int') return value.value >= 2 ** 31
  return value?.kind === 'long' && value.value >= 2n ** 63n
}

function fieldsOf(raw: RawValue, type: number | undefined, name: string): (readonly [string, FieldValue])[] {
  const field = name || 'value'
  if (raw.kind === 'dataset') return fieldsOfDataSet(raw.value, field)
  const value = metricValue(raw, type)
  return value === undefined ? [] : [[field, value]]
}

function fieldsOfDataSet({ columns, types, rows }: DataSet, name: string): (readonly [string, FieldValue])[] {
  const cell = (row: DataSet['rows'][number], i: number) => {
    const raw = row[i]
    return raw && metricValue(raw, types[i])
  }
  const [first, ...more] = rows
  if (first && more.length === 0) {
    return columns.flatMap((column, i) => {
      const value = cell(first, i)
      return value === undefined ? [] : [[`${name}/${column}`, value] as const]
    })
  }
  return [[name, textOf(rows.map(row => Object.fromEntries(columns.map((column, i) => [column, cell(row, i)]))))]]
}

/** Returns the value of a metric. Undefined when a float holds no number. */
function metricValue(raw: RawValue, type: number | undefined): FieldValue | undefined {
  switch (raw.kind) {
    case 'int':
      return integer(BigInt(raw.value), 32, type)
    case 'long':
      return integer(raw.value, 64, type)
    case 'number':
      return Number.isFinite(raw.value) ? raw.value : undefined
    case 'boolean':
      return raw.value
    case 'text':
      return raw.value
    case 'bytes':
      return bytesOf(raw.value, type)
    default:
      return undefined
  }
}

const signed = new Map<number | undefined, number>([
  [dataType.int8, 8],
  [dataType.int16, 16],
  [dataType.int32, 32],
  [dataType.int64, 64],
])

function integer(value: bigint, width: number, type: number | undefined): FieldValue {
  if (type === dataType.boolean) return value !== 0n
  const bits = signed.get(type)
  // Some senders extend the sign to the whole width, others to that of the type: both are the same from here.
  return exactInteger(bits === undefined ? value : BigInt.asIntN(Math.min(bits, width), value))
}

/** Readers of the elements of an array, by type: the width in bytes and the way to read. [Sparkplug 3.0 §6.4.16] */
const elements = new Map<
  number | undefined,
  readonly [bytes: number, read: (at: Buffer, i: number) => number | bigint]
>([
  [22, [1, (at, i) => at.readInt8(i)]],
  [23, [2, (at, i) => at.readInt16LE(i)]],
  [24, [4, (at, i) => at.readInt32LE(i)]],
  [25, [8, (at, i) => at.readBigInt64LE(i)]],
  [26, [1, (at, i) => at.readUInt8(i)]],
  [27, [2, (at, i) => at.readUInt16LE(i)]],
  [28, [4, (at, i) => at.readUInt32LE(i)]],
  [29, [8, (at, i) => at.readBigUInt64LE(i)]],
  [30, [4, (at, i) => at.readFloatLE(i)]],
  [31, [8, (at, i) => at.readDoubleLE(i)]],
  [34, [8, (at, i) => at.readBigUInt64LE(i)]],
])
const stringArray = 33

/** Returns the text for bytes: an array of numbers or texts as JSON, anything else in hexadecimal. */
function bytesOf(bytes: Uint8Array, type: number | undefined): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, maxText))
  if (type === stringArray) return textOf(buffer.toString().split('\0').slice(0, -1))
  const [width, read] = elements.get(type) ?? []
  if (!width || !read) return buffer.toString('hex').slice(0, maxText)
  const values: (number | string)[] = []
  for (let at = 0; at + width <= buffer.length; at += width) {
    const value = read(buffer, at)
    values.push(typeof value === 'bigint' ? exactInteger(value) : value)
  }
  return textOf(values)
}

function textOf(value: unknown): string {
  return JSON.stringify(value).slice(0, maxText)
}
