import { connect as connectTcp, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Message } from '../../src/model.js'
import { consume, type QueueReader } from '../../src/queue/queue.js'
import { Scrutiny, Suspects } from '../../src/queue/suspects.js'
import type { RabbitMq } from '../../src/rabbitmq/rabbitmq.js'
import { message, take } from '../contract/queue.js'
import { eventually } from '../harness.js'
import { startRabbit } from '../services/rabbitmq.js'
import { tempDir } from '../services/service.js'
import { channelOf, client, wipe } from './client.js'

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const sequences = (messages: readonly Pick<Message, 'sequence'>[]) => messages.map(({ sequence }) => sequence)
const firstOccurrences = (all: readonly number[]) => [...new Set(all)]

/** Takes from a queue of another consumer all that is in it, and deletes it. */
async function everythingIn(channel: Awaited<ReturnType<typeof channelOf>>, queue: string) {
  const held: { sequence: number; clientId: string }[] = []
  for (let got = await channel.get(queue, { noAck: true }); got; got = await channel.get(queue, { noAck: true })) {
    const { headers = {} } = got.properties
    held.push({ sequence: Number(headers.sequence), clientId: String(headers['client-id']) })
  }
  await channel.deleteQueue(queue)
  return held
}

/** Publishes until it works, all of it again each time, as the consumer loop does. */
async function publishFor(queue: RabbitMq, messages: readonly Message[]): Promise<void> {
  await eventually(() => queue.publish(messages).then(() => true), 'published')
}

/** Takes and settles until the last of them has come; resolves with everything that came. */
async function takeUntil(
  reader: QueueReader,
  last: number | (() => number | undefined),
  taken: number[] = [],
): Promise<number[]> {
  const end = typeof last === 'number' ? () => last : last
  for (let seen = taken.length; !taken.slice(seen).includes(end() ?? -1); ) {
    seen = taken.length
    const delivery = await reader.next(500, AbortSignal.timeout(60_000)).catch(() => sleep(100))
    if (!delivery) continue
    taken.push(...sequences(delivery.messages))
    delivery.settle()
  }
  return taken
}

/** A TCP proxy before RabbitMQ which can stop forwarding while it keeps its connections. */
async function startProxy(t: Test) {
  const target = new URL(rabbit.url)
  const sockets = new Set<Socket>()
  let frozen = false
  const server = createServer(near => {
    const far = connectTcp(Number(target.port), '127.0.0.1')
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('error', () => {})
      from.on('data', chunk => {
        if (!frozen) to.write(chunk)
      })
      from.on('close', () => {
        if (!frozen) to.destroy()
      })
    }
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  const url = new URL(rabbit.url)
  url.port = String(typeof address === 'object' && address?.port)
  url.searchParams.set('heartbeat', '1')
  return {
    url: url.href,
    freeze: () => {
      frozen = true
    },
    thaw: () => {
      frozen = false
    },
  }
}

for (const envelope of ['message', 'batch'] as const) {
  t.test(`SIGKILL in the middle of a stream of publishes: all come, in order (${envelope})`, async t => {
    await wipe(rabbit.url)
    const hub = client(rabbit.url, { envelope })
    await hub.publish([message(1)])
    const queue = 'test.others'
    const setup = await channelOf(t, rabbit.url)
    await setup.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
    await setup.bindQueue(queue, 'telehub.telemetry', '#')
    // RabbitMQ writes down that a quorum queue exists only seconds later; killed before that, it has lost the queue.
    await sleep(8_000)
    let published = 1
    let last: number | undefined
    let failures = 0
    const reading = takeUntil(hub.reader('record'), () => last)
    let restarted = false
    const publishing = (async () => {
      for (let more = 5; more > 0; more -= restarted ? 1 : 0) {
        const window = numbers(published + 1, published + 500).map(n => message(n, { clientId: `client-${n % 7}` }))
        while (
          !(await hub.publish(window).then(
            () => true,
            () => false,
          ))
        ) {
          failures++
          await sleep(100)
        }
        published += 500
      }
    })()
    await eventually(() => published > 3_000, 'it streams')
    await rabbit.kill()
    await rabbit.restart()
    restarted = true
    await publishing
    t.ok(failures > 0, 'a window was under way')
    last = published + 1
    await publishFor(hub, [message(last)])
    t.same(firstOccurrences(await reading), numbers(1, last))
    await hub.stop()
    const held = await everythingIn(await channelOf(t, rabbit.url), queue)
    const expected = envelope === 'batch' ? [] : numbers(2, last)
    t.same(
      [...new Set(held.map(({ sequence }) => sequence))].sort((a, b) => a - b),
      expected,
      'others miss nothing',
    )
    for (const clientId of new Set(held.map(one => one.clientId))) {
      const order = firstOccurrences(sequences(held.filter(one => one.clientId === clientId)))
      t.same(
        order,
        [...order].sort((a, b) => a - b),
        `and get the messages of ${clientId} in order`,
      )
    }
  })
}

t.test('two consumers: one works, and when it ends the other goes on, in order and without a gap', async t => {
  await wipe(rabbit.url)
  const [first, second] = [client(rabbit.url, { prefetch: 50 }), client(rabbit.url, { prefetch: 50 })]
  // A call makes an AMQP message, and an AMQP message comes again until all of it is settled.
  for (let n = 1; n < 1_000; n += 100) await first.publish(numbers(n, n + 99).map(n => message(n)))
  const taken = sequences(await take(first.reader('record'), 300))
  const abort = new AbortController()
  const waiting = second.reader('record')
  const idle = waiting.next(10, abort.signal)
  t.equal(await Promise.race([idle, sleep(500, 'nothing')]), 'nothing', 'the second gets nothing')
  // It ends with some in hand.
  await first.stop()
  const delivery = await idle
  taken.push(...sequences(delivery?.messages ?? []))
  delivery?.settle()
  await takeUntil(waiting, 1_000, taken)
  t.same(firstOccurrences(taken), numbers(1, 1_000))
  t.same(taken, firstOccurrences(taken), 'what was settled does not come again')
  await second.stop()
})

interface Life {
  readonly envelope: 'message' | 'batch'
  readonly isPoison: (sequence: number) => boolean
  readonly handled: number[]
  /** Where this machine keeps what it handles. */
  readonly dir: string
  /** Sizes of what is handed over. */
  readonly sizes?: number[]
  /** The store does not answer, and the process is killed while it waits. */
  readonly isHanging?: boolean
}

/**
 * One life of a process that consumes `telehub.record`: until a message ends it, with all that was in hand, or until the
 * queue is empty. A message that ends the process is met in the middle of a batch, whose begin was stored by then.
 */
async function live({
  envelope,
  isPoison,
  handled,
  dir,
  sizes = [],
  isHanging = false,
}: Life): Promise<'died' | 'done'> {
  const hub = client(rabbit.url, { envelope, prefetch: 10_000 })
  const end = new AbortController()
  const scrutiny = new Scrutiny(dir)
  const blamed = () => {}
  const log = { warn: (sentence: string) => t.fail(sentence) }
  const suspects = new Suspects({ name: 'record', scrutiny, batch: 5_000, reason: 'poison', blamed, log })
  suspects.start()
  let result: 'died' | 'done' = 'done'
  const idle = setTimeout(() => end.abort(), 3_000)
  await consume(
    {
      name: 'record',
      reader: hub.reader('record'),
      suspects,
      dead: hub,
      batch: 5_000,
      clock: { now: () => 1 },
      circuitOf: () => undefined,
      retrying: () => {},
      recovered: () => {},
      handle: async messages => {
        idle.refresh()
        sizes.push(messages.length)
        const at = messages.findIndex(({ sequence }) => isPoison(sequence))
        handled.push(...sequences(at < 0 ? messages : messages.slice(0, at)))
        if (at < 0 && !isHanging) return undefined
        result = 'died'
        end.abort()
        // Its record stays as it is now.
        suspects.stop()
        return new Promise(() => {})
      },
    },
    end.signal,
  )
  clearTimeout(idle)
  await hub.stop()
  return result
}

/** Lives one life after the other until all is handled; resolves with the number of deaths. */
async function liveOn(lives: readonly Life[]): Promise<number> {
  for (let deaths = 0; ; deaths++) {
    if ((await live(lives[deaths % lives.length] as Life)) === 'done') return deaths
  }
}

for (const [envelope, count] of [
  ['message', 3],
  ['batch', 2],
] as const) {
  t.test(`${count} of 200 messages end the process: they alone are set aside (${envelope})`, async t => {
    await wipe(rabbit.url)
    const hub = client(rabbit.url, { envelope })
    await hub.publish(numbers(1, 200).map(n => message(n)))
    // Spread, with neighbours and the last one among them.
    const poison = new Set(
      numbers(1, count).map(
        n => (n % 5 === 2 ? Math.floor(((n - 1) * 200) / count) + 1 : 0) || Math.floor((n * 200) / count),
      ),
    )
    t.equal(poison.size, count)
    const handled: number[] = []
    const deaths = await liveOn([{ envelope, isPoison: n => poison.has(n), handled, dir: t.testdir() }])
    const letters = await hub.list({}, 1_000)
    t.same(new Set(sequences(letters.map(one => one.message))), poison, `after ${deaths} deaths`)
    t.ok(letters.every(({ reason }) => reason === 'poison'))
    t.same(
      firstOccurrences(handled),
      numbers(1, 200).filter(n => !poison.has(n)),
      'everything else is handled, in order',
    )
    await hub.stop()
  })
}

for (const isSameMachine of [true, false]) {
  const where = isSameMachine ? 'on the same machine' : 'each on another machine'
  t.test(`killed four times while the store hangs and 6,000 messages wait, ${where}: then many at a time`, async t => {
    await wipe(rabbit.url)
    const hub = client(rabbit.url)
    await hub.publish(numbers(1, 6_000).map(n => message(n)))
    const handled: number[] = []
    const dirs = await Promise.all(numbers(1, 5).map(() => tempDir()))
    const life = { envelope: 'message', isPoison: () => false } as const
    for (const n of numbers(0, 3)) {
      const dir = dirs[isSameMachine ? 0 : n] as string
      t.equal(await live({ ...life, dir, isHanging: true, handled: [] }), 'died')
    }
    const sizes: number[] = []
    t.equal(await live({ ...life, dir: dirs[isSameMachine ? 0 : 4] as string, handled, sizes }), 'done')
    t.same(handled, numbers(1, 6_000), 'once, in order')
    // How many come at once depends on the machine; after the kills they came one by one.
    t.ok(sizes.length < 3_000, `${sizes.length} deliveries`)
    t.same(await hub.list({}, 10), [])
    await hub.stop()
  })
}

t.test('a message that ends the process on one machine and on the next', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  await hub.publish(numbers(1, 200).map(n => message(n)))
  const handled: number[] = []
  const [one, other] = [await tempDir(), await tempDir()]
  const life = { envelope: 'message', isPoison: (n: number) => n === 77, handled } as const
  await liveOn([
    { ...life, dir: one },
    { ...life, dir: other },
  ])
  t.same(sequences((await hub.list({}, 10)).map(letter => letter.message)), [77])
  t.same(
    firstOccurrences(handled),
    numbers(1, 200).filter(n => n !== 77),
  )
  await hub.stop()
})

t.test('no memory left: publish waits and the state says so; when there is again, it goes on', async t => {
  await wipe(rabbit.url)
  const states: string[] = []
  const hub = client(rabbit.url, { state: (up, detail) => states.push(up ? 'up' : `down: ${detail}`) })
  await hub.publish([message(1)])
  const reader = hub.reader('record')
  await rabbit.ctl('set_vm_memory_high_watermark', '0.0000001')
  let done = false
  const publishing = hub.publish([message(2)]).then(() => {
    done = true
  })
  await eventually(() => states.some(state => /down: RabbitMQ blocks publishing: .*memory/.test(state)), 'told')
  t.equal((await take(reader, 1))[0]?.sequence, 1, 'consumers go on')
  t.match(states.at(-1), /^down/, 'and do not say that all is well')
  t.notOk(done)
  await rabbit.ctl('set_vm_memory_high_watermark', '0.4')
  await publishing
  t.equal(states.at(-1), 'up')
  t.equal((await take(reader, 1))[0]?.sequence, 2)

  await rabbit.ctl('set_vm_memory_high_watermark', '0.0000001')
  const lost = t.rejects(hub.publish([message(3)]), { code: 'queue_unavailable' })
  await eventually(() => /^down/.test(states.at(-1) ?? ''), 'told again')
  await rabbit.ctl('close_all_connections', 'test')
  await lost
  await rabbit.ctl('set_vm_memory_high_watermark', '0.4')
  await publishFor(hub, [message(3)])
  t.equal(states.at(-1), 'up')
  await hub.stop()
})

t.test('a server that is silent is noticed: publishing and consuming', async t => {
  await wipe(rabbit.url)
  const proxy = await startProxy(t)
  const states: string[] = []
  const hub = client(proxy.url, { state: (up, detail) => states.push(up ? 'up' : `down: ${detail}`) })
  const reader = hub.reader('record')
  await hub.publish([message(1)])
  t.equal((await take(reader, 1))[0]?.sequence, 1)
  const waiting = reader.next(1, AbortSignal.timeout(60_000))
  proxy.freeze()
  await t.rejects(hub.publish([message(2)]), { code: 'queue_unavailable' })
  await t.rejects(waiting, { code: 'queue_unavailable' }, 'the consumer tries a new connection, and that is silent too')
  t.match(states.at(-1), /^down/)
  proxy.thaw()
  await publishFor(hub, [message(2)])
  // What was settled just before may not have reached RabbitMQ.
  t.same(firstOccurrences([1, ...(await takeUntil(reader, 2))]), [1, 2])
  proxy.freeze()
  await hub.stop()
  t.pass('stopping does not wait for it either')
})

t.test('what RabbitMQ refuses is not taken for published', async t => {
  await wipe(rabbit.url)
  for (const envelope of ['message', 'batch'] as const) {
    const hub = client(rabbit.url, { envelope })
    await hub.publish([])
    const full = JSON.stringify({ 'max-length': 0, overflow: 'reject-publish' })
    await rabbit.ctl('set_policy', 'full', '^telehub.record$', full, '--apply-to', 'queues')
    await eventually(
      () =>
        hub.publish([message(1)]).then(
          () => false,
          ({ code, message }) => code === 'queue_unavailable' && /nacked/.test(message),
        ),
      'refused',
    )
    await rabbit.ctl('clear_policy', 'full')
    await publishFor(hub, [message(1)])
    t.equal((await take(hub.reader('record'), 1))[0]?.sequence, 1)
    await hub.stop()
  }
})

t.test('something of the same name with other arguments is a clear error, and no connection stays behind', async t => {
  await wipe(rabbit.url)
  const channel = await channelOf(t, rabbit.url)
  await channel.assertQueue('telehub.record', { durable: true })
  const connections = async () => (await rabbit.ctl('list_connections', '-q', 'pid')).split('\n').length
  const before = await connections()
  const hub = client(rabbit.url)
  for (let i = 0; i < 20; i++) {
    await t.rejects(hub.publish([message(1)]), {
      code: 'queue_clash',
      message:
        /queue telehub\.record that was declared with other arguments.*rabbitmqctl delete_queue telehub\.record/s,
    })
  }
  await eventually(async () => (await connections()) === before, 'the connections are gone')
  await channel.deleteQueue('telehub.record')
  await hub.publish([message(1)])
  await channel.deleteExchange('telehub.batches')
  await channel.assertExchange('telehub.batches', 'fanout', { durable: true })
  const other = client(rabbit.url)
  await t.rejects(other.publish([]), { code: 'queue_clash', message: /exchange telehub\.batches.*direct/s })
  await Promise.all([hub.stop(), other.stop()])
})

t.test('more in hand than there may be goes back, and comes again in smaller portions', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  const sent = numbers(1, 30).map(n => message(n, { payload: Buffer.alloc(4_000_000, n) }))
  for (const one of sent) await hub.publish([one])
  await hub.publish(numbers(31, 600).map(n => message(n)))
  const reader = hub.reader('record')
  // Nothing is settled while all of it could arrive.
  const first = await reader.next(1, AbortSignal.timeout(20_000))
  t.same(sequences(first?.messages ?? []), [1])
  const channel = await channelOf(t, rabbit.url)
  await eventually(async () => {
    const [line = ''] = (await rabbit.ctl('list_queues', '-q', 'name', 'messages_unacknowledged'))
      .split('\n')
      .filter(row => row.startsWith('telehub.record'))
    return Number(line.split('\t')[1]) < 17
  }, 'RabbitMQ has most of it back')
  await channel.close()
  first?.settle()
  const taken: number[] = []
  await takeUntil(reader, 600, taken)
  t.same(firstOccurrences([1, ...taken]), numbers(1, 600), 'all, in order')
  for (let from = 601; from <= 3_000; from += 100) {
    await hub.publish(numbers(from, from + 99).map(n => message(n)))
    await takeUntil(reader, from + 99, taken)
  }
  t.same(firstOccurrences([1, ...taken]), numbers(1, 3_000), 'also when it takes many at a time again')
  await hub.stop()
})
