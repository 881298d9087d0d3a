import { io } from '/socket.io/socket.io.esm.min.js'
import { given, showOrder, showState } from './orders.js'

const socket = io(given.hub, { auth: { token: given.key }, reconnectionDelayMax: 1_000 })

// The retained messages of back ends come first, so that nothing is missed after a break either.
socket.on('message', ({ topic, payload }) => {
  const { status, since } = JSON.parse(payload)
  showOrder(topic.split('/')[1], status, since)
})
socket.on('connect', async () => {
  if (!socket.recovered) await socket.emitWithAck('subscribe', 'orders/+/status')
  showState('live')
})
socket.on('disconnect', () => showState('connecting'))
