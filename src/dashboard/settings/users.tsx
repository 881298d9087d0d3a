import { useState } from 'preact/hooks'
import { Messages, NoLogin } from './messages.js'
import type { PartProperties } from './part.js'
import { UserForm } from './user-form.js'
import { UserItem } from './user-item.js'
import { useUsers } from './users-model.js'
import { say, sayCount } from './words.js'

/** The users of the users file, and what may be done to them. */
export function Users({ shell, parameters, search }: PartProperties) {
  const model = useUsers(search)
  const [isAdding, setAdding] = useState(false)
  const { list } = model
  if (!list) return model.trouble === '' ? <p class="hint">{say('loading')}</p> : <Messages model={model} />
  if (list.file === '') return <NoLogin />
  const open = parameters.get('user')
  return (
    <>
      <div class="set-head">
        <h2>{sayCount('users.count', list.count)}</h2>
        <p class="hint">
          {say('users.file')} <bdi>{list.file}</bdi>
        </p>
        <button type="button" class="plain strong" aria-expanded={isAdding} onClick={() => setAdding(!isAdding)}>
          {say('users.add')}
        </button>
      </div>
      {isAdding ? <UserForm model={model} onClose={() => setAdding(false)} /> : null}
      <Messages model={model} />
      {list.users.length === 0 ? <p class="hint">{say('users.none')}</p> : null}
      <ul class="set-list">
        {list.users.map(user => (
          <UserItem
            key={user.name}
            {...{ user, model }}
            isSelf={user.name === shell.session?.user}
            isOpen={user.name === open}
          />
        ))}
      </ul>
      {list.next === undefined ? null : (
        <p>
          <button type="button" class="plain" onClick={() => void model.more()}>
            {say('more')}
          </button>
        </p>
      )}
      {list.everyone.length === 0 ? null : (
        <section class="card" aria-labelledby="everyone-title">
          <h2 id="everyone-title">{say('users.everyone')}</h2>
          <ul class="set-rules">
            {list.everyone.map(({ rule, place }) => (
              <li key={place}>
                <code>{rule}</code> <span class="hint">{place}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  )
}
