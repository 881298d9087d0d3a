import type { SettingKey, Settings } from './settings.js'

/** Key of the sources in an object of settings. A symbol: neither JSON nor a message to a thread has it. */
const sources = Symbol('sources')

/** The file, the variable or the flag that gives a setting, by key. */
export type Sources = Readonly<Partial<Record<SettingKey, string>>>

interface Sourced {
  readonly [sources]?: Sources
}

export function withSources(settings: Settings, given: Sources): Settings & Sourced {
  return { ...settings, [sources]: given }
}

/** Returns where the settings come from. A key that is not there has its default. */
export function sourcesOf(settings: Settings): Sources {
  return (settings as Sourced)[sources] ?? {}
}
