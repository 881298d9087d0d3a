import type { Refusals, Totals } from '../accounting/balance-sheet.js'
import type { ReadRules } from '../auth/rules.js'
import type { Presence } from '../broker/shown-clients.js'
import type { Settings } from '../config/config.js'
import type { JobProgress, Outward } from '../model.js'
import type { Loss } from '../observe/incidents.js'
import type { DeadLetterFilter } from '../queue/queue.js'
import type { UserShares } from '../runtime/user-shares.js'
import type { SpoolStatus } from '../spool/cursors.js'
import type { SpoolPosition } from '../spool/spool.js'
import type { HistoryQuery } from '../store/store.js'
import type { ProcessorStatus } from './consumers.js'
import type { Push as LivePush } from './live-pusher.js'
import type { BalanceQuery, SeriesAnswerQuery } from './queries.js'
import type { Job } from './replay.js'

/* What the broker thread and the processor thread ask of each other, over a link. */

/** A Buffer arrives in another thread as what it is made of. */
export type CrossingOutward = Omit<Outward, 'payload' | 'properties'> & {
  readonly payload: Uint8Array
  readonly properties?: Uint8Array
}

/** What the broker thread offers the processor thread. */
export type BrokerOffers = {
  /** Resolves when they are with the subscribers. */
  live: (pushes: readonly LivePush[]) => Promise<void>
  /** Resolves when the broker has them for good. */
  outward: (messages: readonly CrossingOutward[]) => Promise<void>
  freed: (bytes: number) => void
  stored: (count: { messages: number; points: number }) => void
  deadLettered: (reason: string) => void
  log: (line: { level: 'info' | 'warn'; sentence: string }) => void
  /** An error ends this thread as soon as its native calls have ended; nothing else is heard of it. */
  dying: (error: string) => void
  incident: (incident: { kind: string; sentence: string; lost: Loss | undefined }) => void
}

/** What the processor thread offers the broker thread. */
export type ProcessorOffers = {
  start: (position: SpoolPosition) => Promise<void>
  /** Goes on until the spool is empty or the time is over; says what is left where, if anything, and what did not stop. */
  stop: (end: { position: SpoolPosition; drainMs: number }) => Promise<{
    readonly left: string | undefined
    readonly problems: readonly string[]
  }>
  /** Resolves when the thread may be terminated. */
  abandon: (argument: undefined) => Promise<void>
  committed: (position: SpoolPosition) => void
  present: (presence: Presence) => void
  refused: (refusals: readonly Refusals[]) => void
  /** So many messages more are known to be lost. */
  lost: (messages: number) => void
  /** The users file has changed. */
  shares: (shares: UserShares) => void
  /** The disk is full: what is only kept for replays goes. */
  diskFull: (argument: undefined) => void
  status: (
    argument: undefined,
  ) => ProcessorStatus & { sheet: Totals; deadBytes: number; seriesAlarm: string | undefined }
  series: (query: SeriesAnswerQuery) => Promise<Uint8Array>
  history: (query: { query: HistoryQuery; rules: ReadRules | undefined }) => Promise<Uint8Array>
  devices: (rules: ReadRules | undefined) => Uint8Array
  dead: (query: { filter: DeadLetterFilter; limit: number }) => Promise<Uint8Array>
  balance: (query: BalanceQuery) => Uint8Array
  spool: (argument: undefined) => Promise<SpoolStatus>
  begin: (job: Job) => number
  progress: (job: number) => JobProgress
  cancel: (job: number) => void
}

/** What the processor thread is given when it is made. */
export interface ProcessorThreadData {
  readonly settings: Settings
  readonly dir: string
  readonly hubId: string
  /** When it is made; a change is told by `shares`. */
  readonly shares: UserShares
}
