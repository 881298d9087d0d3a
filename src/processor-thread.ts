import { Worker } from 'node:worker_threads'
import type { UserShares } from './auth/user-shares.js'
import type { Settings } from './config.js'
import { HubError } from './errors.js'
import type { Part } from './lifecycle.js'
import { Link } from './link.js'
import type { BrokerOffers, ProcessorOffers, ProcessorThreadData } from './processing.js'
import type { SpoolPosition } from './queue/spool.js'

interface ProcessorThreadOptions {
  readonly settings: Settings
  readonly dir: string
  readonly hubId: () => string
  readonly shares: () => UserShares
  readonly position: () => SpoolPosition
  /** Resolves when the spool has all that was accepted. */
  readonly flushed: () => Promise<void>
  /** When it stops: what is not stored yet, and where it is. */
  readonly left: (sentence: string) => void
  readonly offers: BrokerOffers
  readonly died: (error: Error) => void
}

/** Messages live for milliseconds: with room enough they are gone before the collector copies them. */
const youngMegabytes = 128

/** Between two notices of commits to the processor thread. */
const pauseMs = 4

/** The processor thread, seen from the broker thread. */
export class ProcessorThread implements Part {
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
    const { settings, dir, hubId, shares, position, offers, died } = this.#options
    const workerData: ProcessorThreadData = { settings, dir, hubId: hubId(), shares: shares() }
    const worker = new Worker(new URL('./thread.js', import.meta.url), {
      workerData,
      resourceLimits: { maxYoungGenerationSizeMb: youngMegabytes },
    })
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
    const { settings, flushed, position, left } = this.#options
    this.#stopping = true
    await flushed()
    clearTimeout(this.#pause)
    const drainMs = settings['shutdown.timeout'] / 2
    const end = await this.#link?.call('stop', { position: position(), drainMs })
    if (end?.left) left(end.left)
    await this.#worker?.terminate()
    if (end && end.problems.length > 0) throw new Error(end.problems.join('; '))
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
    clearTimeout(this.#pause)
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
    // The answer includes everything acknowledged before the question.
    if (this.#untold) this.#tellCommitted()
    return this.#link.call(name, argument)
  }

  tell<Name extends keyof ProcessorOffers>(name: Name, argument: Parameters<ProcessorOffers[Name]>[0]): void {
    this.#link?.tell(name, argument)
  }
}
