import type { DeadLetterRow } from '../../contract/contract.js'
import { Keyed, make, put } from '../nodes.js'
import { pageTable } from '../pages.js'
import { countText } from '../wording.js'
import { actionButton, type LetterActions, makeLetter, paintLetter } from './letter.js'
import { say } from './words.js'

interface OfTopic {
  readonly topic: string
  readonly letters: readonly DeadLetterRow[]
  /** How many of the newest letters were fetched, if not all; undefined: all. */
  readonly of: number | undefined
}

/** The letters of one reason, grouped by their topics; each topic has a link to where its mapping is mended. */
export class Topics {
  readonly #reason: string
  readonly #groups: Keyed<OfTopic, HTMLElement>
  readonly #letters = new WeakMap<HTMLElement, Keyed<DeadLetterRow, HTMLElement>>()

  constructor(host: HTMLElement, actions: LetterActions, reason: string) {
    this.#reason = reason
    this.#groups = new Keyed(
      host,
      group => group.topic,
      group => this.#make(group.topic, actions),
      (made, group) => this.#paint(made, group),
    )
  }

  /** Shows the letters, the topic of the newest one first. `of`: how many were fetched, if there are more. */
  show(letters: readonly DeadLetterRow[], of: number | undefined): void {
    const topics = new Map<string, DeadLetterRow[]>()
    for (const letter of letters) topics.set(letter.topic, [...(topics.get(letter.topic) ?? []), letter])
    this.#groups.show([...topics].map(([topic, letters]) => ({ topic, letters, of })))
  }

  #make(topic: string, actions: LetterActions): HTMLElement {
    const head = make('h4', '', make('bdi', 'letter-topic', topic), ' ', make('span', 'dead-size'))
    const list = make('ul', 'letters')
    const replay = actionButton('replay', () => actions.replayTopic(topic, this.#reason))
    replay.setAttribute('aria-label', say('replay.topic', { topic }))
    // Hidden, as those of letters are, for users who may change nothing.
    const buttons = make('span', 'letter-buttons', replay)
    const made = make('section', 'dead-topic', make('div', 'dead-topic-head', head, buttons, ...fixOf(topic)), list)
    made.dataset.topic = topic
    const letters = new Keyed<DeadLetterRow, HTMLElement>(
      list,
      letter => letter.id,
      letter => makeLetter(letter, actions),
      paintLetter,
    )
    this.#letters.set(made, letters)
    return made
  }

  #paint(made: HTMLElement, { letters, of }: OfTopic): void {
    const count = countText(letters.length)
    const text = of === undefined ? count : say('dead.among', { count, shown: of })
    put(made.querySelector('.dead-size') as Element, text)
    this.#letters.get(made)?.show(letters)
  }
}

/** Creates the link to the mapping of a topic; none while this dashboard has no page for it. */
function fixOf(topic: string): readonly HTMLElement[] {
  if (!pageTable.some(({ name }) => name === 'explore')) return []
  const link = make('a', 'plain dead-fix', say('dead.fix'))
  link.href = `#explore&map&${new URLSearchParams({ topic })}`
  link.setAttribute('aria-label', say('dead.fix-label', { topic }))
  return [link]
}
