import { randomBytes } from 'node:crypto'
import kafkajs from 'kafkajs'
import type { Test } from 'tap'
import { Kafka, type KafkaLogin, type KafkaOptions } from '../../src/kafka/kafka.js'
import type { KafkaCluster } from '../services/kafka.js'

export const hubId = 'hub-under-test'

/** A beginning of names that no other test has. */
export const freshPrefix = () => `t${randomBytes(6).toString('hex')}.`

/** No login, no TLS. */
export const plainLogin = ({ brokers }: Pick<KafkaCluster, 'brokers'>): KafkaLogin => ({
  brokers: brokers.split(','),
  ...{ mechanism: 'off', user: '', password: '', passwordFile: '', tls: false, ca: '', cert: '', key: '' },
})

/** A hub's Kafka, with one partition unless the test wants more: the order of all messages is that of one partition. */
export function hubKafka(
  { brokers }: KafkaCluster,
  more: Partial<KafkaOptions> & { prefix?: string; partitions?: number } = {},
) {
  const { prefix = freshPrefix(), partitions = 1, ...options } = more
  return new Kafka({
    login: plainLogin({ brokers }),
    topics: { prefix, partitions, maxMessage: 5_000_000 },
    rules: { create: true, replication: 0 },
    hubId,
    envelope: 'message',
    windowBytes: 8_000_000,
    sessionMs: 3_000,
    consumesReceipts: false,
    listener: { onCluster: () => {} },
    clock: { now: () => 5 },
    ...options,
  })
}

/** The client library, as other programs use it. */
export function foreignKafka({ brokers }: KafkaCluster) {
  return new kafkajs.Kafka({ clientId: 'foreign', brokers: brokers.split(','), logLevel: kafkajs.logLevel.NOTHING })
}

export interface ForeignRecord {
  readonly partition: number
  readonly key: string
  readonly value: Buffer
  readonly headers: Readonly<Record<string, string>>
  readonly time: number
}

/** Takes the first `count` records of a topic, as another program would. */
export async function records(t: Test, cluster: KafkaCluster, topic: string, count: number): Promise<ForeignRecord[]> {
  const consumer = foreignKafka(cluster).consumer({ groupId: freshPrefix(), maxWaitTimeInMs: 200 })
  t.teardown(() => consumer.disconnect())
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const found: ForeignRecord[] = []
  await new Promise<void>(resolve => {
    void consumer.run({
      autoCommit: false,
      eachMessage: ({ partition, message }) => {
        found.push({
          partition,
          key: message.key?.toString() ?? '',
          value: message.value ?? Buffer.alloc(0),
          headers: Object.fromEntries(
            Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]),
          ),
          time: Number(message.timestamp),
        })
        if (found.length >= count) resolve()
        return Promise.resolve()
      },
    })
  })
  await consumer.disconnect()
  return found
}
