import { useEffect, useState } from 'preact/hooks'
import { hubNow } from '../api.js'
import { sentenceText } from '../home/alert-words.js'
import { failureOf } from '../hub.js'
import { nameText } from '../wording.js'
import { AlertItem, sheetOf } from './alert-item.js'
import { Chart, limitsOf } from './chart.js'
import { useAlerts } from './context.js'
import type { Definition } from './definition.js'
import { beginningOf } from './history.js'
import { readingsOf } from './readings.js'
import { type AlertRow, fetchPast } from './requests.js'
import type { ChartData, Marks } from './rule-chart.js'
import { ruleText } from './rule-words.js'
import { ruleAddress } from './rules.js'
import { momentText, spanText } from './when.js'
import { say } from './words.js'

const least = 30 * 60_000

/** One alert: its course on a chart, what decided, its steps, and the rule as it was then. */
export function AlertPage({ alert }: { readonly alert: string }) {
  const model = useAlerts()
  const [row, setRow] = useState<AlertRow>()
  const [isAsked, setAsked] = useState(false)
  const { now, devices } = model
  useEffect(() => {
    let isOver = false
    const open = now?.alerts.find(one => one.alert === alert)
    if (open) setRow(open)
    else
      void fetchPast({}).then(
        ({ alerts }) => {
          if (isOver) return
          setRow(alerts.find(one => one.alert === alert))
          setAsked(true)
        },
        () => {},
      )
    return () => {
      isOver = true
    }
  }, [alert, now])
  if (!row) return <p class="alerts-none">{isAsked ? say('alert.gone') : say('loading')}</p>
  const subject = model.subjectOf(row)
  const { value } = subject ?? {}
  const one = subject && value ? { device: subject.device.name, value: value.name } : undefined
  return (
    <article class="alerts-detail">
      <h2 class={row.state === 'cleared' ? '' : 'unseen'}>
        <bdi>{beginningOf(row, devices)}</bdi>
      </h2>
      {row.state === 'cleared' ? (
        <p class="hint">
          {say('alert.lasted', {
            from: momentText(row.since),
            to: momentText(row.until ?? row.since),
            span: spanText((row.until ?? row.since) - row.since),
          })}
          {subject ? (
            <>
              {' · '}
              <a class="link" href={sheetOf(subject.device.id)}>
                <bdi>{nameText(subject.device.name)}</bdi>
              </a>
            </>
          ) : null}
        </p>
      ) : (
        <ul>
          <AlertItem row={row} />
        </ul>
      )}
      <Course row={row} unit={value?.unit ?? ''} />
      <h3>{say('alert.steps')}</h3>
      <ol class="alerts-steps">
        {row.transitions.map(({ sequence, state, at, sentence, said, by }) => (
          <li key={sequence}>
            <time dateTime={new Date(at).toISOString()}>{momentText(at)}</time> <strong>{say(`state.${state}`)}</strong>{' '}
            <bdi>
              {state === 'acknowledged'
                ? nameText(row.note ?? '')
                : sentenceText({ series: row.series, sentence, said }, devices)}
            </bdi>{' '}
            {by ? <span class="hint">{say('by', { user: nameText(by) })}</span> : null}
          </li>
        ))}
      </ol>
      <h3>{say('alert.rule')}</h3>
      <p class="alerts-rule-then">
        <bdi>{ruleText(row.definition as Definition, one, value?.unit)}</bdi>
      </p>
      <p class="hint">
        {model.rules === 'denied' ? (
          <bdi>{nameText(row.rule)}</bdi>
        ) : (
          <a class="link" href={ruleAddress(row.rule)}>
            <bdi>{nameText(row.rule)}</bdi>
          </a>
        )}
      </p>
    </article>
  )
}

/** The readings around an alert, with those that decided. */
function Course({ row, unit }: { readonly row: AlertRow; readonly unit: string }) {
  const [data, setData] = useState<ChartData>()
  const [failure, setFailure] = useState('')
  const { series, since, until, definition, points } = row
  const { devices } = useAlerts()
  const end = until ?? hubNow()
  const room = Math.max(least, (end - since) * 0.4)
  const [from, to] = [since - room, Math.min(hubNow(), end + room)]
  const rule = definition as Definition
  const isOfSeries = / /.test(series)
  useEffect(() => {
    if (!isOfSeries) return
    let isOver = false
    const { value = 0 } = row
    const type = typeof value === 'number' ? 'number' : typeof value === 'boolean' ? 'boolean' : 'text'
    void readingsOf({ series, type, from, to, minus: rule.minus }).then(
      read => !isOver && setData(read),
      (error: unknown) => !isOver && setFailure(failureOf(error)),
    )
    return () => {
      isOver = true
    }
  }, [row.alert, row.state])
  if (!isOfSeries) return null
  const marks: Marks = points.flatMap(([time, value]) =>
    typeof time === 'number' && typeof value === 'number' && rule.minus === undefined ? [[time, value] as const] : [],
  )
  const address = new URLSearchParams({ series, from: String(Math.floor(from)), to: String(Math.ceil(to)) })
  return (
    <>
      {failure ? <p class="alerts-trouble">{say('failed', { why: failure })}</p> : null}
      {data ? (
        <Chart
          data={data}
          limits={limitsOf(rule)}
          spans={[{ from: since, to: until }]}
          marks={marks}
          unit={unit}
          label={say('alert.chart', { sentence: beginningOf(row, devices) })}
        />
      ) : null}
      <p>
        <a class="link" href={`#${address}`}>
          {say('alert.open-chart')}
        </a>
      </p>
    </>
  )
}
