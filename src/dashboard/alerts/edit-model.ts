import type { Value } from '../api.js'
import { type HomeDevice, type HomeValue, keyOf, withWords } from '../home/catalogue.js'
import {
  aboutSeries,
  type Definition,
  hasLimits,
  type Kind,
  kindOf,
  nameFor,
  type SeriesName,
  selectorKeys,
  seriesName,
  withKeys,
  withKind,
} from './definition.js'
import { localMistakes, type Mistake } from './mistakes.js'
import type { AlertsModel, Subject } from './model.js'
import { checkRule, findSeries, findValues, type RuleCheck, type RuleRow, saveRule } from './requests.js'
import { exactOf, fieldOf, type OneName } from './rule-words.js'
import { Trial, type TriedRule } from './trial.js'

const checkAfter = 250

/** A value of the catalogue, with its device. */
type Chosen = Subject & { readonly value: HomeValue }

/** The rule that is being written. */
export class EditModel implements TriedRule {
  readonly #page: AlertsModel
  readonly #changed: () => void
  readonly trial: Trial
  rule: Definition = {}
  name = ''
  /** The rule that is changed. Undefined: a new one. */
  original: RuleRow | undefined
  /** Whether the rule that the address names is there. Undefined: not known yet. */
  isThere: boolean | undefined
  isSaving = false
  saveFailure = ''
  /** Whether somebody has tried to save the rule. */
  isAsked = false
  /** The value that the rule is about, if exactly one. */
  one: Chosen | undefined
  /** The value that was chosen last: the rule may have been made wider since. */
  began: Chosen | undefined
  #isNamed = false

  constructor(page: AlertsModel, changed: () => void) {
    this.#page = page
    this.#changed = changed
    this.trial = new Trial(this, changed)
  }

  /** Begins with what the address says. */
  async start(parameters: URLSearchParams): Promise<void> {
    const named = parameters.get('rule')
    const given = named ?? parameters.get('copy')
    await this.#page.refreshRules()
    if (given !== null) {
      const { rules } = this.#page
      const found = typeof rules === 'object' ? rules.rules.find(({ name }) => name === given) : undefined
      this.isThere = found !== undefined
      if (found) {
        this.rule = found.definition as Definition
        this.name = named === null ? nameFor([found.name], new Set(this.#page.ruleNames)) : found.name
        this.original = named === null ? undefined : found
        this.#isNamed = true
      }
    } else {
      await this.#startNew(parameters)
      this.isThere = true
    }
    await this.#findOne()
    this.trial.askSoon(0)
    this.#changed()
  }

  end(): void {
    this.trial.end()
  }

  get kind(): Kind | undefined {
    return kindOf(this.rule)
  }

  /** Whether the rule is in the file, and so changed there, or the user may change none. */
  get isReadOnly(): boolean {
    return this.original?.source === 'file' || !this.#page.mayChange
  }

  /** All mistakes, each with where it is. */
  get mistakes(): readonly Mistake[] {
    return this.#mistakesWith(this.trial.check?.mistakes ?? [])
  }

  #mistakesWith(said: RuleCheck['mistakes']): readonly Mistake[] {
    const taken = this.original ? new Set<string>() : new Set(this.#page.ruleNames)
    return localMistakes({ rule: this.rule, name: this.name, taken, said })
  }

  get isWhole(): boolean {
    return this.mistakes.every(({ field }) => field === 'name')
  }

  get unit(): string {
    return this.one?.value.unit ?? this.trial.check?.selected.find(({ unit }) => unit)?.unit ?? ''
  }

  get oneName(): OneName | undefined {
    return this.one && { value: this.one.value.name, device: this.one.device.name }
  }

  /** Name of the value that is drawn. */
  get drawnName(): string {
    const { one } = this
    const { drawn } = this.trial
    if (!drawn) return ''
    return one ? `${one.device.name} · ${one.value.name}` : drawn.label || fieldOf(drawn.series)
  }

  setName(name: string): void {
    this.name = name
    this.#isNamed = name !== ''
    this.#changed()
  }

  set(change: Definition): void {
    this.replace(withKeys(this.rule, change))
  }

  setKind(kind: Kind): void {
    this.replace(withKind(this.rule, kind, this.#valueNow()))
  }

  /** Makes the rule one about a value of the catalogue, with a condition that fits if there is none. */
  choose(device: HomeDevice, value: HomeValue, name: SeriesName): void {
    this.one = { device, value: withWords(value, device) }
    this.began = this.one
    const rule = aboutSeries(this.rule, name)
    const now = this.#valueNow()
    const isNumber = typeof now === 'number' || (now === undefined && value.type === 'number')
    const kind = kindOf(rule)
    if (kind === undefined) this.replace(withKind(rule, isNumber ? 'above' : 'equals', now))
    else if (!isNumber && hasLimits(kind)) this.replace(withKind(rule, 'equals', now))
    else this.replace(rule)
  }

  replace(rule: Definition): void {
    const selects = (of: Definition) => JSON.stringify(selectorKeys.map(key => of[key] ?? null))
    if (selects(rule) !== selects(this.rule)) {
      if (!exactOf(rule)) this.one = undefined
      else if (
        this.began &&
        selects(aboutSeries({}, seriesName(this.began.value.series ?? '') ?? none)) === selects(rule)
      )
        this.one = this.began
      this.trial.selectsAnew()
    }
    this.rule = rule
    if (!this.#isNamed && !this.original) this.#propose()
    this.saveFailure = ''
    this.trial.askSoon(checkAfter)
    this.#changed()
  }

  /** Resolves with whether the rule is in force. */
  async save(): Promise<boolean> {
    this.isAsked = true
    this.saveFailure = ''
    // The hub's answer about the rule before a change does not count; the hub checks the rule again when that is saved.
    const mistakes = this.trial.checked === this.rule ? this.mistakes : this.#mistakesWith([])
    if (mistakes.length > 0) {
      this.#changed()
      return false
    }
    this.isSaving = true
    this.#changed()
    try {
      await saveRule(this.name, this.rule)
      await this.#page.refresh()
      return true
    } catch (error) {
      this.saveFailure = (error as Error).message
      return false
    } finally {
      this.isSaving = false
      this.#changed()
    }
  }

  async #startNew(parameters: URLSearchParams): Promise<void> {
    const [series, topic, field] = ['series', 'topic', 'field'].map(name => parameters.get(name))
    if (!series && !topic) return
    const devices = await (series ? findSeries(series) : findValues(`${topic} ${field}`, 100)).catch(() => [])
    const isMeant = (value: HomeValue) =>
      series ? value.series === series : value.topic === topic && value.field === field
    const device = devices.find(({ values }) => values.some(isMeant))
    const value = device?.values.find(isMeant)
    const name = seriesName(value?.series ?? series ?? '')
    if (!name) return
    if (device && value) this.choose(device, value, name)
    else this.replace(withKind(aboutSeries({}, name), 'above'))
  }

  /** Finds the names of the value of a rule about exactly one. */
  async #findOne(): Promise<void> {
    if (this.one || !exactOf(this.rule)) return
    const nothing = { selected: [], count: 0 }
    const { selected, count } = await checkRule(this.rule, this.trial.signal).catch(() => nothing)
    const [first] = selected
    if (!first || count !== 1) return
    const [device] = await findSeries(first.series).catch(() => [])
    const [value] = device?.values ?? []
    if (device && value) this.one = { device, value: withWords(value, device) }
    this.began = this.one
  }

  #valueNow(): Value | undefined {
    return this.one && this.#page.shell.home.live.of(keyOf(this.one.value))?.value
  }

  #propose(): void {
    const { kind, one, rule } = this
    const given = [rule.device, rule.class ?? rule.field, rule.hub].flat().filter(part => part !== undefined)
    const parts = one ? [one.device.name, one.value.name] : given.map(String)
    const all = [...parts, ...(kind === undefined || kind === 'hub' ? [] : [kind])]
    this.name = kind ? nameFor(all, new Set(this.#page.ruleNames)) : ''
  }
}

const none: SeriesName = { measurement: '', tags: {}, field: '' }
