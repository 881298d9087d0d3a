import type { FieldType } from '../model.js'
import type { NumberedSeries, SeriesReader, WindowFunction, WindowRow } from '../store/store.js'
import type { TimeRange } from './conditions.js'
import { calculated, type Entry, filled, joined, transformed } from './entries.js'
import {
  type AggregateCall,
  aggregateCall,
  callKey,
  type FunctionCall,
  isAggregate,
  selectors,
  takes,
} from './functions.js'
import { windowStart } from './moments.js'
import { type Binary, type Expression, type SelectStatement, StatementError } from './statement.js'

/** Most values of one column, and most rows of an answer. */
export const mostPoints = 200_000

/** The points of each group, in the order of the answer. */
export type Column = ReadonlyMap<number, readonly Entry[]>

export interface SelectedSeries extends NumberedSeries {
  readonly group: number
  /** Number of the tag set. */
  readonly row: number
}

export interface EvaluationOptions {
  readonly reader: SeriesReader
  /** In order of their tag sets. */
  readonly series: readonly SelectedSeries[]
  readonly types: ReadonlyMap<string, FieldType>
  readonly range: TimeRange
  readonly statement: SelectStatement
  /** Number of groups. */
  readonly groups: number
  /** Whether the statement has one function alone: then a chosen reading keeps its time. */
  readonly isSelector: boolean
  /** Maximum number of readings of each group, where fields are selected as they are. */
  readonly perGroup: number | undefined
}

/** Furthest times of the store, in microseconds. */
const furthest = BigInt(Number.MAX_SAFE_INTEGER)

/** Computes the columns of an answer, for all groups at once. */
export class Evaluation {
  readonly #options: EvaluationOptions
  readonly #aggregates = new Map<string, Promise<Column>>()

  constructor(options: EvaluationOptions) {
    this.#options = options
  }

  /** `earlier`: windows before the range that functions of a sequence need to begin with. */
  async column(expression: Expression, earlier = 0): Promise<Column> {
    switch (expression.kind) {
      case 'field':
        return this.#readings(expression.name)
      case 'call':
        return isAggregate(expression.name)
          ? this.#aggregate(expression, earlier)
          : this.#transform(expression, earlier)
      case 'binary':
        return this.#calculate(expression, earlier)
      default:
        throw new StatementError('a number, a duration or * alone is nothing to select')
    }
  }

  async #calculate({ operator, left, right }: Binary, earlier: number): Promise<Column> {
    if (left.kind === 'number' && right.kind === 'number') {
      throw new StatementError('an expression of numbers alone is nothing to select')
    }
    if (left.kind === 'number' || right.kind === 'number') {
      const column = await this.column(left.kind === 'number' ? right : left, earlier)
      return mapped(column, point => ({
        ...point,
        value:
          left.kind === 'number'
            ? calculated(operator, left.value, point.value)
            : calculated(operator, point.value, right.kind === 'number' ? right.value : null),
      }))
    }
    const [one, other] = [await this.column(left, earlier), await this.column(right, earlier)]
    const result = new Map<number, readonly Entry[]>()
    for (const group of new Set([...one.keys(), ...other.keys()])) {
      const rows = joined([one.get(group) ?? [], other.get(group) ?? []], this.#options.statement)
      result.set(
        group,
        rows.map(({ time, row, values: [a = null, b = null] }) => ({ time, row, value: calculated(operator, a, b) })),
      )
    }
    return result
  }

  async #transform({ name, given }: FunctionCall, earlier: number): Promise<Column> {
    const [inner, second] = given
    const { windows } = this.#options.statement
    const size = second?.kind === 'number' ? second.value : 1
    const isRate = name.endsWith('derivative')
    const unit = second?.kind === 'duration' ? second.nanoseconds : isRate ? (windows?.width ?? 1_000_000_000n) : 1n
    // As InfluxDB: one window more, even where a moving average could use several.
    const before = name === 'cumulative_sum' ? 0 : 1
    const column = await this.column(inner as Expression, windows ? earlier + before : 0)
    const type = inner?.kind === 'field' ? this.#options.types.get(inner.name) : undefined
    if (type !== undefined && type !== 'number' && name !== 'elapsed') throw unsupported(name, inner, type)
    const result = new Map<number, readonly Entry[]>()
    for (const [group, points] of column) result.set(group, transformed(name, points, { unit, size }))
    return result
  }

  /** Each aggregate is asked for once, however often it is selected. */
  #aggregate(call: FunctionCall, earlier: number): Promise<Column> {
    const key = `${earlier} ${callKey(call)}`
    const known = this.#aggregates.get(key)
    if (known) return known
    const column = this.#ask(aggregateCall(call), earlier)
    this.#aggregates.set(key, column)
    return column
  }

  async #ask({ name, of, nth }: AggregateCall, earlier: number): Promise<Column> {
    const { reader, types, groups, statement, isSelector } = this.#options
    const { fill, descending } = statement
    const type = of.kind === 'field' ? types.get(of.name) : undefined
    if (type === undefined || of.kind !== 'field') return new Map()
    if (!takes(name, type)) throw unsupported(name, of, type)
    const range = this.#extended(earlier)
    const windows = this.#windows(range)
    const isTimed = !windows && isSelector && selectors.has(name)
    const query = {
      ...this.#query(of.name, type, range),
      windows: windows && { width: Number(windows.width / 1_000n), origin: Number(windows.origin / 1_000n) },
    }
    const rows =
      name === 'distinct'
        ? await reader.distinct(query)
        : await reader.windows({ ...query, functions: [{ name: name as WindowFunction, nth, isTimed }] })
    if (rows.length > mostPoints) throw tooMany()
    const timeOf = ({ window, times }: WindowRow) => {
      if (windows) return windows.origin + BigInt(window) * windows.width
      return isTimed && times[0] !== undefined ? BigInt(times[0]) * 1_000n : (range.from ?? 0n)
    }
    const points = new Map<number, Entry[]>()
    for (const [i, row] of rows.entries()) {
      // As InfluxDB: the deviation of one reading is there, but not a number.
      const value = row.values[0] ?? (name === 'stddev' ? Number.NaN : null)
      // A percentile that chooses no reading.
      if (value === null && name === 'percentile') continue
      const point = { time: timeOf(row), row: name === 'distinct' ? i : 0, value }
      const known = points.get(row.group)
      if (known) known.push(point)
      else points.set(row.group, [point])
    }
    if (!windows || name === 'distinct') return ordered(points, descending)
    const filling = { descending, isCount: name === 'count' || name === 'count distinct' }
    let total = 0
    return new Map(
      [...points].map(([group, some]) => {
        const first = windows.first ?? some[0]?.time ?? windows.last
        total += Number((windows.last - first) / windows.width)
        if (fill.kind !== 'none' && (total > mostPoints || groups > mostPoints)) throw tooMany()
        return [group, filled(some, windows, fill, filling)]
      }),
    )
  }

  async #readings(field: string): Promise<Column> {
    const { reader, types, range, perGroup = mostPoints + 1, statement } = this.#options
    const type = types.get(field)
    if (type === undefined) return new Map()
    const query = this.#query(field, type, range)
    const found = await reader.readings({ ...query, perGroup, descending: statement.descending })
    if (found.length > mostPoints) throw tooMany()
    const points = new Map<number, Entry[]>()
    for (const { position, time, value } of found) {
      const point = { time: BigInt(time) * 1_000n, row: query.rows[position] as number, value }
      const group = query.groups[position] as number
      const known = points.get(group)
      if (known) known.push(point)
      else points.set(group, [point])
    }
    return points
  }

  #query(field: string, type: FieldType, { from, to }: TimeRange) {
    const series = this.#options.series.filter(one => one.field === field && one.type === type)
    return {
      type,
      series: series.map(({ id }) => id),
      groups: series.map(({ group }) => group),
      rows: series.map(({ row }) => row),
      // A range of nanoseconds: the store has whole microseconds.
      from: Number(clamped(from === undefined ? -furthest : ceil(from))),
      to: Number(clamped(to === undefined ? furthest : ceil(to + 1n))),
      limit: mostPoints + 1,
    }
  }

  #extended(earlier: number): TimeRange {
    const { range, statement } = this.#options
    const more = BigInt(earlier) * (statement.windows?.width ?? 0n)
    if (statement.descending) return { ...range, to: range.to === undefined ? undefined : range.to + more }
    return { ...range, from: range.from === undefined ? undefined : range.from - more }
  }

  #windows({ from, to }: TimeRange) {
    const { windows } = this.#options.statement
    if (!windows) return undefined
    const { width, offset } = windows
    if (width % 1_000n !== 0n || offset % 1_000n !== 0n) {
      throw new StatementError('GROUP BY time: intervals below a microsecond are not supported')
    }
    const least = -furthest * 1_000n
    const first = from === undefined ? undefined : windowStart(from < least ? least : from, width, offset)
    const last = windowStart(to ?? furthest * 1_000n, width, offset)
    if (first !== undefined && (last - first) / width > BigInt(mostPoints)) throw tooMany()
    return { width, first, last, origin: first ?? windowStart(least, width, offset) }
  }
}

function tooMany(): StatementError {
  return new StatementError(
    `the answer would have more than ${mostPoints} values; narrow the time range, widen GROUP BY time, or add a LIMIT`,
  )
}

function unsupported(name: string, of: Expression | undefined, type: FieldType): StatementError {
  const field = of?.kind === 'field' ? of.name : ''
  return new StatementError(`unsupported ${name} iterator type: the field ${JSON.stringify(field)} is of type ${type}`)
}

function mapped(column: Column, change: (point: Entry) => Entry): Column {
  return new Map([...column].map(([group, points]) => [group, points.map(change)]))
}

function ordered(points: Map<number, Entry[]>, descending: boolean): Column {
  if (descending) for (const some of points.values()) some.reverse()
  return points
}

/** Rounds nanoseconds up to microseconds. */
function ceil(nanoseconds: bigint): bigint {
  const down = nanoseconds / 1_000n
  return nanoseconds > down * 1_000n ? down + 1n : down
}

function clamped(time: bigint): bigint {
  return time > furthest ? furthest : time < -furthest ? -furthest : time
}
