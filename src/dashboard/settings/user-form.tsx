import { useState } from 'preact/hooks'
import { nameText } from '../wording.js'
import { addUser, type Kind, kinds } from './requests.js'
import type { UsersModel } from './users-model.js'
import { say } from './words.js'

const isKind = (text: string): text is Kind => kinds.some(one => one === text)

/** A form for a new user. The hub makes the password. */
export function UserForm({ model, onClose }: { readonly model: UsersModel; readonly onClose: () => void }) {
  const [name, setName] = useState('')
  const [kind, setKind] = useState<Kind>('device')
  const [rules, setRules] = useState('')
  const [clients, setClients] = useState('')
  const [scram, setScram] = useState(false)
  const linesOf = (text: string) =>
    text
      .split('\n')
      .map(line => line.trim())
      .filter(Boolean)
  const go = async (event: Event) => {
    event.preventDefault()
    const isMade = await model.act(async version => {
      const user = {
        ...{ name, kind, clients: linesOf(clients) },
        ...(rules.trim() && { rules: linesOf(rules) }),
        password: scram ? 'scram' : 'password',
      } as const
      const { password = '' } = await addUser(user, version)
      model.tell({ title: say('password.of', { user: nameText(name) }), text: password })
      return say('done.added', { user: nameText(name) })
    })
    if (isMade) onClose()
  }
  return (
    <form class="card set-form" aria-labelledby="add-title" onSubmit={event => void go(event)}>
      <h2 id="add-title">{say('users.add')}</h2>
      <label>
        {say('form.name')}
        <input
          type="text"
          required
          maxLength={64}
          pattern="[A-Za-z0-9][\w.@\-]*"
          title={say('form.name-hint')}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          value={name}
          onInput={event => setName(event.currentTarget.value)}
        />
      </label>
      <fieldset>
        <legend>{say('form.kind')}</legend>
        {kinds.map(one => (
          <label key={one} class="set-choice">
            <input
              type="radio"
              name="kind"
              value={one}
              checked={kind === one}
              onChange={event => isKind(event.currentTarget.value) && setKind(event.currentTarget.value)}
            />
            <span>
              {say(`kind.${one}`)} <span class="hint">{say(`kind.${one}-hint`)}</span>
            </span>
          </label>
        ))}
      </fieldset>
      <label>
        {say('form.rules')}{' '}
        <span class="hint">{say(kind === 'service' ? 'form.rules-service' : 'form.rules-hint')}</span>
        <textarea
          rows={3}
          spellcheck={false}
          required={kind === 'service'}
          placeholder={'allow publish home/{user}/#\ndeny read home/secret'}
          value={rules}
          onInput={event => setRules(event.currentTarget.value)}
        />
      </label>
      <label>
        {say('form.clients')} <span class="hint">{say('form.clients-hint')}</span>
        <textarea
          rows={2}
          spellcheck={false}
          placeholder="{user}-*"
          value={clients}
          onInput={event => setClients(event.currentTarget.value)}
        />
      </label>
      <label class="set-choice">
        <input type="checkbox" checked={scram} onChange={event => setScram(event.currentTarget.checked)} />
        <span>{say('form.scram')}</span>
      </label>
      <p class="hint">{say('form.password')}</p>
      <div class="set-acts">
        <button type="submit" class="plain strong">
          {say('form.go')}
        </button>
        <button type="button" class="plain" onClick={onClose}>
          {say('cancel')}
        </button>
      </div>
    </form>
  )
}
