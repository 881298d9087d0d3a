import { HubError } from '../errors.js'
import { type DeadLetter, type Message, messageId, type Outcome, type Rejection } from '../model.js'
import { pause, type RetryPolicy, retryForever } from '../runtime/retry.js'
import type { Suspects } from './suspects.js'

/** Messages taken from a queue in order, not yet given back. */
export interface Batch {
  /** At least one, ascending by time of acceptance. A queue that delivers at least once may repeat some. */
  readonly messages: readonly Message[]
  /** Messages that cannot be read: position and why. They go to the dead letters. */
  readonly exhausted?: ReadonlyMap<number, Rejection>
  /** How often the first message came back unsettled, from whichever process, when the queue knows. */
  readonly redeliveries?: number
  /** Every message is done with: they will not come again. Called once. */
  settle(): void
}

/** One reader's place in a queue. What was taken and not settled comes again after a restart, in order. */
export interface QueueReader {
  /**
   * Waits for messages; undefined when `signal` aborts. Not called again before the last delivery is settled. With
   * `halves`, a message that came back n times is in a delivery of at most 1/2^n of the limit, where the queue counts that.
   */
  next(limit: number, signal: AbortSignal, halves?: boolean): Promise<Batch | undefined>
}

/** Where messages wait for their consumers. */
export interface Queue {
  /** Resolves when all are durable, in order. Rejects with `queue_unavailable` or `spool_full`: publish all of them again. */
  publish(messages: readonly Message[]): Promise<void>
  /** The reader of a consumer group; each group gets every message. One reader a group and process. */
  reader(group: string): QueueReader
}

/** Which dead letters are meant: all that is named must fit. */
export interface DeadLetterFilter {
  /** As `messageId` of model.ts makes it. */
  readonly id?: string | undefined
  readonly reason?: string | undefined
  readonly clientId?: string | undefined
  /** Microseconds since the epoch, of `failedAt`; `from` is included, `to` is not. */
  readonly from?: number | undefined
  readonly to?: number | undefined
}

/** Where rejected messages are kept, with their reason, until someone replays or drops them. */
export interface DeadLetters {
  /** Resolves when all are durable. A letter that is put again after a crash is there once. */
  put(letters: readonly DeadLetter[]): Promise<void>
  /**
   * At most `limit` of them, and fewer when they are large, the newest first; which, when there are more, is the
   * implementation's choice.
   */
  list(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]>
  /**
   * Hands over each that fits, oldest first, at most 500 at a time; those answered `true` are removed, and removed for
   * good when the next batch comes or the promise resolves. A throw, or `signal`, ends it and removes nothing of that batch.
   */
  sweep(
    filter: DeadLetterFilter,
    handle: (letters: readonly DeadLetter[]) => Promise<readonly boolean[]>,
    signal: AbortSignal,
  ): Promise<void>
}

/** What is counted of a message where bytes in memory are bounded. */
export function heldBytes({ payload, properties }: Message): number {
  return payload.length + (properties?.length ?? 0)
}

/** Whether a letter is meant by a filter. */
export function fits({ message, reason, failedAt }: DeadLetter, filter: DeadLetterFilter): boolean {
  return (
    (filter.id === undefined || filter.id === messageId(message)) &&
    (filter.reason === undefined || filter.reason === reason) &&
    (filter.clientId === undefined || filter.clientId === message.clientId) &&
    failedAt >= (filter.from ?? -Infinity) &&
    failedAt < (filter.to ?? Infinity)
  )
}

/** What became of a message: done, or in the dead letters for this reason. */
export interface Settled {
  readonly message: Message
  readonly rejection: Rejection | undefined
}

/** Who keeps account of what became of messages, and so knows which have come before. */
export interface Ledger {
  /** Those that are not settled yet, each once, in their order. */
  unsettled(messages: readonly Message[]): readonly Message[]
  /** Resolves when that is durable: only then are they given back to their queue. */
  settle(settled: readonly Settled[]): Promise<void>
}

export interface Consumer {
  readonly name: string
  readonly reader: QueueReader
  /** One outcome per message, in their order; nothing means all are done; a throw means all must be tried again. */
  readonly handle: (messages: readonly Message[]) => Promise<readonly Outcome[] | undefined>
  readonly dead: DeadLetters
  /** Without: what comes twice is handled twice. */
  readonly ledger?: Ledger
  /** Finds the message that ends the process. Without: such a message ends the process for ever. */
  readonly suspects?: Suspects
  /** Most messages handed over at a time. */
  readonly batch: number
  /**
   * After so little that it was done sooner than more would be worth: how long it waits, in milliseconds, so that there
   * is more to hand over. Without: not at all.
   */
  readonly restMs?: number
  readonly now: () => number
  readonly circuitOf: RetryPolicy['circuitOf']
  readonly retrying: RetryPolicy['retrying']
  readonly recovered: () => void
}

/**
 * The one consumer loop of the hub. Takes messages in order, hands them over, keeps what must be tried again (for ever,
 * nothing overtakes it), puts what was rejected into the dead letters, and settles a delivery only when each of its
 * messages is done or dead-lettered and the ledger has it. Resolves when `signal` aborts; what was in hand then is not
 * settled and comes again.
 */
export async function consume(consumer: Consumer, signal: AbortSignal): Promise<void> {
  const { reader, batch, restMs, ledger, suspects } = consumer
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
    if (restMs && isFew) await pause(restMs, signal)
  }
}

/** Details may repeat names of the payload, which may be as long as the payload. */
const maxDetail = 1_000

/** Tries what is left of a delivery; called until it resolves, with what became of each message that was new. */
function settling(consumer: Consumer, { messages, exhausted, redeliveries = 0 }: Batch): () => Promise<Settled[]> {
  const { ledger, dead, now, handle, suspects } = consumer
  const settled: Settled[] = []
  /** On their way to the dead letters: when those fail, nothing is handled anew for it. */
  const refused = new Map<Message, Rejection>()
  let left = ledger?.unsettled(messages) ?? messages
  let attempts = 0
  if (exhausted) {
    for (const [i, rejection] of exhausted) refused.set(messages[i] as Message, rejection)
    for (const message of refused.keys()) if (!left.includes(message)) refused.delete(message)
    left = left.filter(message => !refused.has(message))
  }
  const take = (message: Message, outcome: Outcome, again: Message[]) => {
    if (outcome === 'ack') settled.push({ message, rejection: undefined })
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
      // Nothing overtakes what has to be tried again.
      if (again.length > 0) break
    }
    left = again.length > 0 ? [...again, ...left] : left
    if (refused.size > 0) {
      const failedAt = now()
      const letters = [...refused].map(([message, { reason, detail }]) => ({
        message,
        reason,
        detail: detail.slice(0, maxDetail),
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

/** Lets one reader sleep until something has come. */
export class Wakeup {
  #wake: (() => void) | undefined

  /** Wakes the reader, if it sleeps. */
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
