import type { DeadLetterRow } from '../../contract/contract.js'
import { hubNow } from '../api.js'
import { make, put } from '../nodes.js'
import { bytesText, countText, momentText } from '../wording.js'
import { say, sayCount } from './words.js'

const mostBytes = 2000

/** Actions of a user on a dead letter. */
export interface LetterActions {
  filterBy(device: string): void
  replay(letter: DeadLetterRow): void
  /** Replays the letters with a reason on a topic. */
  replayTopic(topic: string, reason: string): void
  drop(letter: DeadLetterRow): void
}

/** Creates a button of the panel of dead letters. */
export function actionButton(action: 'replay' | 'drop', click: () => void): HTMLButtonElement {
  const button = make('button', action === 'drop' ? 'plain danger' : 'plain', say(`${action}.this`))
  button.type = 'button'
  button.dataset.action = action
  button.addEventListener('click', click)
  return button
}

/** Creates the row of a dead letter, of which the topic is in the heading above. */
export function makeLetter(letter: DeadLetterRow, actions: LetterActions): HTMLElement {
  const { id, topic, clientId, user, qos, retain, payload, reason } = letter
  const bytes = Uint8Array.from(atob(payload), char => char.charCodeAt(0))
  const { text, hex } = bytesText(bytes, mostBytes)
  const body = make('pre', '', bytes.length === 0 ? say('letter.empty') : text)
  // A scrolling box must be reachable by keyboard.
  body.tabIndex = 0
  body.role = 'region'
  body.setAttribute('aria-label', say('letter.payload', { topic }))
  body.dataset.hex = String(hex)
  const size = [
    sayCount('letter.bytes', bytes.length),
    ...(hex ? [say('letter.hex')] : []),
    ...(bytes.length > mostBytes ? [say('letter.cut', { count: countText(mostBytes) })] : []),
  ]
  const facts = [
    size.join(say('and')),
    say('letter.qos', { qos }),
    ...(retain ? [say('letter.retained')] : []),
    ...(user ? [say('letter.user', { user })] : []),
  ]
  const device = make('button', 'letter-device', clientId)
  device.type = 'button'
  device.title = say('rows.only', { device: clientId })
  device.addEventListener('click', () => actions.filterBy(clientId))
  const replay = actionButton('replay', () => actions.replay(letter))
  replay.setAttribute('aria-label', say('replay.letter', { topic }))
  const drop = actionButton('drop', () => actions.drop(letter))
  drop.setAttribute('aria-label', say('drop.letter', { topic }))
  const made = make(
    'li',
    'letter',
    make('div', 'letter-head', device, make('span', 'letter-when')),
    make('p', 'letter-detail'),
    body,
    make('p', 'letter-facts', facts.join(' · ')),
    make('div', 'letter-buttons', replay, drop),
  )
  made.dataset.id = id
  made.dataset.reason = reason
  made.dataset.client = clientId
  return made
}

export function paintLetter(made: HTMLElement, { detail, failedAt, attempts }: DeadLetterRow): void {
  const time = momentText(failedAt, hubNow())
  put(made.querySelector('.letter-when') as Element, attempts > 1 ? sayCount('letter.tries', attempts, { time }) : time)
  put(made.querySelector('.letter-detail') as Element, detail)
}
