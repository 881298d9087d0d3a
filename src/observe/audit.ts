import { sourceOf } from '../runtime/addresses.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { AuditEvent } from './audit-chain.js'

/** Receives the events for the audit log. */
export interface Auditor {
  /** Always writes a line: for actions of an authenticated admin or operator, or of the hub. */
  record(event: AuditEvent): void
  /**
   * Writes a line for the first events of a kind, reason and source, and a sum for the others: for events that
   * unauthenticated clients and devices can cause as often as they like. `reason` and `result` must be constants of the
   * code.
   */
  repeated(event: AuditEvent): void
}

/** Keeps the lines. Implemented by `AuditLog`. */
export interface AuditSink {
  append(event: AuditEvent): void
}

export interface AuditOptions {
  readonly log: AuditSink
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  /** Length of the window over which events are summed up, in milliseconds. */
  readonly windowMs?: number
}

/** Most events of one kind and source that get a line of their own in each window. */
const firstOfKind = 5

/** Most sums kept apart; further sources share one sum for each kind. */
const maxSums = 1_000

/** Most sums of one kind that get a line at the end of a window; the smaller ones share a line. */
const maxSumLines = 10

const defaultWindowMs = 600_000

interface Sum {
  readonly event: AuditEvent
  /** Events with a line of their own. */
  written: number
  /** Events without one. */
  count: number
  readonly since: number
  readonly sources: Set<string>
}

/** The sums of one window, and a budget of lines for single events that fills up again. */
interface AuditLane {
  readonly sums: Map<string, Sum>
  readonly burst: number
  readonly perMinute: number
  left: number
  at: number
}

const lane = (burst: number, perMinute: number): AuditLane => ({
  sums: new Map(),
  burst,
  perMinute,
  left: burst,
  at: 0,
})

/**
 * Decides which events become lines of the audit log. A flood of refusals from any number of sources becomes a few
 * hundred lines in ten minutes, with exact counts, so that the flood neither fills the disk nor pushes out earlier
 * events.
 */
export class Audit implements Part, Auditor {
  readonly name = 'audit'
  readonly #options: AuditOptions
  /** A flood of refusals must not use up the lines of logins. */
  readonly #lanes = { login: lane(1_000, 60), other: lane(200, 20) }
  #timer: NodeJS.Timeout | undefined

  constructor(options: AuditOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = setInterval(() => this.#sumUp(), this.#options.windowMs ?? defaultWindowMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#sumUp()
  }

  record(event: AuditEvent): void {
    this.#options.log.append(event)
  }

  repeated(event: AuditEvent): void {
    const { event: kind, result, reason = '', user = '', address = '' } = event
    const source = sourceOf(address)
    const ofKind = `${kind} ${result} ${reason}`
    // Unauthenticated clients choose the names they try, so only names of successful logins separate sums.
    const own = `${ofKind} ${result === 'ok' ? user : ''} ${source}`
    const lane = kind === 'login' && result === 'ok' ? this.#lanes.login : this.#lanes.other
    const { sums } = lane
    const key = sums.has(own) || sums.size < maxSums ? own : ofKind
    const now = this.#options.clock.now()
    let sum = sums.get(key)
    if (!sum) {
      sum = { event, written: 0, count: 0, since: now, sources: new Set() }
      sums.set(key, sum)
    }
    if (sum.sources.size < maxSums) sum.sources.add(source)
    if (sum.written < firstOfKind && take(lane, now)) {
      sum.written++
      this.#options.log.append(event)
    } else sum.count++
  }

  /** Ends a window: the largest sums of each kind get a line each. */
  #sumUp(): void {
    for (const { sums } of Object.values(this.#lanes)) {
      this.#write(sums.values())
      sums.clear()
    }
  }

  #write(all: Iterable<Sum>): void {
    const kinds = new Map<string, Sum[]>()
    for (const sum of all) {
      if (sum.count === 0) continue
      const { event, result, reason = '' } = sum.event
      const key = `${event} ${result} ${reason}`
      const alike = kinds.get(key)
      if (alike) alike.push(sum)
      else kinds.set(key, [sum])
    }
    for (const sums of kinds.values()) {
      sums.sort((a, b) => b.count - a.count)
      for (const { event, count, since, sources } of sums.slice(0, maxSumLines)) {
        if (sources.size > 1) this.#append(event, count, since, sources.size)
        else this.#options.log.append({ ...event, count, since: new Date(since).toISOString() })
      }
      const [next, ...others] = sums.slice(maxSumLines)
      if (!next) continue
      const rest = [next, ...others]
      const sources = new Set(rest.flatMap(sum => [...sum.sources]))
      this.#append(
        next.event,
        rest.reduce((total, { count }) => total + count, 0),
        Math.min(...rest.map(({ since }) => since)),
        sources.size,
      )
    }
  }

  /** Appends a line for many sources, without the fields that hold for the first of them only. */
  #append({ event, result, reason, via }: AuditEvent, count: number, since: number, sources: number): void {
    const detail = `from ${sources} sources together`
    this.#options.log.append({ event, result, reason, via, detail, count, since: new Date(since).toISOString() })
  }
}

function take(lane: AuditLane, now: number): boolean {
  const minutes = Math.max(0, now - lane.at) / 60_000
  lane.left = Math.min(lane.burst, lane.left + minutes * lane.perMinute)
  lane.at = now
  if (lane.left < 1) return false
  lane.left--
  return true
}
