import type { Settings } from '../config/settings.js'
import { Audit } from './audit.js'
import { AuditLog, auditSettings } from './audit-log.js'
import { Clock } from './clock.js'
import { Counters } from './counters.js'
import { Incidents } from './incidents.js'
import { LiveSettings } from './live-settings.js'
import type { Log } from './log.js'

/** The parts by which every other part tells what happens, and the clock that is right before the machine's is. */
export class Observation {
  readonly counters = new Counters()
  /** The list of damage, and of clocks that jumped. */
  readonly incidents: Incidents
  readonly auditLog: AuditLog
  readonly audit: Audit
  readonly clock: Clock
  /** The settings in effect. */
  readonly live: LiveSettings

  constructor(settings: Settings, dir: string, log: Log) {
    this.incidents = new Incidents({ clock: Date, log })
    const { incidents } = this
    this.auditLog = new AuditLog({ ...auditSettings(settings, dir), clock: Date, incidents, log })
    this.audit = new Audit({ log: this.auditLog, clock: Date })
    this.clock = new Clock({ wall: Date, monotonic: performance, incidents })
    this.live = new LiveSettings(settings, log, this.audit)
  }
}
