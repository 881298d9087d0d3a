import { type DeadLetter, messageId } from '../model.js'
import type { DeadLetterFilter, DeadLetters } from '../queue/queue.js'
import type { KafkaProducer } from './producer.js'
import { letterForHub, letterRecord, type OutgoingRecord } from './records.js'
import type { TopicNames } from './topics.js'

/** Finds out whether a hub has a topic for the receipts of consumers elsewhere. */
export interface HubTopics {
  /** Returns the name of the topic; undefined when there is none. */
  receiptsOf(hub: string): Promise<string | undefined>
}

export interface KafkaLettersOptions {
  readonly hubId: string
  readonly producer: KafkaProducer
  readonly names: TopicNames
  readonly hubs: HubTopics
}

const maxDetail = 1_000

function headersOf({ reason, detail, partly, failedAt, attempts }: DeadLetter): Record<string, string> {
  return {
    reason,
    detail: detail.slice(0, maxDetail),
    ...(partly && { partly: 'true' }),
    'failed-at': String(failedAt),
    attempts: String(attempts),
  }
}

/**
 * The dead letters of a hub behind Kafka: in the files of the hub, from where they are listed, replayed and removed, and
 * copied to the topic `telehub.dead` for other programs. A topic is a log: no letter could be taken out of it.
 */
export class CopiedDeadLetters implements DeadLetters {
  readonly #own: DeadLetters
  readonly #options: KafkaLettersOptions

  constructor(own: DeadLetters, options: KafkaLettersOptions) {
    this.#own = own
    this.#options = options
  }

  /** The files keep a letter once; the topic may get the copy again when the first attempt has failed half-way. */
  async put(letters: readonly DeadLetter[]): Promise<void> {
    const { hubId, producer, names } = this.#options
    await this.#own.put(letters)
    const records = letters.map(letter => letterRecord(names.dead, letter.message, hubId, headersOf(letter)))
    // A letter that is too large for the topic is in the files all the same.
    await producer.sendAll(records)
  }

  list(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]> {
    return this.#own.list(filter, limit)
  }

  sweep(
    filter: DeadLetterFilter,
    handle: (letters: readonly DeadLetter[]) => Promise<readonly boolean[]>,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#own.sweep(filter, handle, signal)
  }
}

/**
 * The dead letters of a consumer that is no hub: each goes to the hub of the message, which keeps the letter and copies
 * the letter to `telehub.dead`. A letter whose message no hub knows goes to `telehub.dead` alone. Nothing can be listed.
 */
export class SentDeadLetters implements DeadLetters {
  readonly #options: KafkaLettersOptions

  constructor(options: KafkaLettersOptions) {
    this.#options = options
  }

  async put(letters: readonly DeadLetter[]): Promise<void> {
    const { hubId, producer, names, hubs } = this.#options
    const records: OutgoingRecord[] = []
    for (const letter of letters) {
      const { hub = hubId } = letter.message
      const topic = hub.startsWith('?') ? undefined : await hubs.receiptsOf(hub)
      records.push(
        topic === undefined
          ? letterRecord(names.dead, letter.message, hubId, headersOf(letter))
          : letterForHub(topic, letter.message, headersOf(letter)),
      )
    }
    const refused = await producer.sendAll(records)
    for (const [i, { reason, detail }] of refused) {
      const { message } = letters[i] as DeadLetter
      // The payload is in the topic it came from as long as that is kept; the letter at least says so.
      const small = { ...message, payload: Buffer.alloc(0) }
      const why = { ...headersOf(letters[i] as DeadLetter), detail: `${reason}: ${detail}; ${messageId(message)}` }
      await producer.sendAll([letterRecord(names.dead, small, hubId, why)])
    }
  }

  list(): Promise<readonly DeadLetter[]> {
    return Promise.resolve([])
  }

  async sweep(): Promise<void> {}
}
