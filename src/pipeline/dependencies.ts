import { describe, type ErrorCode, HubError } from '../errors.js'
import type { SentenceLog } from '../observe/log.js'
import { Circuit, type CircuitState } from '../runtime/retry.js'
import type { MillisecondClock } from '../runtime/time.js'

/** A service or device that the hub depends on, and whether it is available. Times in milliseconds since the epoch. */
export interface Dependency {
  readonly name: string
  readonly state: 'up' | 'down' | 'starting'
  /** Host and port of the node in use, where the dependency has several and is up. */
  readonly node?: string
  /** Why the dependency is down, since when, and when it is tried next. */
  readonly detail?: string
  readonly since?: number
  readonly retryAt?: number
}

/** A consumer that cannot continue, and the target that is missing. */
export interface WaitingConsumer {
  readonly consumer: string
  readonly target: string
  readonly detail: string
}

export interface DependenciesOptions {
  /** Names of the targets for people, by key: `store`, `queue`, `disk`. */
  readonly names: Readonly<Partial<Record<Target, string>>>
  /** For people: what happens to arriving messages while a target is down. */
  readonly meanwhile: string
  /** Returns milliseconds since the epoch. */
  readonly clock: MillisecondClock
  readonly log: SentenceLog
}

export type Target = 'store' | 'queue' | 'disk'

/** The unavailable target, by error code. */
const targets: Partial<Record<ErrorCode, Target>> = {
  store_unavailable: 'store',
  queue_unavailable: 'queue',
  queue_clash: 'queue',
  hub_clash: 'queue',
  spool_failed: 'disk',
}

/** A circuit for each target, and the consumers that wait for each. */
export class Dependencies {
  readonly #options: DependenciesOptions
  readonly #circuits = new Map<Target, Circuit>()
  readonly #met = new Set<Target>()
  readonly #nodes = new Map<Target, string>()
  /** Outages that a target has reported before any call to the target failed. */
  readonly #notices = new Map<Target, { readonly detail: string; readonly since: number }>()
  readonly #waiting = new Map<string, WaitingConsumer & { readonly circuit: Circuit | undefined }>()

  constructor(options: DependenciesOptions) {
    this.#options = options
    const { clock } = options
    for (const [key, name] of Object.entries(options.names) as [Target, string][]) {
      this.#circuits.set(key, new Circuit({ key, name, clock, changed: state => this.#changed(state) }))
    }
  }

  circuitOf(error: unknown): Circuit | undefined {
    const target = error instanceof HubError ? targets[error.code] : undefined
    return target && this.#circuits.get(target)
  }

  /** Records a report of the target: available at this node, or not, with the reason. */
  heard(target: Target, up: boolean, detail = 'no reason given', node?: string): void {
    const { clock, log } = this.#options
    const circuit = this.#circuits.get(target)
    const before = this.#nodes.get(target)
    if (node !== undefined && node !== before) {
      this.#nodes.set(target, node)
      if (before !== undefined) log.info(`${circuit?.name ?? target}: at ${node} now, before at ${before}`)
    }
    if (up) {
      this.#met.add(target)
      if (circuit?.isDown) circuit.succeeded()
      else if (this.#notices.delete(target)) log.info(`${circuit?.name ?? target} is back`)
    } else if (!this.#notices.has(target) && !circuit?.isDown) {
      this.#notices.set(target, { detail, since: clock.now() })
      log.warn(`${circuit?.name ?? target} is down: ${detail}; ${this.#options.meanwhile}`)
    }
  }

  /** Called before a consumer waits for a retry. */
  retrying(consumer: string, error: unknown, circuit: Circuit | undefined): void {
    const detail = describe(error)
    const before = this.#waiting.get(consumer)
    this.#waiting.set(consumer, { consumer, target: circuit?.name ?? 'itself', detail, circuit })
    // The circuit logs the failure of a target, once. Any other error is a fault of the hub.
    if (!circuit && before?.detail !== detail) this.#options.log.warn(`${consumer}: ${detail}; retrying`)
  }

  recovered(consumer: string): void {
    this.#waiting.delete(consumer)
  }

  /** Sends a query to a target. Rejects at once while the target is known to be down. */
  async ask<T>(target: Target, question: () => Promise<T>): Promise<T> {
    const circuit = this.#circuits.get(target)
    // A caller that passes a circuit that is down is the one that tests the target.
    const finds = circuit?.isDown ?? false
    if (circuit && !circuit.tryPass()) {
      const detail = circuit.state.detail ?? ''
      const said = { code: 'store-down', values: { name: circuit.name, detail } }
      throw new HubError('store_unavailable', `${circuit.name} is down: ${detail}`, { said })
    }
    try {
      const answer = await question()
      circuit?.succeeded()
      this.#met.add(target)
      return answer
    } catch (error) {
      const isAway = circuit && this.circuitOf(error) === circuit
      if (isAway && (finds || !circuit.isDown)) circuit.failed(error)
      else if (finds) circuit?.released()
      throw error
    }
  }

  /** Whether the target has answered, with no failure known since. */
  isUp(target: Target): boolean {
    return this.#met.has(target) && !this.#notices.has(target) && !this.#circuits.get(target)?.isDown
  }

  list(): readonly Dependency[] {
    return [...this.#circuits]
      .filter(([key, circuit]) => key !== 'disk' || circuit.isDown)
      .map(([key, circuit]) => {
        const notice = this.#notices.get(key)
        if (circuit.isDown) {
          const { name, state, detail = '', since = 0, retryAt = 0 } = circuit.state
          return { name, state, detail, since, retryAt }
        }
        if (notice) return { name: circuit.name, state: 'down', ...notice }
        const node = this.#nodes.get(key)
        return this.#met.has(key)
          ? { name: circuit.name, state: 'up', ...(node !== undefined && { node }) }
          : { name: circuit.name, state: 'starting' }
      })
  }

  /** Returns the number of failures of each target since it last worked; 0 when it works. */
  failures(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#circuits.values()].map(({ name, state }) => [name, state.failures]))
  }

  waiting(): readonly WaitingConsumer[] {
    // A consumer that now waits at an empty queue had no occasion to report that the target works again.
    const stuck = [...this.#waiting.values()].filter(({ circuit }) => circuit?.isDown ?? true)
    return stuck.map(({ consumer, target, detail }) => ({ consumer, target, detail }))
  }

  #changed({ key, name, state, detail }: CircuitState): void {
    const { log } = this.#options
    if (state === 'up') {
      this.#met.add(key as Target)
      this.#notices.delete(key as Target)
      log.info(`${name} is back`)
    } else if (!this.#notices.has(key as Target)) {
      log.warn(`${name} is down: ${detail}; ${this.#options.meanwhile}`)
    }
  }
}
