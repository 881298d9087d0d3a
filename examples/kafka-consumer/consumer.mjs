import { parseArgs } from 'node:util'
import kafkajs from 'kafkajs'

const { values } = parseArgs({
  options: {
    brokers: { type: 'string', default: '127.0.0.1:9092' },
    topic: { type: 'string', default: 'telehub.telemetry' },
    group: { type: 'string', default: 'example' },
  },
})

const kafka = new kafkajs.Kafka({
  clientId: 'example',
  brokers: values.brokers.split(','),
  logLevel: kafkajs.logLevel.ERROR,
})
const consumer = kafka.consumer({ groupId: values.group })

// A message that comes twice has the same id. The newest ids are enough: repetitions come soon.
const seen = new Set()
const isNew = id => {
  if (seen.has(id)) return false
  seen.add(id)
  if (seen.size > 100_000) seen.delete(seen.values().next().value)
  return true
}

await consumer.connect()
await consumer.subscribe({ topic: values.topic, fromBeginning: true })
await consumer.run({
  eachMessage: async ({ message: { headers, value } }) => {
    const text = name => headers[name]?.toString()
    if (!isNew(text('message-id'))) return
    // Microseconds since the epoch, by the hub's clock.
    const at = new Date(Number(text('received-at')) / 1_000)
    console.log(`${at.toISOString()} ${text('client-id')} ${text('mqtt-topic')} ${value}`)
  },
})

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => consumer.disconnect())
