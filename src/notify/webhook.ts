import { webhookHeaders } from '../runtime/webhook-signature.js'
import { callTarget, requireTaken } from './http-call.js'
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
    const all = { ...headers, 'content-type': contentType, ...webhookHeaders(message.id, secret, body) }
    requireTaken(await callTarget({ url: new URL(url), method, headers: all, body, signal, isPublicOnly: false }))
  }
}
