import { readOrSetAside } from '../disk/damaged.js'
import { StateFile } from '../disk/state-file.js'
import { HubError } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { sourceOf } from '../runtime/addresses.js'
import type { MillisecondClock } from '../runtime/time.js'

/** Kinds of names that an administrator can ban. */
export type ExcludedKind = 'client' | 'user' | 'address'

/** A ban that an administrator has imposed. Times are milliseconds since the epoch. */
export interface Exclusion {
  readonly kind: ExcludedKind
  /** A client id, a user name, or a source of connections: an IPv4 address, or the first 64 bits of IPv6 addresses. */
  readonly name: string
  readonly since: number
  readonly until: number
  /** Administrator who has imposed the ban. */
  readonly by: string
}

/** Most bans at a time. */
const most = 1_000

/** Bans of client ids, users and addresses that administrators have imposed, each until a time. Kept over a restart. */
export class Exclusions {
  readonly #path: string
  readonly #clock: MillisecondClock
  readonly #all = new Map<string, Exclusion>()
  readonly #file: StateFile

  readonly #incidents: Pick<IncidentReporter, 'report'> | undefined

  /** @param incidents Told when the file of the bans cannot be read. */
  constructor(path: string, clock: MillisecondClock, incidents?: Pick<IncidentReporter, 'report'>) {
    this.#path = path
    this.#clock = clock
    this.#incidents = incidents
    this.#file = new StateFile(path, () => `${JSON.stringify({ bans: this.list() })}\n`)
  }

  /** Loads the bans. A damaged file is reported and set aside, and counts as none. */
  start(): void {
    const bans = readOrSetAside(
      this.#path,
      text => (JSON.parse(text) as { readonly bans: readonly Exclusion[] }).bans.filter(isExclusion).slice(0, most),
      'the bans of administrators have ended; impose them again',
      sentence => this.#incidents?.report('bans_damaged', sentence),
    )
    for (const ban of bans ?? []) this.#all.set(keyOf(ban.kind, ban.name), ban)
  }

  stop(): Promise<void> {
    return this.#file.stop()
  }

  /** Adds a ban, or replaces the one of the same name. Throws `too_many` beyond a thousand. */
  impose(kind: ExcludedKind, given: string, forMs: number, by: string): Exclusion {
    const name = kind === 'address' ? sourceOf(given) : given
    const since = this.#clock.now()
    const ban = { kind, name, since, until: since + forMs, by }
    const key = keyOf(kind, name)
    if (!this.#all.has(key) && this.list().length >= most)
      throw new HubError('too_many', `there are ${most} bans; lift some that are no longer needed`)
    this.#all.set(key, ban)
    this.#saved()
    return ban
  }

  /** Ends a ban. Returns whether there was one. */
  lift(kind: ExcludedKind, given: string): boolean {
    const name = kind === 'address' ? sourceOf(given) : given
    const isThere = this.#all.delete(keyOf(kind, name))
    if (isThere) this.#saved()
    return isThere
  }

  /** Bans that hold now, in the order in which they were imposed. */
  list(): readonly Exclusion[] {
    const now = this.#clock.now()
    for (const [key, { until }] of this.#all) if (until <= now) this.#all.delete(key)
    return [...this.#all.values()]
  }

  /** Whether connections from an address are refused. */
  hasAddress(address: string): boolean {
    return this.#all.size > 0 && this.#holds('address', sourceOf(address))
  }

  /** Returns why a client of a user may not connect. Undefined: no ban says so. */
  fault(user: string, clientId: string): string | undefined {
    if (this.#all.size === 0) return undefined
    if (this.#holds('client', clientId)) return 'an administrator has banned this client id'
    return user !== '' && this.#holds('user', user) ? 'an administrator has banned this user' : undefined
  }

  #holds(kind: ExcludedKind, name: string): boolean {
    const ban = this.#all.get(keyOf(kind, name))
    return ban !== undefined && ban.until > this.#clock.now()
  }

  #saved(): void {
    this.#file.changed()
    this.#file.save()
  }
}

const keyOf = (kind: ExcludedKind, name: string) => `${kind} ${name}`

function isExclusion({ kind, name, since, until, by }: Exclusion): boolean {
  return (
    ['client', 'user', 'address'].includes(kind) &&
    [name, by].every(one => typeof one === 'string') &&
    [since, until].every(Number.isFinite)
  )
}
