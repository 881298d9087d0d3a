import mqtt, { type MqttClient } from 'mqtt'
import type { Quality, Value } from './api.js'

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

export type FeedState = 'live' | 'connecting' | 'offline'

export interface FeedHandlers {
  /** `reason` says why not, when there is more to say than the state. */
  state(state: FeedState, reason: string): void
  /** Subscribed (again): whatever happened in between has to be asked for. */
  subscribed(): void
  reading(reading: LastReading, retained: boolean): void
  presence(presence: Presence): void
}

const last = '$hub/last/'
const presence = '$hub/presence/'
const reconnectEvery = 2000
/** Reconnecting for longer than this is called offline. */
const patience = 10_000
/** A tab that was hidden this long may hold a socket that died unnoticed. */
const asleepAfter = 60_000

/** The hub's pushes over MQTT in a WebSocket. Reconnects by itself for as long as the page is open. */
export class Feed {
  readonly clientId: string
  readonly #handlers: FeedHandlers
  readonly #decoder = new TextDecoder()
  #client: MqttClient | undefined
  #attempting = false
  #state: FeedState = 'connecting'
  #refusal = ''
  #patience: ReturnType<typeof setTimeout> | undefined
  #hiddenAt = 0
  #heardAt = 0

  constructor(clientId: string, handlers: FeedHandlers) {
    this.clientId = clientId
    this.#handlers = handlers
  }

  start(): void {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    this.#attempting = true
    const client = mqtt.connect(`${scheme}://${location.host}/mqtt`, {
      protocolVersion: 4,
      clean: true,
      clientId: this.clientId,
      reconnectPeriod: reconnectEvery,
      reconnectOnConnackError: true,
      connectTimeout: 8000,
      // A hidden tab's timers run once a minute: the broker's limit of 1.5 times this stays above it.
      keepalive: 60,
      timerVariant: 'native',
      resubscribe: false,
    })
    this.#client = client
    client.on('reconnect', () => {
      this.#attempting = true
    })
    client.on('connect', () => this.#subscribe(client))
    client.on('close', () => {
      this.#attempting = false
      this.#lost()
    })
    client.on('error', error => {
      this.#refusal = /not authorized|bad user/i.test(error.message) ? 'The hub does not let this page in' : ''
    })
    client.on('message', (topic, payload, packet) => this.#take(topic, payload, packet.retain))
    this.#lost()

    addEventListener('online', () => this.#wake())
    addEventListener('offline', () => this.#enter('offline', 'This computer is offline'))
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.#hiddenAt = Date.now()
      else this.#wake()
    })
  }

  #subscribe(client: MqttClient): void {
    this.#attempting = false
    this.#refusal = ''
    this.#heardAt = Date.now()
    client.subscribe([`${last}#`, `${presence}#`], { qos: 0 }, error => {
      if (error) {
        this.#refusal = 'The hub does not let this page read its pushes'
        this.#enter('offline', this.#refusal)
        return
      }
      clearTimeout(this.#patience)
      this.#patience = undefined
      this.#enter('live', '')
      this.#handlers.subscribed()
    })
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
    const client = this.#client
    if (!client || document.hidden) return
    const slept = this.#hiddenAt > 0 && Date.now() - this.#hiddenAt > asleepAfter
    this.#hiddenAt = 0
    const silent = Date.now() - this.#heardAt > asleepAfter / 4
    if (client.connected ? slept && silent : !this.#attempting) client.reconnect()
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
  }
}
