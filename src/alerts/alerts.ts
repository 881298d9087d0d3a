import { join, resolve } from 'node:path'
import type { Settings } from '../config/settings.js'
import { type Files, nodeFiles } from '../disk/files.js'
import { isDiskError } from '../disk/retried-write.js'
import { describe } from '../errors.js'
import type { Message, Point } from '../model.js'
import type { Alarm } from '../observe/alarms.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Part } from '../runtime/lifecycle.js'
import { Slices } from '../runtime/slices.js'
import { WeekTime } from '../runtime/week-time.js'
import type { TimeSeriesStore } from '../store/store.js'
import { adoptJournal } from './adopted.js'
import { AlertDesk } from './alert-desk.js'
import { AlertHistory } from './alert-history.js'
import { AlertJournal, type AlertRecord } from './alert-journal.js'
import { type AlertDelivery, AlertTopics } from './alert-topics.js'
import { BackTests } from './back-test.js'
import { AlertEvaluator, type KnownDevice, type SeriesNaming } from './evaluator.js'
import type { HubFinding } from './hub-findings.js'
import { LiveClock } from './live-clock.js'
import type { AlertRule } from './rule.js'
import { RuleBook, type RuleFollower } from './rule-book.js'
import { RuleChecks } from './rule-check.js'
import type { AlertActions, AlertTransition, TransitionListener, TransitionLog } from './transition.js'
import { UsualLearner } from './usual-learner.js'
import type { AlertDecision, DecisionSink } from './watch-machine.js'
import { WatchSnapshot } from './watch-snapshot.js'

export type { AlertsQuery } from './alert-desk.js'
export type { AlertDelivery } from './alert-topics.js'
export type { BackTestQuery } from './back-test.js'
export type { KnownDevice, ReadingSource, SeriesNames, SeriesNaming } from './evaluator.js'
export type { HubFinding } from './hub-findings.js'
export type { AlertRow, BackTestAnswer, MuteRow, RuleRow } from './rows.js'
export { type SelectableNames, SeriesSelection } from './selection.js'
export { Rhythm } from './usual.js'

/** Reads messages for the alerts. */
export interface AlertReadings {
  /** Returns the measurement that the points of a topic have. Undefined: several, or not known. */
  measurementOf(topic: string): string | undefined
  /** Returns the points of a message that was read already. Undefined: it was not, or has none. */
  known(message: Message): readonly Point[] | undefined
  /** Returns the points of a message. Undefined: it has none. */
  pointsOf(message: Message): readonly Point[] | undefined
}

/** How far the live path is, and what it knows of clients and of the hub. */
export interface AlertSurroundings {
  /** Whether the live path has handled every message of the spool. */
  readonly isCaughtUp: boolean
  /** Sequence number of the last message that the live path has handled for good. */
  readonly position: number
  devices(): readonly KnownDevice[]
  /** State of the hub at the moment: what its account and its list of clients say. */
  hubFindings(): readonly HubFinding[]
  /** Grows when names or classes of devices change. */
  readonly changes: number
}

export interface AlertsOptions {
  readonly settings: Pick<Settings, 'alerts.file' | 'data.dir'>
  readonly dir: string
  readonly naming: SeriesNaming
  readonly readings: AlertReadings
  readonly surroundings: AlertSurroundings
  readonly store: Pick<TimeSeriesStore, 'write' | 'history' | 'series'>
  readonly delivery: AlertDelivery
  readonly incidents: IncidentReporter
  readonly log: SentenceLog
  readonly files?: Files
}

const tickMs = 1_000
/** Decisions that may wait for the disk before messages wait, too. */
const maxPending = 5_000
const forgetAfter = 30 * 86_400e6
/** Ticks between two looks at whether names of devices have changed, and at what can be forgotten. */
const rebindTicks = 10
const forgetTicks = 3_600
/** Cleared alerts whose retained messages are removed once more at a start. */
const recentlyCleared = 1_000

/**
 * The alerts of the hub: rules, their evaluation over all readings behind the spool, the journal of what they found,
 * retained messages and history in the store.
 *
 *     data.dir/alerts/journal    alerts and mutes
 *     data.dir/alerts/watches.json  memory of the evaluation; messages after its place are read again after a crash
 *     data.dir/alerts/rules.json    rules of the API
 *     data.dir/alerts/in-force.json  all rules that were right last, for a start with mistakes in the others
 *     data.dir/alerts/stored.json   how much of the journal is in the store
 */
export class Alerts implements Part, TransitionLog, AlertActions, RuleFollower, DecisionSink {
  readonly name = 'alerts'
  readonly #options: AlertsOptions
  readonly #clock = new LiveClock()
  readonly #week = new WeekTime()
  readonly #usual: UsualLearner
  readonly #evaluator: AlertEvaluator
  readonly #listeners: TransitionListener[]
  readonly #journal: AlertJournal
  readonly #snapshot: WatchSnapshot
  readonly #book: RuleBook
  readonly #topics: AlertTopics
  readonly #history: AlertHistory
  /** Questions and orders of people. */
  readonly desk: AlertDesk
  #isRestored = false
  #tick: NodeJS.Timeout | undefined
  #looking: Promise<void> | undefined
  #ticks = 0
  #changes = -1
  #areRulesNew = true
  #taken = 0
  #hubAlarms: readonly HubFinding[] = []
  /** Start of this process, until messages or time have reached it: before, nothing could be heard of. */
  #deafUntil = 0

  constructor(options: AlertsOptions) {
    this.#options = options
    const { dir, settings, store, naming, delivery, incidents, log, files } = options
    const own = join(dir, 'alerts')
    const [clock, week] = [this.#clock, this.#week]
    this.#usual = new UsualLearner({ store, week, clock })
    this.#evaluator = new AlertEvaluator({ clock, week, sink: this, naming, usual: this.#usual })
    this.#topics = new AlertTopics(delivery, log)
    this.#history = new AlertHistory({ path: join(own, 'stored.json'), transitions: this, store, log })
    this.#listeners = [this.#topics, this.#history]
    this.#journal = new AlertJournal({
      dir: join(own, 'journal'),
      incidents,
      listeners: this.#listeners,
      ...(files && { files }),
    })
    const evaluator = this.#evaluator
    this.#snapshot = new WatchSnapshot({
      path: join(own, 'watches.json'),
      evaluator,
      journal: this.#journal,
      incidents,
      files,
    })
    const named = settings['alerts.file']
    this.#book = new RuleBook({
      file: named ? resolve(named) : join(dir, 'alerts.yaml'),
      isNamed: named !== '',
      ownFile: join(own, 'rules.json'),
      keptFile: join(own, 'in-force.json'),
      follower: this,
      log,
    })
    const backTests = new BackTests({ store, naming, week, clock })
    const checks = new RuleChecks({ store, naming, clients: options.surroundings })
    const [journal, book, history, topics] = [this.#journal, this.#book, this.#history, this.#topics]
    this.desk = new AlertDesk({ journal, book, evaluator, backTests, checks, history, topics, clock })
  }

  /** Has a listener told of each transition from now on. Called before the start. */
  reportTo(listener: TransitionListener): void {
    this.#listeners.push(listener)
  }

  /** First sequence number that the alerts may need again after a crash. */
  get saved(): number {
    if (this.#evaluator.isIdle) return Number.POSITIVE_INFINITY
    return (this.#snapshot.position ?? this.#taken) + 1
  }

  /** Steps that are decided and not on disk yet. */
  get pending(): number {
    return this.#journal.pending
  }

  async start(): Promise<void> {
    try {
      nodeFiles.makeDirectorySync(join(this.#options.dir, 'alerts'))
    } catch (error) {
      // A disk that is full keeps nobody from starting; the journal and the snapshot make the folder later.
      if (!isDiskError(error)) throw error
    }
    this.#clock.start(0)
    await this.#journal.start()
    // Only now, as rules that are gone clear their alerts.
    this.#book.start()
    const now = this.#clock.now()
    const before = this.#snapshot.load()
    if (before === undefined) {
      // From here on nothing is missed, and what was before is not for these rules.
      this.#taken = this.#options.surroundings.position
      this.#evaluator.machine.position = this.#taken
      await this.#snapshot.save()
    }
    const machine = this.#evaluator.machine
    // A clock that was put back while the hub was off: what is running goes back with it.
    if (before !== undefined && before > now) machine.shift(now - before, this.#evaluator.watches())
    machine.now = Math.min(before ?? now, now)
    this.#deafUntil = before === undefined ? 0 : now - process.uptime() * 1e6
    adoptJournal(this.#evaluator, this.#journal, this.#snapshot.position ?? 0)
    this.#isRestored = true
    this.#changes = this.#options.surroundings.changes
    this.#clearOrphans()
    this.#meetDevices()
    this.#snapshot.start()
    this.#history.start()
    for (const record of [...this.#journal.alerts.values()].slice(-recentlyCleared)) this.#show(record)
    this.#tick = setInterval(() => this.#onTick(), tickMs)
  }

  async stop(): Promise<void> {
    clearInterval(this.#tick)
    await this.#looking
    this.#usual.stop()
    this.desk.stop()
    await this.#book.stop()
    await this.#snapshot.stop()
    await this.#journal.stop()
    await this.#topics.stop()
    await this.#history.stop()
  }

  /** Evaluates messages. Called with all messages, in order; a batch that failed comes again. */
  async handle(messages: readonly Message[]): Promise<void> {
    this.#lookAtClock()
    const evaluator = this.#evaluator
    if (evaluator.isIdle) {
      this.#taken = messages.at(-1)?.sequence ?? this.#taken
      evaluator.machine.position = Math.max(evaluator.machine.position, this.#taken)
      return
    }
    const [clockNow, slices] = [this.#clock.now(), new Slices()]
    for (const message of messages) {
      if (message.sequence <= this.#taken) continue
      if (slices.isOver) await slices.turn()
      const now = Math.min(message.receivedAt, clockNow)
      if (this.#deafUntil > 0 && now >= this.#deafUntil) this.#hearAgain()
      // Mostly nothing waits; when much does, the disk is the limit for messages, too.
      if (this.#journal.pending > maxPending) await this.#journal.flushed()
      if (evaluator.machine.timers.earliest <= now) await this.#advance(now)
      const points = pointsFor(evaluator, this.#options.readings, message)
      if (points) evaluator.take(message, points, now)
      else evaluator.pass(message, now)
      this.#taken = message.sequence
    }
  }

  presence(clientId: string, online: boolean, since: number): void {
    if (this.#isRestored) this.#evaluator.presence(clientId, online, since)
  }

  /** Clears the alerts of a client that was removed. */
  forgetDevice(clientId: string): void {
    this.#evaluator.forgetDevice(clientId)
  }

  /** Takes the alarms that are raised at the moment. */
  hubAlarms(raised: readonly Alarm[]): void {
    this.#hubAlarms = raised.map(({ name, detail }) => ({ name, value: 1, sentence: detail }))
  }

  /** Sentence while rules are wrong, or something is beyond a limit. */
  alarm(): string | undefined {
    const wrong = this.#book.alarm()
    if (wrong) return wrong
    if (this.#journal.failure) return `alerts cannot be written: ${this.#journal.failure}`
    if (this.#snapshot.failure)
      return `the memory of the alerts cannot be written, and messages stay in the spool: ${this.#snapshot.failure}`
    if (this.#evaluator.overLimit + this.#usual.overLimit === 0) return undefined
    return `the alert rules select too many series, or some with too long names: ${this.#evaluator.size} are watched, and others not; select fewer`
  }

  rulesChanged(rules: readonly AlertRule[], zone: string | undefined): void {
    const wasIdle = this.#evaluator.isIdle
    this.#areRulesNew = true
    this.#week.use(zone)
    this.#evaluator.setRules(rules)
    if (!this.#isRestored) return
    if (wasIdle) void this.#snapshot.save()
    this.#clearOrphans()
    this.#meetDevices()
  }

  decided({ watch, alert, state, at, past, sentence, said, value, points, position }: AlertDecision): void {
    const { rule, subject, since } = watch
    // Decided before a crash, and over: its messages came again.
    if (this.#journal.alerts.get(alert)?.decided === 'cleared') return
    const now = this.#clock.now()
    const isFirst = !this.#journal.alerts.has(alert)
    const id = watch.seriesId
    this.#journal.append({
      ...{ alert, rule: rule.name, series: subject.series, severity: rule.severity, state },
      ...(subject.device !== undefined && { device: subject.device }),
      ...{ at: Math.round(at), decidedAt: Math.round(now), sentence, said },
      ...(value !== undefined && { value }),
      past,
      ...(rule.notify.length > 0 && { notify: rule.notify }),
      muted: rule.isMuted || this.#journal.isMuted(rule.name, subject.series, subject.device, now),
      ...(points.length > 0 && { points }),
      position,
      ...(isFirst && { ruleText: rule.text, subject: { subject, since, ...(id && { id }) } }),
    })
  }

  after(sequence: number, limit: number): Promise<{ transitions: AlertTransition[]; oldest: number }> {
    return this.#journal.after(sequence, limit)
  }

  acknowledge(alert: string, by: string, note?: string): Promise<AlertTransition> {
    return this.desk.acknowledge(alert, by, note)
  }

  /** Clears open alerts that no watch is in charge of: their rules are gone, unless rules cannot be read. */
  #clearOrphans(): void {
    if (this.#book.mistakes.length > 0) return
    for (const record of this.#journal.open()) {
      const last = record.transitions.at(-1)
      if (!last || this.#evaluator.watchOf(last.rule, last.series)?.alert === last.alert) continue
      const now = Math.round(this.#clock.now())
      const { by: _by, note: _note, ...rest } = last
      const sentence = `${last.sentence}: the rule was removed`
      this.#journal.append({ ...rest, state: 'cleared', at: now, decidedAt: now, sentence })
    }
  }

  #meetDevices(): void {
    this.#evaluator.devices(this.#options.surroundings.devices(), this.#clock.now())
  }

  /** Publishes an alert as it is at the start, as the broker may have lost the newest state. */
  #show(record: AlertRecord): void {
    const last = record.transitions.at(-1)
    if (!last) return
    if (last.state !== 'cleared') this.#topics.changed(last)
    else if (!this.#evaluator.watchOf(last.rule, last.series)?.alert) this.#topics.remove(last.rule, last.series)
  }

  #hearAgain(): void {
    const { machine } = this.#evaluator
    const by = this.#deafUntil - machine.now
    this.#deafUntil = 0
    if (by > 0) machine.skip(by, this.#evaluator.watches())
  }

  #lookAtClock(): void {
    const jump = this.#clock.jump()
    if (jump !== 0) this.#evaluator.machine.shift(jump, this.#evaluator.watches())
  }

  /** Wakes what is due, in slices, as far as the disk takes what that decides. */
  async #advance(now: number): Promise<void> {
    const slices = new Slices()
    while (!this.#evaluator.machine.advance(now, slices)) {
      if (this.#journal.pending > maxPending) return
      await slices.turn()
    }
  }

  async #look(): Promise<void> {
    const { surroundings } = this.#options
    const evaluator = this.#evaluator
    this.#lookAtClock()
    const now = this.#clock.now()
    if (surroundings.isCaughtUp) {
      if (this.#deafUntil > 0) this.#hearAgain()
      await this.#advance(now)
    }
    if (evaluator.concernsHub) evaluator.hub([...surroundings.hubFindings(), ...this.#hubAlarms], now)
    this.#ticks++
    if (this.#ticks % rebindTicks === 0 || this.#areRulesNew) {
      this.#areRulesNew = false
      if (evaluator.selectsPlaces) await this.#options.naming.ready?.()
      if (surroundings.changes !== this.#changes) {
        this.#changes = surroundings.changes
        evaluator.rebind()
      }
    }
    if (this.#ticks % forgetTicks === 0) evaluator.forgetBefore(now - forgetAfter)
  }

  #onTick(): void {
    // A look at very many alerts may take longer than a tick.
    this.#looking ??= this.#look()
      .catch(error => this.#options.log.warn(`alerts: ${describe(error)}`))
      .finally(() => {
        this.#looking = undefined
      })
  }
}

/** Returns the points of a message, unless no rule can be about one of them. */
function pointsFor(evaluator: AlertEvaluator, readings: AlertReadings, message: Message): readonly Point[] | undefined {
  const known = readings.known(message)
  if (!known) return evaluator.concerns(readings.measurementOf(message.topic)) ? readings.pointsOf(message) : undefined
  for (let n = 0; n < known.length; n++) if (evaluator.concerns((known[n] as Point).measurement)) return known
  return undefined
}
