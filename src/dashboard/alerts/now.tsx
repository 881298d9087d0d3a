import { useState } from 'preact/hooks'
import { alertText } from '../said/said.js'
import { nameText } from '../wording.js'
import { AlertItem } from './alert-item.js'
import { useAlerts } from './context.js'
import { severities } from './definition.js'
import type { AlertsModel } from './model.js'
import { MuteList } from './mute-list.js'
import type { AlertRow } from './requests.js'
import { say, sayCount } from './words.js'

const states = ['firing', 'acknowledged', 'pending', 'muted'] as const
type ShownState = (typeof states)[number]

function stateOf({ state, muted }: AlertRow): ShownState {
  if (muted) return 'muted'
  return state === 'acknowledged' || state === 'pending' ? state : 'firing'
}

/** Whether all words of the search field are in what is said of an alert. */
export function isFound(row: AlertRow, text: string): boolean {
  const { sentence, rule, device = '', note = '' } = row
  const all = `${alertText(row)}\n${sentence}\n${rule}\n${device}\n${note}`.toLowerCase()
  return text.split(/\s+/).every(word => all.includes(word))
}

/** Alerts that are not over: by state, the worst first. */
export function Now() {
  const model = useAlerts()
  const [severity, setSeverity] = useState<string>('')
  const { now, failure, text } = model
  if (!now) return <p class="hint">{failure ? say('failed', { why: failure }) : say('loading')}</p>
  const rank = (row: AlertRow) => severities.length - severities.indexOf(row.severity)
  const shown = now.alerts
    .filter(row => (severity === '' || row.severity === severity) && isFound(row, text))
    .sort((a, b) => rank(a) - rank(b) || b.since - a.since)
  return (
    <>
      {now.alerts.length > 0 ? (
        <div class="alerts-bar">
          <fieldset class="segments" aria-label={say('filter.severity')}>
            {['', ...[...severities].reverse()].map(one => (
              <button key={one} type="button" aria-pressed={severity === one} onClick={() => setSeverity(one)}>
                {one === '' ? say('filter.all') : say(`severity.${one as AlertRow['severity']}`)}
              </button>
            ))}
          </fieldset>
          <p class="hint" role="status">
            {sayCount('now.count', now.count, { shown: shown.length })}
          </p>
        </div>
      ) : null}
      {states.map(state => {
        const of = shown.filter(row => stateOf(row) === state)
        return of.length === 0 ? null : (
          <section class="alerts-group" key={state} aria-labelledby={`state-${state}`} data-state={state}>
            <h2 id={`state-${state}`}>
              {say(`state.${state}`)} <span class="hint">{of.length}</span>
            </h2>
            <ul>
              {of.map(row => (
                <AlertItem key={row.alert} row={row} />
              ))}
            </ul>
          </section>
        )
      })}
      {shown.length === 0 ? <Nothing model={model} isFiltered={now.alerts.length > 0} /> : null}
      <MuteList />
    </>
  )
}

/** One sentence, with numbers of what is watched. */
function Nothing({ model, isFiltered }: { readonly model: AlertsModel; readonly isFiltered: boolean }) {
  const { rules, text } = model
  if (isFiltered) return <p class="alerts-none">{say('now.no-match', { text: nameText(text) })}</p>
  const known = typeof rules === 'object' ? rules : undefined
  const enabled = known?.rules.filter(one => one.enabled).length ?? 0
  return (
    <div class="alerts-none">
      <p>
        <strong>{say('now.well')}</strong>{' '}
        {known && enabled > 0
          ? sayCount('now.watched', known.counts.watched ?? 0, { rules: sayCount('rules.count', enabled) })
          : ''}
        {known && enabled === 0 ? say('now.no-rules') : ''}
      </p>
      {model.mayChange ? (
        <a class="plain" href="#alerts&new">
          {say('rules.new')}
        </a>
      ) : null}
    </div>
  )
}
