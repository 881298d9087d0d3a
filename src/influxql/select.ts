import { HubError } from '../errors.js'
import type { FieldType, FieldValue } from '../model.js'
import type { NumberedSeries } from '../store/store.js'
import { byCodePoints, type Catalogue } from './catalogue.js'
import { passing, tagOf, timeRange } from './conditions.js'
import { compareLists, joined } from './entries.js'
import { type Column, Evaluation, mostPoints, type SelectedSeries } from './evaluation.js'
import { aggregateCall, callKey, checkFunctions, isAggregate, takes } from './functions.js'
import type { AnsweredSeries, Cell } from './results.js'
import { type Expression, type SelectStatement, StatementError } from './statement.js'

/** Most measurements of one statement. */
const mostMeasurements = 200

/** A column of the answer, after `*` and patterns were replaced by names. */
interface Selected {
  readonly name: string
  readonly expression: Expression
}

/** Properties of a measurement that a statement needs. */
interface FieldsAndTags {
  readonly types: ReadonlyMap<string, FieldType>
  readonly tagKeys: readonly string[]
}

/** Answers a SELECT statement. `now`: nanoseconds since the epoch. */
export async function select(statement: SelectStatement, catalogue: Catalogue, now: bigint): Promise<AnsweredSeries[]> {
  checkFunctions(statement)
  const { condition, everyTag, descending } = statement
  const measurements = await catalogue.measurements(statement.sources)
  if (measurements.length > mostMeasurements) {
    throw new StatementError(
      `the statement selects ${measurements.length} measurements, allowed are ${mostMeasurements}`,
    )
  }
  const fields = everyTag ? undefined : fieldsOf(statement)
  const found = await catalogue.series(measurements, condition, { fields })
  // Columns and groups are those of all measurements together.
  const all = describe(found)
  const columns = await expand(statement, all, catalogue)
  const dimensions = (everyTag ? [...all.tagKeys] : [...statement.tags]).sort(byCodePoints)
  if (columns.length === 0) return []
  const results: AnsweredSeries[] = []
  let rows = 0
  for (const measurement of descending ? [...measurements].reverse() : measurements) {
    const series = found.filter(one => one.measurement === measurement)
    if (series.length === 0) continue
    const some = await selectFrom(series, { statement, columns, dimensions, catalogue, now })
    rows += some.reduce((sum, one) => sum + one.rows.length, 0)
    if (rows > mostPoints) throw new StatementError(`the answer has more than ${mostPoints} rows`)
    results.push(...some)
  }
  return results
}

/** Columns that are selected of each measurement. */
interface Selection {
  readonly statement: SelectStatement
  readonly columns: readonly Selected[]
  /** Tags that readings are grouped by. */
  readonly dimensions: readonly string[]
  readonly catalogue: Catalogue
  readonly now: bigint
}

/** `found`: series of one measurement. */
async function selectFrom(
  found: readonly NumberedSeries[],
  { statement, columns, dimensions, catalogue, now }: Selection,
): Promise<AnsweredSeries[]> {
  const { condition, descending, limit, offset, seriesLimit, seriesOffset, windows } = statement
  const described = describe(found)
  const { groups, series, tagSets } = grouped(found, dimensions)
  const chosen = groups.slice(seriesOffset, seriesLimit === undefined ? undefined : seriesOffset + seriesLimit)
  const range = timeRange(condition)
  const isPlain = columns.every(({ expression }) => expression.kind === 'field')
  const evaluation = new Evaluation({
    reader: catalogue.reader,
    series: series.filter(({ group }) => group >= seriesOffset && group < seriesOffset + chosen.length),
    types: described.types,
    range: { from: range.from, to: range.to ?? (windows ? now : undefined) },
    statement,
    groups: chosen.length,
    isSelector: callsOf(columns) === 1,
    perGroup: isPlain && limit !== undefined ? (offset + limit) * columns.length : undefined,
  })
  const isTag = ({ expression }: Selected) => expression.kind === 'field' && !described.types.has(expression.name)
  const values: Column[] = []
  for (const one of columns) values.push(isTag(one) ? new Map() : await evaluation.column(one.expression))

  const names = ['time', ...columnNames(columns.map(({ name }) => name))]
  const results = chosen.map((values_, index): AnsweredSeries => {
    const group = seriesOffset + index
    const rows = joined(
      values.map(column => column.get(group) ?? []),
      statement,
    )
    const some = rows.slice(offset, limit === undefined ? undefined : offset + limit)
    return {
      name: found[0]?.measurement ?? '',
      ...(dimensions.length > 0 && { tags: dimensions.map((name, i) => [name, values_[i] ?? ''] as const) }),
      columns: names,
      rows: some.map(({ time, row, values }): Cell[] => [
        time,
        ...columns.map((column, i): FieldValue | null => {
          if (!isTag(column) || column.expression.kind !== 'field') return values[i] ?? null
          return tagOf({ tags: tagSets[row] ?? [] }, column.expression.name) || null
        }),
      ]),
    }
  })
  const answered = results.filter(({ rows }) => rows.length > 0)
  return descending ? answered.reverse() : answered
}

/** Returns the fields that the store is to look for. Undefined: all. */
function fieldsOf({ fields }: SelectStatement): readonly string[] | undefined {
  const names: string[] = []
  let isAll = false
  const visit = (one: Expression): void => {
    if (one.kind === 'wildcard') isAll = true
    else if (one.kind === 'field') names.push(one.name)
    else if (one.kind === 'binary') [one.left, one.right].forEach(visit)
    else if (one.kind === 'call') one.given.forEach(visit)
  }
  for (const { expression } of fields) visit(expression)
  return isAll ? undefined : names
}

/** Types of a field in the order in which they count, where series differ. */
const precedence: readonly FieldType[] = ['number', 'text', 'boolean']

function describe(series: readonly NumberedSeries[]): FieldsAndTags {
  const types = new Map<string, FieldType>()
  const tagKeys = new Set<string>()
  for (const { field, type, tags } of series) {
    const known = types.get(field)
    if (known === undefined || precedence.indexOf(type) < precedence.indexOf(known)) types.set(field, type)
    for (const [name] of tags) tagKeys.add(name)
  }
  return { types, tagKeys: [...tagKeys].sort(byCodePoints) }
}

/** Puts series into groups by the values of the dimensions, in order; rows of one group are told apart by tag sets. */
function grouped(found: readonly NumberedSeries[], dimensions: readonly string[]) {
  const sets = new Map<string, NumberedSeries['tags']>()
  for (const { tags } of found) sets.set(JSON.stringify(tags), tags)
  const tagSets = [...sets.values()].sort((a, b) => compareLists(a.flat(), b.flat()))
  const rows = new Map(tagSets.map((tags, row) => [JSON.stringify(tags), row]))
  const keys = new Map<string, readonly string[]>()
  for (const tags of tagSets) {
    const values = dimensions.map(name => tagOf({ tags }, name))
    keys.set(JSON.stringify(values), values)
  }
  const groups = [...keys.values()].sort(compareLists)
  const numbers = new Map(groups.map((values, group) => [JSON.stringify(values), group]))
  const series = found.map((one): SelectedSeries => {
    const group = numbers.get(JSON.stringify(dimensions.map(name => tagOf(one, name)))) as number
    return { ...one, group, row: rows.get(JSON.stringify(one.tags)) as number }
  })
  return { groups, series: series.sort((a, b) => a.row - b.row), tagSets }
}

/** Replaces `*` and patterns by names of fields, and, outside of functions, of tags that are not grouped by. */
async function expand(
  { fields, tags, everyTag }: SelectStatement,
  { types, tagKeys }: FieldsAndTags,
  catalogue: Catalogue,
): Promise<readonly Selected[]> {
  const named = [...types.keys()].sort(byCodePoints)
  const free = everyTag ? [] : tagKeys.filter(name => !tags.includes(name) && !types.has(name))
  const fitting = async (pattern: string | undefined, names: readonly string[]) => {
    if (pattern === undefined) return names
    const passed = await passing(catalogue.reader, { operator: '=~', value: pattern }, names)
    return names.filter(name => passed.has(name))
  }
  const columns: Selected[] = []
  for (const { expression, alias } of fields) {
    if (expression.kind === 'wildcard') {
      const names = await fitting(expression.pattern, [...named, ...free].sort(byCodePoints))
      columns.push(...names.map((name): Selected => ({ name, expression: { kind: 'field', name } })))
    } else if (expression.kind === 'call' && isAggregate(expression.name)) {
      const call = aggregateCall(expression)
      if (call.of.kind === 'field') {
        columns.push({ name: alias ?? expression.name, expression })
        continue
      }
      const takers = named.filter(name => takes(call.name, types.get(name) as FieldType))
      for (const name of await fitting(call.of.pattern, takers)) {
        const given: Expression[] = [{ kind: 'field', name }, ...expression.given.slice(1)]
        columns.push({ name: `${alias ?? expression.name}_${name}`, expression: { ...expression, given } })
      }
    } else if (expression.kind !== 'field' || expression.name !== 'time') {
      columns.push({ name: alias ?? nameOf(expression), expression })
    }
  }
  return columns
}

/** Returns the name that InfluxDB gives a column without an alias. */
function nameOf(expression: Expression): string {
  const names = (one: Expression): readonly string[] => {
    if (one.kind === 'binary') return [...names(one.left), ...names(one.right)]
    return one.kind === 'field' || one.kind === 'call' ? [one.name] : []
  }
  return names(expression).join('_')
}

/** Numbers names that come again: mean, mean_1, mean_2. */
function columnNames(names: readonly string[]): readonly string[] {
  const seen = new Map<string, number>()
  return names.map(name => {
    let unique = name
    for (let count = seen.get(name) ?? 0; seen.has(unique); ) unique = `${name}_${++count}`
    seen.set(name, (seen.get(name) ?? -1) + 1)
    if (unique !== name) seen.set(unique, 0)
    return unique
  })
}

/** Returns the number of different calls. */
function callsOf(columns: readonly Selected[]): number {
  const calls = new Set<string>()
  const visit = (one: Expression): void => {
    if (one.kind === 'binary') [one.left, one.right].forEach(visit)
    else if (one.kind === 'call') calls.add(callKey(one))
  }
  for (const { expression } of columns) visit(expression)
  return calls.size
}

/** Returns the sentence of an error that is the statement's own fault. Undefined for failures of the hub. */
export function faultOfStatement(error: unknown): string | undefined {
  if (error instanceof StatementError) return error.message
  const isOwn = error instanceof HubError && (error.code === 'bad_request' || error.code === 'too_large')
  return isOwn ? error.message : undefined
}
