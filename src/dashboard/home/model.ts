import {
  type AlertRow,
  type Balance,
  type Boards,
  fetchBalance,
  fetchBoards,
  fetchDead,
  fetchFirstHome,
  fetchHome,
  fetchOpenAlerts,
  setFavourites,
} from '../api.js'
import {
  type Board,
  type Catalogue,
  type Group,
  groupsOf,
  type HomeDevice,
  isFound,
  isOnBoard,
  keyOf,
  type Level,
  levelOf,
  withWords,
} from './catalogue.js'
import { keep, kept } from './kept.js'
import { KnownDevices } from './known-devices.js'
import { type Density, densities } from './layout.js'
import { Limits } from './limits.js'
import { Live } from './live.js'
import { Orders } from './orders.js'
import { readied } from './ready.js'
import { ShownAhead } from './shown-ahead.js'

/** Messages of a topic that were not stored, for one reason. */
export interface Unstored {
  readonly topic: string
  readonly reason: string
  readonly count: number
}

const settleAfter = 250
const accountEvery = 10_000
const mostLetters = 1_000
const manyDevices = 300
const refreshManyEvery = 30_000
const densityKey = 'telehub.home.density'

type Filters = 'density' | 'onlyWrong' | 'text' | 'open' | 'active' | 'board'
type Settable = Filters | 'mayChange' | 'needsKey' | 'isEditing' | 'isKiosk' | 'isShared'

/** The state of the page Home, and all that changes the page. */
export class HomeModel {
  readonly live = new Live()
  readonly orders = new Orders(this.live, () => this.#changed())
  readonly limits = new Limits(this.live, () => this.#changed())
  catalogue: Catalogue | undefined
  /** Why there is no catalogue; empty while there is one, or the answer is awaited. */
  failure = ''
  alerts: readonly AlertRow[] = []
  unstored: readonly Unstored[] = []
  balance: Balance | undefined
  /** Devices that this browser has not seen before. */
  found: readonly HomeDevice[] = []
  mayChange = false
  /** Whether names, places and values are being edited. */
  isEditing = false
  /** Whether the hub asks for a login. */
  needsKey = false
  density: Density = densityOf(kept(densityKey))
  onlyWrong = false
  text = ''
  /** Boards, and the favourites of the user. */
  boards: Boards | undefined
  favourites: readonly string[] = []
  /** Id of the board that is shown; undefined: all devices. */
  board: string | undefined
  /** Whether the page is on a wall, where nothing can be touched. */
  isKiosk = false
  /** Whether the page was opened by a link that shares one board. */
  isShared = false
  /** Id of the device whose sheet is open. */
  open: string | undefined
  /** Id of the device that has the focus of the arrow keys. */
  active: string | undefined
  readonly #known = new KnownDevices()
  #isShown = false
  #pending = new Map<string, ReturnType<typeof setTimeout>>()
  #account: ReturnType<typeof setTimeout> | undefined
  #tellings = 0
  #availability: readonly (() => void)[] = []
  #refreshedAt = 0
  #isFetching = false
  readonly #shownAhead = new ShownAhead()
  /** Set when the catalogue has changed while one was being fetched: to the revision, or to NaN if that is not known. */
  #missed: number | undefined
  #drawn: readonly Group[] = []
  #drawnOf: readonly unknown[] = []

  /** Called, at most once in a frame, when something has changed that is not a value. */
  onChange: (() => void) | undefined

  show(shown: boolean): void {
    if (shown === this.#isShown) return
    this.#isShown = shown
    clearTimeout(this.#account)
    if (shown) void this.#accountNow()
    else {
      // Unseen, and open above all, a sheet would keep the page that is shown instead from being used.
      this.open = undefined
      this.onChange?.()
    }
    this.#changed()
  }

  /** Devices that are shown, by area. The same array as long as nothing has changed. */
  get groups(): readonly Group[] {
    const { catalogue, text, onlyWrong, limits, shownBoard, favourites } = this
    if (!catalogue) return []
    const of = [catalogue, text, onlyWrong, limits.version, shownBoard, favourites]
    if (this.#drawnOf.every((one, i) => one === of[i]) && this.#drawnOf.length > 0) return this.#drawn
    const words = text.toLowerCase().split(/\s+/).filter(Boolean)
    const shown = catalogue.devices.filter(
      device => this.#isShownHere(device) && isFound(device, words) && (!onlyWrong || this.levelOf(device) !== 'ok'),
    )
    this.#drawnOf = of
    const first = shownBoard ? [] : favourites
    this.#drawn = groupsOf(catalogue, shown, device => this.levelOf(device), first)
    return this.#drawn
  }

  /** The board that is shown; undefined also while it is not known. */
  get shownBoard(): Board | undefined {
    return this.board === undefined ? undefined : this.boards?.boards[this.board]
  }

  /** Number of devices that are shown when nothing is filtered out. */
  get count(): number {
    return (this.catalogue?.devices ?? []).filter(device => this.#isShownHere(device)).length
  }

  #isShownHere(device: HomeDevice): boolean {
    if (!isShown(device)) return false
    const { shownBoard } = this
    return this.board === undefined || (shownBoard !== undefined && isOnBoard(shownBoard, device))
  }

  /** Makes a device a favourite of the user, or one no more. Shown at once; back as before when that is not saved. */
  async toggleFavourite(id: string): Promise<void> {
    const before = this.favourites
    this.favourites = before.includes(id) ? before.filter(one => one !== id) : [...before, id]
    this.#changed()
    await setFavourites(this.favourites).catch(() => {
      this.favourites = before
    })
    this.#changed()
  }

  /** Returns the worst that is known of a device and the values there. */
  levelOf(device: HomeDevice): Level {
    return levelOf(device, this.limits.levelOf(device.id))
  }

  device(id: string): HomeDevice | undefined {
    return this.catalogue?.devices.find(device => device.id === id)
  }

  /** Changes what is shown; `active` and `open` included. */
  set(change: Partial<Pick<HomeModel, Settable>>): void {
    const { board } = this
    Object.assign(this, change)
    if (change.density && this.board === undefined) keep(densityKey, change.density)
    if (this.board !== board) {
      this.isEditing = false
      this.#takeDensity()
    }
    this.#changed()
  }

  /** A board has a density; elsewhere that of this browser counts. */
  #takeDensity(): void {
    this.density = this.shownBoard?.density ?? densityOf(kept(densityKey))
  }

  /** Shows a change before the hub has saved it. Until then no answer of the hub replaces what is shown. */
  showAs(catalogue: Catalogue, saved: Promise<unknown>): void {
    this.catalogue = catalogue
    this.#shownAhead.add(saved)
    this.#changed()
  }

  /** Shows the first devices as soon as the hub answers, while the page is still connecting. */
  begin(): void {
    // A hub that does not answer is asked again when there is a connection.
    fetchFirstHome().then(this.#begin, () => {})
  }

  /** Fetches all anew: a connection has begun. */
  synchronise(): void {
    this.structureChanged()
    this.#soon('alerts', () => this.#fetchAlerts())
  }

  /** Fetches the catalogue, a little later, as changes come together. `revision`: of the hub's, if known. */
  structureChanged(revision?: number): void {
    if (revision !== undefined && revision === this.catalogue?.revision) return
    if (this.#isFetching) this.#missed = this.#missed === undefined ? (revision ?? Number.NaN) : Number.NaN
    else this.#soon('catalogue', () => this.#fetchCatalogue())
  }

  /** A client has come or gone, and so perhaps a device. */
  presenceChanged(): void {
    if (this.catalogue) this.#soon('catalogue', () => this.#fetchCatalogue(), 1_000)
  }

  alertsChanged(): void {
    this.#soon('alerts', async () => {
      await this.#fetchAlerts()
      this.structureChanged()
    })
  }

  async #fetchAlerts(): Promise<void> {
    this.alerts = await fetchOpenAlerts().catch(() => this.alerts)
    this.#changed()
  }

  /** Notes that the new devices have been seen. */
  acceptFound(): void {
    this.#known.add(this.found)
    this.found = []
    this.#changed()
  }

  /** Shows the first devices until all are known. */
  readonly #begin = (first: Catalogue): void => {
    if (this.catalogue) return
    this.catalogue = this.isKiosk ? { ...first, devices: first.devices.map(withoutControls) } : first
    this.#changed()
  }

  /** Fetches the catalogue. Only one is fetched at a time; what has changed meanwhile is asked for afterwards. */
  async #fetchCatalogue(): Promise<void> {
    if (this.#isFetching) {
      this.#missed = Number.NaN
      return
    }
    this.#isFetching = true
    const mark = this.#shownAhead.mark
    try {
      const fetched = await fetchHome(this.catalogue ? undefined : this.#begin)
      await this.#fetchBoards(fetched.edits)
      if (this.#shownAhead.isOld(mark)) this.#missed ??= Number.NaN
      else this.#take(fetched)
    } catch (error) {
      this.failure = (error as Error).message
      this.#soon('again', () => this.structureChanged(), 5_000)
    }
    this.#isFetching = false
    if (this.#missed !== undefined) this.structureChanged(this.#missed)
    this.#missed = undefined
    this.#changed()
  }

  #take(fetched: Catalogue): void {
    const shown = this.isKiosk ? fetched.devices.map(withoutControls) : fetched.devices
    const devices = readied(withKnown(shown, this.catalogue?.devices ?? []))
    this.catalogue = { ...fetched, devices }
    this.failure = ''
    this.found = this.#known.missing(devices).filter(isShown)
    this.#watchAvailability(devices)
    this.limits.take(devices)
  }

  /** Shows the edits that the hub has just answered with. */
  takeBoards(boards: Boards): void {
    const isFirst = this.boards === undefined
    this.boards = boards
    this.favourites = boards.favourites
    if (isFirst || this.board !== undefined) this.#takeDensity()
    this.#changed()
  }

  /** Fetches the boards when the edits are not those that are here. A hub that does not answer is asked next time. */
  async #fetchBoards(edits: string): Promise<void> {
    if (this.boards?.revision === edits) return
    const boards = await fetchBoards().catch(() => undefined)
    if (boards) this.takeBoards(boards)
  }

  /** Asks again as soon as a device says that the device has come or gone. */
  #watchAvailability(devices: readonly HomeDevice[]): void {
    for (const end of this.#availability) end()
    this.#availability = devices.flatMap(({ availability }) => {
      if (!availability) return []
      const key = keyOf(availability)
      let was = this.live.of(key)?.value
      const look = () => {
        const value = this.live.of(key)?.value
        if (value === was) return
        was = value
        this.structureChanged()
      }
      return [this.live.watch(key, look)]
    })
  }

  /** Fetches how many messages there were, and which are not stored. A user who may not know is shown nothing. */
  async #accountNow(): Promise<void> {
    if (!document.hidden) {
      this.#refresh()
      this.balance = await fetchBalance(2, 1).catch(() => undefined)
      const letters = this.balance && this.balance.dead > 0 ? await fetchDead({}, mostLetters).catch(() => []) : []
      const counts = new Map<string, Unstored>()
      for (const { topic, reason } of letters) {
        const key = `${reason} ${topic}`
        counts.set(key, { topic, reason, count: (counts.get(key)?.count ?? 0) + 1 })
      }
      this.unstored = [...counts.values()].sort((a, b) => b.count - a.count)
      this.#changed()
    }
    if (this.#isShown) this.#account = setTimeout(() => void this.#accountNow(), accountEvery)
  }

  /** Asks for the catalogue again now and then: that a device has fallen silent is announced by nothing. */
  #refresh(): void {
    const { length = 0 } = this.catalogue?.devices ?? []
    const now = performance.now()
    if (now - this.#refreshedAt < (length > manyDevices ? refreshManyEvery : 0)) return
    this.#refreshedAt = now
    if (this.catalogue) this.structureChanged()
  }

  #soon(name: string, act: () => void | Promise<void>, inMs = settleAfter): void {
    if (this.#pending.has(name)) return
    const timer = setTimeout(
      () => {
        this.#pending.delete(name)
        void act()
      },
      this.catalogue || inMs !== settleAfter ? inMs : 0,
    )
    this.#pending.set(name, timer)
  }

  #changed(): void {
    this.#tellings ||= requestAnimationFrame(() => {
      this.#tellings = 0
      if (this.#isShown) this.onChange?.()
    })
  }
}

/** Whether a device has a place on the page: not one that is hidden, or of which nothing but the name is known. */
export function isShown(device: HomeDevice): boolean {
  return !device.hidden && isKnown(device)
}

/** Whether more than the name is known of a device. */
export function isKnown({ values, more, lastSeen }: HomeDevice): boolean {
  return values.length > 0 || more > 0 || lastSeen > 0
}

/** Returns a device that takes no commands. The words of the controls stay with the values. */
function withoutControls(device: HomeDevice): HomeDevice {
  return { ...device, values: device.values.map(value => withWords(value, device)), controls: [] }
}

function densityOf(text: string | null): Density {
  return densities.find(density => density === text) ?? 'cards'
}

/** Returns the devices; an unchanged one stays the same object, so that the card is not drawn again. */
function withKnown(devices: readonly HomeDevice[], known: readonly HomeDevice[]): readonly HomeDevice[] {
  const before = new Map(known.map(device => [device.id, device]))
  return devices.map(device => {
    const old = before.get(device.id)
    const { lastSeen } = device
    if (!old || JSON.stringify({ ...old, lastSeen }) !== JSON.stringify(device)) return device
    return Object.assign(old, { lastSeen })
  })
}
