import type { Said } from '../model.js'

/** From the least to the most severe. */
export const severities = ['info', 'warning', 'critical'] as const
export type Severity = (typeof severities)[number]
export type AlertState = 'pending' | 'firing' | 'acknowledged' | 'cleared'

/** A durable change of an alert's state. */
export interface AlertTransition {
  /** 1, 2, 3 … without gaps, in the order of the journal. */
  readonly sequence: number
  /** Names this occurrence for ever: one alert from pending to cleared. URL-safe. */
  readonly alert: string
  readonly rule: string
  /** The series or device that the rule selected; empty for the hub's own conditions. */
  readonly series: string
  /** The device, if there is one; for grouping and links. */
  readonly device?: string
  readonly severity: Severity
  readonly state: AlertState
  /** Wall clock in microseconds: when it was so (event time) and when the hub decided it. */
  readonly at: number
  readonly decidedAt: number
  /** Who acknowledged, and the note. */
  readonly by?: string
  readonly note?: string
  /** One English sentence: "Freezer temperature is −7.3 °C, above −15 °C for 10 min". */
  readonly sentence: string
  /** The same as a code with values. Missing in those of earlier states of the hub. */
  readonly said?: Said
  readonly value?: number | string | boolean
  /** Targets that the rule names, besides those of the routes. */
  readonly notify?: readonly string[]
  /** True if it was over when the hub learned of it (after an outage): recorded, not notified. */
  readonly past: boolean
  /** True while the rule, series or device is muted: recorded, not notified. */
  readonly muted: boolean
}

/** Told of each transition, after it is on disk, in order. */
export interface TransitionListener {
  changed(transition: AlertTransition): void
}

/**
 * The durable list of transitions, for those that must miss none: notifications keep the sequence that they have handled
 * in a file of their own.
 */
export interface TransitionLog {
  /** At most `limit` transitions after `sequence`, oldest first; `oldest` tells of a gap when the list was cut. */
  after(sequence: number, limit: number): Promise<{ transitions: AlertTransition[]; oldest: number }>
}

export interface AlertActions {
  /** Throws a HubError `not_found` for an alert that is not firing. Resolves when the transition is on disk. */
  acknowledge(alert: string, by: string, note?: string): Promise<AlertTransition>
}
