import { useEffect, useState } from 'preact/hooks'
import { nameText } from '../wording.js'
import type { PartProperties } from './part.js'
import { actions, type Explained, type Explanation, fetchAllUsers, fetchExplanation } from './requests.js'
import { useLoaded } from './use-loaded.js'
import { say } from './words.js'

type Action = Explained['action']
const isAction = (text: string | null): text is Action => actions.some(one => one === text)

/** Whether a user may do something, and the rule that decides. The address may name the question: `user`, `action`, `topic`. */
export function Explain({ shell, parameters }: PartProperties) {
  const given = parameters.get('action')
  const [user, setUser] = useState(parameters.get('user') ?? '')
  const [client, setClient] = useState(parameters.get('client') ?? '')
  const [action, setAction] = useState<Action>(isAction(given) ? given : 'publish')
  const [topic, setTopic] = useState(parameters.get('topic') ?? '')
  const [answer, setAnswer] = useState<Explanation & { readonly asked: Explained }>()
  const [trouble, setTrouble] = useState('')
  const { value: list } = useLoaded(fetchAllUsers)
  const ask = async (asked: Explained) => {
    setTrouble('')
    try {
      setAnswer({ ...(await fetchExplanation(asked)), asked })
    } catch (error) {
      setAnswer(undefined)
      setTrouble(say('failed', { why: (error as Error).message }))
    }
  }
  const asked = { user, action, topic, ...(client.trim() !== '' && { client: client.trim() }) }
  useEffect(() => {
    // A link from a refusal has the whole question.
    if (user !== '' && topic !== '') void ask(asked)
  }, [])
  const go = (event: Event) => {
    event.preventDefault()
    void ask(asked)
    const { client: one = '' } = asked
    const address = new URLSearchParams({ part: 'explain', user, action, topic, ...(one && { client: one }) })
    shell.go(`#settings&${address}`)
  }
  return (
    <>
      <div class="set-head">
        <h2>{say('explain.title')}</h2>
      </div>
      <form class="card set-form" onSubmit={go}>
        <label>
          {say('explain.user')}
          <input
            type="text"
            required
            list="explain-users"
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            value={user}
            onInput={event => setUser(event.currentTarget.value)}
          />
          <datalist id="explain-users">
            {(list?.users ?? []).map(({ name }) => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </label>
        <label>
          {say('explain.action')}
          <select
            value={action}
            onChange={event => isAction(event.currentTarget.value) && setAction(event.currentTarget.value)}
          >
            {actions.map(one => (
              <option key={one} value={one}>
                {say(`explain.${one}`)}
              </option>
            ))}
          </select>
        </label>
        <label>
          {say(action === 'subscribe' ? 'explain.filter' : 'explain.topic')}
          <input
            type="text"
            required
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            placeholder="home/hall/thermo"
            value={topic}
            onInput={event => setTopic(event.currentTarget.value)}
          />
        </label>
        <label>
          {say('explain.client')} <span class="hint">{say('explain.client-hint')}</span>
          <input
            type="text"
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            placeholder={user}
            value={client}
            onInput={event => setClient(event.currentTarget.value)}
          />
        </label>
        <div class="set-acts">
          <button type="submit" class="plain strong">
            {say('explain.go')}
          </button>
        </div>
      </form>
      <p class="set-trouble" role="alert">
        {trouble}
      </p>
      <div role="status">{answer ? <Verdict answer={answer} asked={answer.asked} /> : null}</div>
    </>
  )
}

function Verdict({ answer, asked }: { readonly answer: Explanation; readonly asked: Explained }) {
  const { allowed, rule, lines } = answer
  const user = nameText(asked.user)
  const topic = nameText(asked.topic)
  return (
    <section class="card set-verdict" data-allowed={allowed}>
      <h2>
        <bdi>{say(`verdict.${asked.action}-${allowed ? 'yes' : 'no'}`, { user, topic })}</bdi>
      </h2>
      {rule ? (
        <p>
          {say(rule.everyone ? 'verdict.rule-everyone' : 'verdict.rule')} <code class="set-rule">{rule.rule}</code>{' '}
          <span class="hint">{rule.place}</span>
        </p>
      ) : allowed ? null : (
        <p>{say('verdict.no-rule')}</p>
      )}
      <ul class="set-lines">
        {lines.map(line => (
          <li key={line}>
            <bdi>{line}</bdi>
          </li>
        ))}
      </ul>
      <p>
        <a href={`#settings&part=users&user=${encodeURIComponent(asked.user)}`}>{say('verdict.change', { user })}</a>
      </p>
    </section>
  )
}
