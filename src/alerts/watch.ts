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

/** Most points that an alert keeps: the first ones and the last. */
const maxPoints = 32
const firstPoints = 16

/** State of a watch in the snapshot, as JSON. Times in microseconds. */
export interface SavedWatch {
  readonly state: WatchState
  readonly told: WatchState
  readonly alert: string
  readonly since: number
  /** Time of the newest reading; null: none. */
  readonly time: number | null
  readonly value: FieldValue | null
  /** When the series or device was last heard of, by the hub's clock; null: never. */
  readonly heard: number | null
  readonly position: number
  readonly points: readonly DecidingPoint[]
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
  value: FieldValue | undefined
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
  /** Sentence of a condition of the hub. */
  hubSentence = ''
  /** Readings that decide, once the condition holds. */
  points: DecidingPoint[] = []
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

  constructor(rule: AlertRule, subject: AlertSubject, condition: AlertCondition) {
    this.rule = rule
    this.subject = subject
    this.condition = condition
    this.isSilent = rule.condition.kind === 'silent'
    if (rule.condition.kind === 'silent' && rule.condition.after === undefined) this.rhythm = new Rhythm()
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
    this.points.push([time, value])
    if (this.points.length > maxPoints) this.points.splice(firstPoints, 1)
  }

  /** @param position Sequence number of the last message that was taken */
  save(position: number): SavedWatch {
    const condition = this.condition.save?.()
    return {
      state: this.state,
      told: this.told,
      alert: this.alert,
      since: this.since,
      time: Number.isFinite(this.time) ? this.time : null,
      value: this.value ?? null,
      heard: Number.isFinite(this.heard) ? this.heard : null,
      position,
      points: this.points,
      ...(Number.isFinite(this.lastSince) && { lastSince: this.lastSince }),
      ...(condition !== undefined && { condition }),
      ...(this.rhythm && { rhythm: this.rhythm.save() }),
    }
  }

  restore(saved: SavedWatch): void {
    this.state = saved.state
    this.told = saved.told
    this.alert = saved.alert
    this.since = saved.since
    this.time = saved.time ?? Number.NEGATIVE_INFINITY
    this.value = saved.value ?? undefined
    this.heard = saved.heard ?? Number.NEGATIVE_INFINITY
    this.takenTo = saved.position
    this.lastSince = saved.lastSince ?? Number.NEGATIVE_INFINITY
    this.points = [...saved.points]
    if (saved.condition !== undefined) this.condition.restore?.(saved.condition)
    this.rhythm?.restore(saved.rhythm)
  }
}

export function watchKey(rule: string, series: string): string {
  return `${rule}\0${series}`
}
