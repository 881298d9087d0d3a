import { plant } from '../../devices/plant.js'
import { type ProfileName, profiles } from '../../devices/profiles.js'
import { Connection } from './connection.js'
import { publishPacket } from './wire.js'

/*
 * Readings of a month of the simulated home and plant, made at speed: each with its own time in the past, in order of time,
 * by MQTT with QoS 1. What was sent is counted by device and hour, for whoever compares.
 */

const second = 1_000
const hour = 3_600 * second

/** Readings of one device in each hour, and the sum of one of its fields. */
export interface Sent {
  /** Key of the series of that field. */
  readonly series: string
  readonly counts: Float64Array
  readonly sums: Float64Array
}

/** Part of the month in which a device is away: what it measured is sent later. Milliseconds since the epoch. */
export interface Away {
  readonly topic: string
  readonly from: number
  readonly to: number
}

interface Source {
  readonly topic: string
  readonly clientId: string
  readonly interval: number
  /** Key of the series of that field whose sum is compared. */
  readonly series: string
  readonly payload: (time: number) => Readonly<Record<string, unknown>>
}

const home: readonly (readonly [room: string, name: string, profile: ProfileName, seconds: number, field: string])[] = [
  ['hall', 'front-door', 'door', 60, 'battery'],
  ['hall', 'motion', 'motion', 60, 'illuminance'],
  ['hall', 'meter', 'meter', 10, 'power'],
  ['kitchen', 'thermostat', 'thermostat', 60, 'temperature'],
  ['kitchen', 'light', 'light', 60, 'power'],
  ['living-room', 'thermostat', 'thermostat', 60, 'temperature'],
  ['living-room', 'air', 'air', 60, 'co2'],
  ['living-room', 'light', 'light', 60, 'power'],
  ['bedroom', 'thermostat', 'thermostat', 60, 'temperature'],
  ['bedroom', 'air', 'air', 60, 'co2'],
]

/** Returns the ten devices of the home, each at a pace usual for its kind, and 40 machines of the plant. */
function sources(plantSeconds: number): readonly Source[] {
  const ofHome = home.map(([room, name, profile, seconds, field], i): Source => {
    const topic = `home/${room}/${name}/telemetry`
    const payload = (time: number) => ({ time, ...profiles[profile](100_003 + i, time) })
    const series = `telemetry,device=${name},room=${room} ${field}`
    return { topic, clientId: `${room}-${name}`, interval: seconds * second, series, payload }
  })
  const machines = plant(1).flatMap(gateway => {
    const parts = new Map<number, ReturnType<typeof gateway.report>>()
    const reportOf = (time: number) => {
      // All machines of a line are in one report.
      let report = parts.get(time)
      if (!report) {
        parts.clear()
        report = gateway.report(time)
        parts.set(time, report)
      }
      return report
    }
    return gateway.report(0).map(({ topic }, i): Source => {
      const payload = (time: number) => JSON.parse(reportOf(time)[i]?.payload ?? '{}') as Record<string, unknown>
      const series = `plant,topic=${topic} temperature`
      return { topic, clientId: gateway.clientId, interval: plantSeconds * second, series, payload }
    })
  })
  return [...ofHome, ...machines]
}

/** Publishes of one connection that may wait for their PUBACK. */
const window = 500

/** Simulated time between two looks at what waits. */
const step = 300 * second

export class MonthFeed {
  readonly from: number
  readonly to: number
  readonly #sources: readonly Source[]
  readonly #sent: ReadonlyMap<string, Sent>
  messages = 0
  readings = 0
  /** Up to when all was sent. */
  reached: number

  /** @param plantSeconds Interval of the reports of a machine. */
  constructor(from: number, to: number, plantSeconds: number) {
    this.from = from
    this.to = to
    this.reached = from
    this.#sources = sources(plantSeconds)
    const hours = (to - from) / hour
    const empty = () => ({ counts: new Float64Array(hours), sums: new Float64Array(hours) })
    this.#sent = new Map(this.#sources.map(({ topic, series }) => [topic, { series, ...empty() }]))
  }

  /** All that was sent so far. */
  get sent(): readonly Sent[] {
    return [...this.#sent.values()]
  }

  /** Sends a day more of everything but what devices measured while they were away. `pace`: awaited now and then. */
  async send(port: number, away: readonly Away[], pace: () => Promise<unknown>): Promise<void> {
    const isAway = ({ topic }: Source, time: number) =>
      away.some(one => one.topic === topic && time >= one.from && time < one.to)
    const end = Math.min(this.to, this.reached + 24 * hour)
    await this.#run(port, this.#sources, this.reached, end, isAway, pace)
    this.reached = end
  }

  /** What to {@link resume} with, as JSON. */
  state() {
    const { messages, readings, reached } = this
    const sent = this.sent.map(({ counts, sums }) => ({ counts: [...counts], sums: [...sums] }))
    return { messages, readings, reached, sent }
  }

  /** Goes on where another feed of the same month has ended. */
  resume({ messages, readings, reached, sent }: ReturnType<MonthFeed['state']>): void {
    Object.assign(this, { messages, readings, reached })
    for (const [i, { counts, sums }] of this.sent.entries()) {
      counts.set(sent[i]?.counts ?? [])
      sums.set(sent[i]?.sums ?? [])
    }
  }

  /** Sends what a device measured while it was away. */
  async late(port: number, { topic, from, to }: Away, pace: () => Promise<unknown>): Promise<void> {
    const some = this.#sources.filter(one => one.topic === topic)
    await this.#run(port, some, from, to, () => false, pace)
  }

  async #run(
    port: number,
    some: readonly Source[],
    from: number,
    to: number,
    isLeftOut: (source: Source, time: number) => boolean,
    pace: () => Promise<unknown>,
  ): Promise<void> {
    const senders = new Map([...new Set(some.map(({ clientId }) => clientId))].map(id => [id, new Sender(port, id)]))
    try {
      for (const sender of senders.values()) await sender.ready
      for (let start = from; start < to; start += step) {
        for (const source of some) {
          const sender = senders.get(source.clientId) as Sender
          const first = Math.ceil(start / source.interval) * source.interval
          for (let time = first; time < Math.min(to, start + step); time += source.interval) {
            if (!isLeftOut(source, time)) sender.add(source.topic, this.#reading(source, time))
          }
          if (sender.isFull) await sender.flush()
        }
        for (const sender of senders.values()) await sender.flush()
        await pace()
      }
      for (const sender of senders.values()) await sender.idle()
    } finally {
      for (const sender of senders.values()) sender.end()
    }
  }

  #reading({ topic, series, payload }: Source, time: number): Buffer {
    const values = payload(time)
    const field = series.slice(series.lastIndexOf(' ') + 1)
    const sent = this.#sent.get(topic) as Sent
    const at = Math.floor((time - this.from) / hour)
    sent.counts[at] = (sent.counts[at] ?? 0) + 1
    sent.sums[at] = (sent.sums[at] ?? 0) + Number(values[field])
    this.messages++
    this.readings += Object.keys(values).length - 1
    return Buffer.from(JSON.stringify(values))
  }
}

/** A connection that keeps a window of publishes full. */
export class Sender {
  readonly ready: Promise<void>
  readonly #connection: Connection
  #waiting: Buffer[] = []
  #next = 1
  #underWay = 0
  #failure: Error | undefined
  #wake: (() => void) | undefined

  constructor(port: number, clientId: string) {
    this.#connection = new Connection({
      ...{ port, clientId },
      onPacket: (data, start) => {
        if (data[start] === 0x40) this.#underWay--
      },
      onChunk: () => this.#wake?.(),
      onFailure: error => {
        this.#failure = error
        this.#wake?.()
      },
    })
    this.ready = this.#connection.ready
  }

  add(topic: string, payload: Buffer): void {
    this.#waiting.push(publishPacket(topic, payload, 1, this.#next))
    this.#next = this.#next === 65_535 ? 1 : this.#next + 1
  }

  get isFull(): boolean {
    return this.#waiting.length >= window
  }

  /** Resolves when all that was added is with the kernel. */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      await this.#until(() => this.#underWay < window / 2)
      const some = this.#waiting.splice(0, window - this.#underWay)
      this.#underWay += some.length
      this.#connection.write(Buffer.concat(some))
    }
  }

  /** Resolves when all is acknowledged. */
  async idle(): Promise<void> {
    await this.flush()
    await this.#until(() => this.#underWay === 0)
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      if (this.#failure) throw this.#failure
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  end(): void {
    this.#connection.end()
  }
}
