import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readOrSetAside } from '../disk/damaged.js'
import { nodeFiles } from '../disk/files.js'
import { StateFile } from '../disk/state-file.js'
import type { Message, Outward } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { QueueReader } from '../queue/queue.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MicrosecondClock, MillisecondClock } from '../runtime/time.js'
import type { Bus, BusPlace, PlaceKeeper } from './bus.js'
import { type HubFacts, Hubs, type KnownHub } from './hubs.js'

export { addressOf, type ClusterIdentity, clusterOf, holderOf } from './hub-settings.js'
export { type KnownHub, maxFilters } from './hubs.js'

/** Delivers messages to the MQTT subscribers of this hub. */
export interface LocalDelivery {
  /** Resolves when the broker has the messages for good: queues of absent sessions and retained messages included. */
  publish(messages: readonly Outward[]): Promise<void>
}

/** Knows what the clients and kept sessions of this hub want. */
export interface WantedSource {
  /** Resolves with the filters, once that is another state than the one with this number. */
  next(known: number): Promise<{ readonly revision: number; readonly filters: readonly string[] }>
}

export interface ClusterOptions {
  /** Name of the cluster. */
  readonly cluster: string
  readonly self: HubFacts
  readonly bus: Bus
  /** Folder of the state. */
  readonly dir: string
  readonly delivery: LocalDelivery
  readonly wanted: WantedSource
  /** Messages of this hub that the bus does not have yet. */
  readonly lag: { readonly count: number }
  /** Milliseconds and microseconds since the epoch. */
  readonly clock: MicrosecondClock
  readonly wallClock: MillisecondClock
  readonly monotonic: MillisecondClock
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'info' | 'warn'>
}

/** How many messages have gone to the bus and come from there, since the start. */
export interface ClusterNumbers {
  /** Messages that this hub has given to the bus. */
  readonly sent: number
  /** Messages that no other hub wants. */
  readonly unwanted: number
  /** Messages of other hubs, and of these the ones that came again. */
  readonly received: number
  readonly repeated: number
  readonly hubs: Readonly<Record<KnownHub['state'], number>>
}

/**
 * This hub among the others: what this one accepts goes to them, what they accept comes here. Messages of other hubs go to
 * subscribers and retained messages, and nowhere else: not into the spool, so that no message comes back to the bus.
 */
export class Cluster implements Part, PlaceKeeper {
  readonly name = 'cluster'
  readonly hubs: Hubs
  readonly #options: ClusterOptions
  readonly #file: StateFile
  readonly #path: string
  #place: BusPlace | undefined
  #isStopping = false
  /** Last sequence number of each hub that was delivered here. */
  #seen = new Map<string, number>()
  /**
   * Mark of a hub that has never read the bus, until that hub has read this: of what the log has before the mark,
   * retained messages alone matter. Clocks of two machines would not tell what was before.
   */
  #mark: string | undefined
  readonly #counts = { sent: 0, unwanted: 0, received: 0, repeated: 0 }

  constructor(options: ClusterOptions) {
    const { dir, wallClock, ...others } = options
    this.#options = options
    this.#path = join(dir, 'place.json')
    this.#file = new StateFile(this.#path, () => this.#text())
    this.hubs = new Hubs({ ...others, incarnation: randomUUID(), path: join(dir, 'hubs.json'), clock: wallClock })
  }

  start(): void {
    const { dir, incidents, log } = this.#options
    nodeFiles.makeDirectorySync(dir)
    const lost = 'the bus is read from its beginning, and messages of other hubs may come again'
    const state = readOrSetAside(this.#path, placeOf, lost, sentence => incidents.report('place_damaged', sentence))
    const isOther = state?.cluster !== undefined && state.cluster !== this.#options.cluster
    if (isOther) {
      log.info(`this hub was in the cluster ${state.cluster}: what it knew of the hubs there is forgotten`)
      nodeFiles.removeSync(join(dir, 'hubs.json'))
    } else {
      this.#place = state?.place
      this.#seen = new Map(state?.seen)
      this.#mark = state?.mark
    }
    if (!this.#place) this.#mark ??= randomUUID()
    // From now on the file says which cluster the other files are of.
    this.#file.changed()
    this.#file.save()
    this.hubs.start()
    void this.#follow()
    void this.#join()
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.hubs.stop()
    await this.#file.stop()
    await this.#options.bus.stop()
  }

  /** Tells the other hubs what is wanted here, whenever that changes. */
  async #follow(): Promise<void> {
    for (let known = 0; !this.#isStopping; ) {
      const { revision, filters } = await this.#options.wanted.next(known)
      known = revision
      if (!this.#isStopping) this.hubs.want(filters)
    }
  }

  /** Puts the mark into the log, again and again until it comes back: RabbitMQ may lose the end of the log. */
  async #join(): Promise<void> {
    const { bus, clock } = this.#options
    while (this.#mark !== undefined && !this.#isStopping) {
      const mark = { ...own, topic: markTopic, payload: Buffer.from(this.#mark), qos: 1, retain: false } as const
      await bus.append([{ ...mark, receivedAt: clock.now() }]).catch(() => {})
      await sleep(markMs, undefined, { ref: false })
    }
  }

  get numbers(): ClusterNumbers {
    const hubs = { self: 0, up: 0, silent: 0, away: 0 }
    for (const { state } of this.hubs.list()) hubs[state]++
    return { ...this.#counts, hubs }
  }

  /** Returns the messages of all hubs, for {@link receive}. */
  reader(): QueueReader {
    return this.#options.bus.reader(this)
  }

  /**
   * Gives messages that this hub has on disk to the others, as far as any of them wants these messages. Resolves when the bus
   * has them.
   */
  async send(messages: readonly Message[]): Promise<undefined> {
    // Decided anew when the bus was away: others may have subscribed meanwhile.
    const wanted = this.#wantedElsewhere(messages)
    if (wanted.length > 0) await this.#options.bus.append(wanted)
    this.#counts.sent += wanted.length
    this.#counts.unwanted += messages.length - wanted.length
    return undefined
  }

  /** Delivers messages of other hubs to the subscribers of this one, each once. Resolves when the broker has them. */
  async receive(messages: readonly Message[]): Promise<undefined> {
    const fresh: Message[] = []
    const last = new Map<string, number>()
    let received = 0
    let mark = this.#mark
    for (const message of messages) {
      const { hub, sequence, topic } = message
      if (topic === markTopic) {
        if (hub === undefined && String(message.payload) === mark) mark = undefined
        continue
      }
      if (hub === undefined) continue
      received++
      // A hub gives its messages to the bus in their order, and some again after an unknown outcome.
      if (sequence > 0 && sequence <= (last.get(hub) ?? this.#seen.get(hub) ?? 0)) continue
      if (sequence > 0) last.set(hub, sequence)
      if (mark !== undefined && !message.retain) continue
      fresh.push(message)
    }
    if (fresh.length > 0) await this.#options.delivery.publish(fresh.map(outward))
    for (const [hub, sequence] of last) this.#seen.set(hub, sequence)
    this.#mark = mark
    this.#counts.received += received
    this.#counts.repeated += received - fresh.length
    return undefined
  }

  /** Returns a delivery to the subscribers of all hubs: first the bus gets the messages, then this hub's subscribers. */
  get toAll(): LocalDelivery {
    const { delivery, clock, bus } = this.#options
    return {
      publish: async messages => {
        const wanted = this.#wantedElsewhere(messages)
        const receivedAt = clock.now()
        if (wanted.length > 0) await bus.append(wanted.map(one => ({ ...own, ...one, receivedAt })))
        this.#counts.sent += wanted.length
        await delivery.publish(messages)
      },
    }
  }

  /** Returns what other hubs want. Retained messages go to all: somebody may subscribe later. */
  #wantedElsewhere<Sent extends Pick<Message, 'topic' | 'retain'>>(messages: readonly Sent[]): readonly Sent[] {
    return messages.filter(({ topic, retain }) => retain || this.hubs.isWanted(topic))
  }

  get place(): BusPlace | undefined {
    return this.#place
  }

  passed(place: BusPlace): void {
    this.#place = place
    this.#file.changed()
    this.#file.save()
  }

  broken(reason: string): void {
    this.#options.incidents.report('bus_gap', `the log of the bus: ${reason}`)
  }

  #text(): string {
    return `${JSON.stringify({ cluster: this.#options.cluster, mark: this.#mark, place: this.#place, seen: [...this.#seen] })}\n`
  }
}

/** Topic of marks in the log. No client sees them. */
const markTopic = '$hub/bus/mark'
/** Time after which a mark that did not come back is put into the log again, in milliseconds. */
const markMs = 5_000

/** A message of the hub, or of a back end: without a place in the spool. */
const own = { sequence: 0, clientId: '', user: '', packetId: 0 } as const

function outward({ topic, payload, qos, retain, properties, expiresAt }: Message): Outward {
  return {
    ...{ topic, payload, qos, retain },
    ...(properties && { properties }),
    ...(expiresAt !== undefined && { expiresAt }),
  }
}

interface KeptPlace {
  /** Undefined in a file of an older version. */
  readonly cluster: string | undefined
  readonly mark: string | undefined
  readonly place: BusPlace | undefined
  readonly seen: readonly (readonly [hub: string, sequence: number])[]
}

/** Returns the content of a file. Throws when the text is damaged. */
function placeOf(text: string): KeptPlace {
  const { cluster, mark, place, seen } = JSON.parse(text) as KeptPlace
  for (const one of [cluster, mark]) if (!['string', 'undefined'].includes(typeof one)) throw new Error('no name')
  if (place && !(Number.isSafeInteger(place.offset) && typeof place.id === 'string')) throw new Error('no place')
  for (const [hub, sequence] of seen) {
    if (typeof hub !== 'string' || !Number.isSafeInteger(sequence)) throw new Error('no sequence number')
  }
  return { cluster, mark, place, seen }
}
