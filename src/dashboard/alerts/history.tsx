import { useEffect, useState } from 'preact/hooks'
import { hubNow } from '../api.js'
import { sentenceText } from '../home/alert-words.js'
import type { HomeDevice } from '../home/catalogue.js'
import { clockText } from '../home/format.js'
import { nameText } from '../wording.js'
import { addressOf } from './alert-item.js'
import { useAlerts } from './context.js'
import { isFound } from './now.js'
import { type AlertRow, fetchPast, type Listed } from './requests.js'
import { dayOf, dayText, spanText } from './when.js'
import { say, sayCount } from './words.js'

const day = 86_400_000
const spans = [1, 7, 30, 90] as const

/** Alerts of the past by day, each with how long it lasted. */
export function History() {
  const model = useAlerts()
  const [days, setDays] = useState<number>(7)
  const [rule, setRule] = useState('')
  const [device, setDevice] = useState('')
  const [listed, setListed] = useState<Listed>()
  const [failure, setFailure] = useState('')
  const { now } = model
  useEffect(() => {
    let isOver = false
    void fetchPast({ from: hubNow() - days * day }).then(
      answer => {
        if (isOver) return
        setListed(answer)
        setFailure('')
      },
      (error: unknown) => !isOver && setFailure((error as Error).message),
    )
    return () => {
      isOver = true
    }
    // Again whenever what is open has changed.
  }, [days, now])
  if (!listed) return <p class="hint">{failure ? say('failed', { why: failure }) : say('loading')}</p>
  const { alerts } = listed
  const names = (of: (row: AlertRow) => string | undefined) =>
    [...new Set(alerts.flatMap(row => of(row) ?? []))].sort((a, b) => a.localeCompare(b))
  const shown = alerts.filter(
    row => (rule === '' || row.rule === rule) && (device === '' || row.device === device) && isFound(row, model.text),
  )
  const byDay = new Map<number, AlertRow[]>()
  for (const row of shown) {
    const begin = dayOf(row.since)
    byDay.set(begin, [...(byDay.get(begin) ?? []), row])
  }
  return (
    <>
      <div class="alerts-bar">
        <fieldset class="segments" aria-label={say('history.span')}>
          {spans.map(one => (
            <button key={one} type="button" aria-pressed={days === one} onClick={() => setDays(one)}>
              {one === 1 ? say('span.h', { n: 24 }) : say('span.d', { n: one })}
            </button>
          ))}
        </fieldset>
        <Choice label={say('history.rule')} value={rule} all={names(row => row.rule)} onChoice={setRule} />
        <Choice label={say('history.device')} value={device} all={names(row => row.device)} onChoice={setDevice} />
        <p class="hint" role="status">
          {sayCount('history.count', shown.length)}
        </p>
      </div>
      {shown.length === 0 ? (
        <p class="alerts-none">{sayCount('history.none', days)}</p>
      ) : (
        [...byDay]
          .sort(([a], [b]) => b - a)
          .map(([begin, rows]) => (
            <section class="alerts-group" key={begin} aria-labelledby={`day-${begin}`}>
              <h2 id={`day-${begin}`}>
                {dayText(begin)} <span class="hint">{rows.length}</span>
              </h2>
              <ul>
                {rows
                  .sort((a, b) => b.since - a.since)
                  .map(row => (
                    <Past key={row.alert} row={row} />
                  ))}
              </ul>
            </section>
          ))
      )}
      {listed.count > alerts.length ? (
        <p class="hint">{sayCount('history.more', listed.count - alerts.length)}</p>
      ) : null}
    </>
  )
}

/** Returns the sentence that an alert had when it began or fired: the newest one of an alert that is over says its end. */
export function beginningOf(row: AlertRow, devices: readonly HomeDevice[]): string {
  const begun = row.transitions.find(({ state }) => state === 'firing') ?? row.transitions[0] ?? row
  return sentenceText({ series: row.series, sentence: begun.sentence, said: begun.said }, devices)
}

function Past({ row }: { readonly row: AlertRow }) {
  const { devices } = useAlerts()
  const { since, until } = row
  const isOver = row.state === 'cleared'
  return (
    <li class="alerts-past" data-severity={row.severity} data-alert={row.alert}>
      <span class="alerts-clock">
        {clockText(since)}
        {until === undefined ? '' : ` – ${clockText(until)}`}
      </span>
      <a href={addressOf(row.alert)}>
        <span class="alerts-level">{say(`severity.${row.severity}`)}</span> <bdi>{beginningOf(row, devices)}</bdi>
      </a>
      <span class="hint">
        {isOver ? spanText((until ?? since) - since) : say(`state.${row.state}`)}
        {row.muted ? ` · ${say('state.muted')}` : ''}
        {row.by ? ` · ${say('by', { user: nameText(row.by) })}` : ''}
      </span>
    </li>
  )
}

interface ChoiceProperties {
  readonly label: string
  readonly value: string
  readonly all: readonly string[]
  readonly onChoice: (value: string) => void
}

function Choice({ label, value, all, onChoice }: ChoiceProperties) {
  return (
    <label class="alerts-select">
      <span>{label}</span>
      <select value={value} onChange={event => onChoice(event.currentTarget.value)}>
        <option value="">{say('filter.all')}</option>
        {all.map(one => (
          <option key={one} value={one}>
            {nameText(one)}
          </option>
        ))}
      </select>
    </label>
  )
}
