import { existsSync, readFileSync, statSync } from 'node:fs'
import { readYamlText } from '../config/config.js'
import { replaceFile } from '../disk/replace-file.js'
import { WatchedFiles } from '../disk/watched-files.js'
import { describe, HubError } from '../errors.js'
import type { SentenceLog } from '../observe/log.js'
import type { Part } from '../runtime/lifecycle.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import type { AlertRule } from './rule.js'
import { RuleReader } from './rule-reader.js'

/** Takes the rules whenever they have changed. */
export interface RuleFollower {
  /** @param zone Time zone of schedules and of the hour of the week. Undefined: that of this machine */
  rulesChanged(rules: readonly AlertRule[], zone: string | undefined): void
}

export interface RuleBookOptions {
  /** File that people write. */
  readonly file: string
  /** Whether the file must be there, as a setting names it. */
  readonly isNamed: boolean
  /** File of the rules that came over the API. */
  readonly ownFile: string
  /** File of the rules that were right last, for a start at which the others have mistakes. */
  readonly keptFile: string
  readonly follower: RuleFollower
  readonly log: SentenceLog
}

/** Largest file, and most rules. */
const maxBytes = 16e6
const maxRules = 20_000
/** Most mistakes that are named. */
const maxNamed = 100

interface GivenRules {
  readonly rules: Readonly<Record<string, unknown>>
  readonly zone: string | undefined
  readonly lineOf: (path: readonly (string | number)[]) => number
}

/** Rules that were in force, as JSON. */
interface KeptRules {
  readonly zone?: string
  readonly file: Readonly<Record<string, unknown>>
  readonly own: Readonly<Record<string, unknown>>
}

const nothing: GivenRules = { rules: {}, zone: undefined, lineOf: () => 1 }

/**
 * The rules of the file, which is looked at every second, and those of the API. All mistakes of a file are named with
 * their lines; while there is one, the rules that were right last stay in force, over a start as well.
 */
export class RuleBook implements Part {
  readonly name = 'alert rules'
  readonly #options: RuleBookOptions
  readonly #watched: WatchedFiles
  readonly #changes = new SerialQueue()
  #file: GivenRules = nothing
  #own: Readonly<Record<string, unknown>> = {}
  #rules: readonly AlertRule[] = []
  #mistakes: readonly string[] = []
  /** Why the rules of the API could not be read; empty: they were. Mended with a start. */
  #ownFault = ''
  #isStarted = false

  constructor(options: RuleBookOptions) {
    this.#options = options
    this.#watched = new WatchedFiles({ paths: [options.file], changed: () => this.#reload() })
  }

  get rules(): readonly AlertRule[] {
    return this.#rules
  }

  /** Mistakes of both files, those of people's file with their lines. Empty when both are in force. */
  get mistakes(): readonly string[] {
    return this.#ownFault === '' ? this.#mistakes : [this.#ownFault, ...this.#mistakes]
  }

  /** Whether a rule is of the file, or came over the API. Undefined: there is none of that name. */
  sourceOf(name: string): 'file' | 'api' | undefined {
    if (Object.hasOwn(this.#file.rules, name)) return 'file'
    return Object.hasOwn(this.#own, name) ? 'api' : undefined
  }

  /** Returns where a rule of the file is written. Undefined for any other. */
  placeOf(name: string): { readonly file: string; readonly line: number } | undefined {
    if (!Object.hasOwn(this.#file.rules, name)) return undefined
    return { file: this.#options.file, line: this.#file.lineOf(['rules', name]) }
  }

  /** Reads both files. Of one with mistakes, the rules that were in force before the start are used. */
  start(): void {
    const { ownFile, log } = this.#options
    this.#watched.start()
    try {
      if (existsSync(ownFile)) this.#own = mapOf(JSON.parse(readFileSync(ownFile, 'utf8')))
    } catch (error) {
      this.#ownFault = `${ownFile} cannot be read: ${describe(error)}; mend it, or remove it, and start the hub again`
      this.#own = this.#kept()?.own ?? {}
      log.warn(this.#ownFault)
    }
    this.#reload()
    this.#isStarted = true
  }

  async stop(): Promise<void> {
    this.#watched.stop()
    await this.#changes.idle()
  }

  /** Sentence while the file has mistakes. */
  alarm(): string | undefined {
    const { mistakes } = this
    const { length } = mistakes
    if (length === 0) return undefined
    return `${mistakes[0]}${length > 1 ? `; and ${length - 1} more mistakes` : ''}; the alert rules from before stay in force`
  }

  /** Adds or replaces a rule of the API. Resolves when it is on disk. Rejects with `bad_request` and all its mistakes. */
  put(name: string, given: unknown): Promise<AlertRule> {
    return this.#changes.run(async () => {
      this.#checkOwn()
      if (Object.hasOwn(this.#file.rules, name))
        throw new HubError('busy', `${name}: a rule of this name is in ${this.#options.file}; change it there`, {
          said: { code: 'rule-in-file', values: { rule: name, file: this.#options.file } },
        })
      const own = { ...this.#own, [name]: given }
      const { rules, sentences } = this.#combine(this.#file, own)
      const rule = rules.find(one => one.name === name)
      if (sentences.length > 0 || !rule) throw new HubError('bad_request', sentences.join('; '))
      await replaceFile(this.#options.ownFile, JSON.stringify(own))
      this.#own = own
      this.#use(rules)
      this.#keep()
      return rule
    })
  }

  /** Removes a rule of the API. Resolves when that is on disk. Rejects with `not_found`, `busy` or `bad_request`. */
  remove(name: string): Promise<void> {
    return this.#changes.run(async () => {
      const { file, ownFile } = this.#options
      this.#checkOwn()
      if (Object.hasOwn(this.#file.rules, name))
        throw new HubError('busy', `${name} is a rule of ${file}; remove it there`, {
          said: { code: 'rule-in-file', values: { rule: name, file } },
        })
      if (!Object.hasOwn(this.#own, name))
        throw new HubError('not_found', `there is no rule ${JSON.stringify(name)}`, {
          said: { code: 'no-rule', values: { rule: name } },
        })
      const own = Object.fromEntries(Object.entries(this.#own).filter(([one]) => one !== name))
      const { rules, sentences } = this.#combine(this.#file, own)
      if (sentences.length > 0) throw new HubError('bad_request', sentences.join('; '))
      await replaceFile(ownFile, JSON.stringify(own))
      this.#own = own
      this.#use(rules)
      this.#keep()
    })
  }

  /** Throws `busy` while the rules of the API could not be read: written now, they would be lost. */
  #checkOwn(): void {
    if (this.#ownFault !== '') throw new HubError('busy', this.#ownFault)
  }

  #reload(): void {
    try {
      this.#take()
    } catch (error) {
      // Whatever people write, the thread and the next start go on.
      this.#mistakes = [`${this.#options.file} cannot be taken: ${describe(error)}`]
      this.#refused()
    }
  }

  #take(): void {
    const { file, log } = this.#options
    const before = this.#mistakes
    const { given, sentences } = this.#read()
    const combined = given && this.#combine(given, this.#own)
    const mistakes = [...sentences, ...(combined?.sentences ?? [])]
    this.#mistakes =
      mistakes.length > maxNamed ? [...mistakes.slice(0, maxNamed), `${mistakes.length - maxNamed} more`] : mistakes
    if (mistakes.length > 0) {
      this.#refused()
      return
    }
    if (!combined || !given) return
    const hadRules = Object.keys(this.#file.rules).length > 0
    this.#file = given
    this.#use(combined.rules)
    this.#keep()
    const count = Object.keys(given.rules).length
    if (count > 0 || hadRules || before.length > 0) log.info(`${count} alert rules of ${file} are in force`)
  }

  /** Goes on with the rules from before: at a start those that were kept, or those of the API at least. */
  #refused(): void {
    this.#options.log.warn(`the alert rules are not taken: ${this.#mistakes.join('; ')}`)
    if (this.#isStarted) return
    const kept = this.#kept()
    const file = kept ? { rules: kept.file, zone: kept.zone, lineOf: nothing.lineOf } : nothing
    const { rules, sentences } = this.#combine(file, this.#own)
    if (sentences.length === 0) this.#file = file
    this.#use(sentences.length === 0 ? rules : this.#combine(nothing, this.#own).rules)
  }

  /** Returns the rules that were in force before the start. Undefined: there is no such file, or not a whole one. */
  #kept(): KeptRules | undefined {
    try {
      const { zone, file, own } = mapOf(JSON.parse(readFileSync(this.#options.keptFile, 'utf8')))
      return { ...(typeof zone === 'string' && isZone(zone) && { zone }), file: mapOf(file), own: mapOf(own) }
    } catch {
      return undefined
    }
  }

  /** Writes the rules in force, for a start at which the files have mistakes. */
  #keep(): void {
    const { zone, rules: file } = this.#file
    const text = JSON.stringify({ zone, file, own: this.#own })
    const { keptFile, log } = this.#options
    this.#changes
      .run(() => replaceFile(keptFile, text))
      .catch((error: unknown) => log.warn(`${keptFile} could not be written: ${describe(error)}`))
  }

  #use(rules: readonly AlertRule[]): void {
    this.#rules = rules
    this.#options.follower.rulesChanged(
      rules.filter(({ isEnabled }) => isEnabled),
      this.#file.zone,
    )
  }

  /** Reads the file. A file that is not there has no rules, unless a setting names it. */
  #read(): { given: GivenRules | undefined; sentences: string[] } {
    const { file, isNamed } = this.#options
    let text: string
    try {
      if (!existsSync(file)) {
        if (isNamed) return { given: undefined, sentences: [`${file}: there is no such file (alerts.file)`] }
        return { given: nothing, sentences: [] }
      }
      if (statSync(file).size > maxBytes)
        return { given: undefined, sentences: [`${file} is larger than ${maxBytes / 1e6} MB`] }
      text = readFileSync(file, 'utf8')
    } catch (error) {
      return { given: undefined, sentences: [`${file} cannot be read: ${describe(error)}`] }
    }
    const { value, mistakes, lineOf } = readYamlText(text)
    const sentences = mistakes.map(({ line, sentence }) => `${file} line ${line}: ${sentence}`)
    if (sentences.length > 0) return { given: undefined, sentences }
    if (value === null || value === undefined) return { given: nothing, sentences: [] }
    if (typeof value !== 'object' || Array.isArray(value))
      return { given: undefined, sentences: [`${file} line 1: allowed is "rules:", and below it rules by name`] }
    for (const key of Object.keys(value))
      if (key !== 'rules' && key !== 'zone')
        sentences.push(`${file} line ${lineOf([key])}: there is no ${key}; allowed are rules and zone`)
    const { rules, zone } = value as { readonly rules?: unknown; readonly zone?: unknown }
    if (zone !== undefined && !(typeof zone === 'string' && isZone(zone)))
      sentences.push(
        `${file} line ${lineOf(['zone'])}: given ${JSON.stringify(zone)}, allowed is a time zone such as Europe/Berlin`,
      )
    if (rules !== undefined && rules !== null && (typeof rules !== 'object' || Array.isArray(rules)))
      sentences.push(
        `${file} line ${lineOf(['rules'])}: allowed are rules by name, as in "freezer-warm: {field: temperature, above: -15}"`,
      )
    if (sentences.length > 0) return { given: undefined, sentences }
    return {
      given: { rules: (rules ?? {}) as Record<string, unknown>, zone: zone as string | undefined, lineOf },
      sentences,
    }
  }

  #combine(file: GivenRules, own: Readonly<Record<string, unknown>>): { rules: AlertRule[]; sentences: string[] } {
    const reader = new RuleReader()
    const inFile = Object.keys(file.rules)
    const names = [...inFile, ...Object.keys(own).filter(name => !Object.hasOwn(file.rules, name))]
    if (names.length > maxRules) return { rules: [], sentences: [`${names.length} rules, allowed are ${maxRules}`] }
    const read = names.flatMap(name => reader.read(name, file.rules[name] ?? own[name], ['rules', name]) ?? [])
    const isRead = reader.mistakes.length === 0
    // With a rule missing, its dependants would be called wrong, too.
    const rules = isRead ? reader.ordered(read) : read
    const sentences = reader.mistakes.slice(0, maxNamed).map(({ path, sentence }) => {
      const [, name, ...inner] = path
      const where = [name, ...inner].join('.')
      return name !== undefined && Object.hasOwn(file.rules, name)
        ? `${this.#options.file} line ${file.lineOf(path)}: ${where}: ${sentence}`
        : `${where}: ${sentence}`
    })
    const more = reader.mistakes.length - sentences.length
    if (more > 0) sentences.push(`${more} more mistakes`)
    return { rules: sentences.length > 0 ? [] : rules, sentences }
  }
}

/** Returns a value that must be a map. Throws for any other. */
function mapOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('it holds no rules by name')
  return value as Readonly<Record<string, unknown>>
}

function isZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }) !== undefined
  } catch {
    return false
  }
}
