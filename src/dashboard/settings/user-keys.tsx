import { useState } from 'preact/hooks'
import { confirmed } from '../confirm.js'
import { nameText } from '../wording.js'
import { momentText } from './moments.js'
import { addKey, endKey, type UserRow } from './requests.js'
import type { UsersModel } from './users-model.js'
import { say } from './words.js'

interface Properties {
  readonly user: UserRow
  readonly model: UsersModel
}

/** Asks, and ends an API key. */
export async function endKeyOf(model: UsersModel, name: string, id: string): Promise<void> {
  const answers = { yes: say('keys.end-yes'), no: say('cancel') }
  if (!(await confirmed(say('keys.ask', { key: id }), say('keys.ask-text', { user: nameText(name) }), answers))) return
  await model.act(async version => {
    await endKey(name, id, version)
    return say('done.key-ended', { key: id })
  })
}

/** The API keys of a user, and a form for a new one. */
export function UserKeys({ user: { name, keys }, model }: Properties) {
  const [label, setLabel] = useState('')
  const add = async (event: Event) => {
    event.preventDefault()
    const isMade = await model.act(async version => {
      const { id, key } = await addKey(name, label.trim(), version)
      model.tell({ title: say('keys.of', { user: nameText(name) }), text: key })
      return say('done.key', { key: id })
    })
    if (isMade) setLabel('')
  }
  return (
    <section class="set-sub">
      <h3>{say('keys.title')}</h3>
      {keys.length === 0 ? <p class="hint">{say('keys.none')}</p> : null}
      <ul class="set-rules">
        {keys.map(key => (
          <li key={key.id}>
            <code>{key.id}</code> <bdi>{nameText(key.label)}</bdi>
            <span class="hint">{key.created > 0 ? momentText(key.created) : ''}</span>
            <button
              type="button"
              class="plain danger"
              aria-label={say('keys.end-label', { key: key.id })}
              onClick={() => void endKeyOf(model, name, key.id)}
            >
              {say('keys.end')}
            </button>
          </li>
        ))}
      </ul>
      <form class="set-inline" onSubmit={event => void add(event)}>
        <input
          type="text"
          class="set-wide"
          maxLength={200}
          aria-label={say('keys.label')}
          placeholder={say('keys.label')}
          value={label}
          onInput={event => setLabel(event.currentTarget.value)}
        />
        <button type="submit" class="plain">
          {say('keys.add')}
        </button>
      </form>
    </section>
  )
}
