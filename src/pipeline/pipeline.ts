import { join } from 'node:path'
import type { BalanceSheet } from '../accounting/balance-sheet.js'
import { BothLedgers } from '../accounting/ledgers.js'
import { Receipts } from '../accounting/receipts.js'
import type { Alerts } from '../alerts/alerts.js'
import type { Outlets } from '../outlets/outlets.js'
import { startParts } from '../runtime/lifecycle.js'
import type { ThreadExit } from '../runtime/thread-exit.js'
import { machineClock } from '../runtime/time.js'
import type { Sharing } from '../runtime/user-shares.js'
import type { SpoolPosition } from '../spool/spool.js'
import { alertsOf, BatchReadings } from './alert-parts.js'
import type { BrokerLink } from './broker-link.js'
import { downlinkOf, openCluster } from './cluster-parts.js'
import { ConsumerSuspects } from './consumer-suspects.js'
import { Consumers } from './consumers.js'
import { loadRuleDecoders } from './decoders/rule-decoders.js'
import { DeviceRemoval } from './device-removal.js'
import { LiveFeeds } from './feeds/live-feeds.js'
import { ReadingJson } from './feeds/reading-json.js'
import { Home } from './home/home.js'
import { hubConsumers, spansOf } from './hub-consumers.js'
import { KnowledgeFile } from './knowledge-file.js'
import { LivePusher } from './live-pusher.js'
import { LiveStage } from './live-stage.js'
import { notificationsOf } from './notifying.js'
import { OutletLetters, outletsOf } from './outlet-parts.js'
import { Queries, TrialMappings } from './queries.js'
import { openQueueServer, queueParts, storesHere } from './queue-server.js'
import { RecordStage } from './record-stage.js'
import { Recorder } from './recorder.js'
import type { Registry } from './registry.js'
import { replaysOf, SpoolAndArchive } from './replay-ways.js'
import type { ReplyWatch } from './reply-watch.js'
import { SeriesChanges } from './series-changes.js'
import { Sparkplug } from './sparkplug/sparkplug.js'
import { cursorsOf } from './spool-cursors.js'
import { SettledMessages, type SpoolProgress } from './spool-progress.js'
import { refillOf, retentionOf, StoreRefill, storeParts } from './store-parts.js'
import { deadLetterFilesOf, dependenciesOf, mappingOf, openStore, seriesGuardOf } from './targets.js'
import type { ProcessorThreadData } from './thread-ports.js'

/*
 * Everything behind the spool: the other half of hub.ts, in the processor thread, in the order that a message takes.
 *
 *   SPOOL ─┬─ cursor live ──► registry, $hub/last ─► broker thread
 *          └─ cursor record ─► decode, map ─► STORE, dead letters ─► balance
 *             or bridge ─► RABBITMQ, KAFKA ─► record ─► STORE, dead letters ─► balance, or a receipt to the hub it came from
 *   telehub.publish there ─► publish ─► broker thread
 */

/** Parts of the processor thread that the broker thread may call before the spool is open. */
export interface PipelineBasis {
  readonly broker: BrokerLink
  readonly sharing: Sharing
  readonly progress: SpoolProgress
  readonly registry: Registry
  readonly balance: BalanceSheet
  readonly replies: ReplyWatch
  readonly exit: ThreadExit
}

export interface Pipeline {
  readonly consumers: Consumers
  readonly outlets: Outlets
  readonly queries: Queries
  readonly replays: ReturnType<typeof replaysOf>
  readonly removal: DeviceRemoval
  readonly feeds: LiveFeeds
  readonly alerts: Alerts
  readonly home: Home
  readonly live: LiveStage
  readonly seriesChanges: SeriesChanges
  readonly retention: ReturnType<typeof retentionOf>
  readonly notifications: ReturnType<typeof notificationsOf>
  readonly cluster: Awaited<ReturnType<typeof openCluster>>
  /** Returns the bytes of dead letters on the hub's disk. */
  deadBytes(): number
  seriesAlarm(): string | undefined
  /** Resolves when all is stopped, with a sentence for each part that did not stop in order. */
  stop(timeoutMs: number): Promise<string[]>
}

/** Starts everything behind the spool, which is committed up to `position`. Throws a `HubError` that names a remedy. */
export async function startPipeline(
  { settings, dir, hubId, version, isFirst }: ProcessorThreadData,
  basis: PipelineBasis,
  position: SpoolPosition,
): Promise<Pipeline> {
  const { broker, broker: log, broker: incidents, sharing, progress, registry, balance, replies, exit } = basis
  // Other systems, each at its own pace; and what finds messages that crash the process.
  const suspects = new ConsumerSuspects(join(dir, 'handling'), { log, incidents, exit })
  const outlets = outletsOf(settings, { dir, hubId }, { progress, suspects, broker })

  // The reading side of the spool: a cursor for each consumer that reads there.
  let isStarted = false
  const needed = () => (isStarted ? Math.min(records ? refill.needed : Number.POSITIVE_INFINITY, alerts.saved) : 1)
  const cursors = cursorsOf(settings, { dir, position, progress, registry, balance, broker, outlets, needed })
  progress.opened(cursors, position)

  // How payloads are read: by rules, presets, what devices told of themselves, and the births of Sparkplug B.
  const sparkplug = new Sparkplug({
    ...{ settings, dir: join(dir, 'sparkplug'), delivery: broker, log, incidents },
    // Replays read with the mapping, which reads with this.
    replays: {
      replay: filter => replays.begin({ kind: 'replay', filter }),
      progress: job => replays.progress(job),
    },
  })
  const decoders = await loadRuleDecoders(settings.mapping)
  const mapping = mappingOf(settings, sparkplug.reader, decoders)
  const knowledge = new KnowledgeFile(join(dir, 'knowledge.json'), mapping.knowledge, incidents)

  // Where messages go: into the store, by way of RabbitMQ or Kafka if there is one. A target that is down is waited for.
  const dependencies = dependenciesOf(settings, log, 'the spool keeps arriving messages')
  const server = await openQueueServer(settings, hubId, true, dependencies, isFirst)
  const records = !server || storesHere(settings)
  const store = await openStore(settings, dir, incidents)
  exit.before(() => store.abandon?.())

  // Messages that cannot be stored, and the account of all: in the balance sheet, or by receipts to the hubs of other messages.
  const files = deadLetterFilesOf(settings, dir, { sharing, balance, log, incidents })
  const ledger = server ? new BothLedgers(balance, new Receipts(server)) : balance
  const dead = new OutletLetters(server?.deadLetters(files) ?? files, ledger, outlets)

  // Live: the registry of devices, the newest readings for the screen, and the alerts.
  const [settled, json] = [new SettledMessages(balance, progress), new ReadingJson(mapping, store)]
  const readings = new BatchReadings(mapping)
  const livePusher = new LivePusher({ mapping: readings, registry, json, delivery: broker })
  const feeds = new LiveFeeds({ mapping, json, registry, store, dependencies, cursors, settled, delivery: broker })
  const alerts = alertsOf({ ...basis, settings, dir, mapping, readings, cursors, store, home: () => home })
  const home = new Home({ settings, dir, mapping, store, registry, live: livePusher, alerts, broker })
  const live = new LiveStage({ balance, sparkplug, livePusher, feeds, replies, alerts, registry, readings, cursors })

  // Record: within the limits of series into the store, after what a store that was emptied lacks.
  const guard = seriesGuardOf(settings, sharing, { path: join(dir, 'series.seen'), incidents })
  const recorder = new Recorder({ mapping, guard, store, counts: broker })
  const spool = new SpoolAndArchive(cursors)
  const refill = refillOf(settings, dir, { store, settled, spool, recorder, incidents, log })
  const retention = retentionOf(settings, dir, { store, mapping, dependencies, log })
  const recording = new RecordStage({ recorder, refill, sparkplug, livePusher, dependencies })

  // Back ends: what they publish goes to MQTT subscribers. People: they are told of alerts.
  const notifications = notificationsOf(settings, dir, { alerts, mapping, broker })
  alerts.reportTo(notifications)
  const cluster = await openCluster({ settings, dir, hubId, version }, broker, progress)
  const [downlink, spans] = [downlinkOf(broker, cluster), spansOf(settings, broker)]
  const trials = new TrialMappings(settings, sparkplug, decoders)
  const found = { cursors, recording, downlink, outlets, dead, trials, store, settled, guard, dependencies }

  // The loops that carry messages from a source to its handler.
  const consumers = new Consumers({
    consumers: hubConsumers({ ...found, server, cluster, records, live, balance, ledger, suspects, spans }),
    ...{ dependencies, dead, spool: progress, counts: [sparkplug, broker], clock: machineClock },
  })

  // Questions and orders of the API.
  const replays = replaysOf({ ...found, account: dead })
  const seriesChanges = new SeriesChanges({ store, guard, dependencies, replays })
  const removal = new DeviceRemoval({ registry, knowledge: mapping.knowledge, delivery: broker, progress, feeds })
  const queries = new Queries({ ...basis, trials, store, mapping, dead, offsets: progress, dependencies, dir, guard })

  const stop = await startParts([
    { name: 'cursors', start: () => cursors.start(), stop: () => cursors.stop() },
    ...[balance, { name: 'registry', start: () => void registry.start(), stop: () => registry.stop() }, knowledge],
    ...[...queueParts(server, dead.own, files), guard, sparkplug, ...(spans ? [spans] : [])],
    ...storeParts(settings, store, dependencies, incidents),
    ...(records ? [new StoreRefill(refill, dependencies)] : []),
    ...[retention, alerts, notifications, home, live, ...(cluster ? [cluster] : [])],
    ...[{ name: 'replays', start: () => {}, stop: () => replays.stop() }, consumers, outlets],
  ])
  isStarted = true
  const more = { cluster, deadBytes: () => files.bytes, seriesAlarm: () => guard.alarm(), seriesChanges, stop }
  return { consumers, outlets, queries, replays, removal, feeds, alerts, home, live, retention, notifications, ...more }
}
