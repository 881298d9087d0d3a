import { changeOf, type SettingsFollower } from '../config/reload.js'
import type { Settings } from '../config/settings.js'
import type { Auditor } from './audit.js'
import type { Log } from './log.js'

/** The settings in effect: those of the start, and what was changed since that needs no restart. */
export class LiveSettings {
  readonly #log: Log
  readonly #audit: Auditor
  readonly #followers: SettingsFollower[] = []
  #current: Settings

  constructor(settings: Settings, log: Log, audit: Auditor) {
    this.#current = settings
    this.#log = log
    this.#audit = audit
  }

  get current(): Settings {
    return this.#current
  }

  /** Adds parts, which get changed settings in the order given. */
  reportTo(...followers: readonly SettingsFollower[]): void {
    this.#followers.push(...followers)
  }

  /** Applies what can change while the hub runs, and logs what needs a restart. */
  async reload(next: Settings): Promise<void> {
    const { settings, applied, forProcessor, needRestart } = changeOf(this.#current, next)
    const log = this.#log
    this.#current = settings
    log.level = settings['log.level']
    for (const follower of this.#followers) await follower.onSettings(settings, forProcessor)
    const changed = applied.length > 0 ? `changed: ${applied.join(', ')}` : 'nothing changed'
    log.info(`settings read again; ${changed}`)
    if (needRestart.length > 0) log.warn(`changed settings that need a restart: ${needRestart.join(', ')}`)
    this.#audit.record({ event: 'change', result: 'settings', what: applied.join(' ') })
  }
}
