import type { Access } from '../access/rules.js'
import { decodeProperties } from '../mqtt/message-properties.js'
import type { Retained, Sessions } from '../sessions/sessions.js'

/** Longest payload in a list. */
const longestPayload = 4_096

/** Returns the retained message of a topic. */
export function retainedOn(sessions: Pick<Sessions, 'retainedBy'>, topic: string) {
  for (const { payload, clientId, user } of sessions.retainedBy(topic))
    return { bytes: payload.length, clientId, user: user ?? '' }
  return undefined
}

/** Counts the messages that a filter matches, of the topics that may be read, and describes the first ones. */
export async function listRetained(
  sessions: Pick<Sessions, 'retainedOf'>,
  filter: string,
  reader: Pick<Access, 'mayRead'> | undefined,
  most: number,
) {
  const found: Retained[] = []
  let count = 0
  for (const message of sessions.retainedOf(filter).search(filter)) {
    if (message === undefined) {
      await new Promise(resolve => setImmediate(resolve))
      continue
    }
    if (reader && !reader.mayRead(message.topic)) continue
    if (count++ < most) found.push(message)
  }
  found.sort((a, b) => (a.topic < b.topic ? -1 : 1))
  return { count, messages: found.map(describe) }
}

function describe(message: Retained) {
  const { topic, qos, clientId, user, properties, expiresAt } = message
  const { payload } = message
  const { correlationData, ...texts } = (properties && decodeProperties(properties)) ?? {}
  return {
    topic,
    qos,
    clientId,
    user: user ?? '',
    bytes: payload.length,
    payload: payload.subarray(0, longestPayload).toString('base64'),
    ...texts,
    ...(correlationData && { correlationData: Buffer.from(correlationData).toString('base64') }),
    ...(expiresAt !== undefined && { expiresAt: expiresAt / 1_000 }),
  }
}
