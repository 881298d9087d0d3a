import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { setAside } from '../disk/damaged.js'
import { readWholeSync } from '../disk/files.js'
import { replaceFile } from '../disk/replace-file.js'
import { describe } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { Part } from '../runtime/lifecycle.js'
import { makeSecret } from './passwords.js'

/*
 * A login is made by a password, and is a cookie of a browser; it lasts as long as it is used (auth.login). A token is
 * made by a login, and is the password of a page's MQTT connection; it lasts minutes, and the page renews it.
 *
 *   login   ├──────────────── used, used, used ────────────────┤ loginMs without use
 *   tokens  ├─ 5 min ─┤
 *               ├─ 5 min ─┤            ├─ 5 min ─┤                 renewed early, or late by a tab that slept
 *   alive   ├──────────────── + 1 min ┤├──────────── + 1 min ┤     connections are cut at its end, the cookie goes on
 *
 * So a stolen token opens nothing after minutes, and a connection outlives its page, or the rights of its user, by no
 * more than that.
 */

export interface LoginsOptions {
  /** The file of the logins; it holds hashes alone, and nobody else may read it. */
  readonly path: string
  /** How long a login lasts without use. */
  readonly loginMs: number
  /** How long a login lasts however often it is used; 0: no limit. */
  readonly maxMs?: number
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Called once whenever a login is no longer {@link Logins.isAlive}: its connections have to go. */
  readonly ended: (login: string) => void
  readonly incidents?: IncidentReporter
}

export interface Login {
  /** Names it; opens nothing. */
  readonly login: string
  readonly user: string
  /** Of the credentials that it was made by: `Authority.isStamp` says whether they still are. */
  readonly stamp: string
}

/** A login as its user or an admin sees it. Times in milliseconds since the epoch. */
export interface ListedLogin {
  readonly login: string
  readonly user: string
  readonly began: number
  readonly used: number
  readonly expires: number
  /** Where it began, and what the browser called itself then; empty for a login of an older version. */
  readonly address: string
  readonly agent: string
}

interface Entry extends Login {
  /** Milliseconds since the epoch. */
  readonly began: number
  readonly address: string
  readonly agent: string
  /** Of the cookie. */
  readonly hash: string
  /** Milliseconds since the epoch. */
  used: number
  /** Until when connections of it may stay; 0: it has none. Not kept: after a restart there are none. */
  aliveUntil: number
}

export const tokenMs = 5 * 60_000

/** So late may a page renew its token, which a hidden tab does when its browser lets it. */
const graceMs = 60_000

/** Past it the login unused longest goes. */
const maxLogins = 10_000
/** Of one user, so that nobody drives out the others. */
const maxLoginsOfUser = 100

/** Use alone is not worth a write each time. */
const saveEveryMs = 60_000
const sweepEveryMs = 10_000

const tokenPrefix = 'tht_'

/**
 * The logins of browsers, and the tokens of their pages. Survives a restart, tokens excepted: they are signed with a
 * key of this process alone.
 */
export class Logins implements Part {
  readonly name = 'logins'
  readonly #options: LoginsOptions
  readonly #key = randomBytes(32)
  /** By the hash of the cookie: looking one up tells nothing of the others. */
  readonly #byCookie = new Map<string, Entry>()
  readonly #byLogin = new Map<string, Entry>()
  /** How many logins each user has. */
  readonly #ofUser = new Map<string, number>()
  #dirty = false
  /** A write that has not begun. */
  #queued = false
  #timers: NodeJS.Timeout[] = []
  #saving: Promise<void> = Promise.resolve()

  constructor(options: LoginsOptions) {
    this.#options = options
  }

  /** A file that is damaged counts as none: everybody signs in again. */
  start(): void {
    for (const entry of this.#read()) this.#add(entry)
    this.#timers = [
      setInterval(() => this.sweep(), sweepEveryMs).unref(),
      setInterval(() => this.#save(), saveEveryMs).unref(),
    ]
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    this.#save()
    await this.#saving
  }

  /** `stamp` is that of the principal whose password was just checked. */
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
    const now = this.#options.now()
    const address = from.address.slice(0, 64)
    const agent = from.agent.slice(0, maxAgentLength)
    const entry = { login: makeSecret(), hash: hashOf(cookie), user, stamp, began: now, address, agent }
    this.#add({ ...entry, used: now, aliveUntil: 0 })
    this.#changed()
    return { cookie, expires: this.#expires({ began: now, used: now }) }
  }

  /** The login of a cookie, whatever was sent as one; from now on it lasts for the whole time again. */
  find(cookie: string): (Login & { readonly expires: number }) | undefined {
    if (!/^[\w-]{20,60}$/.test(cookie)) return undefined
    const entry = this.#byCookie.get(hashOf(cookie))
    if (!entry || this.#isOver(entry)) return undefined
    entry.used = this.#options.now()
    this.#dirty = true
    const { login, user, stamp } = entry
    return { login, user, stamp, expires: this.#expires(entry) }
  }

  /** For how many milliseconds a login goes on if it is not used again; 0: it has ended. */
  leftMs(login: string): number {
    const entry = this.#byLogin.get(login)
    return entry ? Math.max(0, this.#expires(entry) - this.#options.now()) : 0
  }

  /** Logins that have not ended, of one user or of all, the one used last first. */
  list(of?: string): readonly ListedLogin[] {
    const all = [...this.#byLogin.values()].filter(entry => !this.#isOver(entry) && (of ?? entry.user) === entry.user)
    return all
      .sort((a, b) => b.used - a.used)
      .map(entry => {
        const { login, user, began, used, address, agent } = entry
        return { login, user, began, used, expires: this.#expires(entry), address, agent }
      })
  }

  /** Signed out, or no longer good: neither cookie nor tokens open anything. */
  end(login: string): void {
    const entry = this.#byLogin.get(login)
    if (!entry) return
    this.#byLogin.delete(login)
    this.#byCookie.delete(entry.hash)
    const left = (this.#ofUser.get(entry.user) ?? 1) - 1
    if (left > 0) this.#ofUser.set(entry.user, left)
    else this.#ofUser.delete(entry.user)
    this.#changed()
    this.#options.ended(login)
  }

  /** May its connections stay? */
  isAlive(login: string): boolean {
    const entry = this.#byLogin.get(login)
    return entry !== undefined && !this.#isOver(entry) && this.#options.now() < entry.aliveUntil
  }

  /** For the next connection of the page; those it has may stay so much longer. Throws for a login that has ended. */
  token(login: string): { readonly token: string; readonly expires: number } {
    const entry = this.#byLogin.get(login)
    if (!entry || this.#isOver(entry)) throw new Error('the login has ended')
    const expires = this.#options.now() + tokenMs
    entry.aliveUntil = Math.max(entry.aliveUntil, expires + graceMs)
    const body = Buffer.from(JSON.stringify([login, entry.user, expires])).toString('base64url')
    return { token: `${tokenPrefix}${body}.${this.#sign(body)}`, expires }
  }

  /** Whose token it is, whatever was sent as one; whether its user gave its own name is for the caller to see. */
  verify(token: string): Login | undefined {
    if (token.length > maxTokenLength) return undefined
    const [, body, signature] = /^tht_([\w-]+)\.([\w-]{43})$/.exec(token) ?? []
    if (!body || !signature || !timingSafeEqual(Buffer.from(signature), Buffer.from(this.#sign(body)))) return undefined
    const [login, user, expires] = JSON.parse(Buffer.from(body, 'base64url').toString()) as [string, string, number]
    const entry = this.#byLogin.get(login)
    if (!entry || entry.user !== user || this.#options.now() >= expires || !this.isAlive(login)) return undefined
    return { login, user, stamp: entry.stamp }
  }

  /** Ends what was not used for too long, and tells of those whose page has not renewed its token in time. */
  sweep(): void {
    const now = this.#options.now()
    for (const entry of [...this.#byLogin.values()]) {
      if (this.#isOver(entry, now)) this.end(entry.login)
      else if (entry.aliveUntil > 0 && now >= entry.aliveUntil) {
        entry.aliveUntil = 0
        this.#options.ended(entry.login)
      }
    }
  }

  #read(): Entry[] {
    const { path, incidents } = this.#options
    try {
      const text = readWholeSync(path)
      if (text === undefined) return []
      const { logins } = JSON.parse(text.toString('utf8')) as { logins: Entry[] }
      return logins
        .filter(isEntry)
        .slice(0, maxLogins)
        .map(({ login, hash, user, stamp, used, began, address, agent }) => {
          const from = { address: textOf(address), agent: textOf(agent) }
          // Older versions did not keep when a login began.
          return {
            login,
            hash,
            user,
            stamp,
            used,
            began: Number.isFinite(began) ? began : used,
            ...from,
            aliveUntil: 0,
          }
        })
    } catch (error) {
      incidents?.report(
        'logins_damaged',
        `${path} cannot be read (${describe(error)}); people sign in again; ${setAside(path)}`,
      )
      return []
    }
  }

  #expires({ began, used }: Pick<Entry, 'began' | 'used'>): number {
    const { loginMs, maxMs = 0 } = this.#options
    return Math.min(used + loginMs, maxMs > 0 ? began + maxMs : Number.POSITIVE_INFINITY)
  }

  #isOver({ began, used }: Entry, now = this.#options.now()): boolean {
    const { loginMs, maxMs = 0 } = this.#options
    return now >= used + loginMs || (maxMs > 0 && now >= began + maxMs)
  }

  #hasRoom(user: string): boolean {
    return (this.#ofUser.get(user) ?? 0) < maxLoginsOfUser && this.#byLogin.size < maxLogins
  }

  #makeRoom(user: string): void {
    const all = [...this.#byLogin.values()]
    const own = all.filter(entry => entry.user === user)
    const crowd = own.length >= maxLoginsOfUser ? own : all.length >= maxLogins ? all : []
    if (crowd.length > 0) this.end(crowd.reduce((oldest, entry) => (entry.used < oldest.used ? entry : oldest)).login)
  }

  #add(entry: Entry): void {
    this.#byCookie.set(entry.hash, entry)
    this.#byLogin.set(entry.login, entry)
    this.#ofUser.set(entry.user, (this.#ofUser.get(entry.user) ?? 0) + 1)
  }

  #sign(body: string): string {
    return createHmac('sha256', this.#key).update(body).digest('base64url')
  }

  /** A login that ended must not come back with the next start. */
  #changed(): void {
    this.#dirty = true
    this.#save()
  }

  #save(): void {
    if (!this.#dirty || this.#queued) return
    this.#queued = true
    this.#saving = this.#saving
      .then(() => {
        // As it is now that its turn has come: many changes are one write.
        this.#queued = false
        this.#dirty = false
        return replaceFile(this.#options.path, this.#text())
      })
      .catch(() => {
        this.#dirty = true
      })
  }

  #text(): string {
    const logins = [...this.#byLogin.values()].map(({ aliveUntil: _, ...kept }) => kept)
    return `${JSON.stringify({ logins })}\n`
  }
}

/** A user name is 64 characters at most. */
const maxTokenLength = 512

function hashOf(cookie: string): string {
  return createHash('sha256').update(cookie).digest('base64url')
}

const nowhere = { address: '', agent: '' }

const maxAgentLength = 200

const textOf = (given: unknown) => (typeof given === 'string' ? given.slice(0, maxAgentLength) : '')

/** What a file says may be anything. */
function isEntry({ login, hash, user, stamp, used }: Entry): boolean {
  return [login, hash, user, stamp].every(text => typeof text === 'string') && Number.isFinite(used)
}
