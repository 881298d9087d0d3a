import { useState } from 'preact/hooks'
import { confirmed } from '../confirm.js'
import { nameText } from '../wording.js'
import { bytesOf, textOf } from './bytes.js'
import { useExplore } from './context.js'
import { MessageDetail } from './message.js'
import { momentOf } from './moment.js'
import { clearRetained, type TopicMessage } from './requests.js'
import { say, sayCount } from './words.js'

/** A topic that was chosen: its last messages, and one of them in full. */
export function TopicPanel() {
  const model = useExplore()
  const { topic, messages, about, failure, isFrozen } = model
  const [note, setNote] = useState('')
  if (topic === undefined) {
    return (
      <section class="topic">
        <p class="hint topic-none">{say('topic.none')}</p>
      </section>
    )
  }
  const chosen = messages.find(({ sequence }) => sequence === model.chosen) ?? messages[0]
  const before = chosen && messages[messages.indexOf(chosen) + 1]
  const clear = async () => {
    const text = say('retained.ask-text', { filter: nameText(topic) })
    const yes = await confirmed(sayCount('retained.ask', 1), text, { yes: say('retained.delete'), no: say('cancel') })
    if (!yes) return
    try {
      setNote(sayCount('retained.done', await clearRetained(topic)))
      await model.again()
    } catch (error) {
      setNote(say('failed', { why: (error as Error).message }))
    }
  }
  return (
    <section class="topic" aria-labelledby="topic-title">
      <a class="topic-back" href="#explore">
        ‹ {say('topic.back')}
      </a>
      <div class="topic-head">
        <h2 id="topic-title">
          <bdi>{nameText(topic)}</bdi>
        </h2>
        <div class="topic-acts">
          <button type="button" class="plain" aria-pressed={isFrozen} onClick={() => model.freeze(!isFrozen)}>
            {say(isFrozen ? 'topic.follow' : 'topic.freeze')}
          </button>
          {model.shell.ready?.waiting === undefined ? null : (
            <a class="plain" href={`#explore&map&${new URLSearchParams({ topic })}`}>
              {say('topic.map')}
            </a>
          )}
          {about?.mayPublish ? (
            <a class="plain" href={`#${new URLSearchParams({ explore: '', publish: topic })}`}>
              {say('topic.publish')}
            </a>
          ) : null}
          {about?.retained && model.mayChange ? (
            <button type="button" class="plain" onClick={() => void clear()}>
              {say('topic.clear')}
            </button>
          ) : null}
        </div>
      </div>
      <p class="hint" role="status">
        {note || (isFrozen ? say('topic.frozen') : '')}
      </p>
      {failure === '' ? null : <p class="trouble">{say('failed', { why: failure })}</p>}
      {messages.length === 0 && failure === '' ? (
        <p class="hint">{about ? say('topic.waiting') : say('loading')}</p>
      ) : null}
      {chosen ? <MessageDetail message={chosen} before={before} /> : null}
      {messages.length > 0 ? (
        <>
          <h3>{say('topic.messages')}</h3>
          <ul class="messages">
            {messages.map(message => (
              <li key={message.sequence}>
                <button
                  type="button"
                  class="message-row"
                  aria-pressed={message === chosen}
                  onClick={() => model.choose(message.sequence)}
                >
                  <span class="message-time">{momentOf(message.receivedAt)}</span>
                  <span class="message-text">
                    <bdi>{beginningOf(message)}</bdi>
                  </span>
                  {message.mapped.outcome === 'dead' ? (
                    <span class="mark" data-mark="refused">
                      {say('mark.refused')}
                    </span>
                  ) : null}
                </button>
              </li>
            ))}
          </ul>
          {about && !about.isWhole ? <p class="hint">{say('topic.part')}</p> : null}
        </>
      ) : null}
    </section>
  )
}

function beginningOf({ payload, bytes }: TopicMessage): string {
  if (bytes === 0) return say('message.empty')
  const found = bytesOf(payload.slice(0, 400))
  return nameText(
    (textOf(found) ?? [...found.subarray(0, 60)].map(byte => byte.toString(16).padStart(2, '0')).join(' ')).slice(
      0,
      200,
    ),
  )
}
