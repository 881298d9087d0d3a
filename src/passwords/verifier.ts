import { Worker } from 'node:worker_threads'

export interface HashJob {
  /** Source of the password. Sources take turns. */
  readonly source: string
  /** True when the user has authenticated from there before: verified before all others. */
  readonly isKnown: boolean
  readonly hash: string
  readonly password: string
  /** Returns true once the caller no longer waits for the answer. */
  readonly isGone: () => boolean
  /** Called with undefined when the password was not verified, such as when other jobs took the place. */
  readonly done: (isRight: boolean | undefined) => void
}

/** Maximum number of waiting jobs of a lane: in all, and of one source. */
const most = { waiting: 256, ofSource: 32 }

/** Waiting jobs by source. Sources take turns, and the longest queue loses a job when all places are taken. */
class VerifierLane {
  /** Ordered by turn, next source first. */
  readonly #waiting = new Map<string, HashJob[]>()
  #count = 0

  /** Returns false when there is no place for the job. */
  add(job: HashJob): boolean {
    const own = this.#waiting.get(job.source)
    if (own && own.length >= most.ofSource) return false
    if (this.#count >= most.waiting && (own || !this.#makeRoom())) return false
    this.#count++
    if (own) own.push(job)
    else this.#waiting.set(job.source, [job])
    return true
  }

  next(): HashJob | undefined {
    const [first] = this.#waiting
    if (!first) return undefined
    const [source, jobs] = first
    const job = jobs.shift() as HashJob
    this.#count--
    this.#waiting.delete(source)
    if (jobs.length > 0) this.#waiting.set(source, jobs)
    return job
  }

  /** Evicts the last job of the source with the most jobs. */
  #makeRoom(): boolean {
    let longest: HashJob[] = []
    for (const jobs of this.#waiting.values()) if (jobs.length > longest.length) longest = jobs
    if (longest.length < 2) return false
    this.#count--
    longest.pop()?.done(undefined)
    return true
  }
}

/**
 * Verifies slow hashes one at a time in a thread of its own: not in Node's thread pool, which the spool writes with.
 * Known sources come first. The others take turns, so that a flooding source delays only itself.
 */
export class Verifier {
  readonly #known = new VerifierLane()
  readonly #others = new VerifierLane()
  #worker: Worker | undefined
  #running: HashJob | undefined
  #stopped = false

  /** Returns false when too many jobs wait already. `done` is not called then. */
  verify(job: HashJob): boolean {
    if (this.#stopped || !(job.isKnown ? this.#known : this.#others).add(job)) return false
    this.#next()
    return true
  }

  /** Ends the thread. Calls `done` of each waiting job with undefined. */
  async stop(): Promise<void> {
    this.#stopped = true
    const running = this.#running
    this.#running = undefined
    running?.done(undefined)
    for (let job = this.#take(); job; job = this.#take()) job.done(undefined)
    await this.#worker?.terminate()
  }

  #take(): HashJob | undefined {
    return this.#known.next() ?? this.#others.next()
  }

  #next(): void {
    if (this.#running || this.#stopped) return
    let job = this.#take()
    for (; job?.isGone(); job = this.#take()) job.done(undefined)
    if (!job) return
    this.#running = job
    this.#worker ??= this.#begin()
    const { hash, password } = job
    this.#worker.postMessage({ hash, password })
  }

  #begin(): Worker {
    const worker = new Worker(new URL('./verifier-thread.js', import.meta.url))
    worker.unref()
    const settle = (isRight: boolean | undefined) => {
      const job = this.#running
      this.#running = undefined
      job?.done(isRight)
      this.#next()
    }
    worker.on('message', settle)
    const gone = () => {
      if (this.#worker !== worker || this.#stopped) return
      // Out of memory, most likely: the next job gets a new thread.
      this.#worker = undefined
      settle(undefined)
    }
    worker.on('error', gone)
    worker.on('exit', gone)
    return worker
  }
}
