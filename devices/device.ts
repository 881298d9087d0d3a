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
  /** Milliseconds between reports; by default {@link naturalInterval}; 0: only when `report` is called. */
  readonly interval?: number
  /** Readings kept while the broker is away; above that number the oldest is dropped. */
  readonly bufferLimit?: number
  /** Called with the reason when a connection could not be made or was lost; the device goes on trying for ever. */
  readonly onTrouble?: (reason: string) => void
}

export interface DeviceCounts {
  /** Readings made, each published or waiting to be published. */
  readonly published: number
  /** Readings acknowledged by the broker, which are safe. */
  readonly acknowledged: number
  readonly buffered: number
  /** Readings lost because the buffer was full. */
  readonly dropped: number
  readonly connected: boolean
}

/** Publishes that may wait for their acknowledgement; the rest waits in the buffer. */
const window = 20

/**
 * A device as devices should behave. Publishes `online` on a status topic and leaves the will `offline` for the same
 * topic, both retained. Publishes readings with the device's own time at QoS 1, keeps them while the broker is away,
 * and sends them in order when the broker is back. A light obeys a `set` topic and reports the new state at once.
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
  /** The state last commanded. Undefined until a command, while a light follows the profile. */
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

  /** Takes one reading now, to be published as soon as possible. */
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
   * Takes no more readings, waits until all are acknowledged, publishes `offline` and disconnects. Readings not
   * acknowledged after `timeoutMs` are given up.
   */
  async stop(timeoutMs = 5_000): Promise<void> {
    for (const timer of this.#timers.splice(0)) clearInterval(timer)
    const client = this.#client
    if (!client) return
    const deadline = Date.now() + timeoutMs
    while (this.#acknowledged + this.#dropped < this.#published && Date.now() < deadline) await pause()
    if (client.connected) {
      // A clean DISCONNECT cancels the will, so `offline` is published here.
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

  /** Publishes from the buffer, after MQTT.js has sent publishes again that a lost connection left unacknowledged. */
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

  /** Obeys a command `{"on": true, "brightness": 80}`, of which either may be left out; anything else is ignored. */
  #command(payload: Buffer): void {
    const wanted = parseObject(payload.toString())
    if (!wanted) return
    const now = this.#values(Date.now())
    const brightness = typeof wanted.brightness === 'number' ? Math.min(100, Math.max(1, wanted.brightness)) : undefined
    const kept = this.#switched?.brightness ?? (Number(now.brightness) || 80)
    // A command with a brightness alone turns the lamp on.
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

/** Returns an error in words: Node wraps the failures of trying several addresses, and leaves the message empty. */
export function reasonOf(error: Error): string {
  return error.message || String((error as { code?: unknown }).code ?? error.name)
}

function pause(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 10))
}
