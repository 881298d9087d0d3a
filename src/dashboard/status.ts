import { fetchReady, type Ready } from './api.js'
import type { FeedState } from './feed.js'
import { clockText } from './home/format.js'
import { say } from './texts/language.js'
import { dependencyText, stateText } from './wording.js'

const readyEvery = 10_000

export interface Line {
  readonly tone: string
  readonly title: string
  readonly text: string
  /** Link to more about the banner on this page. */
  readonly more?: { readonly text: string; readonly href: string }
}

/** The state of the connection to the hub, and of the hub and the dependencies of the hub. */
export class Status {
  readonly #connection: HTMLElement
  readonly #text: HTMLElement
  readonly #rate: HTMLElement
  readonly #banners: HTMLElement
  readonly #notices = new Map<string, Line>()
  #reason = ''
  #ready: Ready | undefined
  #asking: Promise<void> | undefined
  #readings = 0
  #shown = ''
  #wasLive = false
  #state: FeedState = 'connecting'
  #seconds = 0
  /** When the last message came, in milliseconds of this computer's clock; 0: none yet. */
  #heardAt = 0

  /** Called with each answer about the state of the hub, with undefined when the hub did not answer. */
  onReady: ((ready: Ready | undefined) => void) | undefined

  constructor(connection: HTMLElement, text: HTMLElement, rate: HTMLElement, banners: HTMLElement) {
    this.#connection = connection
    this.#text = text
    this.#rate = rate
    this.#banners = banners
  }

  start(): void {
    void this.ask()
    setInterval(() => void this.ask(), readyEvery)
  }

  connection(state: FeedState, reason: string): void {
    if (state === 'live') this.#wasLive = true
    this.#connection.dataset.state = state
    this.#state = state
    this.#words()
    this.#reason = state === 'offline' ? say('banner.retrying', { why: reason }) : ''
    if (state === 'live') void this.ask()
    this.#draw()
  }

  /** Says by how many seconds the values are late; 0: by none. */
  late(seconds: number): void {
    this.#seconds = seconds
    this.#words()
  }

  /** Says how true the values on the page are, in the fewest words. */
  #words(): void {
    const text =
      this.#state === 'behind'
        ? say('feed.behind', { seconds: this.#seconds })
        : this.#state === 'offline' && this.#heardAt > 0
          ? say('feed.offline-since', { time: clockText(this.#heardAt) })
          : say(this.#state === 'connecting' && this.#wasLive ? 'feed.reconnecting' : `feed.${this.#state}`)
    if (this.#text.textContent !== text) this.#text.textContent = text
  }

  /** Keeps the mark of the connection green for some seconds more: even that of a page that is paused ends by itself. */
  beat(): void {
    const { dataset } = this.#connection
    dataset.beat = dataset.beat === 'odd' ? 'even' : 'odd'
    this.#heardAt = Date.now()
  }

  /** Sets another notice for the whole page; undefined removes the notice. */
  notice(key: string, line: Line | undefined): void {
    if (line) this.#notices.set(key, line)
    else this.#notices.delete(key)
    this.#draw()
  }

  reading(): void {
    this.#heardAt = Date.now()
    this.#readings++
  }

  /** Called once a second. */
  tick(): void {
    const text = this.#connection.dataset.state === 'live' ? say('feed.rate', { count: this.#readings }) : ''
    this.#readings = 0
    if (this.#rate.textContent !== text) this.#rate.textContent = text
  }

  /** Fetches the state of the hub now. */
  ask(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  async #ask(): Promise<void> {
    if (document.hidden) return
    // A missing answer is shown as the state of the connection, not of a dependency.
    this.#ready = await fetchReady().catch(() => undefined)
    this.#draw()
    this.onReady?.(this.#ready)
  }

  #draw(): void {
    const lines: Line[] = []
    if (this.#reason) lines.push({ tone: 'offline', title: say('banner.not-connected'), text: this.#reason })
    for (const { detail } of this.#ready?.alarms ?? []) {
      const [, title = detail, text = ''] = /^([^:]+): (.+)$/s.exec(detail) ?? []
      const more = { text: say('banner.backlog'), href: '#balance' }
      lines.push({ tone: 'alarm', title: text ? `${title}:` : title, text, more })
    }
    for (const { name, state, detail } of this.#ready?.dependencies ?? []) {
      if (state === 'up') continue
      const title = say('banner.dependency', { name: dependencyText(name), state: stateText(state) })
      const kept = /spool|broker/i.test(name) ? '' : say('banner.kept')
      const text = detail ? detail.charAt(0).toUpperCase() + detail.slice(1) : kept
      lines.push({ tone: state, title, text })
    }
    lines.push(...this.#notices.values())
    // Rewritten only when different: otherwise a screen reader would repeat the banners every ten seconds.
    const shown = JSON.stringify(lines)
    if (shown === this.#shown) return
    this.#shown = shown
    this.#banners.replaceChildren(
      ...lines.map(({ tone, title, text, more }) => {
        const line = document.createElement('p')
        line.className = 'banner'
        line.dataset.tone = tone
        const strong = document.createElement('strong')
        strong.textContent = title
        line.append(strong, ' ', text)
        if (more) {
          const link = document.createElement('a')
          link.className = 'banner-more'
          link.href = more.href
          link.textContent = more.text
          line.append(' ', link)
        }
        return line
      }),
    )
  }
}
