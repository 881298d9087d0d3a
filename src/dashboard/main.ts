import { ApiError, fetchDevices, fetchSeries } from './api.js'
import { BalancePage } from './balance.js'
import { Board } from './board.js'
import { Detail, defaultRange, rangeFor, ranges, type Selection } from './detail.js'
import { Feed, type LastReading } from './feed.js'
import { element } from './nodes.js'
import { PresencePanel } from './presence.js'
import { Status } from './status.js'

const board = new Board(element('groups'), element('matches'))
const presence = new PresencePanel(
  element('devices'),
  element('presence-count'),
  element('devices-note'),
  element<HTMLTemplateElement>('device-template'),
)
const status = new Status(element('connection'), element('connection-text'), element('rate'), element('banners'))
const detail = new Detail(selection => {
  if (selection && selection.range !== detail.selection?.range) chosen = selection.range
  navigate(selection)
})
const balance = new BalancePage(() => status.ask(), leaveBalance, filterBy)
status.onReady = ready => {
  // Only a hub that keeps a balance says what waits.
  if (ready) element('pages').hidden = ready.waiting === undefined
  balance.ready(ready)
}
const feed = new Feed(`dashboard-${randomHex(8)}`, {
  state: (state, reason) => status.connection(state, reason),
  subscribed: () => void synchronise(),
  reading: (reading, retained) => {
    if (!retained) status.reading()
    if (early) early.set(reading.topic, reading)
    else take(reading, retained)
  },
  presence: body => presence.take(body),
})

/** What was chosen by hand holds for the next chart too. */
let chosen: string | undefined
/** Has the hub's list been read? Before that an unknown series is only not known yet. */
let listed = false
/** What comes before the list waits for it, so that the board appears once and in order. */
let early: Map<string, LastReading> | undefined = new Map()
/** What each page is filtered by. */
const filters = { board: '', balance: '' }
let opener: HTMLElement | undefined
let again: ReturnType<typeof setTimeout> | undefined

function take(reading: LastReading, retained: boolean): void {
  const before = board.size
  for (const sample of board.take(reading, retained)) detail.push(sample)
  if (board.size > before) grown()
}

/** The hub's whole state, asked for whenever the feed starts anew. */
async function synchronise(): Promise<void> {
  clearTimeout(again)
  const [series] = await Promise.all([
    fetchSeries().catch((error: unknown) => {
      // The store may be down; what the broker has retained is on its way. Asked again in a while.
      if (!(error instanceof ApiError) || error.status >= 500) again = setTimeout(() => void synchronise(), 10_000)
      return undefined
    }),
    fetchDevices().then(
      devices => presence.snapshot(devices),
      () => presence.snapshot([]),
    ),
  ])
  if (series) {
    board.snapshot(series)
    listed = true
  }
  const waited = early
  early = undefined
  for (const reading of waited?.values() ?? []) take(reading, true)
  grown()
  if (detail.selection) void detail.load()
}

/** There may be a first tile now, or the one that the address names. */
function grown(): void {
  element('empty').hidden = board.size > 0 || !listed
  const wanted = readAddress()
  if (wanted && detail.selection?.key !== wanted.key) followAddress()
  else if (wanted && board.tile(wanted.key) && element('detail').dataset.missing === 'true') followAddress()
}

/** The address of the balance. */
const balanceAddress = '#balance'

function onBalance(): boolean {
  return location.hash === balanceAddress
}

/** The page of the address, before what is open on it. */
function showPage(focus: boolean): void {
  const shown = onBalance() ? 'balance' : 'board'
  const other = balance.shown !== onBalance()
  if (onBalance()) balance.show(focus)
  else balance.hide()
  element('page').hidden = onBalance()
  for (const link of element('pages').querySelectorAll('a')) {
    if (link.dataset.page === shown) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  if (!other) return
  const search = element<HTMLInputElement>('search')
  search.value = filters[shown]
  search.placeholder = onBalance() ? 'Filter by device, topic, reason' : 'Filter by room, device, field'
}

/** This hub keeps no balance: back to what there is. */
function leaveBalance(): void {
  element('pages').hidden = true
  if (!onBalance()) return
  history.replaceState(null, '', location.pathname + location.search)
  followAddress()
}

function openBalance(): void {
  if (!onBalance()) history.pushState(null, '', balanceAddress)
  followAddress(true)
  scrollTo({ top: 0 })
}

function filterBy(text: string): void {
  element<HTMLInputElement>('search').value = text
  if (onBalance()) {
    filters.balance = text
    balance.filter(text)
  } else {
    filters.board = text
    board.filter(text)
    presence.filter(text)
  }
}

function readAddress(): Selection | undefined {
  const parameters = new URLSearchParams(location.hash.slice(1))
  const key = parameters.get('series')
  if (!key) return undefined
  const wanted = parameters.get('range') ?? chosen ?? defaultRange
  const from = Number(parameters.get('from'))
  const to = Number(parameters.get('to'))
  const named = ranges.has(wanted) ? wanted : defaultRange
  return from > 0 && to > from ? { key, range: named, span: { from, to } } : { key, range: named }
}

function hashOf({ key, range, span }: Selection): string {
  const parameters = new URLSearchParams({ series: key, range })
  if (span) {
    parameters.set('from', String(span.from))
    parameters.set('to', String(span.to))
  }
  return `#${parameters}`
}

/** Changes the address, as a step the back button can take back. */
function navigate(selection: Selection | undefined): void {
  const address = selection ? hashOf(selection) : location.pathname + location.search
  if (selection ? location.hash === address : location.hash === '') return
  history.pushState(null, '', address)
  followAddress()
}

function followAddress(focus = false): void {
  showPage(focus)
  const selection = readAddress()
  const title = 'telehub'
  if (!selection) {
    board.select(undefined)
    detail.close()
    document.title = onBalance() ? `Balance · ${title}` : title
    return
  }
  const tile = board.tile(selection.key)
  if (!tile && !listed) return
  board.select(selection.key)
  detail.open(selection, tile, opener)
  opener = undefined
  document.title = tile ? `${[tile.label.name, tile.label.device].filter(Boolean).join(', ')} · ${title}` : title
  tile?.anchor.scrollIntoView({ block: 'nearest' })
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
    navigate({ key, range: chosen ?? rangeFor(board.tile(key)?.interval ?? 0) })
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
    if (event.key !== 'Escape') return
    if (typing && search.value) filterBy('')
    else if (!onBalance()) navigate(undefined)
  })

  document.querySelector('.skip')?.addEventListener('click', event => {
    event.preventDefault()
    element(onBalance() ? 'balance' : 'board').focus()
  })
  document.addEventListener('click', event => {
    const link = (event.target as Element).closest<HTMLAnchorElement>('.bar a, .banner a')
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return
    event.preventDefault()
    if (link.getAttribute('href') === balanceAddress) return openBalance()
    navigate(undefined)
    scrollTo({ top: 0 })
  })

  const wide = matchMedia('(min-width: 1000px)')
  const details = element<HTMLDetailsElement>('presence-details')
  details.open = wide.matches
  wide.addEventListener('change', () => {
    details.open = wide.matches
  })

  const snippet = `mosquitto_pub -h ${location.hostname} -t home/kitchen/thermostat/telemetry -m '{"temperature":21.5}'`
  element('snippet').textContent = snippet
  const copy = element<HTMLButtonElement>('copy')
  copy.hidden = !navigator.clipboard
  copy.addEventListener('click', () => {
    void navigator.clipboard.writeText(snippet).then(() => {
      copy.textContent = 'Copied'
      setTimeout(() => {
        copy.textContent = 'Copy'
      }, 2000)
    })
  })
}

onPage()
showPage(false)
status.start()
feed.start()
setInterval(() => {
  status.tick()
  if (document.hidden) return
  board.tick()
  presence.tick()
  detail.tick()
  balance.tick()
}, 1000)
