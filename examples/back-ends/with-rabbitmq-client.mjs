// Warns of hot rooms, with rabbitmq-client: node with-rabbitmq-client.mjs
import { Connection, ConsumerStatus } from 'rabbitmq-client'

const { RABBITMQ_URL = 'amqp://guest:guest@127.0.0.1:5672' } = process.env
// It connects again by itself, declares again, and goes on.
const rabbit = new Connection(RABBITMQ_URL)
rabbit.on('error', error => console.error(error.message))
const publisher = rabbit.createPublisher({ confirm: true, maxAttempts: 3 })

const consumer = rabbit.createConsumer(
  {
    queue: 'warnings.rabbitmq-client',
    queueOptions: { durable: true, arguments: { 'x-queue-type': 'quorum' } },
    queueBindings: [{ exchange: 'telehub.telemetry', routingKey: 'home.*.*.telemetry' }],
    qos: { prefetchCount: 100 },
    requeue: false,
  },
  // Acknowledged when this resolves; rejected when it throws.
  async ({ headers, body }) => {
    // The body is bytes unless the publisher has set a content type.
    const { temperature } = Buffer.isBuffer(body) ? JSON.parse(body.toString()) : body
    if (!(temperature > 30)) return ConsumerStatus.ACK
    const [, room] = headers['mqtt-topic'].split('/')
    const warning = {
      exchange: 'telehub.publish',
      routingKey: `warnings.rabbitmq-client.${room}`,
      durable: true,
      headers: { 'mqtt-qos': 1, 'mqtt-retain': true },
    }
    await publisher.send(warning, { room, temperature })
    return ConsumerStatus.ACK
  },
)
consumer.on('error', error => console.error(error.message))
consumer.on('ready', () => console.log('ready'))

process.once('SIGTERM', async () => {
  await consumer.close()
  await publisher.close()
  await rabbit.close()
})
