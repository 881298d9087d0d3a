import kafkajs, { type Admin, type Consumer, type EachBatchPayload, type IHeaders, type Producer } from 'kafkajs'
import { describe, HubError } from '../errors.js'

export type { Consumer, EachBatchPayload, Producer }

/** Headers of a record as they come: bytes, and several where a name repeats. */
export type ReceivedHeaders = IHeaders

/** How to reach a cluster. */
export interface KafkaAccess {
  /** `host:port`, at least one; the others are learned from those. */
  readonly brokers: readonly string[]
  readonly sasl?:
    | {
        readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
        readonly user: string
        readonly password: string
      }
    | undefined
  /** PEM texts. Undefined: connections are not encrypted. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string } | undefined
}

/** A topic that the hub needs, and how a missing one is made. */
export interface WantedTopic {
  readonly topic: string
  readonly partitions: number
  readonly config?: Readonly<Record<string, string>>
}

export interface TopicRules {
  /** Whether topics that are missing are made. */
  readonly create: boolean
  /** Copies of each partition; 0: one on each broker, three at most. */
  readonly replication: number
}

/** Result of inspecting a cluster. Nothing was changed. */
export interface ClusterLook {
  readonly brokers: number
  readonly missing: readonly string[]
  /** Partitions of each topic that is there. */
  readonly partitions: ReadonlyMap<string, number>
  /** Topics with fewer copies in step than the cluster wants of them, with the number of partitions. */
  readonly lagging: ReadonlyMap<string, number>
}

/** Tries of one request, with growing pauses: about six seconds, in which an elected leader is found. */
const retry = { retries: 6, initialRetryTime: 100, maxRetryTime: 3_000, factor: 0.2, multiplier: 2 }

const connectMs = 5_000
const requestMs = 30_000

/** Longest wait of a fetch for the first record. A member that stops waits for that. */
const fetchWaitMs = 250

/** Bytes of one partition in one fetch. A larger record comes alone. */
const partitionBytes = 2 * 1024 * 1024
const fetchBytes = 16 * 1024 * 1024

/** Partitions whose records are handed over at the same time. */
const atOnce = 64

/** The client library. Known to this file alone, so that another one may take its place. */
export class KafkaClient {
  readonly #kafka: InstanceType<typeof kafkajs.Kafka>
  readonly #partition = kafkajs.Partitioners.DefaultPartitioner()

  constructor({ brokers, sasl, tls }: KafkaAccess, clientId: string) {
    const login = sasl && { username: sasl.user, password: sasl.password }
    this.#kafka = new kafkajs.Kafka({
      clientId,
      brokers: [...brokers],
      connectionTimeout: connectMs,
      authenticationTimeout: connectMs,
      requestTimeout: requestMs,
      retry: { ...retry },
      // Failures reach the hub through rejections and events, and are logged there once.
      logLevel: kafkajs.logLevel.NOTHING,
      ...(tls && { ssl: { ...tls } }),
      ...(sasl?.mechanism === 'plain' && login && { sasl: { mechanism: 'plain' as const, ...login } }),
      ...(sasl?.mechanism === 'scram-sha-256' && login && { sasl: { mechanism: 'scram-sha-256' as const, ...login } }),
      ...(sasl?.mechanism === 'scram-sha-512' && login && { sasl: { mechanism: 'scram-sha-512' as const, ...login } }),
    })
  }

  /** Returns the partition of a key among `count`, as Java's client chooses it, so that other programs agree. */
  partitionOf(key: Buffer, count: number): number {
    const partitionMetadata = Array.from({ length: count }, (_, partitionId) => ({
      ...{ partitionErrorCode: 0, partitionId, leader: 1, replicas: [], isr: [] },
    }))
    return this.#partition({ topic: '', partitionMetadata, message: { key, value: null } })
  }

  /**
   * Returns a connected producer that is idempotent: the cluster keeps a record once, however often one call sends it.
   * That holds for one producer, and only while no call has failed: see `KafkaProducer`.
   */
  async producer(): Promise<Producer> {
    const producer = this.#kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
    })
    try {
      await producer.connect()
    } catch (error) {
      await producer.disconnect().catch(() => {})
      throw unavailable(error)
    }
    return producer
  }

  /**
   * Returns a member of a group, which is not connected yet. A failure is told by its event CRASH and ends the member.
   *
   * @param sessionMs Time without a sign of life after which the cluster gives the partitions of the member to others
   */
  consumer(group: string, sessionMs: number): Consumer {
    return this.#kafka.consumer({
      groupId: group,
      sessionTimeout: sessionMs,
      rebalanceTimeout: 2 * sessionMs,
      heartbeatInterval: Math.floor(sessionMs / 5),
      maxBytesPerPartition: partitionBytes,
      maxBytes: fetchBytes,
      maxWaitTimeInMs: fetchWaitMs,
      allowAutoTopicCreation: false,
      retry: { ...retry, restartOnFailure: () => Promise.resolve(false) },
    })
  }

  /** Hands batches of records to `eachBatch`, several partitions at the same time, from where the group has stopped. */
  async run(
    consumer: Consumer,
    topics: readonly string[],
    eachBatch: (payload: EachBatchPayload) => Promise<void>,
  ): Promise<void> {
    await consumer.connect()
    await consumer.subscribe({ topics: [...topics], fromBeginning: true })
    await consumer.run({ autoCommit: false, partitionsConsumedConcurrently: atOnce, eachBatch })
  }

  /** Makes the topics that are missing. Resolves with the number of partitions of each. */
  async ensure(
    wanted: readonly WantedTopic[],
    { create, replication }: TopicRules,
  ): Promise<ReadonlyMap<string, number>> {
    return this.#asking(async admin => {
      const known = new Set(await admin.listTopics())
      const missing = wanted.filter(({ topic }) => !known.has(topic))
      if (missing.length > 0) {
        const names = missing.map(({ topic }) => topic).join(', ')
        if (!create)
          throw new HubError(
            'queue_unavailable',
            `Kafka: topics are missing: ${names}. Make them (docs/kafka.md has the commands), or set kafka.create: true`,
          )
        const { brokers } = await admin.describeCluster()
        const replicationFactor = replication || Math.min(3, brokers.length)
        await admin
          .createTopics({
            topics: missing.map(({ topic, partitions, config = {} }) => ({
              ...{ topic, numPartitions: partitions, replicationFactor },
              configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
            })),
          })
          .catch(error => {
            throw new HubError(
              'queue_unavailable',
              `Kafka: topics are missing and cannot be made: ${names}. ${causesOf(error)}. Make them (docs/kafka.md has ` +
                'the commands), or let the user of the hub create topics',
              { cause: error },
            )
          })
      }
      return partitionsOf(admin, wanted)
    })
  }

  /** Returns whether a topic is there. */
  has(topic: string): Promise<boolean> {
    return this.#asking(async admin => (await admin.listTopics()).includes(topic))
  }

  /** Looks at the cluster and at the topics, and changes nothing. */
  look(topics: readonly string[]): Promise<ClusterLook> {
    return this.#asking(async admin => {
      const { brokers } = await admin.describeCluster()
      const known = new Set(await admin.listTopics())
      const there = topics.filter(topic => known.has(topic))
      const found = there.length > 0 ? (await admin.fetchTopicMetadata({ topics: there })).topics : []
      const lagging = new Map<string, number>()
      for (const { name, partitions } of found) {
        const behind = partitions.filter(({ isr, replicas }) => isr.length < replicas.length).length
        if (behind > 0) lagging.set(name, behind)
      }
      return {
        brokers: brokers.length,
        missing: topics.filter(topic => !known.has(topic)),
        partitions: new Map(found.map(({ name, partitions }) => [name, partitions.length])),
        lagging,
      }
    })
  }

  async #asking<Answer>(ask: (admin: Admin) => Promise<Answer>): Promise<Answer> {
    const admin = this.#kafka.admin()
    try {
      await admin.connect()
      return await ask(admin)
    } catch (error) {
      throw unavailable(error)
    } finally {
      await admin.disconnect().catch(() => {})
    }
  }
}

async function partitionsOf(admin: Admin, wanted: readonly WantedTopic[]): Promise<ReadonlyMap<string, number>> {
  if (wanted.length === 0) return new Map()
  const { topics } = await admin.fetchTopicMetadata({ topics: wanted.map(({ topic }) => topic) })
  return new Map(topics.map(({ name, partitions }) => [name, partitions.length]))
}

/** Returns the code of the cluster for an error, such as `MESSAGE_TOO_LARGE`; empty when the cluster has said none. */
export function codeOf(error: unknown): string {
  for (let at: unknown = error, depth = 0; typeof at === 'object' && at !== null && depth < 10; depth++) {
    if ('type' in at && typeof at.type === 'string') return at.type
    at = 'cause' in at ? at.cause : undefined
  }
  return ''
}

function causesOf(error: unknown): string {
  const parts = typeof error === 'object' && error !== null && 'errors' in error ? error.errors : undefined
  return Array.isArray(parts) ? [...new Set(parts.map(describe))].join('; ') : describe(error)
}

export function unavailable(error: unknown): HubError {
  if (error instanceof HubError) return error
  return new HubError('queue_unavailable', `Kafka: ${causesOf(error)}`, { cause: error })
}
