import { endSubscription, fetchPush, subscribe } from './api.js'
import { element, put } from './nodes.js'
import { say } from './texts/language.js'

/** Texts that the browser itself shows. */
export interface PushTexts {
  /** The notification which says that notifications work. */
  readonly title: string
  readonly body: string
  /** Why there is no subscription when the browser does not allow notifications. */
  readonly refused: string
}

/** The subscription of this browser to notifications. */
export class PushSubscriber {
  /** Whether there can be one: the browser has notifications, and the page is secure. */
  readonly isPossible =
    isSecureContext && 'serviceWorker' in navigator && 'PushManager' in window && 'Notification' in window
  #subscription: PushSubscription | undefined
  #id: string | undefined

  get isOn(): boolean {
    return this.#subscription !== undefined
  }

  /** Finds the state. A browser that has subscribed tells the hub again, which may have lost what was so. */
  async start(): Promise<void> {
    if (!this.isPossible) return
    try {
      const registration = await navigator.serviceWorker.getRegistration('/')
      const subscription = (await registration?.pushManager.getSubscription()) ?? undefined
      if (subscription) await this.#tell(subscription)
    } catch {
      // The button tries again, and says why not.
    }
  }

  /** Subscribes, or ends the subscription. Rejects with a sentence. */
  async toggle(texts: PushTexts): Promise<void> {
    if (this.#subscription) await this.#end(this.#subscription)
    else await this.#begin(texts)
  }

  async #begin({ title, body, refused }: PushTexts): Promise<void> {
    if ((await Notification.requestPermission()) !== 'granted') throw new Error(refused)
    await navigator.serviceWorker.register('/service-worker.js', { scope: '/' })
    const registration = await navigator.serviceWorker.ready
    const { publicKey } = await fetchPush()
    const old = await registration.pushManager.getSubscription()
    // A subscription for another key, of a hub that was here before, cannot be used.
    await old?.unsubscribe()
    const options = { userVisibleOnly: true, applicationServerKey: bytesOf(publicKey) }
    await this.#tell(await registration.pushManager.subscribe(options))
    await registration.showNotification(title, { body, tag: 'telehub', data: { url: '/', tag: 'telehub' } })
  }

  async #tell(subscription: PushSubscription): Promise<void> {
    this.#id = await subscribe(subscription.toJSON())
    await keepTexts()
    this.#subscription = subscription
  }

  async #end(subscription: PushSubscription): Promise<void> {
    await subscription.unsubscribe()
    this.#subscription = undefined
    if (this.#id) await endSubscription(this.#id)
  }
}

const texts: PushTexts = {
  title: say('notify.on'),
  body: say('notify.on-text'),
  refused: say('notify.denied'),
}

/** The switch for notifications on this device. Hidden where the browser has none, or the page is not secure. */
export class PushSwitch {
  readonly #section = element('notify')
  readonly #button = element<HTMLButtonElement>('notify-switch')
  readonly #note = element('notify-note')
  readonly #subscriber = new PushSubscriber()

  constructor() {
    this.#button.addEventListener('click', () => void this.#toggle())
  }

  /** Shows the state. */
  async start(): Promise<void> {
    this.#section.hidden = !this.#subscriber.isPossible
    await this.#subscriber.start()
    this.#draw()
  }

  async #toggle(): Promise<void> {
    this.#button.disabled = true
    put(this.#note, '')
    try {
      await this.#subscriber.toggle(texts)
    } catch (error) {
      put(this.#note, say('notify.failed', { why: error instanceof Error ? error.message : String(error) }))
    } finally {
      this.#button.disabled = false
      this.#draw()
    }
  }

  #draw(): void {
    const { isOn } = this.#subscriber
    put(this.#button, say(isOn ? 'notify.stop' : 'notify.start'))
    this.#button.setAttribute('aria-pressed', String(isOn))
  }
}

/** Keeps the texts of notifications for the service worker, which has no page to ask for the language. */
async function keepTexts(): Promise<void> {
  const names = ['acknowledge', 'again', 'not-acknowledged', 'silent', 'changed'] as const
  const kept = Object.fromEntries(names.map(name => [name, say(`notify.${name}`)]))
  // Without storage, notifications are in English.
  const cache = await caches.open('telehub-texts').catch(() => undefined)
  await cache?.put('/notification-texts', new Response(JSON.stringify(kept))).catch(() => {})
}

/** Returns the bytes of a text in base64url. */
function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  return Uint8Array.from(binary, char => char.charCodeAt(0))
}
