import type { MillisecondClock } from '../runtime/time.js'
import type { Escalation } from './outbox-state.js'

/**
 * Knows when the next step of each escalation is due. Counted by a clock that never jumps; the wall clock only tells how
 * much of the time had passed when the hub started.
 */
export class DueTimes {
  readonly #clock: MillisecondClock
  readonly #monotonic: MillisecondClock
  /** Monotonic time by key, with the step that the time is for. */
  readonly #due = new Map<string, { readonly after: number; readonly at: number }>()

  constructor(clock: MillisecondClock, monotonic: MillisecondClock) {
    this.#clock = clock
    this.#monotonic = monotonic
  }

  /** Returns the keys of escalations that are due, not all of them when there are many. */
  next(escalations: ReadonlyMap<string, Escalation>): readonly string[] {
    const now = this.#monotonic.now()
    const found: string[] = []
    for (const key of this.#due.keys()) if (!escalations.has(key)) this.#due.delete(key)
    for (const [key, { since, steps }] of escalations) {
      const after = steps[0]?.after ?? 0
      let due = this.#due.get(key)
      if (due?.after !== after) {
        const passed = Math.min(after, Math.max(0, this.#clock.now() - since))
        // The first step of an alert that was just taken, or what was left of a step when the hub started.
        const before = due ? due.after : passed
        due = { after, at: (due?.at ?? now) + after - before }
        this.#due.set(key, due)
      }
      if (due.at <= now) found.push(key)
      if (found.length >= mostAtOnce) break
    }
    return found
  }
}

const mostAtOnce = 200
