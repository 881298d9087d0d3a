import type { JobProgress } from '../../contract/contract.js'
import type { Shell } from '../pages.js'
import { filterOf, textOf } from './draft.js'
import {
  checkRule,
  countDead,
  fetchRules,
  type Place,
  type Rule,
  type RuleCheck,
  type Rules,
  replayDead,
  saveRules,
  undoRules,
} from './requests.js'
import { say } from './words.js'

/** Milliseconds after the last change until the rule is tried, and between two looks at new messages. */
const pauseMs = 300
const lookEveryMs = 5_000

/** The state of the mapping: the rules, and one that is being edited. */
export class MapModel {
  readonly shell: Shell
  onChange: () => void = () => {}
  rules: Rules | undefined
  /** The topic on whose messages the rule is tried. */
  topic: string | undefined
  /** Number of the hub's rule that is edited; undefined: a new one. */
  replaces: number | undefined
  rule: Rule | undefined
  check: RuleCheck | undefined
  isBusy = false
  failure = ''
  /** The place of the rule that was saved. */
  saved: Place | undefined
  /** Dead letters on the topics of the rule; undefined: not known. */
  waiting: number | undefined
  job: JobProgress | undefined
  #asked = 0
  #pause: ReturnType<typeof setTimeout> | undefined
  #lookedAt = 0
  #key = ''
  /** The hub's rule that is edited, as it was; undefined: none. */
  #original: Rule | undefined
  #before: { readonly replaces: number | undefined; readonly original: Rule | undefined } | undefined

  constructor(shell: Shell) {
    this.shell = shell
  }

  get mayChange(): boolean {
    return this.shell.session?.mayChange === true
  }

  show(parameters: URLSearchParams): void {
    const key = parameters.toString()
    if (key === this.#key) return
    this.#key = key
    this.topic = parameters.get('topic') ?? undefined
    const number = Number(parameters.get('rule'))
    this.replaces = parameters.has('rule') && Number.isInteger(number) ? number : undefined
    this.rule = undefined
    this.#original = undefined
    this.check = undefined
    this.saved = undefined
    this.waiting = undefined
    this.job = undefined
    this.failure = ''
    void this.#begin()
  }

  /** Fetches the rules, and begins with the one that decides about the topic, if the hub keeps it. */
  async #begin(): Promise<void> {
    const key = this.#key
    await this.load()
    if (key !== this.#key || !this.rules) return
    const own = this.#own
    if (this.replaces !== undefined) this.rule = this.#original = own[this.replaces - 1]
    if (this.rule === undefined) this.replaces = undefined
    if (this.rule === undefined && this.topic === undefined) return
    await this.#try()
    const place = this.check?.messages[0]?.now.place ?? this.check?.matches.topics[0]?.now.place
    if (this.replaces === undefined && key === this.#key && place?.from === 'hub') {
      // The hub proposes what decides already, with what was wrong mended: that is a change, and no other rule.
      this.replaces = place.number
      this.#original = own[place.number - 1]
      void this.#try()
    }
  }

  async load(): Promise<void> {
    try {
      this.rules = await fetchRules()
      this.failure = ''
    } catch (error) {
      this.failure = (error as Error).message
    }
    this.onChange()
  }

  get #own(): readonly Rule[] {
    return (this.rules?.rules ?? []).filter(({ place }) => place.from === 'hub').map(({ rule }) => rule)
  }

  edit(rule: Rule): void {
    this.rule = rule
    this.saved = undefined
    this.job = undefined
    this.waiting = undefined
    clearTimeout(this.#pause)
    this.#pause = setTimeout(() => void this.#try(), pauseMs)
    this.onChange()
  }

  /** Tries the rule on messages of another topic. */
  choose(topic: string): void {
    this.topic = topic
    void this.#try()
  }

  tick(): void {
    if (this.check && this.saved === undefined && Date.now() - this.#lookedAt > lookEveryMs) void this.#try()
    else if (this.saved) this.onChange()
  }

  async #try(): Promise<void> {
    const { rule, topic, replaces } = this
    if (!rule && topic === undefined) return
    const asked = ++this.#asked
    this.#lookedAt = Date.now()
    try {
      const check = await checkRule({
        ...(rule && { rule }),
        ...(topic !== undefined && { topic }),
        ...(replaces !== undefined && rule && { replaces }),
      })
      if (asked !== this.#asked) return
      this.check = check
      this.rule ??= check.rule
      this.topic ??= check.topic
      this.failure = ''
    } catch (error) {
      if (asked === this.#asked) this.failure = (error as Error).message
    }
    this.onChange()
  }

  /** Saves the rule, in its place or before all others. */
  async save(): Promise<void> {
    const { rule, replaces, rules } = this
    if (!rule || !rules) return
    const own = this.#own
    // Meanwhile somebody may have changed the order, or the rule.
    const original = JSON.stringify(this.#original)
    const at = own.findIndex(one => JSON.stringify(one) === original)
    const all = at < 0 ? [rule, ...own] : own.map((one, i) => (i === at ? rule : one))
    await this.#run(async () => {
      this.rules = await saveRules(all, rules.revision)
      this.#before = { replaces, original: this.#original }
      this.#original = rule
      this.replaces = Math.max(at, 0) + 1
      this.saved = { from: 'hub', number: this.replaces }
      this.waiting = await countDead(filterOf(textOf(rule, 'topic')))
    })
  }

  async undo(): Promise<void> {
    const { rules } = this
    if (!rules) return
    await this.#run(async () => {
      this.rules = await undoRules(rules.revision)
      this.saved = undefined
      this.job = undefined
      this.waiting = undefined
      this.replaces = this.#before?.replaces
      this.#original = this.#before?.original
    })
    void this.#try()
  }

  /** Changes the list of the hub's rules: order, or without one. */
  async change(to: (rules: readonly Rule[]) => readonly Rule[]): Promise<void> {
    const { rules } = this
    if (!rules) return
    await this.#run(async () => {
      this.rules = await saveRules(to(this.#own), rules.revision)
    })
  }

  /** Handles the dead letters on the topics of the rule again. */
  async replay(): Promise<void> {
    const filter = filterOf(textOf(this.rule ?? {}, 'topic'))
    await this.#run(async () => {
      this.job = await replayDead(filter, job => {
        this.job = job
        this.onChange()
      })
      this.waiting = this.job?.kept
    })
  }

  async #run(work: () => Promise<void>): Promise<void> {
    if (this.isBusy) return
    this.isBusy = true
    this.failure = ''
    this.onChange()
    try {
      await work()
    } catch (error) {
      this.failure = (error as Error).message || say('failed-unknown')
      // Somebody else may have been faster: what is shown is what is in force.
      await fetchRules().then(
        rules => {
          this.rules = rules
        },
        () => {},
      )
    }
    this.isBusy = false
    this.onChange()
  }
}
