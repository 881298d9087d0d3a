import type { Part } from '../runtime/lifecycle.js'
import { increment } from './metrics.js'

/** Refused publishes by client, sent to the processor thread once a second. */
export class RefusalCounts implements Part {
  readonly name = 'refusals'
  readonly #tell: (refusals: { clientId: string; reasons: Record<string, number> }[]) => void
  readonly #isHeard: () => boolean
  #clients = new Map<string, Map<string, number>>()
  #timer: NodeJS.Timeout | undefined

  /** @param isHeard Whether the processor thread runs: until then the counts are kept. */
  constructor(
    tell: (refusals: { clientId: string; reasons: Record<string, number> }[]) => void,
    isHeard: () => boolean,
  ) {
    this.#tell = tell
    this.#isHeard = isHeard
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
    if (this.#clients.size === 0 || !this.#isHeard()) return
    this.#tell([...this.#clients].map(([clientId, reasons]) => ({ clientId, reasons: Object.fromEntries(reasons) })))
    this.#clients = new Map()
  }
}
