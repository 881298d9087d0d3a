import kafkajs from 'kafkajs'
import { type KafkaOptions, Kafka as QueueOfKafka } from '../../src/kafka/kafka.js'
import type { Message } from '../../src/model.js'

/*
 * Sends messages to Kafka as fast as it takes them, in a process of its own: by the client library alone, as a program
 * that needs nothing else would, or by the adapter of the hub. See kafka.ts.
 *
 *   node kafka-sender.js HOW BROKERS PREFIX MESSAGES
 */

const [how = '', brokers = '', prefix = '', count = '0'] = process.argv.slice(2)

/** Messages of one call: what the hub hands over at a time. */
const chunk = 20_000
const warmUp = 40_000
const clients = 100
const partitions = 6

function messages(from: number, size: number): Message[] {
  return Array.from({ length: size }, (_, i) => {
    const n = from + i
    return {
      sequence: n + 1,
      receivedAt: 1_760_000_000_000_000 + n,
      topic: `bench/floor-${n % 10}/meter-${n % clients}/telemetry`,
      payload: Buffer.from(`{"temperature":${n % 40},"humidity":${n % 100},"power":${n % 3_000}}`),
      qos: 1,
      retain: false,
      clientId: `meter-${n % clients}`,
      user: '',
      packetId: 0,
    }
  })
}

async function byClient(): Promise<(some: readonly Message[]) => Promise<unknown>> {
  const kafka = new kafkajs.Kafka({ brokers: brokers.split(','), logLevel: kafkajs.logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({
    topics: [{ topic: `${prefix}telemetry`, numPartitions: partitions, replicationFactor: 3 }],
  })
  await admin.disconnect()
  const producer = kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
  })
  await producer.connect()
  return some =>
    producer.send({
      topic: `${prefix}telemetry`,
      acks: -1,
      messages: some.map(({ clientId, payload, topic, receivedAt, sequence }) => ({
        key: clientId,
        value: payload,
        timestamp: String(Math.floor(receivedAt / 1_000)),
        headers: {
          'message-id': `bench-${sequence}`,
          'mqtt-topic': topic,
          'mqtt-qos': '1',
          'mqtt-retain': 'false',
          'client-id': clientId,
          'received-at': String(receivedAt),
          sequence: String(sequence),
        },
      })),
    })
}

function byAdapter(envelope: KafkaOptions['envelope']): (some: readonly Message[]) => Promise<unknown> {
  const kafka = new QueueOfKafka({
    login: {
      brokers: brokers.split(','),
      ...{ mechanism: 'off', user: '', password: '', passwordFile: '', tls: false, ca: '', cert: '', key: '' },
    },
    topics: { prefix, partitions, maxMessage: 5_000_000 },
    rules: { create: true, replication: 0 },
    hubId: 'bench',
    envelope,
    windowBytes: 8_000_000,
    sessionMs: 15_000,
    consumesReceipts: false,
    listener: { onCluster: () => {} },
    clock: { now: () => 0 },
  })
  return some => kafka.bridge(some)
}

const send = how === 'client' ? await byClient() : byAdapter(how === 'batch' ? 'batch' : 'message')
const total = Number(count)
for (let at = 0; at < warmUp; at += chunk) await send(messages(at, chunk))
let ms = 0
for (let at = 0; at < total; at += chunk) {
  // Making the messages is no part of it: in a hub they come from the spool.
  const some = messages(warmUp + at, chunk)
  const begin = performance.now()
  await send(some)
  ms += performance.now() - begin
}
process.stdout.write(`${JSON.stringify({ perSecond: (1_000 * total) / ms })}\n`)
process.exit(0)
