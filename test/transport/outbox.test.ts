import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { packetType } from '../../src/mqtt/primitives.js'
import { Counters } from '../../src/observe/counters.js'
import { Networks } from '../../src/runtime/addresses.js'
import { Work } from '../../src/runtime/work.js'
import type { PacketHandler } from '../../src/transport/connection.js'
import { Connections } from '../../src/transport/connections.js'
import { Outbox } from '../../src/transport/outbox.js'
import type { Transport } from '../../src/transport/pool.js'
import { WebSockets } from '../../src/transport/websocket.js'
import { eventually } from '../harness.js'

/* The outbox against a model: whatever is written, in whatever sizes and with whatever stalls, the client reads exactly
 * the packets that were sent: publishes in their order, acknowledgements in theirs, and nothing within a packet.
 * OUTBOX_SEED and OUTBOX_STEPS repeat and prolong a run. */

const seed = Number(process.env.OUTBOX_SEED ?? Math.floor(Math.random() * 2 ** 31))
const steps = Number(process.env.OUTBOX_STEPS ?? 1_500)

/** Mulberry32: numbers from 0 to 1, the same for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A PUBLISH with a payload of `size` bytes that hold its number and nothing that looks like a packet of another. */
function publishOf(number: number, size: number): Buffer[] {
  const payload = Buffer.alloc(Math.max(4, size), number & 0xff)
  payload.writeUInt32BE(number)
  const length = 3 + payload.length
  const header = [0x30]
  for (let rest = length; ; rest >>= 7) {
    header.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
    if (rest <= 0x7f) break
  }
  return [Buffer.from([...header, 0, 1, 0x74]), payload]
}

/** Cuts a byte stream into MQTT packets, and throws at what is none that this test sends. */
class Parser {
  readonly publishes: number[] = []
  readonly acks: number[] = []
  #rest: Buffer = Buffer.alloc(0)

  push(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    for (;;) {
      let length = 0
      let at = 1
      for (let shift = 0; ; shift += 7) {
        const byte = this.#rest[at++]
        if (byte === undefined) return
        length |= (byte & 0x7f) << shift
        if (byte < 0x80) break
      }
      if (this.#rest.length < at + length) return
      this.#take(this.#rest.subarray(0, at), this.#rest.subarray(at, at + length))
      this.#rest = this.#rest.subarray(at + length)
    }
  }

  get isBetweenPackets(): boolean {
    return this.#rest.length === 0
  }

  #take(header: Buffer, body: Buffer): void {
    if (header[0] === 0x40 && body.length === 2) this.acks.push(body.readUInt16BE())
    else if (header[0] === 0x30 && body.readUInt16BE() === 1) {
      const number = body.readUInt32BE(3)
      for (let i = 7; i < body.length; i++) {
        if (body[i] !== (number & 0xff)) throw new Error(`publish ${number}: byte ${i} is ${body[i]}`)
      }
      this.publishes.push(number)
    } else throw new Error(`a packet that was never sent: ${header.toString('hex')}, ${body.length} bytes`)
  }
}

function sizeOf(random: () => number): number {
  const kind = random()
  if (kind < 0.5) return Math.floor(random() * 200)
  if (kind < 0.8) return Math.floor(random() * 9_000)
  if (kind < 0.9) return 65_536 - 40 + Math.floor(random() * 80)
  return Math.floor(random() * 300_000)
}

t.test(`the outbox alone, seed ${seed}`, async t => {
  const random = randomOf(seed)
  const outbox = new Outbox()
  const parser = new Parser()
  const publishes: number[] = []
  const acks: number[] = []
  let largest = 0
  const take = () => {
    const piece = outbox.next()
    largest = Math.max(largest, piece.length)
    parser.push(piece)
    if (outbox.isWithinPacket === parser.isBetweenPackets) throw new Error('the outbox is wrong about where it is')
  }
  for (let step = 0; step < 20 * steps; step++) {
    const kind = random()
    if (kind < 0.3) {
      const [header, payload] = publishOf(step, sizeOf(random)) as [Buffer, Buffer]
      outbox.push(random() < 0.5 ? [header, payload] : Buffer.concat([header, payload]))
      publishes.push(step)
    } else if (kind < 0.5) {
      outbox.pushAck(packetType.puback, step & 0xffff)
      acks.push(step & 0xffff)
    } else if (outbox.bytes > 0) take()
  }
  while (outbox.bytes > 0) take()
  t.same(parser.publishes, publishes)
  t.same(parser.acks, acks)
  t.ok(parser.isBetweenPackets)
  t.ok(largest <= 65_536, `pieces are bounded: ${largest}`)
})

t.test('an outbox that was cut off within a packet takes no other', async t => {
  const outbox = new Outbox()
  outbox.push(Buffer.alloc(100_000))
  outbox.next()
  t.ok(outbox.isWithinPacket)
  outbox.discard()
  outbox.push(Buffer.alloc(10))
  outbox.pushAck(packetType.puback, 1)
  t.equal(outbox.bytes, 0)
  t.ok(outbox.isWithinPacket)

  const whole = new Outbox()
  whole.push(Buffer.alloc(100_000))
  whole.discard()
  whole.push(Buffer.from([1, 2]))
  t.same(whole.next(), Buffer.from([1, 2]), 'between packets it goes on')
})

/** A hub's side of a connection, on a real socket, and what its client reads. */
interface Ends {
  readonly write: (packet: readonly Buffer[]) => void
  readonly ack: (packetId: number) => void
  readonly parser: Parser
  /** The client reads, or stops to. */
  readonly read: (isReading: boolean) => void
}

async function open(t: Test, kind: 'tcp' | 'ws'): Promise<Ends> {
  const parser = new Parser()
  let opened: ((ends: Ends) => void) | undefined
  const ends = new Promise<Ends>(resolve => {
    opened = resolve
  })
  let client: Socket | WebSocket
  const limits = {
    connections: 10,
    perAddress: 10,
    helloMemory: 1e6,
    helloBytes: 1_000,
    packetBytes: 1e6,
    inflight: 10,
  }
  const rates = { inflightBytes: 1e6, messages: 0, bytes: 0, outboxBytes: 1e9, connectMs: 60_000 }
  const connections = new Connections({
    work: new Work(),
    limits: { ...limits, ...rates, stuckMs: 60_000, keepAliveMs: 0 },
    server: {
      drained: async () => {},
      protocol: connection => {
        const protocol: PacketHandler = {
          packet: () => {
            connection.connecting()
            connection.open(0)
            opened?.({
              write: packet => connection.publish(packet),
              ack: packetId => connection.writeAck(packetType.puback, packetId),
              parser,
              read: isReading => (isReading ? client.resume() : client.pause()),
            })
          },
          writable: () => {},
          disconnectPacket: () => undefined,
          tooLarge: () => false,
          closed: () => {},
        }
        return protocol
      },
    },
    gate: { admits: () => true },
    backpressure: [],
    counters: new Counters(),
    log: { debug: sentence => t.fail(sentence) },
  })
  connections.start()
  const accept = (stream: Transport) =>
    connections.accept(stream, { address: '127.0.0.1', listener: kind === 'tcp' ? 'mqtt' : 'ws', certificate: [] })
  const options = {
    origins: [],
    trusted: new Networks([]),
    pingMs: 0,
    packetBytes: 1e6,
    helloBytes: 1_000,
    report: { refused: () => {} },
  }
  const webSockets = new WebSockets({ ...options, connections: { accept } })
  const server = kind === 'tcp' ? createTcpServer(accept) : createServer()
  server.on('upgrade', (request, socket, head) => webSockets.upgrade(request, socket as Socket, head))
  webSockets.start()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const failed = (error: unknown) => t.fail(String(error))
  const received = (chunk: Buffer, isMessage: boolean) => {
    const wasWithinPacket = !parser.isBetweenPackets
    try {
      parser.push(chunk)
      if (isMessage && chunk.length < 65_536 - 10 && !wasWithinPacket && !parser.isBetweenPackets)
        failed('a WebSocket message holds a part of a short packet')
    } catch (error) {
      failed(error)
      client.removeAllListeners()
    }
  }
  if (kind === 'tcp') {
    client = connect(port, '127.0.0.1')
    client.on('data', chunk => received(chunk, false))
    client.write(Buffer.from([0x10, 0]))
  } else {
    const webSocket = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, ['mqtt'])
    client = webSocket
    webSocket.on('message', (data: Buffer) => {
      const before = parser.publishes.length + parser.acks.length
      received(data, true)
      const count = parser.publishes.length + parser.acks.length - before
      if (count > 1) failed(`${count} packets in one WebSocket message`)
    })
    webSocket.on('open', () => webSocket.send(Buffer.from([0x10, 0])))
    // Pings too: their pongs are written between the parts of a long packet.
    const pings = setInterval(() => webSocket.readyState === WebSocket.OPEN && webSocket.ping(), 2)
    t.teardown(() => clearInterval(pings))
  }
  t.teardown(async () => {
    if ('terminate' in client) client.terminate()
    else client.destroy()
    await connections.stop()
    webSockets.stop()
    server.close()
  })
  return ends
}

for (const kind of ['tcp', 'ws'] as const) {
  t.test(`a connection over ${kind}, seed ${seed}`, async t => {
    const random = randomOf(seed ^ 0x5bd1e995)
    const { write, ack, parser, read } = await open(t, kind)
    const publishes: number[] = []
    const acks: number[] = []
    let isReading = true
    for (let step = 0; step < steps; step++) {
      const what = random()
      if (what < 0.35) {
        const parts = publishOf(step, sizeOf(random))
        write(random() < 0.5 ? parts : [Buffer.concat(parts)])
        publishes.push(step)
      } else if (what < 0.6) {
        ack(step & 0xffff)
        acks.push(step & 0xffff)
      } else if (what < 0.65) {
        isReading = !isReading
        read(isReading)
      } else await sleep(random() < 0.1 ? 3 : 0)
    }
    read(true)
    await eventually(
      () => parser.publishes.length === publishes.length && parser.acks.length === acks.length,
      `${publishes.length} publishes and ${acks.length} acknowledgements have come`,
    )
    t.same(parser.publishes, publishes)
    t.same(parser.acks, acks)
  })
}
