import type { HubError } from '../errors.js'
import type { Message, Outcome, Rejection } from '../model.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { codeOf, type KafkaClient, type Producer, type TopicRules, unavailable, type WantedTopic } from './client.js'
import type { OutgoingRecord } from './records.js'

export interface ProducerOptions {
  readonly client: KafkaClient
  /** Topics that are made on connecting, if they are missing. */
  readonly topics: readonly WantedTopic[]
  readonly rules: TopicRules
  /** Most bytes of records that are on their way without an acknowledgement. A single larger record goes alone. */
  readonly windowBytes: number
}

/** Hears whether the cluster answers. */
export interface ClusterListener {
  onCluster(up: boolean, detail?: string): void
}

/** Bytes of the records in one request for a partition: one batch of Kafka, below the 1 MB that a broker takes at most. */
const requestBytes = 900_000

/** Most keys of which the partition is kept. */
const maxKeys = 50_000

/** A connected producer, and the partitions that its topics had when it connected. */
interface Connected {
  readonly producer: Producer
  readonly partitions: ReadonlyMap<string, number>
}

/** The records of one partition, with the index of each in what was to be sent. */
interface PartitionLane {
  readonly topic: string
  readonly partition: number
  readonly records: OutgoingRecord[]
  readonly indexes: number[]
  /** Number of records, from the first on, that the cluster has kept or will never take. */
  done: number
}

/** What became of records, by their index; the cluster has kept all others. */
export interface SentRecords {
  /** Records that the cluster will never take. */
  readonly refused: ReadonlyMap<number, Rejection>
  /** Records that have to be sent again. Of some of these it is not known whether the cluster has kept them. */
  readonly missing: ReadonlySet<number>
  /** Why they have to be; undefined when there are none. */
  readonly failure: HubError | undefined
}

/**
 * Sends records, with acknowledgements of all replicas in step. Connects on first use, and anew after each failure.
 *
 * Partitions go side by side, and each has one request under way, so that records of a partition keep their order. A
 * request has the records of one partition alone: the client library takes a request as answered when the broker has
 * answered, and would leave out a partition that has moved to a broker which had answered already.
 *
 * A request that fails is repeated with the same sequence numbers, so that the cluster keeps its records once. When all
 * tries have failed, nobody knows what the cluster has kept. The next records must not get the same numbers, or the
 * cluster would take them for a repetition and drop them. So the producer is given up, and the next one has another id.
 */
export class KafkaProducer {
  readonly #options: ProducerOptions
  readonly #listener: ClusterListener
  readonly #turns = new SerialQueue()
  readonly #partitionOf = new Map<string, number>()
  #connected: Promise<Connected> | undefined
  #isClosed = false

  constructor(options: ProducerOptions, listener: ClusterListener) {
    this.#options = options
    this.#listener = listener
  }

  /**
   * Sends records behind those of earlier calls. Resolves when the cluster has kept all, but for those that it will never
   * take, and those that have to be sent again: what waits behind a failure in a partition, while others may work.
   * Rejects with `queue_unavailable` when all have to be sent again.
   */
  send(records: readonly OutgoingRecord[]): Promise<SentRecords> {
    return this.#turns.run(() => this.#send(records))
  }

  /** As `send`, but rejects when any record has to be sent again. */
  async sendAll(records: readonly OutgoingRecord[]): Promise<ReadonlyMap<number, Rejection>> {
    const { refused, failure } = await this.send(records)
    if (failure) throw failure
    return refused
  }

  /**
   * Returns the partition of each key in a topic. Connects first, as only the cluster knows how many there are. Rejects
   * with `queue_unavailable`.
   */
  async partitionsOf(topic: string, keys: readonly string[]): Promise<readonly number[]> {
    try {
      const connected = await this.#connection()
      return keys.map(key => this.#place(connected, topic, Buffer.from(key)))
    } catch (error) {
      const failure = unavailable(error)
      this.#listener.onCluster(false, failure.message)
      throw failure
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#turns.idle()
    await this.#giveUp()
  }

  async #send(records: readonly OutgoingRecord[]): Promise<SentRecords> {
    const refused = new Map<number, Rejection>()
    const missing = new Set<number>()
    if (records.length === 0) return { refused, missing, failure: undefined }
    let reason: unknown
    try {
      const connected = await this.#connection()
      for (let from = 0, to = 0; from < records.length; from = to) {
        let bytes = 0
        for (; to < records.length; to++) {
          bytes += (records[to] as OutgoingRecord).bytes
          if (to > from && bytes > this.#options.windowBytes) break
        }
        // Behind a failure nothing more is sent, or records of a partition would be overtaken.
        if (reason !== undefined) {
          for (let i = from; i < to; i++) missing.add(i)
          continue
        }
        const lanes = this.#lanes(connected, records, from, to)
        const results = await Promise.allSettled(lanes.map(lane => sendLane(connected.producer, lane, refused)))
        for (const [i, result] of results.entries()) {
          if (result.status === 'fulfilled') continue
          reason ??= result.reason
          const { indexes, done } = lanes[i] as PartitionLane
          for (const index of indexes.slice(done)) missing.add(index)
        }
      }
    } catch (error) {
      reason = error
      for (const i of records.keys()) missing.add(i)
    }
    if (reason === undefined) {
      this.#listener.onCluster(true)
      return { refused, missing, failure: undefined }
    }
    // Only now, when no other request is under way, may another producer take over.
    await this.#giveUp()
    const failure = unavailable(reason)
    this.#listener.onCluster(false, failure.message)
    if (missing.size === records.length) throw failure
    return { refused, missing, failure }
  }

  #lanes(connected: Connected, records: readonly OutgoingRecord[], from: number, to: number): PartitionLane[] {
    const lanes = new Map<string, PartitionLane>()
    for (let i = from; i < to; i++) {
      const record = records[i] as OutgoingRecord
      const { topic, key } = record
      const partition = key ? this.#place(connected, topic, key) : 0
      const name = `${partition} ${topic}`
      let lane = lanes.get(name)
      if (!lane) {
        lane = { topic, partition, records: [], indexes: [], done: 0 }
        lanes.set(name, lane)
      }
      lane.records.push(record)
      lane.indexes.push(i)
    }
    return [...lanes.values()]
  }

  #place({ partitions }: Connected, topic: string, key: Buffer): number {
    const count = partitions.get(topic) ?? 1
    if (count === 1) return 0
    const name = `${count} ${key.toString('latin1')}`
    const known = this.#partitionOf.get(name)
    if (known !== undefined) return known
    const found = this.#options.client.partitionOf(key, count)
    if (this.#partitionOf.size >= maxKeys) this.#partitionOf.clear()
    this.#partitionOf.set(name, found)
    return found
  }

  #connection(): Promise<Connected> {
    if (this.#isClosed) return Promise.reject(unavailable(new Error('the producer is closed')))
    this.#connected ??= this.#connect().catch(error => {
      this.#connected = undefined
      throw error
    })
    return this.#connected
  }

  async #connect(): Promise<Connected> {
    const { client, topics, rules } = this.#options
    const partitions = await client.ensure(topics, rules)
    return { producer: await client.producer(), partitions }
  }

  async #giveUp(): Promise<void> {
    const connected = await this.#connected?.catch(() => undefined)
    this.#connected = undefined
    await connected?.producer.disconnect().catch(() => {})
  }
}

/** Returns the outcomes of messages of which each is a record; undefined: the cluster has kept all. */
export function outcomesOf(
  { refused, missing }: SentRecords,
  messages: readonly Message[],
): readonly Outcome[] | undefined {
  if (refused.size + missing.size === 0) return undefined
  return messages.map((_, i) => refused.get(i) ?? (missing.has(i) ? 'retry' : 'ack'))
}

/** Sends the records of a lane, request after request. Enters those that are too large, with the reason. */
async function sendLane(producer: Producer, lane: PartitionLane, refused: Map<number, Rejection>): Promise<void> {
  for (let from = 0, to = 0; from < lane.records.length; from = to) {
    let bytes = 0
    for (; to < lane.records.length; to++) {
      bytes += (lane.records[to] as OutgoingRecord).bytes
      if (to > from && bytes > requestBytes) break
    }
    await sendPart(producer, lane, { from, to }, refused)
    lane.done = to
  }
}

/** Sends a part of a lane; in halves, when the part is larger than the cluster takes. */
async function sendPart(
  producer: Producer,
  lane: PartitionLane,
  { from, to }: { readonly from: number; readonly to: number },
  refused: Map<number, Rejection>,
): Promise<void> {
  const { topic, partition } = lane
  try {
    await producer.send({
      topic,
      acks: -1,
      messages: lane.records.slice(from, to).map(({ key, value, headers, time }) => ({
        ...{ key: key ?? null, value, headers, partition, timestamp: String(time) },
      })),
    })
  } catch (error) {
    const code = codeOf(error)
    if (code !== 'MESSAGE_TOO_LARGE' && code !== 'RECORD_LIST_TOO_LARGE') throw error
    if (to - from === 1) {
      const { bytes } = lane.records[from] as OutgoingRecord
      const detail = `about ${bytes} bytes, more than Kafka's topic ${topic} takes (max.message.bytes)`
      refused.set(lane.indexes[from] as number, { reason: 'too_large', detail })
      return
    }
    const middle = Math.floor((from + to) / 2)
    await sendPart(producer, lane, { from, to: middle }, refused)
    await sendPart(producer, lane, { from: middle, to }, refused)
  }
}
