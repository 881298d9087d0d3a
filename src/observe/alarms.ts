import type { Part } from '../runtime/lifecycle.js'
import type { SentenceLog } from './log.js'

/** A condition that will become a loss of service unless an operator acts. */
export interface Alarm {
  readonly name: string
  readonly detail: string
}

/** Knows one condition. Made by the part that the condition is about. */
export interface AlarmCheck {
  readonly name: string
  /** Returns a sentence for people while there is reason for an alarm. A check that fails leaves the alarm as it was. */
  check(): string | undefined | Promise<string | undefined>
}

/** Told at each look which alarms are raised. */
export interface AlarmListener {
  onAlarms(raised: readonly Alarm[]): void
}

export interface AlarmsOptions {
  readonly listener?: AlarmListener
  readonly checks: readonly AlarmCheck[]
  readonly everyMs?: number
  readonly log: SentenceLog
}

const usualMs = 2_000

/** Runs the checks at an interval. Logs each alarm once when raised and once when over. */
export class Alarms implements Part {
  readonly name = 'alarms'
  readonly #options: AlarmsOptions
  readonly #raised = new Map<string, string>()
  #timer: NodeJS.Timeout | undefined
  #looking = false

  constructor(options: AlarmsOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = setInterval(() => void this.#look(), this.#options.everyMs ?? usualMs)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  list(): readonly Alarm[] {
    return [...this.#raised].map(([name, detail]) => ({ name, detail }))
  }

  async #look(): Promise<void> {
    // A file system that hangs must not be checked again while the last check is still waiting.
    if (this.#looking) return
    this.#looking = true
    await this.#check()
    this.#options.listener?.onAlarms(this.list())
    this.#looking = false
  }

  async #check(): Promise<void> {
    const { checks, log } = this.#options
    for (const one of checks) {
      const { name } = one
      let detail: string | undefined
      try {
        detail = await one.check()
      } catch {
        // A check that fails does not know the state, so the alarm stays as it was.
        continue
      }
      if (detail === undefined) {
        if (this.#raised.delete(name)) log.info(`alarm over: ${name}`)
      } else {
        if (!this.#raised.has(name)) log.warn(`alarm: ${detail}`)
        this.#raised.set(name, detail)
      }
    }
  }
}
