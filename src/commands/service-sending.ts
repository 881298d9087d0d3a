import type { Receiver } from '../broker/broker.js'
import { describe } from '../errors.js'
import type { Message } from '../model.js'
import { decodeProperties } from '../mqtt/message-properties.js'
import type { SentenceLog } from '../observe/log.js'
import type { ServiceQueue, ServiceReply } from '../queue/service-queue.js'
import { pause } from '../runtime/retry.js'
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
  readonly log: Pick<SentenceLog, 'warn'>
}

/** The queue, in place of a client that would get a command. */
const receiver: Receiver = { name: '', clientId: '', room: 1, acknowledges: true, canRespond: true }

/** Pause before another attempt while the queue is down. */
const againMs = 1_000

const answersAtOnce = 200

/** Attempts to send an answer to a back end. */
const mostReplies = 60

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

  /** Begins to send the answer to a back end. It is given up when the queue is down for long. */
  reply(reply: ServiceReply): void {
    void (async () => {
      for (let attempt = 0; attempt < mostReplies && !this.#abort.signal.aborted; attempt++) {
        try {
          return await this.#options.queue.reply(reply)
        } catch (error) {
          this.#down(error)
        }
        await pause(againMs, this.#abort.signal)
      }
    })()
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
        await Promise.all(batch.messages.map(message => this.#answered(message)))
        batch.settle()
      } catch (error) {
        this.#down(error)
        await pause(againMs, signal)
      }
    }
  }

  async #answered({ payload, properties }: Message): Promise<void> {
    const { correlationData, userProperties = [] } = (properties && decodeProperties(properties)) || {}
    const isGood = !userProperties.some(([name]) => name === failedProperty)
    await this.#options.answers.serviceAnswered(correlationData?.toString() ?? '', payload, isGood)
  }

  #down(error: unknown): void {
    if (this.#isDown || this.#abort.signal.aborted) return
    this.#isDown = true
    this.#options.log.warn(`requests to services wait: ${describe(error)}`)
  }
}
