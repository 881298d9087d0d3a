import { ApiError, type CommandRow, cancelCommand, fetchCommands, hubNow, sendCommand } from '../api.js'
import { element, Keyed, make, put } from '../nodes.js'
import { Poll } from '../poll.js'
import { saidText } from '../said/said.js'
import { momentText, nameText } from '../wording.js'
import { say } from './words.js'

const pollEvery = 5_000
/** While a command is under way its receipts come one after the other. */
const pollSoon = 1_000
const mostShown = 20

/** Sends commands to a device, and shows what became of them. */
export class CommandsCard {
  readonly #card = element('device-commands-card')
  readonly #topic = element<HTMLInputElement>('command-topic')
  readonly #payload = element<HTMLInputElement>('command-payload')
  readonly #send = element<HTMLButtonElement>('command-send')
  readonly #note = element('command-note')
  readonly #list: Keyed<CommandRow, HTMLElement>
  readonly #poll: Poll<readonly CommandRow[]>
  #client: string | undefined

  constructor() {
    this.#list = new Keyed(
      element('device-commands'),
      ({ id }) => id,
      row => this.#make(row),
      (made, row) => this.#paint(made, row),
    )
    this.#poll = new Poll({
      isShown: () => this.#client !== undefined,
      ask: () => fetchCommands(this.#client ?? '', mostShown),
      answered: rows => this.#take(rows),
    })
    element('command-form').addEventListener('submit', event => {
      event.preventDefault()
      void this.#sendNow()
    })
  }

  /** Shows the commands to a client; of none without. */
  show(client: string | undefined): void {
    if (client === this.#client) return
    this.#client = client
    this.#list.show([])
    this.#card.hidden = true
    this.#topic.value = ''
    this.#payload.value = ''
    put(this.#note, '')
    if (client === undefined) this.#poll.stop()
    else void this.#poll.ask()
  }

  #take(rows: readonly CommandRow[] | Error): number | undefined {
    // A hub without commands, or a user who may see none.
    if (rows instanceof ApiError && [403, 404].includes(rows.status)) return undefined
    if (rows instanceof Error) return pollEvery
    this.#card.hidden = false
    this.#list.show(rows)
    const [newest] = rows
    if (newest && this.#topic.value === '' && document.activeElement !== this.#topic) this.#topic.value = newest.topic
    return rows.some(({ over }) => !over) ? pollSoon : pollEvery
  }

  async #sendNow(): Promise<void> {
    const client = this.#client
    const topic = this.#topic.value.trim()
    if (client === undefined || topic === '') return
    this.#send.disabled = true
    put(this.#note, '')
    try {
      await sendCommand({ client, topic, payload: this.#payload.value })
      await this.#poll.ask()
    } catch (error) {
      put(this.#note, say('commands.not-sent', { why: (error as Error).message }))
    } finally {
      this.#send.disabled = false
    }
  }

  #make({ id }: CommandRow): HTMLElement {
    const cancel = make('button', 'plain command-cancel', say('commands.cancel'))
    cancel.type = 'button'
    cancel.addEventListener('click', () => {
      cancel.disabled = true
      cancelCommand(id)
        .then(() => this.#poll.ask())
        .catch((error: unknown) => put(this.#note, say('commands.not-cancelled', { why: (error as Error).message })))
        .finally(() => {
          cancel.disabled = false
        })
    })
    const head = make('p', 'command-head', make('span', 'command-state'), ' ', make('bdi', 'command-topic'))
    head.append(make('span', 'command-when'))
    const body = make('p', 'command-payload', make('bdi'))
    return make('li', 'command', head, body, make('ol', 'command-receipts'), make('p', 'command-reason hint'), cancel)
  }

  #paint(made: HTMLElement, row: CommandRow): void {
    const { topic, payload, encoding, state, over, reason = '', askedAt, user, answer } = row
    const now = hubNow()
    const part = (name: string) => made.querySelector(`.${name}`) as HTMLElement
    made.dataset.state = state
    put(part('command-state'), say(`command.${state}`))
    put(part('command-topic'), nameText(topic))
    put(part('command-when'), `${momentText(askedAt, now)}${user ? ` · ${nameText(user)}` : ''}`)
    put(part('command-payload').firstElementChild as Element, shown(payload, encoding))
    const answered = say('command.answered')
    part('command-receipts').replaceChildren(
      ...receiptsOf(row).map(({ word, at }) => {
        const isAnswer = answer !== undefined && word === answered
        const text = isAnswer ? say('commands.answer', { word, answer: shown(answer.payload, answer.encoding) }) : word
        return make('li', '', `${text} `, make('span', 'hint', momentText(at, now)))
      }),
    )
    put(part('command-reason'), nameText(saidText(row.said) ?? reason))
    part('command-cancel').hidden = over
  }
}

interface Receipt {
  readonly word: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** Returns what is known of a command, in the order in which it happened. */
function receiptsOf({ state, sentAt, deliveredAt, overAt }: CommandRow): readonly Receipt[] {
  const found: readonly { readonly word: string; readonly at: number | undefined }[] = [
    { word: say('command.sent'), at: sentAt },
    { word: say('command.delivered'), at: deliveredAt },
    { word: say(`command.${state}`), at: overAt },
  ]
  // The end of a command that needs no answer is its delivery.
  return found.flatMap(({ word, at }, i) => (at === undefined || word === found[i - 1]?.word ? [] : [{ word, at }]))
}

function shown(payload: string, encoding: 'text' | 'base64'): string {
  return encoding === 'base64' ? `${payload} (base64)` : nameText(payload)
}
