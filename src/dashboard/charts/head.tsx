import { useEffect, useRef } from 'preact/hooks'
import { hubNow } from '../api.js'
import type { HomeValue } from '../home/catalogue.js'
import { ageText } from '../home/format.js'
import { setData, write } from '../home/painted.js'
import { fateOf, lengthOf } from '../home/reading.js'
import { nameText } from '../wording.js'
import { useModel } from './context.js'
import { textOf } from './subject.js'
import { say } from './words.js'

/** Name and newest value of the first series. */
export function Head({ onClose }: { readonly onClose: () => void }) {
  const model = useModel()
  const { first, selection, missing, subjects } = model
  const isMissing = missing.length > 0 && subjects.size === 0
  const name = first?.name ?? say(isMissing ? 'chart.not-found' : 'chart.loading')
  const where = first ? first.device : nameText(selection?.keys[0] ?? '')
  return (
    <div class="detail-head">
      <div class="detail-title">
        <h2 id="detail-name" tabIndex={-1}>
          <bdi>{name}</bdi>
        </h2>
        <p id="detail-where" title={selection?.keys[0]}>
          <bdi>{where}</bdi>
        </p>
      </div>
      <Newest />
      <button
        type="button"
        id="close"
        class="icon"
        aria-label={say('chart.close')}
        title={say('chart.close')}
        onClick={onClose}
      >
        <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
          <path d="m5 5 10 10M15 5 5 15" />
        </svg>
      </button>
    </div>
  )
}

/** Times of its usual interval after which a series has fallen silent, and the shortest such time. */
const silentAfter = 3
const leastSilence = 10_000

/** The newest value with its age, written by hand: it may change often. */
function Newest() {
  const model = useModel()
  const host = useRef<HTMLParagraphElement>(null)
  const { first } = model
  useEffect(() => {
    const paint = () => {
      const now = first && model.newest(first.key)
      const [value, unit, age] = (host.current?.children ?? []) as unknown as [HTMLElement, HTMLElement, HTMLElement]
      if (!value) return
      const course = first && model.drawn.find(({ subject }) => subject === first)?.course
      const text = first && now ? textOf(first, now.value, course?.decimals ?? 0) : ''
      const unitText = first && now && first.type === 'number' ? first.unit : ''
      write(value, text)
      write(unit, unitText)
      setData(value, 'length', lengthOf(text.length + unitText.length * 0.5))
      const [, why] = now ? fateOf({ fate: 'kept' } as HomeValue, now) : ['', '']
      write(age, now ? [ageText(hubNow() - now.time), why].filter(Boolean).join(' · ') : '')
      const limit = course ? Math.max(leastSilence, course.usual * silentAfter) : Number.POSITIVE_INFINITY
      const root = host.current?.closest<HTMLElement>('#detail')
      if (root) setData(root, 'stale', String(now !== undefined && hubNow() - now.time > limit))
    }
    paint()
    return model.watchReadings(paint)
  }, [first])
  return (
    <p class="detail-now" ref={host} data-several={model.subjects.size > 1}>
      <bdi id="detail-value" />
      <bdi id="detail-unit" />
      <span id="detail-age" />
    </p>
  )
}
