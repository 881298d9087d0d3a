import type { FieldValue, SeriesId, Tags } from '../model.js'
import type { AlertCondition, DecidingPoint } from './condition.js'
import type { AlertRule } from './rule.js'
import type { Timed } from './timers.js'
import { Rhythm } from './usual.js'

/** The series, device or condition of the hub that an alert is about. */
export interface AlertSubject {
  /** Key of the series; id of the device; empty for the hub. */
  readonly series: string
  /** Name for people: `Freezer temperature`. */
  readonly label: string
  readonly device: string | undefined
  /** Names by which a gateway and its sensors are recognised as belonging together. */
  readonly devices: readonly string[]
  readonly tags: Tags
  readonly unit: string | undefined
}

/** What a watch has found: `idle`, or an alert that is to be told. */
export type WatchState = 'idle' | 'pending' | 'firing'

const none: readonly never[] = []

/** Most points that an alert keeps: the first ones and the last. */
const maxPoints = 32
const firstPoints = 16

/** State of a watch in the snapshot, as JSON. Times in microseconds. */
export interface SavedWatch {
  /** Missing: idle. */
  readonly state?: WatchState
  readonly told?: WatchState
  readonly alert?: string
  readonly since?: number
  /** Time of the newest reading; missing: none. */
  readonly time?: number | null
  readonly value?: FieldValue | null
  /** When the series or device was last heard of, by the hub's clock; missing: never. */
  readonly heard?: number | null
  readonly position: number
  readonly points?: readonly DecidingPoint[]
  /** Since when the newest alert holds, or held. */
  readonly lastSince?: number
  readonly condition?: unknown
  readonly rhythm?: readonly number[]
}

/**
 * One rule for one series: the newest reading, whether the condition holds and since when, and how much of that has been
 * told. The decisions are made by the evaluator.
 */
export class Watch implements Timed {
  readonly rule: AlertRule
  readonly subject: AlertSubject
  readonly condition: AlertCondition
  state: WatchState = 'idle'
  /** How much of the state is in the journal: an alert in old readings is not told before it is known whether it lasts. */
  told: WatchState = 'idle'
  /** Id of the alert, while there is one. */
  alert = ''
  /** Since when the condition holds. */
  since = 0
  /** `since` of the newest alert, also when that is over: no two alerts have the same. */
  lastSince = Number.NEGATIVE_INFINITY
  /** Time of the newest reading: earlier ones are late, and change nothing. */
  time = Number.NEGATIVE_INFINITY
  #number = Number.NaN
  #text: string | boolean | undefined
  #isNumber = false
  /** Whether the newest reading has the time of the hub's clock, as the device sent none. */
  isHubTime = false
  /** When it was last heard of, by the hub's clock. */
  heard = Number.NEGATIVE_INFINITY
  /** Messages up to this sequence number were taken before the start, and come again after a crash. */
  takenTo = 0
  /** Whether the alert is held back, by the schedule or another alert. */
  isBlocked = false
  /** Whether the readings for which the condition holds were of the past when they came. */
  isOld = false
  /** Condition of the hub, as it was found last. */
  hub: { readonly name: string; readonly sentence: string } = { name: '', sentence: '' }
  /** Readings that decide, once the condition holds. */
  points: readonly DecidingPoint[] = none
  /** For learned silence. */
  readonly rhythm: Rhythm | undefined
  due = Number.POSITIVE_INFINITY
  timer = Number.POSITIVE_INFINITY
  /** The series, unless the alert is about a device or the hub. */
  seriesId: SeriesId | undefined
  /** Key of the series that this one is compared with. */
  otherKey: string | undefined
  /** False once the rule or the series is gone. */
  isCurrent = true
  /** Whether the alert is about silence, of a series or a device. */
  readonly isSilent: boolean
  #savedNames: string | undefined

  constructor(rule: AlertRule, subject: AlertSubject, condition: AlertCondition) {
    this.rule = rule
    this.subject = subject
    this.condition = condition
    this.isSilent = rule.condition.kind === 'silent'
    if (rule.condition.kind === 'silent' && rule.condition.after === undefined) this.rhythm = new Rhythm()
  }

  /** Value of the newest reading. A number is kept in its own place, so that a new one makes no new object. */
  get value(): FieldValue | undefined {
    return this.#isNumber ? this.#number : this.#text
  }

  set value(value: FieldValue | undefined) {
    if (typeof value === 'number') {
      this.#number = value
      this.#isNumber = true
    } else {
      this.#text = value
      this.#isNumber = false
    }
  }

  get depth(): number {
    return this.rule.depth
  }

  /** Names the watch among all. */
  get key(): string {
    return watchKey(this.rule.name, this.subject.series)
  }

  /** Silence after which it counts as gone. Undefined while that is still to be learned. */
  get silentAfter(): number | undefined {
    const { condition } = this.rule
    if (condition.kind !== 'silent') return undefined
    return condition.after ?? this.rhythm?.limit
  }

  keepPoint(time: number, value: FieldValue): void {
    const { points } = this
    const kept = points.length < maxPoints ? points : points.filter((_, n) => n !== firstPoints)
    this.points = [...kept, [time, value]]
  }

  /**
   * Rule, subject and series as JSON, without brackets, for the snapshot. Kept, as these never change, and there may be
   * very many watches to save.
   */
  get savedNames(): string {
    this.#savedNames ??= JSON.stringify([this.rule.name, this.subject, this.seriesId ?? null]).slice(1, -1)
    return this.#savedNames
  }

  /** @param position Sequence number of the last message that was taken */
  save(position: number): SavedWatch {
    const condition = this.condition.save?.()
    const { state, told, alert, since, time, value, heard, points } = this
    return {
      position,
      ...((state !== 'idle' || told !== 'idle') && { state, told, alert, since }),
      ...(Number.isFinite(time) && { time }),
      ...(value !== undefined && { value }),
      ...(Number.isFinite(heard) && { heard }),
      ...(points.length > 0 && { points }),
      ...(Number.isFinite(this.lastSince) && { lastSince: this.lastSince }),
      ...(condition !== undefined && { condition }),
      ...(this.rhythm && { rhythm: this.rhythm.save() }),
    }
  }

  restore(saved: SavedWatch): void {
    this.state = saved.state ?? 'idle'
    this.told = saved.told ?? 'idle'
    this.alert = saved.alert ?? ''
    this.since = saved.since ?? 0
    this.time = saved.time ?? Number.NEGATIVE_INFINITY
    this.value = saved.value ?? undefined
    this.heard = saved.heard ?? Number.NEGATIVE_INFINITY
    this.takenTo = saved.position
    this.lastSince = saved.lastSince ?? Number.NEGATIVE_INFINITY
    this.points = saved.points ?? none
    if (saved.condition !== undefined) this.condition.restore?.(saved.condition)
    this.rhythm?.restore(saved.rhythm)
  }
}

export function watchKey(rule: string, series: string): string {
  return `${rule}\0${series}`
}
