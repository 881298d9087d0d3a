// Warns of hot rooms, with amqplib: node with-amqplib.mjs
import { connect } from 'amqplib'

const { RABBITMQ_URL = 'amqp://guest:guest@127.0.0.1:5672' } = process.env
const connection = await connect(RABBITMQ_URL, { noDelay: true })
const channel = await connection.createConfirmChannel()

// A queue of our own. What the hub gets while this program is away waits in it.
const queue = 'warnings.amqplib'
await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
await channel.bindQueue(queue, 'telehub.telemetry', 'home.*.*.telemetry')
await channel.prefetch(100)

await channel.consume(queue, async message => {
  if (!message) return
  try {
    await warn(message.properties.headers['mqtt-topic'], JSON.parse(message.content.toString()))
    // Behind the confirm: a program that dies before gets the message again.
    channel.ack(message)
  } catch (error) {
    console.error(error.message)
    channel.nack(message, false, false)
  }
})
console.log('ready')

async function warn(topic, { temperature }) {
  if (!(temperature > 30)) return
  const [, room] = topic.split('/')
  const payload = Buffer.from(JSON.stringify({ room, temperature }))
  await new Promise((resolve, reject) => {
    const options = { persistent: true, headers: { 'mqtt-qos': 1, 'mqtt-retain': true } }
    const confirmed = error => (error ? reject(error) : resolve())
    channel.publish('telehub.publish', `warnings.amqplib.${room}`, payload, options, confirmed)
  })
}

process.once('SIGTERM', () => connection.close())
