import type { ReadRules } from '../access/rules.js'
import type { KnownHub } from '../cluster/cluster.js'
import type { Answer, JobProgress, Json, Received } from '../contract/contract.js'
import type { BegunExport, ExportChunk, ExportQuery } from '../export/exports.js'
import type { InfluxQuestion } from '../influxql/influxql.js'
import type { NewSubscription, RouteStatus, TargetStatus } from '../notify/notify.js'
import type { OutletStatus } from '../outlets/outlets.js'
import type { DeadLetterFilter } from '../queue/queue.js'
import type { SpoolStatus } from '../spool/cursors.js'
import type { HeldStore, HistoryQuery, SeriesChange, SqlAnswer, SqlQuery } from '../store/store.js'
import type { AlertsApi } from './alert-api.js'
import type { MessagesQuery, TopicsQuery } from './explore/explore.js'
import type { FeedChunk, FeedQuery } from './feeds/feed.js'
import type { FindQuery } from './find.js'
import type { BoardsApi } from './home/board-desk.js'
import type { HomeQuery } from './home/home.js'
import type { ImportAnswer, ImportBatch, ImportBegin } from './imports/imports.js'
import type { CheckedRule } from './own-rules/rule-trial.js'
import type { ReplayJob } from './replay.js'
import type { ExpectedReply } from './reply-watch.js'

export type { FeedChunk, FeedEnd, FeedItem, FeedQuery, FeedSink } from './feeds/feed.js'
export { deviceLevels } from './presets/replies.js'
export type { BackEndCommand, Reply, ReplySink } from './reply-watch.js'

/** Selects a page of the series, and the rules for those that may be read. */
export type SeriesAnswerQuery = Received<'GET /api/series'> & { readonly rules: ReadRules | undefined }

/** Selects lines of the balance sheet. */
/** Rules for what the caller may read: of presence, and of topics; without, everything. */
export interface DevicesQuery {
  readonly presence: ReadRules | undefined
  readonly rules: ReadRules | undefined
}
export type BalanceQuery = Received<'GET /api/balance'>

/** A client that is gone. The broker has cleared the retained messages of the topics `cleared`. */
export interface RemovedClient {
  readonly clientId: string
  readonly user: string
  readonly cleared: readonly string[]
}

/** A device that discovery describes, by the preset that read the description. */
export interface DescribedDevice {
  readonly source: string
  readonly id: string
}

export interface RemovedDevice {
  /** False when nothing of the device was known. */
  readonly isKnown: boolean
  /** Topics that are the device's. */
  readonly topics: readonly string[]
  /** Topics of which the newest reading was removed. */
  readonly readings: number
}

/**
 * Questions of the HTTP API to the pipeline, each with one argument that can be sent to another thread. Answers are JSON
 * where they may be large: made in the processor thread, so that the broker thread only passes them on. With `rules` an
 * answer holds only what the rules allow to be read.
 */
export interface PipelineApi extends AlertsApi, BoardsApi {
  series(query: SeriesAnswerQuery): Promise<Json<Answer<'GET /api/series'>>>
  /** Returns the hubs of the cluster that are known, this one first; none without a cluster. */
  hubs(): Promise<readonly KnownHub[]>
  /** Rejects with `forbidden` when the series may not be read, or the mapping makes no such series. */
  history(query: {
    readonly query: HistoryQuery
    readonly rules: ReadRules | undefined
  }): Promise<Json<Answer<'GET /api/history'>>>
  /**
   * Answers a request to `/query` of InfluxDB 1.x, with the status of HTTP. Rejects with `bad_request` when the store is
   * a server that answers such requests by itself.
   */
  influxql(query: {
    readonly question: InfluxQuestion
    readonly rules: ReadRules | undefined
  }): Promise<{ readonly status: number; readonly json: Uint8Array }>
  /** Begins an export of the selected series that may be read. Resolves with the id, for the next two. */
  beginExport(asked: { readonly query: ExportQuery; readonly rules: ReadRules | undefined }): Promise<BegunExport>
  /** Resolves with the next bytes of an export; undefined at the end. */
  nextOfExport(id: number): Promise<ExportChunk | undefined>
  endExport(id: number): Promise<void>
  /** Answers a question in SQL. Rejects with `bad_request` when the store is a server, and for any other statement. */
  askSql(query: SqlQuery): Promise<Json<SqlAnswer>>
  /** Begins an import, or the rest of one. Resolves with the place of the next row. */
  beginImport(begun: ImportBegin): Promise<ImportAnswer>
  /** Resolves when the rows of a batch are stored, refused or ignored. */
  takeImport(batch: ImportBatch): Promise<ImportAnswer>
  devices(asked: DevicesQuery): Promise<Json<Answer<'GET /api/devices'>>>
  /** Answers with the catalogue of devices. */
  home(query: HomeQuery): Promise<Json<Answer<'GET /api/home'>>>
  /** Answers with a page of the tree of topics. */
  topics(query: TopicsQuery): Promise<Json<Answer<'GET /api/topics'>>>
  /** Resolves with the last messages of a topic. Rejects with `forbidden` when it may not be read. */
  topicMessages(query: MessagesQuery): Promise<Pick<Answer<'GET /api/topics/messages'>, 'messages' | 'isWhole'>>
  /** Removes a client from the devices, with its newest readings. */
  removeClient(client: RemovedClient): Promise<RemovedDevice>
  /** Removes a described device, with the newest readings of its topics. */
  removeDescribed(device: DescribedDevice): Promise<RemovedDevice>
  /** Tells what the mapping makes of a message, and stores nothing. */
  tryMapping(message: {
    readonly topic: string
    readonly payload: Uint8Array
  }): Promise<Json<Answer<'POST /api/map/try'>>>
  /** Tells what a mapping rule would make of the last messages of a topic, and stores nothing. */
  checkRule(asked: CheckedRule): Promise<Json<Answer<'POST /api/mapping/check'>>>
  /** Answers with the topics that no rule and no preset knows. */
  inbox(query: Received<'GET /api/inbox'>): Promise<Json<Answer<'GET /api/inbox'>>>
  /** Tells which series have the most points, and what rules that store less would leave of them. */
  noise(query: Received<'GET /api/noise'>): Promise<Json<Answer<'GET /api/noise'>>>
  dead(query: { readonly filter: DeadLetterFilter; readonly limit: number }): Promise<Json<Answer<'GET /api/dead'>>>
  balance(query: BalanceQuery): Promise<Json<Answer<'GET /api/balance'>>>
  /** Answers with what the store has and will need. Rejects with `bad_request` for times that are none. */
  store(query: Received<'GET /api/store'>): Promise<Json<Answer<'GET /api/store'>>>
  spool(): Promise<SpoolStatus>
  /** Answers with all outlets: how they do, and what became of their messages. */
  outlets(): Promise<readonly OutletStatus[]>
  /** Pauses an outlet, or lets it go on. Rejects with `not_found` for a name that no outlet has. */
  pauseOutlet(asked: { readonly name: string; readonly paused: boolean }): Promise<void>
  /** Resolves with the targets of notifications, and how they do. */
  notifyTargets(): Promise<readonly TargetStatus[]>
  notifyRoutes(): Promise<readonly RouteStatus[]>
  /** Resolves with the key for which browsers subscribe, and the browsers of a user. */
  pushState(user: string): Promise<Answer<'GET /api/notify/push'>>
  /** Keeps the subscription of a browser. Resolves with the id when it is on disk. */
  subscribePush(subscription: NewSubscription): Promise<string>
  /** Resolves with false when the user has no such subscription. */
  unsubscribePush(subscription: { readonly user: string; readonly id: string }): Promise<boolean>
  /** Sends a test to a target. Resolves with the number of receivers; rejects with what the target said. */
  testTarget(target: string): Promise<number>
  /** Acknowledges alerts by the token of a notification. Rejects with `forbidden` when it gives no right. */
  acknowledgeByToken(asked: {
    readonly token: string
    readonly note?: string | undefined
  }): Promise<{ readonly acknowledged: number; readonly by: string }>
  /** Resolves with messages of the spool and where they are. */
  find(query: FindQuery): Promise<Json<Answer<'GET /api/find'>>>
  /** Holds the file of the store for a copy. Undefined when the store is not a file of the hub. */
  holdStore(ms: number): Promise<HeldStore | undefined>
  releaseStore(): Promise<void>
  /**
   * Changes a series of the store. Once a field has another type, dead letters of type conflicts are replayed. Resolves
   * with false when that is left to do, as another job is under way.
   */
  changeSeries(change: SeriesChange): Promise<boolean>
  /** Begins a replay or a drop. Resolves with the number of the job, for `progress` and `cancel`. */
  begin(job: ReplayJob): Promise<number>
  progress(job: number): Promise<JobProgress>
  /** Ends a job between two batches. */
  cancel(job: number): Promise<void>
  /**
   * Opens a feed. Resolves with its number. All `live` items of the filters are delivered from now on
   * (`FeedDelivery`), also those that a chunk has.
   */
  openFeed(query: FeedQuery): Promise<number>
  /** Resolves with the next chunk of what a feed begins with. Rejects with `not_found` when the feed is closed. */
  nextOfFeed(feed: number): Promise<FeedChunk>
  closeFeed(feed: number): Promise<void>
  /**
   * Resolves with the topics for commands of a device that a description names so, by id or name, each with the names of
   * what it commands.
   */
  commandTopics(device: string): Promise<readonly { readonly topic: string; readonly names: readonly string[] }[]>
  /**
   * Reports the answer to a command, once it comes behind a sequence number of the spool. Resolves with the family of the
   * device; with undefined when it is not known how the device answers.
   */
  expectReply(command: ExpectedReply): Promise<string | undefined>
  /** Expects no answers to these commands any more. */
  forgetReplies(ids: readonly string[]): Promise<void>
}
