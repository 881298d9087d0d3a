import mqtt from '/mqtt/mqtt.esm.js'
import { given, showOrder, showState } from './orders.js'

// MQTT.js connects again by itself and subscribes again; the statuses are retained, so nothing is missed meanwhile.
const login = given.key && { username: 'key', password: given.key }
const client = mqtt.connect(`${given.hub.replace(/^http/, 'ws')}/mqtt`, { reconnectPeriod: 500, ...login })

client.on('connect', async () => {
  await client.subscribeAsync('orders/+/status', { qos: 1 })
  showState('live')
})
client.on('close', () => showState('connecting'))
client.on('message', (topic, payload) => {
  const { status, since } = JSON.parse(payload.toString())
  showOrder(topic.split('/')[1], status, since)
})
