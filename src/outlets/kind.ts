import type { SettingFields } from '../config/settings.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Outlet } from '../queue/queue.js'

/** A kind of system that an outlet hands messages to. `kinds.ts` lists all. */
export interface OutletKind {
  /**
   * Reads the members of an outlet's settings that this kind knows, and reports each mistake to `fields`. After a mistake
   * the result is not used. Touches neither the network nor the disk.
   */
  read(fields: SettingFields): OutletTarget
}

/** One target of the settings. */
export interface OutletTarget {
  /** Names the target for people, without any secret: `https://example.org`. */
  readonly shown: string
  /** Most messages of one call of `Outlet.deliver`. */
  readonly batch: number
  /** Pause after a small batch, in milliseconds, in which more messages gather. */
  readonly restMs: number
  /**
   * Makes the outlet. Called when the first messages are there, and again after a rejection, which means that all must be
   * tried again. Loads the driver only here.
   */
  open(parts: OutletParts): Outlet | Promise<Outlet>
}

/** Parts of the hub that an outlet may use. */
export interface OutletParts {
  /** The outlet's name. */
  readonly name: string
  /** Id of the hub: with the sequence number, the name of a message among those of all hubs. */
  readonly hubId: string
  /** Directory of the outlet alone, which exists. */
  readonly dir: string
  readonly log: SentenceLog
  readonly incidents: IncidentReporter
}
