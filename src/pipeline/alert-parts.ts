import type { BalanceSheet } from '../accounting/balance-sheet.js'
import {
  type AlertReadings,
  type AlertSurroundings,
  Alerts,
  type HubFinding,
  type KnownDevice,
  type ReadingSource,
  type SeriesNames,
  type SeriesNaming,
} from '../alerts/alerts.js'
import type { Settings } from '../config/settings.js'
import type { Message, Point, Reading, Rejection, SeriesId } from '../model.js'
import type { Cursors } from '../spool/cursors.js'
import type { TimeSeriesStore } from '../store/store.js'
import type { BrokerLink } from './broker-link.js'
import type { DevicePlace, Home } from './home/home.js'
import type { Mapping } from './mapping.js'
import type { Registry } from './registry.js'
import { readingTopic } from './sparkplug/topic.js'
import type { SpoolProgress } from './spool-progress.js'

/** What the alerts use of the processor thread. */
export interface AlertSources {
  readonly settings: Settings
  readonly dir: string
  readonly mapping: Mapping
  readonly readings: BatchReadings
  readonly registry: Registry
  readonly balance: BalanceSheet
  readonly progress: SpoolProgress
  readonly cursors: Cursors
  readonly store: TimeSeriesStore
  readonly broker: BrokerLink
  /** Knows areas and icons. Asked once the hub has started. */
  readonly home: () => Pick<Home, 'places'>
}

/** Returns the alerts of the hub. */
export function alertsOf(sources: AlertSources): Alerts {
  const { settings, dir, store, broker } = sources
  const own = new AlertSourcesOfHub(sources)
  return new Alerts({
    ...{ settings, dir, naming: own, readings: own, surroundings: own, store },
    ...{ delivery: broker, incidents: broker, log: broker },
  })
}

/**
 * Reads each message of a batch once, for the screen and for the alerts. Remembers those that are asked for again: the
 * newest of each topic.
 */
export class BatchReadings {
  readonly #mapping: Mapping
  readonly #read = new Map<Message, Reading | Rejection>()

  constructor(mapping: Mapping) {
    this.#mapping = mapping
  }

  /** Reads a message, and remembers the reading until {@link forget}. */
  read(message: Message): Reading | Rejection {
    const reading = this.#mapping.read(message)
    this.#read.set(message, reading)
    return reading
  }

  /** Returns the reading of a message that was read already. */
  known(message: Message): Reading | Rejection | undefined {
    return this.#read.get(message)
  }

  /** Returns the reading of a message that was read already, or reads it without remembering. */
  again(message: Message): Reading | Rejection {
    return this.#read.get(message) ?? this.#mapping.read(message)
  }

  /** Forgets the readings of a batch. */
  forget(): void {
    this.#read.clear()
  }
}

/** Interval of looks at the clocks of all clients. */
const clocksEveryMs = 10_000

/** Tells the alerts what the mapping, the registry and the account know. */
class AlertSourcesOfHub implements SeriesNaming, AlertReadings, AlertSurroundings {
  readonly #sources: AlertSources
  #places: ReadonlyMap<string, DevicePlace> = new Map()
  #placesChanges = 0
  #clocks = 0
  #clocksAt = Number.NEGATIVE_INFINITY

  constructor(sources: AlertSources) {
    this.#sources = sources
  }

  get changes(): number {
    return this.#sources.mapping.knowledge.changes + this.#placesChanges
  }

  async ready(): Promise<void> {
    const places = await this.#sources.home().places()
    if (places === this.#places) return
    this.#places = places
    this.#placesChanges++
  }

  get isCaughtUp(): boolean {
    const { cursors, progress } = this.#sources
    return cursors.reader('live').settled.sequence > progress.accepted
  }

  get position(): number {
    return this.#sources.cursors.reader('live').settled.sequence - 1
  }

  measurementOf(topic: string): string | undefined {
    return this.#sources.mapping.measurementOf(readingTopic(topic))
  }

  known(message: Message): readonly Point[] | undefined {
    const reading = this.#sources.readings.known(message)
    return reading && message.payload.length > 0 ? pointsOf(reading) : undefined
  }

  pointsOf(message: Message): readonly Point[] | undefined {
    return message.payload.length > 0 ? pointsOf(this.#sources.readings.again(message)) : undefined
  }

  describe(id: SeriesId, source: ReadingSource | undefined): SeriesNames {
    const { mapping } = this.#sources
    const topic = source?.topic
      ? readingTopic(source.topic)
      : (id.tags.find(([name]) => name === 'topic')?.[1] ?? mapping.topicOf(id))
    const entity = topic === undefined ? undefined : mapping.knowledge.entityOf(topic, id.field)
    const described = topic === undefined ? [] : mapping.knowledge.namesOn(topic)
    const devices = source?.clientId ? [...described, source.clientId] : described
    const { area, icon } = (topic === undefined ? undefined : this.#places.get(topic)) ?? {}
    const place = described[0] ?? id.tags.map(([, value]) => value).join(' ')
    const field = entity?.name ?? (id.field === 'value' ? '' : id.field)
    return {
      id,
      devices,
      deviceClass: entity?.deviceClass,
      area,
      icon,
      label: `${place || id.measurement} ${field}`.trimEnd(),
      unit: mapping.unit(id, topic),
      device: devices[0],
    }
  }

  namesOf(clientId: string): readonly string[] {
    const described = this.#sources.mapping.knowledge.namesOf(clientId)
    return [clientId, ...described.filter(name => name !== clientId)]
  }

  devices(): readonly KnownDevice[] {
    return this.#sources.registry.devices()
  }

  hubFindings(): readonly HubFinding[] {
    const { balance, progress, registry } = this.#sources
    const { residual, dead } = balance.sheet(progress)
    if (performance.now() - this.#clocksAt > clocksEveryMs) {
      this.#clocksAt = performance.now()
      this.#clocks = registry.devices().filter(({ clock }) => clock).length
    }
    return [
      {
        name: 'residual',
        value: Math.abs(residual),
        sentence: `${counted(residual)} missing in the balance sheet`,
      },
      { name: 'dead', value: dead, sentence: `${counted(dead)} in the dead letters` },
      {
        name: 'clocks',
        value: this.#clocks,
        sentence:
          this.#clocks === 1 ? 'the clock of 1 client is wrong' : `the clocks of ${this.#clocks} clients are wrong`,
      },
    ]
  }
}

function counted(messages: number): string {
  return messages === 1 ? '1 message is' : `${messages} messages are`
}

function pointsOf(reading: Reading | Rejection): readonly Point[] | undefined {
  return 'reason' in reading || reading.points.length === 0 ? undefined : reading.points
}
