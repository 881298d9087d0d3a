// The back end: node examples/order-status/back-end.mjs rabbitmq|http ORDER STATUS
// rabbitmq: to the exchange telehub.publish, for pages over MQTT. http: to POST /api/publish, for Socket.IO and MQTT.

const [way, order, status] = process.argv.slice(2)
const { RABBITMQ_URL = 'amqp://guest:guest@127.0.0.1:5672', HUB_URL = 'http://127.0.0.1:8080', HUB_KEY } = process.env
const payload = { status, since: Date.now() }

if (way === 'rabbitmq') {
  const { connect } = await import('amqplib')
  const connection = await connect(RABBITMQ_URL)
  const channel = await connection.createConfirmChannel()
  // A publish to an exchange that is not there would end the channel: the hub has declared it once it was connected.
  await channel.checkExchange('telehub.publish')
  channel.publish('telehub.publish', `orders.${order}.status`, Buffer.from(JSON.stringify(payload)), {
    persistent: true,
    headers: { 'mqtt-qos': 1, 'mqtt-retain': true },
  })
  await channel.waitForConfirms()
  await connection.close()
} else if (way === 'http') {
  const { connect } = await import('../../dist/client/src/client.js')
  const hub = connect({ url: HUB_URL, token: HUB_KEY })
  await hub.publish({ topic: `orders/${order}/status`, payload, retain: true })
} else {
  console.error('usage: back-end.mjs rabbitmq|http ORDER STATUS')
  process.exitCode = 2
}
