import { randomUUID } from 'node:crypto'
import { mayRead, type ReadRules } from '../access/rules.js'
import { HubError } from '../errors.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { hubTopics } from '../topics.js'
import type { AlertHistory } from './alert-history.js'
import type { AlertJournal, Mute } from './alert-journal.js'
import type { AlertTopics } from './alert-topics.js'
import type { BackTestQuery, BackTests } from './back-test.js'
import type { AlertEvaluator } from './evaluator.js'
import {
  type AlertRow,
  alertRow,
  type BackTestAnswer,
  type MuteRow,
  muteRow,
  type RuleCheckAnswer,
  type RuleRow,
  ruleRow,
} from './rows.js'
import type { RuleBook } from './rule-book.js'
import type { RuleChecks } from './rule-check.js'
import type { AlertActions, AlertTransition } from './transition.js'

/** Selects alerts. With `rules` an answer has only those whose topics the rules allow to be read. */
export interface AlertsQuery {
  /** `open`: pending, firing and acknowledged. `all`: also those that are cleared, as far as they are kept. */
  readonly state: 'open' | 'all'
  readonly rule?: string | undefined
  readonly device?: string | undefined
  /** Milliseconds: alerts that were not over at `from`, and had begun before `to`. */
  readonly from?: number | undefined
  readonly to?: number | undefined
  readonly limit: number
  readonly rules: ReadRules | undefined
}

export interface AlertDeskOptions {
  readonly journal: AlertJournal
  readonly book: RuleBook
  readonly evaluator: AlertEvaluator
  readonly backTests: BackTests
  readonly checks: RuleChecks
  readonly history: Pick<AlertHistory, 'missed'>
  readonly topics: Pick<AlertTopics, 'dropped'>
  readonly clock: MicrosecondClock
}

/** Answers questions about alerts, and carries out the orders of people. */
export class AlertDesk implements AlertActions {
  readonly #options: AlertDeskOptions

  constructor(options: AlertDeskOptions) {
    this.#options = options
  }

  stop(): void {
    this.#options.backTests.stop()
    this.#options.checks.stop()
  }

  async acknowledge(alert: string, by: string, note?: string): Promise<AlertTransition> {
    const record = this.#options.journal.alerts.get(alert)
    const last = record?.transitions.at(-1)
    if (!last || record?.decided !== 'firing') {
      const known = record ? `the alert is ${record.decided}` : 'there is no such alert'
      const sentence = `${alert}: ${known}; only an alert that is firing can be acknowledged`
      throw new HubError('not_found', sentence, { said: { code: 'alert-not-firing', values: {} } })
    }
    const now = Math.round(this.#options.clock.now())
    const transition = this.#options.journal.append({
      ...last,
      ...{ state: 'acknowledged', at: now, decidedAt: now, by },
      ...(note !== undefined && { note }),
      muted: last.muted,
    })
    await this.#options.journal.flushed()
    return transition
  }

  /** Throws `not_found` for an alert that the rules do not allow to be read. */
  check(alert: string, rules: ReadRules | undefined): void {
    const last = this.#options.journal.alerts.get(alert)?.transitions.at(-1)
    if (!rules || (last && mayRead(rules, hubTopics.alert(last.rule, last.series)))) return
    throw new HubError('not_found', `${alert}: there is no such alert`, { said: { code: 'no-alert', values: {} } })
  }

  /** Returns alerts, the newest first. */
  list({ state, rule, device, from, to, limit, rules }: AlertsQuery): {
    alerts: AlertRow[]
    count: number
    mutes: MuteRow[]
  } {
    const { journal, book, clock } = this.#options
    const found = [...journal.alerts].reverse().flatMap(([, record]) => {
      const last = record.transitions.at(-1)
      const fits =
        last &&
        (state === 'all' || last.state !== 'cleared') &&
        (rule === undefined || last.rule === rule) &&
        (device === undefined || last.device === device) &&
        (from === undefined || last.state !== 'cleared' || last.at > from * 1_000) &&
        (to === undefined || (record.transitions[0]?.at ?? 0) < to * 1_000) &&
        (!rules || mayRead(rules, hubTopics.alert(last.rule, last.series)))
      return fits ? [record] : []
    })
    const now = clock.now()
    const muted = new Set(book.rules.flatMap(one => (one.isMuted ? [one.name] : [])))
    return {
      alerts: found.slice(0, limit).map(record => {
        const last = record.transitions.at(-1)
        const isMuted = last && (muted.has(last.rule) || journal.isMuted(last.rule, last.series, last.device, now))
        return alertRow(record, isMuted === true)
      }),
      count: found.length,
      mutes: journal.mutes.filter(mute => isShown(mute, rules)).map(muteRow),
    }
  }

  /** Returns the rules in force, the mistakes of the file, and the counts of all. */
  rules(): { rules: RuleRow[]; mistakes: readonly string[]; counts: Readonly<Record<string, number>> } {
    const { machine, size, overLimit } = this.#options.evaluator
    const rows = this.#options.book.rules.map(rule =>
      ruleRow(
        rule,
        this.#options.book.placeOf(rule.name),
        this.#options.evaluator.countOf(rule.name),
        machine.firing.countOf(rule.name),
      ),
    )
    const counts = {
      ...{ watched: size, notWatched: overLimit, late: machine.late, forgotten: this.#options.journal.forgotten },
      ...{ notStored: this.#options.history.missed, notPublished: this.#options.topics.dropped },
    }
    return { rules: rows, mistakes: this.#options.book.mistakes, counts }
  }

  /** Resolves when the rule is on disk and in force. Rejects with `bad_request` and all mistakes, or `busy`. */
  async putRule(name: string, given: unknown): Promise<RuleRow> {
    const rule = await this.#options.book.put(name, given)
    return ruleRow(rule, undefined, this.#options.evaluator.countOf(name), 0)
  }

  /** Resolves when the rule of the API is gone. Rejects with `not_found` or `busy`. */
  removeRule(name: string): Promise<void> {
    return this.#options.book.remove(name)
  }

  async mute(given: Omit<Mute, 'id' | 'since'>): Promise<MuteRow> {
    if (given.rule === undefined && given.series === undefined && given.device === undefined)
      throw new HubError('bad_request', 'nothing is named; allowed are rule, series and device')
    if (given.rule !== undefined && !this.#options.book.sourceOf(given.rule)) throw noRule(given.rule)
    const mute = { ...given, id: randomUUID().slice(0, 8), since: Math.round(this.#options.clock.now()) }
    await this.#options.journal.mute(mute)
    return muteRow(mute)
  }

  /** Resolves with what a rule would watch, and all its mistakes. */
  checkRule(name: string | undefined, given: unknown): Promise<RuleCheckAnswer> {
    return this.#options.checks.run(name, given, this.#options.book)
  }

  async unmute(id: string): Promise<MuteRow> {
    return muteRow(await this.#options.journal.unmute(id))
  }

  /** Resolves with what a rule would have done. `rule` is the name of one in force, or a rule as in the file. */
  test(query: BackTestQuery): Promise<BackTestAnswer> {
    return this.#options.backTests.run(query, this.#options.book.rules)
  }
}

/** Whether a caller may know of a mute: one that reads all alerts, or the very series that is muted. */
function isShown({ rule, series }: Mute, rules: ReadRules | undefined): boolean {
  if (!rules) return true
  return rule !== undefined && series !== undefined && mayRead(rules, hubTopics.alert(rule, series))
}

function noRule(rule: string): HubError {
  return new HubError('not_found', `there is no rule ${JSON.stringify(rule)}`, {
    said: { code: 'no-rule', values: { rule } },
  })
}
