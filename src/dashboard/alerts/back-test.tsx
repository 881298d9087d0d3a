import { sentenceText } from '../home/alert-words.js'
import { saidText } from '../said/said.js'
import { nameText } from '../wording.js'
import { Chart, limitsOf } from './chart.js'
import { useAlerts } from './context.js'
import { hasLimits, isTestable } from './definition.js'
import type { EditModel } from './edit-model.js'
import type { BackTest } from './requests.js'
import { momentText, spanText } from './when.js'
import { say, sayCount } from './words.js'

const ranges = [1, 7, 30] as const

/** The alerts that the rule would have made, drawn over the readings of the past; limits are moved on the chart. */
export function Test({ edit }: { readonly edit: EditModel }) {
  const { kind, rule, trial, isReadOnly } = edit
  const { days, data, drawn, test, isTesting, testFailure, check } = trial
  if (!kind) return null
  if (!isTestable(kind)) return <p class="hint">{say('test.not')}</p>
  const spans = (test?.alerts ?? []).filter(({ series }) => series === drawn?.series)
  const selected = check?.selected ?? []
  return (
    <section class="alerts-test" aria-labelledby="test-title">
      <div class="alerts-bar">
        <h2 id="test-title">{say('test.title')}</h2>
        <fieldset class="segments" aria-label={say('history.span')}>
          {ranges.map(one => (
            <button key={one} type="button" aria-pressed={days === one} onClick={() => trial.setDays(one)}>
              {one === 1 ? say('span.h', { n: 24 }) : say('span.d', { n: one })}
            </button>
          ))}
        </fieldset>
        {selected.length > 1 ? (
          <label class="alerts-select">
            <span>{say('test.shown')}</span>
            <select value={drawn?.series ?? ''} onChange={event => trial.draw(event.currentTarget.value)}>
              {selected.map(({ series, label }) => (
                <option key={series} value={series}>
                  {nameText(label)}
                </option>
              ))}
            </select>
          </label>
        ) : null}
      </div>
      <p class="alerts-verdict" role="status" data-count={test?.count} aria-busy={isTesting}>
        {testFailure !== '' ? say('failed', { why: testFailure }) : test ? verdictOf(test, days) : say('test.wait')}
      </p>
      {data && drawn ? (
        <Chart
          key={drawn.series}
          data={data}
          limits={limitsOf(rule)}
          spans={spans}
          unit={edit.unit}
          label={say('test.label', { name: nameText(edit.drawnName), span: sayCount('days', days) })}
          {...(hasLimits(kind) && !isReadOnly && { onLimit: (name, value) => edit.set({ [name]: value }) })}
        />
      ) : null}
      {hasLimits(kind) && !isReadOnly && data ? <p class="hint">{say('test.drag')}</p> : null}
      {spans.length > 0 || (test?.count ?? 0) > 0 ? <Fired test={test as BackTest} /> : null}
    </section>
  )
}

/** Returns how often and for how long the rule would have fired. */
function verdictOf({ count, total, longest, series, incomplete, said: why }: BackTest, days: number): string {
  const span = sayCount('days', days)
  const said =
    count === 0
      ? say('test.never', { span, values: sayCount('test.values', series) })
      : sayCount('test.fired', count, { span, total: spanText(total), longest: spanText(longest) })
  return incomplete === undefined ? said : `${said} ${say('test.incomplete', { why: saidText(why) ?? incomplete })}`
}

/** The alerts that there would have been, for those who do not see the chart, and of all values. */
function Fired({ test }: { readonly test: BackTest }) {
  const { devices } = useAlerts()
  return (
    <details class="matches">
      <summary>{sayCount('test.list', test.count)}</summary>
      <ol>
        {test.alerts.map(({ series, from, to, sentence, said }) => (
          <li key={`${series} ${from}`}>
            {momentText(from)}
            {to === undefined ? '' : ` · ${spanText(to - from)}`} ·{' '}
            <bdi>{sentenceText({ series, sentence, said }, devices)}</bdi>
          </li>
        ))}
      </ol>
    </details>
  )
}
