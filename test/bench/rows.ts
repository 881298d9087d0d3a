import { setTimeout as sleep } from 'node:timers/promises'
import { groupCommitRate, syncTimes } from './disk.js'
import { type Job, type Report, startGenerator } from './generator.js'
import type { Row, Unit } from './results.js'
import type { SaturateJob } from './saturate.js'
import { openFilesLimit, processorSeconds, residentBytes, type Target } from './targets.js'
import { monotonicMicros, type Version } from './wire.js'

/** What one candidate did in one measurement. */
export interface Measured {
  /** By name, in the unit of the row that shows it. */
  readonly figures: Readonly<Record<string, number>>
  /** In parts of one core. */
  readonly cpu: { readonly server: number; readonly generator: number }
  /** What must be known to understand the figures. */
  readonly note?: string
}

/** A row of the table: one figure of a measurement. */
export interface RowOf {
  readonly name: string
  readonly unit: Unit
  readonly figure: string
  readonly target?: {
    readonly text: string
    /** Undefined when it cannot be said, because what it is compared with was not measured. */
    readonly reached: (telehub: Measured, rival: Measured | undefined, rows: readonly Row[]) => boolean | undefined
  }
}

/** What is done once with every candidate, for one row or several. */
export interface Measurement {
  readonly rows: readonly RowOf[]
  /** The floor knows no filters: how cost grows is compared with Mosquitto alone. */
  readonly withoutFloor?: true
  /** In 3.1.1 without a version. Only what mqtt5.ts shows heeds it. */
  readonly measure: (target: Target, seconds: number, version?: Version) => Promise<Measured>
}

/** Connections, caches and compilers settle before anything is counted. */
const warmUpSeconds = 1.5

const payloadBytes = 100

/** As fast as TCP takes it, to one subscriber. */
export const toOne: Saturation = { subscribers: 1, window: 0, batch: 32 }

/** All rows, in the order of DESIGN §7; then how cost grows. */
export const measurements: readonly Measurement[] = [
  ingest(100, 20, '2 × Mosquitto', (telehub, rival) => {
    return rival && (telehub.figures.acknowledged ?? 0) >= 2 * (rival.figures.acknowledged ?? 0)
  }),
  ingest(1_000, 5, '1.5 × Mosquitto', (telehub, rival) => {
    return rival && (telehub.figures.acknowledged ?? 0) >= 1.5 * (rival.figures.acknowledged ?? 0)
  }),
  waiting(10),
  {
    rows: [
      {
        name: 'QoS 0 to one subscriber, as fast as TCP takes it',
        unit: '/s',
        figure: 'received',
        target: {
          text: '1.5 × Mosquitto',
          reached: (telehub, rival) => rival && (telehub.figures.received ?? 0) >= 1.5 * (rival.figures.received ?? 0),
        },
      },
    ],
    measure: (target, seconds, version) => saturate(target, seconds, { ...toOne, ...(version && { version }) }),
  },
  {
    rows: [
      {
        name: '100 WebSocket subscribers, saturated',
        unit: '/s',
        figure: 'received',
        target: { text: '200,000/s', reached: ({ figures }) => (figures.received ?? 0) >= 200_000 },
      },
    ],
    measure: (target, seconds, version) =>
      saturate(target, seconds, {
        subscribers: 100,
        window: 50,
        batch: 1,
        webSocketPort: target.webSocketPort,
        ...(version && { version }),
      }),
  },
  fanOut(200_000, [{ percentile: 'p50' }, { percentile: 'p99', atMost: 20 }]),
  fanOut(100_000, [{ percentile: 'p50' }, { percentile: 'p99', atMost: 5 }]),
  toDashboard(0),
  toDashboard(1),
  {
    rows: [
      {
        name: '10,000 connections, opened',
        unit: '/s',
        figure: 'opened',
        target: { text: '7,000/s', reached: ({ figures }) => (figures.opened ?? 0) >= 7_000 },
      },
      {
        name: '10,000 connections, memory of each when idle',
        unit: 'B',
        figure: 'bytes',
        target: { text: '9 KB', reached: ({ figures }) => (figures.bytes ?? Infinity) <= 9_000 },
      },
    ],
    measure: idle,
  },
  // Few under way for each subscriber: a queue that overflows is not what is measured here.
  ...[1, 10, 100, 1_000].map(subscribers => {
    const name = `every message to ${subscribers.toLocaleString('en')} ${subscribers > 1 ? 'subscribers' : 'subscriber'}`
    const window = Math.min(2_000, Math.max(20, 5_000 / subscribers))
    const batch = Math.max(1, Math.floor(16 / subscribers))
    return growth(name, { subscribers, window, batch })
  }),
  ...[100, 10_000, 100_000].map(filters => {
    const name = filtersName(filters)
    const of100 = filters === 100_000 ? filtersName(100) : undefined
    return growth(name, { subscribers: 100, filters, window: 2_000, batch: 16 }, of100)
  }),
]

function filtersName(filters: number): string {
  return `${filters.toLocaleString('en')} filters, one for each topic`
}

function ingestName(publishers: number, window: number): string {
  return `durable QoS 1 ingest, ${publishers.toLocaleString('en')} publishers, window ${window}`
}

function ingest(
  publishers: number,
  window: number,
  text: string,
  reached: NonNullable<RowOf['target']>['reached'],
): Measurement {
  const target = { text, reached }
  return {
    rows: [{ name: ingestName(publishers, window), unit: '/s', figure: 'acknowledged', target }],
    measure: async (target, seconds, version) => {
      const { port } = target
      const job: Job = { kind: 'acked', port, publishers, window, payloadBytes, ...(version && { version }) }
      const { reports, cpu } = await load(target, seconds, [job])
      return { figures: { acknowledged: perSecond(reports[0], 'acknowledged') }, cpu }
    },
  }
}

/** Publishers that wait for each PUBACK: none gets more than one message into a group commit. */
function waiting(publishers: number): Measurement {
  const share = 0.8
  return {
    rows: [
      {
        name: `QoS 1, ${publishers} publishers that wait for each PUBACK`,
        unit: '/s',
        figure: 'acknowledged',
        target: {
          text: `${share} × group commit`,
          reached: ({ figures }) => (figures.acknowledged ?? 0) >= share * (figures.allowed ?? Infinity),
        },
      },
    ],
    measure: async (target, seconds) => {
      const job: Job = { kind: 'acked', port: target.port, publishers, window: 1, payloadBytes }
      const { reports, cpu } = await load(target, seconds, [job])
      const allowed = await groupCommitRate(publishers)
      const note = `group commit on this disk: ${Math.round(allowed).toLocaleString('en')}/s`
      return { figures: { acknowledged: perSecond(reports[0], 'acknowledged'), allowed }, cpu, note }
    },
  }
}

/** Every subscriber gets every reading of 100 bytes, unless it says otherwise. */
export type Saturation = Pick<SaturateJob, 'subscribers' | 'window' | 'batch'> &
  Partial<Omit<SaturateJob, 'kind' | 'port' | 'publishers'>>

/** 10 publishers. Figures: what was received and sent a second, and the bytes that one delivery took. */
export async function saturate(target: Target, seconds: number, given: Saturation): Promise<Measured> {
  const { filters = 0, ...options } = given
  const job: Job = { kind: 'saturate', port: target.port, publishers: 10, filters, payloadBytes, ...options }
  const { reports, cpu } = await load(target, seconds, [job])
  const received = perSecond(reports[0], 'received')
  const once = filters > 0 || options.group !== undefined
  const sent = perSecond(reports[0], 'sent') * (once ? 1 : options.subscribers)
  const lost = sent > 0 ? Math.round(100 * (1 - received / sent)) : 0
  const bytes = perSecond(reports[0], 'bytes') / received
  return { figures: { received, sent, bytes }, cpu, ...(lost > 0 && { note: `${lost} % lost` }) }
}

/** `beside`: name of the row of which this one should have 0.8. */
function growth(name: string, given: Saturation, beside?: string): Measurement {
  const reached = ({ figures }: Measured, _rival: unknown, rows: readonly Row[]) => {
    const other = rows.find(row => row.name === beside)?.telehub
    return other === undefined ? undefined : (figures.received ?? 0) >= 0.8 * other
  }
  const target = beside !== undefined && { target: { text: '0.8 × 100 filters', reached } }
  return {
    rows: [{ name, unit: '/s', figure: 'received', ...target }],
    withoutFloor: true,
    measure: (target, seconds) => saturate(target, seconds, given),
  }
}

/** 100 dashboards that all see everything, at a rate of deliveries a second. */
function fanOut(rate: number, shown: readonly { percentile: 'p50' | 'p99'; atMost?: number }[]): Measurement {
  const subscribers = 100
  return {
    rows: shown.map(({ percentile, atMost }) => ({
      name: `100 WebSocket subscribers, ${rate.toLocaleString('en')} deliveries/s offered, ${percentile}`,
      unit: 'ms',
      figure: percentile,
      ...(atMost && {
        target: { text: `${atMost} ms`, reached: telehub => complete(telehub) && within(telehub, percentile, atMost) },
      }),
    })),
    measure: (target, seconds) =>
      latency(target, seconds, { subscribers, qos: 0, rate: rate / subscribers, sampleEvery: 16 }),
  }
}

/** One dashboard that sees all of 100 devices. */
function toDashboard(qos: 0 | 1): Measurement {
  const rows = (['p50', 'p99'] as const).map((percentile): RowOf => {
    const beyond = percentile === 'p50' ? 0.2 : 1
    const name = `device to dashboard, QoS ${qos}, 10,000 msg/s, ${percentile}`
    if (qos === 1 && percentile === 'p99') {
      const reached = (telehub: Measured) =>
        complete(telehub) && within(telehub, percentile, (telehub.figures.sync ?? 0) + beyond)
      return { name, unit: 'ms', figure: percentile, target: { text: `one fdatasync + ${beyond} ms`, reached } }
    }
    return {
      name,
      unit: 'ms',
      figure: percentile,
      target: {
        text: `Mosquitto + ${beyond} ms`,
        reached: (telehub, rival) =>
          rival && complete(telehub) && within(telehub, percentile, (rival.figures[percentile] ?? 0) + beyond),
      },
    }
  })
  return {
    rows,
    measure: async (target, seconds) => {
      const measured = await latency(target, seconds, { subscribers: 1, qos, rate: 10_000, sampleEvery: 1 })
      if (qos === 0) return measured
      const { p99: sync } = await syncTimes(2)
      const notes = [measured.note, `one fdatasync of this disk: p99 ${sync.toFixed(1)} ms`]
      return { ...measured, figures: { ...measured.figures, sync }, note: notes.filter(Boolean).join('; ') }
    },
  }
}

interface Paced {
  readonly subscribers: number
  readonly qos: 0 | 1
  /** Publishes a second. */
  readonly rate: number
  readonly sampleEvery: number
}

async function latency(target: Target, seconds: number, paced: Paced): Promise<Measured> {
  const { subscribers, qos, rate, sampleEvery } = paced
  const { port, webSocketPort } = target
  const { reports, cpu } = await load(target, seconds, [
    { kind: 'subscribe', port: webSocketPort, webSocket: true, subscribers, filters: ['bench/#'], sampleEvery },
    { kind: 'paced', port, publishers: 100, qos, rate, payloadBytes },
  ])
  const [subscribing] = reports
  const latencies = subscribing?.latencies
  if (!latencies) throw new Error('nothing was delivered')
  const delivered = perSecond(subscribing, 'received') / rate / subscribers
  const { p50, p99 } = latencies
  const percent = Math.floor(100 * delivered)
  return { figures: { p50, p99, delivered }, cpu, ...(percent < 99 && { note: `${percent} % delivered` }) }
}

/** What was dropped has no latency: without nearly all of it delivered, a percentile says nothing. */
const complete = ({ figures }: Measured) => (figures.delivered ?? 0) >= 0.99
const within = ({ figures }: Measured, name: string, most: number) => (figures[name] ?? Infinity) <= most

/** Memory that opening took is given back after a while without work. */
const settleMs = 8_000

async function idle(target: Target): Promise<Measured> {
  const connections = 10_000
  const files = openFilesLimit()
  if (files < connections + 500)
    throw new Error(`${connections} connections need more open files than ulimit -Hn: ${files}`)
  await sleep(1_000)
  const before = residentBytes(target.pid).now
  const cpuBefore = processorSeconds(target.pid)
  const opener = await startGenerator({ kind: 'open', port: target.port, connections, concurrency: 64 })
  try {
    const begin = monotonicMicros()
    const { counts, cpu, seconds: took } = await opener.run({ begin, end: begin + 60e6 })
    if (counts.opened !== connections) throw new Error(`${counts.opened} of ${connections} connections opened in 60 s`)
    const server = (processorSeconds(target.pid) - cpuBefore) / took
    await sleep(settleMs)
    opener.check()
    const bytes = (residentBytes(target.pid).now - before) / connections
    return {
      figures: { opened: (connections * 1e6) / (counts.openingMicros ?? 0), bytes },
      cpu: { server, generator: cpu },
    }
  } finally {
    await opener.end()
  }
}

interface Loaded {
  readonly reports: readonly Report[]
  readonly cpu: Measured['cpu']
}

/** Runs jobs at the same time, each in a process of its own; those that come first are connected first. */
async function load(target: Target, seconds: number, jobs: readonly Job[]): Promise<Loaded> {
  const generators = []
  try {
    for (const job of jobs) generators.push(await startGenerator(job))
    const begin = monotonicMicros() + warmUpSeconds * 1e6
    const period = { begin, end: begin + seconds * 1e6 }
    const [server, ...reports] = await Promise.all([
      serverShare(target.pid, seconds),
      ...generators.map(generator => generator.run(period)),
    ])
    return { reports, cpu: { server, generator: reports.reduce((sum, { cpu }) => sum + cpu, 0) } }
  } finally {
    await Promise.all(generators.map(generator => generator.end()))
  }
}

async function serverShare(pid: number, seconds: number): Promise<number> {
  await sleep(warmUpSeconds * 1_000)
  const before = processorSeconds(pid)
  const from = monotonicMicros()
  await sleep(seconds * 1_000 - 20)
  return ((processorSeconds(pid) - before) * 1e6) / (monotonicMicros() - from)
}

function perSecond(report: Report | undefined, name: string): number {
  return report ? (report.counts[name] ?? 0) / report.seconds : 0
}
