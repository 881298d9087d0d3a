import type { JobProgress } from '../../contract/contract.js'
import { HubError } from '../../errors.js'
import type { DeadLetterFilter } from '../../queue/queue.js'
import type { BirthWatcher } from './host.js'
import { noBirth } from './reader.js'

/** Replays dead letters. */
export interface LetterReplays {
  /** Begins a replay, and returns the number of the job. Throws `busy` while another one runs. */
  replay(filter: DeadLetterFilter): number
  progress(job: number): JobProgress
}

/** Time for more births to arrive, and between two looks at a replay. */
const restMs = 2_000

/**
 * Replays data that wait among the dead letters for the birth of their edge node, when births have arrived. The letters
 * are on disk, so they outlast a restart, and `dead.limit` bounds them.
 */
export class LateData implements BirthWatcher {
  readonly #replays: LetterReplays
  /** Whether letters may wait: until the first replay, the hub does not know what was there before the start. */
  #mayWait = true
  /** Clients that were born since the last replay. */
  #born = new Set<string>()
  #job: number | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(replays: LetterReplays) {
    this.#replays = replays
  }

  /** Notes that a message was dead-lettered. */
  deadLettered(reason: string): void {
    if (reason === noBirth) this.#mayWait = true
  }

  born(clientIds: readonly string[]): void {
    if (!this.#mayWait) return
    for (const clientId of clientIds) this.#born.add(clientId)
    this.#timer ??= setTimeout(() => this.#look(), restMs)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#born.clear()
  }

  #look(): void {
    this.#timer = undefined
    if (this.#job !== undefined && !this.#isOver(this.#job)) {
      this.#lookAgain()
      return
    }
    this.#job = undefined
    if (this.#born.size === 0) return
    const [clientId, ...others] = this.#born
    try {
      this.#mayWait = false
      this.#job = this.#replays.replay({ reason: noBirth, clientId: others.length === 0 ? clientId : undefined })
      this.#born.clear()
      // Letters of other clients wait on.
      if (others.length === 0) this.#mayWait = true
    } catch (error) {
      this.#mayWait = true
      if (!(error instanceof HubError)) throw error
    }
    this.#lookAgain()
  }

  #lookAgain(): void {
    this.#timer = setTimeout(() => this.#look(), restMs)
  }

  #isOver(job: number): boolean {
    try {
      const { finished, kept } = this.#replays.progress(job)
      if (kept > 0) this.#mayWait = true
      return finished
    } catch {
      // Another job has begun since, so this one is over.
      return true
    }
  }
}
