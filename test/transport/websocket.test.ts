import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type ClientOptions, WebSocket } from 'ws'
import { Networks } from '../../src/runtime/addresses.js'
import { Outbox } from '../../src/transport/outbox.js'
import type { Peer, Transport } from '../../src/transport/pool.js'
import { WebSockets, type WebSocketsOptions } from '../../src/transport/websocket.js'
import { eventually } from '../harness.js'

const file = (name: string) => readFileSync(new URL(`../../../test/fixtures/tls/${name}`, import.meta.url))

interface Accepted {
  readonly stream: Transport
  readonly peer: Peer
}

interface Served {
  readonly port: number
  readonly url: string
  readonly refused: string[]
  /** The server's side of the next connection. */
  next(): Promise<Accepted>
  /** Connects, and resolves with both sides. */
  open(
    protocols?: string[],
    options?: ClientOptions,
    query?: string,
  ): Promise<Accepted & { readonly client: WebSocket }>
}

async function serve(t: Test, options: Partial<WebSocketsOptions> = {}, tls = false, isOpened = true): Promise<Served> {
  const accepted: Accepted[] = []
  const refused: string[] = []
  const webSockets = new WebSockets({
    origins: [],
    trusted: new Networks([]),
    pingMs: 0,
    packetBytes: 100_000,
    helloBytes: 1_000,
    connections: {
      accept: (stream, peer) => {
        stream.on('error', () => {})
        // As a client that is connected.
        if (isOpened) (stream as Transport).opened?.()
        accepted.push({ stream, peer })
      },
    },
    report: { refused: (reason, sentence) => void refused.push(`${reason}: ${sentence}`) },
    ...options,
  })
  const server = tls ? createHttpsServer({ cert: file('server.pem'), key: file('server.key') }) : createServer()
  server.on('upgrade', (request, socket, head) => webSockets.upgrade(request, socket as Socket, head))
  webSockets.start()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    webSockets.stop()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const url = `${tls ? 'wss' : 'ws'}://127.0.0.1:${port}/mqtt`
  const next = async () => {
    while (accepted.length === 0) await sleep(1)
    return accepted.shift() as Accepted
  }
  const open = async (protocols = ['mqtt'], options: ClientOptions = {}, query = '') => {
    const client = new WebSocket(url + query, protocols, { ca: file('ca.pem'), ...options })
    t.teardown(() => client.terminate())
    accepted.length = 0
    await once(client, 'open')
    return { ...(await next()), client }
  }
  return { port, url, refused, next, open }
}

const request = (port: number, more = '') =>
  `GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${more}` +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

/** A WebSocket client that does nothing by itself: no pong, no closing handshake. */
async function rawClient(t: Test, port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  socket.write(request(port))
  await once(socket, 'readable')
  t.match(String(socket.read()), /^HTTP\/1.1 101 /)
  return socket
}

/** `[first byte, length]` of each whole frame in `bytes`; none is masked. */
function frames(bytes: Buffer): [number, number][] {
  const all: [number, number][] = []
  for (let at = 0; at < bytes.length; ) {
    const short = bytes[at + 1] as number
    const header = short < 126 ? 2 : short === 126 ? 4 : 10
    const length =
      short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
    all.push([bytes[at] as number, length])
    at += header + length
  }
  return all
}

/** Masked with zeros. */
const frame = (payload: string) =>
  Buffer.concat([Buffer.from([0x82, 0x80 | payload.length, 0, 0, 0, 0]), Buffer.from(payload)])

/** One packet of one piece, as it is written to the stream. */
function framed(stream: Transport, packet: Buffer): Buffer {
  const outbox = new Outbox(stream.framing)
  outbox.push(packet)
  return outbox.next()
}

/** Writes each packet as the hub does; resolves when the socket has taken all. */
async function writePackets(stream: Transport, ...packets: Buffer[]): Promise<void> {
  const outbox = new Outbox(stream.framing)
  for (const packet of packets) outbox.push(packet)
  while (outbox.bytes > 0) await new Promise(resolve => stream.write(outbox.next(), resolve))
}

t.test('each packet leaves as one binary message, a long one as several', async t => {
  const { open, port, next } = await serve(t)
  const { stream, client } = await open()
  const got: Buffer[] = []
  client.on('message', (data: Buffer, isBinary) => got.push(isBinary ? data : Buffer.from('text')))
  const sizes = [1, 2, 125, 126, 127, 1_023, 1_024, 1_025, 65_535, 65_536, 65_537, 1_000_000]
  const packets = sizes.map((size, i) => Buffer.alloc(size, i + 1))
  await writePackets(stream, ...packets)
  const expected = packets.flatMap(packet => {
    const parts: Buffer[] = []
    for (let at = 0; at < packet.length; at += 65_536) parts.push(packet.subarray(at, at + 65_536))
    return parts
  })
  await eventually(() => got.length === expected.length, 'all have come')
  for (const [i, part] of expected.entries()) t.ok(got[i]?.equals(part), `message ${i}: ${part.length} bytes`)

  const raw = await rawClient(t, port)
  const { stream: other } = await next()
  await writePackets(other, Buffer.alloc(300), Buffer.alloc(2))
  await once(raw, 'readable')
  t.same(
    frames(raw.read()),
    [
      [0x82, 300],
      [0x82, 2],
    ],
    'whole, binary, not masked',
  )
  let received = Buffer.alloc(0)
  raw.on('data', chunk => {
    received = Buffer.concat([received, chunk])
  })
  await writePackets(other, Buffer.alloc(150_000))
  await eventually(() => received.length >= 150_000 + 10 + 10 + 4, 'a packet of three pieces')
  const sizesOfParts = [65_536, 65_536, 18_928]
  t.same(
    frames(received),
    sizesOfParts.map(size => [0x82, size]),
    'messages of their own, not fragments',
  )
})

t.test('for a client that asks for it, packets that leave together are one message', async t => {
  const { open } = await serve(t)
  for (const [query, isJoined] of [
    ['?packets=joined', true],
    ['?packets=single', false],
  ] as const) {
    const { stream, client } = await open(['mqtt'], {}, query)
    const got: Buffer[] = []
    client.on('message', (data: Buffer) => got.push(data))
    const bytes = () => got.reduce((sum, one) => sum + one.length, 0)
    const packets = [1, 2, 125, 300].map((size, i) => Buffer.alloc(size, i + 1))
    await writePackets(stream, ...packets)
    await eventually(() => bytes() === 428, 'all have come')
    t.equal(got.length, isJoined ? 1 : 4, query)
    t.ok(Buffer.concat(got).equals(Buffer.concat(packets)), 'in order')
    got.length = 0
    await writePackets(stream, Buffer.alloc(150_000, 9), Buffer.alloc(3, 8))
    await eventually(() => bytes() === 150_003, 'a packet of three pieces, and one more')
    t.ok(Buffer.concat(got).equals(Buffer.concat([Buffer.alloc(150_000, 9), Buffer.alloc(3, 8)])))
  }
})

t.test('what comes in is a stream, whatever its frames', async t => {
  const { open } = await serve(t)
  const { stream, client } = await open()
  let got = ''
  stream.on('data', chunk => {
    got += chunk
  })
  client.send(Buffer.from('a'))
  client.send(Buffer.from('bc'), { fin: false })
  client.send(Buffer.alloc(0), { fin: false })
  client.send(Buffer.from('d'))
  client.send(Buffer.alloc(0))
  client.send(Buffer.from('e'))
  client.close(1000)
  await once(stream, 'end')
  t.equal(got, 'abcde')
  await eventually(() => stream.closed, 'the stream is closed')
})

t.test('before the client is connected a message may be no longer than a CONNECT and what little follows', async t => {
  const { open } = await serve(t, {}, false, false)
  const { stream, client } = await open()
  let got = 0
  stream.on('data', chunk => {
    got += chunk.length
  })
  client.send(Buffer.alloc(65_536))
  await eventually(() => got === 65_536, 'as long as may be')
  ;(stream as Transport).opened?.()
  client.send(Buffer.alloc(200_010))
  await eventually(() => got === 65_536 + 200_010, 'longer ones once it is connected')

  const stranger = await open()
  const closed = once(stranger.client, 'close')
  stranger.client.send(Buffer.alloc(65_537))
  t.equal((await closed)[0], 1009)
})

t.test('text frames and too large messages end the connection', async t => {
  const { open } = await serve(t)
  for (const [name, code, send] of [
    ['text', 1003, (client: WebSocket) => client.send('text')],
    ['a large message', 1009, (client: WebSocket) => client.send(Buffer.alloc(200_011))],
    [
      'a large message in fragments',
      1009,
      (client: WebSocket) => {
        for (let i = 0; i < 21; i++) client.send(Buffer.alloc(10_000), { fin: false })
      },
    ],
  ] as const) {
    const { stream, client } = await open()
    let got = 0
    stream.on('data', chunk => {
      got += chunk.length
    })
    const failed = once(stream, 'error')
    const closed = once(client, 'close')
    send(client)
    t.equal((await closed)[0], code, name)
    t.ok(((await failed)[0] as Error).message, 'and the reader is told why')
    t.ok(stream.destroyed)
    t.equal(got, 0)
  }
  const { stream, client } = await open()
  // More than one packet may be in it, each with a fixed header of up to five bytes.
  client.send(Buffer.alloc(200_010))
  const [chunk] = await once(stream, 'data')
  t.equal(chunk.length, 200_010, 'the largest message passes')
})

t.test('a reader that stops stops the peer, and then reads all', async t => {
  const { open } = await serve(t)
  const { stream, client } = await open()
  const total = 400 * 100_000
  for (let i = 0; i < 400; i++) client.send(Buffer.alloc(100_000, i))
  await sleep(500)
  t.ok(stream.readableLength < 300_000, `${stream.readableLength} bytes are here`)
  t.ok(client.bufferedAmount > total / 2, `${client.bufferedAmount} of ${total} bytes wait at the peer`)
  let got = 0
  let inOrder = true
  stream.on('data', (chunk: Buffer) => {
    inOrder &&= chunk[0] === Math.floor(got / 100_000) % 256
    got += chunk.length
  })
  await eventually(() => got === total, 'all have come')
  t.ok(inOrder)
})

t.test('a peer that does not read stops the writer', async t => {
  const { port, next } = await serve(t)
  await rawClient(t, port)
  const { stream } = await next()
  let written = 0
  while (written < 200_000_000 && !stream.writableNeedDrain) {
    stream.write(framed(stream, Buffer.alloc(60_000)), () => {
      written += 60_000
    })
    await sleep(0)
  }
  await sleep(200)
  t.ok(stream.writableNeedDrain, `after ${written} bytes`)
  t.ok(stream.writableLength < 200_000)
})

t.test('what came before a close is read before the end', async t => {
  const { open } = await serve(t)
  for (const messages of [1, 50]) {
    const { stream, client } = await open()
    for (let i = 0; i < messages; i++) client.send(Buffer.alloc(10_000))
    client.close(1000)
    await sleep(100)
    // To nobody, and so nowhere; it ends nothing.
    stream.write(framed(stream, Buffer.from('too late')))
    await sleep(50)
    let got = 0
    for await (const chunk of stream) got += chunk.length
    t.equal(got, messages * 10_000)
    t.ok(stream.destroyed)
  }
})

t.test('end and destroy close with a handshake, and do not wait long for it', async t => {
  const { open, port, next } = await serve(t)
  for (const close of ['end', 'destroy'] as const) {
    const { stream, client } = await open()
    const got: unknown[] = []
    client.on('message', data => got.push(String(data)))
    stream.resume()
    stream.write(framed(stream, Buffer.from('the last words')))
    stream[close]()
    const [code] = await once(client, 'close')
    t.equal(code, 1000, close)
    t.same(got, ['the last words'], 'what was written has left')
    await eventually(() => stream.closed, 'the stream is closed')

    const raw = await rawClient(t, port)
    const { stream: other } = await next()
    other.resume()
    const from = Date.now()
    other[close]()
    raw.resume()
    await once(raw, 'close')
    const took = Date.now() - from
    t.ok(took > 900, `a peer that does not answer is cut off, after ${took} ms`)
  }
  const unread = await open()
  unread.client.send(Buffer.alloc(100_000))
  await sleep(50)
  const mute = await rawClient(t, port)
  const { stream: unanswered } = await next()
  mute.resume()
  unread.stream.destroy()
  unanswered.destroy()
  const first = Promise.race([
    once(unread.client, 'close').then(() => 'unread'),
    once(mute, 'close').then(() => 'mute'),
  ])
  t.equal(await first, 'unread', 'unread data does not hide the answer')

  const { stream, client } = await open()
  client.terminate()
  await once(stream, 'close')
  t.pass('a peer that is gone')
})

t.test('pings cut off who is dead, and nobody else', async t => {
  for (const tls of [false, true]) {
    const { open, port, next, refused } = await serve(t, { pingMs: 150 }, tls)
    const live = await open()
    live.stream.resume()
    const unread = await open()
    const mute = await open([], { autoPong: false })
    mute.stream.resume()
    const talker = await open([], { autoPong: false })
    talker.stream.resume()
    const talk = setInterval(() => talker.client.send(Buffer.from('x')), 40)
    t.teardown(() => clearInterval(talk))
    const [error] = await once(mute.stream, 'error')
    t.match(error.message, /no answer to a ping/)
    t.same(refused, ['ping_timeout: 127.0.0.1: no answer to a ping for 150 ms (ws.ping)'])
    if (!tls) {
      const raw = await rawClient(t, port)
      const { stream } = await next()
      stream.resume()
      raw.resume()
      await once(stream, 'error')
      const mute = await rawClient(t, port)
      const { stream: unanswered } = await next()
      mute.resume()
      unanswered.destroy()
      const first = Promise.race([once(raw, 'close').then(() => 'dead'), once(mute, 'close').then(() => 'mute')])
      t.equal(raw.destroyed ? 'dead' : await first, 'dead', 'the socket is closed, without a closing handshake')
    }
    // Fills the stream, so that it is paused and no pong is seen.
    for (let i = 0; i < 5; i++) unread.client.send(Buffer.alloc(100_000))
    await sleep(600)
    unread.stream.resume()
    await sleep(300)
    for (const [name, { stream, client }] of Object.entries({ live, unread, talker })) {
      t.notOk(stream.destroyed, name)
      t.equal(client.readyState, WebSocket.OPEN)
    }
    t.equal(live.peer.listener, tls ? 'wss' : 'ws')
  }
})

t.test('subprotocols', async t => {
  const { open } = await serve(t)
  for (const [offered, chosen] of [
    [['mqtt'], 'mqtt'],
    [['foo', 'mqtt'], 'mqtt'],
    [['mqttv3.1', 'mqtt'], 'mqtt'],
    [['mqttv3.1'], 'mqttv3.1'],
    [[], ''],
  ] as const) {
    const { client } = await open([...offered])
    t.equal(client.protocol, chosen, offered.join())
  }
  await t.rejects(open(['foo']), /no subprotocol/, 'the client refuses')
})

/** The answer to an upgrade, as text. */
async function ask(t: Test, port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.write(text)
  let answer = ''
  socket.on('data', chunk => {
    answer += chunk
  })
  while (!answer.startsWith('HTTP/1.1 101') && !socket.closed) await sleep(1)
  return answer
}

t.test('origins', async t => {
  const open = await serve(t, { origins: ['*'] })
  const listed = await serve(t, { origins: ['https://board.example', 'http://board.example:8080'] })
  const proxied = await serve(t, { trusted: new Networks(['127.0.0.1']) })
  const strict = await serve(t)
  const own = `http://127.0.0.1:${strict.port}`
  for (const [served, host, origin, allowed] of [
    [strict, '', undefined, true],
    [strict, '', own, true],
    [strict, '', own.replace('http', 'https'), true],
    [strict, '', 'http://127.0.0.1', false],
    [strict, '', `http://localhost:${strict.port}`, false],
    [strict, '', 'http://evil.example', false],
    [strict, '', `http://127.0.0.1:${strict.port}.evil.example`, false],
    [strict, '', 'null', false],
    [strict, '', 'file://', false],
    [strict, '', 'not an origin', false],
    [strict, 'hub.example', 'http://hub.example', true],
    [strict, 'hub.example', 'https://hub.example', true],
    [strict, 'hub.example:443', 'https://hub.example', true],
    [strict, 'HUB.example', 'https://hub.example', true],
    [strict, 'hub.example:8443', 'https://hub.example', false],
    [strict, '127.0.0.1\r\nX-Forwarded-Host: hub.example', 'https://hub.example', false],
    [proxied, '127.0.0.1\r\nX-Forwarded-Host: hub.example', 'https://hub.example', true],
    [proxied, '127.0.0.1\r\nX-Forwarded-Host: inner, hub.example', 'https://hub.example', true],
    [proxied, '127.0.0.1\r\nX-Forwarded-Host: hub.example', 'https://evil.example', false],
    [listed, '', 'https://board.example', true],
    [listed, '', 'http://board.example:8080', true],
    [listed, '', 'http://board.example', false],
    [listed, '', `http://127.0.0.1:${listed.port}`, true],
    [open, '', 'http://evil.example', true],
    [open, '', 'null', true],
  ] as const) {
    const text = request(served.port, origin === undefined ? '' : `Origin: ${origin}\r\n`)
    const answer = await ask(t, served.port, host ? text.replace(/Host: .*/, `Host: ${host}`) : text)
    t.equal(/^HTTP\/1.1 (\d+)/.exec(answer)?.[1], allowed ? '101' : '403', `${origin} at ${host || 'its address'}`)
  }
  const answer = await ask(t, strict.port, request(strict.port, 'Origin: http://evil.example\r\n'))
  const why = 'pages of "http://evil.example" may not connect; ws.origins lists those that may'
  t.equal(answer.split('\r\n\r\n')[1], `WebSocket refused: ${why}.\n`)
  t.equal(strict.refused.at(-1), `origin: 127.0.0.1: ${why}`)
})

t.test('the client behind trusted proxies', async t => {
  const headers = { 'x-forwarded-for': '203.0.113.9, [2001:db8::7]:4711, 10.0.0.1' }
  const trusting = await serve(t, { trusted: new Networks(['127.0.0.1', '10.0.0.0/8']) })
  t.same((await trusting.open([], { headers })).peer, { address: '2001:db8::7', listener: 'ws', certificate: [] })
  const wary = await serve(t)
  t.same((await wary.open([], { headers })).peer, { address: '127.0.0.1', listener: 'ws', certificate: [] })
})

t.test('what is no WebSocket is answered, and what goes away in the middle harms nobody', async t => {
  const { port, open } = await serve(t)
  const good = request(port)
  for (const [text, status] of [
    [good.replace('/mqtt', '/other'), 404],
    [good.replace('/mqtt', '//'), 404],
    [good.replace('/mqtt', '/mqtt?token=1'), 101],
    [good.replace('GET', 'POST'), 405],
    [good.replace('websocket', 'h2c'), 400],
    [good.replace('Version: 13', 'Version: 12'), 400],
    [good.replace(/Key: \S+/, 'Key: x'), 400],
    [good.replace('\r\n\r\n', '\r\nSec-WebSocket-Protocol: ,\r\n\r\n'), 400],
  ] as const) {
    t.match(await ask(t, port, text), new RegExp(`^HTTP/1.1 ${status} `), text.split('\r\n')[0] ?? '')
  }
  for (const part of [good, good.slice(0, 50), good + frame('x'), `${good}\x82`]) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.write(part, 'latin1')
    await sleep(5)
    socket.resetAndDestroy()
  }
  const { stream, client } = await open()
  client.send(Buffer.from('fine'))
  t.equal(String((await once(stream, 'data'))[0]), 'fine')
})

t.test('frames that come with the request are read', async t => {
  const { port, next } = await serve(t)
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.write(Buffer.concat([Buffer.from(request(port)), frame('at '), frame('once')]))
  const { stream } = await next()
  let got = ''
  stream.on('data', chunk => {
    got += chunk
  })
  await eventually(() => got === 'at once', 'all of it')
  t.pass('all of it')
})

t.test('a WebSocket is opened with HTTP/1.1; the request target may be absolute', async t => {
  const { port, next } = await serve(t)
  const own = `http://127.0.0.1:${port}`
  const ask = async (target: string, version = '1.1', more = '') => {
    const socket = connect({ port, host: '127.0.0.1' })
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    const lines = request(port, more).replace('/mqtt HTTP/1.1', `${target} HTTP/${version}`)
    socket.write(lines)
    await once(socket, 'readable')
    return String(socket.read())
  }
  t.match(await ask('/mqtt', '1.0'), /^HTTP\/1.1 400 [\s\S]*HTTP\/1.1, not with HTTP\/1.0/, 'RFC 6455 §4.2.1')
  for (const target of ['/mqtt', `ws://127.0.0.1:${port}/mqtt`, `${own}/mqtt?x=1`, 'WS://hub.example/mqtt']) {
    t.match(await ask(target), /^HTTP\/1.1 101 /, target)
    await next()
  }
  for (const target of [`${own}/other`, 'http://127.0.0.1', 'http://127.0.0.1?/mqtt', 'ftp://127.0.0.1/mqtt']) {
    t.match(await ask(target), /^HTTP\/1.1 404 /, target)
  }
  const origin = 'Origin: http://hub.example\r\n'
  t.match(await ask('/mqtt', '1.1', origin), /^HTTP\/1.1 403 /)
  t.match(await ask('http://hub.example/mqtt', '1.1', origin), /^HTTP\/1.1 101 /, 'its host counts (RFC 9112 §3.2.2)')
})
