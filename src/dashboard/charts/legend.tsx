import { useEffect, useRef } from 'preact/hooks'
import { Icon } from '../home/icons.js'
import type { Live } from '../home/live.js'
import { write } from '../home/painted.js'
import { useModel } from './context.js'
import { colourOf, type Drawn, dashOf, type Side, sidesOf } from './line.js'
import { quantityText } from './subject.js'
import { say } from './words.js'

/** The series of a chart, each with its newest value, to be drawn or not, and to be taken away. */
export function Legend({ live }: { readonly live: Live }) {
  const model = useModel()
  const { drawn, selection } = model
  if (!selection || drawn.length < 2) return <Compared />
  const sides = sidesOf(drawn)
  return (
    <>
      <ul class="legend" aria-label={say('legend.title')}>
        {drawn.map(one => (
          <Entry key={one.subject.key} drawn={one} side={sides.get(one.subject.key)} live={live} />
        ))}
      </ul>
      <Compared />
      <NoAxis drawn={drawn} />
    </>
  )
}

function Compared() {
  const { selection } = useModel()
  return selection?.compare ? <p class="hint chart-compared">{say(`compare.legend.${selection.compare}`)}</p> : null
}

/** Says which series are not drawn as their units have no axis. */
function NoAxis({ drawn }: { readonly drawn: readonly Drawn[] }) {
  const sides = sidesOf(drawn)
  const left = drawn.filter(({ subject, isShown }) => isShown && sides.get(subject.key) === 'none')
  if (left.length === 0) return null
  const names = left.map(({ subject: { name, unit } }) => (unit === '' ? name : `${name} (${unit})`)).join(', ')
  return (
    <p class="chart-trouble" role="status">
      <bdi>{say('chart.no-axis', { names })}</bdi>
    </p>
  )
}

interface EntryProperties {
  readonly drawn: Drawn
  readonly side: Side | undefined
  readonly live: Live
}

function Entry({ drawn: { subject, place, isShown, course }, side }: EntryProperties) {
  const model = useModel()
  const { selection } = model
  const value = useRef<HTMLElement>(null)
  useEffect(() => {
    const paint = () => {
      const now = model.newest(subject.key)?.value ?? course?.values.findLast(one => one !== null) ?? undefined
      if (value.current) write(value.current, now === undefined ? '' : quantityText(subject, now, course?.decimals))
    }
    paint()
    return model.watchReadings(paint)
  }, [subject, course])
  if (!selection) return null
  const { keys, off } = selection
  const { name, device, key } = subject
  const toggle = () => model.change({ off: isShown ? [...off, key] : off.filter(one => one !== key) })
  const remove = () => {
    const others = keys.filter(one => one !== key)
    model.change({ keys: others, off: off.filter(one => others.includes(one)) })
  }
  const full = device === '' ? name : `${name}, ${device}`
  return (
    <li class="legend-entry" data-shown={isShown}>
      <button
        type="button"
        class="legend-toggle"
        aria-pressed={isShown}
        title={say('legend.toggle', { name: full })}
        onClick={toggle}
      >
        <svg class="swatch" viewBox="0 0 22 8" aria-hidden="true">
          <path d="M1 4h20" stroke-dasharray={dashOf(place).join(' ')} style={{ stroke: `var(${colourOf(place)})` }} />
        </svg>
        <span class="legend-text">
          <bdi class="legend-name">{name}</bdi> <bdi class="legend-device">{device}</bdi>
        </span>
      </button>
      <bdi class="legend-value" ref={value} />
      {side === 'right' ? <span class="legend-side">{say('legend.right')}</span> : null}
      <button type="button" class="legend-remove" aria-label={say('legend.remove', { name: full })} onClick={remove}>
        <Icon name="close" size={14} />
      </button>
    </li>
  )
}
