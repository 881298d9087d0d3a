/** The values shown under `$SYS`, counted since the start unless a name says otherwise. */
export interface Statistics {
  readonly version: string
  readonly uptimeSeconds: number
  readonly clients: {
    readonly connected: number
    /** Sessions kept whose client is not connected. */
    readonly disconnected: number
    readonly maximum: number
    readonly expired: number
  }
  readonly subscriptions: number
  readonly retained: number
  readonly packets: { readonly received: number; readonly sent: number }
  readonly publishes: {
    readonly received: number
    readonly sent: number
    readonly dropped: number
    readonly bytesReceived: number
  }
  readonly bytes: { readonly received: number; readonly sent: number }
  readonly heapBytes: number
}

const loads = [
  { name: '1min', minutes: 1 },
  { name: '5min', minutes: 5 },
  { name: '15min', minutes: 15 },
] as const

/**
 * The `$SYS` topics as Mosquitto's users know them (mosquitto(8), "BROKER STATUS"), as far as the hub has the values.
 * Each value is text; under `load/` are moving averages per minute. A topic of Mosquitto is missing here if the value
 * would be a guess.
 */
export class SysTopics {
  readonly #averages = new Map<string, number>()
  #last: { readonly at: number; readonly counts: ReadonlyMap<string, number> } | undefined

  /** Returns topics and values at `now` (ms). Call at even intervals: averages are made of the changes in between. */
  at(now: number, s: Statistics): ReadonlyMap<string, string> {
    const counts = new Map([
      ['messages/received', s.packets.received],
      ['messages/sent', s.packets.sent],
      ['publish/received', s.publishes.received],
      ['publish/sent', s.publishes.sent],
      ['publish/dropped', s.publishes.dropped],
      ['bytes/received', s.bytes.received],
      ['bytes/sent', s.bytes.sent],
    ])
    const values: [string, number | string][] = [
      ['version', s.version],
      ['uptime', `${Math.floor(s.uptimeSeconds)} seconds`],
      ['clients/total', s.clients.connected + s.clients.disconnected],
      ['clients/connected', s.clients.connected],
      ['clients/active', s.clients.connected],
      ['clients/disconnected', s.clients.disconnected],
      ['clients/inactive', s.clients.disconnected],
      ['clients/maximum', s.clients.maximum],
      ['clients/expired', s.clients.expired],
      ['messages/received', s.packets.received],
      ['messages/sent', s.packets.sent],
      ['publish/messages/received', s.publishes.received],
      ['publish/messages/sent', s.publishes.sent],
      ['publish/messages/dropped', s.publishes.dropped],
      ['publish/bytes/received', s.publishes.bytesReceived],
      ['bytes/received', s.bytes.received],
      ['bytes/sent', s.bytes.sent],
      ['subscriptions/count', s.subscriptions],
      ['retained messages/count', s.retained],
      ['heap/current', s.heapBytes],
      ...this.#loads(now, counts),
    ]
    return new Map(values.map(([name, value]) => [`$SYS/broker/${name}`, String(value)]))
  }

  /** Exponential moving averages, as in Unix load averages. */
  #loads(now: number, counts: ReadonlyMap<string, number>): [string, string][] {
    const last = this.#last
    this.#last = { at: now, counts }
    if (!last || now <= last.at) return []
    const minutes = (now - last.at) / 60_000
    const found: [string, string][] = []
    for (const [name, count] of counts) {
      const perMinute = (count - (last.counts.get(name) ?? 0)) / minutes
      for (const load of loads) {
        const key = `load/${name}/${load.name}`
        const keep = Math.exp(-minutes / load.minutes)
        const average = (this.#averages.get(key) ?? 0) * keep + perMinute * (1 - keep)
        this.#averages.set(key, average)
        found.push([key, average.toFixed(2)])
      }
    }
    return found
  }
}
