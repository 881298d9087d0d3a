import { isIPv4 } from 'node:net'
import { readOrSetAside } from '../disk/damaged.js'
import { StateFile } from '../disk/state-file.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { Networks, sourceOf } from '../runtime/addresses.js'
import { dropOldest } from '../runtime/drop-oldest.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'
import { type ExcludedKind, type Exclusion, Exclusions } from './exclusions.js'

/** Ban of a source, whose passwords are not verified. Times are milliseconds since the epoch. */
export interface Ban {
  /** An IPv4 address, or the first 64 bits of IPv6 addresses. */
  readonly source: string
  readonly since: number
  readonly until: number
  /** Number of bans of this source so far. Each lasts twice as long as the one before. */
  readonly times: number
}

export interface BansOptions {
  /** File that keeps bans over a restart. */
  readonly path: string
  /** Failures of one source within ten minutes that cause a ban. */
  readonly failures: number
  /** Duration of the first ban of a source, in milliseconds; 0: no source is ever banned. */
  readonly firstMs: number
  /**
   * Addresses and networks that are never banned, beside those of this machine: proxies, behind which all clients are.
   */
  readonly exempt: readonly string[]
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  /** Get each ban, and the end of one by an operator. */
  readonly audit: Pick<Auditor, 'repeated'>
  readonly log: Pick<SentenceLog, 'info'>
  /** Told when a file of bans cannot be read. */
  readonly incidents?: Pick<IncidentReporter, 'report'>
}

const windowMs = 600_000
const maxBanMs = 864e5

/** How long a ban is remembered after the end: a further ban within this time lasts longer. */
const rememberMs = 7 * 864e5

/** Maximum number of sources with failures, and of sources with bans. Beyond this, the oldest is forgotten. */
const maxSources = 10_000

const saveEveryMs = 5_000

/**
 * Bans sources that fail again and again, each time for twice as long, up to a day. A ban is against guessing:
 * credentials that cannot be guessed (a certificate, an API key, a login) are still accepted, and so is the password of
 * a user who has authenticated from there before. This machine and trusted proxies are never banned.
 */
export class Bans implements Part {
  readonly name = 'bans'
  readonly #options: BansOptions
  readonly #exempt: Networks
  /** Ordered by last failure, oldest first. */
  readonly #failures = new Map<string, { count: number; since: number }>()
  /** Ordered by last ban, oldest first. */
  readonly #bans = new Map<string, Ban>()
  readonly #file: StateFile
  readonly #imposed: Exclusions

  constructor(options: BansOptions) {
    this.#options = options
    this.#file = new StateFile(options.path, () => this.#text())
    this.#imposed = new Exclusions(options.path.replace(/\.json$/, '.imposed.json'), options.clock, options.incidents)
    this.#exempt = new Networks([...options.exempt, '127.0.0.0/8', '::1'])
  }

  /** Loads the bans. A damaged file is reported and set aside, and counts as none. */
  start(): void {
    const { path, incidents } = this.#options
    const bans = readOrSetAside(
      path,
      text => (JSON.parse(text) as { bans: Ban[] }).bans.filter(isBan).slice(-maxSources),
      'sources that were banned for wrong passwords may try again',
      sentence => incidents?.report('bans_damaged', sentence),
    )
    for (const ban of bans ?? []) this.#bans.set(ban.source, ban)
    this.#file.saveEvery(saveEveryMs)
    this.#imposed.start()
  }

  async stop(): Promise<void> {
    await Promise.all([this.#file.stop(), this.#imposed.stop()])
  }

  /** Counts a wrong password, key or code of this address. */
  failed(address: string): void {
    const { failures, firstMs, clock } = this.#options
    if (firstMs === 0 || this.#exempt.has(address)) return
    const source = sourceOf(address)
    const at = clock.now()
    if (this.#isBanned(source, at)) return
    const known = this.#failures.get(source)
    const isRecent = known !== undefined && at - known.since < windowMs
    const count = isRecent ? known.count + 1 : 1
    this.#failures.delete(source)
    if (count < failures) {
      this.#failures.set(source, { count, since: isRecent ? known.since : at })
      dropOldest(this.#failures, maxSources)
      return
    }
    const before = this.#bans.get(source)
    const times = (before && at < before.until + rememberMs ? before.times : 0) + 1
    const ban = { source, since: at, until: at + Math.min(maxBanMs, firstMs * 2 ** Math.min(30, times - 1)), times }
    this.#bans.delete(source)
    this.#bans.set(source, ban)
    dropOldest(this.#bans, maxSources)
    this.#file.changed()
    this.#report(ban, 'banned')
  }

  /** Returns for how many milliseconds an address is still banned; 0: not banned. */
  leftMs(address: string): number {
    if (this.#bans.size === 0) return 0
    const ban = this.#bans.get(sourceOf(address))
    return ban ? Math.max(0, ban.until - this.#options.clock.now()) : 0
  }

  /** Bans that administrators have imposed. */
  get imposed(): readonly Exclusion[] {
    return this.#imposed.list()
  }

  /** Bans a client id, a user or an address for a time. Throws `bad_request` for this machine and trusted proxies. */
  impose(kind: ExcludedKind, name: string, forMs: number, by: string): Exclusion {
    if (kind === 'address' && this.#exempt.has(name))
      throw new HubError('bad_request', `${name} is this machine or a trusted proxy, behind which others are`)
    return this.#imposed.impose(kind, name, forMs, by)
  }

  /** Ends a ban that an administrator has imposed. Returns whether there was one. */
  liftImposed(kind: ExcludedKind, name: string): boolean {
    return this.#imposed.lift(kind, name)
  }

  /** Whether an administrator has banned an address. */
  excludes(address: string): boolean {
    return this.#imposed.hasAddress(address)
  }

  /** Returns why an administrator lets this client of a user not connect. */
  fault(user: string, clientId: string): string | undefined {
    return this.#imposed.fault(user, clientId)
  }

  /** Bans that hold now, the latest first. */
  list(): readonly Ban[] {
    const now = this.#options.clock.now()
    return [...this.#bans.values()].filter(({ until }) => until > now).reverse()
  }

  /**
   * Ends the ban of an address, or of a source as listed, and forgets the failures. Returns false when there is no ban.
   */
  lift(given: string): boolean {
    const source = this.#bans.has(given) ? given : sourceOf(given)
    const ban = this.#bans.get(source)
    this.#failures.delete(source)
    this.#bans.delete(source)
    if (!ban) return false
    this.#file.changed()
    this.#file.save()
    this.#report(ban, 'lifted')
    return ban.until > this.#options.clock.now()
  }

  #report({ source, until, times }: Ban, result: 'banned' | 'lifted'): void {
    const { audit, log } = this.#options
    const detail =
      result === 'lifted' ? 'by an operator' : `until ${new Date(until).toISOString()}, ban number ${times}`
    log.info(`${result === 'lifted' ? 'ban lifted' : 'banned'}: ${source}, ${detail}`)
    audit.repeated({ event: 'ban', result, address: source, detail })
  }

  #isBanned(source: string, now: number): boolean {
    const ban = this.#bans.get(source)
    return ban !== undefined && ban.until > now
  }

  #text(): string {
    const now = this.#options.clock.now()
    for (const { source, until } of this.#bans.values()) if (until + rememberMs < now) this.#bans.delete(source)
    return `${JSON.stringify({ bans: [...this.#bans.values()] })}\n`
  }
}

function isBan({ source, since, until, times }: Ban): boolean {
  const isSource = typeof source === 'string' && (isIPv4(source) || /^[\da-f:]{1,40}$/.test(source))
  return isSource && [since, until, times].every(Number.isFinite) && times >= 1
}
