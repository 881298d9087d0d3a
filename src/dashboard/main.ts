import { Account } from './account.js'
import { ApiError, fetchDevices, fetchSeries, type Ready } from './api.js'
import { ChartDock } from './chart-dock.js'
import { DevicePage } from './device/device.js'
import { startDisplay } from './display.js'
import { Feed, type FeedPart, type LastReading } from './feed.js'
import { FeedListeners } from './feed-listeners.js'
import { startHome } from './home/home-page.js'
import { HomeModel } from './home/model.js'
import { isKiosk, startKiosk } from './kiosk.js'
import { element } from './nodes.js'
import { Pages, type Shell } from './pages.js'
import { deviceAddress, PresencePanel } from './presence.js'
import { PushSwitch } from './push.js'
import { Refusals } from './refusals.js'
import { snippetFor } from './snippet.js'
import { Status } from './status.js'
import { language, say, words } from './texts/language.js'
import type { Board } from './values/board.js'
import { nameText } from './wording.js'

const home = new HomeModel()
const refusals = new Refusals()
const presence = new PresencePanel(
  element('devices'),
  element('presence-count'),
  element('devices-note'),
  element<HTMLTemplateElement>('device-template'),
  refusals,
)
const status = new Status(element('connection'), element('connection-text'), element('rate'), element('banners'))
const charts = new ChartDock({
  host: element('chart-dock'),
  live: home.live,
  // A chart is over the page from which it was opened.
  more: () => (place === 'values' ? { over: place } : {}),
  go: navigate,
})
const device = new DevicePage(
  { named: (...names) => board?.named(...names) ?? [] },
  refusals,
  rows => {
    presence.snapshot(rows)
    device.snapshot(rows)
  },
  clientId => {
    presence.forget(clientId)
    navigate(undefined)
  },
)
const account = new Account(session => {
  const needsKey = session.auth === 'required'
  const { share } = session
  home.set({ mayChange: session.mayChange, needsKey, isShared: share !== undefined })
  if (share) showShared(share.board)
  element('snippet').textContent = snippetFor(location.origin, needsKey)
  device.users = session.auth === 'required'
  device.mayChange = session.mayChange
  const anonymous = session.user ? unnamedNotice : anonymousNotice
  status.notice('anonymous', session.auth === 'anonymous' ? anonymous : undefined)
  pages.changed()
})
let hub: Ready | undefined
status.onReady = ready => {
  hub = ready ?? hub
  pages.changed()
}
const listeners = new FeedListeners()
const shell: Shell = {
  home,
  get session() {
    return account.session
  },
  get ready() {
    return hub
  },
  go,
  leave: goBack,
  filterBy,
  askReady: () => status.ask(),
  listen: listener => listeners.add(listener),
}
const pages = new Pages(shell, element('pages'))
const feed = new Feed(`dashboard-${randomHex(8)}`, listeners)
listeners.add({
  state: (state, reason) => status.connection(state, reason),
  late: seconds => status.late(seconds),
  beat: () => status.beat(),
  subscribed: parts => {
    if (asked || !account.session) void account.ask()
    asked = true
    denied = parts
    device.refusalsReadable = !denied.includes('refusals')
    device.presenceReadable = !denied.includes('presence')
    presence.readable = device.presenceReadable
    void synchronise()
    home.synchronise()
    keepOfflineOnce()
  },
  reading: (reading, retained) => {
    if (!retained) status.reading()
    home.live.take(reading)
    if (early) early.set(reading.topic, reading)
    else take(reading, retained)
  },
  cleared: topic => {
    early?.delete(topic)
    home.live.clear(topic)
    board?.clear(topic)
  },
  presence: body => {
    presence.take(body)
    device.presence(body)
    if (asked) home.presenceChanged()
  },
  forgotten: clientId => {
    presence.forget(clientId)
    device.forget(clientId)
  },
  refusal: body => {
    refusals.take(body)
    presence.refused(body.clientId)
    device.refused(body.clientId)
  },
  alerts: () => home.alertsChanged(),
  home: revision => home.structureChanged(revision),
})

const anonymousNotice = { tone: 'anonymous', title: say('banner.open'), text: say('banner.open-text') }
/** Notice for a hub with users, one of which is for clients without a name. */
const unnamedNotice = {
  tone: 'anonymous',
  title: say('banner.nobody'),
  text: say('banner.nobody-text'),
  more: { text: say('banner.sign-in'), href: '/login' },
}
/** Shows the board that a link shares, whatever the address. */
function showShared(id: string): void {
  document.documentElement.dataset.shared = ''
  const address = `#${new URLSearchParams({ board: id })}`
  if (parametersOf().get('board') === id) return
  history.replaceState(null, '', address)
  followAddress()
}

/** Interval of polling readings that are not pushed to this page. */
const askEvery = 10_000

/** The parts of the feed that the hub does not push to this user. */
let denied: readonly FeedPart[] = []
/** Whether there was a connection before. A new connection may be another user's, so the session is fetched again. */
let asked = false
/** Whether the list of the hub has been read. Until then a series that is missing may still come. */
let listed = false
/** Readings that came before the list, which wait so that the board appears once and in order. Undefined afterwards. */
let early: Map<string, LastReading> | undefined = new Map()
/** The wall of all values, which is loaded when it is needed: there may be very many tiles. */
let board: Board | undefined
/** Whether the wall has been needed. */
let isBoardWanted = false
/** The place in which charts and pages of devices are opened, and to which they return. */
let place: 'home' | 'values' = 'home'
/** The board of Home that is shown. */
let homeBoard: string | undefined
/** The filter of each page. */
const filters = { home: '', values: '' }
let opener: HTMLElement | undefined
let again: ReturnType<typeof setTimeout> | undefined

function take(reading: LastReading, retained: boolean): void {
  if (!board) return
  const before = board.size
  board.take(reading, retained)
  if (board.size > before) grown()
}

let isKept = false

/** Prepares for the time when the hub cannot be reached, after the page has shown the first values. */
function keepOfflineOnce(): void {
  if (isKept) return
  isKept = true
  const keep = () => import('./offline/keep.js').then(({ keepOffline }) => keepOffline(home))
  setTimeout(() => {
    // Without the hub there is no such file now; the next connection is the next chance.
    keep().catch(() => {
      isKept = false
    })
  }, 3_000)
}

/** Fetches the complete state of the hub, whenever the feed starts anew. */
async function synchronise(): Promise<void> {
  clearTimeout(again)
  const unseen = new Set<string>(denied.includes('readings') ? [say('unseen.live')] : [])
  if (denied.includes('presence')) unseen.add(say('unseen.presence'))
  const isForbidden = (error: unknown) => error instanceof ApiError && error.status === 403
  if (denied.includes('readings')) again = setTimeout(() => void synchronise(), askEvery)
  const isForBoard = board !== undefined
  const asking = earlySeries ?? fetchSeries
  if (isForBoard) earlySeries = undefined
  const [series] = await Promise.all([
    (isForBoard ? asking() : Promise.resolve(undefined)).catch((error: unknown) => {
      if (isForbidden(error)) unseen.add(say('unseen.readings'))
      // The store may be down; the retained messages of the broker are on their way. Retried after a while.
      if (!(error instanceof ApiError) || error.status >= 500) {
        clearTimeout(again)
        again = setTimeout(() => void synchronise(), askEvery)
      }
      return undefined
    }),
    fetchDevices().then(
      rows => {
        presence.snapshot(rows)
        device.snapshot(rows)
      },
      (error: unknown) => {
        if (isForbidden(error)) unseen.add(say('unseen.devices'))
        presence.snapshot([])
      },
    ),
  ])
  const { user = '' } = account.session ?? {}
  const what = [...unseen].join(say('comma'))
  const text = say('banner.hidden-text', { user, what })
  const isToldHidden = unseen.size > 0 && !account.session?.share
  status.notice('unseen', isToldHidden ? { tone: 'unseen', title: say('banner.hidden'), text } : undefined)
  if (series) {
    board?.snapshot(series)
    listed = true
  }
  if (!isForBoard) return
  const waited = early
  early = undefined
  for (const reading of waited?.values() ?? []) take(reading, true)
  grown()
  const key = chartKey()
  if (waited && key !== undefined) board?.reveal(key)
}

/** Called when tiles were added: the first tile, or the tile in the address, may be among them. */
function grown(): void {
  element('empty').hidden = (board?.size ?? 0) > 0 || !listed
  board?.select(chartKey())
}

/** Answers with the list that was asked for before there were a connection and a wall: readings that came since are newer. */
let earlySeries: typeof fetchSeries | undefined

/** Makes the tiles, now that a page is shown which needs them. */
function wantBoard(): void {
  if (isBoardWanted) return
  isBoardWanted = true
  const series = fetchSeries()
  // A failure is that of who waits for the answer.
  series.catch(() => {})
  earlySeries = () => series
  import('./values/wall.js').then(
    ({ startWall }) => {
      board = startWall()
      board.filter(filters.values)
      if (asked) void synchronise()
    },
    (error: Error) => {
      isBoardWanted = false
      earlySeries = undefined
      element('groups').textContent = say('page.failed', { why: error.message })
    },
  )
}

/** The address of the wall of all values. */
const valuesAddress = '#values'

function parametersOf(): URLSearchParams {
  return new URLSearchParams(location.hash.slice(1))
}

/** Returns the id of the device whose sheet the address names. */
function onThing(): string | undefined {
  return parametersOf().get('thing') || undefined
}

/** Notes in which of the two places the address is; an address of a chart is in the one from which the chart was opened. */
function notePlace(): void {
  const parameters = parametersOf()
  const board = parameters.get('board') || undefined
  if (location.hash === '' || onThing() !== undefined || board !== undefined) {
    place = 'home'
    homeBoard = board
  } else if (location.hash === valuesAddress) place = 'values'
  else if (chartKey() !== undefined) place = parameters.get('over') === 'values' ? 'values' : 'home'
}

/** Returns the client whose page the address names. */
function onDevice(): string | undefined {
  return new URLSearchParams(location.hash.slice(1)).get('device') || undefined
}

const placeholders = { home: 'search.home', values: 'search.values' } as const

/** Shows the page of the address. The selected series is opened afterwards. */
function showPage(focus: boolean): void {
  notePlace()
  const clientId = onDevice()
  pages.show(parametersOf(), focus)
  const loaded = pages.current
  if (clientId !== undefined) device.show(clientId, focus)
  else if (device.shown) leaveDevice()
  const isPlace = !loaded && clientId === undefined
  element('home').hidden = !isPlace || place !== 'home'
  element('page').hidden = !isPlace || place !== 'values'
  if ((isPlace && place === 'values') || clientId !== undefined) wantBoard()
  home.show(isPlace && place === 'home')
  home.set({ open: onThing(), board: homeBoard })
  const page = loaded?.name ?? (isPlace ? place : undefined)
  for (const link of element('pages').querySelectorAll('a')) {
    if (link.dataset.page === page) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  const search = element<HTMLInputElement>('search')
  const shown = loaded?.name ?? place
  const text = loaded ? pages.filterText : filters[place]
  if (search.dataset.page === shown && search.value === text) return
  search.dataset.page = shown
  search.value = text
  search.placeholder = say(loaded?.search ?? placeholders[place])
}

function openDevice(clientId: string): void {
  if (onDevice() !== clientId) history.pushState(null, '', deviceAddress(clientId))
  followAddress(true)
  scrollTo({ top: 0 })
}

/** Hides the page of a device, and moves the focus to the link of that device in the list. */
function leaveDevice(): void {
  const left = element('device').dataset.client
  device.hide()
  if (pages.current || left === undefined) return
  // After the board is shown again.
  queueMicrotask(() => presence.link(left)?.focus({ preventScroll: true }))
}

/** The address of the place to which charts and pages return. */
function placeAddress(): string {
  if (place === 'values') return valuesAddress
  if (homeBoard !== undefined) return `#${new URLSearchParams({ board: homeBoard })}`
  return location.pathname + location.search
}

function goBack(): void {
  history.replaceState(null, '', placeAddress())
  followAddress()
}

/** Goes to the top of another page. */
function go(address: string): void {
  const isThere = address.startsWith('#') ? location.hash === address : location.hash === ''
  if (!isThere) history.pushState(null, '', address)
  followAddress(true)
  scrollTo({ top: 0 })
}

function filterBy(text: string): void {
  element<HTMLInputElement>('search').value = text
  if (pages.current) pages.filter(text)
  else if (place === 'home') {
    filters.home = text
    home.set({ text })
  } else {
    filters.values = text
    board?.filter(text)
    presence.filter(text)
  }
}

/** Returns the series whose chart the address names. */
function chartKey(): string | undefined {
  return parametersOf().get('series') || undefined
}

/** Changes the address, as a step that the back button can undo, or without one. */
function navigate(wanted: string | undefined, replace = false): void {
  const address = wanted ?? placeAddress()
  if (address.startsWith('#') ? location.hash === address : location.hash === '') return
  if (replace) history.replaceState(null, '', address)
  else history.pushState(null, '', address)
  followAddress()
}

function followAddress(focus = false): void {
  showPage(focus)
  const key = chartKey()
  board?.select(key)
  const name = onDevice()
  const named = name === undefined ? undefined : nameText(name)
  const placed = place === 'home' ? undefined : say('place.values')
  const page = pages.current ? say(pages.current.title) : (named ?? placed)
  const titled = (text: string | undefined) => {
    document.title = text ? `${text} · telehub` : 'telehub'
  }
  titled(page)
  const opening = charts.show(parametersOf(), opener)
  opener = undefined
  if (key === undefined) return
  board?.reveal(key)
  void opening.then(text => text && chartKey() === key && titled(text))
}

function randomHex(bytes: number): string {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map(byte => byte.toString(16).padStart(2, '0')).join('')
}

function onPage(): void {
  addEventListener('popstate', () => followAddress())

  element('groups').addEventListener('click', event => {
    const tile = (event.target as Element).closest<HTMLAnchorElement>('a.tile')
    const key = tile?.dataset.series
    if (!tile || key === undefined || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return
    event.preventDefault()
    opener = tile
    navigate(`#${new URLSearchParams({ series: key, over: 'values' })}`)
  })

  element('devices').addEventListener('click', event => {
    const clientId = (event.target as Element).closest<HTMLElement>('li')?.dataset.client
    if (clientId === undefined || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return
    event.preventDefault()
    openDevice(clientId)
  })

  const search = element<HTMLInputElement>('search')
  search.addEventListener('input', () => filterBy(search.value))
  document.addEventListener('keydown', event => {
    const typing = event.target instanceof HTMLInputElement
    if (event.key === '/' && !typing && !event.metaKey && !event.ctrlKey) {
      event.preventDefault()
      search.focus()
      search.select()
    }
    if (event.key !== 'Escape' || account.isOpen) return
    // The dialog closes without help.
    if (home.open !== undefined) return
    if (typing && search.value) filterBy('')
    else if (!pages.current?.isLinked) navigate(undefined)
  })

  document.querySelector('.skip')?.addEventListener('click', event => {
    event.preventDefault()
    const place = element('home').hidden ? 'board' : 'home'
    const shown = pages.host ?? element(device.shown ? 'device' : place)
    shown.focus()
  })
  document.addEventListener('click', event => {
    const link = (event.target as Element).closest<HTMLAnchorElement>('.bar a, .banner a, a.back')
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return
    const address = link.getAttribute('href') ?? ''
    if (address === '/login') return
    event.preventDefault()
    if (link.matches('.back')) return go(placeAddress())
    go(address === '/' ? location.pathname + location.search : address)
  })

  const wide = matchMedia('(min-width: 1000px)')
  const details = element<HTMLDetailsElement>('presence-details')
  details.open = wide.matches
  wide.addEventListener('change', () => {
    details.open = wide.matches
  })

  const copy = element<HTMLButtonElement>('copy')
  copy.hidden = !navigator.clipboard
  copy.addEventListener('click', () => {
    void navigator.clipboard.writeText(element('snippet').textContent ?? '').then(() => {
      copy.textContent = say('home.copied')
      setTimeout(() => {
        copy.textContent = say('home.copy')
      }, 2000)
    })
  })
}

document.documentElement.lang = language
words.translate(document)
words.translate(element<HTMLTemplateElement>('device-template').content)
onPage()
startDisplay()
if (isKiosk()) {
  startKiosk()
  home.set({ isKiosk: true })
}
if (Pages.of(parametersOf()) === undefined && location.hash !== valuesAddress) home.begin()
startHome(element('home-root'), home, () => {
  if (onThing() !== undefined) navigate(undefined)
})
// Addresses from before there was a Home are those of the wall.
if (onDevice() !== undefined) place = 'values'
followAddress()
status.start()
void account.ask()
void new PushSwitch().start()
feed.start()
setInterval(() => {
  status.tick()
  if (document.hidden) return
  home.live.tick()
  board?.tick()
  presence.tick()
  charts.tick()
  device.tick()
  pages.tick()
}, 1000)
