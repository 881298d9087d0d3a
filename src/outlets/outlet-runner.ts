import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DeadLetterFiles } from '../dead-letters/dead-letters.js'
import { describe, HubError } from '../errors.js'
import type { DeadLetter, Message, Outcome } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { consume, type Outlet, type QueueReader } from '../queue/queue.js'
import type { Suspects } from '../queue/suspects.js'
import { Rest } from '../runtime/rest.js'
import { Circuit, type CircuitState } from '../runtime/retry.js'
import { withoutSecrets } from '../runtime/secrets.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { matches } from '../topics.js'
import { OutletAccount, type OutletBalance } from './account.js'
import { PauseGate } from './pause-gate.js'
import type { OutletPlan } from './plan.js'

/** An outlet's place in the spool. */
export interface OutletCursor extends QueueReader {
  readonly settled: { readonly sequence: number; readonly segment: number }
  /** Moves back to `sequence`, if that is further back. Only before the first `next`. */
  rewind(sequence: number): void
  /** Gives up all messages before a segment. */
  skipTo(segment: number): number | undefined
}

/** Counts dead letters. */
export interface OutletDeadCounts {
  deadLettered(reason: string): void
}

export interface OutletRunnerOptions {
  readonly plan: OutletPlan
  readonly dir: string
  readonly hubId: string
  readonly suspects: Suspects
  readonly counts: OutletDeadCounts
  readonly clock: MicrosecondClock
  readonly log: SentenceLog
  readonly incidents: IncidentReporter
}

/** How an outlet does. Times in milliseconds since the epoch. */
export interface OutletState {
  readonly state: 'up' | 'down' | 'starting' | 'paused'
  /** Why the target is down, since when, and when the next attempt is due. */
  readonly detail?: string
  readonly since?: number
  readonly retryAt?: number
  readonly failures: number
}

/** One outlet at work: reads the spool, filters, hands over, and keeps account. */
export class OutletRunner {
  readonly plan: OutletPlan
  readonly dead: DeadLetterFiles
  readonly #options: OutletRunnerOptions
  readonly #account: OutletAccount
  readonly #gate: PauseGate
  readonly #circuit: Circuit
  readonly #abort = new AbortController()
  /** One delivery at a time: of the spool, or of dead letters that are replayed. */
  readonly #delivering = new SerialQueue()
  readonly #wantsAll: boolean
  #cursor: OutletCursor | undefined
  #outlet: Outlet | undefined
  #running: Promise<void> = Promise.resolve()
  #isStarted = false
  #starting: Promise<void> = Promise.resolve()
  #again: NodeJS.Timeout | undefined
  /** What `passed` was told before the account was open. */
  readonly #early: (readonly [to: number, lost: boolean])[] = []
  #isMet = false
  /** Whether a delivery has succeeded since the target was last down, and whether the log says that it is down. */
  #isWorking = false
  #isToldDown = false
  /** When the first message in hand was received, in microseconds. */
  #inHand: number | undefined
  #fault = ''
  #faultSince = 0

  constructor(options: OutletRunnerOptions) {
    const { plan, dir, log, incidents } = options
    this.plan = plan
    this.#options = options
    this.#wantsAll = plan.topics.includes('#') && plan.exclude.length === 0
    this.#account = new OutletAccount(join(dir, 'account'))
    this.#gate = new PauseGate(join(dir, 'outlet.json'))
    this.#circuit = new Circuit({
      key: plan.name,
      name: `outlet ${plan.name}`,
      clock: Date,
      changed: state => this.#changed(state),
    })
    this.dead = new DeadLetterFiles({
      dir: join(dir, 'dead'),
      limitBytes: plan.deadBytes,
      dropped: letters => this.#account.moved(letters.length, 'dropped'),
      log: { warn: sentence => log.warn(`outlet ${plan.name}: ${sentence}`) },
      incidents,
    })
  }

  /**
   * Resolves once the outlet runs, or the disk has refused: then it is down with the reason, and tries again until `stop`.
   *
   * @param accepted The last sequence number in the spool
   */
  start(cursor: OutletCursor, accepted: number): Promise<void> {
    this.#starting = this.#begin(cursor, accepted).catch((error: unknown) => {
      const fault = describe(error)
      if (fault !== this.#fault)
        this.#options.log.warn(
          `outlet ${this.plan.name} cannot start: ${fault}; it is tried again, and its messages wait in the spool`,
        )
      this.#tell(fault)
      if (!this.#abort.signal.aborted) this.#again = setTimeout(() => this.start(cursor, accepted), startAgainMs)
    })
    return this.#starting
  }

  async #begin(cursor: OutletCursor, accepted: number): Promise<void> {
    const { plan, dir, suspects, counts, clock, log } = this.#options
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    const passed = cursor.settled.sequence - 1
    if (this.#account.open(passed)) this.#agree(cursor, accepted)
    this.#early.length = 0
    this.#gate.open()
    await this.dead.start()
    if (this.#abort.signal.aborted) return
    this.#cursor = cursor
    this.#tell('')
    this.#isStarted = true
    suspects.start()
    const running = consume(
      {
        name: `outlet ${plan.name}`,
        reader: cursor,
        suspects,
        handle: messages => this.#handle(messages),
        dead: {
          list: (filter, limit) => this.dead.list(filter, limit),
          sweep: (filter, handle, signal) => this.dead.sweep(filter, handle, signal),
          put: async letters => {
            await this.dead.put(letters)
            for (const { reason } of letters) counts.deadLettered(`outlet_${reason}`)
          },
        },
        ledger: this.#account,
        batch: plan.target.batch,
        ...(plan.target.restMs > 0 && { rest: new Rest(plan.target.restMs) }),
        clock,
        // A disk that refuses a dead letter says nothing about the target.
        circuitOf: error =>
          error instanceof HubError && error.code === 'outlet_unavailable' ? this.#circuit : undefined,
        retrying: (error, circuit) => {
          const fault = circuit ? '' : describe(error)
          if (fault && fault !== this.#fault) log.warn(`outlet ${plan.name}: ${fault}; retrying`)
          this.#tell(fault)
        },
        recovered: () => {
          this.#tell('')
        },
      },
      this.#abort.signal,
    )
    this.#running = running
  }

  /**
   * The account and the cursor differ after a loss of power: messages between come again, or were delivered. Where the end of
   * the spool is lost, the numbers of later messages are given again, and those must not be taken for accounted ones.
   */
  #agree(cursor: OutletCursor, accepted: number): void {
    const { plan, log, incidents } = this.#options
    const { upTo } = this.#account
    if (upTo > accepted) {
      const passed = Math.min(cursor.settled.sequence - 1, accepted)
      this.#account.beginAgain(passed)
      incidents.report(
        'outlet_account_lost',
        `outlet ${plan.name}: the spool ends at message ${accepted}, although the account goes up to message ${upTo}: the end of the spool was lost; a new account begins behind message ${passed}`,
      )
    }
    for (const [to, lost] of this.#early) this.#account.pass(to, lost ? 'lost' : 'never')
    cursor.rewind(this.#account.upTo + 1)
    const gone = this.#account.pass(cursor.settled.sequence - 1, 'delivered')
    if (gone > 0)
      log.warn(`outlet ${plan.name}: ${gone} messages are counted as delivered that are not in the spool any more`)
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    clearTimeout(this.#again)
    await this.#starting
    await this.#running
    await this.#delivering.idle()
    if (this.#isStarted) this.#options.suspects.stop()
    await this.#outlet?.close()
    await this.dead.stop()
    this.#account.close()
  }

  /** Hears that the numbers from `from` to `to` of the spool will not come. `lost`: there were messages. */
  passed(to: number, lost: boolean): void {
    if (this.#isStarted) this.#account.pass(to, lost ? 'lost' : 'never')
    else this.#early.push([to, lost])
  }

  /** Gives up all messages before a segment. Returns how many that are. */
  skipTo(segment: number): number {
    if (!this.#isStarted) return 0
    // The account first: what comes again after a crash in between is known to be given up.
    const count = this.#account.pass(segment - 1, 'skipped')
    this.#cursor?.skipTo(segment)
    return count
  }

  /** Place of the outlet in the spool. */
  get place(): OutletCursor['settled'] | undefined {
    return this.#cursor?.settled
  }

  /** When the first message in hand was received, in microseconds; undefined while none is. */
  get oldest(): number | undefined {
    return this.#inHand
  }

  balance(accepted: number): OutletBalance {
    return this.#account.balance(accepted)
  }

  pause(paused: boolean): void {
    this.#gate.set(paused)
  }

  get state(): OutletState {
    const { state, failures, detail = '', since = 0, retryAt = 0 } = this.#circuit.state
    if (this.#gate.isPaused) return { state: 'paused', failures }
    if (state === 'down') return { state, failures, detail, since, retryAt }
    if (this.#fault) return { state: 'down', failures, detail: this.#fault, since: this.#faultSince }
    return { state: this.#isMet ? 'up' : 'starting', failures }
  }

  /** Keeps what is wrong here, not at the target; empty: nothing. */
  #tell(fault: string): void {
    if (fault !== '' && this.#fault === '') this.#faultSince = this.#options.clock.now() / 1_000
    this.#fault = fault
  }

  /** Hands dead letters over again. Resolves with an outcome for each. */
  async redeliver(messages: readonly Message[]): Promise<readonly Outcome[]> {
    return (await this.#deliver(messages)) ?? messages.map(() => 'ack')
  }

  /** Enters dead letters into the account that are none any more. */
  moved(letters: readonly DeadLetter[], to: 'stored' | 'dropped'): void {
    this.#account.moved(letters.length, to === 'stored' ? 'replayed' : 'dropped')
  }

  async #handle(messages: readonly Message[]): Promise<readonly Outcome[] | undefined> {
    this.#inHand = messages[0]?.receivedAt
    await this.#gate.passes(this.#abort.signal)
    const { upTo } = this.#account
    const isWanted = messages.map(({ topic, sequence }) => sequence > upTo && this.#wants(topic))
    const wanted = messages.filter((_, i) => isWanted[i])
    const answers = wanted.length > 0 ? await this.#deliver(wanted) : undefined
    this.#inHand = undefined
    if (!answers && wanted.length === messages.length) return undefined
    let next = 0
    return isWanted.map(wants => (wants ? (answers?.[next++] ?? 'ack') : 'ignored'))
  }

  #wants(topic: string): boolean {
    const { topics, exclude } = this.plan
    if (this.#wantsAll && topic.charCodeAt(0) !== dollar) return true
    return topics.some(filter => matches(filter, topic)) && !exclude.some(filter => matches(filter, topic))
  }

  #deliver(messages: readonly Message[]): Promise<readonly Outcome[] | undefined> {
    const { plan } = this.#options
    return this.#delivering.run(async () => {
      try {
        this.#outlet ??= await plan.target.open(this.#parts)
        const outcomes = await this.#outlet.deliver(messages, this.#abort.signal)
        this.#isMet = this.#isWorking = true
        return outcomes?.map(outcome => this.#safe(outcome))
      } catch (error) {
        const sentence = this.#withoutSecrets(describe(error))
        const retryAfterMs = error instanceof HubError ? error.retryAfterMs : undefined
        throw new HubError('outlet_unavailable', sentence, { cause: error, retryAfterMs })
      }
    })
  }

  /** A target may repeat in an answer what it was sent. */
  #safe(outcome: Outcome): Outcome {
    if (typeof outcome === 'string') return outcome
    return { ...outcome, detail: this.#withoutSecrets(outcome.detail) }
  }

  #withoutSecrets(sentence: string): string {
    return withoutSecrets(sentence, this.plan.secrets).slice(0, maxSentence)
  }

  get #parts() {
    const { dir, hubId, log, incidents } = this.#options
    return { name: this.plan.name, hubId, dir, log, incidents }
  }

  #changed({ name, state, detail }: CircuitState): void {
    const { log } = this.#options
    if (state === 'up') {
      // Messages in hand that are given up end an attempt, too, and say nothing about the target.
      if (this.#isWorking && this.#isToldDown) log.info(`${name} is back`)
      if (this.#isWorking) this.#isToldDown = false
      return
    }
    this.#isWorking = false
    if (!this.#isToldDown)
      log.warn(`${name} (${this.plan.target.shown}) is down: ${detail}; its messages wait in the spool`)
    this.#isToldDown = true
  }
}

const dollar = '$'.charCodeAt(0)

/** Characters of a sentence about a target. It is cut after the secrets are out, so that no part of one is left. */
const maxSentence = 400

const startAgainMs = 5_000
