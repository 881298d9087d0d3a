import { readFileSync, statSync } from 'node:fs'
import { quote } from '../access/rules.js'
import { describe, systemCode } from '../errors.js'
import { nearest } from '../runtime/nearest.js'
import { secretsOf } from '../runtime/secrets.js'
import type { SettingKind } from './kinds.js'

export type Environment = (name: string) => string | undefined

/** Mistakes found so far in a file or a setting, and the secrets that were read. */
export class FieldsReading {
  readonly faults: string[] = []
  readonly secrets = new Set<string>()
  readonly #environment: Environment

  constructor(environment: Environment) {
    this.#environment = environment
  }

  /**
   * Replaces `${NAME}` by variables of the environment, and `${file:PATH}` by the text of a file that only the owner may
   * read. All these values count as secrets.
   */
  expand(text: string, place: string): string {
    return text.replace(/\$\{([^}]*)\}/g, (all, name: string) => {
      if (name.startsWith('file:')) return this.#fromFile(name.slice('file:'.length), place)
      const value = /^[A-Za-z_]\w*$/.test(name) ? this.#environment(name) : undefined
      if (value === undefined || value === '') {
        this.faults.push(`${place}: ${quote(all)} is not set in the environment of the hub`)
        return ''
      }
      this.secrets.add(value)
      return value
    })
  }

  #fromFile(path: string, place: string): string {
    try {
      const { size, mode } = statSync(path)
      if (size > maxTextLength) throw new Error(`it is larger than ${maxTextLength} bytes`)
      if ((mode & 0o077) !== 0) throw new Error('other users of this machine may read it; chmod 600 prevents that')
      const value = readFileSync(path, 'utf8').replace(/\r?\n$/, '')
      if (value === '') throw new Error('it is empty')
      this.secrets.add(value)
      return value
    } catch (error) {
      const why = systemCode(error) === 'ENOENT' ? 'there is no such file' : describe(error)
      this.faults.push(`${place}: ${quote(path)}: ${why}`)
      return ''
    }
  }
}

const maxTextLength = 10_000

/** The fields of one map of the file. What is taken is checked; what is not taken is a mistake. */
export class SettingFields {
  readonly place: string
  readonly reading: FieldsReading
  readonly #fields: ReadonlyMap<string, unknown>
  readonly #taken = new Set<string>()
  /** Whether the value was a map. */
  readonly isMap: boolean

  constructor(value: unknown, place: string, reading: FieldsReading) {
    this.place = place
    this.reading = reading
    this.isMap = typeof value === 'object' && value !== null && !Array.isArray(value)
    this.#fields = new Map(this.isMap ? Object.entries(value as object) : [])
    if (!this.isMap) reading.faults.push(`${place}: allowed are lines such as key: value`)
  }

  get names(): readonly string[] {
    return [...this.#fields.keys()]
  }

  placeOf(name: string): string {
    return this.place ? `${this.place}.${name}` : name
  }

  fault(name: string, sentence: string): void {
    this.reading.faults.push(`${this.placeOf(name)}: ${sentence}`)
  }

  /** Returns a value of the file, unchanged. */
  raw(name: string): unknown {
    this.#taken.add(name)
    return this.#fields.get(name) ?? undefined
  }

  /** Returns a value of a kind; the fallback when there is none, or a wrong one. */
  value<T>(name: string, kind: SettingKind<T>, fallback: T): T {
    const given = this.raw(name)
    if (given === undefined) return fallback
    const text = typeof given === 'string' ? this.reading.expand(given, this.placeOf(name)) : given
    const parsed = kind.parse(text)
    // A value from the environment is not shown.
    if (parsed === undefined) this.fault(name, `given ${shown(given)}, allowed is ${kind.allowed}`)
    return parsed ?? fallback
  }

  /** Returns a text; empty when there is none. `allowed` says what `test` accepts, and is shown without the text. */
  text(name: string, allowed: string, test: RegExp = /^[^\0]+$/, isNeeded = true): string {
    const given = this.raw(name)
    if (given === undefined) {
      if (isNeeded) this.fault(name, `missing, allowed is ${allowed}`)
      return ''
    }
    const text = typeof given === 'number' ? String(given) : given
    if (typeof text !== 'string') {
      this.fault(name, `given ${shown(given)}, allowed is ${allowed}`)
      return ''
    }
    const before = this.reading.faults.length
    const value = this.reading.expand(text, this.placeOf(name))
    if (this.reading.faults.length > before) return ''
    if (value.length <= maxTextLength && test.test(value)) return value
    this.fault(name, `given ${shown(given)}, allowed is ${allowed}`)
    return ''
  }

  /** Returns a text that no message shows, and that is kept out of every sentence. */
  secret(name: string, allowed: string, isNeeded = false): string {
    const given = this.raw(name)
    if (given === undefined && !isNeeded) return ''
    const text = given === undefined ? '' : String(given)
    const value = this.reading.expand(text, this.placeOf(name))
    if (value === '' || value.length > maxTextLength || value.includes('\0')) {
      this.fault(name, `${given === undefined ? 'missing' : 'not allowed'}, allowed is ${allowed}`)
    }
    this.reading.secrets.add(value)
    return value
  }

  /** Returns the address of a web server, of which only the host may be shown; empty after a mistake. */
  webAddress(name: string): string {
    const allowed = 'an address that begins with https:// or http://'
    const url = this.secret(name, allowed, true)
    if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) {
      // Many services know their caller by a part of the address, and may repeat that part in an answer.
      for (const part of secretsOf(url)) this.reading.secrets.add(part)
      return url
    }
    if (url !== '') this.fault(name, `not allowed, allowed is ${allowed}`)
    return ''
  }

  /** Returns the headers of a request, whose values may be secrets. */
  httpHeaders(name: string): Readonly<Record<string, string>> {
    const headers = new SettingFields(this.raw(name) ?? {}, this.placeOf(name), this.reading)
    const read = headers.names.map(key => {
      if (!/^[\w!#$%&'*+.^`|~-]{1,100}$/.test(key) || ownHeaders.test(key))
        headers.fault(key, 'no header that may be set')
      const value = headers.secret(key, 'a text', true)
      if (!/^[\x20-\x7e]*$/.test(value)) headers.fault(key, 'not allowed, allowed are printable ASCII characters')
      return [key, value] as const
    })
    return Object.fromEntries(read)
  }

  /** Returns a list of texts: a list of the file, or a text with commas between. */
  list(name: string, allowed: string, test: RegExp, isNeeded = true): readonly string[] {
    const given = this.raw(name)
    if (given === undefined && !isNeeded) return []
    const all = typeof given === 'string' ? given.split(',') : given
    const texts = Array.isArray(all) ? all.map(one => (typeof one === 'string' ? one.trim() : undefined)) : []
    if (texts.length === 0 || texts.length > 100) {
      this.fault(name, `given ${shown(given)}, allowed is ${allowed}`)
      return []
    }
    return texts.flatMap((text, i) => {
      const value = text === undefined ? '' : this.reading.expand(text, this.placeOf(name))
      if (test.test(value)) return [value]
      this.fault(name, `given ${shown((all as readonly unknown[])[i])}, allowed is ${allowed}`)
      return []
    })
  }

  /** Reports the fields that nobody has taken. */
  end(): void {
    for (const name of this.#fields.keys()) {
      if (this.#taken.has(name)) continue
      const meant = nearest(name, [...this.#taken])
      this.fault(
        name,
        `no such field; ${meant ? `did you mean ${meant}?` : `allowed are ${[...this.#taken].join(', ')}`}`,
      )
    }
  }
}

/** Headers that the hub sets. */
const ownHeaders =
  /^(?:host|content-length|content-type|content-encoding|transfer-encoding|connection|webhook-.*|expect|upgrade|te|trailer)$/i

/** Shows a value of the file, where the names of variables stand in place of their values. */
function shown(given: unknown): string {
  if (given === undefined || given === null) return 'nothing'
  return quote(typeof given === 'string' ? given : (JSON.stringify(given) ?? typeof given))
}

/** Name of an entry, by which folders, metrics and files are named. */
export const entryName = /^[a-z][a-z0-9_-]{0,31}$/
export const entryNameAllowed = 'a lower-case letter, then at most 31 of a-z, 0-9, - and _'

/**
 * Reads a list of entries that have names, each with `read`, which returns undefined when an entry says too little. Returns
 * all mistakes, a line each, none of which shows a secret.
 *
 * @param list The setting: `outlets`
 */
export function readEntries<Plan extends { readonly name: string }>(
  list: string,
  settings: readonly Readonly<Record<string, unknown>>[],
  environment: Environment,
  read: (fields: SettingFields) => Plan | undefined,
): { readonly plans: readonly Plan[]; readonly faults: readonly string[] } {
  const faults: string[] = []
  const plans: Plan[] = []
  for (const [i, setting] of settings.entries()) {
    const reading = new FieldsReading(environment)
    const { name } = setting
    const place = `${list}: ${typeof name === 'string' && entryName.test(name) ? name : `number ${i + 1}`}`
    const plan = read(new SettingFields(setting, place, reading))
    if (plan && plans.some(other => other.name === plan.name)) reading.faults.push(`${place}: another has this name`)
    faults.push(...reading.faults)
    if (plan) plans.push(plan)
  }
  return { plans, faults }
}
