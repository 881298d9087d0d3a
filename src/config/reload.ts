import { kafkaSettings } from './kafka-settings.js'
import type { SettingKey, Settings } from './settings.js'
import { sourcesOf, withSources } from './sources.js'

/** Settings that are read each time they are used. */
const atOnce: readonly SettingKey[] = [
  'log.level',
  'limits.connections',
  'limits.address',
  'limits.connect',
  'limits.hello',
  'limits.inflightBytes',
  'limits.messages',
  'limits.bytes',
  'limits.outbox',
  'limits.stuck',
  'limits.keepalive',
  'spool.alarm',
  'shutdown.timeout',
]

const kafkaKeys = Object.keys(kafkaSettings) as (keyof typeof kafkaSettings)[]

/**
 * Settings of the processor thread alone, which is stopped in order and started with the new ones while MQTT goes on.
 */
const byProcessor: readonly SettingKey[] = [
  'mapping',
  'presets.off',
  'time.zone',
  'values.absent',
  'limits.jsonDepth',
  'limits.jsonFields',
  'limits.inflated',
  'sparkplug.rebirth',
  'sparkplug.host',
  'spool.keep',
  'spool.keepBytes',
  'spool.archive',
  'spool.archiveBytes',
  'spool.rate',
  'dead.limit',
  'alerts.file',
  'rabbitmq.url',
  'rabbitmq.channels',
  'rabbitmq.window',
  'rabbitmq.prefetch',
  'rabbitmq.envelope',
  'rabbitmq.headers',
  'rabbitmq.record',
  ...kafkaKeys,
  'influx.url',
  'influx.token',
  'influx.org',
  'influx.bucket',
  'influx.retention',
  'store.keep',
  'store.limit',
  'outlets',
]

/** Settings that act without a restart when the hub reads the settings again. */
export const reloadable: readonly SettingKey[] = [...atOnce, ...byProcessor]

/** A part that takes other settings while the hub runs. */
export interface SettingsFollower {
  /** @param isForPipeline Whether a setting has changed for which the processor thread must be started again. */
  onSettings(settings: Settings, isForPipeline: boolean): Promise<void> | void
}

export interface SettingsChange {
  /** Settings in effect from now on. Those that need a restart have the old values. */
  readonly settings: Settings
  readonly applied: readonly SettingKey[]
  /** True when an applied setting is for the processor thread. */
  readonly forProcessor: boolean
  readonly needRestart: readonly SettingKey[]
}

/** Returns what changes when a hub that runs with `before` reads `after`. */
export function changeOf(before: Settings, after: Settings): SettingsChange {
  const differs = (key: SettingKey) => JSON.stringify(before[key]) !== JSON.stringify(after[key])
  const changed = (Object.keys(after) as SettingKey[]).filter(differs)
  const applied = changed.filter(key => reloadable.includes(key))
  const needRestart = changed.filter(key => !reloadable.includes(key))
  const [old, next] = [sourcesOf(before), sourcesOf(after)]
  // A setting that needs a restart keeps its value, and so the source of that value.
  const kept = Object.fromEntries(needRestart.map(key => [key, old[key]]))
  const settings = { ...before, ...Object.fromEntries(applied.map(key => [key, after[key]])) }
  return {
    settings: withSources(settings, { ...next, ...kept }),
    applied,
    forProcessor: applied.some(key => byProcessor.includes(key)),
    needRestart,
  }
}
