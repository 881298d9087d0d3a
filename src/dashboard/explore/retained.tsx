import { useEffect, useState } from 'preact/hooks'
import { confirmed } from '../confirm.js'
import { nameText } from '../wording.js'
import { bytesOf, hexRows, textOf } from './bytes.js'
import { addressOf, useExplore } from './context.js'
import { clearRetained, fetchRetained, type RetainedList } from './requests.js'
import { say, sayCount } from './words.js'

/** The retained messages under a filter, to be looked at and deleted. */
export function RetainedMessages({ given }: { readonly given: string }) {
  const model = useExplore()
  const [filter, setFilter] = useState(given)
  const [list, setList] = useState<RetainedList>()
  const [note, setNote] = useState('')
  const [trouble, setTrouble] = useState('')
  const load = async () => {
    try {
      setList(await fetchRetained(given))
      setTrouble('')
    } catch (error) {
      setTrouble(say('failed', { why: (error as Error).message }))
    }
  }
  // The key of this component is the address, so that another filter is another component.
  useEffect(() => void load(), [])
  const remove = async (which: string, count: number) => {
    const text = say('retained.ask-text', { filter: nameText(which) })
    const words = { yes: sayCount('retained.delete-all', count), no: say('cancel') }
    if (!(await confirmed(sayCount('retained.ask', count), text, words))) return
    try {
      setNote(sayCount('retained.done', await clearRetained(which)))
    } catch (error) {
      setTrouble(say('failed', { why: (error as Error).message }))
    }
    await load()
  }
  const find = (event: Event) => {
    event.preventDefault()
    if (filter === given) void load()
    else model.shell.go(`#${new URLSearchParams({ explore: '', retained: filter })}`)
  }
  const count = list?.count ?? 0
  return (
    <section class="retained">
      <form class="retained-filter" onSubmit={find}>
        <label>
          {say('retained.filter')}
          <input
            value={filter}
            required
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            onInput={event => setFilter(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="plain">
          {say('retained.find')}
        </button>
        <p class="hint" role="status">
          {note} {list ? sayCount('retained.count', count) : say('loading')}
        </p>
        {model.mayChange && count > 0 && !given.startsWith('$hub/') ? (
          <button type="button" class="plain danger" onClick={() => void remove(given, count)}>
            {sayCount('retained.delete-all', count)}
          </button>
        ) : null}
      </form>
      <p class="trouble" role="alert">
        {trouble}
      </p>
      {list && count === 0 ? <p class="hint">{say('retained.none')}</p> : null}
      <ul class="retained-list">
        {list?.messages.map(({ topic, payload, bytes, clientId, qos }) => {
          const found = bytesOf(payload)
          const text = textOf(found)
          return (
            <li key={topic} class="card retained-message">
              <div class="retained-head">
                <a href={addressOf(topic)}>
                  <bdi>{nameText(topic)}</bdi>
                </a>
                <span class="hint">
                  <bdi>{say('tree.by', { client: clientId === '' ? say('retained.hub') : nameText(clientId) })}</bdi> ·
                  QoS {qos} · {say('tree.size', { size: bytes })}
                </span>
                {model.mayChange && !topic.startsWith('$hub/') ? (
                  <button
                    type="button"
                    class="plain"
                    aria-label={say('retained.delete-label', { topic: nameText(topic) })}
                    onClick={() => void remove(topic, 1)}
                  >
                    {say('retained.delete')}
                  </button>
                ) : null}
              </div>
              {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard. */}
              <pre class="payload" tabIndex={0}>
                {text === undefined ? hexRows(found, 256) : nameText(text.slice(0, 1_000))}
              </pre>
            </li>
          )
        })}
      </ul>
      {list && list.messages.length < count ? (
        <p class="hint">{say('retained.shown', { count: list.messages.length })}</p>
      ) : null}
    </section>
  )
}
