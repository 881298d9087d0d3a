import { createHmac } from 'node:crypto'
import { call, requireTaken } from './http-call.js'
import type { AlertMessage } from './message.js'
import type { WebhookTargetPlan } from './plan.js'
import type { NotifyTarget } from './target.js'
import { escapeFor, fill, type TemplateValues } from './template.js'

/** Makes the values of a template, with the right to acknowledge. */
export interface ValuesMaker {
  valuesFor(message: AlertMessage, address: string): TemplateValues
  /** Returns the right to acknowledge the alerts of a message; empty when there are none, or too many. */
  tokenFor(message: AlertMessage, address: string): string
}

/** Sends a request for each message, signed as Standard Webhooks 1.0 says. */
export class WebhookTarget implements NotifyTarget {
  readonly #plan: WebhookTargetPlan
  readonly #values: ValuesMaker

  constructor(plan: WebhookTargetPlan, values: ValuesMaker) {
    this.#plan = plan
    this.#values = values
  }

  async send(message: AlertMessage, address: string, signal: AbortSignal): Promise<void> {
    const { url, method, secret, headers, contentType, body: template } = this.#plan
    const values = this.#values.valuesFor(message, address)
    const body = Buffer.from(fill(template, values, escapeFor(contentType)))
    // The time of the attempt: receivers reject old ones, which somebody may have recorded.
    const seconds = String(Math.floor(Date.now() / 1_000))
    const signed = {
      'webhook-id': message.id,
      'webhook-timestamp': seconds,
      ...(secret && { 'webhook-signature': sign(secret, `${message.id}.${seconds}.`, body) }),
    }
    const all = { ...headers, 'content-type': contentType, ...signed }
    requireTaken(await call({ url: new URL(url), method, headers: all, body, signal, isPublicOnly: false }))
  }
}

/** Returns `v1,` and the HMAC-SHA256 in base64. A secret that begins with `whsec_` is base64. */
function sign(secret: string, head: string, body: Buffer): string {
  const prefix = 'whsec_'
  const key = secret.startsWith(prefix) ? Buffer.from(secret.slice(prefix.length), 'base64') : Buffer.from(secret)
  return `v1,${createHmac('sha256', key).update(head).update(body).digest('base64')}`
}
