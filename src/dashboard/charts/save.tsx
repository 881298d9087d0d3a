import { useRef, useState } from 'preact/hooks'
import { hubNow } from '../api.js'
import { hub } from '../hub.js'
import { locale } from '../texts/language.js'
import { useModel } from './context.js'
import { fileName } from './csv.js'
import { csvOf, keep } from './download.js'
import type { Subject } from './subject.js'
import { say } from './words.js'

const counts = new Intl.NumberFormat(locale)

function titleOf({ device, name, unit }: Subject): string {
  return [device, name].filter(Boolean).join(' ') + (unit === '' ? '' : ` (${unit})`)
}

/** Saves the readings that are shown as CSV, as they are stored. */
export function Download() {
  const model = useModel()
  const [said, setSaid] = useState('')
  const [isBusy, setBusy] = useState(false)
  const abort = useRef<AbortController | undefined>(undefined)
  const save = async () => {
    const series = model.drawn.filter(({ isShown }) => isShown).map(({ subject }) => subject)
    const { from, to } = model.span
    abort.current = new AbortController()
    setBusy(true)
    setSaid('')
    let readings = 0
    try {
      const parts = await csvOf({
        series: series.map(subject => ({ key: subject.key, title: titleOf(subject) })),
        span: { from, to: Math.min(to, Math.ceil(hubNow()) + 1) },
        ask: (key, query) => hub.history(key, query),
        progress: (count, part) => {
          readings = count
          setSaid(say('csv.progress', { count: counts.format(count), percent: Math.floor(part * 100) }))
        },
        signal: abort.current.signal,
      })
      keep(parts, fileName(series[0] ? titleOf(series[0]) : '', from, to))
      setSaid(say('csv.done', { count: counts.format(readings) }))
    } catch (error) {
      setSaid(abort.current.signal.aborted ? '' : say('csv.failed', { why: (error as Error).message }))
    }
    setBusy(false)
  }
  return (
    <span class="chart-save">
      <button
        type="button"
        class="chart-tool"
        data-tool="csv"
        title={say('csv.title')}
        onClick={() => (isBusy ? abort.current?.abort() : void save())}
      >
        {say(isBusy ? 'csv.cancel' : 'csv.save')}
      </button>
      <span class="hint" role="status" data-role="csv-said">
        {said}
      </span>
    </span>
  )
}
