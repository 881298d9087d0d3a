import { join, resolve } from 'node:path'
import { BalanceSheet, type Totals } from '../accounting/balance-sheet.js'
import { BothLedgers, RejectedOnly } from '../accounting/ledgers.js'
import { decodeReceipt, Receipts } from '../accounting/receipts.js'
import type { Settings } from '../config/settings.js'
import { DeadLetterFiles } from '../dead-letters/dead-letters.js'
import { HubError } from '../errors.js'
import type { Message } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { QueueReader } from '../queue/queue.js'
import { Scrutiny, Suspects } from '../queue/suspects.js'
import { type Part, startParts } from '../runtime/lifecycle.js'
import { retryForever } from '../runtime/retry.js'
import type { ThreadExit } from '../runtime/thread-exit.js'
import { machineClock } from '../runtime/time.js'
import type { Sharing, UserShares } from '../runtime/user-shares.js'
import type { Link } from '../runtime/worker-link.js'
import { Cursors } from '../spool/cursors.js'
import type { SeriesChange, TimeSeriesStore } from '../store/store.js'
import { BrokerLink } from './broker-link.js'
import { Consumers, type ConsumersOptions } from './consumers.js'
import { loadRuleDecoders } from './decoders/rule-decoders.js'
import type { Dependencies } from './dependencies.js'
import { DeviceRemoval } from './device-removal.js'
import { Downlink } from './downlink.js'
import { KnowledgeFile } from './knowledge-file.js'
import { LivePusher } from './live-pusher.js'
import { Queries } from './queries.js'
import { RecordStage } from './record-stage.js'
import { Recorder } from './recorder.js'
import { Refill } from './refill.js'
import { Registry } from './registry.js'
import { Replays } from './replay.js'
import { KeptInSpool, ReplayWays } from './replay-ways.js'
import { Sparkplug, sparkplugReaderOf } from './sparkplug/sparkplug.js'
import { notRunning, SpoolProgress } from './spool-progress.js'
import { dependenciesOf, mappingOf, openRabbit, openStore, seriesGuardOf } from './targets.js'
import type { BrokerOffers, ProcessorOffers, ProcessorThreadData } from './thread-ports.js'

/*
 * Everything behind the spool: the other half of hub.ts, which runs in the processor thread, and `telehub process`,
 * which is the part that may run on other machines.
 *
 *   SPOOL ─┬─ cursor live ──► registry, $hub/last ─► broker thread
 *          └─ cursor record ─► decode, map ─► STORE, dead letters ─► balance
 *             or bridge ─► RABBITMQ ─► record ─► STORE, dead letters ─► balance, or a receipt to the hub it came from
 */

/**
 * Rest of the live consumer. The screen is no faster, and of the readings of a device in between only the newest is
 * pushed.
 */
const liveRestMs = 20
const liveBatch = 10_000
const recordBatch = 5_000
const probeEveryMs = 2_000
/** Rest of the record consumer, as a transaction or a request has a fixed cost. */
const recordRestMs = 25
/** Batch of the bridge: more than the window, so that the window is full most of the time. */
const bridgeBatch = 20_000
const publishBatch = 500
const receiptBatch = 100

/** Everything that runs behind the spool, once started. */
interface PipelineParts {
  readonly consumers: Consumers
  readonly queries: Queries
  readonly replays: Replays
  readonly removal: DeviceRemoval
  readonly changeSeries: (change: SeriesChange) => Promise<boolean>
  readonly sheet: () => Totals
  readonly deadBytes: () => number
  readonly seriesAlarm: () => string | undefined
  /** Returns the sequence number from which the spool must stay readable. */
  readonly needed: () => number
  readonly stop: (timeoutMs: number) => Promise<string[]>
}

/** Returns the calls that the processor thread offers. Nothing runs before `start`. */
export function processorOffers(
  data: ProcessorThreadData,
  broker: () => Link<BrokerOffers>,
  exit: ThreadExit,
): ProcessorOffers {
  const { settings, dir } = data
  const log = new BrokerLink(broker)
  const incidents = log
  const users = { shares: data.shares }
  const progress = new SpoolProgress(drainOf(settings), settings['rabbitmq.url'] !== '')
  const registry = new Registry(join(dir, 'registry.json'), undefined, { incidents, sharing: users })
  const balance = new BalanceSheet({
    dir: join(dir, 'balance'),
    offsets: progress,
    clock: machineClock,
    incidents,
  })
  let started: PipelineParts | undefined
  const running = () => {
    if (!started) throw notRunning()
    return started
  }
  return {
    start: async position => {
      const cursors = new Cursors({
        dir: join(dir, 'spool'),
        groups: ['live', progress.drain],
        inherit: { bridge: 'record', record: 'bridge' },
        position,
        keepMs: settings['spool.keep'],
        keepBytes: settings['spool.keepBytes'],
        limitBytes: settings['spool.limit'],
        pinned: () => Math.min(balance.saved, registry.saved, started ? started.needed() : 1),
        rate: settings['spool.rate'],
        clock: machineClock,
        skipped: async (group, from, to, damaged) => {
          if (group !== progress.drain) return
          if (!damaged) return balance.never(from, to)
          const messages = await balance.gone(from, to)
          if (messages === 0) return
          const sentence = `the spool: messages ${from} to ${to} are lost: their segment is damaged or was removed`
          incidents.report('spool_lost', sentence, { messages })
        },
        freed: bytes => log.freed(bytes),
        log,
        incidents,
      })
      progress.opened(cursors, position)
      started = await composeParts(data, { cursors, progress, registry, balance, sharing: users, broker: log, exit })
    },
    stop: async ({ position, drainMs }) => {
      if (!started) return { left: undefined, problems: [] }
      progress.committed(position)
      await started.consumers.drain(drainMs)
      const left = leftBehind(started)
      const problems = await started.stop(settings['shutdown.timeout'] / 4)
      started = undefined
      return { left, problems }
    },
    abandon: () => exit.prepare(),
    committed: position => progress.committed(position),
    present: presence => registry.setPresence(presence),
    refused: refusals => balance.refused(refusals),
    lost: messages => balance.lost(messages),
    shares: changed => {
      users.shares = changed
    },
    diskFull: () => progress.giveUpKept(),
    status: () => {
      const { consumers, sheet, deadBytes, seriesAlarm } = running()
      return { ...consumers.status(), sheet: sheet(), deadBytes: deadBytes(), seriesAlarm: seriesAlarm() }
    },
    series: query => running().queries.series(query),
    history: ({ query, rules }) => running().queries.history(query, rules),
    devices: rules => running().queries.devices(rules),
    removeClient: client => running().removal.client(client),
    removeDescribed: device => running().removal.described(device),
    tryMapping: ({ topic, payload }) => running().queries.tryMapping(topic, Buffer.from(payload)),
    dead: ({ filter, limit }) => running().queries.dead(filter, limit),
    balance: query => running().queries.balance(query),
    spool: () => progress.cursors.status(),
    changeSeries: change => running().changeSeries(change),
    begin: job => running().replays.begin(job),
    progress: job => running().replays.progress(job),
    cancel: job => started?.replays.cancel(job),
  }
}

/**
 * Returns the group that drains the spool: the record consumer, or the bridge into RabbitMQ, where the record consumer
 * takes the messages. Only this function chooses.
 */
function drainOf(settings: Settings): 'bridge' | 'record' {
  return settings['rabbitmq.url'] ? 'bridge' : 'record'
}

interface PipelineState {
  readonly cursors: Cursors
  readonly progress: SpoolProgress
  readonly registry: Registry
  readonly balance: BalanceSheet
  readonly sharing: Sharing
  readonly broker: BrokerLink
  readonly exit: ThreadExit
}

async function composeParts(
  { settings, dir, hubId }: ProcessorThreadData,
  { cursors, progress, registry, balance, sharing, broker, exit }: PipelineState,
): Promise<PipelineParts> {
  const log = broker
  const incidents = broker
  const sparkplug = new Sparkplug({
    settings,
    dir: join(dir, 'sparkplug'),
    delivery: broker,
    // Replays read with the mapping, which reads with this.
    replays: {
      replay: filter => replays.begin({ kind: 'replay', filter }),
      progress: job => replays.progress(job),
    },
    log,
  })
  const decoders = await loadRuleDecoders(settings.mapping)
  const mapping = mappingOf(settings, sparkplug.reader, decoders)
  const dependencies = dependenciesOf(settings, log, 'the spool keeps what arrives')
  const rabbit = settings['rabbitmq.url'] ? await openRabbit(settings, hubId, true, dependencies) : undefined
  const store = await openStore(settings, dir, incidents)
  exit.before(() => store.abandon?.())
  const files = new DeadLetterFiles({
    dir: join(dir, 'dead'),
    limitBytes: settings['dead.limit'],
    sharing,
    log,
    incidents,
    dropped: letters =>
      balance.moved(
        letters.map(letter => ({ message: letter, reason: letter.reason, partly: letter.partly })),
        'dropped',
      ),
  })
  const dead = rabbit ?? files
  const receipts = rabbit && new Receipts((hub, body) => rabbit.publishReceipts(hub, body))
  const ledger = receipts ? new BothLedgers(balance, receipts) : balance
  const livePusher = new LivePusher({ mapping, registry, store, delivery: broker })
  const guard = seriesGuardOf(settings, sharing, { path: join(dir, 'series.seen'), incidents })
  const recorder = new Recorder({
    mapping,
    guard,
    store,
    counts: broker,
  })
  const downlink = new Downlink(messages => broker.publish(messages))

  const records = !rabbit || settings['rabbitmq.record']
  const refill = new Refill({
    store,
    kind: settings['influx.url'] ? 'influxdb' : 'duckdb',
    path: join(dir, 'store.json'),
    settled: {
      get settled() {
        return Math.max(balance.highest, rabbit ? 0 : progress.drained)
      },
    },
    spool: cursors,
    recorder,
    incidents,
    log,
  })

  const reader = (group: string): QueueReader => ({
    next: (limit, signal) => cursors.reader(group).next(limit, signal),
  })
  const recording = new RecordStage({ recorder, refill, sparkplug, livePusher, dependencies })
  const handleRecord = (messages: readonly Message[]) => recording.handle(messages, true)
  const suspects = suspectsIn(join(dir, 'handling'), log, incidents, exit)
  const definitions: ConsumersOptions['consumers'] = [
    {
      name: 'live',
      // The record consumer sets a message that crashes the process aside; the screens skip the message.
      suspects: suspects('live', liveBatch, undefined),
      reader: reader('live'),
      handle: async messages => {
        balance.recordAccepted(messages)
        sparkplug.observe(messages)
        await livePusher.handle(messages)
        await sparkplug.flush()
        return undefined
      },
      batch: liveBatch,
      restMs: liveRestMs,
    },
    ...(rabbit
      ? [
          {
            name: 'bridge',
            reader: reader('bridge'),
            suspects: suspects('bridge', bridgeBatch, 'poison'),
            ledger: new RejectedOnly(balance),
            handle: async (messages: readonly Message[]) => void (await rabbit.publish(messages)),
            batch: bridgeBatch,
          },
          {
            name: 'publish',
            reader: rabbit.reader('publish'),
            suspects: suspects('publish', publishBatch, 'publish_poison'),
            handle: downlink.handle.bind(downlink),
            batch: publishBatch,
          },
          {
            name: 'receipts',
            reader: rabbit.reader('receipts'),
            suspects: suspects('receipts', receiptBatch, 'receipts_poison'),
            handle: async (messages: readonly Message[]) => void (await takeReceipts(messages, balance)),
            batch: receiptBatch,
          },
          ...(settings['rabbitmq.record']
            ? [
                {
                  name: 'record',
                  reader: rabbit.reader('record'),
                  suspects: suspects('record', recordBatch, 'poison'),
                  handle: handleRecord,
                  batch: recordBatch,
                  restMs: recordRestMs,
                  ledger,
                },
              ]
            : []),
        ]
      : [
          {
            name: 'record',
            reader: reader('record'),
            suspects: suspects('record', recordBatch, 'poison'),
            handle: handleRecord,
            batch: recordBatch,
            restMs: recordRestMs,
            ledger,
          },
        ]),
  ]
  const consumers = new Consumers({
    dependencies,
    dead,
    consumers: definitions,
    spool: progress,
    counts: {
      deadLettered: reason => {
        sparkplug.deadLettered(reason)
        broker.deadLettered(reason)
      },
    },
    clock: machineClock,
  })
  const handler = new ReplayWays({ recording, downlink })
  const replays = new Replays({ dead, handler, account: ledger, kept: new KeptInSpool(cursors) })
  const queries = new Queries({
    trials: { trial: () => mappingOf(settings, sparkplug.trial, decoders) },
    store,
    mapping,
    registry,
    dead,
    balance,
    offsets: progress,
    dependencies,
  })
  const parts: Part[] = [
    { name: 'cursors', start: () => cursors.start(), stop: () => cursors.stop() },
    balance,
    // After a crash the registry and the balance lack the last seconds, which are in the spool.
    { name: 'registry', start: () => rewind(cursors, registry, balance), stop: () => registry.stop() },
    new KnowledgeFile(join(dir, 'knowledge.json'), mapping.knowledge, incidents),
    ...(rabbit ? [{ name: rabbit.name, start: () => {}, stop: () => rabbit.stop() }] : []),
    ...(rabbit ? [] : [files]),
    guard,
    sparkplug,
    {
      name: 'store',
      start: async () => {
        try {
          await store.start()
          if (!settings['influx.url']) dependencies.heard('store', true)
        } catch (error) {
          // The spool keeps arriving messages, so the hub starts without a store that cannot be opened now.
          if (!(error instanceof HubError) || error.code !== 'store_unavailable') throw error
          dependencies.heard('store', false, error.message)
        }
      },
      stop: () => store.stop(),
    },
    storeProbe(store, dependencies),
    ...(records ? [refilling(refill, dependencies)] : []),
    { name: 'live', start: () => livePusher.start(), stop: () => {} },
    { name: 'replays', start: () => {}, stop: () => replays.stop() },
    consumers,
  ]
  return {
    consumers,
    queries,
    replays,
    removal: new DeviceRemoval(registry, mapping.knowledge, broker, progress),
    changeSeries: async change => {
      await dependencies.ask('store', () => store.change(change))
      if (change.kind === 'drop') guard.forget(change.series)
      if (change.kind !== 'retype') return true
      try {
        replays.begin({ kind: 'replay', filter: { reason: 'type_conflict' } })
        return true
      } catch (error) {
        if (error instanceof HubError && error.code === 'busy') return false
        throw error
      }
    },
    sheet: () => balance.sheet(progress),
    deadBytes: () => (rabbit ? 0 : files.bytes),
    seriesAlarm: () => guard.alarm(),
    needed: () => (records ? refill.needed : Number.POSITIVE_INFINITY),
    stop: await startParts(parts),
  }
}

/**
 * Probes the store by a query with an empty answer, so that its state is known without anything to write or to query.
 */
function storeProbe(store: TimeSeriesStore, dependencies: Dependencies): Part {
  const series = { measurement: 'telehub', tags: [], field: 'probe' }
  const probe = () => {
    if (dependencies.isUp('store')) return
    const question = () => store.history({ series, from: 0, to: 1, points: 1, fn: 'last' })
    dependencies.ask('store', question).catch(() => {})
  }
  let timer: NodeJS.Timeout | undefined
  return {
    name: 'store probe',
    start: () => {
      probe()
      timer = setInterval(probe, probeEveryMs)
    },
    stop: () => clearInterval(timer),
  }
}

/** Refills the store at the start, also when no new message arrives. */
function refilling(refill: Refill, dependencies: Dependencies): Part {
  const name = 'refill'
  const abort = new AbortController()
  return {
    name,
    start: () => {
      refill.start()
      retryForever(() => refill.ready(), {
        signal: abort.signal,
        circuitOf: error => dependencies.circuitOf(error),
        retrying: (error, circuit) => dependencies.retrying(name, error, circuit),
        recovered: () => dependencies.recovered(name),
      })
    },
    stop: () => {
      abort.abort()
      return refill.stop()
    },
  }
}

function rewind(cursors: Cursors, registry: Registry, balance: BalanceSheet): void {
  cursors.reader('live').rewind(Math.min(registry.start(), balance.saved))
}

/**
 * Returns a function that makes the `Suspects` of a consumer, which find the messages that crash this process. Records
 * are kept in `dir`.
 */
function suspectsIn(dir: string, log: SentenceLog, incidents?: IncidentReporter, exit?: ThreadExit) {
  const scrutiny = new Scrutiny(dir)
  exit?.before(() => scrutiny.end())
  const blamed = (sentence: string) => (incidents ? incidents.report('poison_message', sentence) : log.warn(sentence))
  return (name: string, batch: number, reason: string | undefined) =>
    new Suspects({ name, scrutiny, batch, reason, blamed, log })
}

async function takeReceipts(messages: readonly Message[], balance: BalanceSheet): Promise<void> {
  for (const { payload } of messages) {
    const receipt = decodeReceipt(payload)
    if (!receipt) continue
    if (receipt.moved) {
      const letters = receipt.entries.map(({ reason = '', ...entry }) => ({ ...entry, reason }))
      await balance.moved(letters, receipt.moved)
    } else await balance.settleAll(receipt.entries)
  }
}

/** Returns a sentence for people about messages not stored when the hub stops. */
function leftBehind({ sheet, consumers }: PipelineParts): string | undefined {
  const { spool, queue } = sheet()
  if (spool === 0 && queue === 0) return undefined
  const waits = consumers.status().waiting.map(({ consumer, target }) => `${consumer} waits for ${target}`)
  const why = waits.length > 0 ? waits.join(', ') : 'it takes longer than a stop may'
  const where = [spool > 0 ? `${spool} in the spool` : '', queue > 0 ? `${queue} in RabbitMQ` : ''].filter(Boolean)
  return `not stored yet: ${where.join(', ')} (${why}); the next start goes on`
}

/**
 * Runs `telehub process`: the record consumer alone, on any machine that reaches RabbitMQ and the store. Resolves when
 * running; the function returned stops the consumer, with a sentence for each part that did not stop in order.
 */
export async function startProcess(settings: Settings, log: SentenceLog): Promise<() => Promise<string[]>> {
  for (const key of ['rabbitmq.url', 'influx.url'] as const) {
    if (settings[key] === '') {
      throw new HubError(
        'bad_settings',
        `${key}: telehub process takes from RabbitMQ and writes to InfluxDB, so it is needed`,
      )
    }
  }
  const dependencies = dependenciesOf(settings, log, 'what RabbitMQ holds waits there')
  // This process is no hub: every message is from a hub that waits for the receipt.
  const rabbit = await openRabbit(settings, '', false, dependencies)
  const store = await openStore(settings, resolve(settings['data.dir']), {
    report: (_, sentence) => log.warn(sentence),
  })
  const shares: UserShares = { isOpen: false, usual: settings['limits.share'] / 100, own: new Map() }
  const guard = seriesGuardOf(settings, { shares })
  const sparkplug = sparkplugReaderOf(settings, join(resolve(settings['data.dir']), 'sparkplug'), log)
  const mapping = mappingOf(settings, sparkplug.reader, await loadRuleDecoders(settings.mapping))
  const recorder = new Recorder({ mapping, guard, store })
  const ledger = new Receipts((hub, body) => rabbit.publishReceipts(hub, body))
  const consumers = new Consumers({
    dependencies,
    dead: rabbit,
    consumers: [
      {
        name: 'record',
        reader: rabbit.reader('record'),
        suspects: suspectsIn(join(resolve(settings['data.dir']), 'process'), log)('record', recordBatch, 'poison'),
        handle: async messages => {
          const outcomes = await recorder.handle(messages)
          await sparkplug.births.flush()
          return outcomes
        },
        batch: recordBatch,
        ledger,
      },
    ],
    clock: machineClock,
  })
  const stop = await startParts([
    { name: rabbit.name, start: () => {}, stop: () => rabbit.stop() },
    { name: 'sparkplug', start: () => sparkplug.births.start(), stop: () => sparkplug.births.flush() },
    { name: 'store', start: () => store.start(), stop: () => store.stop() },
    consumers,
  ])
  return () => stop(settings['shutdown.timeout'])
}
