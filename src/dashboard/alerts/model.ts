import { ApiError } from '../api.js'
import { type HomeDevice, type HomeValue, withWords } from '../home/catalogue.js'
import type { Shell } from '../pages.js'
import {
  type AlertRow,
  fetchNotify,
  fetchNow,
  fetchRules,
  findSeries,
  type Listed,
  type MuteRow,
  type Notify,
  type RuleList,
} from './requests.js'

/** Parts of the page. `edit` and `alert` are opened from the others. */
export type View = 'now' | 'history' | 'rules' | 'notify' | 'edit' | 'alert'

const settleAfter = 250
const refreshEvery = 10_000

/** The device of an alert, and the value that the alert is about, as far as the catalogue knows them. */
export interface Subject {
  readonly device: HomeDevice
  readonly value: HomeValue | undefined
}

type Found = Subject & { readonly value: HomeValue }

/** Most values that are fetched as they are on no card. */
const mostFound = 1_000

/** Returns the part of the page of an address. */
export function viewOf(parameters: URLSearchParams): View {
  if (parameters.has('new') || parameters.has('rule')) return 'edit'
  if (parameters.has('alert')) return 'alert'
  const view = parameters.get('view')
  return view === 'history' || view === 'rules' || view === 'notify' ? view : 'now'
}

/** The state of the page Alerts. Tells its follower of each change, once in a frame. */
export class AlertsModel {
  readonly shell: Shell
  parameters = new URLSearchParams()
  /** Undefined until the hub has answered. */
  now: Listed | undefined
  failure = ''
  /** Undefined until the hub has answered; `denied`: this user may not read rules. */
  rules: RuleList | 'denied' | undefined
  notify: Notify | 'denied' | undefined
  /** Text of the search field. */
  text = ''
  onChange: (() => void) | undefined
  #isShown = false
  #soon: ReturnType<typeof setTimeout> | undefined
  #refreshedAt = Number.NEGATIVE_INFINITY
  #frame = 0
  readonly #found = new Map<string, Found | undefined>()

  constructor(shell: Shell) {
    this.shell = shell
    const alerts = () => this.#refreshSoon()
    shell.listen({ alerts, subscribed: alerts })
  }

  get view(): View {
    return viewOf(this.parameters)
  }

  /** Whether the user may mute, and change rules. */
  get mayChange(): boolean {
    return this.shell.session?.mayChange === true
  }

  get ruleNames(): readonly string[] {
    return typeof this.rules === 'object' ? this.rules.rules.map(({ name }) => name) : []
  }

  show(parameters: URLSearchParams): void {
    this.parameters = parameters
    this.#isShown = true
    void this.refresh()
    this.changed()
  }

  hide(): void {
    this.#isShown = false
  }

  filter(text: string): void {
    this.text = text.trim().toLowerCase()
    this.changed()
  }

  /** Asks again now and then: mutes begin and end without a word. */
  tick(): void {
    if (performance.now() - this.#refreshedAt > refreshEvery) void this.refresh()
    // Ages.
    if (this.view === 'now') this.changed()
  }

  changed(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0
      this.onChange?.()
    })
  }

  async refresh(): Promise<void> {
    this.#refreshedAt = performance.now()
    const listed = fetchNow().then(
      answer => {
        this.now = answer
        this.failure = ''
      },
      (error: unknown) => {
        this.failure = (error as Error).message
      },
    )
    const rules = this.rules === 'denied' ? undefined : this.refreshRules()
    await Promise.all([
      listed,
      rules,
      this.view === 'notify' || this.view === 'edit' ? this.refreshNotify() : undefined,
    ])
    this.changed()
  }

  async refreshRules(): Promise<void> {
    this.rules = await fetchRules().catch((error: unknown) => (isDenied(error) ? 'denied' : this.rules))
    this.changed()
  }

  async refreshNotify(): Promise<void> {
    if (this.notify === 'denied') return
    this.notify = await fetchNotify().catch((error: unknown) => (isDenied(error) ? 'denied' : this.notify))
    this.changed()
  }

  /** Returns the mutes that match an alert. */
  mutesOf({ rule, series, device }: AlertRow): readonly MuteRow[] {
    return (this.now?.mutes ?? []).filter(
      mute =>
        (mute.rule === undefined || mute.rule === rule) &&
        (mute.series === undefined || mute.series === series) &&
        (mute.device === undefined || mute.device === device),
    )
  }

  /** Devices of the catalogue, as far as it is known. */
  get devices(): readonly HomeDevice[] {
    return this.shell.home.catalogue?.devices ?? []
  }

  /** Returns the device that an alert is about, and the value. A value that no card shows is fetched first. */
  subjectOf({ series, device }: Pick<AlertRow, 'series' | 'device'>): Subject | undefined {
    const { devices } = this
    const isNamed = (one: HomeDevice) => device !== undefined && [one.id, one.name, one.client].includes(device)
    const shown = devices.find(one => series !== '' && one.values.some(value => value.series === series))
    const value = shown?.values.find(one => one.series === series)
    if (shown && value) return { device: shown, value: withWords(value, shown) }
    const found = this.#fetched(series)
    if (found) return { device: found.device, value: withWords(found.value, found.device) }
    const named = devices.find(isNamed)
    return named && { device: named, value: undefined }
  }

  /** Fetches a value that is on no card. Undefined until then. */
  #fetched(series: string): Found | undefined {
    if (series !== '' && !this.#found.has(series) && this.#found.size < mostFound) {
      this.#found.set(series, undefined)
      const take = ([device]: readonly HomeDevice[]) => {
        const [value] = device?.values ?? []
        if (device && value) this.#found.set(series, { device, value })
        this.changed()
      }
      void findSeries(series).then(take, () => {})
    }
    return this.#found.get(series)
  }

  #refreshSoon(): void {
    if (this.#soon !== undefined || !this.#isShown) return
    this.#soon = setTimeout(() => {
      this.#soon = undefined
      void this.refresh()
    }, settleAfter)
  }
}

function isDenied(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 403 || error.status === 404)
}
