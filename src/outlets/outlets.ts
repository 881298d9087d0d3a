import { existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, HubError } from '../errors.js'
import type { DeadLetter, Message, Outcome } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Suspects } from '../queue/suspects.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { OutletBalance } from './account.js'
import { type OutletCursor, type OutletDeadCounts, OutletRunner, type OutletState } from './outlet-runner.js'
import type { OutletPlan } from './plan.js'
import { isBeyond, skipTarget } from './skip-policy.js'

export { type OutletPlan, readOutlets } from './plan.js'

/** The reading side of the spool, for outlets. */
export interface OutletSpool {
  /** The last sequence number in the spool. */
  readonly accepted: number
  readonly cursors: {
    reader(group: string): OutletCursor
    readonly groups: readonly string[]
    /** The segments, the oldest first; see `Segment` of the spool. */
    readonly list: readonly { readonly segment: number; readonly bytes: number; readonly before: number }[]
    bytesBehind(group: string): number
    /** Deletes segments that nobody needs any more. */
    deletePassed(): void
  }
}

/** Makes what finds messages that crash the process. */
export interface OutletSuspects {
  of(name: string, batch: number, reason: string | undefined): Suspects
}

export interface OutletsOptions {
  readonly plans: readonly OutletPlan[]
  /** Has a directory for each outlet. */
  readonly dir: string
  readonly hubId: string
  readonly spool: OutletSpool
  /** Limit of the spool, in bytes. */
  readonly spoolLimit: number
  readonly suspects: OutletSuspects
  readonly counts: OutletDeadCounts
  readonly clock: MicrosecondClock
  readonly log: SentenceLog
  readonly incidents: IncidentReporter
}

/** An outlet, for people. Times in milliseconds since the epoch. */
export interface OutletStatus extends OutletState {
  readonly name: string
  readonly kind: string
  readonly target: string
  readonly topics: readonly string[]
  readonly exclude: readonly string[]
  readonly whenFull: 'wait' | 'skip'
  /** Bytes of the spool from the outlet's place on. */
  readonly bytesBehind: number
  /** When the first of the messages in hand was received. Undefined while none is. */
  readonly oldest: number | undefined
  readonly balance: OutletBalance
  /** Dead letters that wait for an operator. */
  readonly dead: { readonly letters: number; readonly bytes: number; readonly limit: number }
}

/** A target, and whether messages are taken. Times in milliseconds since the epoch. */
export interface OutletDependency {
  readonly name: string
  readonly state: 'up' | 'down'
  readonly detail?: string
  readonly since?: number
  readonly retryAt?: number
}

/** Returns the name of the cursor of an outlet. */
export const cursorOf = (name: string) => `outlet-${name}`

const checkEveryMs = 250

/** Share of the spool's limit that one outlet may hold without an alarm. */
const heldShare = 0.5

/** Time for which a target may be away without an alarm, in milliseconds. */
const awayMs = 300_000

/** All outlets. One that is stuck holds up no other, and no device while the spool has room. */
export class Outlets implements Part {
  readonly name = 'outlets'
  readonly #options: OutletsOptions
  readonly #runners = new Map<string, OutletRunner>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: OutletsOptions) {
    const { plans, dir, suspects } = options
    this.#options = options
    for (const plan of plans) {
      const ofOutlet = suspects.of(cursorOf(plan.name), plan.target.batch, 'poison')
      const runner = new OutletRunner({ ...options, plan, dir: join(dir, plan.name), suspects: ofOutlet })
      this.#runners.set(plan.name, runner)
    }
  }

  /** Names of the cursors, and of those among them that begin at the end of the spool when they are new. */
  get groups(): { readonly all: readonly string[]; readonly atEnd: readonly string[] } {
    const { plans } = this.#options
    const named = (some: readonly OutletPlan[]) => some.map(({ name }) => cursorOf(name))
    return { all: named(plans), atEnd: named(plans.filter(({ from }) => from === 'now')) }
  }

  async start(): Promise<void> {
    this.#forgetOthers()
    const { cursors, accepted } = this.#options.spool
    for (const [name, runner] of this.#runners) await runner.start(cursors.reader(cursorOf(name)), accepted)
    if (this.#runners.size > 0) this.#timer = setInterval(() => this.#makeRoom(), checkEveryMs)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all([...this.#runners.values()].map(runner => runner.stop()))
  }

  /** Removes what is kept of outlets that are not in the settings any more. Their dead letters stay. */
  #forgetOthers(): void {
    const { dir, log } = this.#options
    const names = existsSync(dir) ? readdirSync(dir) : []
    for (const name of names.filter(name => !this.#runners.has(name))) {
      try {
        this.#forget(name)
      } catch (error) {
        log.warn(`outlet ${name} is not in the settings any more, but cannot be removed: ${describe(error)}`)
      }
    }
  }

  #forget(name: string): void {
    const { dir, log } = this.#options
    const dead = join(dir, name, 'dead')
    const hasLetters = existsSync(dead) && readdirSync(dead).some(file => statSync(join(dead, file)).size > 0)
    const wasThere = existsSync(join(dir, name, 'account'))
    for (const file of ['account', 'outlet.json']) rmSync(join(dir, name, file), { force: true })
    if (!hasLetters) rmSync(join(dir, name), { recursive: true, force: true })
    if (wasThere)
      log.warn(
        `outlet ${name} is not in the settings any more: its place in the spool is given up` +
          (hasLetters ? `; its dead letters are still in ${dead}` : ''),
      )
  }

  /** Hears of numbers of the spool that will not come. */
  passed(group: string, to: number, damaged: boolean): void {
    for (const [name, runner] of this.#runners) if (cursorOf(name) === group) runner.passed(to, damaged)
  }

  /** Throws `not_found` for a name that no outlet has. */
  pause(name: string, paused: boolean): void {
    this.#runner(name).pause(paused)
  }

  /** Returns the dead letters of an outlet. Throws `not_found` for a name that no outlet has. */
  dead(name: string): OutletRunner['dead'] {
    return this.#runner(name).dead
  }

  /** Hands dead letters to their outlet again, and to nobody else. */
  redeliver(name: string, messages: readonly Message[]): Promise<readonly Outcome[]> {
    return this.#runner(name).redeliver(messages)
  }

  /** Enters dead letters into the account of their outlet that are none any more. */
  moved(name: string, letters: readonly DeadLetter[], to: 'stored' | 'dropped'): void {
    this.#runner(name).moved(letters, to)
  }

  #runner(name: string): OutletRunner {
    const runner = this.#runners.get(name)
    if (runner) return runner
    const known = [...this.#runners.keys()].join(', ') || 'none'
    throw new HubError('not_found', `there is no outlet ${JSON.stringify(name.slice(0, 64))}; there are: ${known}`)
  }

  status(): readonly OutletStatus[] {
    const { spool } = this.#options
    return [...this.#runners].map(([name, runner]) => {
      const { kind, target, topics, exclude, whenFull, deadBytes } = runner.plan
      const bytesBehind = spool.cursors.bytesBehind(cursorOf(name))
      const balance = runner.balance(spool.accepted)
      return {
        ...{ name, kind, target: target.shown, topics, exclude, whenFull, ...runner.state, bytesBehind, balance },
        oldest: runner.oldest && runner.oldest / 1_000,
        dead: { letters: runner.dead.count, bytes: runner.dead.bytes, limit: deadBytes },
      }
    })
  }

  /** The targets that are known to work or not, for `/readyz`. */
  dependencies(): readonly OutletDependency[] {
    return [...this.#runners].flatMap(([name, runner]) => {
      const { state, failures: _, ...why } = runner.state
      return state === 'up' || state === 'down' ? [{ name: `outlet ${name}`, state, ...why }] : []
    })
  }

  /** Returns a sentence while an outlet needs somebody; undefined otherwise. */
  alarm(): string | undefined {
    const { spoolLimit, clock } = this.#options
    const now = clock.now()
    for (const { name, bytesBehind, oldest, state, since, detail, dead } of this.status()) {
      const { limit, whenFull } = this.#runner(name).plan
      const why = detail ? ` (${detail})` : state === 'paused' ? ' (it is paused)' : ''
      if (limit && isBeyond(limit, bytesBehind, (oldest ?? Infinity) * 1_000, now))
        return `outlet ${name} is further behind than its limit${why}`
      if (whenFull === 'wait' && bytesBehind > spoolLimit * heldShare)
        return `outlet ${name} holds ${Math.floor((bytesBehind / spoolLimit) * 100)} % of spool.limit${why}; at 100 % publishes are refused: mend it, take it out, or let it skip (whenFull: skip)`
      if (state === 'down' && since !== undefined && now / 1_000 - since > awayMs)
        return `outlet ${name} has been down for ${Math.floor((now / 1_000 - since) / 60_000)} minutes${why}`
      if (dead.bytes > dead.limit * 0.8)
        return `the dead letters of outlet ${name} use ${Math.floor((dead.bytes / dead.limit) * 100)} % of their limit; at 100 % the oldest are deleted: replay or drop some`
    }
    return undefined
  }

  /** Lets outlets skip that are allowed to, as they are too far behind or the spool is nearly full. */
  #makeRoom(): void {
    const { spool, spoolLimit, clock, incidents, log } = this.#options
    const { cursors } = spool
    const skipping = [...this.#runners.values()].filter(({ plan }) => plan.whenFull === 'skip')
    if (skipping.length === 0) return
    const free = new Set(skipping.map(({ plan }) => cursorOf(plan.name)))
    const others = cursors.groups.filter(group => !free.has(group)).map(group => cursors.reader(group).settled.segment)
    for (const runner of skipping) {
      const { name, limit } = runner.plan
      const target = skipTarget({
        segments: cursors.list,
        place: runner.place?.segment ?? Number.POSITIVE_INFINITY,
        others: Math.min(...others),
        bytesBehind: cursors.bytesBehind(cursorOf(name)),
        ...{ limit, spoolLimit, now: clock.now() },
      })
      if (target === undefined) continue
      try {
        const count = runner.skipTo(target)
        incidents.report(
          'outlet_skipped',
          `outlet ${name} was too far behind: it skipped ${count} messages, up to message ${target - 1} (whenFull: skip)`,
        )
      } catch (error) {
        log.warn(`outlet ${name} could not skip: ${describe(error)}`)
      }
    }
    cursors.deletePassed()
  }
}
