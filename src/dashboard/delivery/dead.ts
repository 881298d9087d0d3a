import type { DeadLetterRow, JobProgress } from '../../contract/contract.js'
import { ApiError, type Balance, type DeadFilter, fetchDead, hubNow, moveDead } from '../api.js'
import { element, Keyed, make, put, reasonLabel } from '../nodes.js'
import { bytesText, countText, manyText, momentText } from '../wording.js'

const deadHint =
  'Messages that could not be stored. Replay tries again, for example after fixing a mapping; Drop deletes them.'
const shown = 50
const mostBytes = 2000
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
  readonly letters: Keyed<DeadLetterRow, HTMLElement>
  group: Group
}

/** The panel of dead letters by reason, where they can be replayed or dropped. */
export class DeadPanel {
  readonly #changed: () => void
  readonly #filterBy: (device: string) => void
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
    this.#filterBy = filterBy
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
    put(element('dead-hint'), why ? `Messages that could not be stored. ${why}` : deadHint)
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
      { reason: '', text: 'All' },
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
    const state =
      total === 0
        ? 'No dead letters'
        : drawn === 0 && this.#text
          ? 'No matching dead letters'
          : this.#letters.length >= shown
            ? `Showing the newest ${shown} of ${countText(total)}. For all: telehub dead list`
            : ''
    put(this.#note, [this.#outcome, state].filter(Boolean).join(' '))
  }

  #makeGroup(reason: string): HTMLElement {
    const list = make('ul', 'letters')
    const root = make('section', 'dead-group')
    const head = make(
      'div',
      'dead-head',
      make('h3', '', reasonLabel(reason), make('span', 'dead-size')),
      this.#button('Replay all', 'replay', () => this.#replay(...this.#allOf(root))),
      this.#button('Drop all', 'drop', () => this.#drop(...this.#allOf(root))),
    )
    root.append(head, list)
    root.dataset.reason = reason
    const letters = new Keyed<DeadLetterRow, HTMLElement>(
      list,
      letter => letter.id,
      letter => this.#makeLetter(letter),
      (made, letter) => this.#paintLetter(made, letter),
    )
    this.#made.set(root, { letters, group: { reason, count: 0, letters: [], device: undefined } })
    return root
  }

  #paintGroup(root: HTMLElement, group: Group): void {
    const { reason, count, letters, device } = group
    put(root.querySelector('.dead-size') as Element, countText(count))
    const [replay, drop] = root.querySelectorAll<HTMLButtonElement>('.dead-head button')
    for (const [button, word] of [
      [replay, 'Replay'],
      [drop, 'Drop'],
    ] as const) {
      if (!button) continue
      // While a filter shows only a part of the letters, "all" would include letters that are not visible.
      button.hidden = this.#readOnly !== '' || (this.#text !== '' && device === undefined)
      put(button, device ? `${word} all of ${device}` : count === 1 ? word : `${word} all ${countText(count)}`)
      const which = device ? `all dead letters of ${device}` : manyText(count, 'dead letter')
      button.setAttribute('aria-label', `${word} ${which} with the reason ${reason}`)
    }
    const made = this.#made.get(root)
    if (made) made.group = group
    made?.letters.show(letters)
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

  #makeLetter(letter: DeadLetterRow): HTMLElement {
    const { id, topic, clientId, user, qos, retain, payload, reason } = letter
    const bytes = Uint8Array.from(atob(payload), char => char.charCodeAt(0))
    const { text, hex } = bytesText(bytes, mostBytes)
    const body = make('pre', '', bytes.length === 0 ? '(empty)' : text)
    // A scrolling box must be reachable by keyboard.
    body.tabIndex = 0
    body.role = 'region'
    body.setAttribute('aria-label', `Payload of ${topic}`)
    body.dataset.hex = String(hex)
    const facts = [
      `${manyText(bytes.length, 'byte')}${hex ? ', hexadecimal' : ''}${bytes.length > mostBytes ? `, the first ${countText(mostBytes)} shown` : ''}`,
      `QoS ${qos}`,
      ...(retain ? ['retained'] : []),
      ...(user ? [`user ${user}`] : []),
    ]
    const device = make('button', 'letter-device', clientId)
    device.type = 'button'
    device.title = `Only ${clientId}`
    device.addEventListener('click', () => this.#filterBy(clientId))
    const buttons = make(
      'div',
      'letter-buttons',
      this.#button('Replay', 'replay', () => this.#replay({ id }, 1)),
      this.#button('Drop', 'drop', () => this.#drop({ id }, 1, topic)),
    )
    for (const button of buttons.querySelectorAll('button')) {
      button.setAttribute('aria-label', `${button.textContent} the dead letter of ${topic}`)
    }
    const made = make(
      'li',
      'letter',
      make('div', 'letter-head', make('span', 'letter-topic', topic), device, make('span', 'letter-when')),
      make('p', 'letter-detail'),
      body,
      make('p', 'letter-facts', facts.join(' · ')),
      buttons,
    )
    made.dataset.id = id
    made.dataset.reason = reason
    made.dataset.client = clientId
    return made
  }

  #paintLetter(made: HTMLElement, { detail, failedAt, attempts }: DeadLetterRow): void {
    const tries = attempts > 1 ? `, ${countText(attempts)} attempts` : ''
    put(made.querySelector('.letter-when') as Element, `${momentText(failedAt, hubNow())}${tries}`)
    put(made.querySelector('.letter-detail') as Element, detail)
  }

  #button(text: string, action: string, click: () => void): HTMLButtonElement {
    const button = make('button', action === 'drop' ? 'plain danger' : 'plain', text)
    button.type = 'button'
    button.dataset.action = action
    button.addEventListener('click', click)
    return button
  }

  async #replay(filter: DeadFilter, count: number): Promise<void> {
    const end = await this.#move('replay', filter, count)
    if (!end) return
    const { stored, kept } = end
    const left = kept > 0 ? `, ${countText(kept)} rejected again` : ''
    this.#say(`${countText(stored)} stored${left}.`)
  }

  async #drop(filter: DeadFilter, count: number, topic?: string): Promise<void> {
    put(element('drop-title'), `Drop ${manyText(count, 'dead letter')}?`)
    const whose = filter.device === undefined ? '' : ` of ${filter.device}`
    const which = topic === undefined ? `All${whose} with the reason ${filter.reason}` : `The letter of ${topic}`
    const are = topic === undefined ? 'They are deleted, and count' : 'It is deleted, and counts'
    put(element('drop-text'), `${which}. ${are} as dropped.`)
    put(element('drop-yes'), `Drop ${countText(count)}`)
    if (!(await confirmed(element<HTMLDialogElement>('drop')))) return
    const end = await this.#move('drop', filter, count)
    if (end) this.#say(`${manyText(end.dropped, 'dead letter')} dropped.`)
  }

  /**
   * Runs a replay or a drop, one at a time, and shows the progress. Undefined when the job failed; the error is shown.
   */
  async #move(kind: 'replay' | 'drop', filter: DeadFilter, count: number): Promise<JobProgress | undefined> {
    if (this.#busy) return undefined
    const [bar, words] = this.#progress.children as unknown as [HTMLProgressElement, HTMLElement]
    const what = `${kind === 'replay' ? 'Replaying' : 'Dropping'} ${filter.reason ?? manyText(count, 'dead letter')}`
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
        const became = kind === 'replay' ? `, ${countText(stored)} stored, ${countText(kept)} rejected again` : ''
        put(words, `${what}: ${countText(done)} of ${countText(total)}${became}`)
      })
    } catch (error) {
      this.#say(`Could not ${kind}: ${error instanceof ApiError ? error.message : 'the hub does not answer'}`)
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
