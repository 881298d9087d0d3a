import type { FieldValue, Said } from '../model.js'
import type { WeekTime } from '../runtime/week-time.js'
import type { AlertRule, ConditionRule } from './rule.js'
import type { UsualValues } from './usual.js'

/** A reading that a condition has looked at. Time in microseconds. */
export type DecidingPoint = readonly [time: number, value: FieldValue]

/** Knows what is usual for a series. */
export interface UsualSource {
  /** Undefined while nothing is known. Asking begins the learning. */
  usualAt(time: number): UsualValues | undefined
}

/**
 * One condition of a rule for one series: whether each reading fulfils it. Pure but for its own memory, and the same for
 * live readings and for those of a back-test.
 */
export interface AlertCondition {
  /**
   * Returns whether the condition holds with this reading; undefined when that cannot be said, and everything stays.
   * @param isActive Whether the condition held before, for the hysteresis
   */
  take(time: number, value: FieldValue, isActive: boolean): boolean | undefined
  /** Takes a reading of the other series of a comparison. */
  takeOther?(time: number, value: FieldValue, isActive: boolean): boolean | undefined
  /** Returns what was compared, and with what, for `sentences.ts`. */
  said(): Said
  /** Readings beside the newest one that decided. */
  readonly evidence?: readonly DecidingPoint[]
  /** State for the snapshot, as JSON. Undefined: none. */
  save?(): unknown
  restore?(saved: unknown): void
}

/** Returns the condition of a rule for one series. Rules about silence, connections and the hub are no such conditions. */
export function conditionOf(rule: AlertRule, usual: UsualSource | undefined, week: WeekTime): AlertCondition {
  const { condition } = rule
  switch (condition.kind) {
    case 'range':
      return condition.minus ? new Difference(condition) : new Range(condition)
    case 'rate':
      return new Rate(condition)
    case 'equals':
      return new Equals(condition)
    case 'unusual':
      return new Unusual(condition.times, usual, week)
    default:
      return never
  }
}

/** The condition of rules that are decided by time, presence or the hub, not by readings. */
const never: AlertCondition = { take: () => false, said: () => ({ code: 'never', values: {} }) }

type RangeRule = Extract<ConditionRule, { kind: 'range' }>

/** Whether a number is outside the limits; with hysteresis, once it was outside. */
function isOutside({ above, below, hysteresis }: RangeRule, value: number, isActive: boolean): boolean {
  const back = isActive ? hysteresis : 0
  return (above !== undefined && value > above - back) || (below !== undefined && value < below + back)
}

function limitSaid({ above, below }: RangeRule, value: number): Said {
  const isAbove = above !== undefined && (below === undefined || value > (above + below) / 2)
  return isAbove
    ? { code: 'above', values: { value, limit: above } }
    : { code: 'below', values: { value, limit: below as number } }
}

class Range implements AlertCondition {
  readonly #rule: RangeRule
  #value = Number.NaN

  constructor(rule: RangeRule) {
    this.#rule = rule
  }

  take(_time: number, value: FieldValue, isActive: boolean): boolean | undefined {
    const number = numberOf(value)
    if (number === undefined) return undefined
    this.#value = number
    return isOutside(this.#rule, number, isActive)
  }

  said(): Said {
    return limitSaid(this.#rule, this.#value)
  }
}

/** The difference of a series to another one, by the newest value of each. */
class Difference implements AlertCondition {
  readonly #rule: RangeRule
  #own: readonly [number, number] | undefined
  #other: readonly [number, number] | undefined

  constructor(rule: RangeRule) {
    this.#rule = rule
  }

  take(time: number, value: FieldValue, isActive: boolean): boolean | undefined {
    const number = numberOf(value)
    if (number === undefined) return undefined
    this.#own = [time, number]
    return this.#compare(isActive)
  }

  takeOther(time: number, value: FieldValue, isActive: boolean): boolean | undefined {
    const number = numberOf(value)
    if (number === undefined || (this.#other && time <= this.#other[0])) return undefined
    this.#other = [time, number]
    return this.#compare(isActive)
  }

  #compare(isActive: boolean): boolean | undefined {
    if (!this.#own || !this.#other) return undefined
    return isOutside(this.#rule, this.#own[1] - this.#other[1], isActive)
  }

  get evidence(): readonly DecidingPoint[] {
    return this.#other ? [this.#other] : []
  }

  said(): Said {
    const [value, otherValue] = [this.#own?.[1] ?? 0, this.#other?.[1] ?? 0]
    const field = this.#rule.minus?.field
    const code = `${value < otherValue ? 'less' : 'more'}${field === undefined ? '-other' : ''}`
    const distance = Math.abs(value - otherValue)
    return { code, values: { value, distance, otherValue, ...(field !== undefined && { other: field }) } }
  }

  save(): unknown {
    return [this.#own ?? null, this.#other ?? null]
  }

  restore(saved: unknown): void {
    if (!Array.isArray(saved)) return
    this.#own = pairOf(saved[0])
    this.#other = pairOf(saved[1])
  }
}

/** Most readings that a rate keeps of its span. */
const maxSamples = 32

class Rate implements AlertCondition {
  readonly #rule: Extract<ConditionRule, { kind: 'rate' }>
  /** Readings of the span, the oldest first, and the newest. */
  #samples: [number, number][] = []
  #rate = 0
  #unitSpan = 0

  constructor(rule: Extract<ConditionRule, { kind: 'rate' }>) {
    this.#rule = rule
  }

  take(time: number, value: FieldValue): boolean | undefined {
    const number = numberOf(value)
    if (number === undefined) return undefined
    const { over, per, above, below } = this.#rule
    const samples = this.#samples
    if (over === 0 && samples.length === 2) this.#takeNext(time, number)
    else this.#takeOfSpan(time, number)
    const first = samples[0] as [number, number]
    const elapsed = time - first[0]
    // A span of which only a part is known says nothing yet.
    if (elapsed <= 0 || elapsed < over) return undefined
    this.#unitSpan = elapsed
    this.#rate = ((number - first[1]) / elapsed) * per
    return (above !== undefined && this.#rate > above) || (below !== undefined && this.#rate < below)
  }

  /** Keeps the newest two readings, in the same memory. */
  #takeNext(time: number, number: number): void {
    const [first, newest] = this.#samples as [[number, number], [number, number]]
    first[0] = newest[0]
    first[1] = newest[1]
    newest[0] = time
    newest[1] = number
  }

  #takeOfSpan(time: number, number: number): void {
    const { over } = this.#rule
    const samples = this.#samples
    const newest = samples.at(-1)
    // Readings of a fast series are thinned, so that the memory of a span is bounded.
    const beforeNewest = samples.at(-2)
    const isDense =
      over > 0 && newest && beforeNewest && newest[0] - beforeNewest[0] < over / maxSamples && samples.length > 2
    if (isDense) samples.pop()
    samples.push([time, number])
    // The reading at the beginning of the span, or the last before.
    while (samples.length > 2 && time - (samples[1] as readonly [number, number])[0] >= over) samples.shift()
    if (samples.length > maxSamples * 2) samples.shift()
  }

  get evidence(): readonly DecidingPoint[] {
    // Copied, as the memory is used again.
    return this.#samples.map(([time, number]) => [time, number] as const)
  }

  said(): Said {
    const { per, above, below } = this.#rule
    const isAbove = above !== undefined && this.#rate > above
    const code = `${this.#rate < 0 ? 'falls' : 'rises'}-${isAbove ? 'above' : 'below'}`
    const limit = isAbove ? above : (below ?? 0)
    const values = { rate: Math.abs(this.#rate), perMs: per / 1_000, overMs: this.#unitSpan / 1_000, limit }
    return { code, values }
  }

  save(): unknown {
    return this.#samples
  }

  restore(saved: unknown): void {
    if (!Array.isArray(saved)) return
    this.#samples = saved.flatMap(one => {
      const pair = pairOf(one)
      return pair ? [[pair[0], pair[1]]] : []
    })
  }
}

/** Most values that a sentence lists. */
const mostListed = 5

class Equals implements AlertCondition {
  readonly #rule: Extract<ConditionRule, { kind: 'equals' }>
  #value: FieldValue = ''

  constructor(rule: Extract<ConditionRule, { kind: 'equals' }>) {
    this.#rule = rule
  }

  take(_time: number, value: FieldValue): boolean {
    this.#value = value
    const { values, isNegated } = this.#rule
    // "on" in the rule means the text, and true in the rule the boolean; both are what devices send for one another.
    return values.some(one => one === value || String(one) === String(value)) !== isNegated
  }

  said(): Said {
    const { values, isNegated } = this.#rule
    const value = JSON.stringify(this.#value)
    if (!isNegated) return { code: 'equals', values: { value } }
    const wanted = values
      .slice(0, mostListed)
      .map(one => JSON.stringify(one))
      .join(', ')
    const more = values.length - mostListed
    return more > 0 ? { code: 'not-more', values: { value, wanted, more } } : { code: 'not', values: { value, wanted } }
  }
}

class Unusual implements AlertCondition {
  readonly #times: number
  readonly #usual: UsualSource | undefined
  readonly #week: WeekTime
  #value = 0
  #hour = 0
  #known: UsualValues | undefined

  constructor(times: number, usual: UsualSource | undefined, week: WeekTime) {
    this.#times = times
    this.#usual = usual
    this.#week = week
  }

  take(time: number, value: FieldValue): boolean | undefined {
    const number = numberOf(value)
    if (number === undefined) return undefined
    const known = this.#usual?.usualAt(time)
    if (!known) return undefined
    this.#value = number
    this.#known = known
    this.#hour = this.#week.hour(time)
    return Math.abs(number - known.median) > this.#times * known.deviation
  }

  said(): Said {
    if (!this.#known) return { code: 'unusual', values: {} }
    const { median, deviation, isOfWeek } = this.#known
    const value = this.#value
    const times = Math.round(Math.abs(value - median) / deviation)
    const hour = this.#hour
    return isOfWeek
      ? { code: 'unusual-week', values: { value, median, deviation, times, weekHour: hour } }
      : { code: 'unusual-day', values: { value, median, deviation, times, dayHour: hour % 24 } }
  }
}

function numberOf(value: FieldValue): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined
  return typeof value === 'boolean' ? Number(value) : undefined
}

function pairOf(saved: unknown): readonly [number, number] | undefined {
  return Array.isArray(saved) && saved.length === 2 && saved.every(Number.isFinite)
    ? [saved[0] as number, saved[1] as number]
    : undefined
}
