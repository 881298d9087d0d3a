import { describe, HubError } from '../errors.js'

/** What `/readyz` and the metrics say of a circuit. Times in milliseconds since the epoch. */
export interface CircuitState {
  readonly key: string
  readonly name: string
  readonly state: 'up' | 'down'
  /** Why it is down, since when, when it is tried next, and how often that has failed by now. */
  readonly detail?: string
  readonly since?: number
  readonly retryAt?: number
  readonly failures: number
}

export interface CircuitOptions {
  readonly key: string
  /** For people: `InfluxDB`. */
  readonly name: string
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** It went down or came back; not each failure. */
  readonly changed: (state: CircuitState) => void
}

/**
 * One for each target, shared by everyone who needs it: while the target fails, nobody asks it but one caller at a time,
 * after pauses that grow. Everyone else waits for that one, a minute at most: then the next may ask too.
 */
export class Circuit {
  readonly #options: CircuitOptions
  #failures = 0
  /** As `#failures`, but that it goes on when the target was up for a moment only. */
  #streak = 0
  #upAt = 0
  #since = 0
  #retryAt = 0
  #pauseMs = 0
  #detail = ''
  #trying = false
  #triedAt = 0
  #waiting = new Set<() => void>()

  constructor(options: CircuitOptions) {
    this.#options = options
  }

  get name(): string {
    return this.#options.name
  }

  get isDown(): boolean {
    return this.#failures > 0
  }

  get state(): CircuitState {
    const { key, name } = this.#options
    if (!this.isDown) return { key, name, state: 'up', failures: 0 }
    const { detail, since, retryAt } = { detail: this.#detail, since: this.#since, retryAt: this.#retryAt }
    return { key, name, state: 'down', detail, since, retryAt, failures: this.#failures }
  }

  /** Whether the caller may ask the target now. It must tell `succeeded`, `failed` or `released` afterwards. */
  tryPass(): boolean {
    if (!this.isDown) return true
    if (this.#isTried || this.#leftMs > 0) return false
    this.#trying = true
    this.#triedAt = this.#options.now()
    return true
  }

  /**
   * Resolves when the caller may ask the target, or `signal` aborts. True when it is the one that finds out: it must tell
   * `succeeded`, `failed` or `released`.
   */
  async pass(signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      const { isDown } = this
      if (this.tryPass()) return isDown
      // The clock may jump forward: no single pause is longer than the longest back-off.
      await this.#changeOrPause(this.#isTried ? maxPauseMs : Math.min(this.#leftMs, maxPauseMs), signal)
    }
    return false
  }

  succeeded(): void {
    this.#trying = false
    if (!this.isDown) return
    this.#failures = 0
    this.#upAt = this.#options.now()
    this.#options.changed(this.state)
    this.#wake()
  }

  /** `HubError.retryAfterMs` is kept to, when the target named it. */
  failed(error: unknown): void {
    const first = !this.isDown
    // Who asked before it went down says nothing new.
    if (!first && !this.#trying) return
    this.#trying = false
    const asked = error instanceof HubError ? (error.retryAfterMs ?? 0) : 0
    const now = this.#options.now()
    if (first && Math.abs(now - this.#upAt) > maxPauseMs) this.#streak = 0
    this.#pauseMs = Math.max(Math.min(asked, maxAskedMs), backoffMs(this.#streak++))
    this.#retryAt = now + this.#pauseMs
    this.#failures++
    this.#detail = describe(error)
    if (first) {
      this.#since = now
      this.#options.changed(this.state)
    }
    this.#wake()
  }

  /** The caller that was let through has not found out. */
  released(): void {
    this.#trying = false
    this.#wake()
  }

  /** Who has not found out for so long may wait for something else by now, perhaps for what another would bring. */
  get #isTried(): boolean {
    return this.#trying && Math.abs(this.#options.now() - this.#triedAt) < maxTryMs
  }

  /** Of the pause; more than all of it is left only when the clock has jumped back: then it is over. */
  get #leftMs(): number {
    const left = this.#retryAt - this.#options.now()
    return left > this.#pauseMs ? 0 : left
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  #changeOrPause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      const end = () => {
        clearTimeout(timer)
        this.#waiting.delete(end)
        signal.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, ms)
      this.#waiting.add(end)
      signal.addEventListener('abort', end)
    })
  }
}

export interface RetryPolicy {
  readonly signal: AbortSignal
  /** Whose absence an error tells of; undefined: nobody's, tried again by itself. */
  readonly circuitOf: (error: unknown) => Circuit | undefined
  /** Called before each wait; `circuit` is what is waited for. */
  readonly retrying: (error: unknown, circuit: Circuit | undefined) => void
  /** It worked, after it had not. */
  readonly recovered: () => void
}

/** The one retry of the hub: tries until it works; undefined when the signal aborts first. */
export async function retryForever<T>(action: () => Promise<T>, options: RetryPolicy): Promise<T | undefined> {
  const { signal, circuitOf, retrying, recovered } = options
  /** Where this caller is the one that finds out. */
  let asking: Circuit | undefined
  for (let attempt = 0; ; attempt++) {
    try {
      const result = await unlessStopped(action(), signal)
      asking?.succeeded()
      if (attempt > 0) recovered()
      return result
    } catch (error) {
      if (signal.aborted) {
        asking?.released()
        return undefined
      }
      const circuit = circuitOf(error)
      // What comes after the target that was waited for has failed, so that target has answered.
      if (asking && asking !== circuit) asking.succeeded()
      // While another finds out, who asked before it went down says nothing new.
      if (circuit && (circuit === asking || !circuit.isDown)) circuit.failed(error)
      retrying(error, circuit)
      asking = undefined
      if (!circuit) await pause(backoffMs(attempt), signal)
      else if (await circuit.pass(signal)) asking = circuit
      if (signal.aborted) {
        asking?.released()
        return undefined
      }
    }
  }
}

/** What is under way when the end comes is not waited for: it was not settled, and comes again. */
async function unlessStopped<T>(action: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(new HubError('stopping', 'stopped before it was done'))
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
  })
  try {
    return await Promise.race([action, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

const maxPauseMs = 10_000

/** A target that asks for a longer pause gets this one: it may have meant a date, or another clock. */
const maxAskedMs = 60_000

const maxTryMs = 60_000

/** 100 ms, doubling to 10 s, each up to a quarter shorter by chance so that many do not knock at once. */
export function backoffMs(attempt: number, random = Math.random): number {
  return Math.round(Math.min(maxPauseMs, 100 * 2 ** attempt) * (1 - random() / 4))
}

/** Resolves after `ms`, or at once when the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    if (signal.aborted) end()
    else signal.addEventListener('abort', end)
  })
}

/** The result; undefined when the signal aborts first: what is still under way then is not waited for. */
export async function unlessAborted<T>(action: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  let end = () => {}
  const aborted = new Promise<undefined>(resolve => {
    end = () => resolve(undefined)
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
  })
  try {
    const result = await Promise.race([action, aborted])
    return signal.aborted ? undefined : result
  } finally {
    signal.removeEventListener('abort', end)
  }
}
