import type { Broker } from '../broker/broker.js'
import { takeOldest } from '../runtime/drop-oldest.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { hubTopics } from '../topics.js'
import type { CommandEntry } from './command-entry.js'
import { commandRow } from './command-row.js'

/** How long the state of a command that is over is retained, in microseconds. */
const shownFor = 10 * 60e6

/** Most states that are retained of commands that are over. */
const mostOver = 2_000

/** Milliseconds of work in one turn of the event loop. */
const turnMs = 5

export interface StatePagesOptions {
  readonly broker: Pick<Broker, 'publishAll'>
  readonly clock: MicrosecondClock
}

/** The retained `$hub/commands/{id}`: the state of each command, until a while after its end. */
export class StatePages {
  readonly #options: StatePagesOptions
  /** Commands that are over and shown, with the time of the end, the oldest first. */
  readonly #over = new Map<string, number>()

  /** Commands whose state is to be shown, the first one first. */
  readonly #changed = new Set<CommandEntry>()

  constructor(options: StatePagesOptions) {
    this.#options = options
  }

  /** Shows the state of a command soon: several changes of one turn are shown once, behind what is under way. */
  show(entry: CommandEntry): void {
    if (this.#changed.size === 0) setImmediate(this.#next)
    this.#changed.add(entry)
  }

  readonly #next = (): void => {
    const end = performance.now() + turnMs
    for (const entry of this.#changed) {
      this.#changed.delete(entry)
      this.#show(entry)
      if (performance.now() > end) break
    }
    if (this.#changed.size > 0) setImmediate(this.#next)
  }

  #show(entry: CommandEntry): void {
    const { id, isOver, overAt = 0 } = entry
    if (isOver) {
      if (overAt + shownFor <= this.#options.clock.now()) return
      this.#over.set(id, overAt)
    }
    // Readers of this page may read the topic of the command, and perhaps not that of the answer.
    this.#publish(id, JSON.stringify(commandRow(entry.view(), () => false)))
    const oldest = this.#over.size > mostOver ? takeOldest(this.#over) : undefined
    if (oldest !== undefined) this.#publish(oldest, '')
  }

  clear(entry: CommandEntry): void {
    this.#changed.delete(entry)
    this.#clear(entry.id)
  }

  #clear(id: string): void {
    if (this.#over.delete(id)) this.#publish(id, '')
  }

  /** Clears what was over a while ago. */
  sweep(): void {
    const before = this.#options.clock.now() - shownFor
    for (const [id, overAt] of this.#over) {
      if (overAt > before) return
      this.#clear(id)
    }
  }

  #publish(id: string, json: string): void {
    const message = { topic: hubTopics.command(id), payload: Buffer.from(json), qos: 0, retain: true } as const
    // Resolves once the broker has restored its state; fails for no reason of the message.
    this.#options.broker.publishAll([message]).catch(() => {})
  }
}
