import type { FieldValue } from '../model.js'
import {
  type FileRow,
  type MappedRow,
  type NamedRow,
  NameMemory,
  needsTopic,
  type SeriesName,
  TopicTemplate,
  tagsOf,
} from './rows.js'

/*
 * The rows of a Parquet file: of `telehub export`, which name their series, or of anybody, which a mapping reads. A
 * position is the number of the next row, counted from 0.
 */

type ParquetCell = unknown

/** Columns of a file of `telehub export`, in the order in which they are asked for. */
const ownColumns = ['time', 'measurement', 'tags', 'field', 'type', 'number', 'boolean', 'text']

/** Reads the rows of a file. Throws an error for people when the file as a whole cannot be read. */
export async function* readParquet(
  path: string,
  { topic, from }: { readonly topic: string | undefined; readonly from: string },
): AsyncGenerator<readonly FileRow[]> {
  const { ParquetRows } = await import('../store/duckdb.js')
  const file = await ParquetRows.open(path)
  try {
    const names = file.columns.map(({ name }) => name)
    const isOwn = topic === undefined && ownColumns.every(name => names.includes(name))
    if (!isOwn && topic === undefined) throw new Error(needsTopic)
    const reader = isOwn ? new OwnColumns() : new MappedColumns(file.columns, new TopicTemplate(topic ?? ''))
    let row = Number(from.split(':')[0] || 0)
    for await (const chunk of file.read(reader.expressions, row)) {
      const found = chunk.map((cells): FileRow => {
        row++
        const at = { line: row, place: row, step: 0, share: row / file.rows }
        try {
          return { rows: [reader.row(cells)], ...at }
        } catch (error) {
          return { rows: [], mistake: (error as Error).message, ...at }
        }
      })
      if (found.length > 0) yield found
    }
  } finally {
    file.close()
  }
}

interface ColumnReader {
  /** SQL expressions for the parts of a row. */
  readonly expressions: readonly string[]
  /** Throws an error for people. */
  row(cells: readonly ParquetCell[]): NamedRow | MappedRow
}

class OwnColumns implements ColumnReader {
  /** The names of the series are one text: values that come to JavaScript cost most of the time. */
  readonly expressions = [
    'epoch_us(time)::DOUBLE',
    "to_json(measurement)::VARCHAR || ',' || to_json(field)::VARCHAR || ',' || tags",
    "CASE type WHEN 'number' THEN number END",
    "CASE type WHEN 'boolean' THEN boolean END",
    "CASE type WHEN 'text' THEN text END",
  ]
  readonly #names = new NameMemory<SeriesName>(text => {
    const [measurement, field, tags] = JSON.parse(`[${text}]`) as [string, string, unknown]
    return { measurement, tags: tagsOf(tags), field }
  })

  row([time, names, number, boolean, text]: readonly ParquetCell[]): NamedRow {
    const value = number ?? boolean ?? text
    if (typeof time !== 'number') throw new Error('the row has no time')
    if (typeof names !== 'string') throw new Error('the row has no measurement, tags or field')
    if (value === null || value === undefined) throw new Error('the row has no value of its type')
    return { of: this.#names.of(names), time, value: value as FieldValue }
  }
}

/** Types of DuckDB that become a number of JSON, and those that a JSON text says whole. */
const numbers = /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\))$/
const nested = /(\[\d*\]|^STRUCT\(.*\)|^MAP\(.*\))$/

class MappedColumns implements ColumnReader {
  readonly expressions: readonly string[]
  readonly #names: readonly string[]
  readonly #isJson: readonly boolean[]
  readonly #topic: TopicTemplate

  constructor(all: readonly { readonly name: string; readonly type: string }[], topic: TopicTemplate) {
    // Bytes are no values.
    const columns = all.filter(({ type }) => type !== 'BLOB')
    this.#topic = topic
    this.#names = columns.map(({ name }) => name)
    this.#isJson = columns.map(({ type }) => nested.test(type))
    topic.check(this.#names)
    this.expressions = columns.map(({ name, type }) => {
      const column = `"${name.replaceAll('"', '""')}"`
      if (numbers.test(type)) return `${column}::DOUBLE`
      if (type === 'BOOLEAN') return column
      if (type === 'TIMESTAMP WITH TIME ZONE')
        return `strftime(make_timestamp(epoch_us(${column})), '%Y-%m-%dT%H:%M:%S.%fZ')`
      if (type.startsWith('TIMESTAMP')) return `strftime(${column}::TIMESTAMP, '%Y-%m-%dT%H:%M:%S.%fZ')`
      return nested.test(type) ? `to_json(${column})::VARCHAR` : `${column}::VARCHAR`
    })
  }

  row(cells: readonly ParquetCell[]): MappedRow {
    const row: Record<string, unknown> = Object.create(null)
    for (const [i, name] of this.#names.entries()) row[name] = cells[i] ?? undefined
    const { topic, used } = this.#topic.fill(row)
    const members = this.#names.flatMap((name, i) => {
      const cell = cells[i]
      if (cell === null || cell === undefined || used.has(name)) return []
      return [`${JSON.stringify(name)}:${this.#isJson[i] ? String(cell) : JSON.stringify(cell)}`]
    })
    return { topic, payload: `{${members.join()}}` }
  }
}
