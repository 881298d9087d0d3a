import type { RefusedPublishes, Totals } from '../accounting/balance-sheet.js'
import type { ReadRules } from '../auth/rules.js'
import type { Presence } from '../broker/shown-clients.js'
import type { Settings } from '../config/settings.js'
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
import type { ReplayJob } from './replay.js'

/*
 * Calls between the broker thread and the processor thread, over a link.
 */

/** An outward message as received by another thread, where a Buffer arrives as a Uint8Array. */
export type CrossingOutward = Omit<Outward, 'payload' | 'properties'> & {
  readonly payload: Uint8Array
  readonly properties?: Uint8Array
}

/** Calls that the broker thread offers the processor thread. */
export type BrokerOffers = {
  /** Resolves when the subscribers have the pushes. */
  live: (pushes: readonly LivePush[]) => Promise<void>
  /** Resolves when the broker has the messages for good. */
  outward: (messages: readonly CrossingOutward[]) => Promise<void>
  freed: (bytes: number) => void
  stored: (count: { messages: number; points: number }) => void
  deadLettered: (reason: string) => void
  log: (line: { level: 'info' | 'warn'; sentence: string }) => void
  /**
   * Reports that an error ends the processor thread, as soon as its native calls have ended. Nothing else is sent
   * afterwards.
   */
  dying: (error: string) => void
  incident: (incident: { kind: string; sentence: string; lost: Loss | undefined }) => void
}

/** Calls that the processor thread offers the broker thread. */
export type ProcessorOffers = {
  start: (position: SpoolPosition) => Promise<void>
  /**
   * Drains the spool until it is empty or the time is over, and stops. Resolves with the messages left and where they
   * are, if there are any, and with the parts that did not stop in order.
   */
  stop: (end: { position: SpoolPosition; drainMs: number }) => Promise<{
    readonly left: string | undefined
    readonly problems: readonly string[]
  }>
  /** Resolves when the thread may be terminated. */
  abandon: (argument: undefined) => Promise<void>
  committed: (position: SpoolPosition) => void
  present: (presence: Presence) => void
  refused: (refusals: readonly RefusedPublishes[]) => void
  /** Reports more messages that are known to be lost. */
  lost: (messages: number) => void
  /** Reports that the users file has changed. */
  shares: (shares: UserShares) => void
  /** Deletes messages that are kept for replays only, as the disk is full. */
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
  begin: (job: ReplayJob) => number
  progress: (job: number) => JobProgress
  cancel: (job: number) => void
}

/** Data given to the processor thread at creation. */
export interface ProcessorThreadData {
  readonly settings: Settings
  readonly dir: string
  readonly hubId: string
  /** Shares at the creation of the thread. A change is sent by `shares`. */
  readonly shares: UserShares
}
