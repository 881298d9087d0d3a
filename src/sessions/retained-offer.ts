import type { QoS } from '../model.js'
import type { Retained, RetainedMessages } from './retained.js'
import type { Session } from './session.js'
import type { SessionsOptions } from './sessions-options.js'
import { reachOf } from './subscription.js'

/** Maximum number of messages looked at in one turn when none of them may be delivered. */
const lookedAt = 256

/**
 * Returns the retained messages to send to a new subscription, at the lower QoS, looked up one by one; undefined is a
 * pause. `until` is the number of messages that had been retained when the subscription was made. `mayRetain` as in
 * {@link SessionsOptions}.
 */
export function retainedFor(
  session: Session,
  filter: string,
  qos: QoS,
  retained: RetainedMessages,
  until: number,
  mayRetain: SessionsOptions['mayRetain'],
): Iterable<Retained | undefined> {
  return new RetainedOffer(session, filter, qos, retained.search(filter), until, mayRetain)
}

class RetainedOffer implements IterableIterator<Retained | undefined> {
  readonly #session: Session
  readonly #qos: QoS
  readonly #found: Iterator<Retained | undefined>
  readonly #until: number
  readonly #mayRetain: SessionsOptions['mayRetain']
  readonly #noLocal: boolean
  readonly #readsAll: boolean

  constructor(
    session: Session,
    filter: string,
    qos: QoS,
    found: Iterator<Retained | undefined>,
    until: number,
    mayRetain: SessionsOptions['mayRetain'],
  ) {
    this.#session = session
    this.#qos = qos
    this.#found = found
    this.#until = until
    this.#mayRetain = mayRetain
    this.#noLocal = session.subscriptions.get(filter)?.noLocal === true
    this.#readsAll = reachOf(session.access, filter) === 'all'
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<Retained | undefined, undefined> {
    for (let looked = 0; looked < lookedAt; looked++) {
      const found = this.#found.next()
      if (found.done) return { done: true, value: undefined }
      const message = found.value
      if (message === undefined) return { done: false, value: undefined }
      if (!this.#isDue(message)) continue
      return message.qos > this.#qos
        ? { done: false, value: lowered(message, this.#qos) }
        : { done: false, value: message }
    }
    return { done: false, value: undefined }
  }

  #isDue(message: Retained): boolean {
    const { change, clientId, user = '', topic } = message
    const session = this.#session
    // A message that was retained later has been delivered live.
    if (change > this.#until && !session.hasMissed) return false
    // [MQTT-3.8.3-3]
    if (this.#noLocal && clientId === session.clientId && user === session.user) return false
    // The publisher must still be permitted to publish there.
    if (user && this.#mayRetain && !this.#mayRetain(user, clientId, topic)) return false
    return this.#readsAll || session.mayReceive(topic)
  }
}

function lowered(message: Retained, qos: QoS): Retained {
  const { topic, payload, clientId, user, properties, expiresAt, change } = message
  return { topic, payload, qos, clientId, user, properties, expiresAt, change }
}
