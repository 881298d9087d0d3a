import { readFileSync } from 'node:fs'
import { isIPv4 } from 'node:net'
import { replaceFile } from '../disk/replace-file.js'
import { Networks, sourceOf } from '../runtime/addresses.js'
import type { Part } from '../runtime/lifecycle.js'

/** A source whose passwords are not verified. Times in milliseconds since the epoch. */
export interface Ban {
  /** An IPv4 address, or the first 64 bits of IPv6 addresses. */
  readonly source: string
  readonly since: number
  readonly until: number
  /** How often it has been banned; each time lasts twice as long as the time before. */
  readonly times: number
}

export interface BansOptions {
  /** A file that keeps bans over a restart. */
  readonly path: string
  /** Failures of one source within ten minutes, the last of which gets it banned. */
  readonly failures: number
  /** How long the first ban of a source lasts, in milliseconds; 0: none is ever banned. */
  readonly firstMs: number
  /** Addresses and networks that are never banned, beside those of this machine: proxies, behind which everybody is. */
  readonly exempt: readonly string[]
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** A source was banned; or let go by an operator, when `lifted`. */
  readonly changed: (ban: Ban, lifted: boolean) => void
}

const windowMs = 600_000
const maxBanMs = 864e5

/** After its end a ban is remembered for so long: the next one is longer. */
const rememberMs = 7 * 864e5

/** Sources with failures, and sources with bans, that are remembered; past it the oldest goes. */
const maxSources = 10_000

const saveEveryMs = 5_000

/**
 * Bans sources that fail again and again, each time for twice as long, up to a day. A ban is about guessing: what cannot
 * be guessed (a certificate, an API key, a login) still lets in, and so does a password of a user who has come from there
 * before. This machine and trusted proxies are never banned.
 */
export class Bans implements Part {
  readonly name = 'bans'
  readonly #options: BansOptions
  readonly #exempt: Networks
  /** The one that failed longest ago first. */
  readonly #failures = new Map<string, { count: number; since: number }>()
  /** The one banned longest ago first. */
  readonly #bans = new Map<string, Ban>()
  #dirty = false
  #timer: NodeJS.Timeout | undefined
  #saving: Promise<void> = Promise.resolve()

  constructor(options: BansOptions) {
    this.#options = options
    this.#exempt = new Networks([...options.exempt, '127.0.0.0/8', '::1'])
  }

  /** A file that is missing or damaged holds no bans. */
  start(): void {
    for (const ban of readBans(this.#options.path)) this.#bans.set(ban.source, ban)
    this.#timer = setInterval(() => this.#save(), saveEveryMs).unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#save()
    await this.#saving
  }

  /** Something that can be guessed was wrong. */
  failed(address: string): void {
    const { failures, firstMs, now } = this.#options
    if (firstMs === 0 || this.#exempt.has(address)) return
    const source = sourceOf(address)
    const at = now()
    if (this.#isBanned(source, at)) return
    const known = this.#failures.get(source)
    const isRecent = known !== undefined && at - known.since < windowMs
    const count = isRecent ? known.count + 1 : 1
    this.#failures.delete(source)
    if (count < failures) {
      this.#failures.set(source, { count, since: isRecent ? known.since : at })
      if (this.#failures.size > maxSources) this.#failures.delete(this.#failures.keys().next().value as string)
      return
    }
    const before = this.#bans.get(source)
    const times = (before && at < before.until + rememberMs ? before.times : 0) + 1
    const ban = { source, since: at, until: at + Math.min(maxBanMs, firstMs * 2 ** Math.min(30, times - 1)), times }
    this.#bans.delete(source)
    this.#bans.set(source, ban)
    if (this.#bans.size > maxSources) this.#bans.delete(this.#bans.keys().next().value as string)
    this.#dirty = true
    this.#options.changed(ban, false)
  }

  /** For how many milliseconds an address is still banned; 0: it is not. */
  leftMs(address: string): number {
    if (this.#bans.size === 0) return 0
    const ban = this.#bans.get(sourceOf(address))
    return ban ? Math.max(0, ban.until - this.#options.now()) : 0
  }

  /** Bans that hold now, the latest first. */
  list(): readonly Ban[] {
    const now = this.#options.now()
    return [...this.#bans.values()].filter(({ until }) => until > now).reverse()
  }

  /** Ends the ban of an address or a source as the list shows it, and forgets its failures. False: there is none. */
  lift(given: string): boolean {
    const source = this.#bans.has(given) ? given : sourceOf(given)
    const ban = this.#bans.get(source)
    this.#failures.delete(source)
    this.#bans.delete(source)
    if (!ban) return false
    this.#dirty = true
    this.#save()
    this.#options.changed(ban, true)
    return ban.until > this.#options.now()
  }

  #isBanned(source: string, now: number): boolean {
    const ban = this.#bans.get(source)
    return ban !== undefined && ban.until > now
  }

  #save(): void {
    if (!this.#dirty) return
    this.#dirty = false
    const now = this.#options.now()
    for (const { source, until } of this.#bans.values()) if (until + rememberMs < now) this.#bans.delete(source)
    const text = `${JSON.stringify({ bans: [...this.#bans.values()] })}\n`
    this.#saving = this.#saving
      .then(() => replaceFile(this.#options.path, text))
      .catch(() => {
        this.#dirty = true
      })
  }
}

/** The bans of a file, as far as they are ones. */
function readBans(path: string): Ban[] {
  try {
    const { bans } = JSON.parse(readFileSync(path, 'utf8')) as { bans: Ban[] }
    return bans.filter(isBan).slice(-maxSources)
  } catch {
    return []
  }
}

function isBan({ source, since, until, times }: Ban): boolean {
  const isSource = typeof source === 'string' && (isIPv4(source) || /^[\da-f:]{1,40}$/.test(source))
  return isSource && [since, until, times].every(Number.isFinite) && times >= 1
}
