import { ApiError, hubNow } from '../api.js'
import { failureOf } from '../hub.js'
import { type Definition, isTestable, kindOf } from './definition.js'
import { readingsOf } from './readings.js'
import { type BackTest, checkRule, type RuleCheck, type SelectedSeries, testRule } from './requests.js'
import type { ChartData } from './rule-chart.js'

const day = 86_400_000
/** Wait before a question that found too many under way. */
const againAfter = 1_000

/** A rule that is being written. */
export interface TriedRule {
  readonly rule: Definition
  readonly name: string
  /** Whether the page itself sees that the rule is not whole yet. */
  readonly isWhole: boolean
}

/** The answers of the hub about a rule that is being written: mistakes, what the rule selects, and its back-test. */
export class Trial {
  readonly #subject: TriedRule
  readonly #changed: () => void
  check: RuleCheck | undefined
  /** The rule that `check` is about. */
  checked: Definition | undefined
  checkFailure = ''
  test: BackTest | undefined
  testFailure = ''
  isTesting = false
  /** Readings of the series that is drawn. */
  data: ChartData | undefined
  days = 7
  /** Series that somebody has chosen to see. */
  #wished = ''
  #dataOf = ''
  #soon: ReturnType<typeof setTimeout> | undefined
  #running = new AbortController()
  readonly #ended = new AbortController()

  constructor(subject: TriedRule, changed: () => void) {
    this.#subject = subject
    this.#changed = changed
  }

  get signal(): AbortSignal {
    return this.#ended.signal
  }

  end(): void {
    clearTimeout(this.#soon)
    this.#ended.abort()
    this.#running.abort()
  }

  /** The series that the chart shows: the one chosen, else the first that would have fired. */
  get drawn(): SelectedSeries | undefined {
    const { selected = [] } = this.check ?? {}
    const fired = this.test?.alerts[0]?.series
    const of = (key: string | undefined) => selected.find(({ series }) => series === key)
    return of(this.#wished) ?? of(fired) ?? selected[0]
  }

  draw(series: string): void {
    this.#wished = series
    void this.#read()
  }

  /** Forgets which series was chosen: the rule selects others now. */
  selectsAnew(): void {
    this.#wished = ''
  }

  setDays(days: number): void {
    this.days = days
    this.askSoon(0)
  }

  /** Asks a little later, as changes come together. What is under way is given up. */
  askSoon(after: number): void {
    clearTimeout(this.#soon)
    this.#soon = setTimeout(() => void this.#ask(), after)
  }

  async #ask(): Promise<void> {
    this.#running.abort()
    const running = new AbortController()
    this.#running = running
    const { rule } = this.#subject
    if (!kindOf(rule)) return
    const signal = AbortSignal.any([running.signal, this.#ended.signal])
    try {
      this.check = await checkRule(rule, signal)
      this.checked = rule
      this.checkFailure = ''
    } catch (error) {
      if (signal.aborted) return
      this.checkFailure = (error as Error).message
      this.#againIfBusy(error)
    }
    if (signal.aborted) return
    if (!this.#subject.isWhole || !isTestable(kindOf(rule))) {
      this.test = undefined
      this.isTesting = false
      this.#changed()
      return
    }
    this.#changed()
    await Promise.all([this.#read(), this.#test(signal)])
  }

  async #test(signal: AbortSignal): Promise<void> {
    this.isTesting = true
    this.#changed()
    const to = Math.ceil(hubNow())
    const { enabled: _, ...rule } = this.#subject.rule
    try {
      this.test = await testRule({ ...rule, name: this.#subject.name || 'test' }, to - this.days * day, to, signal)
      this.testFailure = ''
    } catch (error) {
      if (signal.aborted) return
      this.testFailure = (error as Error).message
      this.test = undefined
      this.#againIfBusy(error)
    }
    this.isTesting = false
    this.#changed()
    // Another series may be the one that is worth seeing.
    if (!signal.aborted) void this.#read()
  }

  #againIfBusy(error: unknown): void {
    if (error instanceof ApiError && error.status === 429) this.askSoon(againAfter)
  }

  /** Reads what the chart shows, unless that is there already. */
  async #read(): Promise<void> {
    const { drawn, days } = this
    const { minus } = this.#subject.rule
    if (!drawn) {
      this.data = undefined
      this.#dataOf = ''
      this.#changed()
      return
    }
    const wanted = JSON.stringify([drawn.series, days, minus])
    if (this.#dataOf === wanted) return
    this.#dataOf = wanted
    const to = Math.ceil(hubNow())
    const type = drawn.type ?? 'number'
    try {
      const data = await readingsOf({ series: drawn.series, type, from: to - days * day, to, minus })
      if (this.#dataOf !== wanted) return
      this.data = data
    } catch (error) {
      if (this.#dataOf === wanted) this.#dataOf = ''
      this.testFailure = failureOf(error)
    }
    this.#changed()
  }
}
