import { once } from 'node:events'
import { Agent } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { call } from '../../src/runtime/http-call.js'

/** A server that says one text to the first bytes of each connection. */
async function saying(t: Test, say: (socket: Socket) => void): Promise<URL> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', () => say(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
}

const post = { method: 'POST', headers: {}, body: Buffer.from('[]') }
const upgrade = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'

for (const isKept of [false, true]) {
  t.test(`an end without an answer, ${isKept ? 'on a connection that is kept' : 'on a new connection'}`, async t => {
    const agent = new Agent({ keepAlive: true })
    t.teardown(() => agent.destroy())
    const more = isKept ? { agent } : {}
    const { signal } = new AbortController()
    const switched = await saying(t, socket => socket.end(upgrade))
    await t.rejects(call({ ...post, url: switched, signal, ...more }), { message: /closed without an answer/ })
    const closed = await saying(t, socket => socket.end())
    await t.rejects(call({ ...post, url: closed, signal, ...more }), { message: /hang up|closed without an answer/ })
  })
}

t.test('a call that is given up before there is an answer', async t => {
  const ended = new AbortController()
  const silent = await saying(t, () => ended.abort())
  await t.rejects(call({ ...post, url: silent, signal: ended.signal }), { name: 'AbortError' })
  await t.rejects(call({ ...post, url: silent, signal: ended.signal }), { name: 'AbortError' })
})
