import { useState } from 'preact/hooks'
import { Icon } from '../home/icons.js'
import { AddSeries } from './add-series.js'
import { type Comparison, comparisons, mostSeries, ranges } from './address.js'
import { useModel } from './context.js'
import { Dates } from './date-form.js'
import type { ChartKey } from './en.js'
import { Download } from './save.js'
import type { Step } from './span.js'
import { say } from './words.js'

const steps: readonly (readonly [step: Step, drawing: string])[] = [
  ['earlier', 'm12 4-6 6 6 6'],
  ['out', 'M4 10h12'],
  ['in', 'M4 10h12M10 4v12'],
  ['later', 'm8 4 6 6-6 6'],
]

/** The tools of a chart: range, dates, comparison, more series, and a file. */
export function Tools() {
  const model = useModel()
  const { selection, isLive } = model
  const [open, setOpen] = useState<'dates' | 'add' | undefined>(undefined)
  if (!selection) return null
  const toggle = (what: 'dates' | 'add') => setOpen(open === what ? undefined : what)
  return (
    <div class="detail-tools">
      <fieldset id="ranges" class="segments" aria-label={say('range.title')}>
        {[...ranges.keys()].map(range => (
          <button
            type="button"
            key={range}
            data-range={range}
            aria-pressed={isLive && selection.range === range}
            onClick={() => model.change({ range, span: undefined })}
          >
            {say(`range.${range}` as ChartKey)}
          </button>
        ))}
      </fieldset>
      <fieldset id="steps" class="segments" aria-label={say('steps.title')}>
        {steps.map(([step, drawing]) => (
          <button
            type="button"
            key={step}
            data-step={step}
            aria-label={say(`steps.${step}`)}
            title={say(step === 'in' ? 'steps.in-drag' : `steps.${step}`)}
            disabled={step === 'later' && isLive}
            onClick={() => model.step(step)}
          >
            <svg viewBox="0 0 20 20" width="16" height="16" aria-hidden="true">
              <path d={drawing} />
            </svg>
          </button>
        ))}
      </fieldset>
      {isLive ? null : (
        <button type="button" id="golive" class="chart-tool" onClick={() => model.goLive()}>
          {say('steps.live')}
        </button>
      )}
      <button
        type="button"
        class="chart-tool"
        data-tool="dates"
        aria-expanded={open === 'dates'}
        onClick={() => toggle('dates')}
      >
        {say('dates.open')}
      </button>
      <label class="chart-compare">
        <span class="unseen">{say('compare.title')}</span>
        <select
          value={selection.compare ?? ''}
          onChange={event => {
            const wanted = event.currentTarget.value
            model.change({ compare: wanted === '' ? undefined : (wanted as Comparison) })
          }}
        >
          <option value="">{say('compare.none')}</option>
          {(Object.keys(comparisons) as Comparison[]).map(name => (
            <option key={name} value={name}>
              {say(`compare.${name}`)}
            </option>
          ))}
        </select>
      </label>
      <button
        type="button"
        class="chart-tool"
        data-tool="add"
        aria-expanded={open === 'add'}
        disabled={selection.keys.length >= mostSeries}
        title={selection.keys.length >= mostSeries ? say('add.full', { count: mostSeries }) : undefined}
        onClick={() => toggle('add')}
      >
        <Icon name="found" size={16} />
        {say('add.open')}
      </button>
      <Download />
      <a
        class="chart-tool"
        data-tool="alert"
        href={`#alerts&${new URLSearchParams({ new: '', series: selection.keys[0] ?? '' })}`}
      >
        <Icon name="bell" size={16} />
        {say('alert.new')}
      </a>
      {open === 'dates' ? <Dates onDone={() => setOpen(undefined)} /> : null}
      {open === 'add' ? <AddSeries onDone={() => setOpen(undefined)} /> : null}
    </div>
  )
}
