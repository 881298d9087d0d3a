import type { HistoryColumns } from '@telehub/client'
import type { Value } from '../api.js'
import type { Span } from './span.js'

/** A stretch of time in which a state held. */
export interface Stretch extends Span {
  readonly value: Value
}

const most = 2_000

/** The states of one series over time: booleans or texts, each of which holds until the next reading. */
export class States {
  /** Beginning of each state; a repeated value is no new state. */
  #changes: { readonly time: number; readonly value: Value }[] = []
  /** Time of the newest reading. */
  #newest = 0
  count = 0

  /** Replaces all by history. `shift`: time by which all is moved to the right. */
  set({ times, values }: HistoryColumns, shift = 0): void {
    this.#changes = []
    this.#newest = 0
    this.count = 0
    for (const [i, time] of times.entries()) this.push(time + shift, values[i] as Value)
  }

  /** Takes the state that held when the history began. */
  begin(time: number, value: Value): void {
    const first = this.#changes[0]
    if (first && time >= first.time) return
    if (first && first.value === value) this.#changes[0] = { time, value }
    else this.#changes.unshift({ time, value })
    this.#newest = Math.max(this.#newest, time)
  }

  /** Adds a live reading. Returns whether it is newer than all. */
  push(time: number, value: Value): boolean {
    if (time <= this.#newest && this.#changes.length > 0) return false
    this.#newest = time
    this.count++
    if (this.#changes.at(-1)?.value !== value) this.#changes.push({ time, value })
    if (this.#changes.length > most) this.#changes = this.#changes.slice(-most)
    return true
  }

  /** Returns the states within a span, the last of which holds until `now`. */
  within({ from, to }: Span, now: number): readonly Stretch[] {
    const end = Math.min(to, now)
    return this.#changes.flatMap(({ time, value }, i) => {
      const begin = Math.max(from, time)
      const until = Math.min(end, this.#changes[i + 1]?.time ?? end)
      return until > begin || (time === begin && until === begin) ? [{ value, from: begin, to: until }] : []
    })
  }
}

/** A state as it is drawn: one that is too narrow to be seen is drawn with those beside, as many. */
export interface Bar extends Span {
  /** Undefined: several states, which change too quickly to be told apart. */
  readonly value: Value | undefined
  readonly changes: number
}

/** Joins the states that are narrower than `least` with their neighbours that are, too. */
export function barsOf(stretches: readonly Stretch[], least: number): readonly Bar[] {
  const bars: { from: number; to: number; value: Value | undefined; changes: number }[] = []
  for (const { from, to, value } of stretches) {
    const last = bars.at(-1)
    const isNarrow = to - from < least
    if (last && isNarrow && last.to - last.from < least) {
      last.to = to
      last.changes++
      if (last.value !== value) last.value = undefined
    } else bars.push({ from, to, value, changes: 1 })
  }
  return bars
}
