import { nameText } from '../wording.js'
import { Messages, NoLogin } from './messages.js'
import { momentText } from './moments.js'
import type { PartProperties } from './part.js'
import { Shares } from './shares.js'
import { endKeyOf } from './user-keys.js'
import { useUsers } from './users-model.js'
import { say, sayCount } from './words.js'

/** Everything by which somebody gets in: API keys of all users, and links to logins, shared boards and the key of the hub. */
export function Keys({ search }: PartProperties) {
  const model = useUsers(search)
  const { list } = model
  if (list?.file === '') return <NoLogin />
  const rows = (list?.users ?? []).flatMap(({ name, kind, keys }) => keys.map(key => ({ name, kind, ...key })))
  return (
    <>
      <div class="set-head">
        <h2>{sayCount('keys.count', rows.length)}</h2>
        <p class="hint">{say('keys.text')}</p>
      </div>
      <Messages model={model} />
      <ul class="set-list">
        {rows.map(({ name, kind, id, label, created }) => (
          <li key={`${name} ${id}`} class="card set-line">
            <code>{id}</code>
            <a href={`#settings&part=users&user=${encodeURIComponent(name)}`}>
              <bdi>{nameText(name)}</bdi>
            </a>
            <span class="set-mark">{say(`kind.${kind}`)}</span>
            <bdi class="set-grow">{nameText(label)}</bdi>
            <span class="hint">{created > 0 ? momentText(created) : ''}</span>
            <button
              type="button"
              class="plain danger"
              aria-label={say('keys.end-label', { key: id })}
              onClick={() => void endKeyOf(model, name, id)}
            >
              {say('keys.end')}
            </button>
          </li>
        ))}
      </ul>
      {list?.next === undefined ? null : (
        <p>
          <button type="button" class="plain" onClick={() => void model.more()}>
            {say('more')}
          </button>
        </p>
      )}
      <section class="card" aria-labelledby="others-title">
        <h2 id="others-title">{say('keys.others')}</h2>
        <dl class="set-facts">
          <dt>{say('keys.logins')}</dt>
          <dd>
            {say('keys.logins-text')} <a href="#account">{say('keys.logins-go')}</a>
          </dd>
          <dt>{say('keys.shares')}</dt>
          <dd>
            {say('keys.shares-text')}
            <Shares />
          </dd>
          <dt>{say('keys.admin')}</dt>
          <dd>{say('keys.admin-text')}</dd>
        </dl>
      </section>
    </>
  )
}
