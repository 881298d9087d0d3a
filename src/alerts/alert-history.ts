import { readFileSync } from 'node:fs'
import { StateFile } from '../disk/state-file.js'
import { describe } from '../errors.js'
import type { Point } from '../model.js'
import type { SentenceLog } from '../observe/log.js'
import type { TimeSeriesStore } from '../store/store.js'
import type { AlertTransition, TransitionListener, TransitionLog } from './transition.js'

/** Measurement of the readings that tell of alerts. */
export const alertMeasurement = 'telehub_alerts'

export interface AlertHistoryOptions {
  readonly path: string
  readonly transitions: TransitionLog
  readonly store: Pick<TimeSeriesStore, 'write'>
  readonly log: SentenceLog
}

const atOnce = 500
const firstPauseMs = 1_000
const longestPauseMs = 60_000

/**
 * Writes the transitions into the store, as readings of the measurement `telehub_alerts`. A store that is down is tried
 * again; the journal has the transitions until then. Written twice, a transition is stored once.
 */
export class AlertHistory implements TransitionListener {
  readonly #options: AlertHistoryOptions
  readonly #file: StateFile
  #stored = 0
  #running: Promise<void> | undefined
  #isStopped = false
  #wake: (() => void) | undefined
  /** Transitions that were cut from the journal before the store took them. */
  missed = 0

  constructor(options: AlertHistoryOptions) {
    this.#options = options
    this.#file = new StateFile(options.path, () => JSON.stringify({ stored: this.#stored }))
  }

  start(): void {
    try {
      const { stored } = JSON.parse(readFileSync(this.#options.path, 'utf8')) as { readonly stored: unknown }
      if (Number.isSafeInteger(stored)) this.#stored = stored as number
    } catch {
      // Without the file all are written again, which changes nothing.
    }
    this.#file.saveEvery(1_000)
    this.changed()
  }

  changed(): void {
    if (this.#isStopped) return
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#wake?.()
    await this.#running
    await this.#file.stop()
  }

  async #run(): Promise<void> {
    const { transitions: journal, store, log } = this.#options
    await Promise.resolve()
    let pause = firstPauseMs
    while (!this.#isStopped) {
      const { transitions, oldest } = await journal.after(this.#stored, atOnce)
      const last = transitions.at(-1)
      if (!last) return
      if (oldest > this.#stored + 1) this.missed += oldest - this.#stored - 1
      try {
        const refused = await store.write(transitions.map(pointOf))
        if (refused.length > 0) log.warn(`the store refuses ${refused.length} alerts: ${refused[0]?.detail}`)
        this.#stored = last.sequence
        this.#file.changed()
        pause = firstPauseMs
      } catch (error) {
        if (pause === firstPauseMs) log.warn(`the history of alerts is not stored: ${describe(error)}; retrying`)
        await new Promise<void>(resolve => {
          const timer = setTimeout(resolve, pause)
          this.#wake = () => {
            clearTimeout(timer)
            resolve()
          }
        })
        pause = Math.min(pause * 2, longestPauseMs)
      }
    }
  }
}

const steps = ['pending', 'firing', 'acknowledged', 'cleared']

/** Returns a transition as a point. States of one alert at the same instant are microseconds apart. */
function pointOf({
  rule,
  series,
  device,
  severity,
  state,
  at,
  alert,
  sentence,
  by,
  value,
  past,
  muted,
}: AlertTransition): Point {
  const tags = [
    ['device', device ?? ''],
    ['rule', rule],
    ['series', series],
    ['severity', severity],
  ] as const
  const fields = [
    ['alert', alert],
    ...(by === undefined ? [] : [['by', by] as const]),
    ...(muted ? [['muted', true] as const] : []),
    ...(past ? [['past', true] as const] : []),
    ['sentence', sentence],
    ['state', state],
    ...(typeof value === 'number' && Number.isFinite(value) ? [['value', value] as const] : []),
  ] as Point['fields']
  return {
    measurement: alertMeasurement,
    tags: tags.filter(([, text]) => text !== ''),
    fields,
    time: Math.round(at) + steps.indexOf(state),
  }
}
