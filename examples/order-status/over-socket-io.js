import { io } from '/socket.io/socket.io.esm.min.js'
import { given, showOrder, showState } from './orders.js'

const socket = io(given.hub, { auth: { token: given.key }, reconnectionDelayMax: 1_000 })

/** The fields of a message are series of their own: the text `status` and the number `since`. */
function show({ topic, values }) {
  const fields = Object.fromEntries(values.map(({ field, value }) => [field, value]))
  if (fields.status) showOrder(topic.split('/')[1], fields.status, fields.since)
}

socket.on('values', show)
socket.on('live', show)
socket.on('connect', async () => {
  // The newest statuses come first, so that nothing is missed after a break either.
  if (!socket.recovered) await socket.emitWithAck('subscribe', 'orders/+/status')
  showState('live')
})
socket.on('disconnect', () => showState('connecting'))
