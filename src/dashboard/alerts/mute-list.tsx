import { useState } from 'preact/hooks'
import { nameText } from '../wording.js'
import { useAlerts } from './context.js'
import { type MuteRow, unmute } from './requests.js'
import { momentText } from './when.js'
import { say, sayCount } from './words.js'

/** All mutes in force, also those that match no alert now. */
export function MuteList() {
  const { now, mayChange } = useAlerts()
  const mutes = now?.mutes ?? []
  if (mutes.length === 0) return null
  return (
    <details class="alerts-mutes">
      <summary>{sayCount('mutes', mutes.length)}</summary>
      <ul>
        {mutes.map(mute => (
          <Mute key={mute.id} mute={mute} mayChange={mayChange} />
        ))}
      </ul>
    </details>
  )
}

function Mute({ mute, mayChange }: { readonly mute: MuteRow; readonly mayChange: boolean }) {
  const model = useAlerts()
  const [trouble, setTrouble] = useState('')
  const { id, rule, series, device, by, note, until } = mute
  const what = [rule, device ?? series].filter(one => one !== undefined).map(one => nameText(one))
  return (
    <li class="alerts-line">
      <span>
        <bdi>{what.join(' · ')}</bdi>{' '}
        <span class="hint">
          {until === undefined
            ? say('mute.until-taken', { user: nameText(by) })
            : say('mute.until', { user: nameText(by), time: momentText(until) })}
          {note ? `: ${nameText(note)}` : ''}
        </span>
        {trouble ? (
          <span class="alerts-trouble" role="alert">
            {trouble}
          </span>
        ) : null}
      </span>
      {mayChange ? (
        <button
          type="button"
          class="plain"
          aria-label={say('act.unmute-label', { alert: what.join(', ') })}
          onClick={() =>
            void unmute(id).then(
              () => model.refresh(),
              (error: unknown) => setTrouble(say('failed', { why: (error as Error).message })),
            )
          }
        >
          {say('act.unmute')}
        </button>
      ) : null}
    </li>
  )
}
