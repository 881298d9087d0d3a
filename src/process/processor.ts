import { describe, type ErrorCode, HubError } from '../errors.js'
import { type Series, seriesKey } from '../model.js'
import { type Consumer, consume, type DeadLetters } from '../queue/queue.js'
import type { HistoryQuery, TimeSeriesStore } from '../store/store.js'
import type { Live } from './live.js'
import type { Mapping } from './mapping.js'
import type { Registry } from './registry.js'

/** What the hub depends on, and whether it is there. */
export interface Dependency {
  readonly name: string
  readonly state: 'up' | 'down' | 'starting'
  /** Why it is down. */
  readonly detail?: string
}

export interface ProcessorOptions {
  readonly store: TimeSeriesStore
  /** For people: `DuckDB` or `InfluxDB`. */
  readonly storeName: string
  readonly mapping: Mapping
  readonly registry: Registry
  readonly live: Live
  readonly dead: DeadLetters
  /** What each consumer takes from where and does with it. */
  readonly consumers: readonly Pick<Consumer, 'name' | 'reader' | 'handle' | 'batch'>[]
  /** Messages each cursor has yet to pass. */
  readonly lag: () => Readonly<Record<string, number>>
  readonly deadLettered: (reason: string) => void
  readonly now: () => number
  readonly log: { info(sentence: string): void; warn(sentence: string): void }
}

/**
 * The processor thread: runs the consumers, and answers the API from registry and store. Answers are JSON bytes, made
 * here so that the broker thread has nothing to do but pass them on; times in milliseconds.
 */
export class Processor {
  readonly name = 'processor'
  readonly #options: ProcessorOptions
  readonly #abort = new AbortController()
  readonly #dependencies = new Map<string, Dependency>()
  /** Which dependency a consumer waits for, while it does. */
  readonly #waiting = new Map<string, string>()
  #running: Promise<void>[] = []

  constructor(options: ProcessorOptions) {
    this.#options = options
    this.#dependencies.set('store', { name: options.storeName, state: 'starting' })
  }

  async start(): Promise<void> {
    const { store, live, consumers, dead, now, deadLettered } = this.#options
    await store.start()
    this.report('store', true)
    await live.start()
    const counted: DeadLetters = {
      list: limit => dead.list(limit),
      put: async letters => {
        await dead.put(letters)
        for (const { reason } of letters) deadLettered(reason)
      },
    }
    this.#running = consumers.map(consumer =>
      consume(
        {
          ...consumer,
          dead: counted,
          now,
          retrying: (error, waitMs) => this.#retrying(consumer.name, error, waitMs),
          recovered: () => this.#recovered(consumer.name),
        },
        this.#abort.signal,
      ),
    )
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    // A request to a store that does not answer must not hold up the end; what it was about is not settled.
    await Promise.all([this.#options.store.stop(), ...this.#running])
  }

  /** Whether a dependency answers; logged when that changes. */
  report(key: string, up: boolean, detail?: string, name = this.#dependencies.get(key)?.name ?? key): void {
    const before = this.#dependencies.get(key)
    this.#dependencies.set(key, { name, state: up ? 'up' : 'down', ...(detail && !up && { detail }) })
    if (up && before?.state === 'down') this.#options.log.info(`${name} is back`)
    if (!up && before?.state !== 'down')
      this.#options.log.warn(`${name} is down: ${detail ?? 'no reason given'}; the spool keeps what arrives`)
  }

  status(): { readonly dependencies: readonly Dependency[]; readonly lag: Readonly<Record<string, number>> } {
    return { dependencies: [...this.#dependencies.values()], lag: this.#options.lag() }
  }

  async series(limit: number): Promise<Uint8Array> {
    const found = await this.#ask(() => this.#options.store.series(limit))
    return json({ series: found.map(series => this.#describe(series)) })
  }

  async history(query: HistoryQuery): Promise<Uint8Array> {
    const { times, values } = await this.#ask(() => this.#options.store.history(query))
    return json({ times: times.map(time => time / 1_000), values })
  }

  devices(): Uint8Array {
    const devices = this.#options.registry
      .devices()
      .map(device => ({ ...device, since: device.since / 1_000, lastSeen: device.lastSeen / 1_000 }))
    return json({ devices })
  }

  async dead(limit: number): Promise<Uint8Array> {
    const letters = await this.#options.dead.list(limit)
    return json({
      dead: letters.map(({ message, reason, detail, failedAt, attempts }) => ({
        reason,
        detail,
        failedAt: failedAt / 1_000,
        attempts,
        topic: message.topic,
        clientId: message.clientId,
        user: message.user,
        qos: message.qos,
        retain: message.retain,
        sequence: message.sequence,
        receivedAt: message.receivedAt / 1_000,
        payload: message.payload.toString('base64'),
      })),
    })
  }

  #describe(series: Series) {
    const { measurement, tags, field, type, last } = series
    return {
      key: seriesKey(series),
      measurement,
      tags: Object.fromEntries(tags),
      field,
      type,
      unit: this.#options.mapping.unit(measurement, field),
      last: { time: last.time / 1_000, value: last.value },
    }
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    try {
      const answer = await question()
      this.report('store', true)
      return answer
    } catch (error) {
      if (error instanceof HubError && error.code === 'store_unavailable') this.report('store', false, error.message)
      throw error
    }
  }

  #retrying(consumer: string, error: unknown, waitMs: number): void {
    const target = error instanceof HubError ? waitedFor[error.code] : undefined
    if (!target) {
      this.#options.log.warn(`${consumer}: ${describe(error)}; tried again in ${waitMs} ms`)
      return
    }
    this.#waiting.set(consumer, target.key)
    this.report(target.key, false, describe(error), target.name)
  }

  #recovered(consumer: string): void {
    const key = this.#waiting.get(consumer)
    this.#waiting.delete(consumer)
    if (key) this.report(key, true)
  }
}

/** Whose absence an error tells of. */
const waitedFor: Partial<{ [code in ErrorCode]: { readonly key: string; readonly name?: string } }> = {
  store_unavailable: { key: 'store' },
  queue_unavailable: { key: 'rabbitmq', name: 'RabbitMQ' },
  queue_clash: { key: 'rabbitmq', name: 'RabbitMQ' },
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}
