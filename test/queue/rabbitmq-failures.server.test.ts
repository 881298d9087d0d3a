import { connect as connectTcp, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Message } from '../../src/model.js'
import type { QueueReader } from '../../src/queue/queue.js'
import type { RabbitMq } from '../../src/queue/rabbitmq.js'
import { message, take } from '../contract/queue.js'
import { eventually } from '../harness.js'
import { startRabbit } from '../services/rabbitmq.js'
import { channelOf, client, wipe } from './rabbitmq-client.js'

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const sequences = (messages: readonly Message[]) => messages.map(({ sequence }) => sequence)
const firstOccurrences = (all: readonly number[]) => [...new Set(all)]

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
    // RabbitMQ writes down that a quorum queue exists only seconds later; killed before that, it has lost the queue.
    await sleep(8_000)
    let published = 1
    let last: number | undefined
    let failures = 0
    const reading = takeUntil(hub.reader('record'), () => last)
    let restarted = false
    const publishing = (async () => {
      for (let more = 5; more > 0; more -= restarted ? 1 : 0) {
        const window = numbers(published + 1, published + 500).map(n => message(n))
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
  })
}

t.test('two consumers: one works, and when it ends the other goes on, in order and without a gap', async t => {
  await wipe(rabbit.url)
  const [first, second] = [client(rabbit.url, { prefetch: 50 }), client(rabbit.url, { prefetch: 50 })]
  await first.publish(numbers(1, 1_000).map(n => message(n)))
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

/** Handles messages until one of them is poison: then this "process" ends, with all that it had in hand. */
async function untilItDies(
  envelope: 'message' | 'batch',
  poison: number,
  handled: number[],
  given: Map<number, string>,
) {
  const hub = client(rabbit.url, { envelope })
  const reader = hub.reader('record')
  try {
    for (;;) {
      const delivery = await reader.next(10, AbortSignal.timeout(3_000))
      if (!delivery) return false
      for (const [i, { sequence }] of delivery.messages.entries()) {
        const rejection = delivery.given?.get(i)
        if (rejection) given.set(sequence, rejection.reason)
        else if (sequence === poison) return true
        else handled.push(sequence)
      }
      delivery.settle()
    }
  } finally {
    await hub.stop()
  }
}

for (const envelope of ['message', 'batch'] as const) {
  t.test(`a message that ends the process is given up and takes nobody with it (${envelope})`, async t => {
    await wipe(rabbit.url)
    const hub = client(rabbit.url, { envelope })
    for (let from = 1; from <= 41; from += 10) await hub.publish(numbers(from, from + 9).map(n => message(n)))
    await hub.stop()
    const handled: number[] = []
    const given = new Map<number, string>()
    let deaths = 0
    while (deaths < 20 && (await untilItDies(envelope, 15, handled, given))) deaths++
    t.ok(deaths >= 3 && deaths <= 11, `${deaths} deaths`)
    // A batch is given up as one; what came before the poison was handled all the same.
    t.same([...given.keys()], envelope === 'message' ? [15] : numbers(11, 20))
    t.ok([...given.values()].every(reason => reason === 'delivery_limit'))
    t.same(
      firstOccurrences(handled).filter(n => n < 15),
      numbers(1, 14),
    )
    t.same(new Set([...handled, ...given.keys()]), new Set(numbers(1, 50)), 'everything else is handled')
    t.same(
      firstOccurrences(handled),
      firstOccurrences(handled).sort((a, b) => a - b),
      'in order',
    )
  })
}

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
  await eventually(() => states.some(state => /down: RabbitMQ takes nothing more: .*memory/.test(state)), 'told')
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
      message: /queue telehub\.record that was declared in another way.*rabbitmqctl delete_queue telehub\.record/s,
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
