import { HubError } from '../errors.js'
import type { Message, Outcome, Rejection } from '../model.js'
import type { DeadLetters, QueueReader, QueueServer } from '../queue/queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { accessOf, type KafkaLogin } from './access.js'
import { type ClusterLook, KafkaClient, type TopicRules } from './client.js'
import { CopiedDeadLetters, SentDeadLetters } from './dead-letters.js'
import { type ClusterListener, KafkaProducer, outcomesOf } from './producer.js'
import { KafkaReader } from './reader.js'
import { batchRecords, messageRecord, type OutgoingRecord, plainRecord } from './records.js'
import { recordTopics, type TopicNames, type TopicOptions, topicNames } from './topics.js'

export type { KafkaLogin }

export interface KafkaOptions {
  readonly login: KafkaLogin
  readonly topics: TopicOptions
  readonly rules: TopicRules
  /** First part of every message id. */
  readonly hubId: string
  /** `message`: a record for each message, which anyone can read. `batch`: records of many messages, which is faster. */
  readonly envelope: 'message' | 'batch'
  /** Most bytes on their way without an acknowledgement. */
  readonly windowBytes: number
  /** Time without a sign of life after which the partitions of a consumer go to others. */
  readonly sessionMs: number
  /** Whether this hub has a topic for receipts, by which consumers elsewhere report the outcome of its messages. */
  readonly consumesReceipts: boolean
  /** Hears when the cluster becomes available or unavailable. */
  readonly listener: ClusterListener
  /** Returns the time in microseconds, for records that other programs have sent. */
  readonly clock: MicrosecondClock
}

/** Beginnings of the names of the settings that `login` comes from. */
export const settingNames = { sasl: 'kafka.sasl.', tls: 'kafka.tls.' }

/** Time until the cluster is asked again for a hub that had no topic for receipts. */
const unknownHubMs = 60_000

/**
 * Kafka as queue of the record path. Everything is sent with acknowledgements of all replicas in step by an idempotent
 * producer. Each operation is tried by the client for some seconds; a failure rejects with `queue_unavailable`, and the
 * consumer loop calls again. A message may be in the topic twice after that, with the same message id.
 */
export class Kafka implements QueueServer {
  readonly name = 'kafka'
  readonly #options: KafkaOptions
  readonly #client: KafkaClient
  readonly #names: TopicNames
  readonly #producer: KafkaProducer
  /** Sends receipts and copies of dead letters, so that they do not wait behind a full window. */
  readonly #side: KafkaProducer
  readonly #readers: KafkaReader[] = []
  /** Whether a hub has a topic for receipts, and when that was found out. */
  readonly #hubs = new Map<string, { readonly isThere: boolean; readonly at: number }>()

  constructor(options: KafkaOptions) {
    const { login, topics, rules, hubId, windowBytes, listener } = options
    this.#options = options
    this.#client = new KafkaClient(accessOf(login, settingNames), hubId === '' ? 'telehub-process' : `telehub-${hubId}`)
    this.#names = topicNames(topics.prefix)
    const wanted = { client: this.#client, topics: this.#wanted(), rules, windowBytes }
    this.#producer = new KafkaProducer(wanted, listener)
    this.#side = new KafkaProducer(wanted, listener)
  }

  #wanted() {
    const { topics, hubId, consumesReceipts } = this.#options
    return recordTopics(topics, consumesReceipts ? hubId : undefined)
  }

  async stop(): Promise<void> {
    await Promise.all(this.#readers.map(reader => reader.close()))
    await Promise.all([this.#producer.close(), this.#side.close()])
  }

  async publish(messages: readonly Message[]): Promise<void> {
    const outcomes = await this.bridge(messages)
    if (outcomes?.includes('retry')) throw new HubError('queue_unavailable', 'Kafka: not all partitions take messages')
    const bad = outcomes?.find((outcome): outcome is Rejection => typeof outcome === 'object')
    if (bad) throw new HubError('queue_unavailable', `Kafka: ${bad.detail}`)
  }

  async bridge(messages: readonly Message[]): Promise<readonly Outcome[] | undefined> {
    return this.#options.envelope === 'batch' ? this.#bridgeBatches(messages) : this.#bridgeEach(messages)
  }

  async #bridgeEach(messages: readonly Message[]): Promise<readonly Outcome[] | undefined> {
    const { hubId } = this.#options
    const { telemetry } = this.#names
    return outcomesOf(
      await this.#producer.send(messages.map(message => messageRecord(telemetry, message, hubId))),
      messages,
    )
  }

  async #bridgeBatches(messages: readonly Message[]): Promise<readonly Outcome[] | undefined> {
    const { hubId } = this.#options
    const { batches } = this.#names
    const places = await this.#producer.partitionsOf(
      batches,
      messages.map(({ clientId }) => clientId),
    )
    const byPartition = new Map<number, Message[]>()
    for (const [i, message] of messages.entries()) {
      const partition = places[i] as number
      const some = byPartition.get(partition)
      if (some) some.push(message)
      else byPartition.set(partition, [message])
    }
    const records: OutgoingRecord[] = []
    /** The messages of each record. */
    const contents: (readonly Message[])[] = []
    for (const some of byPartition.values()) {
      let at = 0
      for (const record of batchRecords(batches, some, hubId)) {
        records.push(record)
        contents.push(some.slice(at, at + record.count))
        at += record.count
      }
    }
    const { refused, missing } = await this.#producer.send(records)
    if (refused.size + missing.size === 0) return undefined
    const outcomes = new Map<Message, Outcome>()
    for (const i of missing) for (const message of contents[i] as readonly Message[]) outcomes.set(message, 'retry')
    for (const [i, rejection] of refused) {
      const some = contents[i] as readonly Message[]
      if (some.length === 1) outcomes.set(some[0] as Message, rejection)
      else await this.#bridgeSingly(some, outcomes)
    }
    return messages.map(message => outcomes.get(message) ?? 'ack')
  }

  /** Sends the messages of a batch that was too large in records of their own, and enters those that still are. */
  async #bridgeSingly(messages: readonly Message[], outcomes: Map<Message, Outcome>): Promise<void> {
    const { hubId } = this.#options
    const records = messages.flatMap(message => [...batchRecords(this.#names.batches, [message], hubId)])
    const { refused, missing } = await this.#producer.send(records)
    for (const i of missing) outcomes.set(messages[i] as Message, 'retry')
    for (const [i, rejection] of refused) outcomes.set(messages[i] as Message, rejection)
  }

  async publishReceipts(hub: string, body: Buffer): Promise<void> {
    const topic = await this.receiptsOf(hub)
    if (topic !== undefined) await this.#side.sendAll([plainRecord(topic, body)])
  }

  /** Returns the topic for the receipts of a hub; undefined when there is none, so that the hub hears nothing. */
  async receiptsOf(hub: string): Promise<string | undefined> {
    const topic = this.#names.receipts(hub)
    const known = this.#hubs.get(hub)
    if (known && (known.isThere || performance.now() - known.at < unknownHubMs))
      return known.isThere ? topic : undefined
    const isThere = await this.#client.has(topic)
    this.#hubs.set(hub, { isThere, at: performance.now() })
    return isThere ? topic : undefined
  }

  /** Returns the reader of `record`, `publish` or, for what `publishReceipts` was given, `receipts`. */
  reader(group: string): QueueReader {
    const { topics, rules, hubId, sessionMs, clock, listener } = this.#options
    const { telemetry, batches, publish, receipts } = this.#names
    // Both of them: a hub whose envelope was changed has messages in the other one.
    const known: Readonly<Record<string, readonly string[]>> = {
      record: [telemetry, batches],
      publish: [publish],
      receipts: [receipts(hubId)],
    }
    const read = known[group]
    if (!read) throw new Error(`no topics for ${group}`)
    const name = `${topics.prefix}${group}${group === 'receipts' ? `.${hubId}` : ''}`
    const reader = new KafkaReader(
      { client: this.#client, group: name, topics: read, wanted: this.#wanted(), rules, hubId, sessionMs, clock },
      listener,
    )
    this.#readers.push(reader)
    return reader
  }

  deadLetters(own: DeadLetters | undefined): DeadLetters {
    const options = { hubId: this.#options.hubId, producer: this.#side, names: this.#names, hubs: this }
    return own ? new CopiedDeadLetters(own, options) : new SentDeadLetters(options)
  }
}

/** Looks at the cluster and the topics of a hub, and changes nothing. Rejects with `queue_unavailable`. */
export function lookAtKafka(login: KafkaLogin, prefix: string, hubId: string | undefined): Promise<ClusterLook> {
  const client = new KafkaClient(accessOf(login, settingNames), 'telehub-doctor')
  const wanted = recordTopics({ prefix, partitions: 1, maxMessage: 0 }, hubId)
  return client.look(wanted.map(({ topic }) => topic))
}
