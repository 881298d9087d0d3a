import type { Message } from '../../model.js'
import type { SentenceLog } from '../../observe/log.js'
import { dropOldest } from '../../runtime/drop-oldest.js'
import type { MillisecondClock } from '../../runtime/time.js'
import { Undecodable } from '../decoders/sample.js'
import type { OutwardDelivery } from '../downlink.js'
import type { Births } from './births.js'
import { decodeSparkplug, encodeRebirth, type Metric, type SparkplugPayload } from './payload.js'
import type { SparkplugReader } from './reader.js'
import { commandTopic, parseSparkplugTopic, type SparkplugTopic, stateTopic } from './topic.js'

export interface BirthWatcher {
  /** Notes births for which data may wait among the dead letters of these clients. */
  born(clientIds: readonly string[]): void
}

export interface SparkplugHostOptions {
  readonly births: Births
  readonly reader: SparkplugReader
  /** Whether edge nodes may be asked for their births. */
  readonly asksForBirths: boolean
  /** Name of the hub as a host application, whose state is published. Empty: no state is published. */
  readonly hostId: string
  readonly inflated: number
  readonly delivery: OutwardDelivery
  readonly watcher: BirthWatcher
  readonly log: SentenceLog
  readonly clock: MillisecondClock
}

/** Time in which a birth that is missing may arrive by itself. */
const patienceMs = 5_000
/** Time until an edge node is asked again, twice as long each time. */
const firstRestMs = 60_000
const longestRestMs = 3_600_000
/** Most edge nodes that are asked at one tick. */
const atOnce = 5
const tickMs = 1_000
/** Data received longer ago are the past: the edge node that sent them may be another now. */
const freshUs = 60e6
/** Most edge nodes and clients that are remembered. */
const maxRemembered = 20_000

/** State of an edge node since the start of the hub. */
interface EdgeNode {
  /** The last number in the sequence of messages. */
  seq: number | undefined
  /** Time at which the edge node is to be asked for a birth; undefined when nothing is missing. */
  askAt: number | undefined
  restMs: number
  restsUntil: number
  /** Clients whose data were received without a birth. */
  readonly waiting: Set<string>
}

/**
 * The hub as a host application of Sparkplug B. Follows the sequence of each edge node, and asks an edge node for its
 * births when messages are missing or data cannot be read without: not at once, not often, and a few at a time.
 */
export class SparkplugHost {
  readonly name = 'sparkplug'
  readonly #options: SparkplugHostOptions
  readonly #nodes = new Map<string, EdgeNode>()
  #timer: NodeJS.Timeout | undefined
  #startedAt = 0

  constructor(options: SparkplugHostOptions) {
    this.#options = options
  }

  start(): void {
    this.#startedAt = this.#options.clock.now()
    if (this.#options.asksForBirths) this.#timer = setInterval(() => this.ask(), tickMs)
    // The broker may be busy, and nothing else waits for the state to be known.
    this.#publishState(true)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#publishState(false)
  }

  /** Follows messages in the order of their receipt. Messages of others than Sparkplug edge nodes are passed over. */
  observe(messages: readonly Message[]): void {
    const born = new Set<string>()
    for (const message of messages) {
      const topic = parseSparkplugTopic(message.topic)
      if (!topic || topic.type.endsWith('CMD') || message.payload.length === 0) continue
      try {
        this.#follow(topic, decodeSparkplug(message.payload, this.#options.inflated), message, born)
      } catch (error) {
        // The record consumer says why.
        if (!(error instanceof Undecodable)) throw error
      }
    }
    if (born.size > 0) this.#options.watcher.born([...born])
  }

  #follow(topic: SparkplugTopic, payload: SparkplugPayload, message: Message, born: Set<string>): void {
    const { reader, births } = this.#options
    const { type } = topic
    const { receivedAt, clientId } = message
    if (type === 'NDEATH' && reader.isOutdated(topic, payload, receivedAt)) return
    const node = this.#nodeOf(topic.node)
    if (type.endsWith('BIRTH')) {
      const isNew = reader.learn(topic, payload, receivedAt)
      if (isNew || node.waiting.size > 0) for (const one of [...node.waiting, clientId]) born.add(one)
      if (type === 'NBIRTH') {
        Object.assign(node, { seq: payload.seq, askAt: undefined, restMs: firstRestMs, restsUntil: 0 })
        node.waiting.clear()
        return
      }
    }
    if (type === 'NDEATH') {
      Object.assign(node, { seq: undefined, askAt: undefined })
      return
    }
    const missed = this.#advance(node, payload.seq)
    const lacks = type.endsWith('DATA') && lacksBirth(payload.metrics, births, topic, receivedAt)
    if (lacks && node.waiting.size < maxRemembered) node.waiting.add(clientId)
    if (!missed && !lacks) return
    const now = this.#options.clock.now()
    if (receivedAt < now * 1_000 - freshUs) return
    node.askAt ??= Math.max(now + patienceMs, node.restsUntil)
  }

  /** Takes the next number in the sequence. Returns whether numbers are missing before it. */
  #advance(node: EdgeNode, seq: number | undefined): boolean {
    if (seq === undefined) return false
    const before = node.seq
    node.seq = seq
    return before !== undefined && seq !== before && seq !== (before + 1) % 256
  }

  #nodeOf(name: string): EdgeNode {
    let node = this.#nodes.get(name)
    if (node) return node
    node = { seq: undefined, askAt: undefined, restMs: firstRestMs, restsUntil: 0, waiting: new Set() }
    this.#nodes.set(name, node)
    dropOldest(this.#nodes, maxRemembered)
    return node
  }

  /** Asks the edge nodes whose time has come, at most a few. Called at every tick. */
  ask(): void {
    const { clock, delivery, log } = this.#options
    const now = clock.now()
    const due = [...this.#nodes].filter(([, { askAt = Infinity }]) => askAt <= now).slice(0, atOnce)
    if (due.length === 0) return
    for (const [, node] of due) {
      node.askAt = undefined
      node.restsUntil = now + node.restMs
      node.restMs = Math.min(2 * node.restMs, longestRestMs)
    }
    const names = due.map(([name]) => name)
    log.info(`sparkplug: ${names.join(', ')}: births or messages are missing; asked for a rebirth`)
    const payload = encodeRebirth(now)
    delivery.publish(names.map(name => ({ topic: commandTopic(name), payload, qos: 0, retain: false }))).catch(() => {})
  }

  async #publishState(online: boolean): Promise<void> {
    const { hostId, delivery, log } = this.#options
    if (hostId === '') return
    const payload = Buffer.from(JSON.stringify({ online, timestamp: this.#startedAt }))
    try {
      await delivery.publish([{ topic: stateTopic(hostId), payload, qos: 1, retain: true }])
    } catch {
      log.warn(`sparkplug: the state of the host application ${hostId} could not be published`)
    }
  }
}

function lacksBirth(metrics: readonly Metric[], births: Births, topic: SparkplugTopic, receivedAt: number): boolean {
  const birth = births.find(topic, receivedAt)
  if (!birth || birth.receivedAt > receivedAt) return metrics.some(({ name }) => !name)
  return metrics.some(({ name, alias }) => !name && (alias === undefined || !birth.definitions.byAlias.has(alias)))
}
