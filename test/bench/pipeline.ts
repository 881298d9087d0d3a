import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'amqplib'
import { startInflux } from '../services/influxdb.js'
import { type RabbitServer, startRabbit } from '../services/rabbitmq.js'
import { barePublishRate } from './bare-publisher.js'
import { startGenerator } from './generator.js'
import {
  comparison,
  figure,
  type PipelineResults,
  type PipelineRow,
  readResults,
  resultsFile,
  rounded,
  type Unit,
  verdict,
} from './results.js'
import {
  drained,
  fleet,
  meter,
  notInQueue,
  notStored,
  perSecond,
  perSecondText,
  readable,
  type Stretch,
  type System,
  sample,
  summary,
  sustain,
  underLoad,
} from './sustained.js'
import { childNamed, machine, startHub, version } from './targets.js'
import { monotonicMicros } from './wire.js'

/*
 * npm run bench -- pipeline [--seconds 60] [--backlog 2000000] [words]: what is behind the broker, beside RabbitMQ's own
 * MQTT plugin in the same run. Every row has servers and a hub of its own. A run of all rows goes into
 * test/bench/results.json and leaves what the others have measured there as it is.
 */

export interface PipelineOptions {
  readonly seconds: number
  /** Messages that wait before it is measured how they are caught up on. */
  readonly backlog: number
  /** Only rows whose name contains one of them. */
  readonly words: readonly string[]
}

interface Measured {
  readonly figures: Readonly<Record<string, number>>
  readonly cores: Readonly<Record<string, number>>
  readonly peakBytes: number
  /** What must be known to understand the figures. */
  readonly note?: string
  /** Not what was asked for: no target is reached with it. */
  readonly failed?: true
}

interface RowOf {
  readonly name: string
  readonly unit: Unit
  readonly figure: string
  /** At least so much, or so many times the plugin's. */
  readonly target?: { readonly atLeast: number } | { readonly timesPlugin: number }
}

interface Measurement {
  readonly rows: readonly RowOf[]
  readonly measure: (options: PipelineOptions) => Promise<Measured>
}

type Envelope = 'message' | 'batch'

/** What goes on arriving while a backlog is caught up on, and how many times that the backlog must shrink. */
const liveRate = 5_000
const catchUpFactor = 3

/** In the order of DESIGN §7. */
const measurements: readonly Measurement[] = [
  {
    rows: [row('durable QoS 1 ingest; the plugin into a quorum queue', 'acknowledged', { timesPlugin: 6 })],
    measure: ingest,
  },
  ...(['message', 'batch'] as const).map(envelope => {
    const target = { timesPlugin: envelope === 'message' ? 1.5 : 6 }
    return {
      rows: [row(`device to RabbitMQ, quorum queue, envelope ${envelope}`, 'held', target)],
      measure: ({ seconds }: PipelineOptions) => toQueue(envelope, seconds),
    }
  }),
  ...(['message', 'batch'] as const).map(envelope => {
    const target = { atLeast: envelope === 'message' ? 30_000 : 80_000 }
    return {
      rows: [row(`device to RabbitMQ to InfluxDB, readable, envelope ${envelope}`, 'held', target)],
      measure: ({ seconds }: PipelineOptions) => toStore({ envelope }, seconds),
    }
  }),
  {
    rows: [row('embedded: device to DuckDB, readable', 'held', { atLeast: 120_000 })],
    measure: ({ seconds }) => toStore({}, seconds),
  },
  catchingUp('RabbitMQ and InfluxDB, envelope message', { envelope: 'message' }),
  catchingUp('RabbitMQ and InfluxDB, envelope batch', { envelope: 'batch' }),
  catchingUp('embedded, DuckDB', {}),
]

function row(name: string, figure: string, target?: RowOf['target'], unit: Unit = '/s'): RowOf {
  return { name, unit, figure, ...(target && { target }) }
}

function catchingUp(where: string, given: { readonly envelope?: Envelope }): Measurement {
  const name = `catching up: ${where}`
  return {
    rows: [
      row(`${name}, beside ${liveRate.toLocaleString('en')}/s`, 'caughtUp', { atLeast: catchUpFactor * liveRate }),
      row(`${name}, a live reading on $hub/last, p50`, 'p50', undefined, 'ms'),
      row(`${name}, a live reading on $hub/last, p99`, 'p99', undefined, 'ms'),
    ],
    measure: options => catchUp(given, options),
  }
}

export async function pipeline(options: PipelineOptions): Promise<void> {
  const { seconds, backlog, words } = options
  const isChosen = ({ rows }: Measurement) =>
    words.length === 0 || rows.some(({ name }) => words.some(word => name.toLowerCase().includes(word.toLowerCase())))
  const chosen = measurements.filter(isChosen)
  if (chosen.length === 0) throw new Error(`no row contains ${words.join(' or ')}`)
  const date = new Date().toISOString()
  const attempt = async <T>(what: string, action: () => Promise<T>): Promise<T | undefined> => {
    say(what)
    try {
      return await action()
    } catch (error) {
      say(`${what} failed: ${(error as Error).message}`)
      process.exitCode = 1
      return undefined
    }
  }
  const needsPlugin = chosen.some(({ rows }) => rows.some(({ target }) => target && 'timesPlugin' in target))
  const plugin = needsPlugin ? await attempt("RabbitMQ's MQTT plugin", () => pluginRate(seconds)) : undefined
  const rows: PipelineRow[] = []
  for (const [n, measurement] of chosen.entries()) {
    const what = `${n + 1} of ${chosen.length}: ${measurement.rows[0]?.name}`
    const measured = await attempt(what, () => measurement.measure(options))
    for (const one of measurement.rows) {
      const result = rowOf(one, measured, plugin?.rate)
      rows.push(result)
      console.log(printed(result))
    }
  }
  if (words.length > 0) return
  const versions = { telehub: version(), node: process.versions.node, ...serverVersions }
  const results: PipelineResults = { date, machine: machine(), versions, seconds, backlog, rows }
  writeFileSync(resultsFile, `${JSON.stringify({ ...readResults(), pipeline: results }, undefined, 2)}\n`)
  say('written to test/bench/results.json; npm run readme takes it over')
}

function rowOf({ name, unit, figure, target }: RowOf, measured: Measured | undefined, plugin?: number): PipelineRow {
  const telehub = measured && rounded(measured.figures[figure] ?? 0)
  const factor = target && 'timesPlugin' in target ? target.timesPlugin : undefined
  const rival = factor !== undefined && plugin !== undefined ? rounded(plugin) : undefined
  const least = target && 'atLeast' in target ? target.atLeast : factor && rival && factor * rival
  const reached =
    least === undefined ? target && (measured ? undefined : false) : !measured?.failed && (telehub ?? 0) >= least
  return {
    name,
    unit,
    ...(telehub !== undefined && { telehub }),
    ...(rival !== undefined && { rival }),
    ...(telehub !== undefined && rival && { ratio: rounded(telehub / rival) }),
    ...(target && {
      target: factor ? `${factor} × the plugin` : perSecondText((target as { atLeast: number }).atLeast),
    }),
    ...(reached !== undefined && { reached }),
    ...(measured?.note !== undefined && { note: measured.note }),
    cores: Object.fromEntries(Object.entries(measured?.cores ?? {}).map(([of, share]) => [of, rounded(share)])),
    ...(measured && { memoryBytes: measured.peakBytes }),
  }
}

function printed(one: PipelineRow): string {
  const { name, unit, telehub, rival, target, note, cores, memoryBytes } = one
  return [
    name.padEnd(78),
    `telehub ${figure(telehub, unit)}`.padEnd(20),
    rival === undefined ? '' : `plugin ${figure(rival, unit)}`.padEnd(19),
    comparison(one).padEnd(9),
    target ? `${verdict(one) || 'target'}: ${target}` : '',
    note ?? '',
    `[cores ${Object.entries(cores)
      .map(([of, share]) => `${of} ${share.toFixed(1)}`)
      .join(' + ')}${memoryBytes ? `; telehub's peak memory ${Math.round(memoryBytes / 1e6)} MB` : ''}]`,
  ]
    .filter(Boolean)
    .join('  ')
}

/** PUBACKs a second of the plugin, which sends them when the quorum queue has confirmed. */
async function pluginRate(seconds: number): Promise<{ readonly rate: number }> {
  const server = await startPrivateRabbit()
  try {
    const queue = await quorumQueue(server.url, 'bench', 'amq.topic')
    const port = server.mqttPort as number
    const generator = await startGenerator({ kind: 'readings', port, ...fleet, rate: 0 })
    try {
      const coresOf = meter(pidsOf({ rabbitmq: 'beam.smp' }))
      const begin = monotonicMicros() + 1e6
      const report = await generator.run({ begin, end: begin + seconds * 1e6 })
      const { rabbitmq = 0 } = coresOf()
      const rate = perSecond(report, 'acknowledged')
      say(`${perSecondText(rate)} [cores rabbitmq ${rabbitmq.toFixed(1)} + generator ${report.cpu.toFixed(1)}]`)
      const kept = await queue.count()
      const acknowledged = report.counts.acknowledged ?? 0
      if (kept < acknowledged) throw new Error(`acknowledged ${acknowledged}, in the queue ${kept}`)
      return { rate }
    } finally {
      await generator.end()
      await queue.close()
    }
  } finally {
    await server.stop()
  }
}

async function ingest({ seconds }: PipelineOptions): Promise<Measured> {
  return withHub({}, async system => {
    const { hub } = system
    const stretch = await underLoad(system, seconds, [{ kind: 'readings', port: hub.port, ...fleet, rate: 0 }])
    return measuredOf(stretch, { acknowledged: perSecond(stretch.reports[0], 'acknowledged') })
  })
}

/** With no consumer: the queue keeps everything, as the plugin's does. */
async function toQueue(envelope: Envelope, seconds: number): Promise<Measured> {
  return withHub({ envelope, record: false }, async (system, { rabbit }) => {
    const watched: System = { ...system, backlogOf: notInQueue }
    const { url } = rabbit as RabbitServer
    const others = envelope === 'message' ? await quorumQueue(url, 'bench.others', 'telehub.telemetry') : undefined
    const { flat, ...stretch } = await sustain(watched, seconds, say)
    await drained(watched, say)
    const queue = others ?? (await quorumQueue(url, 'telehub.record'))
    const kept = await queue.count().finally(() => queue.close())
    const { received } = await sample(system.hub)
    // How many are in a batch is for the hub to know; that RabbitMQ has confirmed it the cursor says.
    if (envelope === 'message' ? kept < received : kept === 0)
      throw new Error(`accepted ${received}, in the queue ${kept}`)
    const bare = envelope === 'message' ? [await bareNote(url, seconds)] : []
    return { ...measuredOf(stretch, { held: Math.min(stretch.sent, stretch.done) }), ...noted(flat, bare) }
  })
}

async function toStore({ envelope }: { readonly envelope?: Envelope }, seconds: number): Promise<Measured> {
  return withHub({ ...(envelope && { envelope, influx: true }) }, async (system, { rabbit }) => {
    const other = rabbit && envelope === 'message' ? await consumer(rabbit.url) : undefined
    const { flat, ...stretch } = await sustain(system, seconds, say)
    const took = await allReadable(system)
    say(`all of them readable ${took.toFixed(1)} s after the last was acknowledged`)
    if (other) {
      const { received } = await sample(system.hub)
      if (other.got < received) throw new Error(`accepted ${received}, another consumer got ${other.got}`)
    }
    const bare = other && rabbit ? [await bareNote(rabbit.url, seconds)] : []
    await other?.close()
    return { ...measuredOf(stretch, { held: Math.min(stretch.sent, stretch.done) }), ...noted(flat, bare) }
  })
}

/**
 * A backlog as it comes about: InfluxDB is away, or devices send faster than DuckDB takes it. Then live traffic alone
 * goes on, and what counts is by how much fewer messages wait each second.
 */
async function catchUp(given: { readonly envelope?: Envelope }, options: PipelineOptions): Promise<Measured> {
  const { envelope } = given
  return withHub({ ...(envelope && { envelope, influx: true }) }, async (system, { influx }) => {
    const { hub } = system
    const live = { kind: 'readings', port: hub.port, ...fleet, rate: liveRate } as const
    const both = [live, { kind: 'freshness', port: hub.webSocketPort } as const]
    // Everything is connected and has run once before it is taken away.
    await underLoad(system, 2, both)
    await drained(system, say)
    await influx?.kill()
    await pileUp(system, options.backlog)
    // After an hour without the store neither the screen nor RabbitMQ would be behind.
    await drained({ ...system, backlogOf: ({ lag }) => (lag.live ?? 0) + (lag.bridge ?? 0) }, say)
    const { stored } = await sample(hub)
    await influx?.restart()
    const pids = influx ? { ...system.pids, ...pidsOf({ influxdb: 'influxd' }) } : system.pids
    await until(async () => (await sample(hub)).stored > stored, 'nothing more is stored')
    say(influx ? 'InfluxDB is back' : 'the flood is over')
    const first = await underLoad({ ...system, pids }, 3, both)
    const shrinking = (first.backlog.first - first.backlog.last) / 3
    const seconds = shrinking > 0 ? Math.min(options.seconds, (0.8 * first.backlog.last) / shrinking) : options.seconds
    if (seconds < 2 || first.backlog.first < options.backlog / 2)
      throw new Error('the backlog was gone at once: --backlog must be larger')
    const stretch = await underLoad({ ...system, pids }, seconds, both)
    const { p50, p99 } = stretch.reports[1]?.latencies ?? { p50: Infinity, p99: Infinity }
    const caughtUp = -summary(stretch.samples, system.backlogOf).growth
    say(`${perSecondText(caughtUp)} fewer for ${seconds.toFixed(1)} s, ${stretch.backlog.last} left`)
    await allReadable(system)
    return measuredOf(stretch, { caughtUp, p50, p99 })
  })
}

/** As fast as the hub acknowledges, until so many wait. */
async function pileUp({ hub, backlogOf }: System, size: number): Promise<void> {
  const flood = await startGenerator({ kind: 'readings', port: hub.port, ...fleet, rate: 0 })
  try {
    const now = monotonicMicros()
    const report = flood.run({ begin: now, end: now + 1e6 })
    await until(async () => {
      flood.check()
      return backlogOf(await sample(hub)) >= size
    }, `${size} messages do not pile up`)
    await report
  } finally {
    await flood.end()
  }
  say(`${backlogOf(await sample(hub))} messages wait`)
}

const patienceMs = 600_000

async function until(condition: () => Promise<boolean>, failure: string): Promise<void> {
  const deadline = performance.now() + patienceMs
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`${failure} in ${patienceMs / 60_000} minutes`)
    await sleep(50)
  }
}

/** Rejects when not everything that was accepted can be read; resolves with how many seconds it took. */
async function allReadable(system: System): Promise<number> {
  const from = monotonicMicros()
  await drained(system, say)
  const { received, dead } = await sample(system.hub)
  const took = (monotonicMicros() - from) / 1e6
  const found = await readable(system.hub)
  if (found !== received) throw new Error(`accepted ${received}, readable ${found}, dead letters ${dead}`)
  return took
}

function measuredOf(
  { cores, peakBytes }: Pick<Stretch, 'cores' | 'peakBytes'>,
  figures: Measured['figures'],
): Measured {
  return { figures, cores, peakBytes }
}

function noted(flat: boolean, more: readonly string[]): Pick<Measured, 'note' | 'failed'> {
  const notes = [...(flat ? [] : ['fell behind']), ...more]
  return { ...(notes.length > 0 && { note: notes.join('; ') }), ...(!flat && { failed: true }) }
}

/** What RabbitMQ does with the same messages when nothing else is to be done on this machine. */
async function bareNote(url: string, seconds: number): Promise<string> {
  const rate = await barePublishRate(url, Math.min(10, seconds))
  return `a program that only publishes: ${perSecondText(rounded(rate))}`
}

interface Needs {
  /** With RabbitMQ, and so. */
  readonly envelope?: Envelope
  /** Whether the hub consumes what it has put into RabbitMQ. */
  readonly record?: boolean
  /** With InfluxDB instead of DuckDB. */
  readonly influx?: boolean
}

interface Servers {
  readonly rabbit?: RabbitServer
  readonly influx?: Awaited<ReturnType<typeof startInflux>>
}

/** Versions of the servers that were started. */
const serverVersions = { rabbitmq: 'unknown', influxdb: 'unknown' }

/** Hub and servers exist as long as `use` takes. */
async function withHub<T>(needs: Needs, use: (system: System, servers: Servers) => Promise<T>): Promise<T> {
  const { envelope, record = true } = needs
  const started: { stop(): Promise<void> }[] = []
  try {
    const rabbit = envelope && (await startPrivateRabbit())
    if (rabbit) started.unshift(rabbit)
    const influx = needs.influx ? await startInflux() : undefined
    if (influx) {
      started.unshift(influx)
      serverVersions.influxdb = (await fetch(`${influx.url}/ping`)).headers.get('x-influxdb-version') ?? 'unknown'
    }
    const hub = await startHub([
      ...(rabbit ? ['--rabbitmq.url', rabbit.url, '--rabbitmq.envelope', envelope as string] : []),
      ...(record ? [] : ['--rabbitmq.record', 'false']),
      ...(influx ? ['--influx.url', `${influx.url}/telehub`] : []),
    ])
    started.unshift(hub)
    const pids = pidsOf({ ...(rabbit && { rabbitmq: 'beam.smp' }), ...(influx && { influxdb: 'influxd' }) })
    const system: System = { hub, backlogOf: notStored, pids: { telehub: hub.pid, ...pids } }
    return await use(system, { ...(rabbit && { rabbit }), ...(influx && { influx }) })
  } finally {
    for (const one of started) await one.stop().catch(error => say(`could not be stopped: ${(error as Error).message}`))
  }
}

/** The same for all rows: what the plugin runs in is what telehub is bridged into. */
async function startPrivateRabbit(): Promise<RabbitServer> {
  const server = await startRabbit({ plugins: ['rabbitmq_mqtt'] })
  serverVersions.rabbitmq = (await server.ctl('version')).trim()
  return server
}

function pidsOf(names: Readonly<Record<string, string>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(names).flatMap(([key, name]) => {
      const pid = childNamed(name)
      return pid === undefined ? [] : [[key, pid] as const]
    }),
  )
}

interface CountedQueue {
  count(): Promise<number>
  close(): Promise<void>
}

/** A quorum queue; with an exchange it is made, and takes all that goes there. */
async function quorumQueue(url: string, name: string, exchange?: string): Promise<CountedQueue> {
  const connection = await connect(url)
  const channel = await connection.createChannel()
  if (exchange) {
    await channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
    await channel.bindQueue(name, exchange, '#')
  }
  return {
    count: async () => (await channel.checkQueue(name)).messageCount,
    close: () => connection.close(),
  }
}

/** Another program that reads every message, from a queue that ends with its connection. */
async function consumer(url: string) {
  const connection = await connect(url, { noDelay: true })
  const channel = await connection.createChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, 'telehub.telemetry', '#')
  const counted = { got: 0, close: () => connection.close() }
  await channel.consume(queue, () => counted.got++, { noAck: true })
  return counted
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
