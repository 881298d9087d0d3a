import { spanText } from '../home/format.js'
import { write } from '../home/painted.js'
import { make } from '../nodes.js'
import { momentText } from '../wording.js'
import type { Drawn } from './line.js'
import type { Span } from './span.js'
import { stateOf } from './subject.js'
import { say } from './words.js'

const most = 200

/** The changes of states in words, the newest first: the same as the lanes, whole and one below the other. */
export class Changes {
  readonly #host: HTMLElement

  constructor(host: HTMLElement) {
    this.#host = host
    host.ariaLabel = say('states.title')
    // A part that scrolls has to be reached by keyboard.
    host.tabIndex = 0
  }

  draw(drawn: readonly Drawn[], span: Span, now: number): void {
    const shown = drawn.filter(({ states, isShown }) => states && isShown)
    const isNamed = shown.length > 1
    const rows = shown
      .flatMap(({ subject, states }) =>
        (states?.within(span, now) ?? []).map(({ from, to, value }) => ({
          at: from,
          when: momentText(from, now),
          name: isNamed ? subject.name : '',
          word: stateOf(subject, value).text,
          lasted: say('states.for', { span: spanText(to - from) }),
        })),
      )
      .sort((a, b) => b.at - a.at)
      .slice(0, most)
    this.#host.hidden = shown.length === 0 || drawn.some(({ course, isShown }) => course && isShown)
    if (this.#host.hidden) return
    while (this.#host.children.length > rows.length) this.#host.lastElementChild?.remove()
    rows.forEach(({ when, name, word, lasted }, i) => {
      let row = this.#host.children[i]
      if (!row) {
        row = make(
          'li',
          '',
          make('time'),
          make('bdi', 'change-name'),
          make('bdi', 'change-word'),
          make('span', 'lasted'),
        )
        this.#host.append(row)
      }
      const [time, of, state, span] = row.children as unknown as HTMLElement[]
      for (const [element, text] of [
        [time, when],
        [of, name],
        [state, word],
        [span, lasted],
      ] as const) {
        if (element) write(element, text)
      }
    })
  }
}
