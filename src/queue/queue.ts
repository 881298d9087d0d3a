import { HubError } from '../errors.js'
import { type DeadLetter, type Message, messageId, type Outcome, type Rejection } from '../model.js'
import type { Rest } from '../runtime/rest.js'
import { type RetryPolicy, retryForever } from '../runtime/retry.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { matches } from '../topics.js'
import type { Suspects } from './suspects.js'

/** Messages taken from a queue in order and not settled yet. */
export interface Batch {
  /** At least one, ascending by time of acceptance. A queue that delivers at least once may repeat some. */
  readonly messages: readonly Message[]
  /** Why a message cannot be read, by index in `messages`. Such a message goes to the dead letters unhandled. */
  readonly rejected?: ReadonlyMap<number, Rejection>
  /** How often the first message came back unsettled, from any process. Undefined: the queue does not count. */
  readonly redeliveries?: number
  /** Tells the queue that every message is done and must not be delivered again. Called once. */
  settle(): void
}

/** One consumer's position in a queue. Messages taken and not settled are delivered again after a restart, in order. */
export interface QueueReader {
  /**
   * Waits for messages; undefined when `signal` aborts. Not called again before the last batch is settled. With
   * `halves`, a message that came back n times is in a batch of at most 1/2^n of the limit, if the queue counts that.
   */
  next(limit: number, signal: AbortSignal, halves?: boolean): Promise<Batch | undefined>
}

/** Where messages wait for their consumers. */
export interface Queue {
  /**
   * Resolves when all are durable, in order. Rejects with `queue_unavailable` or `spool_full`: publish all of them
   * again.
   */
  publish(messages: readonly Message[]): Promise<void>
  /** Returns the reader of a consumer group; each group gets every message. A group has one reader in a process. */
  reader(group: string): QueueReader
}

/** Selects dead letters: every field that is given must match. */
export interface DeadLetterFilter {
  /** The id that `messageId` of model.ts returns. */
  readonly id?: string | undefined
  readonly reason?: string | undefined
  /** The outlet whose dead letters are meant. Undefined: those that could not be stored. */
  readonly outlet?: string | undefined
  readonly clientId?: string | undefined
  /** Topic filter. */
  readonly topic?: string | undefined
  /** Microseconds since the epoch, compared with `failedAt`; `from` is included, `to` is not. */
  readonly from?: number | undefined
  readonly to?: number | undefined
}

/** Where rejected messages are kept, with the reason, until an operator replays or drops them. */
export interface DeadLetters {
  /** Resolves when all are durable. A letter that is put again after a crash is stored once. */
  put(letters: readonly DeadLetter[]): Promise<void>
  /**
   * Returns at most `limit` letters, newest first, and fewer when they are large. When there are more, the
   * implementation chooses which.
   */
  list(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]>
  /**
   * Passes each matching letter to `handle`, oldest first, at most 500 at a time. Letters answered with `true` are
   * removed, and removed for good when the next batch comes or the promise resolves. A throw, or `signal`, ends the
   * sweep and removes no letter of that batch.
   */
  sweep(
    filter: DeadLetterFilter,
    handle: (letters: readonly DeadLetter[]) => Promise<readonly boolean[]>,
    signal: AbortSignal,
  ): Promise<void>
}

/** A server that the record path runs through: hubs publish to it, and record consumers on any machine read from it. */
export interface QueueServer extends Queue {
  readonly name: string
  /**
   * As `publish`, but a message that the server will never take does not keep the others back. Returns one outcome per
   * message, in their order; undefined: all are durable.
   */
  bridge(messages: readonly Message[]): Promise<readonly Outcome[] | undefined>
  /**
   * Sends another hub the outcomes of its messages. Resolves when they are durable, or when that hub has no place for
   * them.
   */
  publishReceipts(hub: string, body: Buffer): Promise<void>
  /** Returns where dead letters go. `own`: the files of this hub, undefined in a process that is none. */
  deadLetters(own: DeadLetters | undefined): DeadLetters
  stop(): Promise<void>
}

/** A system behind the hub that takes messages at its own pace. Adapters only try: retries and order are the hub's. */
export interface Outlet {
  /**
   * Hands over at least one message, in order. Resolves with an outcome for each, in their order; undefined: the target
   * has all of them for good. A message with a rejection is never tried again, and becomes a dead letter of the outlet.
   * Nothing overtakes a message to be tried again. Rejects when all must be tried again, with `retryAfterMs` of a
   * `HubError` when the target named a pause; the sentence is shown to operators. Not called again before the last call
   * has settled, so an implementation limits the time that it waits. Messages that were taken may come again after a
   * crash of the hub. An abort ends the attempt.
   */
  deliver(messages: readonly Message[], signal: AbortSignal): Promise<readonly Outcome[] | undefined>
  /** Closes the connections. Resolves when nothing is under way. */
  close(): Promise<void>
}

/** Bytes that a message counts for where memory is bounded. */
export function heldBytes({ payload, properties }: Message): number {
  return payload.length + (properties?.length ?? 0)
}

/** Returns whether a letter matches a filter. */
export function fits({ message, reason, failedAt }: DeadLetter, filter: DeadLetterFilter): boolean {
  return (
    (filter.id === undefined || filter.id === messageId(message)) &&
    (filter.reason === undefined || filter.reason === reason) &&
    (filter.clientId === undefined || filter.clientId === message.clientId) &&
    (filter.topic === undefined || matches(filter.topic, message.topic)) &&
    failedAt >= (filter.from ?? -Infinity) &&
    failedAt < (filter.to ?? Infinity)
  )
}

/** The outcome of a message: done when `rejection` is undefined, otherwise in the dead letters for that reason. */
export interface Settled {
  readonly message: Message
  readonly rejection: Rejection | undefined
  /** True when nothing of the message was to be stored: the message is no reading. */
  readonly ignored?: true
}

/** Keeps account of the outcome of each message, and so recognises a message that is delivered again. */
export interface Ledger {
  /** Returns the messages that are not settled yet, each once, in their order. */
  unsettled(messages: readonly Message[]): readonly Message[]
  /** Resolves when the outcomes are durable. Only then are the messages settled with their queue. */
  settle(settled: readonly Settled[]): Promise<void>
}

export interface Consumer {
  readonly name: string
  readonly reader: QueueReader
  /** Returns one outcome per message, in their order; undefined: all are done. Throws when all must be tried again. */
  readonly handle: (messages: readonly Message[]) => Promise<readonly Outcome[] | undefined>
  readonly dead: DeadLetters
  /** Recognises repeated messages. Without a ledger, a message delivered twice is handled twice. */
  readonly ledger?: Ledger
  /** Finds the message that ends the process. Without, such a message ends the process again at every start. */
  readonly suspects?: Suspects
  /** Maximum number of messages handed over at a time. */
  readonly batch: number
  /** Pause after a small batch. Without: no pause. */
  readonly rest?: Rest
  readonly clock: MicrosecondClock
  readonly circuitOf: RetryPolicy['circuitOf']
  readonly retrying: RetryPolicy['retrying']
  readonly recovered: () => void
}

/**
 * The one consumer loop of the hub. Takes messages in order and hands them over. Messages to be tried again are kept
 * until they succeed, and nothing overtakes them. Rejected messages go to the dead letters. A batch is settled only
 * when each of its messages is done or dead-lettered and the ledger has recorded that. Resolves when `signal` aborts;
 * messages in hand then are not settled and are delivered again.
 */
export async function consume(consumer: Consumer, signal: AbortSignal): Promise<void> {
  const { reader, batch, rest, ledger, suspects } = consumer
  const attempt = <T>(action: () => Promise<T>) => retryForever(action, { ...consumer, signal })
  while (!signal.aborted) {
    const isLooking = suspects?.isLooking ?? false
    const delivery = await attempt(() => reader.next(suspects?.limit ?? batch, signal, suspects?.isBlind))
    if (!delivery) return
    const settled = await attempt(settling(consumer, delivery))
    if (!settled) return
    if (ledger && settled.length > 0 && !(await attempt(() => ledger.settle(settled).then(() => true)))) return
    delivery.settle()
    const isFew = delivery.messages.length < batch / 4 && !isLooking && !delivery.redeliveries
    if (rest && isFew) await rest.take(signal)
  }
}

/** Maximum length of a detail, which may repeat names of the payload as long as the payload itself. */
const maxDetail = 1_000

/**
 * Returns a function that tries what is left of a batch. It is called until it resolves with all outcomes of new
 * messages.
 */
function settling(consumer: Consumer, { messages, rejected, redeliveries = 0 }: Batch): () => Promise<Settled[]> {
  const { ledger, dead, clock, handle, suspects } = consumer
  const settled: Settled[] = []
  /** Messages on their way to the dead letters. When storing them fails, the next attempt handles no message anew. */
  const refused = new Map<Message, Rejection>()
  let left = ledger?.unsettled(messages) ?? messages
  let attempts = 0
  if (rejected) {
    for (const [i, rejection] of rejected) refused.set(messages[i] as Message, rejection)
    for (const message of refused.keys()) if (!left.includes(message)) refused.delete(message)
    left = left.filter(message => !refused.has(message))
  }
  const take = (message: Message, outcome: Outcome, again: Message[]) => {
    if (outcome === 'ack') settled.push({ message, rejection: undefined })
    else if (outcome === 'ignored') settled.push({ message, rejection: undefined, ignored: true })
    else if (outcome === 'retry') again.push(message)
    else refused.set(message, outcome)
  }
  return async () => {
    attempts++
    const again: Message[] = []
    while (left.length > 0) {
      const count = suspects?.next(left, redeliveries) ?? left.length
      if (suspects && count === 0) take(left[0] as Message, suspects.blame(left[0] as Message), again)
      else {
        const part = count < left.length ? left.slice(0, count) : left
        const outcomes = (await (suspects ? suspects.watch(part, () => handle(part)) : handle(part))) ?? []
        for (const [i, message] of part.entries()) take(message, outcomes[i] ?? 'ack', again)
      }
      left = left.slice(Math.max(1, count))
      // Nothing overtakes a message that has to be tried again.
      if (again.length > 0) break
    }
    left = again.length > 0 ? [...again, ...left] : left
    if (refused.size > 0) {
      const failedAt = clock.now()
      const letters = [...refused].map(([message, { reason, detail, partly }]) => ({
        message,
        reason,
        detail: detail.slice(0, maxDetail),
        ...(partly && { partly }),
        failedAt,
        attempts,
      }))
      await dead.put(letters)
      for (const [message, rejection] of refused) settled.push({ message, rejection })
      refused.clear()
    }
    if (left.length > 0) throw new HubError('queue_unavailable', `${left.length} messages must be tried again`)
    return settled
  }
}

/** Lets one reader sleep until a message has arrived. */
export class Wakeup {
  #wake: (() => void) | undefined

  /** Wakes the reader when one is asleep. */
  wake(): void {
    this.#wake?.()
  }

  /** Resolves at the next `wake`, or when the signal aborts. */
  sleep(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve()
    return new Promise(resolve => {
      const end = () => {
        this.#wake = undefined
        signal.removeEventListener('abort', end)
        resolve()
      }
      this.#wake = end
      signal.addEventListener('abort', end)
    })
  }
}
