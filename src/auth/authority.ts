import { randomBytes } from 'node:crypto'
import type { Access, Reader, ReaderDirectory } from '../access/rules.js'
import { describe, HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { SentenceLog } from '../observe/log.js'
import { hashSecret, isSecretHash, verifyPassword } from '../passwords/passwords.js'
import {
  Challenge,
  decoyScram,
  parseScram,
  readClientFirst,
  type ScramSecret,
  scramMethod,
} from '../passwords/scram.js'
import { Verifier } from '../passwords/verifier.js'
import type { AddressGate } from '../runtime/addresses.js'
import { sourceOf } from '../runtime/addresses.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { Sharing, UserShares } from '../runtime/user-shares.js'
import { type ClientFault, type Redeemed, UserDirectory, type UsersListener } from '../users/user-directory.js'
import { readKey, type User } from '../users/users.js'
import type { Bans } from './bans.js'
import { keptKey } from './kept-key.js'
import type { KnownSources } from './known-sources.js'
import { LoginLimits } from './login-limits.js'
import type { Logins } from './logins.js'
import {
  busy,
  type Credentials,
  type Principal,
  refusal,
  type ScramExchange,
  type ScramStep,
  type Verdict,
} from './principal.js'
import { RememberedPasswords } from './remembered-passwords.js'
import type { ShareLinks } from './share-links.js'

export interface AuthorityOptions {
  /** Path of the users file. Empty: authentication is off, and every client may do everything. */
  readonly file: string
  /** Authenticates clients without credentials as the user `anonymous` of the file. */
  readonly anonymous: boolean
  /**
   * Failed attempts a minute from one address with one name. Further attempts are rejected without checking the
   * password.
   */
  readonly attempts: number
  /** Share of a user without one in the users file, as a fraction of 1. */
  readonly share: number
  readonly logins: Logins
  /** Visitors by links that share a board. */
  readonly links: ShareLinks
  readonly known: KnownSources
  readonly bans: Pick<Bans, 'failed' | 'leftMs'> & Partial<Pick<Bans, 'excludes' | 'fault'>>
  /** File for the key of the salts that are shown for names without a SCRAM secret. Created when missing. */
  readonly saltKey: string
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  /** Records which users a changed file has changed. */
  readonly audit?: Pick<Auditor, 'record'>
  readonly log: SentenceLog
}

/** Returns true while the user still has the credential that authenticated the client. */
type Proof = (user: User) => boolean

/**
 * Returns whether the user name is no name: the SDKs of AWS send a label such as `?SDK=JavaScript&Version=2.2.15` beside
 * their certificate.
 */
function isLabel({ username, password, certificate }: Credentials): boolean {
  return certificate.length > 0 && password === undefined && username?.startsWith('?SDK=') === true
}

/** Hash that unknown names are verified against, so that they take as long as known ones. */
const dummyHash = `scrypt$ln=15,r=8,p=1$${'A'.repeat(22)}$${'A'.repeat(43)}`

/**
 * Authenticates clients and decides what they may do. Follows every change of the users file. When the file cannot be
 * read, the users before the change stay in effect.
 */
export class Authority implements ReaderDirectory, Part, Sharing, AddressGate {
  readonly name = 'authority'
  /** True when authentication is off. */
  readonly open: boolean
  /** Links that share a board; who comes by one is a user. */
  readonly links: ShareLinks
  /** Users of the users file; none when authentication is off. */
  readonly directory: UserDirectory
  readonly #options: AuthorityOptions
  readonly #verifier = new Verifier()
  readonly #limits: LoginLimits
  readonly #remembered = new RememberedPasswords()
  /**
   * Key of the decoy salts, kept across restarts: salts that change at a restart would reveal which names are no users.
   */
  #saltKey: Buffer = randomBytes(32)
  /**
   * Callers that wait for the same password, by name and digest: a thousand devices of one user need one verification.
   */
  readonly #pending = new Map<string, ((verdict: Verdict) => void)[]>()
  constructor(options: AuthorityOptions) {
    this.#options = options
    this.open = options.file === ''
    this.links = options.links
    this.directory = new UserDirectory(options)
    const isThere = (name: string) => this.user(name) !== undefined
    this.directory.reportTo({ onUsersChanged: () => this.#remembered.forget(isThere) })
    this.#limits = new LoginLimits(options)
    options.links.reportTo({ sharesChanged: () => this.directory.tellRights() })
  }

  /** Adds listeners, which are called in the order given. */
  reportTo(...listeners: readonly UsersListener[]): void {
    this.directory.reportTo(...listeners)
  }

  start(): void {
    const { saltKey, log } = this.#options
    if (this.open) return
    try {
      this.#saltKey = keptKey(saltKey)
    } catch (error) {
      log.warn(
        `the key for SCRAM decoy salts could not be saved, so after a restart SCRAM may reveal which names are users: ${describe(error)}`,
      )
    }
    this.directory.start()
  }

  async stop(): Promise<void> {
    await Promise.all([this.directory.stop(), this.#verifier.stop()])
  }

  /**
   * Calls `done` once: at once when the credentials are quick to check, else when their turn to be verified has come.
   */
  authenticate(given: Credentials, done: (verdict: Verdict) => void): void {
    const shown = isLabel(given) && !this.open ? { ...given, username: undefined } : given
    const quick = this.#quickly(shown)
    const { address, password, certificate } = shown
    const isProven = password !== undefined || certificate.length > 0
    if (quick && 'user' in quick && isProven && !this.open) this.#options.known.add(address, quick.user)
    if (quick) done(quick)
    else this.#byPassword(shown, done)
  }

  /** Returns the verdict when the check takes no time and the credentials cannot be found by guessing. */
  #quickly({ address, username = '', password, certificate }: Credentials): Verdict | undefined {
    if (this.open) return { ...everybody, user: username }
    const certified = certificate.map(name => this.directory.certified(name)).find(name => name !== undefined)
    if (certified !== undefined && (username === '' || username === certified)) {
      return this.#principal(certified, user => certificate.some(name => isNamed(user, name)))
    }
    if (password === undefined) return this.#withoutPassword(username, certificate)
    if (password.startsWith('tht_')) return this.#byToken(username, password)
    if (password.startsWith('thk_')) {
      const verdict = this.#byKey(username, password)
      if ('refused' in verdict) this.#options.bans.failed(address)
      return verdict
    }
    const user = this.user(username)
    if (!user) return undefined
    const isRight = isSecretHash(user.password)
      ? verifyPassword(user.password, password)
      : // Only for known sources: checked without a limit, this would reveal the password.
        this.#options.known.has(address, username) && this.#remembered.has(user, password)
    return isRight ? this.#principal(username, hasPassword(user)) : undefined
  }

  /**
   * Begins the exchange that an MQTT 5 client requests by its authentication method (MQTT 5 §4.12). Returns undefined
   * when the method is not supported, or authentication is off. `username` is that of CONNECT. A wrong proof counts as
   * a wrong password does; an exchange that the client abandons does not count.
   */
  exchange(method: string, shown: Pick<Credentials, 'address' | 'username'>): ScramExchange | undefined {
    if (this.open || method !== scramMethod) return undefined
    const over = () => ({ verdict: refusal('its SCRAM exchange is over') })
    let next: (data: Buffer) => ScramStep = data => {
      const { address, username = '' } = shown
      const first = readClientFirst(data)
      if (typeof first === 'string') return { verdict: refusal(first) }
      const { name } = first
      if (username !== '' && username !== name) {
        return { verdict: refusal(`${quoted(username)} sent a different name, ${quoted(name)}, in SCRAM`) }
      }
      const attempt = this.#limits.attempt(address, name, this.#isKnown(address, name))
      if ('refused' in attempt) return { verdict: attempt }
      // Refunded: the client has not sent a proof yet.
      attempt.giveBack()
      const scram = this.user(name)?.scram ?? ''
      // Made for every name, known or not, so that all take equally long.
      const made = decoyScram(name, this.#saltKey)
      const challenge = new Challenge(first, parseScram(scram || made) as ScramSecret)
      next = answer => this.#byScram(address, name, scram, challenge.answer(answer))
      return { challenge: Buffer.from(challenge.text) }
    }
    return {
      step: (data = Buffer.alloc(0)) => {
        const now = next
        next = over
        return now(data)
      },
    }
  }

  /**
   * Returns what a user may do through one client. Undefined: everything. The result never changes: ask again after
   * {@link UsersListener.onUsersChanged}.
   */
  access(name: string, clientId: string, shownAs = clientId): Access | undefined {
    const owner = this.links.isVisitor(name) ? this.links : this.directory
    return this.open ? undefined : owner.access(name, clientId, shownAs)
  }

  /** Current shares. They change with the users file. */
  get shares(): UserShares {
    return this.directory.shares
  }

  /** Whether connections from an address are taken: the address is not banned, or a user has authenticated from there. */
  admits(address: string): boolean {
    const { bans, known } = this.#options
    if (bans.excludes?.(address)) return false
    return bans.leftMs(address) === 0 || known.hasSource(address)
  }

  readersOf(users: readonly string[]): readonly Reader[] {
    return users.map(name => {
      if (this.open) return { isKnown: true }
      const user = this.user(name)
      const access = user && user.kind !== 'device' ? this.access(name, '') : undefined
      return { isKnown: access !== undefined, rules: access?.readsAll('#') ? undefined : access?.readRules }
    })
  }

  user(name: string): User | undefined {
    return (this.links.isVisitor(name) ? this.links : this.directory).user(name)
  }

  /** Returns why a user may not connect with this client id. Undefined when the id is allowed. */
  clientFault(name: string, clientId: string): ClientFault | undefined {
    const reason = this.#options.bans.fault?.(name, clientId)
    if (reason !== undefined) return { reason, detail: reason }
    return this.open ? undefined : this.directory.clientFault(name, clientId)
  }

  /** Returns true while the stamp is that of the user's current credentials. */
  isStamp(name: string, stamp: string): boolean {
    const user = this.user(name)
    return user !== undefined && stampOf(user) === stamp
  }

  /** Turns a one-time code into credentials, and resolves when they are on disk. Throws a `HubError`. */
  async redeem(code: string): Promise<Redeemed> {
    if (this.open) throw new HubError('forbidden', 'this hub has no login (auth.file), so devices cannot be paired')
    return this.directory.redeem(code, this.#options.clock)
  }

  // — by kind of credentials —

  #withoutPassword(username: string, certificate: readonly string[]): Verdict {
    const isAnonymous = this.#options.anonymous && username === ''
    if (isAnonymous && this.user('anonymous')) return this.#principal('anonymous', () => true)
    if (certificate.length > 0)
      return refusal(
        `its certificate, ${quoted(certificate.join(', '))}, does not belong to a user that it may log in as`,
      )
    if (isAnonymous) return refusal('sent no user name, and auth.file has no user anonymous')
    return refusal(username === '' ? 'sent neither user name nor password' : `sent no password for ${quoted(username)}`)
  }

  #byToken(username: string, token: string): Verdict {
    const { logins } = this.#options
    const found = logins.verify(token)
    if (!found || (username !== '' && username !== found.user)) return refusal('its token is not valid or has expired')
    const { user: name, login } = found
    const user = this.user(name)
    if (!user) return refusal(`user ${quoted(name)} no longer exists`)
    const stamp = stampOf(user)
    const principal = this.#principal(name, now => stampOf(now) === stamp && logins.isAlive(login))
    return 'refused' in principal ? principal : { ...principal, login }
  }

  #byKey(username: string, key: string): Verdict {
    const { id = '', secret = '' } = readKey(key) ?? {}
    const name = this.directory.ownerOfKey(id)
    const hash = name === undefined ? undefined : this.user(name)?.keys.find(one => one.id === id)?.hash
    const isRight = verifyPassword(hash ?? hashSecret(''), secret)
    if (!hash || !isRight || name === undefined || (username !== '' && username !== name)) {
      return refusal(`its API key ${quoted(id)} is not valid`)
    }
    return this.#principal(name, ({ keys }) => keys.some(one => one.hash === hash))
  }

  /**
   * Judges the answer to a challenge. `proof` is the hub's own proof, or why the client's is wrong. `scram` is the
   * secret that the client was challenged with.
   */
  #byScram(address: string, name: string, scram: string, proof: Buffer | string): ScramStep {
    // Other clients may have failed since the challenge.
    const attempt = this.#limits.attempt(address, name, this.#isKnown(address, name))
    if ('refused' in attempt) return { verdict: attempt }
    const waitMs = this.#isKnown(address, name) ? 0 : this.#limits.takeProof()
    if (waitMs > 0) return { verdict: busy('too many SCRAM attempts from all addresses together', waitMs) }
    const refused = (why: string) => {
      this.#options.bans.failed(address)
      return { verdict: refusal(why) }
    }
    const user = this.user(name)
    if (!user) return refused(`there is no user ${quoted(name)}`)
    if (scram === '') return refused(`${quoted(name)} has no password for SCRAM; telehub user passwd --scram sets one`)
    if (typeof proof === 'string') return refused(`SCRAM of ${quoted(name)}: ${proof}`)
    if (scram !== user.scram) return refused(`the password of ${quoted(name)} has changed meanwhile`)
    attempt.giveBack()
    this.#limits.giveBackProof()
    this.#options.known.add(address, name)
    const hasSame: Proof = now => now.scram === scram && now.password === user.password
    return { verdict: this.#principal(name, hasSame), data: proof }
  }

  #isKnown(address: string, name: string): boolean {
    return this.user(name) !== undefined && this.#options.known.has(address, name)
  }

  #byPassword(shown: Credentials, done: (verdict: Verdict) => void): void {
    const { address, username = '', password = '', isGone = () => false } = shown
    const user = this.user(username)
    const pendingKey = `${username.slice(0, 64)} ${this.#remembered.digest(user?.password ?? '', password).toString('base64')}`
    const pending = this.#pending.get(pendingKey)
    if (pending) {
      pending.push(done)
      return
    }
    const isKnown = this.#isKnown(address, username)
    const attempt = this.#limits.attempt(address, username, isKnown)
    if ('refused' in attempt) {
      done(attempt)
      return
    }
    const waiting = [done]
    this.#pending.set(pendingKey, waiting)
    const settle = (verdict: Verdict) => {
      this.#pending.delete(pendingKey)
      if ('refused' in verdict && verdict.refused === 'bad_credentials') this.#options.bans.failed(address)
      if (!('refused' in verdict) || verdict.refused === 'busy') attempt.giveBack()
      for (const each of waiting) each(verdict)
    }
    const verified = (isRight: boolean | undefined) => {
      if (isRight === undefined) settle(busy('its password could not be verified at the moment', 5_000))
      else if (!user) settle(refusal(`there is no user ${quoted(username)}`))
      // The file may have changed meanwhile.
      else if (!isRight || hash !== this.user(username)?.password)
        settle(refusal(`wrong password for ${quoted(username)}`))
      else {
        this.#remembered.add(username, hash, password)
        this.#options.known.add(address, username)
        settle(this.#principal(username, hasPassword(user)))
      }
    }
    // A scrypt hash is verified for every name, so that all take equally long.
    const hash = user && user.password !== '' && !isSecretHash(user.password) ? user.password : dummyHash
    const isAlone = () => waiting.length === 1 && isGone()
    if (
      !this.#verifier.verify({ source: sourceOf(address), isKnown, hash, password, isGone: isAlone, done: verified })
    ) {
      settle(busy('too many passwords are waiting to be verified', 5_000))
    }
  }

  #principal(name: string, proof: Proof): Verdict {
    const user = this.user(name)
    if (!user) return refusal(`user ${quoted(name)} no longer exists`)
    const isValid = () => {
      const now = this.user(name)
      return now !== undefined && now.kind === user.kind && proof(now)
    }
    return { user: name, kind: user.kind, login: undefined, stamp: stampOf(user), isValid }
  }
}

const everybody: Principal = { user: '', kind: 'admin', login: undefined, stamp: '', isValid: () => true }

function hasPassword({ password }: User): Proof {
  return user => user.password === password
}

/** Returns what changes with the credentials of a user. */
export function stampOf({ password, scram, kind }: User): string {
  return hashSecret(`${kind} ${password}${scram && ` ${scram}`}`)
}

function isNamed({ name, certificates }: User, given: string): boolean {
  return name === given || certificates.includes(given)
}

/** Quotes a name for a log line. A text that looks like a key is hidden: a secret may be in the wrong place. */
function quoted(text: string): string {
  if (/^th[akt]_/.test(text)) return 'that looks like a key'
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text)
}
