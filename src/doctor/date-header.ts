import { type Finding, fine, warning } from './finding.js'

/** Tolerated difference: a Date header has whole seconds, and an answer takes a moment. */
const toleratedMs = 3_000

/** Compares this clock with that of a server, by the Date header of an answer. No finding without that header. */
export function clockDifference(check: string, date: string | null, now: number): Finding[] {
  const theirs = date === null ? Number.NaN : Date.parse(date)
  if (Number.isNaN(theirs)) return []
  const apart = Math.round((now - theirs) / 1_000)
  if (Math.abs(now - theirs) <= toleratedMs) return [fine(check, 'shows the same time as this machine')]
  return [
    warning(
      check,
      `this machine is ${Math.abs(apart)} s ${apart > 0 ? 'ahead of' : 'behind'} it`,
      'Let both clocks be kept by NTP: the times of readings and the time ranges of queries differ by so much.',
    ),
  ]
}
