import type { HostSlots } from './host-slots.js'
import { callTarget, requireTaken } from './http-call.js'
import type { HubKeys } from './hub-keys.js'
import { type AlertMessage, cut, severityOf, stateOf, textOf, titleOf } from './message.js'
import type { PushTargetPlan } from './plan.js'
import type { Subscriptions } from './subscriptions.js'
import { type NotifyTarget, SubscriptionGone, TargetGone } from './target.js'
import { linkOf } from './template.js'
import type { ValuesMaker } from './webhook.js'

export interface WebPushOptions {
  readonly plan: PushTargetPlan
  readonly keys: HubKeys
  readonly contact: string
  readonly zone: string
  readonly subscriptions: Subscriptions
  readonly values: ValuesMaker
  readonly slots: HostSlots
}

/** How long a push service keeps a message for a browser that is off, in seconds: about as long as alerts matter. */
const keptSeconds = 86_400
/** Bytes of a notification: all services take 4,096 with the overhead of encryption (RFC 8030 §7.2). */
const maxPayload = 3_800

/** Sends messages to browsers, encrypted for each of them (RFC 8030, 8291, 8292). */
export class WebPushTarget implements NotifyTarget {
  readonly #options: WebPushOptions

  constructor(options: WebPushOptions) {
    this.#options = options
  }

  async send(message: AlertMessage, address: string, signal: AbortSignal): Promise<void> {
    const { plan, keys, contact, subscriptions, slots } = this.#options
    const subscription = subscriptions.get(address.split('/')[1] ?? '')
    if (!subscription) throw new TargetGone('the subscription was ended')
    const { endpoint, p256dh, auth } = subscription
    const { generateRequestDetails } = (await import('web-push')).default
    const isUrgent = stateOf(message) === 'firing' && severityOf(message) !== 'info'
    const details = generateRequestDetails({ endpoint, keys: { p256dh, auth } }, this.#payload(message, address), {
      vapidDetails: { subject: contact, publicKey: keys.publicKey, privateKey: keys.privateKey },
      contentEncoding: 'aes128gcm',
      TTL: keptSeconds,
      urgency: isUrgent ? 'high' : 'normal',
    })
    const url = new URL(endpoint)
    const answer = await slots.run(url.host, signal, () =>
      callTarget({
        url,
        method: 'POST',
        headers: details.headers as Record<string, string>,
        body: details.body,
        signal,
        isPublicOnly: !plan.private,
      }),
    )
    // RFC 8030 §7.3: the subscription is over.
    if (answer.status === 404 || answer.status === 410) throw new SubscriptionGone(`answers with ${answer.status}`)
    requireTaken(answer)
  }

  /** Returns the notification as JSON, for the service worker. Texts of many bytes are cut until it fits. */
  #payload(message: AlertMessage, address: string): string {
    const whole = this.#json(message, address, 750, pathOf(message))
    return Buffer.byteLength(whole) <= maxPayload ? whole : this.#json(message, address, 150, '/')
  }

  #json(message: AlertMessage, address: string, length: number, url: string): string {
    const { zone, values } = this.#options
    const alerts = new Set(message.lines.map(({ alert }) => alert))
    const [alert] = alerts
    const token = values.tokenFor(message, address)
    return JSON.stringify({
      id: message.id,
      title: cut(titleOf(message), Math.min(length, 200)),
      body: cut(textOf(message, zone), length),
      severity: severityOf(message),
      state: stateOf(message),
      // A later notification about the same alert replaces the one before.
      tag: alerts.size === 1 && message.more === 0 && alert ? alert : message.id,
      url,
      at: message.made,
      ...(token && { token }),
    })
  }
}

/** Returns the address of the page about a message, within the dashboard. */
function pathOf(message: AlertMessage): string {
  return linkOf('https://hub', message).slice('https://hub'.length)
}
