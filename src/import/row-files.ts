import type { FieldValue } from '../model.js'
import { decodeStored, type Precision, parseLineProtocol } from '../store/line-protocol.js'
import { CsvLine } from './csv.js'
import { type Quoting, readRecords, type TextRecord } from './records.js'
import {
  type FileRow,
  jsonOf,
  type MappedRow,
  type NamedRow,
  NameMemory,
  needsTopic,
  type SeriesName,
  TopicTemplate,
  tagsOf,
} from './rows.js'

/* The rows of files, one after the other, each with the place where it stands. */

export const fileFormats = ['csv', 'jsonl', 'line', 'parquet', 'recorder'] as const
export type FileFormat = (typeof fileFormats)[number]

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
  if (format === 'parquet') return yield* (await import('./parquet-rows.js')).readParquet(path, options)
  if (format === 'recorder') return yield* (await import('./recorder-rows.js')).readRecorder(path, options)
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
      const { line, end: place, nextLine: step } = record
      try {
        found.push({ rows: reader.rows(record.text), line, place, step })
      } catch (error) {
        found.push({ rows: [], mistake: (error as Error).message, line, place, step })
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
class CsvReader implements RecordReader {
  readonly quoting = 'csv'
  readonly needsHead = true
  readonly #topic: TopicTemplate | undefined
  #line = new CsvLine(',')
  #columns: readonly string[] = []
  #isOwn = false
  /** Names by the text of the cells measurement, tags and field. */
  readonly #names = new NameMemory<SeriesName>(text => {
    const cells = this.#line.cells(text)
    const [measurement = '', tags = '', field = ''] = cells
    if (cells.length !== 3) throw new Error(`${cells.length + 3} cells; the head of the file names 6 columns`)
    return {
      measurement: unharmed(measurement),
      tags: tagsOf(JSON.parse(tags) as unknown),
      field: unharmed(field),
    }
  })

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
    const plain = this.#isOwn ? this.#plain(text) : undefined
    if (plain) return [plain]
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

  /** Returns a row without a quote in time, type and value, as most are. Undefined: the cells decide. */
  #plain(text: string): NamedRow | undefined {
    const value = text.lastIndexOf(',')
    const type = text.lastIndexOf(',', value - 1)
    const names = text.indexOf(',')
    if (names >= type || text.indexOf('"', type) >= 0 || text.lastIndexOf('"', names) >= 0) return undefined
    return {
      of: this.#names.of(text.slice(names + 1, type)),
      time: microsecondsOf(text.slice(0, names)),
      value: typedValue(text.slice(type + 1, value), text.slice(value + 1)),
    }
  }

  #named(cells: readonly string[]): NamedRow {
    const [time = '', measurement = '', tags = '', field = '', type = '', value = ''] = cells
    const names = [measurement, tags, field].map(cell => `"${cell.replaceAll('"', '""')}"`).join()
    return { of: this.#names.of(names), time: microsecondsOf(time), value: typedValue(type, value) }
  }
}

/** The beginning of a line as `telehub export` writes it. */
const plainJson = '{"time":"'

class JsonReader implements RecordReader {
  readonly quoting = 'none'
  readonly needsHead = false
  readonly #topic: TopicTemplate | undefined
  /** Names by the text of their members in the line. */
  readonly #names = new NameMemory<SeriesName>(text => nameOf(JSON.parse(`{${text}}`) as Record<string, unknown>))

  constructor({ topic }: ReadingOptions) {
    this.#topic = topic === undefined ? undefined : new TopicTemplate(topic)
  }

  head(): void {}

  isPassedOver({ text }: TextRecord): boolean {
    return text.trim() === ''
  }

  rows(text: string): readonly (NamedRow | MappedRow)[] {
    if (this.#topic?.isFixed) return [{ topic: this.#topic.text, payload: text }]
    const plain = this.#topic ? undefined : this.#plain(text)
    if (plain) return [plain]
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
    const of = this.#names.of(JSON.stringify({ measurement, tags, field }).slice(1, -1))
    if (typeof time !== 'string') throw new Error(needsTopic)
    if (!['number', 'boolean', 'string'].includes(typeof value))
      throw new Error('the value is no number, boolean or text')
    return [{ of, time: microsecondsOf(time), value: value as FieldValue }]
  }

  /** Returns a row as `telehub export` writes it, of a number or a boolean. Undefined: the whole line is to be parsed. */
  #plain(text: string): NamedRow | undefined {
    const names = text.indexOf('","measurement":', plainJson.length)
    const value = text.lastIndexOf(',"value":')
    if (names < 0 || value < names || !text.startsWith(plainJson)) return undefined
    const found = /^(?:(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|true|false)\}$/.exec(text.slice(value + ',"value":'.length))
    if (!found) return undefined
    return {
      of: this.#names.of(text.slice(names + 2, value)),
      time: microsecondsOf(text.slice(plainJson.length, names)),
      value: found[1] === undefined ? found[0] === 'true}' : Number(found[1]),
    }
  }
}

function nameOf({ measurement, tags, field }: Readonly<Record<string, unknown>>): SeriesName {
  if (typeof measurement !== 'string' || typeof field !== 'string') throw new Error(needsTopic)
  return { measurement, tags: tagsOf(tags ?? {}), field }
}

/** The beginning of a line of one field, without anything escaped: most are so. */
const plainNames = /^[^\s"\\=,]+(?:,[^\s"\\=,]+=[^\s"\\=,]+)* [^\s"\\=,]+$/
const plainNumber = /^[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?i?$/
const plainStamp = /^\d{1,19}$/
const perMicrosecond = { n: -3, u: 0, ms: 3, s: 6 } as const

class LineReader implements RecordReader {
  readonly quoting = 'line'
  readonly needsHead = false
  readonly #precision: Precision
  readonly #topic: string | undefined
  /** Names by the beginning of a line, if that is plain. */
  readonly #plainNames = new NameMemory<SeriesName | null>(text => {
    if (!plainNames.test(text)) return null
    const [point] = parseLineProtocol(`${text}=1 0`, 0)
    return point ? storedName(point, point.fields[0]?.[0] ?? '') : null
  })
  /** Names by their JSON. */
  readonly #names = new NameMemory<SeriesName>(text => JSON.parse(text) as SeriesName)

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
    const plain = this.#plain(text)
    if (plain) return [plain]
    const missing = Number.NaN
    return parseLineProtocol(text, missing, this.#precision).flatMap(point => {
      if (Number.isNaN(point.time)) throw new Error('the line has no time')
      return point.fields.map(([field, value]) => {
        const of = this.#names.of(JSON.stringify(storedName(point, field)))
        return { of, time: point.time, value }
      })
    })
  }

  /** Returns the row of a line of one number, with nothing escaped. Undefined: the whole line is to be parsed. */
  #plain(text: string): NamedRow | undefined {
    const stamp = text.lastIndexOf(' ')
    const value = text.lastIndexOf('=', stamp)
    if (value < 0) return undefined
    const digits = text.slice(stamp + 1)
    const number = text.slice(value + 1, stamp)
    if (!plainStamp.test(digits) || !plainNumber.test(number)) return undefined
    const of = this.#plainNames.of(text.slice(0, value))
    const parsed = Number.parseFloat(number)
    return of && Number.isFinite(parsed) ? { of, time: this.#time(digits), value: parsed } : undefined
  }

  #time(stamp: string): number {
    const shift = perMicrosecond[this.#precision]
    const time = shift < 0 ? Number(stamp.slice(0, shift) || '0') : Number(stamp) * 10 ** shift
    if (!Number.isSafeInteger(time)) throw new Error(`the timestamp ${stamp} is out of range for --precision`)
    return time
  }
}

function storedName({ measurement, tags }: Pick<SeriesName, 'measurement' | 'tags'>, field: string): SeriesName {
  return {
    measurement: decodeStored(measurement),
    tags: tags.map(([name, value]) => [decodeStored(name), decodeStored(value)]),
    field: decodeStored(field),
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
