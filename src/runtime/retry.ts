import { describe, HubError } from '../errors.js'
import type { MillisecondClock } from './time.js'

/** State of a circuit, as `/readyz` and the metrics show it. Times in milliseconds since the epoch. */
export interface CircuitState {
  readonly key: string
  readonly name: string
  readonly state: 'up' | 'down'
  /** Why the target is down, since when, when the next try is due, and how many tries have failed so far. */
  readonly detail?: string
  readonly since?: number
  readonly retryAt?: number
  readonly failures: number
}

export interface CircuitOptions {
  readonly key: string
  /** Name for people: `InfluxDB`. */
  readonly name: string
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  /** Called when the target went down or came back, not for each failure. */
  readonly changed: (state: CircuitState) => void
}

/**
 * The circuit breaker of one target, shared by all callers of that target. While the target fails, one caller at a time
 * tries the target, after pauses that grow. All others wait for the result of that try, a minute at most: then the next
 * caller may try too.
 */
export class Circuit {
  readonly #options: CircuitOptions
  #failures = 0
  /** Failures in a row like `#failures`, but not reset when the target was up for a moment only. */
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

  /** Whether the caller may use the target now. Afterwards the caller must call `succeeded`, `failed` or `released`. */
  tryPass(): boolean {
    if (!this.isDown) return true
    if (this.#isTried || this.#leftMs > 0) return false
    this.#trying = true
    this.#triedAt = this.#options.clock.now()
    return true
  }

  /**
   * Resolves when the caller may use the target, or when `signal` aborts. True when the caller is the one that tries
   * whether the target is back: that caller must call `succeeded`, `failed` or `released`.
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
    this.#upAt = this.#options.clock.now()
    this.#options.changed(this.state)
    this.#wake()
  }

  /** Records a failed call. The next try waits for `HubError.retryAfterMs` at least, when the target named one. */
  failed(error: unknown): void {
    const first = !this.isDown
    // A call that began before the target went down brings no news.
    if (!first && !this.#trying) return
    this.#trying = false
    const asked = error instanceof HubError ? (error.retryAfterMs ?? 0) : 0
    const now = this.#options.clock.now()
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

  /** Ends the try of the caller that was let through without a result. */
  released(): void {
    this.#trying = false
    this.#wake()
  }

  /**
   * Whether a caller is trying the target. A caller without a result after `maxTryMs` no longer counts: that caller may
   * be waiting for something else by now, perhaps for what another caller would bring.
   */
  get #isTried(): boolean {
    return this.#trying && Math.abs(this.#options.clock.now() - this.#triedAt) < maxTryMs
  }

  /** Milliseconds left of the pause. More than the whole pause is left only after the clock jumped back; then 0. */
  get #leftMs(): number {
    const left = this.#retryAt - this.#options.clock.now()
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
  /** Returns the circuit of the target that caused the error. Undefined for none: the action is retried on its own. */
  readonly circuitOf: (error: unknown) => Circuit | undefined
  /** Called before each wait; `circuit` is the one that is waited for. */
  readonly retrying: (error: unknown, circuit: Circuit | undefined) => void
  /** Called when the action succeeded after a failure. */
  readonly recovered: () => void
}

/**
 * The one retry loop of the hub. Repeats an action until the action succeeds; undefined when the signal aborts first.
 */
export async function retryForever<T>(action: () => Promise<T>, options: RetryPolicy): Promise<T | undefined> {
  const { signal, circuitOf, retrying, recovered } = options
  /** The circuit that this caller was let through to try. */
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
      // The error comes from a later step than the target that was waited for, so that target has answered.
      if (asking && asking !== circuit) asking.succeeded()
      // While another caller tries the target, a call that began before the target went down brings no news.
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

/** Rejects as soon as the signal aborts, without waiting for the action: unsettled work comes again. */
async function unlessStopped<T>(action: Promise<T>, signal: AbortSignal): Promise<T> {
  const result = await orAborted(action, signal)
  if (result === aborted) throw new HubError('stopping', 'stopped before it finished')
  return result
}

const maxPauseMs = 10_000

/** The longest pause that a target may ask for: a longer one may be meant as a date, or come from another clock. */
const maxAskedMs = 60_000

const maxTryMs = 60_000

/**
 * Returns a pause: 100 ms, doubling to 10 s, up to a quarter shorter at random so that callers do not retry at once.
 */
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

/** Returns the result of the action, or undefined as soon as the signal aborts: the action is then not waited for. */
export async function unlessAborted<T>(action: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const result = await orAborted(action, signal)
  return signal.aborted || result === aborted ? undefined : result
}

const aborted = Symbol('aborted')

/** Returns the result of the action, or `aborted` as soon as the signal aborts. Leaves no listener on the signal. */
async function orAborted<T>(action: Promise<T>, signal: AbortSignal): Promise<T | typeof aborted> {
  let end = () => {}
  const abort = new Promise<typeof aborted>(resolve => {
    end = () => resolve(aborted)
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
  })
  try {
    return await Promise.race([action, abort])
  } finally {
    signal.removeEventListener('abort', end)
  }
}
