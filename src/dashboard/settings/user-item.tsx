import { hubNow } from '../api.js'
import { confirmed } from '../confirm.js'
import { ageText, nameText } from '../wording.js'
import { momentText } from './moments.js'
import { newPassword, removeUser, type UserRow } from './requests.js'
import { UserKeys } from './user-keys.js'
import { UserRules } from './user-rules.js'
import type { UsersModel } from './users-model.js'
import { say, sayCount } from './words.js'

interface Properties {
  readonly user: UserRow
  readonly model: UsersModel
  /** Whether the page belongs to this user, who must not be removed by it. */
  readonly isSelf: boolean
  readonly isOpen: boolean
}

/** A user: a line, which opens to rules, keys and what may be done. */
export function UserItem({ user, model, isSelf, isOpen }: Properties) {
  const { name, kind, online, lastSeen, ban } = user
  const shown = nameText(name)
  const seen =
    online > 0 ? sayCount('user.online', online) : lastSeen > 0 ? ageText(hubNow() - lastSeen) : say('user.never')
  return (
    <li class="card set-item">
      <details open={isOpen}>
        <summary>
          <span class="dot" data-on={online > 0} aria-hidden="true" />
          <bdi class="set-name">{shown}</bdi>
          <span class="set-mark" data-kind={kind}>
            {say(`kind.${kind}`)}
          </span>
          {isSelf ? <span class="set-mark">{say('user.self')}</span> : null}
          {ban ? <span class="set-mark danger">{say('user.locked', { time: momentText(ban.until) })}</span> : null}
          <span class="hint set-seen">{seen}</span>
        </summary>
        <Facts user={user} />
        <UserRules user={user} model={model} />
        <UserKeys user={user} model={model} />
        <Acts user={user} model={model} isSelf={isSelf} />
      </details>
    </li>
  )
}

function Facts({ user }: { readonly user: UserRow }) {
  const { password, scram, clients, certificates, name, ban } = user
  return (
    <dl class="set-facts">
      <dt>{say('user.password')}</dt>
      <dd>
        {say(`password.${password}`)}
        {scram ? ` · ${say('user.scram')}` : ''}
      </dd>
      <dt>{say('user.clients')}</dt>
      <dd>
        <bdi>{clients.length === 0 ? say('user.any') : nameText(clients.join(', '))}</bdi>
      </dd>
      <dt>{say('user.certificates')}</dt>
      <dd>
        <bdi>{nameText([name, ...certificates].join(', '))}</bdi>
      </dd>
      {ban ? (
        <>
          <dt>{say('user.lock')}</dt>
          <dd>
            {say('user.lock-text', { time: momentText(ban.until), by: nameText(ban.by) })}{' '}
            <a href="#clients">{say('user.lock-lift')}</a>
          </dd>
        </>
      ) : null}
    </dl>
  )
}

function Acts({ user: { name, kind, scram }, model, isSelf }: Omit<Properties, 'isOpen'>) {
  const shown = nameText(name)
  const no = say('cancel')
  const password = async () => {
    const question = say('password.ask', { user: shown })
    if (!(await confirmed(question, say('password.ask-text'), { yes: say('password.yes'), no }))) return
    await model.act(async version => {
      const made = await newPassword(name, scram, version)
      model.tell({ title: say('password.of', { user: shown }), text: made.password })
      return say('done.password', { user: shown })
    })
  }
  const remove = async () => {
    const question = say('remove.ask', { user: shown })
    if (!(await confirmed(question, say('remove.text'), { yes: say('remove.yes'), no }))) return
    await model.act(async version => {
      await removeUser(name, version)
      return say('done.removed', { user: shown })
    })
  }
  return (
    <fieldset class="set-acts" aria-label={say('user.acts', { user: shown })}>
      {kind === 'device' ? (
        <a class="plain" href={`#settings&part=pair&user=${encodeURIComponent(name)}`}>
          {say('user.pair')}
        </a>
      ) : null}
      <a class="plain" href={`#settings&part=explain&user=${encodeURIComponent(name)}`}>
        {say('user.explain')}
      </a>
      <button type="button" class="plain" onClick={() => void password()}>
        {say('user.new-password')}
      </button>
      {isSelf ? null : (
        <button type="button" class="plain danger" onClick={() => void remove()}>
          {say('user.remove')}
        </button>
      )}
    </fieldset>
  )
}
