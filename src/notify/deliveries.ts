import { randomBytes } from 'node:crypto'
import { describe, HubError } from '../errors.js'
import type { SentenceLog } from '../observe/log.js'
import { Attempts } from '../runtime/attempts.js'
import { Circuit, retryForever } from '../runtime/retry.js'
import { withoutSecrets } from '../runtime/secrets.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { AlertMessage } from './message.js'
import type { AlertOutbox } from './outbox.js'
import { attemptMs, type NotifyTarget, SubscriptionGone, TargetGone, Undeliverable } from './target.js'

/** Targets as they are now: they change with the file. */
export interface TargetBook {
  /** Returns undefined for a target that is no more. */
  targetOf(address: string): NotifyTarget | undefined
  /** Most messages in a minute to an address. */
  rateOf(address: string): number
  readonly secrets: readonly string[]
  /** False while it is unknown which targets there are: nothing is sent then. */
  readonly isKnown: boolean
  /** Drops what waits for an address. `endsSubscription`: the push service no longer knows the browser. */
  gone(address: string, endsSubscription: boolean): Promise<void>
}

export interface DeliveriesOptions {
  readonly outbox: AlertOutbox
  readonly book: TargetBook
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  /** Milliseconds of a clock that never jumps. */
  readonly monotonic: MillisecondClock
  readonly log: SentenceLog
}

/** Outcomes that are counted, by target. */
export const outcomes = ['sent', 'failed', 'given_up'] as const
export type DeliveryOutcome = (typeof outcomes)[number]

/** How long a message is tried. An older one is given up, so that the next ones get their turn. */
const maxAgeMs = 3 * 864e5
const leastTriedMs = 3_600_000

/** Messages that wait for an address. Beyond it alerts stay in the group, which becomes one message later. */
const maxWaiting = 100
const maxWaitingOfBrowser = 3

/** State of an address that has failed, and not worked since. */
interface Failure {
  readonly circuit: Circuit
  /** A sentence for people: the last message was refused for good, although the target answers. */
  refused: string
}

/** Sends what is in the outbox: one message after the other to each address, and all addresses at the same time. */
export class Deliveries {
  readonly #options: DeliveriesOptions
  readonly #stop = new AbortController()
  readonly #working = new Map<string, Promise<void>>()
  readonly #failures = new Map<string, Failure>()
  readonly #rates = new Map<number, Attempts>()
  readonly #counts = new Map<string, number>()
  #forming = new Set<string>()

  constructor(options: DeliveriesOptions) {
    this.#options = options
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Numbers by `target outcome`, since the start. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts
  }

  /** Makes messages of the groups that are due, and begins to send what waits. Called again and again. */
  look(): void {
    const { outbox, book } = this.#options
    if (!book.isKnown) return
    for (const [address, { messages, group }] of outbox.state.mailboxes) {
      if (group && this.#isDue(group.due) && messages.length < mostWaiting(address)) this.#form(address)
      if (messages.length > 0 && !this.#working.has(address)) this.#begin(address)
    }
  }

  /** Resolves when nothing is sent any more. What was not delivered stays in the outbox. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#working.values())
  }

  /** Sends one message at once, beside the outbox. Rejects with a sentence that shows no secret. */
  async test(address: string): Promise<void> {
    const made = this.#options.clock.now()
    const message = { id: newId(), lines: [], more: 0, made, isTest: true } as const
    try {
      await this.#attempt(message, address)
    } catch (error) {
      throw new Error(this.#sentence(error))
    }
  }

  /** Returns the addresses that fail: since when, why, and how many tries have failed. */
  failing(): readonly { address: string; since: number; detail: string; failures: number }[] {
    return [...this.#failures].flatMap(([address, { circuit, refused }]) => {
      const { state, since = 0, detail = '', failures } = circuit.state
      if (state === 'down') return [{ address, since, detail: this.#safe(detail), failures }]
      return refused ? [{ address, since: 0, detail: refused, failures: 0 }] : []
    })
  }

  /** A group whose time is far away was made before the clock jumped back: it is due, too. */
  #isDue(due: number): boolean {
    const left = due - this.#options.clock.now()
    return left <= 0 || left > maxGroupMs
  }

  #form(address: string): void {
    const { outbox, book, clock, monotonic } = this.#options
    if (this.#forming.has(address)) return
    const perMinute = book.rateOf(address)
    const rate = this.#rates.get(perMinute) ?? new Attempts(perMinute)
    this.#rates.set(perMinute, rate)
    if (rate.take(address, monotonic.now()) > 0) return
    this.#forming.add(address)
    outbox
      .record({ is: 'formed', to: address, id: newId(), made: clock.now() }, this.signal)
      .then(
        () => this.look(),
        () => {},
      )
      .finally(() => this.#forming.delete(address))
  }

  #begin(address: string): void {
    if (this.signal.aborted) return
    const work = this.#work(address)
      .catch(error => {
        if (!this.signal.aborted) this.#options.log.warn(`notify: ${this.#sentence(error)}`)
      })
      .finally(() => {
        this.#working.delete(address)
        if (!this.signal.aborted) this.look()
      })
    this.#working.set(address, work)
  }

  async #work(address: string): Promise<void> {
    const { outbox } = this.#options
    for (;;) {
      const message = outbox.state.mailboxes.get(address)?.messages[0]
      if (!message || this.signal.aborted) return
      const outcome = await this.#deliver(message, address)
      if (outcome === undefined) return
      this.#count(address, outcome)
      await outbox.record({ is: 'done', to: address, id: message.id }, this.signal)
    }
  }

  /** Resolves with what became of a message; undefined when the hub stops before. */
  async #deliver(message: AlertMessage, address: string): Promise<'sent' | 'given_up' | undefined> {
    const { log } = this.#options
    const failure = this.#failures.get(address) ?? { circuit: this.#circuit(address), refused: '' }
    const begun = this.#options.monotonic.now()
    const outcome = await retryForever(
      async () => {
        try {
          await this.#attempt(message, address)
          return 'sent' as const
        } catch (error) {
          return await this.#givenUp(message, address, error, failure, begun)
        }
      },
      {
        signal: this.signal,
        circuitOf: () => failure.circuit,
        retrying: () => {
          this.#failures.set(address, failure)
          this.#count(address, 'failed')
        },
        recovered: () => {},
      },
    )
    if (outcome === 'sent') {
      if (failure.refused) log.info(`notify: ${address} takes messages again`)
      this.#failures.delete(address)
    }
    return outcome
  }

  /** Resolves when an error ends the attempts at a message. Throws the error when another attempt makes sense. */
  async #givenUp(
    message: AlertMessage,
    address: string,
    error: unknown,
    failure: Failure,
    begun: number,
  ): Promise<'given_up'> {
    const { book, clock, monotonic, log } = this.#options
    if (this.signal.aborted) throw error
    if (error instanceof SubscriptionGone || error instanceof TargetGone) {
      await book.gone(address, error instanceof SubscriptionGone)
      this.#failures.delete(address)
      return 'given_up'
    }
    // A clock that jumps makes no message old: it was tried for an hour at least.
    const isOld = clock.now() - message.made >= maxAgeMs && monotonic.now() - begun >= leastTriedMs
    if (!(error instanceof Undeliverable) && !isOld) {
      throw new HubError('overloaded', this.#sentence(error), retryOf(error))
    }
    const why = error instanceof Undeliverable ? 'refuses' : 'has failed for three days, so that the hub gives up'
    const alerts = message.lines.length + message.more
    failure.refused = `target ${address} ${why} a message about ${alerts} alerts: ${this.#sentence(error)}`
    this.#failures.set(address, failure)
    log.warn(`notify: ${failure.refused}`)
    return 'given_up'
  }

  async #attempt(message: AlertMessage, address: string): Promise<void> {
    const target = this.#options.book.targetOf(address)
    if (!target) throw new TargetGone('the target was removed from notify.file')
    const limit = AbortSignal.timeout(attemptMs)
    try {
      await target.send(message, address, AbortSignal.any([limit, this.signal]))
    } catch (error) {
      throw limit.aborted ? new Error(`no answer within ${attemptMs / 1_000} s`) : error
    }
  }

  #circuit(address: string): Circuit {
    const { clock, log } = this.#options
    const changed = ({ state, detail = '' }: { readonly state: string; readonly detail?: string }) =>
      state === 'down'
        ? log.warn(`notify: target ${address} fails: ${this.#safe(detail)}; its messages wait, and are tried again`)
        : log.info(`notify: target ${address} works again`)
    return new Circuit({ key: address, name: address, clock, changed })
  }

  #count(address: string, outcome: DeliveryOutcome): void {
    const key = `${targetOf(address)} ${outcome}`
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
  }

  #sentence(error: unknown): string {
    return this.#safe(describe(error))
  }

  #safe(sentence: string): string {
    return withoutSecrets(sentence, this.#options.book.secrets).slice(0, maxSentence)
  }
}

/** Longest sentence about a failure, in characters, as it may quote an answer. */
const maxSentence = 300
/** Longest time that a group may wait. */
const maxGroupMs = 3_600_000

/** Returns the name of the target in an address. */
export function targetOf(address: string): string {
  return address.split('/', 1)[0] as string
}

function mostWaiting(address: string): number {
  return address.includes('/') ? maxWaitingOfBrowser : maxWaiting
}

function retryOf(error: unknown): { readonly retryAfterMs: number | undefined } {
  return { retryAfterMs: error instanceof HubError ? error.retryAfterMs : undefined }
}

function newId(): string {
  return `msg_${randomBytes(15).toString('base64url')}`
}
