import { hubNow } from '../api.js'
import { momentText } from '../wording.js'
import type { ChartModel } from './model.js'
import { say } from './words.js'

/** Returns what there is to say in place of the drawing, or over it; empty: nothing. */
export function noteOf(model: ChartModel): string {
  const { missing, subjects, failure, phase, isLoading, points, span } = model
  if (missing.length > 0 && subjects.size === 0) return say('chart.no-series')
  if (failure !== '') return say('chart.failed', { why: failure })
  if (phase === 'connecting' && !isLoading) return say('chart.connecting')
  if (phase === 'behind' || phase === 'gap') return say('chart.behind')
  if (isLoading || points > 0) return ''
  const now = hubNow()
  return say('chart.nothing', { from: momentText(span.from, now), to: momentText(span.to, now) })
}
