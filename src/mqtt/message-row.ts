import type { Message } from '../model.js'
import { decodeProperties } from './message-properties.js'

/** Returns what answers say of a message beside topic and payload. Times in milliseconds. */
export function describeMessage(message: Message) {
  const { clientId, user, qos, retain, sequence, receivedAt } = message
  return { clientId, user, qos, retain, sequence, receivedAt: receivedAt / 1_000, ...describeProperties(message) }
}

/** Returns the MQTT 5 properties of a message, if there are any. */
function describeProperties({ properties, expiresAt }: Message) {
  const { correlationData, ...texts } = (properties && decodeProperties(properties)) ?? {}
  return {
    ...texts,
    ...(correlationData && { correlationData: Buffer.from(correlationData).toString('base64') }),
    ...(expiresAt !== undefined && { expiresAt: expiresAt / 1_000 }),
  }
}
