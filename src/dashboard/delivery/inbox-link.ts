import { ask } from '../api.js'
import { element, make, put } from '../nodes.js'
import { say, sayCount } from './words.js'

/** The line under Dead letters that leads to the inbox: how many topics no rule and no preset knows. */
export class InboxLink {
  readonly #line = make('p', 'dead-inbox')

  constructor() {
    this.#line.hidden = true
    element('dead-hint').after(this.#line)
  }

  /** Asks for the number. A hub that does not answer shows nothing. */
  async refresh(): Promise<void> {
    const topics = await ask('GET /api/inbox', { limit: 1 }).then(
      answer => answer.topics,
      () => 0,
    )
    this.#line.hidden = topics === 0
    if (topics === 0) return
    const link = make('a', '', say('inbox.see'))
    link.href = '#explore&inbox'
    put(this.#line, sayCount('inbox', topics))
    this.#line.append(' ', link)
  }
}
