import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import {
  Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLMap,
} from 'yaml'
import { type AccessRule, parseRule, quote } from '../access/rules.js'
import { describe, HubError, systemCode } from '../errors.js'
import { hashSecret, isHash, isSecretHash, makeSecret } from '../passwords/passwords.js'
import { isScram } from '../passwords/scram.js'

export const kinds = ['device', 'dashboard', 'service', 'admin'] as const
export type RuleKind = (typeof kinds)[number]

export interface ApiKey {
  readonly id: string
  readonly label: string
  /** Hash by {@link hashSecret} of the part behind the id. */
  readonly hash: string
  /** Milliseconds since the epoch. */
  readonly created: number
}

/** One-time code that becomes the credentials of a user. */
export interface Pairing {
  /** Hash by {@link hashSecret} of the code without its dashes. */
  readonly hash: string
  /** Milliseconds since the epoch. */
  readonly expires: number
}

export interface User {
  readonly name: string
  readonly kind: RuleKind
  /** Hash by `hashPassword` or `hashSecret`. Empty: no password is accepted. */
  readonly password: string
  /** Text by `makeScram` for the same password. Empty: SCRAM is not accepted. */
  readonly scram: string
  readonly keys: readonly ApiKey[]
  readonly pairing: Pairing | undefined
  /** Client ids that the user may use: `*` stands for anything, `{user}` for the name; empty: any that is free. */
  readonly clients: readonly string[]
  /** Names in client certificates (CN or SAN) that are this user. The user's own name always is. */
  readonly certificates: readonly string[]
  /** Wildcard subscriptions that one client of the user may have. Undefined: limits.wildcards applies. */
  readonly wildcards: number | undefined
  /** Whether clients of the user get no more than the newest message of each topic while they do not keep up. */
  readonly conflate: boolean
  /** Guaranteed percent of each pool that all users share. Undefined: limits.share applies. */
  readonly share: number | undefined
  readonly rules: readonly AccessRule[]
}

/** Returns whether a user has a password, and whether a person has chosen it. */
export function passwordKind({ password }: Pick<User, 'password'>): 'none' | 'set' | 'generated' {
  return password === '' ? 'none' : isSecretHash(password) ? 'generated' : 'set'
}

/** Parsed users file. */
export interface Users {
  readonly users: ReadonlyMap<string, User>
  /** Rules for every user. */
  readonly everyone: readonly AccessRule[]
}

/** Maximum size of a users file, which the hub reads whole. */
export const maxUsers = 100_000
const maxUsersBytes = 50e6

/** Maximum number of faults that are reported. Further ones are counted. */
const maxFaults = 50

/** Usual rules of a kind. A service has none: the operator who makes one decides what the service may do. */
export const usualRules: Readonly<Record<RuleKind, readonly string[]>> = {
  device: ['allow all devices/{user}/#'],
  dashboard: ['allow read #', 'allow read $hub/#', 'allow read $SYS/#'],
  service: [],
  admin: ['allow read #', 'allow read $hub/#', 'allow read $SYS/#', 'allow publish #'],
}

const allowedName = 'a letter or digit, then letters, digits, and . _ @ -, 64 at most'

/** Returns why a name is not allowed for a user. Undefined when allowed. */
export function userNameFault(name: string): string | undefined {
  return /^[A-Za-z0-9][\w.@-]{0,63}$/.test(name) ? undefined : `given ${quote(name)}, allowed is ${allowedName}`
}

/** Returns why a pattern of client ids is not valid. Undefined when valid. */
export function clientPatternFault(pattern: string): string | undefined {
  const braces = pattern.replaceAll('{user}', '')
  const isOne = pattern !== '' && pattern.length <= 1_000 && !/[{}]/.test(braces) && !/\p{Cc}/u.test(pattern)
  return isOne
    ? undefined
    : `given ${quote(pattern)}, allowed is a client id in which * stands for anything, {user} for the name`
}

/**
 * Returns whether a text fits a pattern, in which `*` stands for anything. Takes one pass, whatever the pattern: each
 * part is searched behind the one before.
 */
export function fits(pattern: string, text: string): boolean {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return text === pattern
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) return false
  const end = text.length - last.length
  let at = first.length
  for (const part of rest) {
    const found = text.indexOf(part, at)
    if (found < 0 || found + part.length > end) return false
    at = found + part.length
  }
  return true
}

const base32 = 'abcdefghijklmnopqrstuvwxyz234567'

/** Makes an API key: the text, which is shown once, and what is stored. */
export function makeKey(label: string, now: number): { readonly text: string; readonly key: ApiKey } {
  const id = [...randomBytes(8)].map(byte => base32[byte & 31]).join('')
  const secret = makeSecret()
  return { text: `thk_${id}_${secret}`, key: { id, label, hash: hashSecret(secret), created: now } }
}

/** Returns the parts of `thk_{id}_{secret}`. Undefined when the text is no API key. */
export function readKey(text: string): { readonly id: string; readonly secret: string } | undefined {
  const found = /^thk_([a-z0-9]{8})_([\w-]{27})$/.exec(text)
  return found ? { id: found[1] as string, secret: found[2] as string } : undefined
}

/** Digits of Crockford: no letter looks like a digit. */
const crockford = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

const pairingMs = 600_000

/** Makes a code `ABCD-EFGH-JKMN`, which is shown once, and what is stored. */
export function makePairing(now: number): { readonly code: string; readonly pairing: Pairing } {
  const digits = [...randomBytes(12)].map(byte => crockford[byte & 31]).join('')
  const code = digits.replace(/(.{4})(?=.)/g, '$1-')
  return { code, pairing: { hash: hashPairingCode(code), expires: now + pairingMs } }
}

/** Reads a code as people type one: in any case, with any dashes and spaces, O for 0, I and L for 1. */
export function plainPairingCode(code: string): string {
  return code.toUpperCase().replace(/[\s-]/g, '').replaceAll('O', '0').replace(/[IL]/g, '1')
}

export function hashPairingCode(code: string): string {
  return hashSecret(plainPairingCode(code))
}

/** Reads a users file both as a document, which can be changed without touching the rest, and as users. */
export function readDocument(text: string, name: string) {
  const reader = new UsersReader(name)
  const users = reader.read(text)
  return { document: reader.document, users, faults: reader.faults }
}

/** Reads a users file of this name. Every fault is a line: where, what was given, what is allowed. */
export function parseUsers(
  text: string,
  name: string,
): { readonly users: Users; readonly version: string } | { readonly faults: string[] } {
  const { users, faults } = readDocument(text, name)
  return faults.length > 0 ? { faults } : { users, version: versionOf(text) }
}

/** Returns what changes with every change of a users file, and tells nothing of its content. */
export function versionOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22)
}

/**
 * Returns the text of a users file. Empty when there is no file. Throws a sentence when the file cannot be read or is
 * too large.
 */
export function readUsersText(path: string): string {
  try {
    const { size } = statSync(path)
    if (size > maxUsersBytes) {
      throw new HubError('bad_settings', `${path}: given ${size} bytes, allowed are ${maxUsersBytes}`)
    }
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return ''
    if (error instanceof HubError) throw error
    throw new HubError('bad_settings', `cannot read ${path}: ${describe(error)}`, { cause: error })
  }
}

/** Reads a users file. Throws all faults of the file, a line each. */
export function readUsers(path: string): Users {
  const read = parseUsers(readUsersText(path), basename(path))
  if ('faults' in read) throw new HubError('bad_settings', read.faults.join('\n'))
  return read.users
}

/** Duplicate keys are rejected by our code: the library's own check takes squared time. */
const yamlOptions = { uniqueKeys: false, prettyErrors: false, logLevel: 'error' } as const

const fields = [
  'kind',
  'password',
  'scram',
  'clients',
  'certificates',
  'wildcards',
  'share',
  'conflate',
  'rules',
  'keys',
  'pairing',
]

/** Part of the file as parsed, with the position in the file. */
type Given = Node | null | undefined

class UsersReader {
  readonly faults: string[] = []
  document: Document = new Document()
  readonly #name: string
  readonly #lines = new LineCounter()
  readonly #keyIds = new Set<string>()
  readonly #certificates = new Map<string, string>()
  #untold = 0

  constructor(name: string) {
    this.#name = name
  }

  read(text: string): Users {
    const users = new Map<string, User>()
    let everyone: readonly AccessRule[] = []
    try {
      if (Buffer.byteLength(text) > maxUsersBytes) throw new Error(`more than ${maxUsersBytes} bytes`)
      const document = parseDocument(text, { ...yamlOptions, lineCounter: this.#lines })
      this.document = document
      for (const { message, pos } of document.errors) this.#fault(pos[0], message.split('\n')[0] ?? '')
      if (document.errors.length > 0) return { users, everyone }
      for (const [key, node, at] of this.#entries(document.contents, 'the file', ['everyone', 'users'])) {
        if (key === 'everyone') everyone = this.#rules(node, at, 'everyone')
        else this.#users(node, users)
      }
      this.#checkCertificates(users)
    } catch (error) {
      // Thousands of brackets exhaust the stack of the code that follows them.
      this.#fault(0, `cannot be read: ${describe(error)}`)
    }
    if (this.#untold > 0) this.faults.push(`${this.#name}: and ${this.#untold} more`)
    return { users, everyone }
  }

  #users(given: Given, users: Map<string, User>): void {
    for (const [name, node, at] of this.#entries(given, 'users')) {
      const fault = userNameFault(name)
      if (fault) this.#fault(at, `users: ${fault}`)
      else if (users.size < maxUsers) users.set(name, this.#user(name, node, at))
      else {
        this.#fault(at, `users: given more than ${maxUsers}, which are allowed`)
        return
      }
    }
  }

  #user(name: string, given: Given, at: number): User {
    let kind: RuleKind | undefined
    let user: User = {
      name,
      kind: 'device',
      password: '',
      scram: '',
      keys: [],
      pairing: undefined,
      clients: [],
      certificates: [],
      wildcards: undefined,
      share: undefined,
      conflate: false,
      rules: [],
    }
    for (const [field, node, place] of this.#entries(given, name, fields)) {
      const what = `${name}.${field}`
      if (field === 'kind') kind = this.#kind(node, place, what)
      else if (field === 'password') user = { ...user, password: this.#hash(node, place, what, isHash) }
      else if (field === 'scram') user = { ...user, scram: this.#hash(node, place, what, isScram) }
      else if (field === 'clients') user = { ...user, clients: this.#texts(node, place, what, clientPatternFault) }
      else if (field === 'certificates') user = { ...user, certificates: this.#texts(node, place, what, nameFault) }
      else if (field === 'wildcards') user = { ...user, wildcards: this.#count(node, place, what, 0, 1_000_000) }
      else if (field === 'share') user = { ...user, share: this.#count(node, place, what, 1, 100) }
      else if (field === 'conflate') user = { ...user, conflate: this.#flag(node, place, what) }
      else if (field === 'rules') user = { ...user, rules: this.#rules(node, place, what) }
      else if (field === 'keys') user = { ...user, keys: this.#keys(node, place, what) }
      else user = { ...user, pairing: this.#pairing(node, place, what) }
    }
    if (kind === undefined && !(isMap(given) && given.items.some(pair => nameOf(pair.key) === 'kind'))) {
      this.#fault(at, `${name}: no kind is given, allowed are ${kinds.join(', ')}`)
    }
    for (const certificate of user.certificates) {
      const other = this.#certificates.get(certificate)
      if (other !== undefined) {
        this.#fault(
          at,
          `${name}.certificates: given ${quote(certificate)}, which is ${other === name ? 'there' : `${other}'s`} already`,
        )
      } else this.#certificates.set(certificate, name)
    }
    return { ...user, kind: kind ?? 'device' }
  }

  /** Rejects names of other users: a certificate with the name of a user is that user. */
  #checkCertificates(users: ReadonlyMap<string, User>): void {
    for (const [certificate, name] of this.#certificates) {
      if (certificate === name || !users.has(certificate)) continue
      this.#fault(0, `${name}.certificates: given ${quote(certificate)}, which is the name of another user`)
    }
  }

  #kind(node: Given, at: number, what: string): RuleKind | undefined {
    const given = textOf(node)
    const kind = kinds.find(one => one === given)
    if (!kind) this.#fault(at, `${what}: given ${show(node)}, allowed are ${kinds.join(', ')}`)
    return kind
  }

  /** Reads a hash. A fault never quotes the text, which may be a password. */
  #hash(node: Given, at: number, what: string, isOne: (text: string) => boolean): string {
    const given = textOf(node)
    if (given !== undefined && isOne(given)) return given
    this.#fault(
      at,
      `${what}: the value is not a hash, allowed is what telehub user writes: telehub user passwd sets one`,
    )
    return ''
  }

  #texts(node: Given, at: number, what: string, faultOf: (text: string) => string | undefined): string[] {
    return this.#items(node, at, what).flatMap(([item, place]) => {
      const given = textOf(item)
      const fault = given === undefined ? `given ${show(item)}, allowed is a text` : faultOf(given)
      if (fault) this.#fault(place, `${what}: ${fault}`)
      return given === undefined || fault ? [] : [given]
    })
  }

  #count(node: Given, at: number, what: string, least: number, most: number): number | undefined {
    const given = isScalar(node) ? node.value : undefined
    if (Number.isInteger(given) && (given as number) >= least && (given as number) <= most) return given as number
    this.#fault(at, `${what}: given ${show(node)}, allowed is a whole number from ${least} to ${most}`)
    return undefined
  }

  #flag(node: Given, at: number, what: string): boolean {
    const given = isScalar(node) ? node.value : undefined
    if (typeof given !== 'boolean') this.#fault(at, `${what}: given ${show(node)}, allowed are true and false`)
    return given === true
  }

  #rules(node: Given, at: number, what: string): AccessRule[] {
    return this.#items(node, at, what).flatMap(([item, place]) => {
      const given = textOf(item)
      if (given === undefined) {
        this.#fault(place, `${what}: given ${show(item)}, allowed is a rule such as allow publish home/{user}/#`)
        return []
      }
      const rule = parseRule(given, `${this.#name}:${this.#line(place)}`)
      if (typeof rule !== 'string') return [rule]
      const isCut = /^(allow|deny)\s+\w+$/.test(given.trim())
      this.#fault(
        place,
        `${what}: ${rule}${isCut ? `; YAML takes " #" for a comment: put quotes around '${given.trim()} #'` : ''}`,
      )
      return []
    })
  }

  #keys(node: Given, at: number, what: string): ApiKey[] {
    return this.#items(node, at, what).flatMap(([item, place]) => {
      const key = { id: '', label: '', hash: '', created: 0 }
      for (const [field, value, where] of this.#entries(item, what, ['id', 'label', 'hash', 'created'], place)) {
        const name = `${what}.${field}`
        if (field === 'id') key.id = this.#keyId(value, where, name)
        else if (field === 'hash') key.hash = this.#hash(value, where, name, isSecretHash)
        else if (field === 'created') key.created = this.#time(value, where, name)
        else key.label = textOf(value) ?? ''
      }
      if (key.id && key.hash) return [key]
      this.#fault(place, `${what}: a key needs id and hash; telehub user key add makes one`)
      return []
    })
  }

  #keyId(node: Given, at: number, what: string): string {
    const given = textOf(node) ?? ''
    if (!/^[a-z0-9]{8}$/.test(given)) {
      this.#fault(
        at,
        `${what}: given ${show(node)}, allowed are 8 letters and digits as telehub user key add makes them`,
      )
      return ''
    }
    if (this.#keyIds.has(given)) this.#fault(at, `${what}: given ${quote(given)}, which another key has already`)
    this.#keyIds.add(given)
    return given
  }

  #pairing(node: Given, at: number, what: string): Pairing | undefined {
    let hash = ''
    let expires = 0
    for (const [field, value, place] of this.#entries(node, what, ['hash', 'expires'], at)) {
      if (field === 'hash') hash = this.#hash(value, place, `${what}.hash`, isSecretHash)
      else expires = this.#time(value, place, `${what}.expires`)
    }
    if (hash && expires) return { hash, expires }
    this.#fault(at, `${what}: a pairing needs hash and expires; telehub device pair makes one`)
    return undefined
  }

  #time(node: Given, at: number, what: string): number {
    const given = textOf(node) ?? ''
    const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(given)
      ? Date.parse(given)
      : Number.NaN
    if (!Number.isNaN(time)) return time
    this.#fault(at, `${what}: given ${show(node)}, allowed is a time such as 2026-01-31T12:00:00Z`)
    return 0
  }

  /**
   * Returns the entries of a map, each key once, with the position. Keys other than `allowed` are faults. Nothing is an
   * empty map.
   */
  #entries(given: Given, what: string, allowed?: readonly string[], at = 0): [string, Given, number][] {
    if (isNothing(given)) return []
    if (!isMap(given)) {
      this.#fault(given.range?.[0] ?? at, `${what}: given ${show(given)}, allowed is key: value`)
      return []
    }
    const known = new Set<string>()
    return (given as YAMLMap<Given, Given>).items.flatMap(({ key, value }: Pair<Given, Given>) => {
      const name = nameOf(key)
      const place = key?.range?.[0] ?? at
      if (name === undefined) this.#fault(place, `${what}: given ${show(key)} as a name, allowed is a text`)
      else if (known.has(name)) this.#fault(place, `${what}: given ${quote(name)} twice`)
      else if (allowed && !allowed.includes(name)) {
        this.#fault(place, `${what}: given ${quote(name)}, allowed are ${allowed.join(', ')}`)
      } else {
        known.add(name)
        return [[name, value, place]]
      }
      return []
    })
  }

  #items(given: Given, at: number, what: string): [Given, number][] {
    if (isNothing(given)) return []
    if (isSeq<Given>(given)) return given.items.map(item => [item, item?.range?.[0] ?? at])
    this.#fault(at, `${what}: given ${show(given)}, allowed is a list`)
    return []
  }

  #fault(at: number, sentence: string): void {
    if (this.faults.length < maxFaults) this.faults.push(`${this.#name}:${this.#line(at)}: ${sentence}`)
    else this.#untold++
  }

  #line(at: number): number {
    return Math.max(1, this.#lines.linePos(at).line)
  }
}

const nameFault = (name: string) =>
  name !== '' && name.length <= 1_000 ? undefined : `given ${quote(name)}, allowed is a name in a certificate`

function isNothing(given: Given): given is null | undefined {
  return given === null || given === undefined || (isScalar(given) && given.value === null)
}

/** Returns a text as written: `1` and `true` are texts here, too. */
export function textOf(given: unknown): string | undefined {
  if (!isScalar(given) || given.value === null || given.value === undefined) return undefined
  return typeof given.value === 'string' ? given.value : given.source
}

/** Returns a name as written. Unlike {@link textOf}, accepts `null` as one. */
export function nameOf(key: unknown): string | undefined {
  if (!isScalar(key)) return undefined
  return typeof key.value === 'string' ? key.value : key.source || undefined
}

function show(given: Given): string {
  if (isNothing(given)) return 'nothing'
  if (isAlias(given)) return 'an alias'
  return isMap(given) ? 'a map' : isSeq(given) ? 'a list' : quote(textOf(given) ?? '')
}
