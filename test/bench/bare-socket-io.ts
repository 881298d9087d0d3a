import { Server } from 'socket.io'

/*
 * The rival of push.ts: a bare Socket.IO server in a process of its own, which sends to everybody what it is told. It
 * answers `subscribe` as the hub does, so that the same receivers measure both.
 */

const io = new Server(0, { transports: ['websocket'] })
io.on('connection', socket => {
  socket.on('subscribe', (...given: unknown[]) => {
    const answer = given.at(-1)
    if (typeof answer === 'function') answer({ subscription: 1 })
  })
})
process.on('message', (readings: readonly object[]) => {
  for (const reading of readings) io.emit('live', reading, 1)
})
process.on('disconnect', () => process.exit(0))
const address = io.httpServer.address()
process.send?.(typeof address === 'object' && address !== null ? address.port : 0)
