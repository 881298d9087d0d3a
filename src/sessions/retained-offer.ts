import type { QoS } from '../model.js'
import type { Retained, RetainedMessages } from './retained.js'
import type { Session } from './session.js'
import type { SessionsOptions } from './sessions-options.js'
import { reachOf } from './subscription.js'

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
  const found = atMost(qos, rightful(mayRetain, undelivered(session, until, retained.search(filter))))
  const others = session.subscriptions.get(filter)?.noLocal ? notOf(session, found) : found
  return reachOf(session.access, filter) === 'all' ? others : permitted(session, others)
}

/** Maximum number of messages looked at in one turn when none of them may be delivered. */
const lookedAt = 256

/** Yields messages that the session did not get when published: `until` had been retained at the subscription. */
function* undelivered(
  session: Session,
  until: number,
  found: Iterable<Retained | undefined>,
): Generator<Retained | undefined> {
  for (const message of found) if (!message || message.change <= until || session.hasMissed) yield message
}

/** Yields messages that other clients have published. [MQTT-3.8.3-3] */
function* notOf({ clientId, user }: Session, found: Iterable<Retained | undefined>): Generator<Retained | undefined> {
  for (const message of found) if (message?.clientId !== clientId || (message.user ?? '') !== user) yield message
}

/** Yields messages whose publishers may still publish there; undefined is a pause. */
function* rightful(
  mayRetain: SessionsOptions['mayRetain'],
  found: Iterable<Retained | undefined>,
): Generator<Retained | undefined> {
  let looked = 0
  for (const message of found) {
    if (!message?.user || !mayRetain || mayRetain(message.user, message.clientId, message.topic)) {
      looked = 0
      yield message
    } else if (++looked === lookedAt) {
      looked = 0
      yield undefined
    }
  }
}

/** Yields messages that the session may read; undefined is a pause. */
function* permitted<T extends { readonly topic: string }>(
  session: Session,
  found: Iterable<T | undefined>,
): Generator<T | undefined> {
  let looked = 0
  for (const message of found) {
    if (message === undefined || session.mayReceive(message.topic)) {
      looked = 0
      yield message
    } else if (++looked === lookedAt) {
      looked = 0
      yield undefined
    }
  }
}

/** Yields messages with their QoS lowered to `limit`. */
function* atMost(limit: QoS, messages: Iterable<Retained | undefined>): Generator<Retained | undefined> {
  for (const message of messages) yield message && message.qos > limit ? lowered(message, limit) : message
}

function lowered(message: Retained, qos: QoS): Retained {
  const { topic, payload, clientId, user, properties, expiresAt, change } = message
  return { topic, payload, qos, clientId, user, properties, expiresAt, change }
}
