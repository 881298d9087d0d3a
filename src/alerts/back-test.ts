import { HubError } from '../errors.js'
import { type FieldValue, type Point, type Said, type SeriesId, seriesKey } from '../model.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { Slices } from '../runtime/slices.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { WeekTime } from '../runtime/week-time.js'
import type { TimeSeriesStore } from '../store/store.js'
import { AlertEvaluator, doesSelectPlaces, otherSeries, type SeriesNaming, type UsualSeries } from './evaluator.js'
import type { BackTestAnswer } from './rows.js'
import type { AlertRule } from './rule.js'
import { isSeriesSelected } from './rule-index.js'
import { RuleReader } from './rule-reader.js'
import { UsualWeek } from './usual.js'
import type { AlertDecision, DecisionSink } from './watch-machine.js'

/** A rule, by name or as in the file, and the time to test it over; microseconds, `to` not included. */
export interface BackTestQuery {
  readonly rule: unknown
  readonly from: number
  readonly to: number
}

export interface BackTestsOptions {
  readonly store: Pick<TimeSeriesStore, 'history' | 'series'>
  readonly naming: SeriesNaming
  readonly week: WeekTime
  readonly clock: MicrosecondClock
}

/** Most series and readings of one test, and most tests that wait. */
const maxSeries = 500
const maxReadings = 5_000_000
const maxTests = 4
/** Most series that are looked at to find those that the rule selects. */
const maxLooked = 1_000_000
/** Most readings of one series that are read at once, and of all series. */
const readAtOnce = 20_000
const maxHeld = 200_000
const shownAlerts = 200
const day = 86_400e6

interface Row {
  readonly time: number
  readonly value: FieldValue
  readonly id: SeriesId
}

/** Tests of rules over the readings in the store: by the evaluator of the live path, with the time of the readings as its clock. */
export class BackTests {
  readonly #options: BackTestsOptions
  readonly #queue = new SerialQueue()
  #waiting = 0
  #isStopped = false

  constructor(options: BackTestsOptions) {
    this.#options = options
  }

  stop(): void {
    this.#isStopped = true
  }

  /** Rejects with `not_found`, `bad_request` with all mistakes of the rule, `too_many`, or the errors of the store. */
  async run(query: BackTestQuery, rules: readonly AlertRule[]): Promise<BackTestAnswer> {
    const { rule, all } = rulesOf(query.rule, rules)
    if (query.from >= query.to) throw new HubError('bad_request', 'from is not before to')
    const { kind } = rule.condition
    if (kind === 'hub' || kind === 'offline' || (kind === 'silent' && rule.condition.of === 'device')) {
      throw new HubError(
        'bad_request',
        `${rule.name}: the store has readings only, so rules about the hub, connections, or the silence of whole devices cannot be tested; silence of a value can`,
        { said: { code: 'not-testable', values: {} } },
      )
    }
    if (this.#waiting >= maxTests) throw new HubError('too_many', `${maxTests} tests are under way; try again`)
    this.#waiting++
    try {
      return await this.#queue.run(() => new BackTest(this.#options, rule, all, query, () => this.#isStopped).run())
    } finally {
      this.#waiting--
    }
  }
}

/** Returns the rule to test, and with it those that hold it back. */
function rulesOf(given: unknown, inForce: readonly AlertRule[]): { rule: AlertRule; all: AlertRule[] } {
  const named = new Map(inForce.map(rule => [rule.name, rule]))
  let rule: AlertRule | undefined
  if (typeof given === 'string') {
    rule = named.get(given)
    if (!rule)
      throw new HubError('not_found', `there is no rule ${JSON.stringify(given)}`, {
        said: { code: 'no-rule', values: { rule: given } },
      })
  } else {
    const reader = new RuleReader()
    const { name, ...more } = (typeof given === 'object' && given !== null ? given : {}) as { readonly name?: unknown }
    rule = reader.read(typeof name === 'string' ? name : 'test', typeof given === 'object' ? more : given)
    if (rule) {
      const own = rule
      const checked = reader.ordered([own, ...inForce.filter(one => one.name !== own.name)])
      rule = checked.find(one => one.name === own.name)
    }
    if (!rule || reader.mistakes.length > 0) {
      throw new HubError(
        'bad_request',
        reader.mistakes.map(({ path, sentence }) => `${path.join('.')}: ${sentence}`).join('; '),
      )
    }
  }
  const all = new Map([[rule.name, rule]])
  for (const one of all.values()) {
    for (const { rule: other } of one.unless) {
      const parent = named.get(other)
      if (parent?.isEnabled) all.set(other, parent)
    }
  }
  return { rule, all: [...all.values()] }
}

class BackTest implements DecisionSink {
  readonly #options: BackTestsOptions
  readonly #rule: AlertRule
  readonly #all: readonly AlertRule[]
  readonly #query: BackTestQuery
  readonly #isGivenUp: () => boolean
  readonly #evaluator: AlertEvaluator
  readonly #slices: Slices
  readonly #usual = new Map<string, UsualWeek>()
  readonly #open = new Map<string, number>()
  readonly #alerts: {
    series: string
    device?: string
    from: number
    to?: number
    sentence: string
    said: Said
    id: string
  }[] = []
  #count = 0
  #total = 0
  #longest = 0
  #readings = 0

  constructor(
    options: BackTestsOptions,
    rule: AlertRule,
    all: readonly AlertRule[],
    query: BackTestQuery,
    isGivenUp: () => boolean,
  ) {
    this.#options = options
    this.#rule = rule
    this.#all = all
    this.#query = query
    this.#isGivenUp = isGivenUp
    const goesOn = () => {
      if (isGivenUp()) throw new HubError('stopping', 'the hub stops')
    }
    this.#slices = new Slices(5, goesOn)
    const usual: UsualSeries = {
      usualOf: id => ({ usualAt: time => this.#usual.get(seriesKey(id))?.at(time) }),
    }
    const { week, naming } = options
    this.#evaluator = new AlertEvaluator({
      clock: { now: () => this.#evaluator.machine.now },
      week,
      naming,
      usual,
      sink: this,
    })
    this.#evaluator.setRules(all)
    this.#evaluator.machine.now = query.from
  }

  async run(): Promise<BackTestAnswer> {
    const { from, to } = this.#query
    if (this.#all.some(doesSelectPlaces)) await this.#options.naming.ready?.()
    const { series, isCut } = await this.#seriesOf()
    await this.#learnUsual(series)
    let incomplete = isCut ? `the rule selects more series than a test takes: ${maxSeries} were tested` : undefined
    let said: Said | undefined = isCut ? { code: 'test-series', values: { count: maxSeries } } : undefined
    let isEnded = false
    let length = Math.min(day, to - from)
    for (let begin = from; begin < to; ) {
      const end = Math.min(to, begin + length)
      const rows = await this.#read(series, begin, end)
      if (rows === undefined) {
        length = Math.max(1e6, Math.floor(length / 2))
        continue
      }
      await this.#evaluate(rows)
      this.#readings += rows.length
      if (rows.length < maxHeld / 4) length = Math.min(30 * day, length * 2)
      begin = end
      if (this.#readings > maxReadings && begin < to) {
        const until = new Date(begin / 1e3).toISOString()
        incomplete = `the test ended after ${maxReadings.toLocaleString('en')} readings, at ${until}`
        said = { code: 'test-readings', values: { count: maxReadings, until } }
        isEnded = true
        break
      }
    }
    const end = isEnded ? this.#evaluator.machine.now : Math.min(to, this.#options.clock.now())
    this.#evaluator.machine.advance(end)
    for (const since of this.#open.values()) this.#lasted(end - since)
    return {
      ...{ rule: this.#rule.name, from: from / 1e3, to: to / 1e3, series: series.length, readings: this.#readings },
      ...(incomplete !== undefined && { incomplete }),
      ...(said && { said }),
      ...{ count: this.#count, total: this.#total / 1e3, longest: this.#longest / 1e3 },
      alerts: this.#alerts.map(({ id: _, from: began, to: ended, ...alert }) => ({
        ...alert,
        from: began / 1e3,
        ...(ended !== undefined && { to: ended / 1e3 }),
      })),
    }
  }

  decided({ watch, alert, state, at, sentence, said }: AlertDecision): void {
    if (watch.rule.name !== this.#rule.name) return
    if (state === 'firing') {
      this.#count++
      this.#open.set(alert, at)
      const { series, device } = watch.subject
      if (this.#alerts.length < shownAlerts)
        this.#alerts.push({ series, ...(device !== undefined && { device }), from: at, sentence, said, id: alert })
    }
    const since = state === 'cleared' ? this.#open.get(alert) : undefined
    if (since === undefined) return
    this.#open.delete(alert)
    this.#lasted(at - since)
    const shown = this.#alerts.find(one => one.id === alert)
    if (shown) shown.to = at
  }

  #lasted(time: number): void {
    this.#total += Math.max(0, time)
    this.#longest = Math.max(this.#longest, time)
  }

  /** Finds the series that the rules select, and those that they compare with. */
  async #seriesOf(): Promise<{ series: SeriesId[]; isCut: boolean }> {
    const { store, naming } = this.#options
    const found = new Map<string, SeriesId>()
    let looked = 0
    let after: string | undefined
    do {
      const page = await store.series({ limit: 10_000, after })
      looked += page.series.length
      for (const { measurement, tags, field } of page.series) {
        if (this.#slices.isOver) await this.#slices.turn()
        const id = { measurement, tags, field }
        const names = naming.describe(id, undefined)
        const rules = this.#all.filter(rule => isSeriesSelected(rule, names))
        if (rules.length === 0) continue
        if (found.size >= maxSeries) return { series: [...found.values()], isCut: true }
        found.set(seriesKey(id), id)
        for (const { condition } of rules) {
          if (condition.kind !== 'range' || !condition.minus) continue
          const other = otherSeries(id, condition.minus)
          found.set(seriesKey(other), other)
        }
      }
      after = page.next
    } while (after !== undefined && looked < maxLooked)
    return { series: [...found.values()], isCut: after !== undefined }
  }

  /** Learns from the four weeks before the test, so that nothing is judged by what was known later. */
  async #learnUsual(series: readonly SeriesId[]): Promise<void> {
    const { store, week, naming } = this.#options
    const { from } = this.#query
    const rules = this.#all.filter(({ condition }) => condition.kind === 'unusual')
    for (const id of rules.length > 0 ? series : []) {
      if (!rules.some(rule => isSeriesSelected(rule, naming.describe(id, undefined)))) continue
      const { times, values } = await store.history({
        series: id,
        from: from - 28 * day,
        to: from,
        points: 8_064,
        fn: 'last',
      })
      this.#usual.set(seriesKey(id), new UsualWeek(week, times, values))
    }
  }

  /** Reads a piece of all series, in order of time. Undefined when that is more than is held at once. */
  async #read(series: readonly SeriesId[], from: number, to: number): Promise<Row[] | undefined> {
    const rows: Row[] = []
    for (const id of series) {
      const points = readAtOnce
      const query = { series: id, from, to, points, fn: 'last' } as const
      const { times, values, window } = await this.#options.store.history(query)
      if (this.#isGivenUp()) throw new HubError('stopping', 'the hub stops')
      // More readings than asked for come as one value for each window, at its beginning. Windows much wider than asked
      // for are all that is left of older readings.
      const isThinned = window !== undefined && to - from > 1e6 && window <= (2 * (to - from)) / points
      if (isThinned || rows.length + times.length > maxHeld) {
        if (to - from > 1e6) return undefined
      }
      for (const [i, time] of times.entries()) {
        // A window that began before belongs to the piece before.
        if (time >= from) rows.push({ time, value: values[i] as FieldValue, id })
      }
    }
    return rows.sort((a, b) => a.time - b.time)
  }

  async #evaluate(rows: readonly Row[]): Promise<void> {
    for (let i = 0; i < rows.length; ) {
      if (this.#slices.isOver) await this.#slices.turn()
      const { time } = rows[i] as Row
      const points: Point[] = []
      // The store does not say which readings were in one message: those of the same time are taken for one.
      for (let row = rows[i]; row?.time === time; row = rows[++i]) {
        const { measurement, tags, field } = row.id
        points.push({ measurement, tags, fields: [[field, row.value]], time })
      }
      const source = { topic: '', clientId: '', sequence: this.#evaluator.machine.position + 1, receivedAt: time }
      this.#evaluator.take(source, points, time)
    }
  }
}
