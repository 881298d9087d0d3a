// The back end: node examples/order-status/back-end.mjs ORDER STATUS
import { connect } from 'amqplib'

const [order, status] = process.argv.slice(2)
const { RABBITMQ_URL = 'amqp://guest:guest@127.0.0.1:5672' } = process.env
if (!status) {
  console.error('usage: back-end.mjs ORDER STATUS')
  process.exit(2)
}
const connection = await connect(RABBITMQ_URL, { noDelay: true })
const channel = await connection.createConfirmChannel()
// A publish to an exchange that is not there would end the channel: the hub has declared it once it was connected.
await channel.checkExchange('telehub.publish')
const payload = Buffer.from(JSON.stringify({ status, since: Date.now() }))
channel.publish('telehub.publish', `orders.${order}.status`, payload, {
  persistent: true,
  headers: { 'mqtt-qos': 1, 'mqtt-retain': true },
})
await channel.waitForConfirms()
await connection.close()
