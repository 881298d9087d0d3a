import type { FieldValue, Message, Point, SeriesId } from '../model.js'
import { seriesKey } from '../model.js'
import { conditionOf, type UsualSource } from './condition.js'
import { type HubFinding, takeFindings } from './hub-findings.js'
import { ComparedSeries, type MetGroup, MetGroups, type MetSeries } from './met-series.js'
import { type AlertRule, isSelected } from './rule.js'
import { RuleIndex, type SelectableSeries } from './rule-index.js'
import type { EndReason } from './sentences.js'
import { type AlertSubject, type SavedWatch, Watch } from './watch.js'
import { WatchMachine, type WatchMachineOptions } from './watch-machine.js'

/** Describes a series for rules and people. */
export interface SeriesNames extends SelectableSeries {
  readonly label: string
  readonly unit: string | undefined
  /** The device that alerts name. */
  readonly device: string | undefined
}

/** Knows series and devices by name. */
export interface SeriesNaming {
  /** @param source The message, where one is at hand */
  describe(id: SeriesId, source: ReadingSource | undefined): SeriesNames
  /** Returns the names of a client, its id first. */
  namesOf(clientId: string): readonly string[]
  /** Resolves when areas and icons are those of now. Missing: there are none. */
  ready?(): Promise<void>
}

/** What the evaluator uses of a message. */
export type ReadingSource = Pick<Message, 'topic' | 'clientId' | 'sequence' | 'receivedAt'>

/** Knows what is usual for series. */
export interface UsualSeries {
  usualOf(id: SeriesId): UsualSource
}

/** A client, and when it was last heard of, in microseconds. */
export interface KnownDevice {
  readonly clientId: string
  readonly online: boolean
  readonly lastSeen: number
}

export interface EvaluatorOptions extends WatchMachineOptions {
  readonly naming: SeriesNaming
  readonly usual: UsualSeries | undefined
  /** Most watches: pairs of a rule and a series. */
  readonly maxWatches?: number
}

const none: readonly never[] = []
const usualMaxWatches = 250_000
/** Longest key of a series that is watched, in characters: escaped, the key is a level of a topic. */
const maxKey = 4_000
/** Most devices whose watches are remembered. */
const maxDevices = 100_000

/**
 * Evaluates the rules over readings, whether they are live or from the store. Rules are found once for each series; then
 * a reading costs two look-ups, and a comparison for each of its rules.
 */
export class AlertEvaluator {
  readonly machine: WatchMachine
  readonly #options: EvaluatorOptions
  #rules = new Map<string, AlertRule>()
  #index = new RuleIndex([])
  #deviceRules: readonly AlertRule[] = []
  #hubRules: readonly AlertRule[] = []
  /** All watches, by rule and then series. */
  readonly #watches = new Map<string, Map<string, Watch>>()
  /** Watches of each device. */
  readonly #devices = new Map<string, { generation: number; watches: readonly Watch[] }>()
  /** Watches by the key of the series that they compare with. */
  readonly #compared = new ComparedSeries()
  readonly #groups = new MetGroups()
  #generation = 1
  /** Whether a rule compares two series. */
  #compares = false
  /** Whether rules select by area or icon. */
  selectsPlaces = false
  #count = 0
  /** Watches that were not made since the rules were found last, as there were too many, or for a key too long. */
  overLimit = 0

  constructor(options: EvaluatorOptions) {
    this.#options = options
    this.machine = new WatchMachine(options)
  }

  /** Number of watches. */
  get size(): number {
    return this.#count
  }

  /** Whether no rule is about readings, or the silence of devices. */
  get isIdle(): boolean {
    return this.#rules.size === this.#hubRules.length
  }

  /** Whether a rule may be about a series of the measurement; of any, if undefined. */
  concerns(measurement: string | undefined): boolean {
    return this.#index.concerns(measurement) || this.#compares
  }

  /** Whether rules are about the hub. */
  get concernsHub(): boolean {
    return this.#hubRules.length > 0
  }

  /** Notes a message whose readings concern no rule. */
  pass(source: ReadingSource, now: number): void {
    const { machine } = this
    if (machine.timers.earliest <= now) machine.advance(now)
    machine.position = source.sequence
    if (now > machine.now) machine.now = now
    if (this.#deviceRules.length > 0) this.#heardOf(source)
  }

  /** Replaces the rules. Alerts of rules that are gone are cleared; those of changed rules stay, if still selected. */
  setRules(rules: readonly AlertRule[]): void {
    const before = this.#rules
    this.#rules = new Map()
    for (const rule of rules) {
      const known = before.get(rule.name)
      this.#rules.set(rule.name, known?.text === rule.text && known.depth === rule.depth ? known : rule)
    }
    const all = [...this.#rules.values()]
    this.#compares = all.some(({ condition }) => condition.kind === 'range' && condition.minus)
    this.selectsPlaces = all.some(doesSelectPlaces)
    this.#index = new RuleIndex(all.filter(isAboutSeries))
    this.#deviceRules = all.filter(isAboutDevices)
    this.#hubRules = all.filter(({ condition }) => condition.kind === 'hub')
    for (const [name, watches] of [...this.#watches]) {
      const rule = this.#rules.get(name)
      if (rule && rule === before.get(name)) continue
      for (const watch of [...watches.values()]) this.#replace(watch, rule)
    }
    this.rebind()
  }

  /** Has the rules of each series found again, with its next reading. */
  rebind(): void {
    this.#generation++
    // Each one is counted anew.
    this.overLimit = 0
  }

  /** Takes the points of a message. `now` is the time up to which messages were taken, in microseconds. */
  take(source: ReadingSource, points: readonly Point[], now: number): void {
    const { machine } = this
    this.pass(source, now)
    for (const { measurement, tags, fields, time } of points) {
      if (!Number.isFinite(time)) continue
      if (machine.isUndecided) machine.decide(time)
      const group = this.#groups.of(measurement, tags)
      // By index, as each reading of the hub comes through here.
      for (let n = 0; n < fields.length; n++) {
        const [field, value] = fields[n] as Point['fields'][number]
        let met = group.fields.get(field)
        if (met?.generation !== this.#generation) met = this.#bind(group, { measurement, tags, field }, source)
        if (this.#compares && !(time <= (met.last?.[0] ?? 0))) met.last = [time, value]
        takeReading(machine, met, time, value, time === source.receivedAt)
      }
    }
    if (machine.isUndecided) machine.decide()
  }

  /** Notes that a client has connected or left, at a time. */
  presence(clientId: string, online: boolean, at: number): void {
    for (const watch of this.#watchesOf(clientId)) {
      if (watch.rule.condition.kind !== 'offline' || watch.value === online) continue
      watch.value = online
      watch.time = Math.max(at, watch.time)
      this.machine.step(watch, !online, at)
    }
  }

  /** Takes the clients that are known at the start, or when rules have changed. */
  devices(devices: readonly KnownDevice[], now: number): void {
    if (this.#deviceRules.length === 0) return
    for (const { clientId, lastSeen, online } of devices) {
      for (const watch of this.#watchesOf(clientId)) {
        if (watch.heard > Number.NEGATIVE_INFINITY) continue
        const { condition } = watch.rule
        watch.heard = lastSeen > 0 ? Math.min(lastSeen, now) : now
        if (condition.kind === 'offline') {
          if (online) watch.value = true
          else this.machine.timers.set(watch, now + announceTime)
        } else this.machine.restored(watch)
      }
    }
  }

  /** Takes the state of the hub. A condition that is not named is over. */
  hub(findings: readonly HubFinding[], now: number): void {
    this.machine.now = Math.max(this.machine.now, now)
    takeFindings(this, this.#hubRules, findings)
  }

  /** Forgets the series and devices of a client that was removed. Their alerts are cleared. */
  forgetDevice(clientId: string): void {
    const isOf = ({ subject }: Watch) => subject.series === clientId || subject.devices.includes(clientId)
    this.#dropAll(isOf, 'device-removed')
  }

  /** Forgets what was not heard of for long: a series that has another name now, or a device that is gone. */
  forgetBefore(time: number): void {
    const isOld = ({ heard, rule }: Watch) =>
      heard > Number.NEGATIVE_INFINITY && heard < time && rule.condition.kind !== 'hub'
    this.#dropAll(isOld, 'forgotten')
  }

  *watches(): Iterable<Watch> {
    for (const watches of this.#watches.values()) yield* watches.values()
  }

  /** Returns the watch of a rule and a series. */
  watchOf(rule: string, series: string): Watch | undefined {
    return this.#watches.get(rule)?.get(series)
  }

  /** Series and devices that a rule watches. */
  subjectsOf(rule: string): Iterable<string> {
    return this.#watches.get(rule)?.keys() ?? none
  }

  /** Number of watches of a rule. */
  countOf(rule: string): number {
    return this.#watches.get(rule)?.size ?? 0
  }

  /** Makes a watch as it was before the start. Returns undefined when the rule is gone. */
  restore(rule: string, subject: AlertSubject, saved: SavedWatch, id: SeriesId | undefined): Watch | undefined {
    const found = this.#rules.get(rule)
    const watch = found && this.watch(found, subject, id)
    if (!watch) return undefined
    watch.restore(saved)
    this.machine.restored(watch)
    if (found.condition.kind === 'offline' && watch.state === 'idle') {
      // The broker announces who is connected; who is not announced has left meanwhile.
      watch.value = undefined
      this.machine.timers.set(watch, this.machine.now + announceTime)
    }
    return watch
  }

  #replace(watch: Watch, rule: AlertRule | undefined): void {
    const { subject, seriesId: id } = watch
    const stays = rule && isStillSelected(rule, watch, this.#index, this.#options.naming)
    if (!stays) {
      this.#drop(watch, rule ? 'rule-changed' : 'rule-removed')
      return
    }
    const saved = watch.save(watch.takenTo)
    this.#remove(watch)
    const next = this.watch(rule, subject, id)
    if (!next) return
    next.restore({ ...saved, condition: undefined })
    next.isHubTime = watch.isHubTime
    next.hub = watch.hub
    this.machine.restored(next)
  }

  #dropAll(isMeant: (watch: Watch) => boolean, why: EndReason): void {
    const meant: Watch[] = []
    for (const watch of this.watches()) if (isMeant(watch)) meant.push(watch)
    for (const watch of meant) this.#drop(watch, why)
    this.rebind()
  }

  #drop(watch: Watch, why: EndReason): void {
    this.machine.clear(watch, this.machine.now, why)
    this.#remove(watch)
  }

  #remove(watch: Watch): void {
    watch.isCurrent = false
    watch.due = Number.POSITIVE_INFINITY
    this.machine.firing.delete(watch)
    const ofRule = this.#watches.get(watch.rule.name)
    if (ofRule?.delete(watch.subject.series)) this.#count--
    if (ofRule?.size === 0) this.#watches.delete(watch.rule.name)
    this.#compared.delete(watch)
  }

  /** Returns the watch of a rule and a subject, a new one if there is none. Undefined beyond the limit. */
  watch(rule: AlertRule, subject: AlertSubject, id?: SeriesId): Watch | undefined {
    const known = this.#watches.get(rule.name)?.get(subject.series)
    if (known) return known
    if (this.#count >= (this.#options.maxWatches ?? usualMaxWatches) || subject.series.length > maxKey) {
      this.overLimit++
      return undefined
    }
    const usual = rule.condition.kind === 'unusual' && id ? this.#options.usual?.usualOf(id) : undefined
    const watch = new Watch(rule, subject, conditionOf(rule, usual, this.#options.week))
    watch.seriesId = id
    let ofRule = this.#watches.get(rule.name)
    if (!ofRule) {
      ofRule = new Map()
      this.#watches.set(rule.name, ofRule)
    }
    ofRule.set(subject.series, watch)
    this.#count++
    if (rule.condition.kind === 'range' && rule.condition.minus && id) {
      const other = otherSeries(id, rule.condition.minus)
      this.#compared.add(watch, seriesKey(other))
      // The other series may have been met before.
      const met = this.#groups.of(other.measurement, other.tags).fields.get(other.field)
      if (met?.last) watch.condition.takeOther?.(...met.last, false)
      if (met) met.generation = 0
    }
    return watch
  }

  #bind(group: MetGroup, id: SeriesId, source: ReadingSource): MetSeries {
    const names = this.#options.naming.describe(id, source)
    const rules = this.#index.rulesFor(names)
    const key = rules.length > 0 || this.#compared.size > 0 ? seriesKey(id) : ''
    const { devices, label, unit, device } = names
    const subject = { series: key, label, device, devices, tags: id.tags, unit }
    const watches = rules.flatMap(rule => this.watch(rule, subject, id) ?? [])
    const others = this.#compared.of(key)
    const before = group.fields.get(id.field)
    for (const watch of before?.watches ?? [])
      if (watch.isCurrent && !watches.includes(watch)) this.#drop(watch, 'not-selected')
    const met = {
      generation: this.#generation,
      last: before?.last,
      watches: watches.length > 0 ? watches : none,
      others: others.length > 0 ? others : none,
    }
    this.#groups.add(group, id.field, met)
    return met
  }

  #heardOf({ clientId, receivedAt }: ReadingSource): void {
    for (const watch of this.#watchesOf(clientId))
      if (watch.rule.condition.kind === 'silent') this.machine.heard(watch, receivedAt, undefined)
  }

  #watchesOf(clientId: string): readonly Watch[] {
    const known = this.#devices.get(clientId)
    if (known?.generation === this.#generation) return known.watches
    if (this.#deviceRules.length === 0) return none
    const devices = this.#options.naming.namesOf(clientId)
    const subject = {
      series: clientId,
      label: devices[1] ?? clientId,
      device: clientId,
      devices,
      tags: none,
      unit: undefined,
    }
    const watches = this.#deviceRules
      .filter(rule => isDeviceSelected(rule, devices))
      .flatMap(rule => this.watch(rule, subject) ?? [])
    if (this.#devices.size >= maxDevices) this.#devices.clear()
    this.#devices.set(clientId, { generation: this.#generation, watches })
    return watches
  }
}

function takeReading(
  machine: WatchMachine,
  { watches, others }: MetSeries,
  time: number,
  value: FieldValue,
  isHubTime: boolean,
): void {
  for (let i = 0; i < watches.length; i++) {
    const watch = watches[i] as Watch
    if (watch.isSilent) machine.heard(watch, time, value)
    else machine.take(watch, time, value, isHubTime)
  }
  for (let i = 0; i < others.length; i++) machine.takeOther(others[i] as Watch, time, value)
}

function isStillSelected(
  rule: AlertRule,
  { rule: before, subject, seriesId: id }: Watch,
  index: RuleIndex,
  naming: SeriesNaming,
) {
  if (rule.condition.kind !== before.condition.kind) return false
  if (id) return index.rulesFor(naming.describe(id, undefined)).includes(rule)
  return rule.condition.kind === 'hub' || isDeviceSelected(rule, subject.devices)
}

/** Whether a rule selects by what Home knows of devices. */
export function doesSelectPlaces({ select }: AlertRule): boolean {
  return select.area !== undefined || select.icon !== undefined
}

/** Time in which the broker announces, after a start, who is connected. */
const announceTime = 60e6

/** Whether a rule is about clients, not about series. */
export function isAboutDevices({ condition }: AlertRule): boolean {
  return condition.kind === 'offline' || (condition.kind === 'silent' && condition.of === 'device')
}

function isAboutSeries(rule: AlertRule): boolean {
  return rule.condition.kind !== 'hub' && !isAboutDevices(rule)
}

/** Whether a rule about clients selects one of these names. */
export function isDeviceSelected({ select }: AlertRule, names: readonly string[]): boolean {
  return !select.device || names.some(name => isSelected(select.device, name))
}

/** Returns the series that a rule compares with. */
export function otherSeries(
  id: SeriesId,
  {
    measurement = id.measurement,
    field = id.field,
    tags,
  }: NonNullable<Extract<AlertRule['condition'], { kind: 'range' }>['minus']>,
): SeriesId {
  const named = new Map(id.tags)
  for (const [name, value] of tags) {
    // An empty value leaves the tag out.
    if (value === '') named.delete(name)
    else named.set(name, value)
  }
  const sorted = [...named].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return { measurement, tags: sorted, field }
}
