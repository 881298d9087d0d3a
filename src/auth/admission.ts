import { join } from 'node:path'
import type { Settings } from '../config/settings.js'
import type { Auditor } from '../observe/audit.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Part } from '../runtime/lifecycle.js'
import { inMilliseconds, type MicrosecondClock } from '../runtime/time.js'
import { AdminKey } from './admin-key.js'
import { authoritySettings, banSettings, loginSettings } from './auth-settings.js'
import { Authority } from './authority.js'
import { Bans } from './bans.js'
import { KnownSources } from './known-sources.js'
import { Logins } from './logins.js'
import { DevicePairing } from './pairing.js'
import { ShareLinks } from './share-links.js'

export { type Authority, stampOf } from './authority.js'
export type { Bans } from './bans.js'
export type { ListedLogin, LoginListener, Logins } from './logins.js'
export type { Paired, PairedFrom } from './pairing.js'
export type { ShareLinks } from './share-links.js'

export interface AdmissionOptions {
  /** Clock of the hub, which goes on from the latest time on disk while the machine's is not set. */
  readonly clock: MicrosecondClock
  readonly audit: Auditor
  readonly incidents: IncidentReporter
  readonly log: SentenceLog
}

/** Who may do what: the users with their rules, the logins of browsers, and the bans of those who guess. */
export class Admission {
  readonly logins: Logins
  readonly bans: Bans
  readonly authority: Authority
  readonly pairing: DevicePairing
  readonly #admin: AdminKey
  /** In the order of the start. */
  readonly parts: readonly Part[]

  constructor(settings: Settings, dir: string, { clock: hubClock, audit, incidents, log }: AdmissionOptions) {
    const clock = inMilliseconds(hubClock)
    const known = new KnownSources(join(dir, 'known.json'))
    this.logins = new Logins({ ...loginSettings(settings, dir), clock, monotonic: performance, incidents })
    this.bans = new Bans({ ...banSettings(settings, dir), clock, audit, log, incidents })
    const links = new ShareLinks({ path: join(dir, 'shares.json'), clock, incidents })
    const { logins, bans } = this
    // By the clock of the machine, as pairing codes are made by commands that know no other.
    const machine = { ...authoritySettings(settings, dir), clock: Date }
    this.authority = new Authority({ ...machine, logins, links, known, bans, audit, log })
    this.pairing = new DevicePairing(this.authority)
    this.#admin = new AdminKey(dir, log)
    this.parts = [this.#admin, logins, links, known, bans, this.authority]
  }

  /** Key that allows everything; for callers that may read the files of the hub. */
  get adminKey(): string {
    return this.#admin.key
  }
}
