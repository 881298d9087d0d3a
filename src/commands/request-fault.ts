import type { Access } from '../access/rules.js'
import { HubError } from '../errors.js'
import { isRequest, publishFault, tooDeep, tooLong } from '../topics.js'
import type { CommandRequest } from './command.js'

/** Longest expiry: what a device has slept through for longer, nobody wants any more. */
export const mostExpiryMs = 30 * 24 * 3_600_000

/** Returns why a command is not taken. Undefined when it is. */
export function requestFault(
  { topic, payload, user, client, expiryMs }: CommandRequest,
  access: Access | undefined,
  packetBytes: number,
): HubError | undefined {
  const large = tooDeep('topic', topic)
  const long = isRequest(topic) ? tooLong('topic', topic) : publishFault(topic)
  const wrong = long ?? (large && `given ${large}, allowed is a shorter one`)
  if (wrong) return new HubError('bad_request', wrong)
  if (expiryMs !== undefined && !(expiryMs >= 1 && expiryMs <= mostExpiryMs)) {
    return new HubError('bad_request', `expiry: given ${expiryMs} ms, allowed is more than 0 and at most 30 days`)
  }
  if (client === '') return new HubError('bad_request', 'client: allowed is a client id')
  if (payload.length + topic.length > packetBytes) {
    const sentence = `the payload has ${payload.length} bytes; limits.packet allows ${packetBytes} with the topic`
    return new HubError('too_large', sentence)
  }
  if (!access || access.mayPublish(topic)) return undefined
  const { rule } = access.publish(topic)
  const why = rule ? `${rule.effect} ${rule.verb} ${rule.filter}` : `no rule of user ${user || '(none)'} allows it`
  return new HubError('forbidden', `${topic} may not be published to: ${why}`)
}
