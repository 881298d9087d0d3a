import type { BalanceSheet } from '../accounting/balance-sheet.js'
import { RejectedOnly } from '../accounting/ledgers.js'
import { takeReceipts } from '../accounting/receipts.js'
import type { Cluster } from '../cluster/cluster.js'
import type { Message } from '../model.js'
import type { Ledger, QueueReader, QueueServer } from '../queue/queue.js'
import { Rest } from '../runtime/rest.js'
import type { Cursors } from '../spool/cursors.js'
import { busCursor } from './cluster-parts.js'
import type { ConsumerSuspects } from './consumer-suspects.js'
import type { ConsumersOptions } from './consumers.js'
import type { Downlink } from './downlink.js'
import type { LiveStage } from './live-stage.js'
import { MessageSpans, type SpanSink, TracedLedger } from './message-spans.js'
import type { RecordStage } from './record-stage.js'

const liveBatch = 10_000
export const recordBatch = 5_000
/** Rest of the record consumer, as a transaction or a request has a fixed cost. */
const recordRestMs = 25
/** Batch of the bridge: more than the window, so that the window is full most of the time. */
const bridgeBatch = 20_000
const publishBatch = 500
const receiptBatch = 100
/** Batch to and from the other hubs. */
const busBatch = 5_000

type ConsumerSetup = ConsumersOptions['consumers'][number]

export { spansOf } from './message-spans.js'

export interface HubConsumersOptions {
  readonly cursors: Cursors
  /** Undefined when the spool is the queue. */
  readonly server: QueueServer | undefined
  /** Undefined for a hub that is alone. */
  readonly cluster: Cluster | undefined
  /** Whether this hub stores messages. Otherwise `telehub process` does, on other machines. */
  readonly records: boolean
  readonly live: LiveStage
  readonly recording: RecordStage
  readonly downlink: Downlink
  readonly balance: BalanceSheet
  readonly ledger: Ledger
  readonly suspects: ConsumerSuspects
  /** Undefined when no spans are sent. */
  readonly spans: SpanSink | undefined
}

/** Returns what each consumer of a hub reads, and which handler takes it. */
export function hubConsumers(options: HubConsumersOptions): readonly ConsumerSetup[] {
  const { cursors, server, cluster, records, live, recording, downlink, balance, ledger, suspects, spans } = options
  const traced = spans && new MessageSpans(spans)
  // Cursors are there once the spool is open.
  const inSpool = (group: string): QueueReader => ({
    next: (limit, signal) => cursors.reader(group).next(limit, signal),
  })
  const toScreen: ConsumerSetup = {
    name: 'live',
    // The record consumer sets a message that crashes the process aside; the screens skip the message.
    suspects: suspects.of('live', liveBatch, undefined),
    reader: inSpool('live'),
    handle: messages => live.handle(messages),
    batch: liveBatch,
    rest: live.rest,
  }
  const toStore = (reader: QueueReader): ConsumerSetup => ({
    name: 'record',
    reader,
    suspects: suspects.of('record', recordBatch, 'poison'),
    handle: messages => recording.handle(messages, true),
    batch: recordBatch,
    rest: new Rest(recordRestMs),
    ledger: traced ? new TracedLedger(ledger, traced) : ledger,
  })
  if (!server) return [toScreen, toStore(inSpool('record'))]
  const toServer: ConsumerSetup = {
    name: 'bridge',
    reader: inSpool('bridge'),
    suspects: suspects.of('bridge', bridgeBatch, 'poison'),
    ledger: new RejectedOnly(balance),
    handle: (messages: readonly Message[]) =>
      traced ? traced.around('telehub publish', messages, all => server.bridge(all)) : server.bridge(messages),
    batch: bridgeBatch,
  }
  const toSubscribers: ConsumerSetup = {
    name: 'publish',
    reader: server.reader('publish'),
    suspects: suspects.of('publish', publishBatch, 'publish_poison'),
    handle: messages => downlink.handle(messages),
    batch: publishBatch,
  }
  const toBalance: ConsumerSetup = {
    name: 'receipts',
    reader: server.reader('receipts'),
    suspects: suspects.of('receipts', receiptBatch, 'receipts_poison'),
    handle: async (messages: readonly Message[]) => void (await takeReceipts(messages, balance)),
    batch: receiptBatch,
  }
  const toOthers: ConsumerSetup | undefined = cluster && {
    name: 'bus',
    suspects: suspects.of('bus', busBatch, undefined),
    reader: inSpool(busCursor),
    handle: messages => cluster.send(messages),
    batch: busBatch,
  }
  const fromOthers: ConsumerSetup | undefined = cluster && {
    name: 'others',
    suspects: suspects.of('others', busBatch, undefined),
    reader: cluster.reader(),
    handle: messages => cluster.receive(messages),
    batch: busBatch,
  }
  const shared = [toOthers, fromOthers].filter(one => one !== undefined)
  const all = [toScreen, toServer, toSubscribers, toBalance, ...shared]
  return records ? [...all, toStore(server.reader('record'))] : all
}
