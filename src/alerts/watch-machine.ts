import { hash } from 'node:crypto'
import type { FieldValue, Said } from '../model.js'
import type { Slices } from '../runtime/slices.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { WeekTime } from '../runtime/week-time.js'
import type { DecidingPoint } from './condition.js'
import { FiringWatches } from './firing-watches.js'
import { type EndReason, endOf, sentenceOf } from './sentences.js'
import { Timers } from './timers.js'
import type { Watch } from './watch.js'

/** A change of an alert that the evaluator has decided. Times in microseconds. */
export interface AlertDecision {
  readonly watch: Watch
  readonly alert: string
  readonly state: 'pending' | 'firing' | 'cleared'
  /** When it was so. */
  readonly at: number
  /** Whether it was over when the hub learned of it. */
  readonly past: boolean
  readonly sentence: string
  readonly said: Said
  readonly value: FieldValue | undefined
  readonly points: readonly DecidingPoint[]
  /** Sequence number of the message that decided, or of the last message before a timer did. */
  readonly position: number
}

/** Gets each decision, in order. */
export interface DecisionSink {
  decided(decision: AlertDecision): void
}

export interface WatchMachineOptions {
  /** The clock of the hub. */
  readonly clock: MicrosecondClock
  readonly week: WeekTime
  readonly sink: DecisionSink
}

/** Comparison of two series, as the newest reading of a message leaves it. */
interface Undecided {
  readonly holds: boolean
  /** Time of the reading. */
  readonly time: number
  readonly at: number
  /** Reading before the message. */
  readonly before: DecidingPoint | undefined
}

/** Age from which on a reading is of the past: a device, or the hub, catches up after an outage. */
const oldAge = 60e6
/** Time without newer readings after which old ones are what is true now. */
const settleTime = 10e6
/** Time between two looks at an alert that is held back. */
const blockedEvery = 10e6
/** Span within which alerts of a watch are kept apart by their `since`. */
const apart = 1e6

/**
 * Makes decisions: a watch goes from idle to pending to firing and back, by readings in the order of their own time, and
 * by timers where there are none. Timers run on `now`, which is the time up to which messages were taken, so that a hub
 * with a backlog does not take that for silence.
 *
 * An alert that begins in old readings is not told at once. If it ends in old readings too, it is told as past. If no
 * newer readings come, or a new one confirms it, it is true now.
 */
export class WatchMachine {
  readonly timers = new Timers<Watch>()
  readonly firing = new FiringWatches()
  /** Comparisons of two series of which the message that is being taken has a reading. */
  readonly #undecided = new Map<Watch, Undecided>()
  /** Time up to which messages were taken. */
  now = 0
  /** Sequence number of the message that is being taken, or was taken last. */
  position = 0
  /** Readings that came after a newer one. */
  late = 0
  readonly #options: WatchMachineOptions

  constructor(options: WatchMachineOptions) {
    this.#options = options
  }

  /** Takes a reading of the watched series. */
  take(watch: Watch, time: number, value: FieldValue, isHubTime: boolean): void {
    if (this.position <= watch.takenTo) return
    if (time <= watch.time && (time === watch.time || watch.time <= this.#options.clock.now())) {
      this.late++
      return
    }
    const isIdle = watch.state === 'idle'
    const timeBefore = watch.time
    const valueBefore = watch.value
    watch.time = time
    watch.value = value
    watch.isHubTime = isHubTime
    watch.heard = this.now
    const holds = watch.condition.take(time, value, !isIdle)
    if (watch.otherKey !== undefined) {
      this.#defer(watch, holds, time, valueBefore === undefined ? undefined : [timeBefore, valueBefore])
      return
    }
    if (holds === undefined || (!holds && isIdle)) return
    if (isIdle && valueBefore !== undefined) watch.keepPoint(timeBefore, valueBefore)
    this.step(watch, holds, time)
  }

  /** Takes a reading of the series that the watched one is compared with. */
  takeOther(watch: Watch, time: number, value: FieldValue): void {
    if (this.position <= watch.takenTo) return
    const holds = watch.condition.takeOther?.(time, value, watch.state !== 'idle')
    this.#defer(watch, holds, time, undefined)
  }

  /** Whether a comparison waits for {@link decide}. */
  get isUndecided(): boolean {
    return this.#undecided.size > 0
  }

  /**
   * Decides the comparisons whose readings were taken, but for those of readings of this time. Called once all readings
   * of a message that have one time are taken: between the new value of one series and the old one of the other nothing
   * is compared.
   */
  decide(time?: number): void {
    for (const [watch, { holds, at, before, time: taken }] of this.#undecided) {
      if (taken === time) continue
      this.#undecided.delete(watch)
      if (!holds && watch.state === 'idle') continue
      if (watch.state === 'idle' && before) watch.keepPoint(...before)
      watch.heard = this.now
      this.step(watch, holds, at)
    }
  }

  #defer(watch: Watch, holds: boolean | undefined, time: number, before: DecidingPoint | undefined): void {
    if (holds === undefined) return
    const known = this.#undecided.get(watch)
    this.#undecided.set(watch, { holds, time, at: Math.max(time, watch.time), before: known?.before ?? before })
  }

  /** Notes that a series or a device, whose silence is watched, was heard of at `now`. */
  heard(watch: Watch, time: number, value: FieldValue | undefined): void {
    if (this.position <= watch.takenTo) return
    if (watch.rhythm && watch.heard > Number.NEGATIVE_INFINITY && watch.state === 'idle')
      watch.rhythm.take(this.now - watch.heard)
    watch.heard = Math.max(watch.heard, this.now)
    watch.time = time
    watch.value = value
    if (watch.state !== 'idle') this.clear(watch, this.now)
    const { silentAfter } = watch
    if (silentAfter !== undefined) this.timers.set(watch, watch.heard + silentAfter)
  }

  /** Goes on with a watch whose condition holds, or does not, at a time. */
  step(watch: Watch, holds: boolean, at: number): void {
    const { rule } = watch
    if (!holds) {
      if (watch.state === 'idle') return
      const isDue = watch.state === 'pending' && !watch.isBlocked && rule.for > 0
      // It held long enough, as the timer would have found between the two readings.
      if (isDue && at - watch.since >= rule.for + rule.late) this.#fire(watch, watch.since + rule.for)
      this.clear(watch, at)
      return
    }
    if (watch.value !== undefined) watch.keepPoint(watch.time, watch.value)
    const isOld = this.#options.clock.now() - Math.max(at, watch.time) > oldAge
    const isConfirmed = watch.isOld && !isOld
    watch.isOld = isOld
    if (watch.state === 'idle') this.begin(watch, at)
    else if (watch.state === 'pending' && at - watch.since >= rule.for) this.#fire(watch, watch.since + rule.for)
    else if (isConfirmed) this.#tell(watch)
  }

  /** Begins an alert, which fires at once unless the condition must hold for some time. */
  begin(watch: Watch, since: number): void {
    watch.state = 'pending'
    watch.told = 'idle'
    // The compared series may change again while the watched one has the same reading; the id is made of `since`.
    const early = watch.lastSince - since
    watch.since = early >= 0 && early < apart ? watch.lastSince + 1 : since
    watch.lastSince = watch.since
    // In hexadecimal: commands take an id that begins with a dash for a flag.
    watch.alert = hash('sha256', `${watch.key}\0${watch.since}`, 'hex').slice(0, 20)
    const wait = this.#waitOf(watch)
    if (wait === 0) {
      this.#fire(watch, watch.since)
      return
    }
    this.#tell(watch)
    this.timers.set(watch, Math.max(this.#readyAt(watch), this.now + 1))
  }

  /** Ends an alert, and tells of it as far as it was told or has fired. */
  clear(watch: Watch, at: number, why?: EndReason): void {
    const { state, told } = watch
    if (state === 'idle') return
    const isPast = state === 'firing' && told !== 'firing'
    if (isPast) this.#emit(watch, 'firing', watch.since + this.#waitOf(watch), true)
    if (isPast || told !== 'idle')
      this.#emit(watch, 'cleared', Math.max(at, watch.since), isPast, endOf(watch, at, why))
    this.firing.delete(watch)
    watch.state = 'idle'
    watch.told = 'idle'
    watch.alert = ''
    watch.isBlocked = false
    watch.isOld = false
    watch.points = []
  }

  /**
   * Wakes watches that are due by `now`, all of them unless a slice is over before. Parents come before those that wait
   * for them. Returns whether none is left.
   */
  advance(now: number, slices?: Slices): boolean {
    this.now = Math.max(this.now, now)
    for (let watch = this.timers.next(this.now); watch; watch = this.timers.next(this.now)) {
      if (watch.isCurrent) this.#wake(watch)
      if (slices?.isOver) return this.timers.earliest > this.now
    }
    return true
  }

  /** Moves all durations that are running, as the clock has jumped: a jump is no time that has passed. */
  shift(by: number, watches: Iterable<Watch>): void {
    this.now += by
    this.timers.shift(by)
    for (const watch of watches) {
      const isByHub =
        watch.isHubTime || watch.rule.condition.kind === 'silent' || watch.rule.condition.kind === 'offline'
      watch.heard += by
      if (!isByHub) continue
      watch.time += by
      if (watch.state !== 'idle') watch.since += by
    }
  }

  /** Passes over a time in which the hub could hear of nothing: it is no silence. */
  skip(by: number, watches: Iterable<Watch>): void {
    this.now += by
    this.timers.shift(by)
    for (const watch of watches) {
      watch.heard += by
      // Newer readings may come now.
      if (watch.state === 'pending') watch.isOld = true
    }
  }

  /** Puts a restored watch into the lists that its state belongs to, and sets its timer. */
  restored(watch: Watch): void {
    const { silentAfter } = watch
    if (watch.state === 'firing') this.firing.add(watch)
    if (watch.state === 'pending') this.timers.set(watch, Math.max(this.#readyAt(watch), this.now + 1))
    else if (watch.state !== watch.told) this.timers.set(watch, this.now + settleTime)
    else if (watch.state === 'idle' && silentAfter !== undefined && Number.isFinite(watch.heard))
      this.timers.set(watch, watch.heard + silentAfter)
  }

  /** Returns how long the condition must hold. */
  #waitOf({ rule }: Watch): number {
    return rule.condition.kind === 'offline' ? rule.condition.after : rule.for
  }

  #readyAt(watch: Watch): number {
    const isTimed = watch.rule.condition.kind === 'offline' || watch.rule.condition.kind === 'silent'
    const ready = watch.since + this.#waitOf(watch) + (isTimed ? 0 : watch.rule.late)
    return watch.isOld ? Math.max(ready, watch.heard + settleTime) : ready
  }

  #wake(watch: Watch): void {
    if (watch.state === 'idle') {
      this.#wakeIdle(watch)
      return
    }
    if (watch.state === 'pending') {
      const ready = this.#readyAt(watch)
      if (this.now < ready) {
        this.timers.set(watch, ready)
        return
      }
      if (watch.isBlocked && watch.rule.condition.kind === 'silent' && this.#isOpen(watch)) {
        // What was held back by a gateway is given its own time to be heard of again.
        this.clear(watch, this.now)
        watch.heard = this.now
        this.timers.set(watch, this.now + (watch.silentAfter ?? oldAge))
        return
      }
      this.#fire(watch, watch.since + this.#waitOf(watch))
      if (watch.isBlocked) return
    }
    if (watch.state !== watch.told) this.#tell(watch)
  }

  #wakeIdle(watch: Watch): void {
    const { silentAfter } = watch
    if (silentAfter !== undefined) {
      const due = watch.heard + silentAfter
      if (this.now < due) {
        this.timers.set(watch, due)
        return
      }
      if (watch.value !== undefined && Number.isFinite(watch.time)) watch.points = [[watch.time, watch.value]]
      this.begin(watch, due)
    } else if (watch.rule.condition.kind === 'offline' && watch.value === undefined) this.begin(watch, this.now)
  }

  #fire(watch: Watch, at: number): void {
    if (!this.#isOpen(watch)) {
      watch.isBlocked = true
      this.timers.set(watch, this.now + blockedEvery)
      return
    }
    watch.isBlocked = false
    watch.state = 'firing'
    this.firing.add(watch)
    this.#tell(watch, at)
  }

  /** Whether neither the schedule nor another alert holds this one back. */
  #isOpen({ rule, subject, isOld, time }: Watch): boolean {
    if (rule.when && !this.#options.week.isWithin(rule.when, isOld ? time : this.now)) return false
    return rule.unless.every(other => !this.firing.holdBack(other, subject))
  }

  /** Tells of the state, unless it may be over already. */
  #tell(watch: Watch, at = watch.state === 'firing' ? watch.since + this.#waitOf(watch) : watch.since): void {
    const { state } = watch
    if (state === 'idle' || watch.told === state) return
    const isBehind = this.#options.clock.now() - this.now > oldAge
    if (isBehind || (watch.isOld && this.now < watch.heard + settleTime)) {
      this.timers.set(watch, this.now + settleTime)
      return
    }
    watch.told = state
    this.#emit(watch, state, at, false)
  }

  #emit(
    watch: Watch,
    state: AlertDecision['state'],
    at: number,
    past: boolean,
    sentence = sentenceOf(watch, this.now),
  ): void {
    const { alert, value } = watch
    const points = [...(watch.condition.evidence ?? []), ...watch.points]
    this.#options.sink.decided({
      ...{ watch, alert, state, at, past, value, position: this.position },
      ...{ sentence: sentence.text, said: sentence.said },
      points: state === 'firing' ? points : [],
    })
  }
}
