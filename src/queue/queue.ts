import { HubError } from '../errors.js'
import type { DeadLetter, Message, Outcome, Rejection } from '../model.js'

/** Messages taken from a queue in order, not yet given back. */
export interface Delivery {
  /** At least one, ascending by time of acceptance. */
  readonly messages: readonly Message[]
  /** Every message is done with: they will not come again. Called once. */
  settle(): void
}

/** One reader's place in a queue. What was taken and not settled comes again after a restart, in order. */
export interface QueueReader {
  /** Waits for messages; undefined when `signal` aborts. Not called again before the last delivery is settled. */
  next(limit: number, signal: AbortSignal): Promise<Delivery | undefined>
}

/** Where messages wait for their consumers. */
export interface Queue {
  /** Resolves when all are durable, in order. Rejects with `queue_unavailable` or `spool_full`: publish all of them again. */
  publish(messages: readonly Message[]): Promise<void>
  /** The reader of a consumer group; each group gets every message. One reader a group and process. */
  reader(group: string): QueueReader
}

/** Where rejected messages are kept, with their reason, until someone replays or drops them. */
export interface DeadLetters {
  /** Resolves when all are durable. */
  put(letters: readonly DeadLetter[]): Promise<void>
  /** At most `limit` of them, the newest first; which, when there are more, is the implementation's choice. */
  list(limit: number): Promise<readonly DeadLetter[]>
}

export interface Consumer {
  readonly name: string
  readonly reader: QueueReader
  /** One outcome per message, in their order; nothing means all are done; a throw means all must be tried again. */
  readonly handle: (messages: readonly Message[]) => Promise<readonly Outcome[] | undefined>
  readonly dead: DeadLetters
  /** Most messages handed over at a time. */
  readonly batch: number
  readonly now: () => number
  /** Called before each wait, so that someone hears of it. */
  readonly retrying: (error: unknown, waitMs: number) => void
  readonly recovered: () => void
}

/**
 * The one consumer loop of the hub, and the only retry. Takes messages in order, hands them over, keeps what must
 * be tried again (with growing pauses, for ever, nothing overtakes it), puts what was rejected into the dead
 * letters, and settles a delivery only when each of its messages is done or dead-lettered. Resolves when
 * `signal` aborts; what was in hand then is not settled and comes again.
 */
export async function consume(consumer: Consumer, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const delivery = await retrying(consumer, signal, () => consumer.reader.next(consumer.batch, signal))
    if (!delivery) return
    let left = delivery.messages
    let attempts = 0
    const done = await retrying(consumer, signal, async () => {
      attempts++
      const outcomes = (await consumer.handle(left)) ?? []
      const rejected = left.flatMap((message, i): DeadLetter[] => {
        const outcome = outcomes[i]
        return isRejection(outcome) ? [{ message, ...outcome, failedAt: consumer.now(), attempts }] : []
      })
      if (rejected.length > 0) await consumer.dead.put(rejected)
      left = left.filter((_, i) => outcomes[i] === 'retry')
      if (left.length > 0) throw new HubError('queue_unavailable', `${left.length} messages must be tried again`)
      return true
    })
    if (done) delivery.settle()
  }
}

/** Tries until it works; undefined when the signal aborts first. */
async function retrying<T>(consumer: Consumer, signal: AbortSignal, action: () => Promise<T>): Promise<T | undefined> {
  for (let attempt = 0; ; attempt++) {
    try {
      const result = await unlessAborted(action(), signal)
      if (attempt > 0) consumer.recovered()
      return result
    } catch (error) {
      if (signal.aborted) return undefined
      const waitMs = backoffMs(attempt)
      consumer.retrying(error, waitMs)
      await pause(waitMs, signal)
      if (signal.aborted) return undefined
    }
  }
}

/** What is under way when the end comes is not waited for: it was not settled, and comes again. */
async function unlessAborted<T>(action: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(new HubError('stopping', 'stopped before it was done'))
    signal.addEventListener('abort', abort)
  })
  try {
    return await Promise.race([action, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** 100 ms, doubling to 10 s, each up to a quarter shorter by chance so that many do not knock at once. */
export function backoffMs(attempt: number, random = Math.random): number {
  return Math.round(Math.min(10_000, 100 * 2 ** attempt) * (1 - random() / 4))
}

/** Resolves after `ms`, or at once when the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    if (signal.aborted) end()
    else signal.addEventListener('abort', end)
  })
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

function isRejection(outcome: Outcome | undefined): outcome is Rejection {
  return typeof outcome === 'object'
}
