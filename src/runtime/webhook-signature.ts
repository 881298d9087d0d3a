import { createHmac } from 'node:crypto'

/**
 * Returns the headers of a request by Standard Webhooks 1.0: the id, the time of the attempt, and the signature of both
 * and of the body.
 *
 * @param secret Key of the signature. One that begins with `whsec_` is base64. Empty: no signature.
 */
export function webhookHeaders(id: string, secret: string, body: Buffer): Readonly<Record<string, string>> {
  // The time of the attempt: receivers reject old ones, which somebody may have recorded.
  const seconds = String(Math.floor(Date.now() / 1_000))
  return {
    'webhook-id': id,
    'webhook-timestamp': seconds,
    ...(secret && { 'webhook-signature': sign(secret, `${id}.${seconds}.`, body) }),
  }
}

/** Returns `v1,` and the HMAC-SHA256 in base64. */
function sign(secret: string, head: string, body: Buffer): string {
  const prefix = 'whsec_'
  const key = secret.startsWith(prefix) ? Buffer.from(secret.slice(prefix.length), 'base64') : Buffer.from(secret)
  return `v1,${createHmac('sha256', key).update(head).update(body).digest('base64')}`
}
