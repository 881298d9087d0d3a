import { useEffect, useRef, useState } from 'preact/hooks'
import { hubNow } from '../api.js'
import { useModel } from './context.js'
import { calendarSpan, inputText, type Quick, quicks } from './dates.js'
import { say } from './words.js'

/** The dates of a chart: from and to, and spans that people often want. */
export function Dates({ onDone }: { readonly onDone: () => void }) {
  const model = useModel()
  const { span } = model
  const [from, setFrom] = useState(inputText(span.from))
  const [to, setTo] = useState(inputText(span.to))
  const [isWrong, setWrong] = useState(false)
  const first = useRef<HTMLInputElement>(null)
  useEffect(() => first.current?.focus(), [])
  const show = (begin: number, end: number) => {
    if (!(end > begin)) return setWrong(true)
    model.change({ span: { from: begin, to: end } })
    onDone()
  }
  const submit = (event: Event) => {
    event.preventDefault()
    show(new Date(from).getTime(), new Date(to).getTime())
  }
  const quick = (name: Quick) => {
    const { from: begin, to: end } = calendarSpan(name, hubNow())
    show(begin, end)
  }
  const most = inputText(hubNow())
  return (
    <form
      class="chart-form"
      onSubmit={submit}
      onKeyDown={event => {
        if (event.key !== 'Escape') return
        event.stopPropagation()
        onDone()
      }}
    >
      <label>
        {say('dates.from')}
        <input
          ref={first}
          type="datetime-local"
          step="1"
          required
          max={most}
          value={from}
          onInput={event => setFrom(event.currentTarget.value)}
        />
      </label>
      <label>
        {say('dates.to')}
        <input type="datetime-local" step="1" required value={to} onInput={event => setTo(event.currentTarget.value)} />
      </label>
      <button type="submit" class="chart-tool" data-tool="show">
        {say('dates.show')}
      </button>
      <span class="chart-quick">
        {quicks.map(name => (
          <button type="button" class="chart-tool" key={name} data-quick={name} onClick={() => quick(name)}>
            {say(`dates.${name}`)}
          </button>
        ))}
      </span>
      {isWrong ? (
        <p class="chart-trouble" role="alert">
          {say('dates.wrong')}
        </p>
      ) : null}
    </form>
  )
}
