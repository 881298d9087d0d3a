import type { Access } from '../access/rules.js'
import type { Files } from '../disk/files.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { ConflationCounts } from '../runtime/conflation.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { Sharing } from '../runtime/user-shares.js'
import type { Work } from '../runtime/work.js'
import type { LastWillsOptions } from './last-wills.js'
import type { DropReason, QueueLimits } from './session-host.js'
import type { SnapshotPace } from './session-journal.js'
import type { QueueMemory } from './session-queue.js'

export type Dropped = DropReason | 'sessions' | 'session_age' | 'retained'

export interface SessionsOptions {
  readonly dir: string
  /** Counts the work done for sessions. */
  readonly work: Work
  readonly fsync: 'group' | 'interval'
  readonly queue: QueueLimits
  readonly pace?: SnapshotPace
  /** Milliseconds between two looks at some of what may be too old. */
  readonly sweepMs?: number
  readonly files?: Files
  /** Bytes of waiting messages of all queues that may be in memory; the rest is on disk alone. */
  readonly queueMemory: number
  /** Returns whether the hub ran before with this folder: sessions are missed when the folder is empty. */
  readonly isExpected: () => boolean
  /**
   * Maximum number of durable sessions. Past it an absent session is removed: the oldest of the user with most for its
   * share.
   */
  readonly sessions: number
  /** How long the session of an absent client is kept, in milliseconds; 0 is for ever. */
  readonly sessionAgeMs: number
  readonly retained: { readonly messages: number; readonly bytes: number }
  /** Counts QoS 0 deliveries that a slow client did not get. */
  readonly counts: ConflationCounts
  /** Bytes of QoS 0 messages that may wait for one slow client, beside those that are retained. */
  readonly conflated: number
  /** Returns what a user may do through a client, as of now; undefined: everything. */
  readonly access?: (user: string, clientId: string) => Access | undefined
  /**
   * Returns whether a message that a client of a user had retained may still be delivered. Called for messages whose
   * user is known, each time that one is to be sent. Default: yes.
   */
  readonly mayRetain?: (user: string, clientId: string, topic: string) => boolean
  /** Shares of users in the limits for all users. Default: clients are not authenticated. */
  readonly sharing?: Sharing
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  /** Called when an acknowledged message will not reach this client, or later subscribers, due to limits or age. */
  readonly dropped: (what: Dropped, clientId: string) => void
  /** Called when a will is due, as in {@link LastWillsOptions}. */
  readonly willDue: LastWillsOptions['due']
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'warn'>
}

/** How a connection opens a session, in the terms of MQTT 5. */
export interface SessionOpening {
  /** Whether an earlier session is discarded. */
  readonly clean: boolean
  /** Seconds that the session outlives the connection; Infinity: for ever. */
  readonly expiry: number
  readonly user?: string
}

/** Returns what counts the memory of all queues. Messages that cannot be read back are reported, and counted as dropped. */
export function queueMemoryOf({ dir, incidents, dropped }: SessionsOptions): QueueMemory {
  return {
    bytes: 0,
    damaged: (messages, bytes, reason) => {
      const sentence = `${messages} queued messages could not be read back from ${dir}: ${reason}`
      incidents.report('queue_damaged', sentence, { bytes })
      for (let n = 0; n < messages; n++) dropped('queue', '')
    },
  }
}
