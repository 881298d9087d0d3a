import type { Watch } from './watch.js'
import { amount, span } from './wording.js'

/* The sentences of alerts. */

/** Returns the sentence of an alert that begins or fires. @param now Time up to which messages were taken */
export function sentenceOf(watch: Watch, now: number): string {
  const { rule, subject, condition } = watch
  const { label } = subject
  switch (rule.condition.kind) {
    case 'silent': {
      const usual = watch.rhythm?.usual
      const rhythm = usual === undefined ? '' : ` (usually every ${span(usual)})`
      return `${label} has been silent for ${span(now - watch.heard)}${rhythm}`
    }
    case 'offline':
      return `${label} has been offline for ${span(Math.max(now - watch.since, rule.condition.after))}`
    case 'hub':
      return watch.hubSentence
    default: {
      const lasted =
        rule.for > 0 && watch.state === 'firing' ? ` for ${span(Math.max(rule.for, watch.time - watch.since))}` : ''
      return `${label} ${condition.words(subject.unit)}${lasted}`
    }
  }
}

/** Returns the sentence of an alert that ends at a time. */
export function endOf(watch: Watch, at: number): string {
  const { subject, value, rule } = watch
  const after = `after ${span(Math.max(0, at - watch.since))}`
  switch (rule.condition.kind) {
    case 'silent':
      return `${subject.label} is heard of again ${after}`
    case 'offline':
      return `${subject.label} is online again ${after}`
    case 'hub':
      return `${subject.label}: over ${after}`
    default: {
      const shown = typeof value === 'number' ? amount(value, subject.unit) : JSON.stringify(value ?? '')
      return `${subject.label} is ${shown}: over ${after}`
    }
  }
}
