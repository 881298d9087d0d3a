import { join, resolve } from 'node:path'
import { mayRead, type ReadRules, readsAll } from '../access/rules.js'
import type { AlertActions, AlertTransition, TransitionLog } from '../alerts/transition.js'
import type { Settings } from '../config/settings.js'
import { parseSeriesKey } from '../model.js'
import { type AlertAccess, Notifications } from '../notify/notify.js'
import { hubTopics } from '../topics.js'
import type { BrokerLink } from './broker-link.js'
import type { Mapping } from './mapping.js'

/** Decides by the mapping, as for series and devices. The state of the hub is for those that may read everything. */
class MappedAccess implements AlertAccess {
  readonly #mapping: Pick<Mapping, 'sourcesOf'>

  constructor(mapping: Pick<Mapping, 'sourcesOf'>) {
    this.#mapping = mapping
  }

  mayRead({ rule, series, device }: Pick<AlertTransition, 'rule' | 'series' | 'device'>, rules: ReadRules): boolean {
    if (!mayRead(rules, hubTopics.alert(rule, series))) return false
    if (readsAll(rules, '#')) return true
    const id = parseSeriesKey(series)
    if (id) {
      const sources = this.#mapping.sourcesOf(id)
      return sources.length > 0 && sources.every(source => readsAll(rules, source))
    }
    return device !== undefined && mayRead(rules, hubTopics.presence(device))
  }
}

/** Makes the part that tells people of alerts. */
export function notificationsOf(
  settings: Settings,
  dir: string,
  {
    alerts,
    mapping,
    broker,
  }: { readonly alerts: TransitionLog & AlertActions; readonly mapping: Mapping; readonly broker: BrokerLink },
): Notifications {
  const zone = settings['time.zone']
  return new Notifications({
    dir: join(dir, 'notify'),
    file: settings['notify.file'] ? resolve(settings['notify.file']) : join(dir, 'notify.yaml'),
    isOptional: settings['notify.file'] === '',
    zone: zone === 'auto' ? Intl.DateTimeFormat().resolvedOptions().timeZone : zone,
    ...{
      alerts,
      readers: broker,
      publisher: broker,
      access: new MappedAccess(mapping),
      incidents: broker,
      log: broker,
    },
  })
}
