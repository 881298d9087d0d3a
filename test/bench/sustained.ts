import { setTimeout as sleep } from 'node:timers/promises'
import { type Job, type Report, startGenerator } from './generator.js'
import { countedField, measurement } from './readings.js'
import { processorSeconds, residentBytes, type Target } from './targets.js'
import { monotonicMicros } from './wire.js'

/* What a hub can keep up with: the hub acknowledges from its spool, so a rate counts when nothing piles up behind it. */

/** What a hub has counted since it started. */
export interface Sample {
  /** Microseconds of the monotonic clock. */
  readonly at: number
  readonly received: number
  readonly stored: number
  readonly dead: number
  /** Messages that a cursor has yet to pass, by its name. */
  readonly lag: Readonly<Record<string, number>>
}

/** Messages accepted and not yet where they are counted. */
export type Backlog = (sample: Sample) => number

export const notInQueue: Backlog = ({ lag }) => lag.bridge ?? 0
export const notStored: Backlog = ({ received, stored, dead }) => received - stored - dead

/** A running hub, and what else works for it. */
export interface System {
  readonly hub: Target
  /** What is behind when the hub is. */
  readonly backlogOf: Backlog
  /** Processes whose use of the processor is measured, the hub among them. */
  readonly pids: Readonly<Record<string, number>>
}

/** A stretch of time under load. Rates are messages a second. */
export interface Stretch {
  readonly sent: number
  /** What came through. */
  readonly done: number
  /** By how much the backlog grew: the slope of a line through all samples. */
  readonly growth: number
  readonly backlog: { readonly first: number; readonly last: number; readonly most: number }
  readonly samples: readonly Sample[]
  /** One a job, in their order. */
  readonly reports: readonly Report[]
  /** In parts of one core: of each process of the system, and of the load generators. */
  readonly cores: Readonly<Record<string, number>>
  /** Most memory the hub had since its start. */
  readonly peakBytes: number
}

/** In an hour it would be two minutes behind: what is less is how a backlog goes up and down. */
const flatShare = 1 / 30

/** Whether a rate was kept up with. */
export function isFlat({ growth }: Pick<Stretch, 'growth'>, rate: number): boolean {
  return growth <= rate * flatShare
}

const sampleMs = 250
const warmUpSeconds = 1

/** The hub's own numbers, from `/metrics`. */
export async function sample({ webSocketPort }: Pick<Target, 'webSocketPort'>): Promise<Sample> {
  const at = monotonicMicros()
  const response = await fetch(`http://127.0.0.1:${webSocketPort}/metrics`, { signal: AbortSignal.timeout(30_000) })
  return { at, ...parseMetrics(await response.text()) }
}

export function parseMetrics(text: string): Omit<Sample, 'at'> {
  const sums: Record<string, number> = {}
  const lag: Record<string, number> = {}
  for (const [, name = '', labels = '', value] of text.matchAll(/^(telehub_\w+)(?:\{(.*)\})? (\S+)$/gm)) {
    sums[name] = (sums[name] ?? 0) + Number(value)
    const cursor = /cursor="(\w+)"/.exec(labels)?.[1]
    if (name === 'telehub_spool_lag' && cursor) lag[cursor] = Number(value)
  }
  const { telehub_received_total: received, telehub_stored_total: stored, telehub_dead_total: dead = 0 } = sums
  if (received === undefined || stored === undefined)
    throw new Error('the hub does not say what it received and stored')
  return { received, stored, dead, lag }
}

/** Runs jobs for so long, each in a process of its own, and looks at the hub meanwhile. */
export async function underLoad(
  { hub, backlogOf, pids }: System,
  seconds: number,
  jobs: readonly Job[],
): Promise<Stretch> {
  const generators = []
  try {
    for (const job of jobs) generators.push(await startGenerator(job))
    const begin = monotonicMicros() + warmUpSeconds * 1e6
    const end = begin + seconds * 1e6
    const running = Promise.all(generators.map(generator => generator.run({ begin, end })))
    // Whatever goes wrong meanwhile is thrown where it is awaited.
    running.catch(() => {})
    await sleep(warmUpSeconds * 1_000)
    const coresOf = meter(pids)
    const samples = [await sample(hub)]
    while (monotonicMicros() < end - sampleMs * 500) {
      await sleep(sampleMs)
      samples.push(await sample(hub))
    }
    const cores = coresOf()
    const reports = await running
    return {
      ...summary(samples, backlogOf),
      sent: perSecond(reports[0], 'sent'),
      samples,
      reports,
      cores: { ...cores, generator: reports.reduce((sum, { cpu }) => sum + cpu, 0) },
      peakBytes: residentBytes(hub.pid).peak,
    }
  } finally {
    await Promise.all(generators.map(generator => generator.end()))
  }
}

/** Begins to measure; what it returns says how many cores each process has used since. */
export function meter(pids: System['pids']): () => Record<string, number> {
  const from = monotonicMicros()
  const before = Object.entries(pids).map(([name, pid]) => [name, pid, processorSeconds(pid)] as const)
  return () => {
    const seconds = (monotonicMicros() - from) / 1e6
    return Object.fromEntries(before.map(([name, pid, used]) => [name, (processorSeconds(pid) - used) / seconds]))
  }
}

/** Of at least two samples. */
export function summary(samples: readonly Sample[], backlogOf: Backlog): Pick<Stretch, 'done' | 'growth' | 'backlog'> {
  const [first, last] = [samples[0] as Sample, samples.at(-1) as Sample]
  const seconds = (last.at - first.at) / 1e6
  const through = (one: Sample) => one.received - backlogOf(one)
  const points = samples.map(one => [(one.at - first.at) / 1e6, backlogOf(one)] as const)
  const [x, y] = [0, 1].map(i => points.reduce((sum, point) => sum + (point[i] as number), 0) / points.length)
  const [meanX, meanY] = [x as number, y as number]
  const covariance = points.reduce((sum, [at, backlog]) => sum + (at - meanX) * (backlog - meanY), 0)
  const variance = points.reduce((sum, [at]) => sum + (at - meanX) ** 2, 0)
  return {
    done: (through(last) - through(first)) / seconds,
    growth: covariance / variance,
    backlog: {
      first: backlogOf(first),
      last: backlogOf(last),
      most: Math.max(...points.map(([, backlog]) => backlog)),
    },
  }
}

/** What became of a rate that was tried. */
export interface Trial {
  /** What was sent, which is less than the rate when the hub makes its devices wait. */
  readonly sent: number
  readonly done: number
  readonly flat: boolean
}

/** Faster than any load generator. */
const fastest = 1_000_000

/** The highest rate, nearly, that a system keeps up with; 0 when it is below a tenth of the `first` one tried. */
export async function highestRate(first: number, attempt: (rate: number) => Promise<Trial>): Promise<number> {
  let good = 0
  let rate = first
  let trial = await attempt(rate)
  while (trial.flat && rate < fastest) {
    // More would not be sent either.
    if (trial.sent < 0.97 * rate) return trial.sent
    good = rate
    rate *= 2
    trial = await attempt(rate)
  }
  // Too much of it slows it down: what it does then is where the search begins, in both directions.
  let bad = rate
  let next = Math.max(trial.done, good * 1.15, first / 5)
  for (let left = 5; left > 0 && next > first / 10 && next < bad; left--) {
    trial = await attempt(next)
    if (trial.flat) {
      good = next
      next *= 1.15
    } else {
      bad = next
      next = good > 0 ? (good + bad) / 2 : Math.min(Math.max(trial.done, next / 3), 0.9 * next)
    }
    if (bad / good < 1.1) break
  }
  return good
}

/** 100 devices with a window of 20, as everywhere in DESIGN §7. */
export const fleet = { publishers: 100, window: 20 } as const

export interface Sustained extends Stretch {
  /** Whether it was kept up with all the time; if not, `done` is what it did while it fell behind. */
  readonly flat: boolean
}

const holds = 4

/** Below this nothing is measured: 0 would mean as fast as possible. */
const slowest = 500

/** Looks for the highest rate the hub keeps up with, and holds it for `seconds`; `say` tells what goes on. */
export async function sustain(system: System, seconds: number, say: (text: string) => void): Promise<Sustained> {
  const trialSeconds = Math.min(5, Math.max(3, seconds / 10))
  const load = (rate: number, forSeconds: number) =>
    underLoad(system, forSeconds, [{ kind: 'readings', port: system.hub.port, ...fleet, rate }])
  // The first of everything is slow: a database that is made, connections, compilers.
  await load(slowest, 2)
  await drained(system, say)
  const found = await highestRate(5_000, async rate => {
    const stretch = await load(rate, trialSeconds)
    const { sent, done, backlog } = stretch
    say(`${perSecondText(rate)} for ${trialSeconds} s: ${perSecondText(done)} done, backlog ${backlog.last}`)
    await drained(system, say)
    return { sent, done, flat: isFlat(stretch, rate) }
  })
  let rate = Math.max(slowest, 0.95 * found)
  for (let left = holds; ; left--) {
    say(`holds ${perSecondText(rate)} for ${seconds} s`)
    const stretch = await load(rate, seconds)
    const flat = isFlat(stretch, rate) && stretch.backlog.last <= stretch.backlog.first + 2 * rate
    if (flat || left === 1) return { ...stretch, flat }
    say(`fell behind: ${perSecondText(stretch.done)} done, backlog ${stretch.backlog.last}`)
    await drained(system, say)
    rate = Math.max(slowest, 0.93 * Math.min(rate, stretch.done))
  }
}

/** Longer than this without progress it will not come. */
const patienceMs = 60_000

/** Resolves when nothing waits any more. */
export async function drained({ hub, backlogOf }: System, say: (text: string) => void): Promise<void> {
  let least = Infinity
  let since = monotonicMicros()
  for (let n = 1; ; n++) {
    const waiting = backlogOf(await sample(hub))
    const now = monotonicMicros()
    if (waiting <= 0) return
    if (waiting < least) {
      least = waiting
      since = now
    } else if (now - since > patienceMs * 1_000) throw new Error(`${waiting} messages do not come through`)
    if (n % 50 === 0) say(`${waiting} to go`)
    await sleep(100)
  }
}

/** Readings of the bench that the hub's API finds. */
export async function readable({ webSocketPort }: Pick<Target, 'webSocketPort'>): Promise<number> {
  const ask = async <T>(path: string): Promise<T> => {
    const response = await fetch(`http://127.0.0.1:${webSocketPort}${path}`, { signal: AbortSignal.timeout(60_000) })
    if (!response.ok) throw new Error(`${path.split('?')[0]} answered ${response.status}: ${await response.text()}`)
    return (await response.json()) as T
  }
  const { series } = await ask<{ series: { key: string; measurement: string; field: string }[] }>('/api/series')
  let count = 0
  for (const { key } of series.filter(one => one.measurement === measurement && one.field === countedField)) {
    const query = new URLSearchParams({
      series: key,
      from: '0',
      to: String(Date.now() + 60_000),
      points: '1',
      fn: 'count',
    })
    // A single reading is answered as it is, two and more by their count.
    const { values } = await ask<{ values: number[] }>(`/api/history?${query}`)
    const isReading = values.length === 1 && !Number.isInteger(values[0])
    count += isReading ? 1 : values.reduce((sum, value) => sum + value, 0)
  }
  return count
}

export function perSecond(report: Report | undefined, name: string): number {
  return report ? (report.counts[name] ?? 0) / report.seconds : 0
}

export function perSecondText(rate: number): string {
  return `${Math.round(rate).toLocaleString('en')}/s`
}
