import { readFileSync } from 'node:fs'
import { replaceFile } from '../disk/replace-file.js'
import { HubError } from '../errors.js'
import type { Message } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { TimeSeriesStore } from '../store/store.js'

export interface SettledSource {
  readonly settled: number
}

/** Reads messages by their numbers. Implemented by `Cursors`. */
export interface NumberedMessages {
  /** First sequence number that can still be read. */
  readonly oldest: number
  /**
   * Reads the messages of a range of sequence numbers, both included; rejects with `not_found` when some are deleted.
   */
  numbered(range: { from: number; to: number }, signal: AbortSignal): AsyncIterable<readonly Message[]>
}

/** Handles messages. Implemented by `Recorder`. */
export interface MessageHandler {
  handle(messages: readonly Message[], isFirst?: boolean): Promise<unknown>
}

export interface RefillOptions {
  readonly store: TimeSeriesStore
  /**
   * Kind of the store that this hub writes. A store of another kind than at the last start has not lost what it never
   * had.
   */
  readonly kind: string
  /** File in which the kind is kept. */
  readonly path: string
  /** Knows the last sequence number whose message is known to be stored or rejected. Asked when the hub starts. */
  readonly settled: SettledSource
  readonly spool: NumberedMessages
  /** Writes messages of the spool to the store once more, which changes nothing where the store has them. */
  readonly recorder: MessageHandler
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'info'>
}

/**
 * Repairs a store that has lost its end: a log was cut, an older copy was put in place, or the file is gone. The store
 * keeps the number of its last message. Messages missing up to the last settled number are written again from the
 * spool and the archive, as far as these still have them. The rest is reported as lost.
 */
export class Refill {
  readonly #options: RefillOptions
  readonly #abort = new AbortController()
  #settled = 0
  /** Next sequence number to write again. Undefined until the store has reported its last number. */
  #next: number | undefined
  #isDone = false
  #keepsCount = false
  /** Where the store ended, for people. */
  #end = ''
  #isReported = false
  #running: Promise<void> | undefined

  constructor(options: RefillOptions) {
    this.#options = options
  }

  start(): void {
    this.#settled = this.#options.settled.settled
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    await this.#running?.catch(() => {})
  }

  /** Sequence number from which the spool must stay readable. */
  get needed(): number {
    return this.#isDone ? Number.POSITIVE_INFINITY : (this.#next ?? 1)
  }

  /**
   * Resolves when the store has everything that can be restored: newer messages may not be written before. Rejects with
   * errors of the store.
   */
  async ready(): Promise<void> {
    if (this.#isDone) return
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
    await this.#running
  }

  async #run(): Promise<void> {
    this.#next ??= await this.#begin()
    const { spool, recorder, log } = this.#options
    const { signal } = this.#abort
    while (this.#next <= this.#settled) {
      this.#skipDeleted(this.#next)
      try {
        for await (const messages of spool.numbered({ from: this.#next, to: this.#settled }, signal)) {
          this.#reportBehind()
          await recorder.handle(messages, true)
          this.#next = (messages.at(-1)?.sequence ?? this.#next) + 1
        }
        if (signal.aborted) throw new HubError('stopping', 'stopped before the store was refilled')
        this.#next = this.#settled + 1
      } catch (error) {
        if (!(error instanceof HubError) || error.code !== 'not_found') throw error
        // A deletion by the hub shows in `oldest`. After a deletion by hand, nothing shows what is left.
        if (spool.oldest <= this.#next) this.#lose(this.#settled)
      }
    }
    if (this.#isReported) log.info(`the store was refilled from the spool, up to message ${this.#settled}`)
    if (this.#keepsCount) await this.#options.store.write([], this.#settled)
    await this.#remember()
    this.#isDone = true
  }

  /** Returns the first number to write again; a number behind the end when there is nothing to do. */
  async #begin(): Promise<number> {
    const { store, kind } = this.#options
    const last = await store.last()
    if (!last) return this.#settled + 1
    this.#keepsCount = true
    const { sequence, isNew } = last
    const before = this.#kindBefore()
    const wasOurs = before === undefined ? sequence !== undefined : before === kind
    const from = sequence === undefined ? (isNew ? 1 : undefined) : sequence + 1
    if (!wasOurs || from === undefined || from > this.#settled) return this.#settled + 1
    this.#end = sequence === undefined ? 'is empty' : `ends at message ${sequence}`
    return from
  }

  /**
   * Reports that the store is behind, once there is a message that the store lacks: numbers in between may never have
   * been assigned.
   */
  #reportBehind(): void {
    if (this.#isReported) return
    this.#isReported = true
    this.#options.incidents.report(
      'store_behind',
      `the store ${this.#end}, although messages up to ${this.#settled} were stored: those that are still in the spool are stored again`,
    )
  }

  #skipDeleted(next: number): void {
    const last = Math.min(this.#options.spool.oldest - 1, this.#settled)
    if (last >= next) this.#lose(last)
  }

  #lose(last: number): void {
    const next = this.#next ?? 1
    this.#options.incidents.report(
      'store_lost',
      `messages ${next} to ${last} are neither in the store nor in the spool any more (spool.keep and spool.archive keep messages longer)`,
      { messages: last - next + 1 },
    )
    this.#next = last + 1
  }

  #kindBefore(): string | undefined {
    try {
      const kept = JSON.parse(readFileSync(this.#options.path, 'utf8')) as { readonly kind?: unknown } | null
      return typeof kept?.kind === 'string' ? kept.kind : undefined
    } catch {
      return undefined
    }
  }

  async #remember(): Promise<void> {
    const { path, kind } = this.#options
    if (this.#kindBefore() === kind) return
    await replaceFile(path, `${JSON.stringify({ kind })}\n`).catch(() => {
      // The next start takes the store for a new one, and then nothing is reported as lost.
    })
  }
}
