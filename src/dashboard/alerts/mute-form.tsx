import { useState } from 'preact/hooks'
import { hubNow, muteAlert } from '../api.js'
import type { AlertRow } from './requests.js'
import { say } from './words.js'

interface Properties {
  readonly row: AlertRow
  readonly onCancel: () => void
  readonly onDone: () => void
}

const hour = 3_600_000

/** Mutes an alert for some hours, until a moment, or until somebody takes that back. */
export function MuteForm({ row, onCancel, onDone }: Properties) {
  const [whole, setWhole] = useState(false)
  const [until, setUntil] = useState(() => localText(hubNow() + 24 * hour))
  const [note, setNote] = useState('')
  const [trouble, setTrouble] = useState('')
  const [isBusy, setBusy] = useState(false)
  const mute = async (time: number | undefined) => {
    if (time !== undefined && !(time > hubNow())) {
      setTrouble(say('mute.past'))
      return
    }
    setBusy(true)
    setTrouble('')
    const { rule, series, device } = row
    const what = whole || series === '' ? { rule } : device === undefined ? { rule, series } : { rule, series, device }
    try {
      await muteAlert({
        ...what,
        ...(time !== undefined && { until: Math.round(time) }),
        ...(note.trim() !== '' && { note: note.trim() }),
      })
      onDone()
    } catch (error) {
      setTrouble(say('failed', { why: (error as Error).message }))
      setBusy(false)
    }
  }
  return (
    <form
      class="alerts-form"
      onSubmit={event => {
        event.preventDefault()
        void mute(new Date(until).getTime())
      }}
      onKeyDown={event => event.key === 'Escape' && onCancel()}
    >
      <fieldset>
        <legend>{say('mute.what')}</legend>
        <label class="alerts-choice">
          <input type="radio" name={`mute-${row.alert}`} checked={!whole} onChange={() => setWhole(false)} />
          {say('mute.this')}
        </label>
        <label class="alerts-choice">
          <input type="radio" name={`mute-${row.alert}`} checked={whole} onChange={() => setWhole(true)} />
          {say('mute.rule')}
        </label>
      </fieldset>
      <label>
        {say('note')}
        <input maxLength={1_000} value={note} onInput={event => setNote(event.currentTarget.value)} />
      </label>
      <div class="alerts-row">
        <button type="button" class="plain" disabled={isBusy} onClick={() => void mute(hubNow() + hour)}>
          {say('mute.1h')}
        </button>
        <button type="button" class="plain" disabled={isBusy} onClick={() => void mute(hubNow() + 8 * hour)}>
          {say('mute.8h')}
        </button>
        <button type="button" class="plain" disabled={isBusy} onClick={() => void mute(undefined)}>
          {say('mute.open')}
        </button>
      </div>
      <div class="alerts-row">
        <label>
          {say('mute.date')}
          <input type="datetime-local" value={until} onInput={event => setUntil(event.currentTarget.value)} />
        </label>
        <button type="submit" class="plain" disabled={isBusy}>
          {say('mute.until-date')}
        </button>
        <button type="button" class="plain" onClick={onCancel}>
          {say('act.cancel')}
        </button>
      </div>
      <p class="alerts-trouble" role="alert">
        {trouble}
      </p>
    </form>
  )
}

/** Returns a time as an input of a date and a time takes it: on the clocks of this browser. */
function localText(time: number): string {
  const date = new Date(time)
  return new Date(time - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}
