import type { Receiver } from '../broker/broker.js'
import { describe } from '../errors.js'
import type { Message } from '../model.js'
import { decodeProperties } from '../mqtt/message-properties.js'
import { type Counters, increment } from '../observe/counters.js'
import type { SentenceLog } from '../observe/log.js'
import type { ServiceQueue, ServiceReply } from '../queue/service-queue.js'
import { backoffMs, pause } from '../runtime/retry.js'
import type { MillisecondClock } from '../runtime/time.js'
import { requestsPrefix } from '../topics.js'
import type { CommandEntry } from './command-entry.js'
import type { SendingListener } from './sending.js'

/** Takes the answers of services. Implemented by `BackEnds`. */
export interface ServiceAnswers {
  /** Takes the answer of a service. Resolves when it is on disk. */
  serviceAnswered(id: string, payload: Buffer, isGood: boolean): Promise<void>
}

export interface ServiceSendingOptions {
  readonly queue: ServiceQueue
  /** Told what becomes of a request on its way. */
  readonly listener: SendingListener
  readonly answers: ServiceAnswers
  readonly monotonic: MillisecondClock
  readonly counters: Pick<Counters, 'commands'>
  readonly log: Pick<SentenceLog, 'warn'>
}

/** The queue, in place of a client that would get a command. */
const receiver: Receiver = { name: '', clientId: '', room: 1, acknowledges: true, canRespond: true }

/** Pause before another attempt while the queue is down. */
const againMs = 1_000

const answersAtOnce = 200

/** Answers to back ends that may wait at a time while the queue is down. */
const mostReplies = 10_000

/** User property by which a service says that it has failed. */
export const failedProperty = 'telehub-failed'

/**
 * Puts requests into the queue of the services, and takes their answers. A request is tried until it is in the queue or
 * its time is over, and again after a restart of the hub unless it is known to be there: a service may get it twice, with
 * the same id.
 */
export class ServiceSending {
  readonly #options: ServiceSendingOptions
  readonly #abort = new AbortController()
  #receiving: Promise<void> = Promise.resolve()
  readonly #inHand = new Set<CommandEntry>()
  #isDown = false
  /** Answers to back ends that are not in their queues yet. */
  #replies = 0
  /** Whether it was logged that answers are dropped. */
  #isDropping = false

  constructor(options: ServiceSendingOptions) {
    this.#options = options
  }

  start(): void {
    this.#receiving = this.#receive()
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    await this.#receiving
    await this.#options.queue.stop()
  }

  /** Begins to send a request that waits. */
  add(entry: CommandEntry): void {
    const { listener } = this.#options
    if (this.#inHand.has(entry) || !entry.isWaiting) return
    this.#inHand.add(entry)
    if (!listener.mayBeSent(entry)) {
      void this.#again(entry)
      return
    }
    entry.isSending = true
    listener.sending(entry, [receiver], error => {
      entry.isSending = false
      if (error) void this.#again(entry)
      else void this.#send(entry).finally(() => this.#inHand.delete(entry))
    })
  }

  async #again(entry: CommandEntry): Promise<void> {
    await pause(againMs, this.#abort.signal)
    this.#inHand.delete(entry)
    if (this.#isGoingOn(entry)) this.add(entry)
  }

  /**
   * Begins to send the answer to a back end. It is tried until it is sent, the hub stops, or `isWanted` says that the
   * command is forgotten. What is dropped is counted.
   */
  reply(reply: ServiceReply, isWanted = () => true): void {
    if (this.#replies >= mostReplies) {
      this.#drop(`more than ${mostReplies} wait`)
      return
    }
    this.#replies++
    void this.#reply(reply, isWanted).finally(() => this.#replies--)
  }

  async #reply(reply: ServiceReply, isWanted: () => boolean): Promise<void> {
    const { signal } = this.#abort
    for (let attempt = 0; isWanted(); attempt++) {
      try {
        await this.#options.queue.reply(reply)
        this.#isDown = this.#isDropping = false
        return
      } catch (error) {
        this.#down(error)
      }
      await pause(backoffMs(attempt), signal)
      if (signal.aborted) return this.#drop('the hub stops, and sends those of the last minute again at its start')
    }
    this.#drop('their commands are forgotten')
  }

  #drop(reason: string): void {
    const { counters, log } = this.#options
    increment(counters.commands, 'dropped_answer')
    if (this.#isDropping) return
    this.#isDropping = true
    log.warn(`answers to back ends are dropped: ${reason}`)
  }

  #isGoingOn(entry: CommandEntry): boolean {
    return !this.#abort.signal.aborted && !entry.isOver
  }

  async #send(entry: CommandEntry): Promise<void> {
    const { listener, monotonic, queue } = this.#options
    const { id, payload } = entry
    const { topic, user } = entry.subject
    while (this.#isGoingOn(entry)) {
      if (listener.mayBeSent(entry)) {
        const expiryMs = Math.max(1, Math.ceil(entry.deadline - monotonic.now()))
        try {
          await queue.request({ id, path: topic.slice(requestsPrefix.length), payload, user, expiryMs })
          this.#isDown = false
          listener.acknowledged(entry)
          return
        } catch (error) {
          this.#down(error)
        }
      }
      await pause(againMs, this.#abort.signal)
    }
  }

  async #receive(): Promise<void> {
    const { signal } = this.#abort
    const reader = this.#options.queue.answers()
    while (!signal.aborted) {
      try {
        const batch = await reader.next(answersAtOnce, signal)
        if (!batch) return
        // The queue hands out nothing of a batch again while the connection lasts.
        for (let rest = batch.messages; rest.length > 0; ) {
          rest = await this.#unrecorded(rest)
          if (rest.length > 0) await pause(againMs, signal)
          if (rest.length > 0 && signal.aborted) return
        }
        batch.settle()
      } catch (error) {
        this.#down(error)
        await pause(againMs, signal)
      }
    }
  }

  /** Takes answers of services. Resolves with those that the disk has refused. */
  async #unrecorded(messages: readonly Message[]): Promise<readonly Message[]> {
    const results = await Promise.allSettled(messages.map(message => this.#answered(message)))
    return messages.filter((_, i) => results[i]?.status === 'rejected')
  }

  async #answered({ payload, properties }: Message): Promise<void> {
    const { correlationData, userProperties = [] } = (properties && decodeProperties(properties)) || {}
    const isGood = !userProperties.some(([name]) => name === failedProperty)
    await this.#options.answers.serviceAnswered(correlationData?.toString() ?? '', payload, isGood)
  }

  #down(error: unknown): void {
    if (this.#isDown || this.#abort.signal.aborted) return
    this.#isDown = true
    this.#options.log.warn(`requests to services, and answers to back ends, wait: ${describe(error)}`)
  }
}
