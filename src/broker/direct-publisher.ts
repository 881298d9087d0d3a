import type { Authority } from '../auth/admission.js'
import type { Settings } from '../config/settings.js'
import { HubError, MessagesRefused } from '../errors.js'
import { type Outward, type PendingPublish, type PublishSink, requestClientId } from '../model.js'
import type { Backpressure } from '../runtime/backpressure.js'
import { RateLimit, type Rates } from '../runtime/rate-limit.js'
import { publishFault } from '../topics.js'
import type { RefusalNotices } from './refusal-notices.js'
import {
  isComplete,
  type KeyedRequest,
  type RequestKey,
  type RequestKeys,
  sequencesOf,
  withKey,
} from './request-keys.js'
import { faultOf } from './sentences.js'

export interface DirectPublisherOptions {
  readonly authority: Pick<Authority, 'access'>
  readonly refusals: Pick<RefusalNotices, 'refusedRequest'>
  readonly keys: RequestKeys
  readonly sink: Pick<PublishSink, 'accept' | 'overloaded'>
  readonly fanOut: Pick<Backpressure, 'overloaded'>
  /** Publishes and bytes that a user may publish in a second, over all requests. */
  readonly rates: Rates
  /** Clock that never jumps; milliseconds. */
  readonly monotonic: Pick<typeof performance, 'now'>
}

/** Sequence numbers of the messages of a request, in order. */
export interface PublishReceipt {
  readonly sequences: readonly number[]
  /** True when the request was carried out before, under the same key. */
  readonly isRepeated: boolean
}

/** The rate of one user, and from when on the next request is taken. */
interface UserRate {
  readonly limit: RateLimit
  readyAt: number
}

/** Users whose rates are remembered. */
const mostRates = 10_000

/** Bytes of a publish beside payload and topic, as a packet has them. */
const overheadBytes = 8

/** Pause asked for when the hub has no room. */
const pauseMs = 5_000

/**
 * Publishes for callers that have no MQTT connection: through the spool as any publish, by the rules of the user, and
 * with an answer when the messages are on disk.
 */
export class DirectPublisher {
  readonly #options: DirectPublisherOptions
  readonly #rates = new Map<string, UserRate>()
  /** Limits of each user. They may be changed while the hub runs. */
  rates: Rates

  constructor(options: DirectPublisherOptions) {
    this.#options = options
    this.rates = options.rates
  }

  /**
   * Publishes messages of a user, who is empty for callers that everything is allowed. Resolves when all are on disk and
   * distributed. Rejects with `forbidden` and the rule when one is not allowed, with `too_many` beyond the rates, with
   * `overloaded`: then none is published; or with {@link MessagesRefused} when the spool has not kept all of them.
   */
  async publish(user: string, messages: readonly Outward[], given?: RequestKey): Promise<PublishReceipt> {
    const { keys } = this.#options
    if (!given) return { sequences: await this.#send(user, messages, undefined, []), isRepeated: false }
    const request = await keys.enter(user, given, messages.length)
    const sequences = sequencesOf(request)
    if (isComplete(request)) return { sequences, isRepeated: true }
    try {
      return { sequences: await this.#send(user, messages, request, sequences), isRepeated: false }
    } finally {
      keys.leave(request, sequences)
    }
  }

  /**
   * Publishes a message that comes from another broker, by the rules of a user, who is empty where everything is allowed.
   * Resolves when it is on disk and distributed; several are published in the order of the calls. Rejects with
   * `forbidden` when the rules do not allow it, with another error when it is not kept.
   */
  publishFrom(clientId: string, user: string, message: Outward): Promise<void> {
    const { authority, refusals, sink } = this.#options
    const { topic } = message
    const access = user === '' ? undefined : authority.access(user, clientId)
    const fault = publishFault(topic) ?? (user === '' || access?.mayPublish(topic) ? undefined : notAllowed)
    if (fault !== undefined) {
      const reason = fault === notAllowed ? (faultOf(access?.publish(topic), user) ?? fault) : fault
      refusals.refusedRequest(clientId, user, topic, reason, 1)
      return Promise.reject(new HubError('forbidden', `${topic} may not be published to: ${reason}`))
    }
    return new Promise((resolve, reject) => {
      const settle: PendingPublish['settle'] = error => (error ? reject(error) : resolve())
      sink.accept({ ...message, clientId, user, packetId: 0, isAwaited: true, settle }, true)
    })
  }

  /** Publishes messages that have no sequence number yet, in one go: they follow each other in the spool. */
  async #send(
    user: string,
    messages: readonly Outward[],
    request: KeyedRequest | undefined,
    sequences: number[],
  ): Promise<number[]> {
    const missing = [...messages.keys()].filter(index => !sequences[index])
    const some = missing.map(index => messages[index] as Outward)
    this.#admit(user, messages)
    this.#spend(user, some)
    const clientId = requestClientId(user)
    const errors = new Map<number, Error>()
    await Promise.all(
      missing.map((index, i) => {
        const message = some[i] as Outward
        const properties = request ? withKey(request, index, message.properties) : message.properties
        return new Promise<void>(resolve => {
          const settle: PendingPublish['settle'] = (error, sequence) => {
            if (error) errors.set(index, error)
            else sequences[index] = sequence
            resolve()
          }
          const publish = { ...message, properties, clientId, user, packetId: 0, isAwaited: true, settle }
          this.#options.sink.accept(publish, true)
        })
      }),
    )
    if (errors.size > 0) throw refused(errors, sequences)
    return sequences
  }

  /** Throws unless the user may publish all of the messages. */
  #admit(user: string, messages: readonly Outward[]): void {
    const { authority, refusals } = this.#options
    const clientId = requestClientId(user)
    const access = user === '' ? undefined : authority.access(user, clientId)
    for (const [index, { topic }] of messages.entries()) {
      if (topic.charCodeAt(0) !== dollar && (!access || access.mayPublish(topic))) continue
      const reason = publishFault(topic) ?? faultOf(access?.publish(topic), user) ?? ''
      refusals.refusedRequest(clientId, user, topic, reason, messages.length)
      throw new MessagesRefused('forbidden', `${topic} may not be published to: ${reason}`, index)
    }
  }

  /** Throws when the hub, or the user, has published as much as can be taken now. */
  #spend(user: string, messages: readonly Outward[]): void {
    const { fanOut, monotonic, sink } = this.#options
    if (sink.overloaded || fanOut.overloaded) {
      const sentence = 'more messages wait for the disk or for subscribers than the hub can take now'
      throw new HubError('overloaded', sentence, { retryAfterMs: 1_000 })
    }
    const now = monotonic.now()
    const rate = this.#rateOf(user, now)
    const waitMs = rate.readyAt - now
    if (waitMs > 0) {
      const sentence = `user ${user || '(none)'} publishes more than limits.messages or limits.bytes allow`
      throw new HubError('too_many', sentence, { retryAfterMs: waitMs })
    }
    for (const { topic, payload } of messages) {
      const bytes = payload.length + topic.length + overheadBytes
      rate.readyAt = now + rate.limit.take(this.rates, bytes, now) * 1_000
    }
  }

  #rateOf(user: string, now: number): UserRate {
    const known = this.#rates.get(user)
    if (known) return known
    if (this.#rates.size >= mostRates) this.#rates.clear()
    const rate = { limit: new RateLimit(), readyAt: 0 }
    rate.limit.fill(this.rates, now)
    this.#rates.set(user, rate)
    return rate
  }
}

const dollar = 36
const notAllowed = 'the user is not known'

/** Returns the error of a request of which the spool has refused messages. */
function refused(errors: ReadonlyMap<number, Error>, sequences: readonly number[]): Error {
  const index = Math.min(...errors.keys())
  const error = errors.get(index) as Error
  const kept = [...sequences.entries()].flatMap(([index, sequence]) => (sequence ? [{ index, sequence }] : []))
  const code = error instanceof HubError ? error.code : 'spool_failed'
  return new MessagesRefused(code, error.message, index, { kept, retryAfterMs: pauseMs, cause: error })
}

/** Returns how much a user may publish in a second without an MQTT connection: as much as through one. */
export function ratesOf(settings: Settings): Rates {
  return { messages: settings['limits.messages'], bytes: settings['limits.bytes'] }
}
