import { setTimeout as sleep } from 'node:timers/promises'
import { type Channel, type ChannelModel, type ConsumeMessage, connect } from 'amqplib'
import { type Balance, Sequence, type Stream } from './report.js'

/* Those who read what has arrived: a back end behind RabbitMQ, the store, and the hub's own account. */

const exchange = 'telehub.telemetry'
const queue = 'proof.reader'

interface Reading {
  /** Resolves when the connection has ended. */
  readonly ended: Promise<void>
}

/**
 * A back end with a queue of its own on `telehub.telemetry`, as docs/rabbitmq.md tells one to be: it removes what RabbitMQ
 * delivers twice by the message id, and connects again when RabbitMQ goes away.
 */
export class BackEnd {
  /** Deliveries whose message id had come before. */
  redelivered = 0
  readonly sequences: readonly Sequence[]
  readonly #url: string
  readonly #known = new MessageIds()
  readonly #byTopic: ReadonlyMap<string, Sequence>
  #model: ChannelModel | undefined
  #stopped = false
  #running: Promise<void> | undefined
  /** The last of those that came together and are not acknowledged yet. */
  #acknowledging: ConsumeMessage | undefined

  constructor(url: string, streams: readonly Stream[], numbers: number) {
    this.#url = url
    this.sequences = streams.map(stream => new Sequence('back end', stream, numbers, stream.qos === 1))
    this.#byTopic = new Map(streams.map(({ topic }, i) => [topic, this.sequences[i] as Sequence]))
  }

  /** Different numbers so far. */
  get distinct(): number {
    return this.sequences.reduce((sum, sequence) => sum + sequence.distinct, 0)
  }

  /** Resolves when it reads. */
  async start(): Promise<void> {
    let reading: Reading | undefined = await this.#read()
    this.#running = (async () => {
      for (;;) {
        await reading?.ended
        if (this.#stopped) return
        await sleep(200)
        reading = await this.#read().catch(() => undefined)
      }
    })()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#model?.close().catch(() => {})
    await this.#running
  }

  async #read(): Promise<Reading> {
    const model = await connect(this.#url, { timeout: 5_000, noDelay: true })
    const ended = new Promise<void>(resolve => model.once('close', () => resolve()))
    model.on('error', () => {})
    this.#model = model
    try {
      const channel = await model.createChannel()
      channel.on('error', () => {})
      await channel.assertExchange(exchange, 'topic', { durable: true })
      await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
      await channel.bindQueue(queue, exchange, 'proof.#')
      await channel.prefetch(2_000)
      await channel.consume(queue, got => this.#take(channel, got))
      return { ended }
    } catch (error) {
      await model.close().catch(() => {})
      throw error
    }
  }

  #take(channel: Channel, got: ConsumeMessage | null): void {
    if (!got) {
      // The queue is gone, and with it what was in it: that will show as lost.
      this.#model?.close().catch(() => {})
      return
    }
    if (this.#known.add(String(got.properties.messageId))) {
      const sequence = this.#byTopic.get(String(got.properties.headers?.['mqtt-topic']))
      sequence?.take(numberIn(got.content))
    } else this.redelivered++
    // What it knows is in memory and outlives every connection. One acknowledgement for all that came together.
    if (!this.#acknowledging) {
      setImmediate(() => {
        const last = this.#acknowledging as ConsumeMessage
        this.#acknowledging = undefined
        try {
          channel.ack(last, true)
        } catch {
          // The channel has ended meanwhile: all of it is delivered again.
        }
      })
    }
    this.#acknowledging = got
  }
}

function numberIn(payload: Buffer): unknown {
  try {
    return (JSON.parse(payload.toString()) as { n?: unknown }).n
  } catch {
    return undefined
  }
}

/** Which message ids have come. They end with the sequence, so of a million of them a bit each is kept. */
class MessageIds {
  readonly #bits = new Map<string, Uint8Array>()

  /** False when it is there already. */
  add(id: string): boolean {
    const found = /^(.*?)(\d+)$/.exec(id)
    const prefix = found?.[1] ?? id
    const sequence = Number(found?.[2] ?? 0)
    let bits = this.#bits.get(prefix) ?? new Uint8Array(8_192)
    const at = Math.floor(sequence / 8)
    if (at >= bits.length) {
      const larger = new Uint8Array(2 * at)
      larger.set(bits)
      bits = larger
    }
    this.#bits.set(prefix, bits)
    const bit = 1 << (sequence % 8)
    const isNew = ((bits[at] as number) & bit) === 0
    bits[at] = (bits[at] as number) | bit
    return isNew
  }
}

/** Makes a server that others have used as good as new: what they left there is not ours to read or to store. */
export async function clearQueues(url: string): Promise<void> {
  const model = await connect(url)
  try {
    for (const clear of [
      (channel: Channel) => channel.deleteQueue(queue),
      (channel: Channel) => channel.purgeQueue('telehub.record'),
    ]) {
      // A queue that is not there ends the channel, so each has its own.
      const channel = await model.createChannel()
      channel.on('error', () => {})
      await clear(channel).catch(() => {})
    }
  } finally {
    await model.close()
  }
}

/** Messages that wait in the hub's own queue in RabbitMQ; undefined when it does not say. */
export async function recordQueueDepth(url: string): Promise<number | undefined> {
  const model = await connect(url, { timeout: 5_000 }).catch(() => undefined)
  if (!model) return undefined
  model.on('error', () => {})
  try {
    const channel = await model.createChannel()
    channel.on('error', () => {})
    return (await channel.checkQueue('telehub.record')).messageCount
  } catch {
    return undefined
  } finally {
    await model.close().catch(() => {})
  }
}

/** What is stored, read past the hub where that is possible. */
export interface StoreReader {
  readonly name: string
  /** Values in all series together. */
  count(streams: readonly Stream[]): Promise<number>
  /** All numbers of one series, by time. */
  numbers(stream: Stream): Promise<readonly unknown[]>
}

export class InfluxReader implements StoreReader {
  readonly name = 'InfluxDB'
  readonly #url: string
  readonly #database: string

  constructor(url: string, database: string) {
    this.#url = url
    this.#database = database
  }

  async count(): Promise<number> {
    const [found] = await this.#query('SELECT count("n") FROM "proof"')
    return Number(found?.[1] ?? 0)
  }

  async numbers({ topic }: Stream): Promise<readonly unknown[]> {
    const rows = await this.#query(`SELECT "n" FROM "proof" WHERE "topic" = '${topic}' ORDER BY time`)
    return rows.map(([, n]) => n)
  }

  async #query(statement: string): Promise<readonly (readonly [unknown, unknown])[]> {
    const parameters = new URLSearchParams({ db: this.#database, epoch: 'u', q: statement })
    const answer = await json<{
      results?: { series?: { values: [unknown, unknown][] }[]; error?: string }[]
    }>(`${this.#url}/query?${parameters}`)
    const [result] = answer.body.results ?? []
    if (result?.error?.startsWith('database not found')) return []
    if (!result || result.error) throw new Error(`InfluxDB did not answer: ${result?.error ?? answer.status}`)
    return result.series?.[0]?.values ?? []
  }
}

/** Readings of one series that one answer of the hub can hold without being made fewer. */
export const mostInHistory = 100_000

/** The embedded store belongs to the hub's process, so the hub is asked. */
export class EmbeddedReader implements StoreReader {
  readonly name = 'DuckDB'
  readonly #url: string

  constructor(url: string) {
    this.#url = url
  }

  async count(streams: readonly Stream[]): Promise<number> {
    let sum = 0
    for (const stream of streams) sum += (await this.#history(stream, '1', 'count')).reduce<number>(add, 0)
    return sum
  }

  async numbers(stream: Stream): Promise<readonly unknown[]> {
    return this.#history(stream, String(mostInHistory), 'last')
  }

  async #history({ topic }: Stream, points: string, fn: string): Promise<readonly unknown[]> {
    const range = { from: '0', to: '4102444800000' }
    const query = new URLSearchParams({ series: `proof,topic=${topic} n`, ...range, points, fn })
    const { status, body } = await json<{ values?: unknown[] }>(`${this.#url}/api/history?${query}`)
    if (!body.values) throw new Error(`the hub did not answer for ${topic}: ${status}`)
    return body.values
  }
}

function add(sum: number, value: unknown): number {
  return sum + Number(value)
}

interface Ready {
  readonly ready: boolean
  readonly dependencies: readonly { readonly name: string; readonly state: string; readonly detail?: string }[]
}

/** The hub, asked over HTTP. */
export class HubApi {
  readonly #url: string
  readonly #needs: readonly string[]

  /** `needs`: what the hub must say it can use before everything works. */
  constructor(url: string, needs: readonly string[]) {
    this.#url = url
    this.#needs = needs
  }

  /** What does not work yet, in words; undefined when everything does. */
  async trouble(): Promise<string | undefined> {
    try {
      const { body } = await json<Ready>(`${this.#url}/readyz`)
      if (!body.ready) return 'the hub is not ready'
      for (const name of this.#needs) {
        const found = body.dependencies.find(dependency => dependency.name === name)
        if (found?.state !== 'up')
          return `${name} is ${found?.state ?? 'unknown'}${found?.detail ? ` (${found.detail})` : ''}`
      }
      return undefined
    } catch (error) {
      return `the hub does not answer: ${(error as Error).message}`
    }
  }

  /** Messages in the spool that have yet to go on; undefined when it does not say. */
  async spoolLag(): Promise<number | undefined> {
    try {
      const response = await fetch(`${this.#url}/metrics`, { signal: AbortSignal.timeout(10_000) })
      const lags = [...(await response.text()).matchAll(/^telehub_spool_lag\{[^}]*\} (\S+)$/gm)]
      return lags.length > 0 ? Math.max(...lags.map(([, lag]) => Number(lag))) : undefined
    } catch {
      return undefined
    }
  }

  /** The hub's own account; a hub that keeps none has no such page. */
  async balance(): Promise<Balance | 'not available'> {
    const { status, body } = await json<Balance>(`${this.#url}/api/balance`)
    if (status === 404) return 'not available'
    if (status !== 200) throw new Error(`/api/balance answered ${status}`)
    return body
  }
}

async function json<T>(url: string): Promise<{ readonly status: number; readonly body: T }> {
  const response = await fetch(url, { signal: AbortSignal.timeout(60_000) })
  return { status: response.status, body: (await response.json()) as T }
}
