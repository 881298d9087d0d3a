import type { Reader } from '../access/rules.js'
import type { Totals } from '../accounting/balance-sheet.js'
import type { Broker } from '../broker/broker.js'
import type { ClusterNumbers } from '../cluster/cluster.js'
import type { Settings } from '../config/settings.js'
import type { ClientPresence, Outward } from '../model.js'
import type { Alarm } from '../observe/alarms.js'
import type { Loss } from '../observe/incidents.js'
import type { NotifyNumbers, StoreNumbers } from '../observe/metrics.js'
import type { ClientRefusals } from '../observe/refusal-counts.js'
import type { OutletStatus } from '../outlets/outlets.js'
import type { UserShares } from '../runtime/user-shares.js'
import type { SpoolPosition } from '../spool/spool.js'
import type { ProcessorStatus } from './consumers.js'
import type { FeedItem } from './feeds/feed.js'
import type { Push as LivePush } from './live-pusher.js'
import type { PipelineApi } from './pipeline-api.js'
import type { BackEndCommand, Reply } from './reply-watch.js'

/*
 * Calls between the broker thread and the processor thread, over a link.
 */

/** An outward message as received by another thread, where a Buffer arrives as a Uint8Array. */
export type CrossingOutward = Omit<Outward, 'payload' | 'properties'> & {
  readonly payload: Uint8Array
  readonly properties?: Uint8Array
}

/** The topics that clients of this hub want, as filters, and the number of that state. */
export type ClientsWant = Awaited<ReturnType<Broker['wanted']['next']>>

/** Alarms of parts of the processor thread. */
export const threadAlarms = ['series', 'notify', 'alerts', 'boards', 'store', 'outlets', 'cluster'] as const
export type ThreadAlarm = (typeof threadAlarms)[number]

/** State that the processor thread reports. */
export interface PipelineStatus extends ProcessorStatus {
  readonly sheet: Totals
  readonly deadBytes: number
  readonly store: StoreNumbers
  readonly notifications: NotifyNumbers
  readonly outlets: readonly OutletStatus[]
  /** Undefined without a cluster. */
  readonly cluster: ClusterNumbers | undefined
  /** Sentences while there are causes, by the name of the alarm. */
  readonly alarms: Readonly<Record<ThreadAlarm, string | undefined>>
}

/** Calls that the broker thread offers the processor thread. */
export interface BrokerOffers {
  /** Resolves when the subscribers have the pushes. */
  live(pushes: readonly LivePush[]): Promise<void>
  /** Resolves when the feeds have the items. */
  feed(items: readonly FeedItem[]): Promise<void>
  /** Resolves when the broker has the messages for good. */
  outward(messages: readonly CrossingOutward[]): Promise<void>
  /** Resolves with what clients of this hub want, once that is another state than the one with this number. */
  wanted(known: number): Promise<ClientsWant>
  replied(reply: Reply): void
  /** Resolves with what users may read now, in the order of the names. */
  readers(users: readonly string[]): readonly Reader[]
  /** Resolves when the command is on disk, or refused. */
  asked(message: BackEndCommand): Promise<void>
  freed(bytes: number): void
  stored(count: { messages: number; points: number }): void
  deadLettered(reason: string): void
  spansLost(count: number): void
  log(line: { level: 'info' | 'warn'; sentence: string }): void
  /**
   * Reports that an error ends the processor thread, as soon as its native calls have ended. Nothing else is sent
   * afterwards.
   */
  dying(error: string): void
  incident(incident: { kind: string; sentence: string; lost: Loss | undefined }): void
}

/** Calls that the processor thread offers the broker thread. */
export interface ProcessorOffers extends Answering<PipelineApi> {
  start(position: SpoolPosition): Promise<void>
  /**
   * Drains the spool until it is empty or the time is over, and stops. Resolves with the messages left and where they
   * are, if there are any, and with the parts that did not stop in order.
   */
  stop(end: { position: SpoolPosition; drainMs: number }): Promise<{
    readonly left: string | undefined
    readonly problems: readonly string[]
  }>
  /** Resolves when the thread may be terminated. */
  abandon(): Promise<void>
  committed(position: SpoolPosition): void
  present(presence: ClientPresence): void
  refused(refusals: readonly ClientRefusals[]): void
  /** Reports more messages that are known to be lost. */
  lost(messages: number): void
  /** Reports that the users file has changed. */
  shares(shares: UserShares): void
  /** Reports the alarms of the hub that are raised. */
  alarms(raised: readonly Alarm[]): void
  /** Deletes messages that are kept for replays only, as the disk is full. */
  diskFull(): void
  status(): PipelineStatus
}

/** The functions of an interface for another thread, as offered by the thread that answers. */
type Answering<Asked> = {
  [Name in keyof Asked]: Asked[Name] extends (argument: infer Argument) => Promise<infer Answer>
    ? (argument: Argument) => Answer | Promise<Answer>
    : never
}

/** Data given to the processor thread at creation. */
export interface ProcessorThreadData {
  readonly settings: Settings
  readonly dir: string
  readonly hubId: string
  readonly version: string
  /** Whether no thread of this process has run before: only then may the start be refused for other hubs. */
  readonly isFirst: boolean
  /** Shares at the creation of the thread. A change is sent by `shares`. */
  readonly shares: UserShares
}
