import { setTimeout as sleep } from 'node:timers/promises'
import { type Consumer, consume, type DeadLetters } from '../queue/queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { Dependencies, Dependency, WaitingConsumer } from './dependencies.js'

/** Counts dead letters. */
export interface DeadLetterCounts {
  deadLettered(reason: string): void
}

/** Knows the number of messages that each cursor of the spool has yet to pass. */
export interface SpoolLag {
  readonly lag: Readonly<Record<string, number>>
}

export interface ConsumersOptions {
  readonly dependencies: Dependencies
  readonly dead: DeadLetters
  /** The source and the handler of each consumer. */
  readonly consumers: readonly Pick<Consumer, 'name' | 'reader' | 'suspects' | 'handle' | 'batch' | 'rest' | 'ledger'>[]
  /** The spool that the consumers drain; undefined where there is none. */
  readonly spool?: SpoolLag
  readonly counts?: readonly DeadLetterCounts[]
  readonly clock: MicrosecondClock
}

/** State that the processor reports. */
export interface ProcessorStatus {
  readonly dependencies: readonly Dependency[]
  readonly waiting: readonly WaitingConsumer[]
  readonly lag: Readonly<Record<string, number>>
  /** Number of failures since the target last worked, by the target's name. */
  readonly failures: Readonly<Record<string, number>>
}

const drainPollMs = 20

/** Runs the consumers: all handling of messages behind the spool. */
export class Consumers {
  readonly name = 'processor'
  readonly #options: ConsumersOptions
  readonly #abort = new AbortController()
  #running: Promise<void>[] = []

  constructor(options: ConsumersOptions) {
    this.#options = options
  }

  start(): void {
    const { dependencies, consumers, dead, clock, counts = [] } = this.#options
    const counted: DeadLetters = {
      list: (filter, limit) => dead.list(filter, limit),
      sweep: (filter, handle, signal) => dead.sweep(filter, handle, signal),
      put: async letters => {
        await dead.put(letters)
        for (const { reason } of letters) for (const count of counts) count.deadLettered(reason)
      },
    }
    // All start before the first message is handled: each checks whether another one is searching.
    for (const { suspects } of consumers) suspects?.start()
    this.#running = consumers.map(consumer =>
      consume(
        {
          ...consumer,
          dead: counted,
          clock,
          circuitOf: error => dependencies.circuitOf(error),
          retrying: (error, circuit) => dependencies.retrying(consumer.name, error, circuit),
          recovered: () => dependencies.recovered(consumer.name),
        },
        this.#abort.signal,
      ),
    )
  }

  /** Resolves when messages in the spool wait only for a target that is down, or after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    const { spool, dependencies, consumers } = this.#options
    const names = new Set(consumers.map(({ name }) => name))
    const deadline = performance.now() + timeoutMs
    const isOver = () => {
      const stuck = new Set(dependencies.waiting().map(({ consumer }) => consumer))
      const left = Object.entries(spool?.lag ?? {}).filter(([consumer]) => names.has(consumer))
      return left.every(([consumer, messages]) => messages === 0 || stuck.has(consumer))
    }
    while (!isOver() && performance.now() < deadline) await sleep(drainPollMs)
  }

  /** Stops the consumers. Deliveries under way are not settled and come again. */
  async stop(): Promise<void> {
    this.#abort.abort()
    await Promise.all(this.#running)
    for (const { suspects } of this.#options.consumers) suspects?.stop()
  }

  status(): ProcessorStatus {
    const { dependencies, spool } = this.#options
    return {
      dependencies: dependencies.list(),
      waiting: dependencies.waiting(),
      lag: spool?.lag ?? {},
      failures: dependencies.failures(),
    }
  }
}
