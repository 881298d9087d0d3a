import { connect, type MqttClient } from 'mqtt'
import { type DeviceCounts, reasonOf } from './device.js'

/** A message, with QoS 1. */
export interface Publication {
  readonly topic: string
  readonly payload: string
  readonly retain?: boolean
}

/**
 * Behaviour of a program or device with a connection of its own: a pure description, which {@link Member} connects to a
 * broker. Times are milliseconds since the epoch.
 */
export interface Behaviour {
  readonly clientId: string
  readonly will: Publication
  /** Messages after each connect: descriptions, availability, states. */
  birth(now: number): readonly Publication[]
  /** Messages of the regular reports. */
  report(now: number): readonly Publication[]
  readonly intervalMs: number
  /** Topic filters of commands. */
  readonly commands: readonly string[]
  /** Carries a command out, and returns what the device says to that. */
  obey(topic: string, payload: string, now: number): readonly Publication[]
  /** Messages before a regular disconnect, as the will is not sent then. */
  farewell(): readonly Publication[]
}

export interface MemberOptions {
  readonly url: string
  readonly behaviour: Behaviour
  /** Milliseconds between reports; by default those of the behaviour; 0: only when `report` is called. */
  readonly interval?: number | undefined
  /** Called with the reason when a connection could not be made or was lost; the member goes on trying for ever. */
  readonly onTrouble?: (reason: string) => void
}

/** One connection of a simulated home or plant. MQTT.js keeps what is published while the broker is away. */
export class Member {
  readonly #options: MemberOptions
  #client: MqttClient | undefined
  #timer: NodeJS.Timeout | undefined
  #published = 0
  #acknowledged = 0

  constructor(options: MemberOptions) {
    this.#options = options
  }

  /** Returns at once; connects in the background, again and again until `stop`. */
  start(): void {
    const { url, behaviour, interval = behaviour.intervalMs, onTrouble } = this.#options
    const { clientId, will, commands } = behaviour
    const client = connect(url, {
      clientId,
      will: { topic: will.topic, payload: Buffer.from(will.payload), qos: 1, retain: will.retain ?? false },
      reconnectPeriod: 1_500,
      reconnectOnConnackError: true,
      resubscribe: false,
    })
    this.#client = client
    client.on('connect', () => {
      if (commands.length > 0) client.subscribe([...commands], { qos: 1 })
      this.#publish(behaviour.birth(Date.now()))
    })
    client.on('message', (topic, payload) => this.#publish(behaviour.obey(topic, payload.toString(), Date.now())))
    client.on('error', error => onTrouble?.(reasonOf(error)))
    client.on('close', () => onTrouble?.('the connection was closed'))
    if (interval > 0) this.#timer = setInterval(() => this.report(), interval)
  }

  /** Publishes one round of reports. */
  report(): void {
    this.#publish(this.#options.behaviour.report(Date.now()))
  }

  /** Drops the connection as a bad network does: no DISCONNECT, so the broker publishes the will. */
  drop(): void {
    this.#client?.stream?.destroy()
  }

  counts(): DeviceCounts {
    const waiting = this.#published - this.#acknowledged
    return {
      published: this.#published,
      acknowledged: this.#acknowledged,
      buffered: waiting,
      dropped: 0,
      connected: this.#client?.connected ?? false,
    }
  }

  /** Publishes the farewell, waits until all is acknowledged, but at most `timeoutMs`, and disconnects. */
  async stop(timeoutMs = 5_000): Promise<void> {
    clearInterval(this.#timer)
    const client = this.#client
    if (!client) return
    const deadline = Date.now() + timeoutMs
    if (client.connected) this.#publish(this.#options.behaviour.farewell())
    while (this.#acknowledged < this.#published && Date.now() < deadline) {
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    await client.endAsync(!client.connected || Date.now() >= deadline)
    this.#client = undefined
  }

  #publish(messages: readonly Publication[]): void {
    for (const { topic, payload, retain = false } of messages) {
      this.#published++
      this.#client?.publish(topic, payload, { qos: 1, retain }, error => {
        if (!error) this.#acknowledged++
      })
    }
  }
}
