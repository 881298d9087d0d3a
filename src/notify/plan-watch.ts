import { existsSync } from 'node:fs'
import { environmentValue } from '../config/config.js'
import { WatchedFiles } from '../disk/watched-files.js'
import { describe } from '../errors.js'
import type { SentenceLog } from '../observe/log.js'
import { type NotifyPlan, usualPlan } from './plan.js'
import { readPlan } from './plan-file.js'

export interface PlanListener {
  /** Called when another plan is in effect. */
  onPlan(): void
}

export interface PlanWatchOptions {
  /** Empty: the usual plan is in effect. */
  readonly file: string
  /** Whether the usual plan is in effect while there is no file. */
  readonly isOptional: boolean
  readonly zone: string
  readonly listener: PlanListener
  readonly log: SentenceLog
}

/** The plan in effect: read again when the file changes. A file with mistakes leaves the plan as it was. */
export class PlanWatch {
  readonly usual: NotifyPlan
  readonly #options: PlanWatchOptions
  #current: NotifyPlan | undefined
  #trouble = ''
  #watch: WatchedFiles | undefined

  constructor(options: PlanWatchOptions) {
    this.#options = options
    this.usual = usualPlan(options.zone)
  }

  /** Undefined while there was no valid file since the start. */
  get current(): NotifyPlan | undefined {
    return this.#current
  }

  /** The mistakes of the file, in one line; empty: none. */
  get trouble(): string {
    return this.#trouble
  }

  start(): void {
    const { file } = this.#options
    if (!file) {
      this.#current = this.usual
      return
    }
    // Watched before it is read: a change made meanwhile is read again.
    this.#watch = new WatchedFiles({ paths: [file], changed: () => this.#read() })
    this.#watch.start()
    this.#read()
  }

  stop(): void {
    this.#watch?.stop()
  }

  #read(): void {
    const { file, isOptional, zone, listener, log } = this.#options
    try {
      const isFirst = this.#current === undefined
      this.#current = isOptional && !existsSync(file) ? this.usual : readPlan(file, environmentValue, zone)
      this.#trouble = ''
      const { targets, routes } = this.#current
      if (!isFirst) log.info(`notify.file was read again: ${targets.size} targets, ${routes.length} routes`)
      listener.onPlan()
    } catch (error) {
      this.#trouble = describe(error).replaceAll('\n', '; ')
      const effect = this.#current ? 'the previous version stays in use' : 'nobody is notified until it is mended'
      log.warn(`notify.file is refused, and ${effect}: ${this.#trouble}`)
    }
  }
}
