import type { FieldValue, Tags } from '../model.js'
import { decodeStored, type Precision, parseLineProtocol } from '../store/line-protocol.js'
import { CsvLine } from './csv.js'
import { type Quoting, readRecords, type TextRecord } from './records.js'

/* The rows of files, one after the other, each with the place where it stands. */

export const fileFormats = ['csv', 'jsonl', 'line'] as const
export type FileFormat = (typeof fileFormats)[number]

/** A row that names a series. */
export interface NamedRow {
  readonly measurement: string
  readonly tags: Tags
  readonly field: string
  /** Microseconds since the epoch. */
  readonly time: number
  readonly value: FieldValue
}

/** A row that a mapping is to read. */
export interface MappedRow {
  readonly topic: string
  /** JSON. */
  readonly payload: string
}

export interface FileRow {
  /** A record of line protocol may hold several. */
  readonly rows: readonly (NamedRow | MappedRow)[]
  /** Why the record holds none. */
  readonly mistake?: string
  readonly line: number
  /** Where reading can begin again behind this record: in the words of the reader. */
  readonly position: string
}

export interface ReadingOptions {
  readonly format: FileFormat
  /** Topic of rows that name no series, with columns in braces: `home/{room}/climate`. */
  readonly topic: string | undefined
  /** Unit of the times in line protocol. */
  readonly precision: Precision
  /** Position of a row before: reading begins behind that row. */
  readonly from: string
}

/** Reads the rows of a file. Throws an error for people when the file as a whole cannot be read. */
export async function* readRows(path: string, options: ReadingOptions): AsyncGenerator<readonly FileRow[]> {
  const { format, from } = options
  const [offset = 0, line = 1] = from === '' ? [] : from.split(':').map(Number)
  const reader = {
    csv: () => new CsvReader(options),
    jsonl: () => new JsonReader(options),
    line: () => new LineReader(options),
  }[format]()
  if (reader.needsHead) {
    for await (const [head] of readRecords(path, reader.quoting)) {
      if (head) reader.head(head)
      break
    }
  }
  for await (const records of readRecords(path, reader.quoting, { offset, line })) {
    const found: FileRow[] = []
    for (const record of records) {
      if (reader.isPassedOver(record)) continue
      const position = `${record.end}:${record.nextLine}`
      try {
        found.push({ rows: reader.rows(record.text), line: record.line, position })
      } catch (error) {
        found.push({ rows: [], mistake: (error as Error).message, line: record.line, position })
      }
    }
    if (found.length > 0) yield found
  }
}

interface RecordReader {
  readonly quoting: Quoting
  readonly needsHead: boolean
  head(record: TextRecord): void
  isPassedOver(record: TextRecord): boolean
  /** Throws an error for people. */
  rows(text: string): readonly (NamedRow | MappedRow)[]
}

const ownColumns = 'time,measurement,tags,field,type,value'
const needsTopic =
  'the rows name no series: give a mapping rule with --map, or a topic with --topic, such as home/{room}/climate'

class CsvReader implements RecordReader {
  readonly quoting = 'csv'
  readonly needsHead = true
  readonly #topic: TopicTemplate | undefined
  #line = new CsvLine(',')
  #columns: readonly string[] = []
  #isOwn = false
  readonly #tags = new NameMemory<Tags>(text => tagsOf(JSON.parse(text) as unknown))

  constructor({ topic }: ReadingOptions) {
    this.#topic = topic === undefined ? undefined : new TopicTemplate(topic)
  }

  head({ text }: TextRecord): void {
    const bare = text.replace(/^\ufeff/, '')
    const separator = [';', '\t', ','].find(one => bare.includes(one)) ?? ','
    this.#line = new CsvLine(separator)
    this.#columns = this.#line.cells(bare).map(name => name.trim())
    this.#isOwn = this.#columns.join() === ownColumns && !this.#topic
    if (!this.#isOwn && !this.#topic) throw new Error(needsTopic)
    const twice = this.#columns.find((name, i) => this.#columns.indexOf(name) !== i)
    if (twice !== undefined) throw new Error(`the column ${JSON.stringify(twice)} is there twice`)
    this.#topic?.check(this.#columns)
  }

  isPassedOver({ text, line }: TextRecord): boolean {
    return line === 1 || text === ''
  }

  rows(text: string): readonly (NamedRow | MappedRow)[] {
    const cells = this.#line.cells(text)
    if (cells.length !== this.#columns.length)
      throw new Error(`${cells.length} cells; the head of the file names ${this.#columns.length} columns`)
    if (this.#isOwn) return [this.#named(cells)]
    const row: Record<string, string> = Object.create(null)
    for (const [i, name] of this.#columns.entries()) row[name] = cells[i] as string
    const { topic, used } = (this.#topic as TopicTemplate).fill(row)
    const members = this.#columns.flatMap((name, i) => {
      const cell = cells[i] as string
      return cell === '' || used.has(name) ? [] : `${JSON.stringify(name)}:${jsonOf(cell)}`
    })
    return [{ topic, payload: `{${members.join()}}` }]
  }

  #named(cells: readonly string[]): NamedRow {
    const [time = '', measurement = '', tags = '', field = '', type = '', value = ''] = cells
    return {
      measurement: unharmed(measurement),
      tags: this.#tags.of(tags),
      field: unharmed(field),
      time: microsecondsOf(time),
      value: typedValue(type, value),
    }
  }
}

class JsonReader implements RecordReader {
  readonly quoting = 'none'
  readonly needsHead = false
  readonly #topic: TopicTemplate | undefined

  constructor({ topic }: ReadingOptions) {
    this.#topic = topic === undefined ? undefined : new TopicTemplate(topic)
  }

  head(): void {}

  isPassedOver({ text }: TextRecord): boolean {
    return text.trim() === ''
  }

  rows(text: string): readonly (NamedRow | MappedRow)[] {
    if (this.#topic?.isFixed) return [{ topic: this.#topic.text, payload: text }]
    let row: unknown
    try {
      row = JSON.parse(text)
    } catch (error) {
      throw new Error(`no JSON: ${(error as Error).message}`)
    }
    if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new Error('the line is no JSON object')
    if (this.#topic) {
      const { topic, used } = this.#topic.fill(row as Record<string, unknown>)
      return [{ topic, payload: JSON.stringify(row, (key, value) => (used.has(key) ? undefined : (value as unknown))) }]
    }
    const { time, measurement, tags, field, value } = row as Record<string, unknown>
    if (typeof measurement !== 'string' || typeof field !== 'string' || typeof time !== 'string')
      throw new Error(needsTopic)
    if (!['number', 'boolean', 'string'].includes(typeof value))
      throw new Error('the value is no number, boolean or text')
    return [{ measurement, tags: tagsOf(tags ?? {}), field, time: microsecondsOf(time), value: value as FieldValue }]
  }
}

/** Lines of one number each, without anything escaped: most are so. */
const plainLine =
  /^([^\s"\\=,]+(?:,[^\s"\\=,]+=[^\s"\\=,]+)*) ([^\s"\\=,]+)=([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)i? (\d{1,19})$/
const perMicrosecond = { n: -3, u: 0, ms: 3, s: 6 } as const

class LineReader implements RecordReader {
  readonly quoting = 'line'
  readonly needsHead = false
  readonly #precision: Precision
  readonly #topic: string | undefined
  readonly #names = new NameMemory<{ readonly measurement: string; readonly tags: Tags }>(text => {
    const [point] = parseLineProtocol(`${text} f=1 0`, 0)
    const { measurement = '', tags = [] } = point ?? {}
    return {
      measurement: decodeStored(measurement),
      tags: tags.map(([name, value]) => [decodeStored(name), decodeStored(value)]),
    }
  })

  constructor({ precision, topic }: ReadingOptions) {
    this.#precision = precision
    this.#topic = topic
  }

  head(): void {}

  /** Comments; and in what influx_inspect has written, the statement that creates the database. */
  isPassedOver({ text }: TextRecord): boolean {
    return text === '' || text.startsWith('#') || text.startsWith('CREATE DATABASE ') || text.trim() === ''
  }

  rows(text: string): readonly (NamedRow | MappedRow)[] {
    if (this.#topic !== undefined) return [{ topic: this.#topic, payload: text }]
    const plain = plainLine.exec(text)
    if (plain) {
      const [, names = '', field = '', value, stamp = ''] = plain
      return [{ ...this.#names.of(names), field: decodeStored(field), time: this.#time(stamp), value: Number(value) }]
    }
    const missing = Number.NaN
    return parseLineProtocol(text, missing, this.#precision).flatMap(({ measurement, tags, fields, time }) => {
      if (Number.isNaN(time)) throw new Error('the line has no time')
      const of = {
        measurement: decodeStored(measurement),
        tags: tags.map(([name, value]) => [decodeStored(name), decodeStored(value)] as const),
      }
      return fields.map(([field, value]) => ({ ...of, field: decodeStored(field), time, value }))
    })
  }

  #time(stamp: string): number {
    const shift = perMicrosecond[this.#precision]
    const time = shift < 0 ? Number(stamp.slice(0, shift) || '0') : Number(stamp) * 10 ** shift
    if (!Number.isSafeInteger(time)) throw new Error(`the timestamp ${stamp} is out of range for --precision`)
    return time
  }
}

/** Values by text: names come again and again. */
class NameMemory<Value> {
  readonly #known = new Map<string, Value>()
  readonly #make: (text: string) => Value

  constructor(make: (text: string) => Value) {
    this.#make = make
  }

  of(text: string): Value {
    const known = this.#known.get(text)
    if (known !== undefined) return known
    if (this.#known.size >= 100_000) this.#known.clear()
    const value = this.#make(text)
    this.#known.set(text, value)
    return value
  }
}

/** A topic with columns in braces. */
class TopicTemplate {
  readonly text: string
  readonly isFixed: boolean
  readonly #names: readonly string[]

  constructor(text: string) {
    this.text = text
    this.#names = [...text.matchAll(/\{([^}]+)\}/g)].map(([, name = '']) => name)
    this.isFixed = this.#names.length === 0
    if (/[+#]|\.\.\.\}/.test(text.replace(/\{[^}]+\.\.\.\}/g, '…}')) || text.includes('...}'))
      throw new Error(`the topic ${text} has wildcards: give one with --topic, with columns in braces`)
  }

  check(columns: readonly string[]): void {
    const missing = this.#names.find(name => !columns.includes(name))
    if (missing !== undefined) throw new Error(`the topic names {${missing}}; the columns are ${columns.join(', ')}`)
  }

  fill(row: Readonly<Record<string, unknown>>): { readonly topic: string; readonly used: ReadonlySet<string> } {
    const topic = this.text.replace(/\{([^}]+)\}/g, (_, name: string) => {
      const value = row[name]
      if (value === undefined || value === '' || typeof value === 'object')
        throw new Error(`the row has no ${name}, which the topic needs`)
      // One level of a topic, whatever the value is.
      return String(value).replace(
        /[%/+#\0]/g,
        char => `%${char.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`,
      )
    })
    return { topic, used: new Set(this.#names) }
  }
}

/** Parses RFC 3339 with up to nine digits of a second, exact to the microsecond; or a number of microseconds. */
export function microsecondsOf(text: string): number {
  const found = /^([+-]?\d{4,6}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)$/.exec(text)
  const seconds = found ? Date.parse(`${found[1]}T${found[2]}${found[4]}`) : Number.NaN
  if (Number.isNaN(seconds))
    throw new Error(`the time ${JSON.stringify(text.slice(0, 60))} is not such as 2026-01-31T12:00:00.000001Z`)
  return seconds * 1_000 + Number((found?.[3] ?? '').padEnd(6, '0').slice(0, 6))
}

function typedValue(type: string, text: string): FieldValue {
  if (type === 'text') return unharmed(text)
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  const number = text.trim() === '' ? Number.NaN : Number(text)
  if (type === 'number' && Number.isFinite(number)) return number
  throw new Error(
    `the value ${JSON.stringify(text.slice(0, 60))} is no ${type || 'type'}; types are number, boolean and text`,
  )
}

/** Removes the apostrophe that stands in a file of `telehub export` before what a spreadsheet would take for a formula. */
function unharmed(text: string): string {
  return /^'+[=+\-@\t\r\n|%]/.test(text) ? text.slice(1) : text
}

function tagsOf(given: unknown): Tags {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw new Error('tags are no JSON object')
  const tags = Object.entries(given)
  if (!tags.every(([, value]) => typeof value === 'string')) throw new Error('the value of a tag is no text')
  return tags as [string, string][]
}

/** Returns a cell as JSON: numbers and booleans as such, everything else as a text. */
function jsonOf(cell: string): string {
  return /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false)$/.test(cell) ? cell : JSON.stringify(cell)
}
