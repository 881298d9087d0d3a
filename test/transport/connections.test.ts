import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer, type Server } from 'node:net'
import { type Duplex, PassThrough } from 'node:stream'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { packetType } from '../../src/mqtt/primitives.js'
import { Counters } from '../../src/observe/counters.js'
import { Work } from '../../src/runtime/work.js'
import type { Connection, PacketHandler } from '../../src/transport/connection.js'
import { Connections, type ConnectionsOptions } from '../../src/transport/connections.js'
import { quietLog } from '../fixtures/quiet.js'
import { eventually } from '../harness.js'

const pem = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../../test/fixtures/tls/${name}`, import.meta.url)))

const limits: ConnectionsOptions['limits'] = {
  connections: 100,
  perAddress: 100,
  helloMemory: 1e6,
  helloBytes: 1_000,
  packetBytes: 100_000,
  inflight: 1_000,
  inflightBytes: 1e6,
  messages: 0,
  bytes: 0,
  outboxBytes: 1e6,
  connectMs: 60_000,
  stuckMs: 60_000,
  keepAliveMs: 0,
}

/** Counts what comes in, opens at the first packet unless it is to hang, and lets every publish wait for `release`. */
class Counter implements PacketHandler {
  readonly connection: Connection
  readonly seen: number[] = []
  readonly waiting: number[] = []
  mostWaiting = 0
  mostBytes = 0
  isClosed = false
  hasConnected = false
  readonly #hangs: boolean

  constructor(connection: Connection, hangs: boolean) {
    this.connection = connection
    this.#hangs = hangs
  }

  packet({ header, buffer, start, end }: Parameters<PacketHandler['packet']>[0]): void {
    if (header >> 4 === packetType.connect) {
      this.hasConnected = true
      this.connection.connecting()
      if (!this.#hangs) setImmediate(() => this.connection.open(0))
      return
    }
    this.seen.push(buffer.readUInt32BE(start))
    this.waiting.push(end - start)
    this.connection.begin(end - start)
    this.mostWaiting = Math.max(this.mostWaiting, this.waiting.length)
    this.mostBytes = Math.max(
      this.mostBytes,
      this.waiting.reduce((sum, bytes) => sum + bytes, 0),
    )
  }

  release(): void {
    for (const bytes of this.waiting.splice(0)) this.connection.done(bytes)
  }

  writable(): void {}

  disconnectPacket(): undefined {}

  tooLarge(): boolean {
    return false
  }

  closed(): void {
    this.isClosed = true
  }
}

interface Setup {
  readonly pool: Connections
  /** Reasons of what was refused, grouped. */
  refused(): string[]
  readonly counters: Counter[]
  client(): Promise<Duplex>
}

async function serve(
  t: Test,
  more: Partial<ConnectionsOptions['limits']> = {},
  { tls = false, hangs = false, overloaded = (): boolean => false, work = new Work() } = {},
): Promise<Setup> {
  const counters: Counter[] = []
  const counts = new Counters()
  const pool = new Connections({
    work,
    limits: { ...limits, ...more },
    server: {
      protocol: connection => {
        const counter = new Counter(connection, hangs)
        counters.push(counter)
        return counter
      },
      drained: async () => {},
    },
    gate: { admits: () => true },
    backpressure: [
      {
        get overloaded() {
          return overloaded()
        },
        relieves: () => {},
      },
    ],
    counters: counts,
    log: quietLog,
  })
  pool.start()
  const accept = (stream: Duplex) =>
    pool.accept(stream, { address: '127.0.0.1', listener: tls ? 'mqtts' : 'mqtt', certificate: [] })
  const server: Server = tls
    ? createTlsServer({ cert: pem('server.pem'), key: pem('server.key') }, accept)
    : createTcpServer(accept)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const clients: Duplex[] = []
  t.teardown(async () => {
    for (const client of clients) client.destroy()
    await pool.stop()
    server.close()
  })
  return {
    pool,
    refused: () => [...counts.refused].flatMap(([reason, times]) => Array<string>(times).fill(reason)),
    counters,
    client: async () => {
      const client = tls
        ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
        : connectTcp({ port, host: '127.0.0.1' })
      clients.push(client)
      client.on('error', () => {})
      await once(client, tls ? 'secureConnect' : 'connect')
      return client
    },
  }
}

const hello = Buffer.from([0x10, 1, 0])

/** A packet whose body begins with its number. */
function numbered(n: number, bytes = 8): Buffer {
  const packet = Buffer.alloc(2 + bytes)
  packet[0] = 0x30
  packet[1] = bytes
  packet.writeUInt32BE(n, 2)
  return packet
}

/** Lets the event loop go round so many times. */
async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await new Promise(resolve => setImmediate(resolve))
}

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

t.test('limits.address is for all addresses of one IPv6 /64 together', async t => {
  const { pool, refused } = await serve(t, { perAddress: 2 })
  const come = (address: string) => {
    const stream = new PassThrough()
    t.teardown(() => stream.destroy())
    pool.accept(stream, { address, listener: 'mqtt', certificate: [] })
    return stream
  }
  const first = come('2001:db8:0:1::1')
  come('2001:db8:0:1::2')
  come('2001:db8:0:1:ffff::3')
  t.same(refused(), ['gave_way'], 'the one that has waited longest')
  t.ok(first.destroyed)
  come('2001:db8:0:2::1')
  come('2001:db8:0:2::2')
  t.equal(pool.count, 4)
})

t.test('limits.helloMemory: of those that are not connected, one that has sent much gives way', async t => {
  const { pool, refused } = await serve(t, { helloBytes: 60_000, helloMemory: 100_000 })
  const come = () => {
    const stream = new PassThrough()
    t.teardown(() => stream.destroy())
    pool.accept(stream, { address: '127.0.0.1', listener: 'mqtt', certificate: [] })
    return stream
  }
  const connectOf = (bytes: number) => Buffer.concat([Buffer.from([0x10, 0xe0, 0xd4, 0x03]), Buffer.alloc(bytes - 4)])
  const honest = come()
  honest.write(connectOf(100))
  const [first, second, third] = [come(), come(), come()]
  for (const one of [first, second]) one.write(connectOf(45_000))
  await eventually(() => first.listenerCount('data') > 0, 'all are there')
  t.same(refused(), [])
  third.write(connectOf(45_000))
  await eventually(() => refused().length === 1, 'one gives way')
  t.same(refused(), ['gave_way'])
  t.ok(first.destroyed)
  t.notOk(honest.destroyed || second.destroyed || third.destroyed)
})

t.test(
  'clients that come at once are connected some at a time, and a connected one does not wait behind them',
  async t => {
    const { pool, counters } = await serve(t, { connections: 1_000, perAddress: 1_000 })
    const come = () => {
      const stream = new PassThrough()
      t.teardown(() => stream.destroy())
      pool.accept(stream, { address: '127.0.0.1', listener: 'mqtt', certificate: [] })
      return stream
    }
    const connected = come()
    connected.write(hello)
    await eventually(() => counters[0]?.hasConnected, 'one is connected')
    await turns(5)
    for (let n = 0; n < 200; n++) come().write(hello)
    connected.write(numbered(1))
    const handled = () => counters.filter(({ hasConnected }) => hasConnected).length - 1
    let most = 0
    let whenRead = -1
    for (let before = 0; handled() < 200; ) {
      await turns(1)
      most = Math.max(most, handled() - before)
      before = handled()
      if (whenRead < 0 && counters[0]?.seen.length === 1) whenRead = before
    }
    t.ok(most <= 16, `${most} CONNECTs between two looks`)
    t.ok(whenRead >= 0 && whenRead < 50, `the publish was read after ${whenRead} of 200 CONNECTs`)
  },
)

t.test('while connections come, turns are short, and CONNECTs few', async t => {
  const work = new Work()
  const { pool, counters } = await serve(t, { connections: 1_000, perAddress: 1_000 }, { work })
  const usual = work.slice
  for (let n = 0; n < 40; n++) {
    const stream = new PassThrough()
    t.teardown(() => stream.destroy())
    pool.accept(stream, { address: '127.0.0.1', listener: 'mqtt', certificate: [] })
    stream.write(hello)
    t.ok(work.isHurried && work.slice < usual, 'the event loop is to come round soon: it accepts one in a turn')
    await turns(1)
  }
  const early = counters.filter(({ hasConnected }) => hasConnected).length
  t.ok(early >= 1 && early <= 20, `${early} of 40 connected while more came`)
  await eventually(() => counters.every(({ hasConnected }) => hasConnected), 'then all are')
  await turns(3)
  t.equal(work.isHurried, false)
})

t.test('limits.connect covers an authentication that hangs, with three times as long', async t => {
  const { client, counters, refused } = await serve(t, { connectMs: 300 }, { hangs: true })
  const hanging = await client()
  const closed = once(hanging, 'close')
  hanging.resume().write(Buffer.concat([hello, numbered(1)]))
  await closed
  t.same(refused(), ['connect_timeout'])
  t.same(counters[0]?.seen, [], 'what came behind CONNECT was not read')
  t.equal(counters[0]?.isClosed, true)
})

for (const tls of [false, true]) {
  t.test(`${tls ? 'TLS' : 'TCP'}: so many publishes in flight, or so many bytes of them, and all in order`, async t => {
    for (const more of [{ inflight: 10 }, { inflightBytes: 80 }]) {
      const { client, counters } = await serve(t, more, { tls })
      const sender = await client()
      sender.write(hello)
      for (const n of numbers(5_000)) sender.write(numbered(n))
      const pump = setInterval(() => counters[0]?.release(), 1)
      await eventually(() => counters[0]?.seen.length === 5_000, 'all are read')
      clearInterval(pump)
      t.same(counters[0]?.seen, numbers(5_000))
      t.ok((counters[0]?.mostWaiting ?? 99) <= 10, `${counters[0]?.mostWaiting} in flight`)
      t.ok((counters[0]?.mostBytes ?? 99) <= 80, `${counters[0]?.mostBytes} bytes of them`)
    }
  })

  t.test(`${tls ? 'TLS' : 'TCP'}: past the budget nobody is read, afterwards everybody is`, async t => {
    let overloaded = false
    const { client, counters, pool } = await serve(t, {}, { tls, overloaded: () => overloaded })
    const senders = await Promise.all(numbers(5).map(client))
    for (const sender of senders) sender.write(hello)
    await eventually(() => counters.length === 5, 'five connections')
    const first = senders[0] as Duplex
    first.write(numbered(0))
    await eventually(() => counters.some(({ seen }) => seen.length === 1), 'one is read')
    overloaded = true
    for (const sender of senders) for (const n of numbers(2_000)) sender.write(numbered(n, 100))
    // A turn of everything, and then some.
    await new Promise(resolve => setTimeout(resolve, 200))
    t.equal(
      counters.reduce((sum, { seen }) => sum + seen.length, 0),
      1,
    )
    overloaded = false
    pool.onRelieved()
    await eventually(() => {
      for (const counter of counters) counter.release()
      return counters.every(({ seen }) => seen.length >= 2_000)
    }, 'all are read')
    for (const { seen } of counters) t.same(seen.slice(-2_000), numbers(2_000))
  })

  t.test(
    `${tls ? 'TLS' : 'TCP'}: who takes nothing is cut off, and holds no more than its outbox until then`,
    async t => {
      const { client, counters, refused } = await serve(t, { stuckMs: 1_000, outboxBytes: 100_000 }, { tls })
      const frozen = await client()
      frozen.pause().write(hello)
      const [counter] = await eventually(() => counters.length === 1 && counters, 'it is there')
      const connection = (counter as Counter).connection
      let full = 0
      await eventually(() => {
        for (let i = 0; i < 1_000; i++) {
          if (connection.isFull) full++
          else connection.publish([Buffer.alloc(1_000)])
        }
        return (counter as Counter).isClosed
      }, 'it is cut off')
      t.ok(full > 1_000, `${full} times its outbox was full`)
      t.same(refused(), ['slow_consumer'])
    },
  )
}
