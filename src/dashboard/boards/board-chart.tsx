import type { HistoryColumns } from '@telehub/client'
import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { hubNow } from '../api.js'
import type { HomeDevice } from '../home/catalogue.js'
import { shownOf } from '../home/format.js'
import { failureOf, hub } from '../hub.js'
import { linesOf } from './lines.js'
import { labelOf } from './series-label.js'
import { say } from './words.js'

const dayMs = 86_400_000
const leastMs = 600_000
const points = 240
const askEveryMs = 60_000
const size = { width: 600, height: 120 }

interface ChartProperties {
  readonly series: string
  readonly devices: readonly HomeDevice[]
  /** Whether there is a page with the whole chart. */
  readonly isLinked: boolean
}

/** The last day of one series, as a line that leads to the whole chart. */
export function BoardChart({ series, devices, isLinked }: ChartProperties) {
  const [past, setPast] = useState<HistoryColumns>()
  const [failure, setFailure] = useState('')
  useEffect(() => {
    let isOver = false
    const look = async () => {
      if (document.hidden) return
      try {
        const to = hubNow()
        const found = await hub.history(series, { from: to - dayMs, to, points })
        if (!isOver) setPast(found)
        setFailure('')
      } catch (error) {
        if (!isOver) setFailure(failureOf(error))
      }
    }
    void look()
    const timer = setInterval(() => void look(), askEveryMs)
    return () => {
      isOver = true
      clearInterval(timer)
    }
  }, [series])
  const { name, device, spec } = labelOf(series, devices)
  const to = hubNow()
  // A series that has begun just now is not pressed against the edge.
  const from = Math.max(to - dayMs, Math.min(past?.times[0] ?? to, to - leastMs))
  const drawn = past && linesOf(past, { ...size, from, to })
  const text = (value: number | boolean | string) =>
    [shownOf(value, spec).text, typeof value === 'number' ? (spec.unit ?? '') : ''].join(' ').trim()
  const title = device === undefined ? name : `${device} · ${name}`
  const said = drawn && { name: title, low: text(drawn.low), high: text(drawn.high), now: text(drawn.now) }
  return (
    <li class="board-chart">
      <Frame series={isLinked ? series : undefined} label={said ? say('chart-text', said) : title}>
        <span class="board-chart-head">
          <bdi>{title}</bdi>
          <strong>{said?.now ?? '–'}</strong>
        </span>
        {drawn ? (
          <svg viewBox={`0 0 ${size.width} ${size.height}`} preserveAspectRatio="none" aria-hidden="true">
            <path class="board-chart-area" d={drawn.area} />
            <path class="board-chart-line" d={drawn.line} />
          </svg>
        ) : (
          <span class="hint board-chart-none">{failure || (past ? say('no-data') : '…')}</span>
        )}
        {said ? (
          <span class="board-chart-foot">
            <span>↓ {said.low}</span>
            <span>↑ {said.high}</span>
          </span>
        ) : null}
      </Frame>
    </li>
  )
}

interface FrameProperties {
  readonly series: string | undefined
  readonly label: string
  readonly children: ComponentChildren
}

function Frame({ series, label, children }: FrameProperties) {
  if (series === undefined) {
    return (
      <div class="board-chart-frame" role="img" aria-label={label}>
        {children}
      </div>
    )
  }
  return (
    <a class="board-chart-frame" href={`#${new URLSearchParams({ series })}`} aria-label={label}>
      {children}
    </a>
  )
}
