import { mayRead, type ReadRules } from '../../access/rules.js'
import { type BoardEdits, Boards, type EditFollower } from '../../boards/boards.js'
import type { Settings } from '../../config/settings.js'
import { type Answer, encodeJson, type HomeDevice, type Json, type Received } from '../../contract/contract.js'
import { parseSeriesKey } from '../../model.js'
import type { IncidentReporter } from '../../observe/incidents.js'
import type { SentenceLog } from '../../observe/log.js'
import type { Part } from '../../runtime/lifecycle.js'
import { Slices } from '../../runtime/slices.js'
import { hubTopics } from '../../topics.js'
import type { LiveDelivery, LivePusher } from '../live-pusher.js'
import type { Registry } from '../registry.js'
import { BoardDesk, type BoardEdit, type VisibleDevices } from './board-desk.js'
import { type DeviceRows, type RowSources, rowsOf } from './device-rows.js'
import { conditionOf, type FiringAlerts, firingBy, type OpenAlerts } from './device-state.js'
import { type Edited, editedAs, editedRows } from './edited.js'
import { Families } from './families.js'
import { FoundValues } from './found-values.js'
import { type GroupedDevice, type Grouping, groupDevices, readablePart } from './grouping.js'
import { type DevicePlace, DevicePlaces, topicsOf } from './places.js'
import { Rhythms } from './rhythms.js'
import type { KnownReading, SeenTopic, TopicFollower } from './topic-book.js'
import { Unasked } from './unasked.js'

export type { DevicePlace } from './places.js'

/** Selects devices, and the rules for what the caller may read and publish; without, everything. */
export type HomeQuery = Received<'GET /api/home'> & {
  readonly rules: ReadRules | undefined
  readonly publish: ReadRules | undefined
  /** Id of the only board whose devices the caller may see. */
  readonly board?: string | undefined
}

export interface HomeOptions extends RowSources {
  /** Data directory. */
  readonly dir: string
  readonly registry: Pick<Registry, 'last' | 'device'>
  readonly live: Pick<LivePusher, 'topics' | 'refusedOf'>
  readonly alerts: OpenAlerts
  readonly broker: LiveDelivery & IncidentReporter & SentenceLog
  readonly settings: Pick<Settings, 'presets.off'>
}

/** Everything about a device that is kept between two answers: all but the values that only few ask for. */
interface Card extends Omit<DeviceRows, 'values'> {
  readonly edited: Edited
  readonly device: GroupedDevice
  /** Values that pages need without being asked for all: those that are shown large, and those with thresholds. */
  readonly main: DeviceRows['values']
  readonly more: number
  readonly notKept: number
}

const tickMs = 1_000

/** A new grouping waits as many times as long as a long one took: it must not be all that the thread does. */
const restTimes = 10
const shortMs = 200

/**
 * The catalogue of devices: which values belong together, what they are called, and what can be done with them. Made in
 * slices, from the topics that were seen and what is known from discovery, and made anew when those have changed and
 * somebody asks. Now and then it is made without a question, as ten thousand devices take more than a second.
 */
export class Home implements Part, TopicFollower, EditFollower, VisibleDevices {
  readonly name = 'home'
  readonly #options: HomeOptions
  readonly #families: Families
  /** Changes that people made to the screen. */
  readonly boards: Boards
  /** Questions and orders about these changes. */
  readonly desk: BoardDesk
  #grouping: Grouping | undefined
  #cards: readonly Card[] = []
  /** Devices whose cards are made anew, and whether all of them are. */
  readonly #stale = new Set<GroupedDevice>()
  #isGroupingStale = true
  #areEditsStale = false
  /** Changes of what is known from discovery: those in the cards, and those that pages were told of. */
  #knowledge = -1
  #told = -1
  #restored: Promise<void> | undefined
  #revision = Date.now()
  #isAnnounced = false
  #making: Promise<void> | undefined
  #nextGrouping = 0
  readonly #unasked = new Unasked()
  #timer: NodeJS.Timeout | undefined
  #isStopped = false
  readonly #rhythms: Rhythms
  readonly #places = new DevicePlaces()

  constructor(options: HomeOptions) {
    this.#options = options
    this.#families = new Families(options.settings['presets.off'])
    options.live.topics.reportTo(this)
    this.boards = new Boards({ dir: options.dir, incidents: options.broker, log: options.broker })
    this.boards.reportTo(this)
    this.#rhythms = new Rhythms({ dir: options.dir, topics: options.live.topics, incidents: options.broker })
    this.desk = new BoardDesk(this.boards, this, options.mapping)
  }

  start(): void {
    this.boards.start()
    this.#rhythms.start()
    this.#timer = setInterval(() => this.#tick(), tickMs)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    clearInterval(this.#timer)
    await Promise.all([this.boards.stop(), this.#rhythms.stop()])
  }

  /** Takes the readings from before the start. */
  async #restore(): Promise<void> {
    const { registry, live } = this.#options
    const slices = new Slices()
    for (const [topic, json, client] of [...registry.last()]) {
      if (slices.isOver) await slices.turn()
      const { received, values } = JSON.parse(json) as KnownReading
      if (!Array.isArray(values)) continue
      this.#rhythms.restore(live.topics.restore({ topic, received, values, client }))
    }
    this.#rhythms.restored()
  }

  topicChanged(seen: SeenTopic): void {
    this.#changed()
    const known = this.#grouping?.byTopic.get(seen.topic)
    if (known) for (const device of known) this.#stale.add(device)
    // A topic with other fields may belong elsewhere.
    if (!known || seen.groups.length > 1) this.#isGroupingStale = true
  }

  editsChanged(): void {
    this.#areEditsStale = true
    this.#changed()
  }

  topicGone(): void {
    this.#isGroupingStale = true
    this.#changed()
  }

  #changed(): void {
    this.#isAnnounced = false
  }

  #tick(): void {
    this.#announce()
    if (!this.#isMade) this.#unasked.run(() => this.#refresh())
  }

  /** Tells pages that the structure has changed, once a second at most. */
  #announce(): void {
    const { mapping, broker } = this.#options
    if (this.#told !== mapping.knowledge.changes) this.#changed()
    if (this.#isAnnounced) return
    this.#isAnnounced = true
    this.#told = mapping.knowledge.changes
    this.#revision = Math.max(this.#revision + 1, Date.now())
    const json = JSON.stringify({ revision: this.#revision })
    broker.push([{ topic: hubTopics.home, json }]).catch(() => this.#changed())
  }

  /** Whether the cards are those of now. */
  get #isMade(): boolean {
    return this.#isKnown && !this.#isGroupingStale && !this.#areEditsStale && this.#stale.size === 0
  }

  get #isKnown(): boolean {
    return this.#grouping !== undefined && this.#knowledge === this.#options.mapping.knowledge.changes
  }

  async visible(rules: ReadRules): ReturnType<VisibleDevices['visible']> {
    await this.#refresh()
    return namesOf(this.#cards, card => this.#readable(card, rules))
  }

  /** Returns the area and the icon of the device of each topic, in a new map when one may have changed. */
  async places(): Promise<ReadonlyMap<string, DevicePlace>> {
    await this.#refresh()
    return this.#places.of(this.#cards)
  }

  async topicsOn(board: Pick<BoardEdit, 'areas' | 'devices'>): Promise<readonly string[]> {
    await this.#refresh()
    const topics = new Set<string>()
    for (const { device } of this.#cards.filter(card => isOn(board, card)))
      for (const topic of topicsOf(device)) topics.add(topic)
    return [...topics].sort()
  }

  async answer({
    device: id,
    series,
    search,
    values,
    limit,
    after,
    rules,
    publish,
    board: boardId,
  }: HomeQuery): Promise<Json<Answer<'GET /api/home'>>> {
    await this.#refresh()
    const [revision, edits] = [this.#revision, this.boards.etag]
    const slices = new Slices()
    const firing = firingBy(this.#options.alerts, this.#options.mapping)
    const now = Date.now() * 1_000
    const devices: HomeDevice[] = []
    const areas = new Map<string, number>()
    let count = 0
    let next: string | undefined
    const from = Number(after ?? 0)
    const found = series === undefined && search === undefined ? undefined : new FoundValues(series, search)
    const holders = found && this.#holders(found.series)
    const { boards = {} } = this.boards.edits
    const board = boardId !== undefined && Object.hasOwn(boards, boardId) ? boards[boardId] : undefined
    for (const [i, card] of this.#cards.entries()) {
      if (slices.isOver) await slices.turn()
      if (boardId !== undefined && !(board && isOn(board, card))) continue
      const shown = rules ? this.#readable(card, rules) : card
      if (!shown) continue
      count++
      if (card.area !== undefined) areas.set(card.area, (areas.get(card.area) ?? 0) + 1)
      if (id !== undefined ? id !== card.id && !card.device.aliases.includes(id) : i < from) continue
      if (found) {
        const rows = (holders?.has(card.device) ?? true) ? found.of(card.device, this.#rows(shown.device).rows) : []
        if (rows.length === 0) continue
        if (devices.length < limit) {
          devices.push({ ...this.#describe(shown, false, { firing, now, publish, rules }), values: [...rows], more: 0 })
        } else next ??= String(i)
      } else if (devices.length >= limit) next ??= String(i)
      else devices.push(this.#describe(shown, id !== undefined || values === 'all', { firing, now, publish, rules }))
    }
    const listed = [...areas].map(([name, devices]) => ({ name, devices }))
    return encodeJson({ revision, edits, count, areas: listed, devices, ...(next !== undefined && { next }) })
  }

  /** Returns the devices that have these series. Undefined: any device may have them. */
  #holders(series: readonly string[]): ReadonlySet<GroupedDevice> | undefined {
    const { mapping } = this.#options
    const holders = new Set<GroupedDevice>()
    for (const key of series) {
      const id = parseSeriesKey(key)
      const topic = id && mapping.topicOf(id)
      const of = topic === undefined ? undefined : this.#grouping?.byTopic.get(topic)
      if (!of) return undefined
      for (const device of of) holders.add(device)
    }
    return holders.size > 0 ? holders : undefined
  }

  /** Returns what the rules allow of a device. Undefined: nothing. */
  #readable(card: Card, rules: ReadRules): Card | undefined {
    const part = readablePart(card.device, rules)
    return part === card.device ? card : part && this.#card(part)
  }

  #describe(
    card: Card,
    isWhole: boolean,
    { firing, now, publish, rules }: Pick<HomeQuery, 'publish' | 'rules'> & { firing: FiringAlerts; now: number },
  ): HomeDevice {
    const { device, about, main, more, notKept, id, name, area } = card
    const values = isWhole && more > 0 ? this.#rows(device).rows.values : main
    const controls = card.controls.filter(
      ({ topic, state }) =>
        (!publish || mayRead(publish, topic)) && (!rules || state === undefined || mayRead(rules, state.topic)),
    )
    return {
      ...{ id, name },
      ...(area !== undefined && { area }),
      class: card.class,
      ...about,
      ...card.edited,
      ...conditionOf(device, {
        registry: this.#options.registry,
        firing,
        now,
        rhythms: this.#rhythms,
        topics: this.#options.live.topics,
      }),
      values,
      more: isWhole ? 0 : more,
      notKept,
      controls,
    }
  }

  /** Resolves when the cards are those of the topics and descriptions of now, or were made a moment ago. */
  async #refresh(): Promise<void> {
    this.#making ??= this.#make().finally(() => {
      this.#making = undefined
    })
    await this.#making
  }

  async #make(): Promise<void> {
    const { mapping, live } = this.#options
    this.#restored ??= this.#restore()
    await this.#restored
    if (!this.#isKnown || this.#isGroupingStale) {
      if (this.#grouping && performance.now() < this.#nextGrouping) return
      const began = performance.now()
      this.#isGroupingStale = false
      this.#knowledge = mapping.knowledge.changes
      this.#grouping = await groupDevices(live.topics, mapping.knowledge, this.#families)
      await this.#deal(this.#grouping)
      const now = performance.now()
      this.#nextGrouping = now + Math.max(0, now - began - shortMs) * restTimes
    } else if (this.#areEditsStale) {
      this.#areEditsStale = false
      await this.#deal(this.#grouping as Grouping)
    } else if (this.#stale.size > 0) {
      const stale = [...this.#stale]
      this.#stale.clear()
      const slices = new Slices()
      const made = new Map<GroupedDevice, Card>()
      for (const device of stale) {
        if (slices.isOver) await slices.turn()
        made.set(device, this.#card(device))
      }
      this.#cards = sorted(
        this.#cards.map(card => made.get(card.device) ?? card),
        this.boards.edits,
      )
    }
  }

  /** Makes all cards. */
  async #deal(grouping: Grouping): Promise<void> {
    this.#stale.clear()
    const slices = new Slices()
    const cards: Card[] = []
    for (const device of grouping.devices.values()) {
      if (slices.isOver) await slices.turn()
      if (this.#isStopped) return
      cards.push(this.#card(device))
    }
    this.#cards = sorted(cards, this.boards.edits)
  }

  #card(device: GroupedDevice): Card {
    const { rows: all, edited } = this.#rows(device)
    const { values, ...rows } = all
    // The page must know when a value is outside of the thresholds.
    const main = values.filter(({ main, thresholds, hidden }) => main || (thresholds && !hidden))
    const notKept = values.filter(({ fate }) => fate === 'live').length
    return { ...rows, edited, device, main, more: values.length - main.length, notKept }
  }

  #rows(device: GroupedDevice): { readonly rows: DeviceRows; readonly edited: Edited } {
    const rows = rowsOf(device, this.#options, topic => this.#options.live.refusedOf(topic))
    return editedRows(rows, this.boards.edits, editedAs(this.boards.edits, device))
  }
}

/** Resolves with the ids of what a caller may read of the devices, with those from before, and with their areas. */
async function namesOf(
  cards: readonly Card[],
  readable: (card: Card) => Card | undefined,
): ReturnType<VisibleDevices['visible']> {
  const ids = new Set<string>()
  const areas = new Set<string>()
  const slices = new Slices()
  for (const card of cards) {
    if (slices.isOver) await slices.turn()
    const shown = readable(card)
    if (!shown) continue
    for (const id of [shown.id, ...shown.device.aliases]) ids.add(id)
    if (shown.area !== undefined) areas.add(shown.area)
  }
  return { ids, areas }
}

/** Whether a board shows a device. A hidden one is on no board. */
function isOn({ areas = [], devices = [] }: Pick<BoardEdit, 'areas' | 'devices'>, card: Card): boolean {
  if (card.edited.hidden) return false
  const { id, area, device } = card
  return (area !== undefined && areas.includes(area)) || [id, ...device.aliases].some(one => devices.includes(one))
}

/** Sorts by area, in the order that people chose, those without one last; then by place, then by name. */
function sorted(cards: readonly Card[], { areas = [] }: BoardEdits): readonly Card[] {
  const places = new Map(areas.map((area, i) => [area, i]))
  const placeOf = ({ area }: Card) => (area === undefined ? Number.MAX_VALUE : (places.get(area) ?? areas.length))
  const orderOf = ({ edited }: Card) => edited.order ?? Number.MAX_VALUE
  return [...cards].sort(
    (a, b) =>
      placeOf(a) - placeOf(b) ||
      compare(a.area ?? '', b.area ?? '') ||
      orderOf(a) - orderOf(b) ||
      compare(a.name, b.name) ||
      compare(a.id, b.id),
  )
}

function compare(a: string, b: string): number {
  const [one, other] = [a.toLowerCase(), b.toLowerCase()]
  return one < other ? -1 : one > other ? 1 : 0
}
