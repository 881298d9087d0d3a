import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Worker } from 'node:worker_threads'
import { Broker, type Presence } from './broker/broker.js'
import { Connections } from './broker/connections.js'
import { Listeners, listenError, loadTls } from './broker/listeners.js'
import type { Settings } from './config.js'
import { HubError } from './errors.js'
import { HttpServer } from './http/server.js'
import { Ingest } from './ingest/ingest.js'
import { type Part, startParts } from './lifecycle.js'
import { Link } from './link.js'
import { DataDirLock } from './lock.js'
import type { Log } from './log.js'
import { increment, Metrics } from './metrics.js'
import type { Outward } from './model.js'
import { Live, type Push as LivePush } from './process/live.js'
import { Mapping } from './process/mapping.js'
import { type Dependency, Processor } from './process/processor.js'
import { Record } from './process/record.js'
import { Registry } from './process/registry.js'
import { Push } from './push/push.js'
import { Cursors } from './queue/cursors.js'
import { DeadLetterFiles } from './queue/dead-letters.js'
import type { QueueReader } from './queue/queue.js'
import { Spool, type SpoolPosition } from './queue/spool.js'
import type { HistoryQuery } from './store/store.js'

/*
 * The hub, in the order a message goes through it:
 *
 *   device ─► listeners ─► broker ─► ingest ─► SPOOL ─► PUBACK ─► MQTT subscribers          startHub, the broker thread
 *                                                │
 *                                                ├─ cursor live ──► registry, $hub/last ─► broker      startProcessor,
 *                                                └─ cursor record ─► decode, map ─► STORE              the processor
 *                                                   or bridge ─► RABBITMQ ─► record ─► STORE           thread
 *   back end ─► RABBITMQ telehub.publish ─► push ─► broker ─► MQTT subscribers
 */

export interface Hub {
  readonly mqttUrl: string
  /** If there is a listener for it. */
  readonly mqttsUrl: string | undefined
  readonly httpUrl: string
  readonly webSocketUrl: string
  /** Resolves when all is stopped, with a sentence for each part that did not stop in order. */
  stop(): Promise<string[]>
  /** Resolves, with the reason, if the hub cannot go on. */
  readonly failed: Promise<Error>
}

/** Accepted bytes that may wait for the disk before no connection is read any more. */
const ingestBudgetBytes = 8e6

/** Microseconds since the epoch. */
const now = () => Date.now() * 1_000

/** Starts everything, sinks first; resolves when the hub serves. Throws a `HubError` that says what to do. */
export async function startHub(settings: Settings, log: Log, version: string): Promise<Hub> {
  const dir = resolve(settings['data.dir'])
  const spoolDir = join(dir, 'spool')
  const lock = new DataDirLock(dir)
  const tlsPaths = { cert: settings['tls.cert'], key: settings['tls.key'], ca: settings['tls.ca'] }
  const tls = tlsPaths.cert ? loadTls(tlsPaths) : undefined
  const secure = tls ? 's' : ''
  const hostInUrl = settings.host.includes(':') ? `[${settings.host}]` : settings.host
  let fail: (error: Error) => void = () => {}
  const failed = new Promise<Error>(resolveFailed => {
    fail = resolveFailed
  })

  const metrics = new Metrics({
    clients: () => broker.clients,
    connections: () => connections.count,
    delivered: () => connections.traffic.publishesOut,
    sessions: () => broker.counts.sessions,
    subscriptions: () => broker.counts.subscriptions,
    retained: () => broker.counts.retained,
    retainedBytes: () => broker.counts.retainedBytes,
    spoolBytes: () => spool.bytes,
    lag: async () => (await processor.call('status', undefined)).lag,
  })

  const spool = new Spool({
    dir: spoolDir,
    // The two newest segments are never deleted; a small limit needs room beside them.
    segmentBytes: Math.min(settings['spool.segment'], settings['spool.limit'] / 8),
    limitBytes: settings['spool.limit'],
    fsync: settings['spool.fsync'],
    now,
    settled: () => ingest.settled(),
    committed: position => {
      broker.committed(position.sequence)
      processor.committed(position)
    },
    warn: sentence => log.warn(sentence),
  })

  const ingest = new Ingest({
    log: spool,
    budgetBytes: ingestBudgetBytes,
    relieved: () => connections.relieved(),
    received: bytes => {
      metrics.receivedBytes += bytes
    },
    accepted: qos => {
      metrics.received[qos]++
    },
    settled: (publish, error, sequence) => broker.settled(publish, error, sequence),
    refused: (_qos, reason) => increment(metrics.refused, reason),
  })

  const identity = new Identity(dir)

  const broker: Broker = new Broker({
    id: () => identity.brokerId,
    version,
    sessions: {
      dir: join(dir, 'sessions'),
      fsync: settings['spool.fsync'],
      queue: {
        window: settings['limits.window'],
        messages: settings['limits.queue'],
        bytes: settings['limits.queueBytes'],
        ageMs: settings['limits.queueAge'],
      },
      sessions: settings['limits.sessions'],
      sessionAgeMs: settings['limits.sessionAge'],
      retained: { messages: settings['limits.retained'], bytes: settings['limits.retainedBytes'] },
    },
    subscriptions: settings['limits.subscriptions'],
    sysMs: settings['sys.interval'],
    sysReadable: settings['sys.read'] === 'all',
    accept: (publish, inOrder) => ingest.accept(publish, inOrder),
    flush: () => spool.flush(),
    replay: after => spool.replay(after),
    now,
    presence: presence => processor.tell('present', presence),
    refused: reason => increment(metrics.refused, reason),
    dropped: what => increment(metrics.givenUp, what),
    statistics: () => ({
      traffic: connections.traffic,
      received: metrics.received[0] + metrics.received[1] + metrics.received[2],
      receivedBytes: metrics.receivedBytes,
      dropped: metrics.dropped,
    }),
    log: {
      debug: sentence => log.debug(sentence),
      info: sentence => log.info(sentence),
      warn: sentence => log.warn(sentence),
    },
  })

  const connections: Connections = new Connections({
    limits: {
      connections: settings['limits.connections'],
      perAddress: settings['limits.address'],
      connectMs: settings['limits.connect'],
      helloBytes: settings['limits.hello'],
      packetBytes: settings['limits.packet'],
      inflight: settings['limits.inflight'],
      inflightBytes: settings['limits.inflightBytes'],
      messages: settings['limits.messages'],
      bytes: settings['limits.bytes'],
      outboxBytes: settings['limits.outbox'],
      stuckMs: settings['limits.stuck'],
      keepAliveMs: settings['limits.keepalive'],
    },
    protocol: connection => broker.protocol(connection),
    overloaded: () => ingest.overloaded,
    drain: () => spool.flush(),
    refused: (reason, sentence) => {
      increment(metrics.refused, reason)
      log.debug(sentence)
    },
    dropped: () => {
      metrics.dropped++
    },
  })

  const processor = new ProcessorThread({
    settings,
    dir,
    hubId: () => identity.hubId,
    position: () => spool.position,
    offers: {
      live: pushes => {
        for (const { topic, json } of pushes)
          broker.publish({ topic, payload: Buffer.from(json), qos: 0, retain: true })
      },
      outward: async messages => {
        for (const { payload, ...message } of messages) broker.publish({ ...message, payload: Buffer.from(payload) })
        await broker.flushed()
      },
      freed: bytes => spool.freed(bytes),
      stored: ({ messages, points }) => {
        metrics.stored += messages
        metrics.points += points
      },
      deadLettered: reason => increment(metrics.dead, reason),
      log: ({ level, sentence }) => log[level](sentence),
    },
    died: error => fail(error),
  })

  const listeners: Listeners = new Listeners({
    host: settings.host,
    mqttPort: settings['mqtt.port'],
    mqttsPort: settings['mqtts.port'],
    tls: tlsPaths,
    webSocket: {
      origins: settings['ws.origins'],
      pingMs: settings['ws.ping'],
      packetBytes: settings['limits.packet'],
    },
    proxy: { trusted: settings['proxy.trusted'], protocol: settings['proxy.protocol'] },
    pending: settings['limits.connections'],
    handshakeMs: settings['limits.connect'],
    accept: (stream, peer) => connections.accept(stream, peer),
    refused: reason => increment(metrics.refused, reason),
    info: sentence => log.info(sentence),
  })

  const http = new HttpServer({
    host: settings.host,
    port: settings['http.port'],
    version,
    tls,
    api: {
      series: limit => processor.call('series', limit),
      history: query => processor.call('history', query),
      devices: () => processor.call('devices', undefined),
      dead: limit => processor.call('dead', limit),
      ready: async () => ({
        ready: !spool.full,
        dependencies: (await processor.call('status', undefined)).dependencies,
      }),
      metrics: async () => ({ text: await metrics.text(), contentType: metrics.contentType }),
      now,
    },
    upgrade: (request, socket, head) => listeners.upgrade(request, socket, head),
    listenError,
    warn: sentence => log.warn(sentence),
  })

  const stop = await startParts([lock, identity, spool, broker, processor, http, connections, listeners])
  return {
    mqttUrl: `mqtt://${hostInUrl}:${listeners.mqttPort}`,
    mqttsUrl: listeners.mqttsPort === undefined ? undefined : `mqtts://${hostInUrl}:${listeners.mqttsPort}`,
    httpUrl: `http${secure}://${hostInUrl}:${http.port}`,
    webSocketUrl: `ws${secure}://${hostInUrl}:${http.port}/mqtt`,
    stop: () => stop(settings['shutdown.timeout']),
    failed,
  }
}

/** What the broker thread offers the processor thread. */
export type BrokerOffers = {
  live: (pushes: readonly LivePush[]) => void
  /** Resolves when the broker has them for good. */
  outward: (messages: readonly (Omit<Outward, 'payload'> & { payload: Uint8Array })[]) => Promise<void>
  freed: (bytes: number) => void
  stored: (count: { messages: number; points: number }) => void
  deadLettered: (reason: string) => void
  log: (line: { level: 'info' | 'warn'; sentence: string }) => void
}

/** What the processor thread offers the broker thread. */
export type ProcessorOffers = {
  start: (position: SpoolPosition) => Promise<void>
  stop: (argument: undefined) => Promise<void>
  committed: (position: SpoolPosition) => void
  present: (presence: Presence) => void
  status: (argument: undefined) => { dependencies: readonly Dependency[]; lag: Readonly<{ [cursor: string]: number }> }
  series: (limit: number) => Promise<Uint8Array>
  history: (query: HistoryQuery) => Promise<Uint8Array>
  devices: (argument: undefined) => Uint8Array
  dead: (limit: number) => Promise<Uint8Array>
}

/** What the processor thread is given when it is made. */
export interface ProcessorThreadData {
  readonly settings: Settings
  readonly dir: string
  readonly hubId: string
}

/** The processor thread's parts: everything behind the spool. Nothing runs before `start`. */
export function processorOffers(
  { settings, dir, hubId }: ProcessorThreadData,
  broker: () => Link<BrokerOffers>,
): ProcessorOffers {
  const log = {
    info: (sentence: string) => broker().tell('log', { level: 'info', sentence }),
    warn: (sentence: string) => broker().tell('log', { level: 'warn', sentence }),
  }
  let started: { processor: Processor; stop: (timeoutMs: number) => Promise<string[]> } | undefined
  let committed: SpoolPosition
  let cursors: Cursors | undefined
  const running = () => {
    if (!started) throw new HubError('stopping', 'the hub is starting or stopping; ask again')
    return started
  }
  const registry = new Registry(join(dir, 'registry.json'))

  async function start(position: SpoolPosition): Promise<void> {
    committed = position
    const mapping = new Mapping(settings.mapping)
    const rabbit = settings['rabbitmq.url']
      ? new (await import('./queue/rabbitmq.js')).RabbitMq({
          url: settings['rabbitmq.url'],
          hubId,
          prefetch: settings['rabbitmq.prefetch'],
          state: (up, detail) => processor.report('rabbitmq', up, detail, 'RabbitMQ'),
          now,
        })
      : undefined
    const store = settings['influx.url']
      ? new (await import('./store/influxdb.js')).InfluxStore({ url: settings['influx.url'] })
      : new (await import('./store/duckdb.js')).DuckDbStore({ path: join(dir, 'store.duckdb') })

    const spool = new Cursors({
      dir: join(dir, 'spool'),
      groups: ['live', rabbit ? 'bridge' : 'record'],
      inherit: { bridge: 'record', record: 'bridge' },
      position: committed,
      freed: bytes => broker().tell('freed', bytes),
      warn: log.warn,
    })
    cursors = spool
    const dead = rabbit ?? new DeadLetterFiles(join(dir, 'dead'))
    const live = new Live({ mapping, registry, push: pushes => broker().call('live', pushes) })
    const record = new Record({
      mapping,
      store,
      recorded: (messages, points) => broker().tell('stored', { messages, points }),
    })
    // Copies: a payload is a view into an AMQP frame, and a view is cloned with all that is behind it.
    const push = new Push(messages =>
      broker().call(
        'outward',
        messages.map(message => ({ ...message, payload: Uint8Array.from(message.payload) })),
      ),
    )

    // The only place that chooses: the spool is drained by the record consumer, or into RabbitMQ and from there by it.
    const reader = (group: string): QueueReader => ({
      next: (limit, signal) => spool.reader(group).next(limit, signal),
    })
    const consumers = [
      { name: 'live', reader: reader('live'), handle: live.handle.bind(live), batch: 2_000 },
      ...(rabbit
        ? [
            {
              name: 'bridge',
              reader: reader('bridge'),
              handle: async (messages: Parameters<typeof rabbit.publish>[0]) => void (await rabbit.publish(messages)),
              batch: settings['rabbitmq.window'],
            },
            { name: 'record', reader: rabbit.reader('record'), handle: record.handle.bind(record), batch: 5_000 },
            { name: 'publish', reader: rabbit.reader('publish'), handle: push.handle.bind(push), batch: 500 },
          ]
        : [{ name: 'record', reader: reader('record'), handle: record.handle.bind(record), batch: 5_000 }]),
    ]
    const processor = new Processor({
      store,
      storeName: settings['influx.url'] ? 'InfluxDB' : 'DuckDB',
      mapping,
      registry,
      live,
      dead,
      consumers,
      lag: () => Object.fromEntries(spool.groups.map(group => [group, spool.depth(group)])),
      deadLettered: reason => broker().tell('deadLettered', reason),
      now,
      log,
    })
    const parts: Part[] = [
      {
        name: 'cursors',
        start: () => {
          spool.start()
          spool.reader('live').rewind(registry.start())
        },
        stop: async () => {
          await spool.stop()
          await registry.stop()
        },
      },
      ...(dead instanceof DeadLetterFiles ? [dead] : []),
      ...(rabbit ? [{ name: rabbit.name, start: () => {}, stop: () => rabbit.stop() }] : []),
      processor,
    ]
    started = { processor, stop: await startParts(parts) }
  }

  return {
    start,
    stop: async () => {
      const problems = await started?.stop(settings['shutdown.timeout'] * 0.75)
      started = undefined
      for (const problem of problems ?? []) log.warn(problem)
    },
    committed: position => {
      committed = position
      cursors?.committed(position)
    },
    present: ({ clientId, user, online, since }) => registry.present(clientId, user, online, since),
    status: () => running().processor.status(),
    series: limit => running().processor.series(limit),
    history: query => running().processor.history(query),
    devices: () => running().processor.devices(),
    dead: limit => running().processor.dead(limit),
  }
}

interface ProcessorThreadOptions {
  readonly settings: Settings
  readonly dir: string
  readonly hubId: () => string
  readonly position: () => SpoolPosition
  readonly offers: BrokerOffers
  readonly died: (error: Error) => void
}

/** Between two notices of commits to the processor thread. */
const pauseMs = 4

/** The processor thread, seen from the broker thread. */
class ProcessorThread implements Part {
  readonly name = 'processor'
  readonly #options: ProcessorThreadOptions
  #worker: Worker | undefined
  #link: Link<ProcessorOffers> | undefined
  #stopping = false
  #untold: SpoolPosition | undefined
  #pause: NodeJS.Timeout | undefined

  constructor(options: ProcessorThreadOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { settings, dir, hubId, position, offers, died } = this.#options
    const workerData: ProcessorThreadData = { settings, dir, hubId: hubId() }
    const worker = new Worker(new URL('./thread.js', import.meta.url), { workerData })
    const link = new Link<ProcessorOffers>(worker, offers)
    const gone = (error: Error) => {
      link.fail(error)
      if (!this.#stopping) died(error)
    }
    worker.on('error', gone)
    worker.on('exit', code => gone(new Error(`the processor thread ended (${code})`)))
    this.#worker = worker
    this.#link = link
    try {
      await link.call('start', position())
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#pause)
    await this.#link?.call('stop', undefined)
    await this.#worker?.terminate()
  }

  /**
   * Told at once, and then every few milliseconds, however many groups are committed meanwhile: what it reads is in
   * larger batches then, and it takes less from the broker thread.
   */
  committed(position: SpoolPosition): void {
    this.#untold = position
    if (!this.#pause) this.#tellCommitted()
  }

  #tellCommitted(): void {
    this.#pause = undefined
    if (!this.#untold) return
    this.tell('committed', this.#untold)
    this.#untold = undefined
    this.#pause = setTimeout(() => this.#tellCommitted(), pauseMs)
  }

  call<Name extends keyof ProcessorOffers>(
    name: Name,
    argument: Parameters<ProcessorOffers[Name]>[0],
  ): Promise<Awaited<ReturnType<ProcessorOffers[Name]>>> {
    if (!this.#link) return Promise.reject(new HubError('stopping', 'the hub is starting; ask again'))
    return this.#link.call(name, argument)
  }

  tell<Name extends keyof ProcessorOffers>(name: Name, argument: Parameters<ProcessorOffers[Name]>[0]): void {
    this.#link?.tell(name, argument)
  }
}

/** Who this hub is, for message ids, and how often it has started, so that its broker ids ascend. */
class Identity implements Part {
  readonly name = 'identity'
  readonly #path: string
  #id = ''
  #starts = 0

  constructor(dir: string) {
    this.#path = join(dir, 'hub.json')
  }

  start(): void {
    const known = existsSync(this.#path) ? this.#read() : { id: randomUUID(), starts: 0 }
    this.#id = known.id
    this.#starts = known.starts + 1
    writeFileSync(`${this.#path}.new`, `${JSON.stringify({ id: this.#id, starts: this.#starts })}\n`, { flush: true })
    renameSync(`${this.#path}.new`, this.#path)
  }

  stop(): void {}

  #read(): { id: string; starts: number } {
    try {
      const { id, starts } = JSON.parse(readFileSync(this.#path, 'utf8')) as { id: string; starts: number }
      if (typeof id === 'string' && Number.isSafeInteger(starts)) return { id, starts }
    } catch {
      // Said below, with what to do about it.
    }
    throw new HubError(
      'data_dir_unusable',
      `data.dir: ${this.#path} is damaged; restore it, or remove it and the hub gets a new identity`,
    )
  }

  get hubId(): string {
    return this.#id
  }

  get brokerId(): string {
    return `hub-${String(this.#starts).padStart(8, '0')}-${this.#id.slice(0, 8)}`
  }
}
