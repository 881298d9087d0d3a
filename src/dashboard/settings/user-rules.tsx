import { useState } from 'preact/hooks'
import { nameText } from '../wording.js'
import { changeRules, type UserRow } from './requests.js'
import type { UsersModel } from './users-model.js'
import { say } from './words.js'

interface Properties {
  readonly user: UserRow
  readonly model: UsersModel
}

const effects = ['allow', 'deny'] as const
const verbs = ['publish', 'subscribe', 'read', 'all'] as const

/** The rules of a user, and a form for a new one. */
export function UserRules({ user: { name, rules }, model }: Properties) {
  const [effect, setEffect] = useState<string>('allow')
  const [verb, setVerb] = useState<string>('publish')
  const [filter, setFilter] = useState('')
  const change = (add: readonly string[], remove: readonly string[]) =>
    model.act(async version => {
      await changeRules({ name, add, remove }, version)
      return say('done.rules', { user: nameText(name) })
    })
  const add = async (event: Event) => {
    event.preventDefault()
    if (await change([`${effect} ${verb} ${filter.trim()}`], [])) setFilter('')
  }
  return (
    <section class="set-sub">
      <h3>{say('rules.title')}</h3>
      {rules.length === 0 ? <p class="hint">{say('rules.none')}</p> : null}
      <ul class="set-rules">
        {rules.map(({ rule, place }) => (
          <li key={`${place} ${rule}`} data-effect={rule.split(' ', 1)[0]}>
            <code>{rule}</code> <span class="hint">{place}</span>
            <button
              type="button"
              class="plain"
              aria-label={say('rules.remove-label', { rule })}
              onClick={() => void change([], [rule])}
            >
              {say('rules.remove')}
            </button>
          </li>
        ))}
      </ul>
      <form class="set-inline" onSubmit={event => void add(event)}>
        <select
          aria-label={say('rules.effect')}
          value={effect}
          onChange={event => setEffect(event.currentTarget.value)}
        >
          {effects.map(one => (
            <option key={one} value={one}>
              {say(`rules.${one}`)}
            </option>
          ))}
        </select>
        <select aria-label={say('rules.verb')} value={verb} onChange={event => setVerb(event.currentTarget.value)}>
          {verbs.map(one => (
            <option key={one} value={one}>
              {say(`verb.${one}`)}
            </option>
          ))}
        </select>
        <input
          type="text"
          class="set-wide"
          required
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          aria-label={say('rules.filter')}
          placeholder="home/{user}/#"
          value={filter}
          onInput={event => setFilter(event.currentTarget.value)}
        />
        <button type="submit" class="plain">
          {say('rules.add')}
        </button>
      </form>
    </section>
  )
}
