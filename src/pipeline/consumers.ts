import { setTimeout as sleep } from 'node:timers/promises'
import { type Consumer, consume, type DeadLetters } from '../queue/queue.js'
import type { Dependencies, Dependency, Waiting } from './dependencies.js'

export interface ConsumersOptions {
  readonly dependencies: Dependencies
  readonly dead: DeadLetters
  /** What each consumer takes from where and does with it. */
  readonly consumers: readonly Pick<
    Consumer,
    'name' | 'reader' | 'suspects' | 'handle' | 'batch' | 'restMs' | 'ledger'
  >[]
  /** Messages each cursor of the spool has yet to pass. */
  readonly lag: () => Readonly<Record<string, number>>
  readonly deadLettered: (reason: string) => void
  readonly now: () => number
}

/** What the processor says of itself. */
export interface ProcessorStatus {
  readonly dependencies: readonly Dependency[]
  readonly waiting: readonly Waiting[]
  readonly lag: Readonly<Record<string, number>>
  /** By the target's name: how often it has failed since it last worked. */
  readonly failures: Readonly<Record<string, number>>
}

const drainPollMs = 20

/** Runs the consumers: everything that is done with messages behind the spool. */
export class Consumers {
  readonly name = 'processor'
  readonly #options: ConsumersOptions
  readonly #abort = new AbortController()
  #running: Promise<void>[] = []

  constructor(options: ConsumersOptions) {
    this.#options = options
  }

  start(): void {
    const { dependencies, consumers, dead, now, deadLettered } = this.#options
    const counted: DeadLetters = {
      list: (filter, limit) => dead.list(filter, limit),
      sweep: (filter, handle, signal) => dead.sweep(filter, handle, signal),
      put: async letters => {
        await dead.put(letters)
        for (const { reason } of letters) deadLettered(reason)
      },
    }
    // All of them before the first message is handled: each asks whether another one is looking.
    for (const { suspects } of consumers) suspects?.start()
    this.#running = consumers.map(consumer =>
      consume(
        {
          ...consumer,
          dead: counted,
          now,
          circuitOf: error => dependencies.circuitOf(error),
          retrying: (error, circuit) => dependencies.retrying(consumer.name, error, circuit),
          recovered: () => dependencies.recovered(consumer.name),
        },
        this.#abort.signal,
      ),
    )
  }

  /** Resolves when nothing in the spool waits any more but for a target that is down, or after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    const { lag, dependencies } = this.#options
    const deadline = performance.now() + timeoutMs
    const isOver = () => {
      const stuck = new Set(dependencies.waiting().map(({ consumer }) => consumer))
      return Object.entries(lag()).every(([consumer, left]) => left === 0 || stuck.has(consumer))
    }
    while (!isOver() && performance.now() < deadline) await sleep(drainPollMs)
  }

  /** What is under way is not settled and comes again. */
  async stop(): Promise<void> {
    this.#abort.abort()
    await Promise.all(this.#running)
    for (const { suspects } of this.#options.consumers) suspects?.stop()
  }

  status(): ProcessorStatus {
    const { dependencies, lag } = this.#options
    return {
      dependencies: dependencies.list(),
      waiting: dependencies.waiting(),
      lag: lag(),
      failures: dependencies.failures(),
    }
  }
}
