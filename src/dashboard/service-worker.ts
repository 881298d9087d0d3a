/*
 * The service worker of the dashboard: shows the notifications that the hub sends, also when no page is open, and the page
 * `offline.html` when the hub cannot be reached. A script, not a module, as not every browser takes modules here. The
 * dashboard itself is never taken from a cache, as people want to see what is so now.
 */
{
  /** A notification of the hub: what `WebPushTarget` sends. */
  interface HubNotification {
    readonly id: string
    readonly title: string
    readonly body: string
    readonly severity: 'info' | 'warning' | 'critical'
    readonly state: string
    readonly tag: string
    /** Address within the dashboard. */
    readonly url: string
    readonly at: number
    /** Right to acknowledge; left out when there is nothing to acknowledge. */
    readonly token?: string
  }

  interface ExtendableEvent extends Event {
    waitUntil(work: Promise<unknown>): void
  }

  interface Shown extends NotificationOptions {
    readonly actions?: readonly { readonly action: string; readonly title: string }[]
    readonly renotify?: boolean
    readonly timestamp?: number
  }

  interface Tab {
    readonly url: string
    focus(): Promise<unknown>
    navigate(url: string): Promise<unknown>
  }

  /** The part of the worker's global scope that is used. */
  interface Scope extends EventTarget {
    readonly registration: { showNotification(title: string, options: Shown): Promise<void> }
    readonly clients: {
      claim(): Promise<void>
      matchAll(options: { readonly type: 'window' }): Promise<readonly Tab[]>
      openWindow(url: string): Promise<unknown>
    }
    skipWaiting(): Promise<void>
  }

  const scope = self as unknown as Scope
  const on = <E extends Event>(type: string, handle: (event: E) => Promise<unknown>) =>
    scope.addEventListener(type, event => (event as unknown as ExtendableEvent).waitUntil(handle(event as E)))

  on('install', () => scope.skipWaiting())
  on('activate', () => scope.clients.claim())

  on<Event & { readonly data?: { json(): HubNotification } }>('push', async ({ data }) => {
    const texts = await textsOf()
    const { title, body, severity, state, tag, url, at, token } = data?.json() ?? unreadable(texts)
    const isFiring = state === 'firing'
    await scope.registration.showNotification(title, {
      body,
      tag,
      // A repetition is silent; a new state of the same alert is not.
      renotify: true,
      silent: severity === 'info' && !isFiring,
      requireInteraction: isFiring && severity === 'critical',
      timestamp: at,
      data: { url, token, tag },
      ...(token && { actions: [{ action: 'acknowledge', title: texts.acknowledge }] }),
    })
  })

  interface FetchEvent extends Event {
    readonly request: Request
    respondWith(answer: Promise<Response>): void
  }

  /** The cache that `offline/state.ts` names, too. Pages put in what is needed. */
  const offlineCache = 'telehub-offline'

  scope.addEventListener('fetch', event => {
    const { request, respondWith } = event as FetchEvent
    const { pathname, origin } = new URL(request.url)
    const isPage = request.mode === 'navigate' && (pathname === '/' || pathname === '/login')
    // Everything else goes the usual way.
    if (request.method !== 'GET' || origin !== location.origin) return
    if (isPage || pathname.startsWith('/assets/'))
      respondWith.call(event, answer(request, isPage ? '/offline' : pathname))
  })

  /** Answers from the network; without one, from the cache. */
  async function answer(request: Request, kept: string): Promise<Response> {
    try {
      return await fetch(request)
    } catch (error) {
      const found = await (await caches.open(offlineCache)).match(kept)
      if (found) return found
      throw error
    }
  }

  /** Texts of the worker; in English until a page has left others for it. */
  const english = {
    ...{ acknowledge: 'Acknowledge', again: 'Try again', 'not-acknowledged': 'Not acknowledged' },
    ...{ silent: 'the hub does not answer', changed: 'Something has changed; open the dashboard.' },
  }

  /** Resolves with the texts in the language of the page that has subscribed. */
  async function textsOf(): Promise<typeof english> {
    const kept = await caches.match('/notification-texts', { cacheName: 'telehub-texts' }).catch(() => undefined)
    return { ...english, ...((await kept?.json().catch(() => ({}))) as Partial<typeof english> | undefined) }
  }

  const unreadable = (texts: typeof english): HubNotification => ({
    ...{ id: '', title: 'telehub', body: texts.changed, severity: 'warning' },
    ...{ state: 'firing', tag: 'telehub', url: '/', at: Date.now() },
  })

  type Clicked = Event & { readonly notification: Notification; readonly action: string }

  on<Clicked>('notificationclick', async ({ notification, action }) => {
    const { url, token, tag } = notification.data as { url: string; token?: string; tag: string }
    notification.close()
    if (action === 'acknowledge' && token) return acknowledge(token, tag, url)
    return open(url)
  })

  /** Acknowledges, and says so; or says why not, as nobody sees a page. */
  async function acknowledge(token: string, tag: string, url: string): Promise<void> {
    const texts = await textsOf()
    let told: string
    try {
      const response = await fetch('/api/notify/acknowledge', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        // The token is all that is needed; the cookie stays out of it.
        credentials: 'omit',
        body: JSON.stringify({ token }),
      })
      if (response.ok) return
      told = ((await response.json()) as { readonly message?: string }).message ?? `status ${response.status}`
    } catch {
      told = texts.silent
    }
    const actions = [{ action: 'acknowledge', title: texts.again }]
    const data = { url, token, tag }
    await scope.registration.showNotification(texts['not-acknowledged'], { body: `${told}.`, tag, data, actions })
  }

  async function open(url: string): Promise<void> {
    const [tab] = await scope.clients.matchAll({ type: 'window' })
    if (!tab) await scope.clients.openWindow(url)
    else await Promise.all([tab.focus(), tab.navigate(url)])
  }
}
