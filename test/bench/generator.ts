import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Flooders, type FloodJob, HalfOpen, type HalfOpenJob } from './flooders.js'
import { Guessers, type GuessJob } from './guessers.js'
import { Opener, type OpenJob } from './opener.js'
import { type AckedJob, AckedPublishers, type PacedJob, PacedPublishers } from './publishers.js'
import { Freshness, type FreshnessJob, Readings, type ReadingsJob } from './readings.js'
import { Saturate, type SaturateJob } from './saturate.js'
import { type SubscribeJob, Subscribers } from './subscribers.js'
import type { Distribution, Task } from './task.js'
import { monotonicMicros } from './wire.js'

/* A load generator: a process of its own that does one job, between two moments that all processes agree on. */

export type Job =
  | AckedJob
  | PacedJob
  | SubscribeJob
  | SaturateJob
  | OpenJob
  | FloodJob
  | HalfOpenJob
  | GuessJob
  | ReadingsJob
  | FreshnessJob

/** When counting begins and ends, in microseconds of the monotonic clock. */
export interface Period {
  readonly begin: number
  readonly end: number
}

export interface Report {
  readonly seconds: number
  /** What was counted in the period, by name. */
  readonly counts: Readonly<Record<string, number>>
  readonly latencies?: Distribution
  /** Processor time of the generator in the period, in parts of one core. */
  readonly cpu: number
}

export interface Generator {
  /**
   * Begins to load at once and counts in the period, or from the first moment if the period has begun. Resolves after
   * its end, or when there is nothing more to do. It goes on, with its connections, until {@link end}.
   */
  run(period: Period): Promise<Report>
  /** Throws what went wrong since, such as a connection that was ended. */
  check(): void
  end(): Promise<void>
}

type Said = { readonly ready: true } | { readonly report: Report } | { readonly failed: string }

/** Resolves when all of the job's connections are there and subscribed. */
export async function startGenerator(job: Job): Promise<Generator> {
  const child = fork(fileURLToPath(import.meta.url), [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const gone = new Promise<void>(resolve => child.once('exit', () => resolve()))
  const end = async () => {
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000)
    if (child.connected) child.disconnect()
    await gone
    clearTimeout(timer)
  }
  let failure: string | undefined
  child.on('message', said => {
    if ('failed' in (said as Said)) failure = (said as { failed: string }).failed
  })
  try {
    child.send(job)
    await next(child)
  } catch (error) {
    await end()
    throw error
  }
  return {
    run: async period => {
      child.send(period)
      const said = await next(child)
      if (!('report' in said)) throw new Error('the load generator spoke out of turn')
      return said.report
    },
    check: () => {
      if (failure !== undefined) throw new Error(`load generator: ${failure}`)
    },
    end,
  }
}

function next(child: ChildProcess): Promise<Said> {
  return new Promise((resolve, reject) => {
    const settle = (after: () => void) => {
      child.off('message', said).off('exit', exited)
      after()
    }
    const said = (message: unknown) => {
      const what = message as Said
      settle(() => ('failed' in what ? reject(new Error(`load generator: ${what.failed}`)) : resolve(what)))
    }
    const exited = (code: number | null) => settle(() => reject(new Error(`the load generator ended (exit ${code})`)))
    child.on('message', said).on('exit', exited)
  })
}

function taskOf(job: Job, onFailure: (error: Error) => void): Task {
  switch (job.kind) {
    case 'acked':
      return new AckedPublishers(job, onFailure)
    case 'paced':
      return new PacedPublishers(job, onFailure)
    case 'readings':
      return new Readings(job, onFailure)
    case 'freshness':
      return new Freshness(job, onFailure)
    case 'saturate':
      return new Saturate(job, onFailure)
    case 'open':
      return new Opener(job, onFailure)
    case 'flood':
      return new Flooders(job)
    case 'guess':
      return new Guessers(job)
    case 'half-open':
      return new HalfOpen(job)
    case 'subscribe':
      return new Subscribers(
        job,
        Array.from({ length: job.subscribers }, () => job.filters),
        onFailure,
      )
  }
}

async function measure(task: Task, { begin, end }: Period): Promise<Report> {
  const warmsUp = begin > monotonicMicros()
  if (warmsUp) {
    task.run()
    await until(begin)
  }
  task.latencies?.clear()
  const cpuBefore = process.cpuUsage()
  const before = task.counts()
  const from = monotonicMicros()
  if (!warmsUp) task.run()
  await (task.done ? Promise.race([task.done, until(end)]) : until(end))
  const after = task.counts()
  const seconds = (monotonicMicros() - from) / 1e6
  const { user, system } = process.cpuUsage(cpuBefore)
  const latencies = task.latencies?.summary()
  return {
    seconds,
    counts: Object.fromEntries(Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)])),
    cpu: (user + system) / 1e6 / seconds,
    ...(latencies && { latencies }),
  }
}

function until(micros: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, Math.max(0, (micros - monotonicMicros()) / 1_000)))
}

function main(): void {
  const say = (what: Said) => void process.send?.(what)
  const fail = (error: Error) => void process.send?.({ failed: error.message }, () => process.exit(1))
  let task: Task | undefined
  // Also when our parent is no more.
  process.once('disconnect', () => {
    task?.end?.()
    process.exit(0)
  })
  process.once('message', job => {
    const begun = taskOf(job as Job, fail)
    task = begun
    process.once('message', period => {
      measure(begun, period as Period).then(report => say({ report }), fail)
    })
    begun.prepare().then(() => say({ ready: true }), fail)
  })
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) main()
