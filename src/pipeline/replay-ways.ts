import type { DeadLetter, Message, Outcome } from '../model.js'
import type { Outlets } from '../outlets/outlets.js'
import type { Cursors } from '../spool/cursors.js'
import { matches } from '../topics.js'
import { badTopic, type Downlink } from './downlink.js'
import type { KeptMessages, Past, ReplayHandler } from './past/kept-messages.js'
import { PastSwap, type PastSwapOptions } from './past/past-swap.js'
import type { RecordStage } from './record-stage.js'
import type { NumberedMessages } from './refill.js'
import { Replays, type ReplaysOptions } from './replay.js'

/** Reasons for dead letters from back ends. Such messages were never on their way to the store. */
const outwardReasons = [badTopic, 'publish_poison', 'publish_limit']

export interface ReplayWaysOptions {
  readonly recording: RecordStage
  readonly downlink: Downlink
  readonly outlets: Pick<Outlets, 'redeliver'>
}

export interface ReplayParts
  extends ReplayWaysOptions,
    Omit<ReplaysOptions, 'handler' | 'kept' | 'swap'>,
    Omit<PastSwapOptions, 'handler' | 'kept'> {
  readonly cursors: Cursors
  readonly trials: ReplaysOptions['trials']
}

/** Makes what handles messages once more. */
export function replaysOf({ cursors, ...parts }: ReplayParts): Replays {
  const handler = new ReplayWays(parts)
  const kept = new KeptInSpool(cursors)
  return new Replays({ ...parts, handler, kept, swap: new PastSwap({ ...parts, handler, kept }) })
}

/** Hands messages that are handled again to where they were going: to the store, or to MQTT subscribers. */
export class ReplayWays implements ReplayHandler {
  readonly #options: ReplayWaysOptions

  constructor(options: ReplayWaysOptions) {
    this.#options = options
  }

  handle(messages: readonly Message[]): Promise<readonly Outcome[]> {
    return this.#options.recording.handle(messages, false)
  }

  async handleLetters(letters: readonly DeadLetter[]): Promise<readonly Outcome[]> {
    // One sweep is over the dead letters of one outlet, or of none.
    const outlet = letters[0]?.outlet
    const all = letters.map(({ message }) => message)
    if (outlet !== undefined) return this.#options.outlets.redeliver(outlet, all)
    const outcomes = new Map<Message, Outcome>()
    for (const handler of [this.#options.downlink, this]) {
      const isOutward = handler !== this
      const messages = letters
        .filter(({ reason }) => outwardReasons.includes(reason) === isOutward)
        .map(({ message }) => message)
      const answers = messages.length > 0 ? await handler.handle(messages) : []
      for (const [i, message] of messages.entries()) outcomes.set(message, answers[i] ?? 'ack')
    }
    return letters.map(({ message }) => outcomes.get(message) ?? 'retry')
  }
}

/** The messages that the spool has kept, of the topics that a replay asks for. */
export class KeptInSpool implements KeptMessages {
  readonly #cursors: Cursors

  constructor(cursors: Cursors) {
    this.#cursors = cursors
  }

  past({ from, to, topic }: Past, signal: AbortSignal): ReturnType<KeptMessages['past']> {
    const { total, batches } = this.#cursors.past({ from, to }, signal)
    return { total, batches: topic === undefined ? batches : ofTopic(batches, topic) }
  }

  above(sequence: number, signal: AbortSignal): AsyncIterable<readonly Message[]> {
    const from = Math.max(sequence + 1, this.#cursors.oldestKept)
    return this.#cursors.numbered({ from, to: Number.MAX_SAFE_INTEGER }, signal)
  }
}

/** The spool, and the archive before it, for a store that has lost its end. */
export class SpoolAndArchive implements NumberedMessages {
  readonly #cursors: Cursors

  constructor(cursors: Cursors) {
    this.#cursors = cursors
  }

  get oldest(): number {
    return this.#cursors.oldestKept
  }

  numbered(range: { from: number; to: number }, signal: AbortSignal): AsyncIterable<readonly Message[]> {
    return this.#cursors.numbered(range, signal)
  }
}

async function* ofTopic(batches: AsyncIterable<readonly Message[]>, filter: string): AsyncGenerator<Message[]> {
  for await (const messages of batches) yield messages.filter(({ topic }) => matches(filter, topic))
}
