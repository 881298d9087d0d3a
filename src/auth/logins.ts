import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { readOrSetAside } from '../disk/damaged.js'
import { StateFile } from '../disk/state-file.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { makeSecret } from '../passwords/passwords.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'
import { type Moment, Moments } from './moments.js'

/*
 * A login is made by a password, and is a cookie of a browser. A login lasts as long as the browser uses the cookie
 * (auth.login). A token is made by a login, and is the password of a page's MQTT connection. A token lasts minutes, and
 * the page renews it.
 *
 *   login   ├──────────────── used, used, used ────────────────┤ loginMs without use
 *   tokens  ├─ 5 min ─┤
 *               ├─ 5 min ─┤            ├─ 5 min ─┤                 renewed early, or late by a tab that slept
 *   alive   ├──────────────── + 1 min ┤├──────────── + 1 min ┤     connections are cut at the end, the cookie goes on
 *
 * A stolen token therefore opens nothing after minutes. A connection outlives the page, or the rights of the user, by
 * no more than that.
 */

export interface LoginListener {
  /** Called once whenever a login is no longer {@link Logins.isAlive}: the connections of the login must be closed. */
  onLoginEnded(login: string): void
}

export interface LoginsOptions {
  /** File of the logins. The file holds only hashes, and only the hub may read it. */
  readonly path: string
  /** How long a login lasts without use. */
  readonly loginMs: number
  /** How long a login lasts however often it is used; 0: no limit. */
  readonly maxMs?: number
  /** Milliseconds since the epoch, for what is shown and for the file. */
  readonly clock: MillisecondClock
  /** Milliseconds of a clock that never jumps: a login lasts as long when the other clock is set meanwhile. */
  readonly monotonic: MillisecondClock
  readonly incidents?: IncidentReporter
}

export interface Login {
  /** Id of the login; gives no access. */
  readonly login: string
  readonly user: string
  /**
   * Stamp of the credentials that the login was made by. `Authority.isStamp` returns whether they are still current.
   */
  readonly stamp: string
}

/** A login as shown to the user or an admin. Times in milliseconds since the epoch. */
export interface ListedLogin {
  readonly login: string
  readonly user: string
  readonly began: number
  readonly used: number
  readonly expires: number
  /** Address and User-Agent at the beginning of the login. Empty for a login of an older version. */
  readonly address: string
  readonly agent: string
}

/** A login as in the file. Times in milliseconds since the epoch. */
interface SavedLogin extends Login {
  readonly hash: string
  readonly began: number
  readonly used: number
  readonly address: string
  readonly agent: string
}

interface LoginEntry extends Login {
  readonly began: Moment
  readonly address: string
  readonly agent: string
  /** Hash of the cookie. */
  readonly hash: string
  used: Moment
  /**
   * Monotonic time until which connections of this login may stay; 0: there are none. Not saved: after a restart there
   * are none.
   */
  aliveUntil: number
}

export const tokenMs = 5 * 60_000

/** How late a page may renew the token: browsers delay hidden tabs. */
const graceMs = 60_000

/** Beyond this, the login unused longest is ended. */
const maxLogins = 10_000
/** Limit for one user, who could otherwise evict the logins of all others. */
const maxLoginsOfUser = 100

/** Interval of saves. Mere use is not worth a write each time. */
const saveEveryMs = 60_000
const sweepEveryMs = 10_000

const tokenPrefix = 'tht_'

/**
 * Logins of browsers, and tokens of their pages. Logins survive a restart. Tokens do not: they are signed with a key of
 * this process.
 */
export class Logins implements Part {
  readonly name = 'logins'
  readonly #options: LoginsOptions
  readonly #moments: Moments
  readonly #key = randomBytes(32)
  /** By the hash of the cookie: looking one up reveals nothing of the others. */
  readonly #byCookie = new Map<string, LoginEntry>()
  readonly #byLogin = new Map<string, LoginEntry>()
  /** Number of logins of each user. */
  readonly #ofUser = new Map<string, number>()
  #listener: LoginListener | undefined
  readonly #file: StateFile
  #sweeping: NodeJS.Timeout | undefined

  constructor(options: LoginsOptions) {
    this.#options = options
    this.#moments = new Moments(options.clock, options.monotonic)
    this.#file = new StateFile(options.path, () => this.#text())
  }

  reportTo(listener: LoginListener): void {
    this.#listener = listener
  }

  /** Loads the logins. A damaged file counts as none: all users sign in again. */
  start(): void {
    for (const entry of this.#read()) this.#add(entry)
    this.#sweeping = setInterval(() => this.sweep(), sweepEveryMs).unref()
    this.#file.saveEvery(saveEveryMs)
  }

  async stop(): Promise<void> {
    clearInterval(this.#sweeping)
    await this.#file.stop()
  }

  /** Begins a login. `stamp` is that of the principal whose password was just checked. */
  begin(
    user: string,
    stamp: string,
    from: { address: string; agent: string } = nowhere,
  ): { readonly cookie: string; readonly expires: number } {
    if (!this.#hasRoom(user)) {
      this.sweep()
      this.#makeRoom(user)
    }
    const cookie = makeSecret()
    const now = this.#moments.now()
    const address = from.address.slice(0, 64)
    const agent = from.agent.slice(0, maxAgentLength)
    const entry = { login: makeSecret(), hash: hashOf(cookie), user, stamp, began: now, address, agent }
    this.#add({ ...entry, used: now, aliveUntil: 0 })
    this.#changed()
    return { cookie, expires: this.#expires({ began: now, used: now }) }
  }

  /** Returns the login of a cookie, which may be any text. From now on the login lasts for the whole time again. */
  find(cookie: string): (Login & { readonly expires: number }) | undefined {
    if (!/^[\w-]{20,60}$/.test(cookie)) return undefined
    const entry = this.#byCookie.get(hashOf(cookie))
    if (!entry || this.#isOver(entry)) return undefined
    entry.used = this.#moments.now()
    this.#file.changed()
    const { login, user, stamp } = entry
    return { login, user, stamp, expires: this.#expires(entry) }
  }

  /** Returns for how many milliseconds a login lasts without further use; 0: the login has ended. */
  leftMs(login: string): number {
    const entry = this.#byLogin.get(login)
    return entry ? Math.max(0, this.#leftMs(entry)) : 0
  }

  /** Returns the logins that have not ended, of one user or of all, the one used last first. */
  list(of?: string): readonly ListedLogin[] {
    const all = [...this.#byLogin.values()].filter(entry => !this.#isOver(entry) && (of ?? entry.user) === entry.user)
    return all
      .map(entry => {
        const { login, user, address, agent } = entry
        return { login, user, ...this.#times(entry), expires: this.#expires(entry), address, agent }
      })
      .sort((a, b) => b.used - a.used)
  }

  /** Ends a login, on sign-out or when no longer valid: neither the cookie nor the tokens give access any more. */
  end(login: string): void {
    const entry = this.#byLogin.get(login)
    if (!entry) return
    this.#byLogin.delete(login)
    this.#byCookie.delete(entry.hash)
    const left = (this.#ofUser.get(entry.user) ?? 1) - 1
    if (left > 0) this.#ofUser.set(entry.user, left)
    else this.#ofUser.delete(entry.user)
    this.#changed()
    this.#listener?.onLoginEnded(login)
  }

  /** Returns whether connections of the login may stay. */
  isAlive(login: string): boolean {
    const entry = this.#byLogin.get(login)
    return entry !== undefined && !this.#isOver(entry) && this.#options.monotonic.now() < entry.aliveUntil
  }

  /**
   * Makes a token for the next connection of the page, and extends the time of existing ones. Throws for a login that
   * has ended.
   */
  token(login: string): { readonly token: string; readonly expires: number } {
    const entry = this.#byLogin.get(login)
    if (!entry || this.#isOver(entry)) throw new Error('the login has ended')
    const { clock, monotonic } = this.#options
    const until = monotonic.now() + tokenMs
    entry.aliveUntil = Math.max(entry.aliveUntil, until + graceMs)
    // Monotonic, as the token is for this process alone.
    const body = Buffer.from(JSON.stringify([login, entry.user, until])).toString('base64url')
    return { token: `${tokenPrefix}${body}.${this.#sign(body)}`, expires: clock.now() + tokenMs }
  }

  /**
   * Returns the login of a token, which may be any text. The caller compares the user with the name that the client
   * gave.
   */
  verify(token: string): Login | undefined {
    if (token.length > maxTokenLength) return undefined
    const [, body, signature] = /^tht_([\w-]+)\.([\w-]{43})$/.exec(token) ?? []
    if (!body || !signature || !timingSafeEqual(Buffer.from(signature), Buffer.from(this.#sign(body)))) return undefined
    const [login, user, until] = JSON.parse(Buffer.from(body, 'base64url').toString()) as [string, string, number]
    const entry = this.#byLogin.get(login)
    if (!entry || entry.user !== user || this.#options.monotonic.now() >= until || !this.isAlive(login))
      return undefined
    return { login, user, stamp: entry.stamp }
  }

  /** Ends logins that are over, and reports those whose page has not renewed the token in time. */
  sweep(): void {
    const now = this.#options.monotonic.now()
    if (this.#moments.isShifted()) this.#file.changed()
    for (const entry of [...this.#byLogin.values()]) {
      if (this.#isOver(entry)) this.end(entry.login)
      else if (entry.aliveUntil > 0 && now >= entry.aliveUntil) {
        entry.aliveUntil = 0
        this.#listener?.onLoginEnded(entry.login)
      }
    }
  }

  #read(): LoginEntry[] {
    const { path, incidents } = this.#options
    const parse = (text: string) =>
      (JSON.parse(text) as { logins: SavedLogin[] }).logins
        .filter(isEntry)
        .slice(0, maxLogins)
        .map(({ login, hash, user, stamp, used, began, address, agent }) => {
          const from = { address: textOf(address), agent: textOf(agent) }
          // Older versions did not save when a login began.
          const times = {
            began: this.#moments.fromDisk(Number.isFinite(began) ? began : used),
            used: this.#moments.fromDisk(used),
          }
          return { login, hash, user, stamp, ...times, ...from, aliveUntil: 0 }
        })
    const report = (sentence: string) => incidents?.report('logins_damaged', sentence)
    return readOrSetAside(path, parse, 'users have to sign in again', report) ?? []
  }

  #leftMs({ began, used }: Pick<LoginEntry, 'began' | 'used'>): number {
    const { loginMs, maxMs = 0 } = this.#options
    const unused = loginMs - this.#moments.ageMs(used)
    return maxMs > 0 ? Math.min(unused, maxMs - this.#moments.ageMs(began)) : unused
  }

  #expires(times: Pick<LoginEntry, 'began' | 'used'>): number {
    return Math.round(this.#options.clock.now() + this.#leftMs(times))
  }

  #isOver(entry: LoginEntry): boolean {
    return this.#leftMs(entry) <= 0
  }

  #times({ began, used }: LoginEntry): { readonly began: number; readonly used: number } {
    return { began: this.#moments.wallTime(began), used: this.#moments.wallTime(used) }
  }

  #hasRoom(user: string): boolean {
    return (this.#ofUser.get(user) ?? 0) < maxLoginsOfUser && this.#byLogin.size < maxLogins
  }

  #makeRoom(user: string): void {
    const all = [...this.#byLogin.values()]
    const own = all.filter(entry => entry.user === user)
    const crowd = own.length >= maxLoginsOfUser ? own : all.length >= maxLogins ? all : []
    const ageMs = ({ used }: LoginEntry) => this.#moments.ageMs(used)
    if (crowd.length > 0)
      this.end(crowd.reduce((oldest, entry) => (ageMs(entry) > ageMs(oldest) ? entry : oldest)).login)
  }

  #add(entry: LoginEntry): void {
    this.#byCookie.set(entry.hash, entry)
    this.#byLogin.set(entry.login, entry)
    this.#ofUser.set(entry.user, (this.#ofUser.get(entry.user) ?? 0) + 1)
  }

  #sign(body: string): string {
    return createHmac('sha256', this.#key).update(body).digest('base64url')
  }

  /** Saves at once: a login that ended must not come back with the next start. */
  #changed(): void {
    this.#file.changed()
    this.#file.save()
  }

  #text(): string {
    const logins = [...this.#byLogin.values()].map((entry): SavedLogin => {
      const { login, hash, user, stamp, address, agent } = entry
      return { login, hash, user, stamp, ...this.#times(entry), address, agent }
    })
    return `${JSON.stringify({ logins })}\n`
  }
}

/** Maximum length of a token. A user name is 64 characters at most. */
const maxTokenLength = 512

function hashOf(cookie: string): string {
  return createHash('sha256').update(cookie).digest('base64url')
}

const nowhere = { address: '', agent: '' }

const maxAgentLength = 200

const textOf = (given: unknown) => (typeof given === 'string' ? given.slice(0, maxAgentLength) : '')

/** Checks an entry of the file, which may contain anything. */
function isEntry({ login, hash, user, stamp, used }: SavedLogin): boolean {
  return [login, hash, user, stamp].every(text => typeof text === 'string') && Number.isFinite(used)
}
