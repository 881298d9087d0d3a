import { ApiError, type Credentials, fetchCredentials, hubNow, type Quality, type Value } from './api.js'
import { FeedAge, type FeedNotice, type Freshness } from './freshness.js'
import { MqttSocket } from './mqtt-socket.js'
import { say } from './texts/language.js'

export interface LastValue {
  readonly series: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly field: string
  readonly value: Value
  readonly unit?: string
  /** Where it differs from the time of the reading, as for values of earlier messages. */
  readonly time?: number
}

/** Retained message on `$hub/last/{topic}`. */
export interface LastReading {
  readonly topic: string
  readonly time: number
  readonly received: number
  readonly quality: Quality
  /** Series for which the device says that there is no value. */
  readonly absent?: readonly string[]
  readonly values: readonly LastValue[]
  /** Why the newest message of the topic was not stored as it is; `fields`: only these values of the message. */
  readonly refused?: { readonly reason: string; readonly detail: string; readonly fields?: readonly string[] }
}

/** Retained message on `$hub/presence/{clientId}`. */
export interface Presence {
  readonly clientId: string
  readonly user: string
  readonly online: boolean
  readonly since: number
}

/** Retained message on `$hub/why/{clientId}`: the last refusal of a client. */
export interface Refusal {
  readonly clientId: string
  readonly user: string
  readonly action: 'connect' | 'publish' | 'subscribe' | 'receive'
  readonly topic: string
  readonly reason: string
  readonly time: number
}

export type FeedState = 'connecting' | 'offline' | Freshness

/** Topic that tells how late the others are. */
const notices = '$hub/feed'
/** Topic filters that the page subscribes to. */
const filters = {
  readings: '$hub/last/#',
  presence: '$hub/presence/#',
  refusals: '$hub/why/+',
  alerts: '$hub/alerts/#',
  home: '$hub/home',
} as const
export type FeedPart = keyof typeof filters

export interface FeedHandlers {
  /** Called when the state has changed. `reason` explains the state; empty when there is nothing to add. */
  state(state: FeedState, reason: string): void
  /** Called when, in state `behind`, the number of seconds has changed. */
  late(seconds: number): void
  /** Called with each notice that keeps the state `live`. */
  beat(): void
  /** Called when subscribed (again) to all but `denied`. Changes of the time in between have to be fetched. */
  subscribed(denied: readonly FeedPart[]): void
  reading(reading: LastReading, retained: boolean): void
  /** Called when a topic has no newest reading any more. */
  cleared(topic: string): void
  presence(presence: Presence): void
  /** Called when the client with this id has no presence any more. */
  forgotten(clientId: string): void
  refusal(refusal: Refusal): void
  /** Called when an alert has begun, changed or ended. */
  alerts(): void
  /** Called with the revision of the catalogue of devices when that has changed. */
  home(revision: number): void
}

const last = '$hub/last/'
const presence = '$hub/presence/'
const why = '$hub/why/'
const alerts = '$hub/alerts/'
const reconnectEvery = 2000
/** Interval at which the age of the feed is looked at. */
const lookEvery = 500
/** Difference between two clocks from which the computer must have slept, or its clock was set. */
const sleptAfter = 2000
/** Time of reconnecting after which the state is shown as offline. */
const patience = 10_000
/** Time after which a hidden tab may have a socket that died unnoticed. */
const asleepAfter = 60_000
/** Part of a password's life after which a renewal is due: a hidden tab's timers run late by up to a minute. */
const renewAt = { seen: 0.8, hidden: 0.6 }
const shortestLife = 5000

/** The pushes of the hub over MQTT in a WebSocket. Reconnects as long as the page is open. */
export class Feed {
  readonly clientId: string
  readonly #handlers: FeedHandlers
  readonly #decoder = new TextDecoder()
  /** The client of the current attempt; events of earlier ones are ignored. */
  #client: MqttSocket | undefined
  #attempt = 0
  #attempting = false
  #again: ReturnType<typeof setTimeout> | undefined
  #state: 'live' | 'connecting' | 'offline' = 'connecting'
  /** What the handlers were told last. */
  #told: { state: FeedState; reason: string; seconds: number } = { state: 'connecting', reason: '', seconds: 0 }
  readonly #age = new FeedAge()
  /** Difference between the clock that never jumps and the one that does not stop in sleep. */
  #clocks = Date.now() - performance.now()
  #refusal = ''
  #patience: ReturnType<typeof setTimeout> | undefined
  #hiddenAt = 0
  #heardAt = 0
  /** Time at which the password was received, and how long the password is valid; 0: no renewal needed. */
  #password = { at: 0, life: 0 }
  #renewal: ReturnType<typeof setTimeout> | undefined

  constructor(clientId: string, handlers: FeedHandlers) {
    this.clientId = clientId
    this.#handlers = handlers
  }

  start(): void {
    this.#lost()
    void this.#connect()
    setInterval(() => this.#look(), lookEvery)
    addEventListener('online', () => this.#wake())
    addEventListener('offline', () => this.#enter('offline', say('why.offline')))
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
    const before = this.#client
    this.#client = undefined
    before?.end()
    const credentials = await fetchCredentials().catch((error: unknown) => {
      if (attempt === this.#attempt) this.#refusal = refusalOf(error)
      return undefined
    })
    if (attempt !== this.#attempt) return
    if (!credentials) return this.#failed()
    this.#given(credentials)
    const { username, password } = credentials
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    const isThis = () => client === this.#client
    const client: MqttSocket = new MqttSocket(
      `${scheme}://${location.host}/mqtt?packets=joined`,
      { clientId: this.clientId, username, password },
      {
        connected: () => {
          if (isThis()) void this.#subscribe(client)
        },
        arrived: () => {
          if (!isThis()) return
          this.#heardAt = Date.now()
          this.#look()
        },
        message: (topic, payload, retained) => {
          if (isThis()) this.#take(topic, payload, retained)
        },
        closed: isRefused => {
          if (!isThis()) return
          if (isRefused) this.#refusal = say('why.rejected')
          this.#failed()
        },
      },
    )
    this.#client = client
  }

  /** Schedules the next attempt when a connection failed or ended. */
  #failed(): void {
    this.#attempting = false
    clearTimeout(this.#renewal)
    clearTimeout(this.#again)
    this.#again = setTimeout(() => void this.#connect(), reconnectEvery)
    this.#lost()
  }

  /** Subscribes to all filters, of which the hub may refuse some. */
  async #subscribe(client: MqttSocket): Promise<void> {
    this.#attempting = false
    this.#heardAt = Date.now()
    this.#age.begin(performance.now())
    this.#renewLater()
    const parts = Object.keys(filters) as FeedPart[]
    // Notices are first, so that the first one comes before all that may be late.
    const [, ...granted] = await client.subscribe([notices, ...parts.map(part => filters[part])])
    const denied = new Set(parts.filter((_, i) => !granted[i]))
    if (client !== this.#client || !client.isConnected) return
    // Alerts and changes of structure are not what a page without readings could live on.
    const isEmpty = (['readings', 'presence', 'refusals'] as const).every(part => denied.has(part))
    this.#refusal = !isEmpty ? '' : say('why.no-live')
    if (this.#refusal) return this.#enter('offline', this.#refusal)
    clearTimeout(this.#patience)
    this.#patience = undefined
    this.#enter('live', '')
    this.#handlers.subscribed([...denied])
  }

  #given({ expires }: Credentials): void {
    this.#password = { at: Date.now(), life: expires === undefined ? 0 : Math.max(shortestLife, expires - hubNow()) }
  }

  /** Schedules the renewal of this connection's password before the password expires. */
  #renewLater(): void {
    clearTimeout(this.#renewal)
    const { at, life } = this.#password
    if (life === 0 || !this.#client?.isConnected) return
    const due = at + life * renewAt[document.hidden ? 'hidden' : 'seen']
    this.#renewal = setTimeout(() => void this.#renew(), Math.max(0, due - Date.now()))
  }

  async #renew(): Promise<void> {
    const client = this.#client
    const credentials = await fetchCredentials().catch(() => undefined)
    if (client !== this.#client) return
    if (credentials) this.#given(credentials)
    if (credentials) return this.#renewLater()
    // Retried while the hub keeps the connection. When the hub closes the connection, a new one follows.
    this.#renewal = setTimeout(() => void this.#renew(), reconnectEvery)
  }

  #lost(): void {
    if (!navigator.onLine || this.#refusal) this.#enter('offline', this.#refusal || say('why.offline'))
    else if (this.#state === 'live') this.#enter('connecting', '')
    this.#patience ??= setTimeout(() => {
      if (this.#state !== 'live') this.#enter('offline', this.#refusal || say('why.silent'))
    }, patience)
  }

  /** Reconnects at once, if needed, when the page is visible again or the network is back. */
  #wake(): void {
    if (document.hidden) return
    const slept = this.#hiddenAt > 0 && Date.now() - this.#hiddenAt > asleepAfter
    this.#hiddenAt = 0
    const silent = Date.now() - this.#heardAt > asleepAfter / 4
    if (this.#client?.isConnected ? slept && silent : !this.#attempting) void this.#connect()
  }

  #enter(state: 'live' | 'connecting' | 'offline', reason: string): void {
    this.#state = state
    this.#tell(reason)
  }

  /** Looks how late messages are. Called with every message, too: after a pause these may be the first to run. */
  #look(): void {
    const clocks = Date.now() - performance.now()
    const slept = clocks - this.#clocks > sleptAfter
    this.#clocks = clocks
    // What a sleeping computer left unread would look fresh.
    if (slept && this.#client?.isConnected) void this.#connect()
    else if (this.#state === 'live') this.#tell('')
  }

  /** Tells the state of the connection, and while there is one how fresh its messages are. */
  #tell(reason: string): void {
    const now = performance.now()
    const state = this.#state === 'live' ? this.#age.look(now) : this.#state
    const seconds = state === 'behind' ? Math.round(this.#age.age(now) / 1_000) : 0
    const told = this.#told
    this.#told = { state, reason, seconds }
    if (state !== told.state || reason !== told.reason) this.#handlers.state(state, reason)
    if (seconds !== told.seconds) this.#handlers.late(seconds)
  }

  #notice(notice: FeedNotice): void {
    this.#age.heard(notice, performance.now())
    this.#look()
    if (this.#told.state === 'live') this.#handlers.beat()
  }

  #take(topic: string, payload: Uint8Array, retained: boolean): void {
    if (topic.startsWith(alerts)) this.#handlers.alerts()
    if (payload.length === 0) {
      if (topic.startsWith(last)) this.#handlers.cleared(topic.slice(last.length))
      else if (topic.startsWith(presence)) this.#handlers.forgotten(shownName(topic.slice(presence.length)))
      return
    }
    let body: unknown
    try {
      body = JSON.parse(this.#decoder.decode(payload))
    } catch {
      return
    }
    if (topic === notices) this.#notice(body as FeedNotice)
    else if (topic.startsWith(last)) this.#handlers.reading(body as LastReading, retained)
    else if (topic.startsWith(presence)) this.#handlers.presence(body as Presence)
    else if (topic.startsWith(why)) this.#handlers.refusal(body as Refusal)
    else if (topic === filters.home) this.#handlers.home((body as { revision?: number }).revision ?? 0)
  }
}

/** Returns why there is no password; empty when the hub did not answer, which is shown anyway. */
function refusalOf(error: unknown): string {
  if (!(error instanceof ApiError)) return ''
  return error.status === 401 ? say('why.no-login') : error.message.replace(/\.$/, '')
}

/** Returns a name, as the last level of a topic, as the list of devices shows it: see `hubTopics.presence`. */
function shownName(level: string): string {
  return decodeURIComponent(level).replace('\0', '/')
}
