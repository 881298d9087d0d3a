import mqtt, { type MqttClient } from 'mqtt'
import { ApiError, type Credentials, fetchCredentials, hubNow, type Quality, type Value } from './api.js'

export interface LastValue {
  readonly series: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly field: string
  readonly value: Value
  readonly unit?: string
}

/** What the hub keeps on `$hub/last/{topic}`. */
export interface LastReading {
  readonly topic: string
  readonly time: number
  readonly received: number
  readonly quality: Quality
  readonly values: readonly LastValue[]
}

/** What the hub keeps on `$hub/presence/{clientId}`. */
export interface Presence {
  readonly clientId: string
  readonly user: string
  readonly online: boolean
  readonly since: number
}

/** What the hub last refused a client; it is kept on `$hub/why/{clientId}`. */
export interface Refusal {
  readonly clientId: string
  readonly user: string
  readonly action: 'connect' | 'publish' | 'subscribe' | 'receive'
  readonly topic: string
  readonly reason: string
  readonly time: number
}

export type FeedState = 'live' | 'connecting' | 'offline'

/** What the page asks the broker for. */
const filters = { readings: '$hub/last/#', presence: '$hub/presence/#', refusals: '$hub/why/+' } as const
export type FeedPart = keyof typeof filters

export interface FeedHandlers {
  /** `reason` says why not, when there is more to say than the state. */
  state(state: FeedState, reason: string): void
  /** Subscribed (again) to all but `denied`: whatever happened in between has to be asked for. */
  subscribed(denied: readonly FeedPart[]): void
  reading(reading: LastReading, retained: boolean): void
  presence(presence: Presence): void
  refusal(refusal: Refusal): void
}

const last = '$hub/last/'
const presence = '$hub/presence/'
const why = '$hub/why/'
const reconnectEvery = 2000
/** Reconnecting for longer than this is called offline. */
const patience = 10_000
/** A tab that was hidden this long may hold a socket that died unnoticed. */
const asleepAfter = 60_000
/** The share of its life after which a password is renewed: a hidden tab's timers run late by up to a minute. */
const renewAt = { seen: 0.8, hidden: 0.6 }
const shortestLife = 5000

/** The hub's pushes over MQTT in a WebSocket. Reconnects by itself for as long as the page is open. */
export class Feed {
  readonly clientId: string
  readonly #handlers: FeedHandlers
  readonly #decoder = new TextDecoder()
  /** One for each attempt: what comes of an earlier one is no longer heard. */
  #client: MqttClient | undefined
  #attempt = 0
  #attempting = false
  #again: ReturnType<typeof setTimeout> | undefined
  #state: FeedState = 'connecting'
  #refusal = ''
  #patience: ReturnType<typeof setTimeout> | undefined
  #hiddenAt = 0
  #heardAt = 0
  /** When the password was given, and how long it is good for; no life: it needs no renewal. */
  #password = { at: 0, life: 0 }
  #renewal: ReturnType<typeof setTimeout> | undefined

  constructor(clientId: string, handlers: FeedHandlers) {
    this.clientId = clientId
    this.#handlers = handlers
  }

  start(): void {
    this.#lost()
    void this.#connect()
    addEventListener('online', () => this.#wake())
    addEventListener('offline', () => this.#enter('offline', 'This computer is offline'))
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.#hiddenAt = Date.now()
      else this.#wake()
      this.#renewLater()
    })
  }

  async #connect(): Promise<void> {
    clearTimeout(this.#again)
    const attempt = ++this.#attempt
    this.#attempting = true
    this.#client?.end(true)
    this.#client = undefined
    const credentials = await fetchCredentials().catch((error: unknown) => {
      if (attempt === this.#attempt) this.#refusal = refusalOf(error)
      return undefined
    })
    if (attempt !== this.#attempt) return
    if (!credentials) return this.#failed()
    this.#given(credentials)
    const { username, password } = credentials
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    const client = mqtt.connect(`${scheme}://${location.host}/mqtt`, {
      protocolVersion: 4,
      clean: true,
      clientId: this.clientId,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      // The next attempt needs a new password.
      reconnectPeriod: 0,
      connectTimeout: 8000,
      // A hidden tab's timers run once a minute: the broker's limit of 1.5 times this stays above it.
      keepalive: 60,
      timerVariant: 'native',
      resubscribe: false,
    })
    this.#client = client
    client.on('connect', () => {
      if (client === this.#client) void this.#subscribe(client)
    })
    client.on('close', () => {
      if (client === this.#client) this.#failed()
    })
    client.on('error', error => {
      if (client !== this.#client) return
      this.#refusal = /not authorized|bad user/i.test(error.message) ? 'The hub does not let this page in' : ''
    })
    client.on('message', (topic, payload, packet) => {
      if (client === this.#client) this.#take(topic, payload, packet.retain)
    })
  }

  /** Not connected, or no longer: again in a while. */
  #failed(): void {
    this.#attempting = false
    clearTimeout(this.#renewal)
    clearTimeout(this.#again)
    this.#again = setTimeout(() => void this.#connect(), reconnectEvery)
    this.#lost()
  }

  /** Each filter on its own: what a user may not read takes nothing else away. */
  async #subscribe(client: MqttClient): Promise<void> {
    this.#attempting = false
    this.#heardAt = Date.now()
    this.#renewLater()
    const parts = Object.keys(filters) as FeedPart[]
    const denied = new Set<FeedPart>()
    const subscribe = (part: FeedPart) =>
      client.subscribeAsync(filters[part], { qos: 0 }).catch(() => {
        denied.add(part)
      })
    await Promise.all(parts.map(subscribe))
    if (client !== this.#client || !client.connected) return
    this.#refusal = denied.size < parts.length ? '' : 'The hub does not let this page read its pushes'
    if (this.#refusal) return this.#enter('offline', this.#refusal)
    clearTimeout(this.#patience)
    this.#patience = undefined
    this.#enter('live', '')
    this.#handlers.subscribed([...denied])
  }

  #given({ expires }: Credentials): void {
    this.#password = { at: Date.now(), life: expires === undefined ? 0 : Math.max(shortestLife, expires - hubNow()) }
  }

  /** Renews the password of this connection in good time. */
  #renewLater(): void {
    clearTimeout(this.#renewal)
    const { at, life } = this.#password
    if (life === 0 || !this.#client?.connected) return
    const due = at + life * renewAt[document.hidden ? 'hidden' : 'seen']
    this.#renewal = setTimeout(() => void this.#renew(), Math.max(0, due - Date.now()))
  }

  async #renew(): Promise<void> {
    const client = this.#client
    const credentials = await fetchCredentials().catch(() => undefined)
    if (client !== this.#client) return
    if (credentials) this.#given(credentials)
    if (credentials) return this.#renewLater()
    // As long as the hub keeps the connection; when it does not, there is a new one.
    this.#renewal = setTimeout(() => void this.#renew(), reconnectEvery)
  }

  #lost(): void {
    if (!navigator.onLine || this.#refusal) this.#enter('offline', this.#refusal || 'This computer is offline')
    else if (this.#state === 'live') this.#enter('connecting', '')
    this.#patience ??= setTimeout(() => {
      if (this.#state !== 'live') this.#enter('offline', this.#refusal || 'The hub does not answer')
    }, patience)
  }

  /** The page is looked at again, or the network is back: do not wait for the next turn. */
  #wake(): void {
    if (document.hidden) return
    const slept = this.#hiddenAt > 0 && Date.now() - this.#hiddenAt > asleepAfter
    this.#hiddenAt = 0
    const silent = Date.now() - this.#heardAt > asleepAfter / 4
    if (this.#client?.connected ? slept && silent : !this.#attempting) void this.#connect()
  }

  #enter(state: FeedState, reason: string): void {
    this.#state = state
    this.#handlers.state(state, reason)
  }

  #take(topic: string, payload: Uint8Array, retained: boolean): void {
    this.#heardAt = Date.now()
    // An empty payload takes a retained value away; the tile stays and grows stale.
    if (payload.length === 0) return
    let body: unknown
    try {
      body = JSON.parse(this.#decoder.decode(payload))
    } catch {
      return
    }
    if (topic.startsWith(last)) this.#handlers.reading(body as LastReading, retained)
    else if (topic.startsWith(presence)) this.#handlers.presence(body as Presence)
    else if (topic.startsWith(why)) this.#handlers.refusal(body as Refusal)
  }
}

/** Why there is no password; empty when the hub did not answer, which says itself. */
function refusalOf(error: unknown): string {
  if (!(error instanceof ApiError)) return ''
  return error.status === 401 ? 'This page is not signed in' : error.message.replace(/\.$/, '')
}
