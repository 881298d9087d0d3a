import { readOrSetAside } from '../disk/damaged.js'
import { StateFile } from '../disk/state-file.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { AnnouncementListener, Bus } from './bus.js'
import { Interest } from './interest.js'

/** What a hub tells the others about this process. */
export interface HubFacts {
  readonly id: string
  readonly version: string
  /** Address for people: `https://plant.example:8080`. */
  readonly address: string
  /** Milliseconds since the epoch. */
  readonly startedAt: number
}

/** Another hub of the cluster, or this one. Times in milliseconds since the epoch. */
export interface KnownHub extends HubFacts {
  /**
   * `self`: the one that is asked · `up`: heard lately · `silent`: not heard for some seconds · `away`: not heard for so
   * long that the hub, or the way to the bus, is down.
   */
  readonly state: 'self' | 'up' | 'silent' | 'away'
  readonly heardAt: number
  /** Messages that other hubs do not have yet. */
  readonly lag: number
}

export interface HubsOptions {
  readonly self: HubFacts
  /** Tells starts of one hub apart. */
  readonly incarnation: string
  readonly bus: Pick<Bus, 'announce' | 'listen'>
  /** File with what is known of the others. */
  readonly path: string
  readonly lag: { readonly count: number }
  readonly clock: MillisecondClock
  /** Milliseconds of a clock that never jumps. */
  readonly monotonic: MillisecondClock
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'info' | 'warn'>
}

const announceMs = 2_000
/** Time without a word after which a hub is silent, and after which a hub is away: five announcements. */
const silentMs = 5_000
export const awayMs = 10_000
/** Time after which a hub that is away is forgotten: what was missed is not on the bus any more. */
const forgottenMs = 7 * 24 * 3_600_000
/** Time for the others to answer, after which what they said earlier counts. */
const answerMs = 3_000
/** Most hubs that are known, and most filters of each. */
const maxHubs = 100
export const maxFilters = 1_000
const maxAnnouncement = 1e6

interface Other {
  facts: HubFacts
  incarnation: string
  lag: number
  /** Milliseconds since the epoch, for people and for the next start. */
  heardAt: number
  /** Of the monotonic clock; undefined: not heard since this start. */
  heard: number | undefined
  /** Number of the change of filters, within an incarnation. */
  revision: number
  filters: readonly string[]
  isAway: boolean
}

/** An announcement, as JSON. */
interface Announcement extends HubFacts {
  readonly incarnation: string
  readonly lag: number
  readonly revision: number
  /** Left out when nothing has changed, and while they are not known. */
  readonly filters?: readonly string[] | undefined
  /** Asks the others for their filters. */
  readonly asks?: true
  /** The hub stops in order. */
  readonly ends?: true
}

/**
 * The hubs of a cluster, by what they announce every two seconds; and which topics the others want. What others want is
 * kept on disk: a hub that is away gets what the kept sessions there want, when the hub is back.
 *
 * Until the bus carries an announcement of this hub back to this hub, and a while after, everything counts as wanted:
 * something may have changed meanwhile. So a message is never passed over on the ground of old news.
 */
export class Hubs implements AnnouncementListener {
  readonly name = 'hubs'
  readonly #options: HubsOptions
  readonly #others = new Map<string, Other>()
  readonly #interest = new Interest()
  readonly #file: StateFile
  /** Undefined until kept sessions are restored: what they want is not known yet, and what the others know counts. */
  #filters: readonly string[] | undefined
  #revision = 0
  #timer: NodeJS.Timeout | undefined
  /** When an announcement of this hub came back, by the monotonic clock. */
  #echoAt = Number.NEGATIVE_INFINITY
  /** When the others were asked after the last gap. */
  #askedAt = Number.NEGATIVE_INFINITY
  /** When the others were last asked for filters that this hub lacks. */
  #inquiredAt = Number.NEGATIVE_INFINITY
  #twin: string | undefined

  constructor(options: HubsOptions) {
    this.#options = options
    this.#file = new StateFile(options.path, () => this.#text())
  }

  start(): void {
    this.#load()
    this.#file.saveEvery(1_000)
    this.#options.bus.listen(this)
    this.#timer = setInterval(() => this.#beat(), announceMs).unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#announce({ ends: true })
    await this.#file.stop()
  }

  /** Sets the topics that somebody at this hub wants. Announced at once. */
  want(filters: readonly string[]): void {
    this.#filters = filters
    this.#revision++
    this.#announce({ filters })
  }

  /** Returns whether a message on this topic must be sent to other hubs. */
  isWanted(topic: string): boolean {
    return !this.isSure || this.#interest.has(topic)
  }

  /** Whether the wishes of the others are known at this moment. */
  get isSure(): boolean {
    const now = this.#options.monotonic.now()
    return this.isHearing && now - this.#askedAt >= answerMs
  }

  /** Whether the bus carries announcements. */
  get isHearing(): boolean {
    return this.#options.monotonic.now() - this.#echoAt < silentMs
  }

  /** Returns all hubs that are known, this one first. */
  list(): readonly KnownHub[] {
    const { self, clock, lag } = this.#options
    const others = [...this.#others.values()].map(({ facts, heardAt, lag, ...other }): KnownHub => {
      return { ...facts, state: this.#stateOf(other), heardAt, lag }
    })
    others.sort((a, b) => (a.id < b.id ? -1 : 1))
    return [{ ...self, state: 'self', heardAt: clock.now(), lag: lag.count }, ...others]
  }

  /** Returns a sentence for people while something is wrong. */
  alarm(): string | undefined {
    if (this.#twin) return this.#twin
    if (!this.isHearing) {
      return 'the bus between the hubs is away: messages of other hubs are missing here, and theirs lack those of this hub, until RabbitMQ is back; then both follow'
    }
    const away = [...this.#others.values()].filter(({ isAway }) => isAway)
    if (away.length === 0) return undefined
    const names = away.map(
      ({ facts, heardAt }) => `${facts.id} (${facts.address}) since ${new Date(heardAt).toISOString()}`,
    )
    return `not heard of: ${names.join(', ')}; what its kept sessions want waits on the bus`
  }

  onHearing(): void {
    this.#askedAt = this.#options.monotonic.now()
    this.#announce({ filters: this.#filters, asks: true })
  }

  onAnnouncement(payload: Buffer): void {
    const said = announcementOf(payload)
    if (!said) return
    const { self, incarnation, monotonic, clock, log } = this.#options
    const now = monotonic.now()
    if (said.id === self.id) {
      if (said.incarnation === incarnation) this.#echo(now)
      else this.#meetTwin(said)
      return
    }
    if (said.asks && this.#filters) this.#announce({ filters: this.#filters })
    const known = this.#others.get(said.id)
    if (!known && this.#others.size >= maxHubs) return
    const { filters, revision, lag, id, version, address, startedAt } = said
    const isNews = filters !== undefined && !(known?.incarnation === said.incarnation && known.revision === revision)
    const isUnknown = filters === undefined && !(known?.incarnation === said.incarnation && known.revision === revision)
    // Once in a while: a hub that restores its sessions does not know yet.
    if (isUnknown && now - this.#inquiredAt >= announceMs / 2) {
      this.#inquiredAt = now
      this.#announce({ asks: true })
    }
    const other: Other = {
      ...{ facts: { id, version, address, startedAt }, incarnation: said.incarnation, lag },
      ...{ heardAt: clock.now(), heard: said.ends ? undefined : now, isAway: false },
      // Filters that are not known yet: those of before count until the answer is there.
      ...{ revision: isUnknown ? -1 : revision, filters: filters ?? known?.filters ?? ['#'] },
    }
    this.#others.set(id, other)
    if (!known) log.info(`hub ${id} (${address}) has joined the cluster`)
    else if (known.isAway) log.info(`hub ${id} (${address}) is back`)
    if (isNews || !known) this.#interest.set(id, other.filters)
    this.#file.changed()
    if (isNews || !known || said.ends) this.#file.save()
  }

  #echo(now: number): void {
    // After a gap, others may have said something that was not heard.
    if (now - this.#echoAt >= silentMs && now - this.#askedAt >= answerMs) this.onHearing()
    this.#echoAt = now
  }

  #meetTwin({ startedAt, address }: Announcement): void {
    const { self, incidents } = this.#options
    // The earlier start of this hub may still be heard.
    if (startedAt < self.startedAt || this.#twin) return
    this.#twin =
      `another hub with the id ${self.id} runs at ${address}: a data directory was copied. Stop one of them; the copy ` +
      'gets an id of its own when its hub.json is deleted'
    incidents.report('hub_twin', this.#twin)
  }

  #beat(): void {
    const { monotonic, clock, log } = this.#options
    this.#announce({})
    const now = monotonic.now()
    for (const [id, other] of this.#others) {
      if (clock.now() - other.heardAt > forgottenMs) {
        this.#others.delete(id)
        this.#interest.delete(id)
        this.#file.changed()
        log.info(`hub ${id} (${other.facts.address}) was not heard of for a week: it is forgotten`)
      } else if (this.isHearing && !other.isAway && other.heard !== undefined && now - other.heard >= awayMs) {
        other.isAway = true
        log.warn(`hub ${id} (${other.facts.address}) is away: not heard of for ${awayMs / 1_000} s`)
      }
    }
  }

  #stateOf({ heard }: Pick<Other, 'heard'>): KnownHub['state'] {
    const silence = heard === undefined ? awayMs : this.#options.monotonic.now() - heard
    return silence >= awayMs ? 'away' : silence >= silentMs ? 'silent' : 'up'
  }

  #announce(more: Pick<Announcement, 'filters' | 'asks' | 'ends'>): void {
    const { self, incarnation, bus, lag } = this.#options
    const said: Announcement = { ...self, incarnation, lag: lag.count, revision: this.#revision, ...more }
    bus.announce(Buffer.from(JSON.stringify(said)))
  }

  #text(): string {
    const others = [...this.#others.values()].map(({ facts, incarnation, revision, filters, heardAt, lag }) => {
      return { ...facts, incarnation, revision, filters, heardAt, lag }
    })
    return `${JSON.stringify({ hubs: others })}\n`
  }

  #load(): void {
    const { path, incidents } = this.#options
    const lost = 'the other hubs are asked anew, and until then everything is sent'
    const others = readOrSetAside(path, othersOf, lost, sentence => incidents.report('hubs_damaged', sentence)) ?? []
    for (const other of others) {
      this.#others.set(other.facts.id, other)
      this.#interest.set(other.facts.id, other.filters)
    }
  }
}

/** Returns the hubs in a file. Throws when the text is damaged. */
function othersOf(text: string): readonly Other[] {
  const { hubs } = JSON.parse(text) as { hubs: readonly { readonly heardAt?: unknown }[] }
  return hubs.map(one => {
    const said = factsOf(one)
    const { heardAt } = one
    if (!said?.filters || typeof heardAt !== 'number') throw new Error('an entry is no hub')
    const { id, version, address, startedAt, incarnation, lag, revision, filters } = said
    const facts = { id, version, address, startedAt }
    return { facts, incarnation, lag, revision, filters, heardAt, heard: undefined, isAway: false }
  })
}

function announcementOf(payload: Buffer): Announcement | undefined {
  if (payload.length > maxAnnouncement) return undefined
  try {
    return factsOf(JSON.parse(payload.toString('utf8')))
  } catch {
    return undefined
  }
}

/** Returns a value as an announcement. Undefined for anything else. */
function factsOf(value: unknown): Announcement | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { id, version, address, startedAt, incarnation, lag, revision, filters, asks, ends } = value as Announcement
  const texts = [id, version, address, incarnation]
  if (!texts.every(one => typeof one === 'string' && one.length <= 500) || id === '') return undefined
  if (![startedAt, lag, revision].every(Number.isFinite)) return undefined
  const isList = Array.isArray(filters) && filters.length <= maxFilters && filters.every(one => typeof one === 'string')
  if (filters !== undefined && !isList) return undefined
  return {
    ...{ id, version, address, startedAt, incarnation, lag, revision },
    ...(filters && { filters }),
    ...(asks === true && { asks }),
    ...(ends === true && { ends }),
  }
}
