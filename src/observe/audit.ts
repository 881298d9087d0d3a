import { sourceOf } from '../runtime/addresses.js'
import type { Part } from '../runtime/lifecycle.js'
import type { AuditEvent } from './audit-chain.js'

/** What is told of what happened. */
export interface Auditor {
  /** Always a line: for what an authenticated admin or operator does, or the hub itself. */
  record(event: AuditEvent): void
  /**
   * A line for the first of its kind, reason and source, and a sum for the others: for what strangers and devices cause
   * as often as they like. `reason` and `result` must be constants of the code.
   */
  repeated(event: AuditEvent): void
}

export interface AuditOptions {
  readonly append: (event: AuditEvent) => void
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** How long is summed up, in milliseconds. */
  readonly windowMs?: number
}

/** Events of one kind and source that get a line of their own in each window. */
const firstOfKind = 5

/** Sums that are kept apart; those of more sources are one sum for each kind. */
const maxSums = 1_000

/** Sums of one kind that get a line at the end of a window; the smaller ones share a line. */
const maxSumLines = 10

const defaultWindowMs = 600_000

interface Sum {
  readonly event: AuditEvent
  /** With a line of their own. */
  written: number
  /** Without. */
  count: number
  readonly since: number
  readonly sources: Set<string>
}

/** The sums of one window, and a budget of lines for single events that fills up again. */
interface Lane {
  readonly sums: Map<string, Sum>
  readonly burst: number
  readonly perMinute: number
  left: number
  at: number
}

const lane = (burst: number, perMinute: number): Lane => ({ sums: new Map(), burst, perMinute, left: burst, at: 0 })

/**
 * Decides what becomes a line of the audit log: a flood of refusals from any number of sources is a few hundred lines in
 * ten minutes, with counts that are exact, so that it neither fills the disk nor drives out what happened before.
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
    this.#options.append(event)
  }

  repeated(event: AuditEvent): void {
    const { event: kind, result, reason = '', user = '', address = '' } = event
    const source = sourceOf(address)
    const ofKind = `${kind} ${result} ${reason}`
    // Strangers choose the names they try; who has been let in is who it is.
    const own = `${ofKind} ${result === 'ok' ? user : ''} ${source}`
    const lane = kind === 'login' && result === 'ok' ? this.#lanes.login : this.#lanes.other
    const { sums } = lane
    const key = sums.has(own) || sums.size < maxSums ? own : ofKind
    const now = this.#options.now()
    let sum = sums.get(key)
    if (!sum) {
      sum = { event, written: 0, count: 0, since: now, sources: new Set() }
      sums.set(key, sum)
    }
    if (sum.sources.size < maxSums) sum.sources.add(source)
    if (sum.written < firstOfKind && take(lane, now)) {
      sum.written++
      this.#options.append(event)
    } else sum.count++
  }

  /** The end of a window: the largest sums of each kind get a line each. */
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
        else this.#options.append({ ...event, count, since: new Date(since).toISOString() })
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

  /** A line for many sources: without what only the first of them was. */
  #append({ event, result, reason, via }: AuditEvent, count: number, since: number, sources: number): void {
    const detail = `from ${sources} sources together`
    this.#options.append({ event, result, reason, via, detail, count, since: new Date(since).toISOString() })
  }
}

function take(lane: Lane, now: number): boolean {
  const minutes = Math.max(0, now - lane.at) / 60_000
  lane.left = Math.min(lane.burst, lane.left + minutes * lane.perMinute)
  lane.at = now
  if (lane.left < 1) return false
  lane.left--
  return true
}
