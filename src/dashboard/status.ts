import { type Dependency, fetchDependencies } from './api.js'
import type { FeedState } from './feed.js'
import { dependencyText } from './wording.js'

const readyEvery = 10_000

const stateWords: Readonly<Record<FeedState, string>> = { live: 'Live', connecting: 'Connecting', offline: 'Offline' }

/** How the page itself stands with the hub, and how the hub stands with what it depends on. */
export class Status {
  readonly #connection: HTMLElement
  readonly #text: HTMLElement
  readonly #rate: HTMLElement
  readonly #banners: HTMLElement
  #reason = ''
  #dependencies: readonly Dependency[] = []
  #readings = 0
  #shown = ''
  #wasLive = false

  constructor(connection: HTMLElement, text: HTMLElement, rate: HTMLElement, banners: HTMLElement) {
    this.#connection = connection
    this.#text = text
    this.#rate = rate
    this.#banners = banners
  }

  start(): void {
    void this.#ask()
    setInterval(() => void this.#ask(), readyEvery)
  }

  connection(state: FeedState, reason: string): void {
    if (state === 'live') this.#wasLive = true
    this.#connection.dataset.state = state
    this.#text.textContent = state === 'connecting' && this.#wasLive ? 'Reconnecting' : stateWords[state]
    this.#reason = state === 'offline' ? `${reason}. What you see is the last that arrived; trying again.` : ''
    if (state === 'live') void this.#ask()
    this.#draw()
  }

  reading(): void {
    this.#readings++
  }

  /** Once a second. */
  tick(): void {
    const text = this.#connection.dataset.state === 'live' ? `${this.#readings} msg/s` : ''
    this.#readings = 0
    if (this.#rate.textContent !== text) this.#rate.textContent = text
  }

  async #ask(): Promise<void> {
    if (document.hidden) return
    try {
      this.#dependencies = await fetchDependencies()
    } catch {
      // No answer at all is the connection's news, not a dependency's.
      this.#dependencies = []
    }
    this.#draw()
  }

  #draw(): void {
    const lines: { tone: string; title: string; text: string }[] = []
    if (this.#reason) lines.push({ tone: 'offline', title: 'Not connected', text: this.#reason })
    for (const { name, state, detail } of this.#dependencies) {
      if (state === 'up') continue
      const title = `${dependencyText(name)} is ${state}`
      const kept = /spool|broker/i.test(name)
        ? ''
        : 'Readings are kept in the spool until it is back; live values go on.'
      const text = detail ? detail.charAt(0).toUpperCase() + detail.slice(1) : kept
      lines.push({ tone: state, title, text })
    }
    // Rewritten only when different, or a screen reader would hear it every ten seconds.
    const shown = JSON.stringify(lines)
    if (shown === this.#shown) return
    this.#shown = shown
    this.#banners.replaceChildren(
      ...lines.map(({ tone, title, text }) => {
        const line = document.createElement('p')
        line.className = 'banner'
        line.dataset.tone = tone
        const strong = document.createElement('strong')
        strong.textContent = title
        line.append(strong, ' ', text)
        return line
      }),
    )
  }
}
