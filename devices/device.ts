import { connect, type MqttClient } from 'mqtt'
import { clockSkew, type Faults, noFaults, withFaults } from './faults.js'
import { eventField, lightState, naturalInterval, type Payload, type ProfileName, profiles } from './profiles.js'

export interface DeviceOptions {
  readonly url: string
  readonly room: string
  readonly name: string
  readonly profile: ProfileName
  readonly seed: number
  readonly faults?: Faults
  /** Milliseconds between reports; default what is natural for the profile; 0: only when `report` is called. */
  readonly interval?: number
  /** Readings kept while the broker is away; past it the oldest goes. */
  readonly bufferLimit?: number
  /** Why a connection could not be made or was lost; the device goes on trying for ever. */
  readonly onTrouble?: (reason: string) => void
}

export interface DeviceCounts {
  /** Readings made, each published or waiting to be. */
  readonly published: number
  /** Of these, acknowledged by the broker: they are safe. */
  readonly acknowledged: number
  readonly buffered: number
  /** Lost: the buffer was full. */
  readonly dropped: number
  readonly connected: boolean
}

/** Publishes that may wait for their acknowledgement; the rest waits in the buffer. */
const window = 20

/**
 * How a device should behave. It says `online` on its status topic and leaves a will that says `offline`, both
 * retained. It publishes readings with its own time by QoS 1, keeps them while the broker is away, and sends them in
 * order when it is back. A light obeys its `set` topic and reports what it has become at once.
 */
export class Device {
  readonly id: string
  readonly #options: DeviceOptions
  readonly #topic: string
  readonly #buffer: string[] = []
  readonly #timers: NodeJS.Timeout[] = []
  #client: MqttClient | undefined
  #inFlight = 0
  #made = 0
  #published = 0
  #acknowledged = 0
  #dropped = 0
  #event: Payload[string] | undefined
  /** What somebody commanded; until then a light follows its profile. */
  #switched: { on: boolean; brightness: number } | undefined

  constructor(options: DeviceOptions) {
    this.#options = options
    this.#topic = `home/${options.room}/${options.name}`
    this.id = `${options.room}-${options.name}`
  }

  /** Returns at once; connects in the background, again and again until `stop`. */
  start(): void {
    const { url, profile, seed, interval = naturalInterval[profile], onTrouble } = this.#options
    this.#client = connect(url, {
      clientId: this.id,
      will: { topic: `${this.#topic}/status`, payload: Buffer.from('offline'), qos: 1, retain: true },
      // Not all devices at the same moment, and never giving up.
      reconnectPeriod: 1_000 + (seed % 997),
      reconnectOnConnackError: true,
      resubscribe: false,
    })
    this.#client.on('connect', () => this.#connected())
    this.#client.on('message', (_topic, payload) => this.#command(payload))
    this.#client.on('error', error => onTrouble?.(reasonOf(error)))
    this.#client.on('close', () => onTrouble?.('the connection was closed'))
    if (interval > 0) this.#timers.push(setInterval(() => this.report(), interval))
    if (interval > 0 && eventField[profile]) this.#timers.push(setInterval(() => this.#watch(), 500))
    if (interval > 0) this.report()
  }

  /** Takes one reading now and publishes it, or keeps it until that is possible. */
  report(): void {
    const { profile, seed, faults = noFaults, bufferLimit = 10_000 } = this.#options
    const now = Date.now()
    const values = this.#values(now)
    this.#event = values[eventField[profile] ?? '']
    const payload = JSON.stringify({ time: now + clockSkew(faults, seed, now), ...values })
    for (const text of withFaults(faults, seed, this.#made++, payload)) {
      if (this.#buffer.length >= bufferLimit) {
        this.#buffer.shift()
        this.#dropped++
      }
      this.#buffer.push(text)
      this.#published++
    }
    this.#send()
  }

  /** Drops the connection as a bad network does: no DISCONNECT, so the broker publishes the will. */
  drop(): void {
    this.#client?.stream?.destroy()
  }

  counts(): DeviceCounts {
    return {
      published: this.#published,
      acknowledged: this.#acknowledged,
      buffered: this.#buffer.length,
      dropped: this.#dropped,
      connected: this.#client?.connected ?? false,
    }
  }

  /**
   * Takes no more readings, waits until all are acknowledged, says `offline` and leaves. What is not acknowledged
   * after `timeoutMs` is given up.
   */
  async stop(timeoutMs = 5_000): Promise<void> {
    for (const timer of this.#timers.splice(0)) clearInterval(timer)
    const client = this.#client
    if (!client) return
    const deadline = Date.now() + timeoutMs
    while (this.#acknowledged + this.#dropped < this.#published && Date.now() < deadline) await pause()
    if (client.connected) {
      // A clean DISCONNECT cancels the will, so it is said here.
      client.publish(`${this.#topic}/status`, 'offline', { qos: 1, retain: true })
    }
    let ended = false
    const leave = (force: boolean) =>
      client.end(force, {}, () => {
        ended = true
      })
    leave(!client.connected)
    while (!ended && Date.now() < deadline + 500) await pause()
    if (!ended) leave(true)
    this.#client = undefined
  }

  #connected(): void {
    const client = this.#client
    if (!client) return
    client.publish(`${this.#topic}/status`, 'online', { qos: 1, retain: true })
    if (this.#options.profile === 'light') client.subscribe(`${this.#topic}/set`, { qos: 1 })
    this.#send()
  }

  /** What was published and not acknowledged when a connection is lost, MQTT.js sends again first; then this goes on. */
  #send(): void {
    const client = this.#client
    while (client?.connected && this.#inFlight < window) {
      const payload = this.#buffer.shift()
      if (payload === undefined) return
      this.#inFlight++
      client.publish(`${this.#topic}/telemetry`, payload, { qos: 1 }, error => {
        this.#inFlight--
        if (error) return
        this.#acknowledged++
        this.#send()
      })
    }
  }

  #values(now: number): Payload {
    const { profile, seed } = this.#options
    return this.#switched ? lightState(this.#switched.on, this.#switched.brightness) : profiles[profile](seed, now)
  }

  #watch(): void {
    const field = eventField[this.#options.profile]
    if (field && this.#values(Date.now())[field] !== this.#event) this.report()
  }

  /** `{"on": true, "brightness": 80}`, either may be left out; anything else is ignored. */
  #command(payload: Buffer): void {
    const wanted = parseObject(payload.toString())
    if (!wanted) return
    const now = this.#values(Date.now())
    const brightness = typeof wanted.brightness === 'number' ? Math.min(100, Math.max(1, wanted.brightness)) : undefined
    const kept = this.#switched?.brightness ?? (Number(now.brightness) || 80)
    // Asked for a brightness alone, a lamp goes on.
    const on = typeof wanted.on === 'boolean' ? wanted.on : brightness !== undefined || now.on === true
    this.#switched = { on, brightness: brightness ?? kept }
    this.report()
  }
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/** Node wraps the failures of trying several addresses, and leaves the message empty. */
function reasonOf(error: Error): string {
  return error.message || String((error as { code?: unknown }).code ?? error.name)
}

function pause(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 10))
}
