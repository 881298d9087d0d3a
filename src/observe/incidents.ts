import { dropOldest } from '../runtime/drop-oldest.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { SentenceLog } from './log.js'
import { rateLimited } from './log.js'

/** Messages and bytes known to be lost; a number that is not known is left out. */
export interface Loss {
  readonly messages?: number
  readonly bytes?: number
}

/** Accepts reports of damage. Implemented by `Incidents`; other threads forward their reports to the thread of that. */
export interface IncidentReporter {
  /**
   * @param kind Groups reports: `spool_damaged`, `clock_jump`. A constant of the code, never text from outside.
   * @param sentence For an operator: which file or series, what happened, what to do.
   * @param lost Left out when nothing is lost, or when the amount cannot be known.
   */
  report(kind: string, sentence: string, lost?: Loss): void
}

/** All reports of one kind since the hub started. Times in milliseconds since the epoch. */
export interface Incident {
  readonly kind: string
  readonly count: number
  readonly first: number
  readonly last: number
  /** The latest sentence. */
  readonly detail: string
  /** Sums over all reports of this kind. */
  readonly lost: Required<Loss>
}

/** Adds lost messages to the balance sheet, which is kept over restarts. */
export interface LossSink {
  enterLost(messages: number): void
}

export interface IncidentsOptions {
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  readonly log: Pick<SentenceLog, 'warn'>
}

/** Most kinds. Kinds are constants of the code, so this limit is never reached unless a kind is made from text. */
const maxKinds = 100

/**
 * Damage found and repaired: state that was lost, truncated or set aside, and clocks that jumped. An alarm ends with
 * the cause; an incident stays listed until the hub is restarted.
 */
export class Incidents implements Part, IncidentReporter {
  readonly name = 'incidents'
  readonly #options: IncidentsOptions
  readonly #kinds = new Map<string, Incident>()
  readonly #warn: (sentence: string) => void
  #sink: LossSink | undefined
  #started = false
  /** Lost messages reported before the balance sheet could count them. */
  #untold = 0

  constructor(options: IncidentsOptions) {
    this.#options = options
    this.#warn = rateLimited(sentence => options.log.warn(sentence))
  }

  /** Sets where losses go from the start on. */
  enterInto(sink: LossSink): void {
    this.#sink = sink
  }

  /** Called when the balance sheet is ready: adds the losses reported before. */
  start(): void {
    this.#started = true
    if (this.#untold > 0) this.#sink?.enterLost(this.#untold)
    this.#untold = 0
  }

  stop(): void {}

  report(kind: string, sentence: string, { messages = 0, bytes = 0 }: Loss = {}): void {
    const now = this.#options.clock.now()
    const known = this.#kinds.get(kind)
    const lost = { messages: (known?.lost.messages ?? 0) + messages, bytes: (known?.lost.bytes ?? 0) + bytes }
    // The latest kind is last.
    this.#kinds.delete(kind)
    this.#kinds.set(kind, {
      kind,
      count: (known?.count ?? 0) + 1,
      first: known?.first ?? now,
      last: now,
      detail: sentence,
      lost,
    })
    dropOldest(this.#kinds, maxKinds)
    this.#warn(sentence)
    if (messages === 0) return
    if (this.#started) this.#sink?.enterLost(messages)
    else this.#untold += messages
  }

  /** The incidents, the latest kind first. */
  list(): readonly Incident[] {
    return [...this.#kinds.values()].reverse()
  }
}
