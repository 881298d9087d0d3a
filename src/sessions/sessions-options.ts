import type { Access } from '../auth/rules.js'
import type { Files } from '../disk/files.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { UserShares } from '../runtime/user-shares.js'
import type { Work } from '../runtime/work.js'
import type { LastWillsOptions } from './last-wills.js'
import type { DropReason, QueueLimits } from './session-host.js'
import type { SnapshotPace } from './session-journal.js'

export type Dropped = DropReason | 'sessions' | 'session_age' | 'retained'

export interface SessionsOptions {
  readonly dir: string
  /** What is done for sessions is added to it. */
  readonly work: Work
  readonly fsync: 'group' | 'interval'
  readonly queue: QueueLimits
  readonly pace?: SnapshotPace
  readonly files?: Files
  /** What waits in all queues together and may be in memory, in bytes; what is above it is on disk alone. */
  readonly queueMemory: number
  /** The hub ran before with this folder: sessions are missed when it is empty. */
  readonly isExpected: () => boolean
  /** Durable sessions; past it one that is absent goes, the oldest of the user with most for its share. */
  readonly sessions: number
  /** How long the session of an absent client is kept, in milliseconds; 0 is for ever. */
  readonly sessionAgeMs: number
  readonly retained: { readonly messages: number; readonly bytes: number }
  /** What a user may do through a client, as of now; undefined: everything. */
  readonly access?: (user: string, clientId: string) => Access | undefined
  /**
   * May what a client of a user had retained still be delivered? Asked of messages whose user is known, each time that
   * one is to be sent. Default: it may.
   */
  readonly mayRetain?: (user: string, clientId: string, topic: string) => boolean
  /** What users may claim of what is limited in all; default: nobody is asked who it is. */
  readonly shares?: () => UserShares
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Something acknowledged will not reach this client, or nobody who subscribes later, for want of room or by age. */
  readonly dropped: (what: Dropped, clientId: string) => void
  /** As in {@link LastWillsOptions}. */
  readonly willDue: LastWillsOptions['due']
  readonly incidents: IncidentReporter
  readonly warn: (sentence: string) => void
}

/** How a connection begins a session, in MQTT 5's words. */
export interface Opening {
  /** Without what was left of an earlier one. */
  readonly clean: boolean
  /** Seconds that it outlives the connection; Infinity: for ever. */
  readonly expiry: number
  readonly user?: string
}
