import { rateText, sizeText } from '../sizes.js'
import { countText, nameText } from '../wording.js'
import type { ClientRow, ClientsAnswer } from './requests.js'
import { say } from './words.js'

/** The clients that publish most, and those that take less than is sent. */
export function ShortLists({ answer }: { readonly answer: ClientsAnswer }) {
  const waiting = ({ queued, queuedBytes, isFull }: ClientRow) =>
    queuedBytes > 0 || !isFull
      ? say('slow.queue', { messages: countText(queued), bytes: sizeText(queuedBytes) })
      : say('slow.full')
  return (
    <div class="short-lists">
      <ShortList
        title={say('talkers')}
        none={say('talkers.none')}
        rows={answer.talkers.map(row => [row, say('rate', { rate: rateText(row.publishesPerSecond) })])}
      />
      <ShortList title={say('slow')} none={say('slow.none')} rows={answer.slow.map(row => [row, waiting(row)])} />
    </div>
  )
}

interface ListProperties {
  readonly title: string
  readonly none: string
  readonly rows: readonly (readonly [row: ClientRow, text: string])[]
}

function ShortList({ title, none, rows }: ListProperties) {
  return (
    <section class="card">
      <h2>{title}</h2>
      {rows.length === 0 ? <p class="hint">{none}</p> : null}
      <ol>
        {rows.map(([{ clientId, user }, text]) => (
          <li key={`${user} ${clientId}`}>
            <bdi>{nameText(clientId)}</bdi>
            <span>{text}</span>
          </li>
        ))}
      </ol>
    </section>
  )
}
