import type { DeadLetterRow, JobProgress } from '../../contract/contract.js'
import { ApiError, type Balance, type DeadFilter, fetchDead, moveDead } from '../api.js'
import { element, Keyed, make, put, reasonLabel } from '../nodes.js'
import { countText } from '../wording.js'
import { actionButton, type LetterActions } from './letter.js'
import { remedyText } from './remedies.js'
import { Topics } from './topics.js'
import { say, sayCount } from './words.js'

const shown = 50
/** Longest time between two fetches. Changes that the counts do not show, such as another attempt, appear then. */
const againEvery = 30_000

interface Group {
  readonly reason: string
  readonly count: number
  readonly letters: readonly DeadLetterRow[]
  /** The device of all shown letters. Undefined unless the filter text is the full name of one. */
  readonly device: string | undefined
}

interface MadeGroup {
  readonly topics: Topics
  group: Group
}

/** The panel of dead letters by reason and topic, where they can be replayed or dropped. */
export class DeadPanel implements LetterActions {
  readonly #changed: () => void
  readonly filterBy: (device: string) => void
  readonly #groups: Keyed<Group, HTMLElement>
  readonly #made = new WeakMap<HTMLElement, MadeGroup>()
  readonly #chips: Keyed<{ reason: string; text: string }, HTMLButtonElement>
  readonly #note = element('dead-note')
  readonly #progress = element('dead-progress')
  #letters: readonly DeadLetterRow[] = []
  #counts: Readonly<Record<string, number>> = {}
  /** The chosen reason; empty for all. */
  #reason = ''
  #text = ''
  /** The filter text, when taken as the full name of a device that is not among the fetched letters. */
  #device: string | undefined
  #read = ''
  #readAt = 0
  #busy = false
  #readOnly = ''
  #outcome = ''

  /**
   * @param changed Called when letters were replayed or dropped.
   * @param filterBy Called with the device whose name was clicked.
   */
  constructor(changed: () => void, filterBy: (device: string) => void) {
    this.#changed = changed
    this.filterBy = filterBy
    this.#groups = new Keyed(
      element('dead'),
      group => group.reason,
      group => this.#makeGroup(group.reason),
      (root, group) => this.#paintGroup(root, group),
    )
    this.#chips = new Keyed(
      element('dead-reasons'),
      chip => chip.reason,
      ({ reason }) => {
        const chip = make('button')
        chip.type = 'button'
        chip.dataset.reason = reason
        chip.addEventListener('click', () => {
          this.#reason = reason
          this.#changed()
          this.#draw()
        })
        return chip
      },
      (chip, { reason, text }) => {
        put(chip, text)
        chip.setAttribute('aria-pressed', String(reason === this.#reason))
      },
    )
  }

  /** Why this page may not change anything; empty when changes are allowed. */
  set readOnly(why: string) {
    this.#readOnly = why
    put(element('dead-hint'), why ? `${say('dead.hint-read')} ${why}` : say('dead.hint'))
    this.#draw()
  }

  filter(text: string): void {
    this.#text = text
    this.#device = undefined
    this.#draw()
  }

  /** Fetches the letters when the balance shows that they have changed. */
  async refresh({ reasons, dropped }: Balance): Promise<void> {
    this.#counts = reasons.dead
    if (this.#reason && !this.#counts[this.#reason]) this.#reason = ''
    const state = JSON.stringify([reasons.dead, dropped])
    await this.#fetch(state)
    // Not all letters were fetched: the filter may name a device among the others.
    const cut = this.#device === undefined && this.#letters.length >= shown
    if (cut && this.#text && this.#matching().length === 0) {
      this.#device = this.#text
      await this.#fetch(state)
    }
    this.#draw()
  }

  async #fetch(state: string): Promise<void> {
    const filter: DeadFilter = {
      ...(this.#reason && { reason: this.#reason }),
      ...(this.#device !== undefined && { device: this.#device }),
    }
    const wanted = JSON.stringify([filter, state])
    if (wanted === this.#read && Date.now() - this.#readAt < againEvery) return
    this.#letters = await fetchDead(filter, shown).catch(() => this.#letters)
    this.#read = wanted
    this.#readAt = Date.now()
  }

  #matching(): readonly DeadLetterRow[] {
    const text = this.#text.toLowerCase()
    return this.#letters.filter(({ clientId, topic, reason, user }) =>
      `${clientId} ${topic} ${reason} ${user}`.toLowerCase().includes(text),
    )
  }

  #draw(): void {
    const total = Object.values(this.#counts).reduce((sum, count) => sum + count, 0)
    const reasons = Object.entries(this.#counts)
      .filter(([, count]) => count > 0)
      .sort((a, b) => b[1] - a[1])
    element('dead-reasons').hidden = reasons.length < 2
    this.#chips.show([
      { reason: '', text: say('dead.all') },
      ...reasons.map(([reason, count]) => ({ reason, text: `${reason} ${countText(count)}` })),
    ])
    const matching = this.#matching()
    const named = matching.length > 0 && matching.every(({ clientId }) => clientId === this.#text)
    const device = named ? this.#text : undefined
    const groups = reasons
      .filter(([reason]) => !this.#reason || reason === this.#reason)
      .map(([reason, count]) => {
        const letters = matching.filter(letter => letter.reason === reason)
        return { reason, count, letters, device }
      })
      .filter(({ letters }) => letters.length > 0 || !this.#text)
    this.#groups.show(groups)
    put(element('dead-count'), total > 0 ? countText(total) : '')
    const drawn = groups.reduce((sum, { letters }) => sum + letters.length, 0)
    const cut = this.#letters.length >= shown ? say('dead.cut', { shown, count: countText(total) }) : ''
    const noMatch = drawn === 0 && this.#text !== ''
    const state = total === 0 ? say('dead.none') : noMatch ? say('dead.no-match') : cut
    put(this.#note, [this.#outcome, state].filter(Boolean).join(' '))
  }

  #makeGroup(reason: string): HTMLElement {
    const host = make('div', 'dead-topics')
    const root = make('section', 'dead-group')
    const head = make(
      'div',
      'dead-head',
      make('h3', '', reasonLabel(reason), make('span', 'dead-size')),
      actionButton('replay', () => this.#replay(...this.#allOf(root))),
      actionButton('drop', () => this.#drop(...this.#allOf(root))),
    )
    root.append(head, make('p', 'dead-remedy', remedyText(reason)), host)
    root.dataset.reason = reason
    const group = { reason, count: 0, letters: [], device: undefined }
    this.#made.set(root, { topics: new Topics(host, this, reason), group })
    return root
  }

  #paintGroup(root: HTMLElement, group: Group): void {
    const { reason, count, letters, device } = group
    put(root.querySelector('.dead-size') as Element, countText(count))
    for (const action of ['replay', 'drop'] as const) {
      const button = root.querySelector<HTMLButtonElement>(`.dead-head [data-action="${action}"]`)
      if (!button) continue
      // While a filter shows only a part of the letters, "all" would include letters that are not visible.
      button.hidden = this.#readOnly !== '' || (this.#text !== '' && device === undefined)
      const all = count === 1 ? say(`${action}.this`) : say(`${action}.all`, { count: countText(count) })
      put(button, device ? say(`${action}.device`, { device }) : all)
      const what = device ? say('letters.of', { device }) : sayCount('letters', count)
      button.setAttribute('aria-label', say(`${action}.label`, { what, reason }))
    }
    const made = this.#made.get(root)
    if (made) made.group = group
    made?.topics.show(letters, this.#letters.length >= shown ? shown : undefined)
    for (const button of root.querySelectorAll('button')) if (button.dataset.action) button.disabled = this.#busy
    for (const buttons of root.querySelectorAll<HTMLElement>('.letter-buttons')) buttons.hidden = this.#readOnly !== ''
  }

  /** Returns the letters that the buttons of a group act on, as a filter and a count. */
  #allOf(root: HTMLElement): [DeadFilter, number] {
    const group = this.#made.get(root)?.group
    if (!group) return [{}, 0]
    const { reason, count, letters, device } = group
    return device ? [{ reason, device }, letters.length] : [{ reason }, count]
  }

  replay({ id }: DeadLetterRow): void {
    void this.#replay({ id }, 1)
  }

  replayTopic(topic: string, reason: string): void {
    void this.#replay(
      { reason, topic },
      this.#letters.filter(one => one.topic === topic && one.reason === reason).length,
    )
  }

  drop({ id, topic }: DeadLetterRow): void {
    void this.#drop({ id }, 1, topic)
  }

  async #replay(filter: DeadFilter, count: number): Promise<void> {
    const end = await this.#move('replay', filter, count)
    if (!end) return
    const [stored, kept] = [countText(end.stored), countText(end.kept)]
    this.#say(end.kept > 0 ? say('replay.done-kept', { stored, kept }) : say('replay.done', { stored }))
  }

  async #drop(filter: DeadFilter, count: number, topic?: string): Promise<void> {
    put(element('drop-title'), sayCount('drop.ask', count))
    const { reason = '', device } = filter
    const all = device === undefined ? say('drop.which', { reason }) : say('drop.which-device', { device, reason })
    put(element('drop-text'), topic === undefined ? all : say('drop.which-letter', { topic }))
    put(element('drop-yes'), say('drop.yes', { count: countText(count) }))
    if (!(await confirmed(element<HTMLDialogElement>('drop')))) return
    const end = await this.#move('drop', filter, count)
    if (end) this.#say(sayCount('drop.done', end.dropped))
  }

  /**
   * Runs a replay or a drop, one at a time, and shows the progress. Undefined when the job failed; the error is shown.
   */
  async #move(kind: 'replay' | 'drop', filter: DeadFilter, count: number): Promise<JobProgress | undefined> {
    if (this.#busy) return undefined
    const [bar, words] = this.#progress.children as unknown as [HTMLProgressElement, HTMLElement]
    const what = say(`${kind}.progress`, { what: filter.reason ?? sayCount('letters', count) })
    bar.removeAttribute('value')
    put(words, what)
    this.#busy = true
    this.#progress.hidden = false
    this.#say('')
    try {
      return await moveDead(kind, filter, ({ done, stored, kept }) => {
        const total = Math.max(count, done, 1)
        bar.max = total
        bar.value = done
        const counts = { what, done: countText(done), total: countText(total) }
        const became = { stored: countText(stored), kept: countText(kept) }
        put(words, kind === 'replay' ? say('progress.replay', { ...counts, ...became }) : say('progress.of', counts))
      })
    } catch (error) {
      this.#say(say(`${kind}.failed`, { why: error instanceof ApiError ? error.message : say('no-answer') }))
      return undefined
    } finally {
      this.#busy = false
      this.#progress.hidden = true
      this.#read = ''
      this.#draw()
      this.#changed()
    }
  }

  /** Shows the outcome of the last replay or drop. */
  #say(outcome: string): void {
    this.#outcome = outcome
    this.#draw()
  }
}

/** Shows the dialog. Resolves with whether the user agreed; Escape means no. */
function confirmed(dialog: HTMLDialogElement): Promise<boolean> {
  dialog.returnValue = ''
  dialog.showModal()
  return new Promise(resolve => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'drop'), { once: true })
  })
}
