import { useEffect, useRef, useState } from 'preact/hooks'
import { acknowledge, hubNow } from '../api.js'
import { sentenceText } from '../home/alert-words.js'
import { Reading } from '../home/reading.js'
import { nameText } from '../wording.js'
import { useAlerts } from './context.js'
import { MuteForm } from './mute-form.js'
import { type AlertRow, unmute } from './requests.js'
import { momentText, spanText } from './when.js'
import { say } from './words.js'

/** Returns the address of the sheet of a device. */
export function sheetOf(device: string): string {
  return `#${new URLSearchParams({ thing: device })}`
}

/** Returns the address of one alert. */
export function addressOf(alert: string): string {
  return `#alerts&${new URLSearchParams({ alert })}`
}

/** One alert that is not over, and what can be done about it. */
export function AlertItem({ row }: { readonly row: AlertRow }) {
  const model = useAlerts()
  const [form, setForm] = useState<'note' | 'mute' | undefined>()
  const [trouble, setTrouble] = useState('')
  const [isBusy, setBusy] = useState(false)
  const act = async (what: Promise<unknown>) => {
    setBusy(true)
    setTrouble('')
    try {
      await what
      setForm(undefined)
    } catch (error) {
      setTrouble(say('failed', { why: (error as Error).message }))
    }
    setBusy(false)
    await model.refresh()
  }
  const mutes = row.muted ? model.mutesOf(row) : []
  const sentence = sentenceText(row, model.devices)
  return (
    <li class="alerts-item" data-severity={row.severity} data-state={row.state} data-alert={row.alert}>
      <div class="alerts-main">
        <p class="alerts-sentence">
          <span class="alerts-level">{say(`severity.${row.severity}`)}</span>{' '}
          <a href={addressOf(row.alert)}>
            <bdi>{sentence}</bdi>
          </a>
        </p>
        <Facts row={row} />
        {row.state === 'acknowledged' ? (
          <p class="alerts-by">
            {say('by', { user: nameText(row.by ?? '') })}
            {row.note ? (
              <>
                : <q>{nameText(row.note)}</q>
              </>
            ) : null}
          </p>
        ) : null}
        {row.muted ? (
          <p class="alerts-by">
            {mutes.length === 0
              ? say('mute.by-rule')
              : mutes.map(({ until, by }) =>
                  until === undefined
                    ? say('mute.until-taken', { user: nameText(by) })
                    : say('mute.until', { user: nameText(by), time: momentText(until) }),
                )}
          </p>
        ) : null}
        {trouble ? (
          <p class="alerts-trouble" role="alert">
            {trouble}
          </p>
        ) : null}
        {form === 'note' ? (
          <NoteForm
            isBusy={isBusy}
            onCancel={() => setForm(undefined)}
            onNote={note => void act(acknowledge(row.alert, note))}
          />
        ) : null}
        {form === 'mute' ? (
          <MuteForm row={row} onCancel={() => setForm(undefined)} onDone={() => void act(Promise.resolve())} />
        ) : null}
      </div>
      {form === undefined ? (
        <div class="alerts-acts">
          {row.state === 'firing' ? (
            <button
              type="button"
              class="plain"
              aria-label={say('act.acknowledge-label', { alert: sentence })}
              onClick={() => setForm('note')}
            >
              {say('act.acknowledge')}
            </button>
          ) : null}
          {model.mayChange && !row.muted ? (
            <button
              type="button"
              class="plain"
              aria-label={say('act.mute-label', { alert: sentence })}
              onClick={() => setForm('mute')}
            >
              {say('act.mute')}
            </button>
          ) : null}
          {model.mayChange && mutes.length > 0 ? (
            <button
              type="button"
              class="plain"
              disabled={isBusy}
              aria-label={say('act.unmute-label', { alert: sentence })}
              onClick={() => void act(Promise.all(mutes.map(({ id }) => unmute(id))))}
            >
              {say('act.unmute')}
            </button>
          ) : null}
        </div>
      ) : null}
    </li>
  )
}

/** Since when, of which device, and the value now. */
function Facts({ row }: { readonly row: AlertRow }) {
  const model = useAlerts()
  const subject = model.subjectOf(row)
  const device = subject?.device.name ?? row.device
  return (
    <p class="alerts-facts hint">
      <span title={momentText(row.since)}>
        {say('since', { time: momentText(row.since), span: spanText(hubNow() - row.since) })}
      </span>
      {device === undefined ? null : subject ? (
        <a href={sheetOf(subject.device.id)}>
          <bdi>{nameText(device)}</bdi>
        </a>
      ) : (
        <bdi>{nameText(device)}</bdi>
      )}
      {subject?.value ? (
        <span class="alerts-value">
          {say('value-now')} <Reading live={model.shell.home.live} value={subject.value} />
        </span>
      ) : null}
      <span>
        {say('of-rule')} <bdi>{nameText(row.rule)}</bdi>
      </span>
    </p>
  )
}

interface NoteProperties {
  readonly isBusy: boolean
  readonly onCancel: () => void
  readonly onNote: (note: string) => void
}

/** A note for an acknowledgement, which may stay empty. */
function NoteForm({ isBusy, onCancel, onNote }: NoteProperties) {
  const [note, setNote] = useState('')
  const input = useRef<HTMLInputElement>(null)
  useEffect(() => input.current?.focus(), [])
  return (
    <form
      class="alerts-form"
      onSubmit={event => {
        event.preventDefault()
        onNote(note.trim())
      }}
    >
      <label>
        {say('note')}
        <input
          maxLength={1_000}
          value={note}
          placeholder={say('note.example')}
          ref={input}
          onInput={event => setNote(event.currentTarget.value)}
          onKeyDown={event => event.key === 'Escape' && onCancel()}
        />
      </label>
      <button type="submit" class="plain primary" disabled={isBusy}>
        {say('act.acknowledge')}
      </button>
      <button type="button" class="plain" onClick={onCancel}>
        {say('act.cancel')}
      </button>
    </form>
  )
}
