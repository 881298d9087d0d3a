import type { Part } from '../runtime/lifecycle.js'
import { increment } from './counters.js'

/** The reasons for which publishes of one client were refused, with how many for each. */
export interface ClientRefusals {
  readonly clientId: string
  readonly reasons: Readonly<Record<string, number>>
}

/** Enters refused publishes into the balance sheet. */
export interface RefusalSink {
  /** False while the counts must be kept, as there is nothing to enter them into. */
  readonly isUp: boolean
  enterRefusals(refusals: readonly ClientRefusals[]): void
}

/** Refused publishes by client, sent to the balance sheet once a second. */
export class RefusalCounts implements Part {
  readonly name = 'refusals'
  readonly #sink: RefusalSink
  #clients = new Map<string, Map<string, number>>()
  #timer: NodeJS.Timeout | undefined

  constructor(sink: RefusalSink) {
    this.#sink = sink
  }

  start(): void {
    this.#timer = setInterval(() => this.#flush(), 1_000)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#flush()
  }

  add(clientId: string, reason: string): void {
    // Clients that come with a new id each time are counted together, without an id.
    const client = this.#clients.size < 10_000 ? clientId : ''
    const reasons = this.#clients.get(client)
    if (reasons) increment(reasons, reason)
    else this.#clients.set(client, new Map([[reason, 1]]))
  }

  #flush(): void {
    if (this.#clients.size === 0 || !this.#sink.isUp) return
    this.#sink.enterRefusals(
      [...this.#clients].map(([clientId, reasons]) => ({ clientId, reasons: Object.fromEntries(reasons) })),
    )
    this.#clients = new Map()
  }
}
