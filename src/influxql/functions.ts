import type { FieldType } from '../model.js'
import type { WindowFunction } from '../store/store.js'
import { type Expression, type SelectStatement, StatementError } from './statement.js'

const every: readonly FieldType[] = ['number', 'boolean', 'text']
const ordered: readonly FieldType[] = ['number', 'boolean']
const numeric: readonly FieldType[] = ['number']

/** Functions that turn the readings of a window into one value, and the types of fields that they take. */
const aggregates: Readonly<Record<string, readonly FieldType[]>> = {
  count: every,
  distinct: every,
  first: every,
  last: every,
  max: ordered,
  mean: numeric,
  median: numeric,
  min: ordered,
  mode: every,
  percentile: numeric,
  spread: numeric,
  stddev: numeric,
  sum: numeric,
}

/** Functions that choose one of the readings, whose time is then known. */
export const selectors: ReadonlySet<string> = new Set(['first', 'last', 'max', 'min', 'percentile'])

/** Functions of a sequence of values, and their number of arguments. */
const transformations: Readonly<Record<string, readonly [least: number, most: number]>> = {
  cumulative_sum: [1, 1],
  derivative: [1, 2],
  difference: [1, 1],
  elapsed: [1, 2],
  moving_average: [2, 2],
  non_negative_derivative: [1, 2],
  non_negative_difference: [1, 1],
}

/** Functions that InfluxDB has and the hub has not. */
const missing = ['bottom', 'histogram', 'holt_winters', 'holt_winters_with_fit', 'integral', 'sample', 'top']

export type FunctionCall = Extract<Expression, { kind: 'call' }>

/** Returns a text that only equal calls have. */
export function callKey(call: FunctionCall): string {
  return JSON.stringify(call, (_, value) => (typeof value === 'bigint' ? `${value}ns` : value))
}

export function isAggregate(name: string): boolean {
  return Object.hasOwn(aggregates, name)
}

/** A call of an aggregate: what is asked of the store. */
export interface AggregateCall {
  readonly name: WindowFunction | 'distinct'
  /** The field; undefined for all of them, `*`, or those of a pattern. */
  readonly of: Extract<Expression, { kind: 'field' | 'wildcard' }>
  /** Of a percentile. */
  readonly nth: number
}

/** Returns what an aggregate is of. Throws when the arguments are not those of the function. */
export function aggregateCall({ name, given }: FunctionCall): AggregateCall {
  const wanted = name === 'percentile' ? 2 : 1
  if (given.length !== wanted) {
    throw new StatementError(`invalid number of arguments for ${name}, expected ${wanted}, got ${given.length}`)
  }
  const [of, nth] = given
  if (name === 'percentile' && nth?.kind !== 'number')
    throw new StatementError('expected float argument in percentile()')
  if (name === 'count' && of?.kind === 'call' && of.name === 'distinct') {
    return { ...aggregateCall(of), name: 'count distinct' }
  }
  if (of?.kind !== 'field' && of?.kind !== 'wildcard') throw new StatementError(`expected field argument in ${name}()`)
  return { name: name as WindowFunction | 'distinct', of, nth: nth?.kind === 'number' ? nth.value : 0 }
}

/** Returns whether an aggregate takes values of a type. */
export function takes(name: AggregateCall['name'], type: FieldType): boolean {
  return aggregates[name === 'count distinct' ? 'count' : name]?.includes(type) ?? false
}

/** Throws, in InfluxDB's words where it has such, when the functions of a statement do not go together. */
export function checkFunctions({ fields, windows }: SelectStatement): void {
  let calls = 0
  let names = 0
  let distincts = 0
  const visit = (one: Expression, isInCall: boolean): void => {
    if (one.kind === 'binary') {
      visit(one.left, isInCall)
      visit(one.right, isInCall)
    } else if (one.kind === 'call') {
      if (one.name === 'distinct') distincts++
      calls++
      checkCall(one, windows !== undefined)
      const [first] = one.given
      if (first && !isAggregate(one.name)) visit(first, true)
    } else if (!isInCall && (one.kind === 'field' || one.kind === 'wildcard')) {
      if (one.kind !== 'field' || one.name !== 'time') names++
    }
  }
  for (const { expression } of fields) visit(expression, false)
  if (calls > 0 && names > 0) {
    throw new StatementError('mixing aggregate and non-aggregate queries is not supported')
  }
  if (windows && calls === 0) throw new StatementError('GROUP BY requires at least one aggregate function')
  if (calls + names === 0) throw new StatementError('at least 1 non-time field must be queried')
  if (distincts > 0 && (calls > 1 || fields.length > 1 || fields[0]?.expression.kind !== 'call')) {
    throw new StatementError('aggregate function distinct() cannot be combined with other functions or fields')
  }
}

function checkCall(call: FunctionCall, isWindowed: boolean): void {
  const { name, given } = call
  if (isAggregate(name)) return void aggregateCall(call)
  const counts = Object.hasOwn(transformations, name) ? transformations[name] : undefined
  if (!counts) {
    const isKnown = missing.includes(name)
    throw new StatementError(isKnown ? `${name}() is not supported by the hub` : `undefined function ${name}()`)
  }
  if (given.length < counts[0] || given.length > counts[1]) {
    const expected = counts[0] === counts[1] ? counts[0] : `at least ${counts[0]} but no more than ${counts[1]}`
    throw new StatementError(`invalid number of arguments for ${name}, expected ${expected}, got ${given.length}`)
  }
  const [inner, second] = given
  if (inner?.kind === 'call') {
    if (!isAggregate(inner.name) && !Object.hasOwn(transformations, inner.name)) checkCall(inner, isWindowed)
    if (!isWindowed) throw new StatementError(`${name} aggregate requires a GROUP BY interval`)
    if (inner.name === 'distinct') throw new StatementError(`distinct() in ${name}() is not supported by the hub`)
  } else if (inner?.kind !== 'field') throw new StatementError(`expected field argument in ${name}()`)
  else if (isWindowed) throw new StatementError(`aggregate function required inside the call to ${name}`)
  if (name === 'moving_average') {
    if (second?.kind !== 'number' || !Number.isInteger(second.value) || second.value < 2 || second.value > 10_000) {
      throw new StatementError('moving_average window must be a whole number from 2 to 10000')
    }
  } else if (second && (second.kind !== 'duration' || second.nanoseconds <= 0n)) {
    throw new StatementError(`second argument to ${name} must be a duration above 0`)
  }
}
