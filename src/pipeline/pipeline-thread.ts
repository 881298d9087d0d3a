import { Worker } from 'node:worker_threads'
import type { SettingsFollower } from '../config/reload.js'
import type { Settings } from '../config/settings.js'
import type { Identity } from '../disk/identity.js'
import { describe, HubError } from '../errors.js'
import type { ClientPresence, PresenceListener } from '../model.js'
import type { Alarm, AlarmCheck, AlarmListener } from '../observe/alarms.js'
import type { LossSink } from '../observe/incidents.js'
import type { ProcessorNumbers } from '../observe/metrics.js'
import type { ClientRefusals, RefusalSink } from '../observe/refusal-counts.js'
import type { Part } from '../runtime/lifecycle.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { Link, remote } from '../runtime/worker-link.js'
import type { Spool, SpoolListener, SpoolPosition } from '../spool/spool.js'
import type { UsersListener } from '../users/user-directory.js'
import { BrokerSide, type BrokerSideParts, type MessageDelivery } from './broker-side.js'
import type { ProcessorStatus } from './consumers.js'
import type { FeedSink } from './feeds/feed.js'
import type { PipelineApi } from './pipeline-api.js'
import { RecentPresences } from './recent-presences.js'
import type { ReplySink } from './reply-watch.js'
import { type PipelineStatus, type ProcessorOffers, type ProcessorThreadData, threadAlarms } from './thread-ports.js'

export { OwnMapping } from './own-rules/own-mapping.js'

interface PipelineThreadOptions extends BrokerSideParts {
  readonly settings: Settings
  readonly dir: string
  readonly identity: Pick<Identity, 'hubId' | 'version'>
  readonly spool: Pick<Spool, 'position' | 'flush' | 'freed' | 'recount'>
  /** Program of the thread. */
  readonly entry?: URL
}

/** A death of the processor thread. Times in milliseconds since the epoch. */
interface Death {
  readonly detail: string
  readonly since: number
  readonly retryAt: number
}

/**
 * Size of the young generation. Messages live for milliseconds: with enough room they are garbage before the collector
 * copies them.
 */
const youngMegabytes = 128

/** Time between two reports of commits to the processor thread. */
const pauseMs = 4

/**
 * Number of deaths with quick restarts: as many as it may take to find the message that crashes the thread
 * (queue/suspects.ts). A thread that dies more often is restarted less and less often.
 */
const quickDeaths = 40
const quickMs = 250
const maxRestMs = 60_000
/** Running time after which a thread counts as healthy. */
const wellMs = 60_000

const nowhere: MessageDelivery & FeedSink & ReplySink = {
  publishAll: async () => {},
  flushed: async () => {},
  wanted: { next: () => new Promise(() => {}) },
  feed: async () => {},
  messages: () => {},
  restarted: () => {},
  replied: () => {},
  asked: async () => {},
}

/** Is told by other parts what the thread needs to know. */
interface ThreadListener extends SpoolListener, PresenceListener, UsersListener, RefusalSink, LossSink, AlarmListener {}

/** The processor thread, as seen from the broker thread. */
export class PipelineThread implements Part, ThreadListener, SettingsFollower {
  readonly name = 'processor'
  /** Questions to the thread, answered by the functions of the same names that it offers. */
  readonly api: PipelineApi = remote((name: keyof PipelineApi, argument) => this.call(name, argument as never))
  readonly #options: PipelineThreadOptions
  #worker: Worker | undefined
  #link: Link<ProcessorOffers> | undefined
  /** The link to a thread whose start has not ended. */
  #starting: Link<ProcessorOffers> | undefined
  #settings: Settings
  #outlets: readonly [MessageDelivery, FeedSink, ReplySink] = [nowhere, nowhere, nowhere]
  #stopping = false
  /** Resolves when the last reload has ended. Each begins after the one before has ended. */
  readonly #reloading = new SerialQueue()
  #untold: SpoolPosition | undefined
  #pause: NodeJS.Timeout | undefined
  #isUp = false
  #hasRun = false
  /** Resolves when the last thread has ended. */
  #exited: Promise<void> = Promise.resolve()
  /** Whether the last thread has failed, and may still wait for native calls before exiting. */
  #isDying = false
  #death: Death | undefined
  #deaths = 0
  /** Time of the last death, in milliseconds of a clock that never jumps. */
  #diedAt = Number.NEGATIVE_INFINITY
  #restart: NodeJS.Timeout | undefined
  #restarting: Promise<void> = Promise.resolve()
  /** A new thread receives them. */
  readonly #presences = new RecentPresences()
  #lost = 0

  constructor(options: PipelineThreadOptions) {
    this.#options = options
    this.#settings = options.settings
  }

  /** Sets where messages of the thread go. Called before the start. */
  deliverTo(delivery: MessageDelivery, feeds: FeedSink, replies: ReplySink = nowhere): void {
    this.#outlets = [delivery, feeds, replies]
  }

  async start(): Promise<void> {
    await this.#open()
    this.#presences.start()
  }

  /** Resolves when a new thread runs. Rejects when the thread could not start; then there is none. */
  async #open(): Promise<void> {
    const { dir, identity, sharing, spool, entry } = this.#options
    const workerData: ProcessorThreadData = {
      ...{ settings: this.#settings, dir, shares: sharing.shares, isFirst: !this.#hasRun },
      ...{ hubId: identity.hubId, version: identity.version },
    }
    const worker = new Worker(entry ?? new URL('./pipeline-worker.js', import.meta.url), {
      workerData,
      resourceLimits: { maxYoungGenerationSizeMb: youngMegabytes },
    })
    let isOver = false
    const gone = (error: Error) => {
      if (isOver) return
      isOver = true
      if (this.#worker === worker) this.#isDying = true
      link.fail(new HubError('processor_down', `the processor thread ended: ${describe(error)}; try again`))
      if (this.#link === link) this.#died(error)
    }
    const link: Link<ProcessorOffers> = new Link(worker, new BrokerSide(this.#options, this.#outlets, gone))
    this.#isDying = false
    this.#exited = new Promise(resolve => worker.on('exit', () => resolve()))
    worker.on('error', gone)
    worker.on('exit', code => gone(new Error(`the thread ended (${code})`)))
    this.#worker = worker
    this.#link = link
    this.#starting = link
    try {
      await link.call('start', spool.position)
      this.#isUp = true
      this.#hasRun = true
      // The thread may have replaced what it was told before it had read its files.
      for (const presence of this.#presences) link.tell('present', presence)
    } catch (error) {
      this.#link = undefined
      await this.#end()
      throw error
    } finally {
      this.#starting = undefined
    }
  }

  #died(error: Error): void {
    const wasUp = this.#isUp
    this.#isUp = false
    // During a start, the caller that waits for the start receives the error.
    if (this.#stopping || !wasUp) return
    if (performance.now() - this.#diedAt > wellMs) this.#deaths = 0
    this.#rest(error)
  }

  #rest(error: unknown): void {
    this.#diedAt = performance.now()
    this.#deaths++
    const restMs = Math.min(maxRestMs, quickMs * 2 ** Math.max(0, this.#deaths - quickDeaths))
    const since = this.#death?.since ?? Date.now()
    this.#death = { detail: describe(error), since, retryAt: Date.now() + restMs }
    this.#options.log.warn(
      `the processor thread ended: ${describe(error)}; it is restarted in ${restMs / 1_000} s. MQTT continues, and the spool ` +
        'keeps arriving messages',
    )
    this.#restart = setTimeout(() => {
      this.#restarting = this.#startAgain()
    }, restMs)
  }

  /** Resolves when the last thread has ended. A dying thread is not terminated: native calls may be under way. */
  async #end(): Promise<void> {
    if (this.#isDying) await this.#exited
    else await this.#worker?.terminate()
  }

  /**
   * Stops the thread in order, and starts one with other settings. Resolves when the new thread runs, or the start will
   * be tried again.
   */
  onSettings(settings: Settings, isForPipeline: boolean): Promise<void> {
    if (!isForPipeline) return Promise.resolve()
    return this.#reloading.run(() => this.#reload(settings))
  }

  async #reload(settings: Settings): Promise<void> {
    this.#settings = settings
    if (this.#stopping || !this.#isUp) return
    // The end is intended, so no death is reported.
    this.#isUp = false
    try {
      const { problems } = await (this.#link as Link<ProcessorOffers>).call('stop', {
        position: this.#options.spool.position,
        drainMs: 0,
      })
      for (const problem of problems) this.#options.log.warn(problem)
      await this.#link?.call('abandon', undefined)
    } catch (error) {
      this.#options.log.warn(`the processor thread failed while it stopped: ${describe(error)}`)
    }
    await this.#end()
    await this.#startAgain()
  }

  async #startAgain(): Promise<void> {
    try {
      await this.#exited
      await this.#options.spool.flush()
      if (this.#stopping) return
      await this.#open()
    } catch (error) {
      if (!this.#stopping) this.#rest(error)
      return
    }
    this.#death = undefined
    for (const outlet of [this.#outlets[1], this.#outlets[2]]) outlet.restarted()
    // The last thread may not have reported all that was deleted.
    this.#options.spool.recount()
    if (this.#lost > 0) this.#link?.tell('lost', this.#lost)
    this.#lost = 0
  }

  /** A thread that dies meanwhile is waited for as well; then it rejects. */
  async stop(): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#pause)
    clearTimeout(this.#restart)
    this.#presences.stop()
    await this.#giveUpStart()
    await Promise.all([this.#reloading.idle(), this.#restarting])
    await this.#options.spool.flush()
    try {
      if (this.#isUp) await this.#stopInOrder()
    } finally {
      await this.#end()
    }
  }

  /** A start may wait for anything, and nobody needs the thread any more. */
  async #giveUpStart(): Promise<void> {
    const link = this.#starting
    if (!link) return
    // It may have died meanwhile.
    await link.call('abandon', undefined).catch(() => {})
    link.fail(new HubError('stopping', 'the hub stops'))
  }

  async #stopInOrder(): Promise<void> {
    const { spool, log } = this.#options
    const link = this.#link as Link<ProcessorOffers>
    const drainMs = this.#settings['shutdown.timeout'] / 2
    const end = await link.call('stop', { position: spool.position, drainMs })
    if (end.left) log.info(end.left)
    await link.call('abandon', undefined)
    if (end.problems.length > 0) throw new Error(end.problems.join('; '))
  }

  /** Whether a thread runs that can receive calls. */
  get isUp(): boolean {
    return this.#isUp
  }

  /** Sentence for people while the thread is down, or has died within the last minute. Undefined otherwise. */
  get trouble(): string | undefined {
    const died = `the processor thread ended ${this.#deaths === 1 ? 'once' : `${this.#deaths} times in a row`}`
    if (this.#death) return `${died}: ${this.#death.detail}; nothing is stored or shown until it is restarted`
    return performance.now() - this.#diedAt < wellMs ? `${died} within the last minute, and was restarted` : undefined
  }

  /** Returns what the thread reports of itself. */
  status(): Promise<PipelineStatus> {
    return this.call('status', undefined)
  }

  /** Returns the numbers of the thread, for the metrics. */
  async numbers(): Promise<ProcessorNumbers> {
    const { sheet, alarms: _, ...numbers } = await this.status()
    const { since, reasons, ...balance } = sheet
    return { ...numbers, balance, reasons }
  }

  /** Returns the dependencies and waiting consumers of the thread; without a thread, that the processor is down. */
  async readiness(): Promise<Pick<ProcessorStatus, 'dependencies' | 'waiting'>> {
    if (!this.#death) {
      try {
        return await this.status()
      } catch (error) {
        if (!(error instanceof HubError) || error.code !== 'processor_down') throw error
      }
    }
    const down = this.#death ?? { detail: 'the processor thread ended', since: Date.now(), retryAt: Date.now() }
    return { dependencies: [{ name: 'processor', state: 'down', ...down }], waiting: [] }
  }

  /**
   * Reports a commit at once, and then every few milliseconds, however many groups are committed meanwhile: the thread
   * then reads larger batches, and takes less from the broker thread.
   */
  onCommitted(position: SpoolPosition): void {
    this.#untold = position
    if (!this.#pause) this.#tellCommitted()
  }

  #tellCommitted(): void {
    clearTimeout(this.#pause)
    this.#pause = undefined
    if (!this.#untold) return
    this.#tell('committed', this.#untold)
    this.#untold = undefined
    this.#pause = setTimeout(() => this.#tellCommitted(), pauseMs)
  }

  call<Name extends keyof ProcessorOffers>(
    name: Name,
    argument: Parameters<ProcessorOffers[Name]>[0],
  ): Promise<Awaited<ReturnType<ProcessorOffers[Name]>>> {
    if (this.#death) {
      const { detail } = this.#death
      return Promise.reject(new HubError('processor_down', `the processor thread ended: ${detail}; try again`))
    }
    if (!this.#link) return Promise.reject(new HubError('stopping', 'the hub is starting; try again'))
    // The answer must include everything acknowledged before the call.
    if (this.#untold) this.#tellCommitted()
    return this.#link.call(name, argument)
  }

  #tell<Name extends keyof ProcessorOffers>(name: Name, argument: Parameters<ProcessorOffers[Name]>[0]): void {
    this.#link?.tell(name, argument)
  }

  onPresence(presence: ClientPresence): void {
    this.#presences.add(presence)
    this.#tell('present', presence)
  }

  /** Deletes what is kept for replays only, as the disk has refused a group. */
  onRefused(): void {
    this.#tell('diskFull', undefined)
  }

  onUsersChanged(): void {
    this.#tell('shares', this.#options.sharing.shares)
  }

  onAlarms(raised: readonly Alarm[]): void {
    if (this.#isUp) this.#tell('alarms', raised)
  }

  enterRefusals(refusals: readonly ClientRefusals[]): void {
    this.#tell('refused', refusals)
  }

  enterLost(messages: number): void {
    if (this.#isUp) this.#tell('lost', messages)
    else this.#lost += messages
  }
}

/** Share of dead.limit, in percent, from which on it is an alarm. */
const deadPercent = 80

/** Returns the alarms of the processor thread and of what runs in it, by the settings in effect. */
export function pipelineAlarms(pipeline: PipelineThread, live: { readonly current: Settings }): readonly AlarmCheck[] {
  return [
    ...threadAlarms.map(name => ({ name, check: async () => (await pipeline.status()).alarms[name] })),
    {
      name: 'dead',
      check: async () => {
        const percent = Math.floor(((await pipeline.status()).deadBytes / live.current['dead.limit']) * 100)
        if (percent < deadPercent) return undefined
        return `the dead letters use ${percent} % of dead.limit; at 100 % the oldest are deleted: replay or drop some`
      },
    },
    { name: 'processor', check: () => pipeline.trouble },
  ]
}
