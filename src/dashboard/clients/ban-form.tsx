import { useEffect, useRef, useState } from 'preact/hooks'
import { nameText } from '../wording.js'
import type { ClientsModel } from './model.js'
import { type BanAsked, ban, type ClientRow } from './requests.js'
import { say, sayCount } from './words.js'

interface Properties {
  readonly client: ClientRow
  readonly model: ClientsModel
  readonly onClose: () => void
}

const times = [600, 3_600, 86_400, 2_592_000] as const

/** Asks what to ban, and for how long. */
export function BanForm({ client: { clientId, user, address }, model, onClose }: Properties) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [kind, setKind] = useState<BanAsked['kind']>('client')
  const [seconds, setSeconds] = useState<(typeof times)[number]>(3_600)
  useEffect(() => dialog.current?.showModal(), [])
  const name = nameText(clientId)
  const names = { client: clientId, user, address: address ?? '' }
  const choices = (['client', 'user', 'address'] as const).filter(one => names[one] !== '')
  const go = (event: Event) => {
    event.preventDefault()
    dialog.current?.close()
    void model.act(async () => sayCount('done.banned', await ban({ kind, name: names[kind], seconds })))
  }
  return (
    <dialog ref={dialog} class="confirm ban-form" aria-labelledby="ban-title" onClose={onClose}>
      <form onSubmit={go}>
        <h2 id="ban-title">
          <bdi>{say('ban.title', { client: name })}</bdi>
        </h2>
        <fieldset class="ban-choices">
          <legend class="unseen">{say('ban.what')}</legend>
          {choices.map(one => (
            <label key={one} class="toggle">
              <input type="radio" name="kind" checked={kind === one} onChange={() => setKind(one)} />
              <bdi>{say(`ban.${one}`, { user: nameText(user), address: address ?? '' })}</bdi>
            </label>
          ))}
        </fieldset>
        <label>
          {say('ban.for')}{' '}
          <select
            value={String(seconds)}
            onChange={event => setSeconds(Number(event.currentTarget.value) as (typeof times)[number])}
          >
            {times.map(time => (
              <option key={time} value={String(time)}>
                {say(`ban.${time}`)}
              </option>
            ))}
          </select>
        </label>
        <p class="hint">{say('ban.log')}</p>
        <div class="dialog-buttons">
          <button type="button" class="plain" onClick={() => dialog.current?.close()}>
            {say('cancel')}
          </button>
          <button type="submit" class="plain danger">
            {say('ban.go')}
          </button>
        </div>
      </form>
    </dialog>
  )
}
