import { randomUUID } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { JobProgress } from '../../contract/contract.js'
import { replaceFile } from '../../disk/replace-file.js'
import type { JsonMap } from '../../edits/edit-file.js'
import { describe, HubError } from '../../errors.js'
import type { IncidentReporter } from '../../observe/incidents.js'
import type { SentenceLog } from '../../observe/log.js'
import { pause } from '../../runtime/retry.js'
import type { Past } from '../past/kept-messages.js'
import type { SwapJob } from '../past/past-swap.js'
import type { PipelineApi } from '../pipeline-api.js'

/*
 * Rules of the hub that are put into force for the past as well, in data.dir/past.json:
 *
 *     {"format":1,"id":"…","phase":"applying","by":"anna","at":…,"past":{…},"before":[…],"after":[…],"counts":{…}}
 *
 * `applying` and `undoing` are begun again after a restart: each step of them may be done twice. The store says whether
 * the past is swapped already, so that a kill at any moment leaves both as they were, or is gone on from.
 */

const format = 1

/** `failed`: nothing has changed. `final`: done, and a day is over. */
export type PastPhase = 'applying' | 'done' | 'undoing' | 'undone' | 'failed' | 'final'

interface PastState {
  readonly id: string
  readonly phase: PastPhase
  /** User; empty without a login. */
  readonly by: string
  /** When the phase began, in milliseconds since the epoch. */
  readonly at: number
  readonly past: Past
  readonly before: readonly JsonMap[]
  readonly after: readonly JsonMap[]
  readonly counts: Pick<JobProgress, 'done' | 'stored' | 'dropped' | 'kept'>
  /** Why it failed, or why an undo did. */
  readonly error?: string | undefined
}

/** The rules that the hub keeps itself. Implemented by `OwnMapping`. */
export interface RulesInForce {
  readonly own: readonly JsonMap[]
  /** Puts rules into force. Resolves when they are. */
  put(rules: readonly JsonMap[], by: string): Promise<void>
}

export interface PastRulesOptions {
  /** Data directory. */
  readonly dir: string
  readonly pipeline: Pick<PipelineApi, 'begin' | 'progress'>
  readonly rules: RulesInForce
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'info' | 'warn'>
}

/** Time in which a change of the past can be taken back, in milliseconds. */
const undoMs = 86_400_000

/** Time between two looks at a step, and before a step is tried again, in milliseconds. */
const lookMs = 100
const againMs = 1_000

const nothing: PastState['counts'] = { done: 0, stored: 0, dropped: 0, kept: 0 }

/**
 * Puts rules of the hub into force together with the past: the readings of the span that they make take the place of those
 * that the rules before have made, at once, and an undo puts those back within a day. Goes on by itself, whoever asked
 * for it is there or not, and after a restart. Lives in the broker thread.
 */
export class PastRules {
  readonly #options: PastRulesOptions
  readonly #path: string
  readonly #abort = new AbortController()
  #state: PastState | undefined
  #running: Promise<void> | undefined
  #step: JobProgress = { ...nothing, finished: false }
  #timer: NodeJS.Timeout | undefined

  constructor(options: PastRulesOptions) {
    this.#options = options
    this.#path = join(options.dir, 'past.json')
  }

  /** Reads the file, and goes on with what a restart has interrupted. */
  start(): void {
    this.#state = this.#read()
    const { phase } = this.#state ?? {}
    if (phase === 'applying' || phase === 'undoing') this.#run()
    else this.#forgetLater()
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    this.#abort.abort()
    await this.#running
  }

  /** Whether the past is being changed: the rules may not be changed meanwhile. */
  get isRunning(): boolean {
    return this.#running !== undefined
  }

  /** Returns the last change of the past; undefined while there was none. */
  get last() {
    const { id, phase, by, at, past, error } = this.#state ?? {}
    if (id === undefined || phase === undefined || past === undefined) return undefined
    const until = phase === 'done' ? (at ?? 0) + undoMs : undefined
    return { id, phase, by: by ?? '', at: at ?? 0, past, until, error }
  }

  /** Returns the progress of the change that runs, or of the last one. */
  get progress(): JobProgress {
    const { counts = nothing, error } = this.#state ?? {}
    if (!this.#running) return { ...counts, finished: true, ...(error !== undefined && { error }) }
    const { total } = this.#step
    return { ...sum(counts, this.#step), ...(total !== undefined && { total }), finished: false }
  }

  /** Begins to put rules into force for a span. Resolves when that is on disk; it goes on by itself. */
  async apply(after: readonly JsonMap[], past: Past, by: string): Promise<void> {
    this.#refuseBusy()
    const before = this.#options.rules.own
    await this.#begin({
      ...{ id: randomUUID(), phase: 'applying', by, at: Date.now(), past, before, after, counts: nothing },
    })
  }

  /** Begins to take the last change back. Rejects with `not_found`, or with `changed` when the rules are others by now. */
  async undo(by: string): Promise<void> {
    this.#refuseBusy()
    const state = this.#state
    if (!state || !this.canUndo)
      throw new HubError('not_found', 'there is no change of the past within the last day that could be undone', {
        said: { code: 'nothing-to-undo', values: {} },
      })
    if (JSON.stringify(this.#options.rules.own) !== JSON.stringify(state.after)) {
      throw new HubError(
        'changed',
        'the rules of the hub were changed since: take these changes back first (telehub map undo --rules)',
      )
    }
    await this.#begin({ ...state, phase: 'undoing', by, counts: nothing, error: undefined })
  }

  /** Whether the last change can be taken back. */
  get canUndo(): boolean {
    const { phase, at = 0 } = this.#state ?? {}
    return !this.#running && phase === 'done' && Date.now() - at <= undoMs
  }

  #refuseBusy(): void {
    if (this.#running)
      throw new HubError('busy', 'the past is being changed by other rules; wait until that ends', {
        said: { code: 'past-runs', values: {} },
      })
  }

  async #begin(state: PastState): Promise<void> {
    const before = this.#state
    this.#state = state
    let isSaved = () => {}
    this.#running = new Promise(resolve => {
      isSaved = resolve
    })
    try {
      await this.#save()
    } catch (error) {
      this.#state = before
      this.#running = undefined
      throw new HubError('bad_request', `the change could not be begun: ${describe(error)}`)
    } finally {
      isSaved()
    }
    this.#run()
  }

  #run(): void {
    clearTimeout(this.#timer)
    this.#running = this.#carryOut()
      .catch(error => {
        this.#options.log.warn(`the past could not be changed: ${describe(error)}`)
      })
      .finally(() => {
        this.#running = undefined
        this.#forgetLater()
      })
  }

  async #carryOut(): Promise<void> {
    const state = this.#state as PastState
    const { rules, log } = this.#options
    const isUndo = state.phase === 'undoing'
    const wanted = isUndo ? state.before : state.after
    try {
      await this.#do('swap')
    } catch (error) {
      if (this.#isOver) return
      // Nothing has changed: the rules before are in force, for the past and for what comes.
      const why = describe(error)
      await this.#end({ ...state, phase: isUndo ? 'done' : 'failed', error: why })
      log.warn(`the past stays as it is: ${why}`)
      return
    }
    for (;;) {
      if (this.#isOver) return
      try {
        if (JSON.stringify(rules.own) !== JSON.stringify(wanted)) await rules.put(wanted, state.by)
        await this.#do('rest')
        break
      } catch (error) {
        // The past is by the new rules already, and so must be what comes: on a full disk this waits for room.
        log.warn(`the rules of the past are not in force yet: ${describe(error)}; this is tried again`)
        await this.#rest()
      }
    }
    const { phase: _, ...now } = this.#state as PastState
    await this.#end({ ...now, phase: isUndo ? 'undone' : 'done', at: Date.now(), error: undefined })
    log.info(isUndo ? 'the past is as it was before the last change of rules' : 'the past is by the new rules')
  }

  /** Carries out a step in the processor thread. A step that a restart of that thread has ended is begun again. */
  async #do(step: SwapJob['step']): Promise<void> {
    const { id, phase, past, before, after } = this.#state as PastState
    const isUndo = phase === 'undoing'
    const [from, to] = isUndo ? [after, before] : [before, after]
    const job: SwapJob = { kind: 'swap', id, step, isUndo, before: from, after: to, past }
    const { pipeline } = this.#options
    for (;;) {
      if (this.#isOver) throw new HubError('stopping', 'the hub stops')
      this.#step = { ...nothing, finished: false }
      try {
        const number = await pipeline.begin(job)
        while (!this.#step.finished) {
          await pause(lookMs, this.#abort.signal)
          if (this.#isOver) throw new HubError('stopping', 'the hub stops')
          this.#step = await pipeline.progress(number)
        }
      } catch (error) {
        if (!(error instanceof HubError) || !passing.includes(error.code)) throw error
        await this.#rest()
        continue
      }
      const { error } = this.#step
      if (error === undefined) {
        const state = this.#state as PastState
        this.#state = { ...state, counts: sum(state.counts, this.#step) }
        this.#step = { ...nothing, finished: false }
        return
      }
      // Nobody cancels a step but a thread that ends.
      if (error !== 'cancelled') throw new HubError('store_unavailable', error)
      await this.#rest()
    }
  }

  async #end(state: PastState): Promise<void> {
    this.#state = state
    await this.#save().catch(error => {
      this.#options.log.warn(`${this.#path} could not be written: ${describe(error)}; a restart does the rest again`)
    })
  }

  #rest(): Promise<void> {
    return pause(againMs, this.#abort.signal)
  }

  get #isOver(): boolean {
    return this.#abort.signal.aborted
  }

  /** Lets the store forget what it has kept, once an undo is not possible any more. */
  #forgetLater(): void {
    const state = this.#state
    if (state?.phase !== 'done' || this.#isOver) return
    const left = state.at + undoMs - Date.now()
    this.#timer = setTimeout(
      () => {
        void this.#do('forget')
          .then(() => this.#end({ ...state, phase: 'final' }))
          .catch(() => {})
      },
      Math.max(againMs, left),
    ).unref()
  }

  #read(): PastState | undefined {
    try {
      const { format: found, ...state } = JSON.parse(readFileSync(this.#path, 'utf8'))
      if (found !== format || typeof state.id !== 'string') throw new Error('it has another form')
      return state as PastState
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      this.#options.incidents.report(
        'mapping_damaged',
        `${this.#path} cannot be used (${describe(error)}): a change of the past that was under way is given up`,
      )
      rmSync(this.#path, { force: true })
      return undefined
    }
  }

  async #save(): Promise<void> {
    await replaceFile(this.#path, `${JSON.stringify({ format, ...this.#state })}\n`)
  }
}

function sum(one: PastState['counts'], other: PastState['counts']): PastState['counts'] {
  return {
    done: one.done + other.done,
    stored: one.stored + other.stored,
    dropped: one.dropped + other.dropped,
    kept: one.kept + other.kept,
  }
}

/** Codes of refusals after which a step is begun again: the thread is starting, has ended, or is at work. */
const passing: readonly string[] = ['stopping', 'processor_down', 'not_found', 'busy']
