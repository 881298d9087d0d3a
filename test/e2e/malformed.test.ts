import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import {
  connectPacket,
  type MalformedCase,
  malformedCases,
  mutate,
  Random,
  someConnect,
  somePacket,
} from '../fixtures/packets.js'
import { connectMqtt, startHub } from '../harness.js'

/*
 * The live hub and what is not MQTT. Every malformed packet ends its connection and nothing else. The same fuzz again:
 * FUZZ_SEED=… node dist/test/e2e/malformed.test.js; longer: FUZZ_CASES=….
 */

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)
const fuzzed = Number(process.env.FUZZ_CASES ?? 2_000)
/** Less than the hub waits for a CONNECT, or a connection that it just leaves alone would pass for one it closes. */
const closesWithinMs = 5_000

const hub = await startHub(t)
const port = Number(new URL(hub.mqttUrl).port)
const watcher = await connectMqtt(t, hub.mqttUrl, { clientId: 'watcher' })
await watcher.subscribeAsync('proof/#', { qos: 2 })

/** A connection as both kinds have it. */
interface Wire {
  write(bytes: Buffer): void
  onBytes(take: (bytes: Buffer) => void): void
  onClose(closed: () => void): void
  destroy(): void
}

function overTcp(): Wire {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  return {
    write: bytes => void socket.write(bytes),
    onBytes: take => void socket.on('data', take),
    onClose: closed => void socket.on('close', closed),
    destroy: () => void socket.destroy(),
  }
}

async function overWebSocket(): Promise<Wire> {
  const socket = new WebSocket(hub.webSocketUrl, 'mqtt')
  socket.on('error', () => {})
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('close', () => reject(new Error('not opened')))
  })
  return {
    write: bytes => socket.send(bytes),
    onBytes: take => void socket.on('message', data => take(data as Buffer)),
    onClose: closed => void socket.on('close', closed),
    destroy: () => socket.terminate(),
  }
}

/** Plays a case; what came back but for the CONNACK of a good CONNECT, as hex, or a sentence when it goes wrong. */
async function play(wire: Wire, { bytes, before, protocol }: MalformedCase, clientId: string): Promise<string> {
  return new Promise(resolve => {
    let got = Buffer.alloc(0)
    let sent = before === 'connect'
    const deadline = setTimeout(() => {
      wire.destroy()
      resolve(`not closed; it had sent "${got.toString('hex')}"`)
    }, closesWithinMs)
    wire.onBytes(chunk => {
      got = Buffer.concat([got, chunk])
      if (sent || got.length < 4) return
      if (got.toString('hex') !== '20020000') wire.destroy()
      got = Buffer.alloc(0)
      sent = true
      wire.write(bytes)
    })
    wire.onClose(() => {
      clearTimeout(deadline)
      resolve(sent ? got.toString('hex') : `a good CONNECT was answered "${got.toString('hex')}"`)
    })
    wire.write(sent ? bytes : connectPacket(protocol, clientId))
  })
}

async function playAll(t: Test, cases: readonly MalformedCase[], wire: () => Wire | Promise<Wire>): Promise<void> {
  const waiting = [...cases.entries()]
  const run = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [i, one] = next
      const got = await play(await wire(), one, `bad-${i}`)
      // What was good before the bad packet may have been answered, or not.
      const fine = got === one.answer || (one.name.startsWith('a PINGREQ') && got === 'd000')
      t.ok(fine, `${one.name} [${one.clause}]`, {
        got,
        wanted: one.answer,
        sent: one.bytes.toString('hex').slice(0, 200),
      })
    }
  }
  await Promise.all(Array.from({ length: 20 }, run))
}

/** Both those who were there and those who come now are served. */
async function serves(t: Test, what: string): Promise<void> {
  t.ok(watcher.connected, `${what}: who was there is still connected`)
  const topic = `proof/${what.replaceAll(' ', '-')}`
  const got = new Promise<string>(resolve =>
    watcher.once('message', (topic, payload) => resolve(`${topic} ${payload}`)),
  )
  const newcomer = await connectMqtt(t, hub.mqttUrl)
  await newcomer.publishAsync(topic, 'still here', { qos: 2 })
  t.equal(await got, `${topic} still here`)
  t.match(await hub.get('/healthz'), { status: 200 })
  await newcomer.endAsync()
}

t.test('every malformed packet ends its connection', async t => {
  await playAll(t, malformedCases, overTcp)
  await serves(t, 'after TCP')
})

t.test('over WebSocket too', async t => {
  const some = malformedCases.filter(({ answer }, i) => i % 25 === 0 || (answer !== '' && i % 3 === 0))
  t.ok(some.length > 12)
  await playAll(t, some, overWebSocket)
  await serves(t, 'after WebSocket')
})

t.test(`${fuzzed} connections with broken streams, FUZZ_SEED=${seed}`, async t => {
  const random = new Random(seed)
  const before = await residentBytes()
  let left = fuzzed
  let held = 0
  const run = async () => {
    while (left-- > 0) if (!(await fuzzOnce(random))) held++
  }
  await Promise.all(Array.from({ length: 40 }, run))
  t.equal(held, 0, 'connections that the hub kept when the client had gone')
  await serves(t, 'after the fuzz')
  const after = await residentBytes()
  t.comment(`resident: ${mebibytes(before)} MiB before, ${mebibytes(after)} MiB after`)
  t.ok(after < before + 300 * 1024 * 1024, `${mebibytes(after)} MiB resident, ${mebibytes(before)} before`)
})

/** Sends a broken stream in chunks, then ends. Does the hub let go of the connection? */
async function fuzzOnce(random: Random): Promise<boolean> {
  const packets = Array.from({ length: random.below(8) }, () => somePacket(random))
  if (random.chance(10)) packets.push(random.pick(malformedCases).bytes)
  packets.unshift(random.chance(50) ? connectPacket(4, `fuzz-${random.below(500)}`) : someConnect(random))
  let stream = random.chance(5) ? random.bytes(random.below(200)) : Buffer.concat(packets)
  for (let times = random.below(4); times > 0; times--) stream = mutate(random, stream, somePacket(random))

  const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  socket.resume()
  const closed = new Promise<boolean>(resolve => {
    const deadline = setTimeout(() => {
      socket.destroy()
      resolve(false)
    }, closesWithinMs)
    socket.on('close', () => {
      clearTimeout(deadline)
      resolve(true)
    })
  })
  const most = random.pick([2, 50, 2_000, 20_000])
  for (let at = 0; at < stream.length && !socket.destroyed; ) {
    const size = 1 + random.below(Math.max(most, stream.length >> 4))
    const chunk = stream.subarray(at, at + size)
    await new Promise<void>(resolve => void socket.write(chunk, () => resolve()))
    at += size
  }
  // Some leave without a word, and have their will published.
  if (random.chance(20)) socket.resetAndDestroy()
  else socket.end()
  return closed
}

async function residentBytes(): Promise<number> {
  const metrics = await (await fetch(`${hub.httpUrl}/metrics`)).text()
  return Number(/^\w*process_resident_memory_bytes (\S+)$/m.exec(metrics)?.[1])
}

const mebibytes = (bytes: number) => Math.round(bytes / 1024 / 1024)
