import { useEffect, useState } from 'preact/hooks'
import { hubNow } from '../api.js'
import { numberText, spanText } from '../home/format.js'
import { useModel } from './context.js'
import type { Drawn } from './line.js'
import type { ChartModel } from './model.js'
import { stateOf, textOf } from './subject.js'
import { say } from './words.js'

interface Figure {
  readonly name: string
  readonly text: string
}

/** A few figures for the whole span, of a chart with one series. */
export function Figures() {
  const model = useModel()
  const [figures, setFigures] = useState<readonly Figure[]>([])
  useEffect(() => {
    const look = () => {
      const found = figuresOf(model)
      setFigures(before => (JSON.stringify(before) === JSON.stringify(found) ? before : found))
    }
    look()
    return model.watchReadings(look)
  }, [])
  return (
    <dl id="stats">
      {figures.map(({ name, text }) => (
        <div key={name}>
          <dt>
            <bdi>{name}</bdi>
          </dt>
          <dd>{text}</dd>
        </div>
      ))}
    </dl>
  )
}

function figuresOf(model: ChartModel): readonly Figure[] {
  const { drawn, span } = model
  const [one] = drawn
  if (!one || drawn.length > 1) return []
  const { subject, course } = one
  const figures = course?.figures
  if (course && figures) {
    const text = (value: number, more = 0) => textOf(subject, value, course.decimals, more)
    return [
      { name: say('figure.min'), text: text(figures.low) },
      { name: say('figure.mean'), text: text(figures.mean, 1) },
      { name: say('figure.max'), text: text(figures.high) },
    ]
  }
  return stateFigures(one, span)
}

function stateFigures(
  { subject, states }: Drawn,
  span: { readonly from: number; readonly to: number },
): readonly Figure[] {
  const stretches = states?.within(span, hubNow()) ?? []
  if (stretches.length === 0) return []
  const changes = { name: say('figure.changes'), text: String(stretches.length - 1) }
  if (subject.type === 'text') {
    const different = new Set(stretches.map(({ value }) => value)).size
    return [changes, { name: say('figure.different'), text: String(different) }]
  }
  const lasted = (wanted: boolean) =>
    stretches.reduce((sum, { value, from, to }) => (wanted && value !== true ? sum : sum + to - from), 0)
  const [on, whole] = [lasted(true), lasted(false)]
  const share = whole > 0 ? `${spanText(on)} (${numberText((on / whole) * 100, 0)} %)` : '–'
  return [{ name: stateOf(subject, true).text, text: share }, changes]
}
