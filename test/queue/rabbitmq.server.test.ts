import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { decodeBatch } from '../../src/queue/codec.js'
import { message, type QueueUnderTest, queueContract, take } from '../contract/queue.js'
import { eventually } from '../harness.js'
import { startRabbit } from '../services/rabbitmq.js'
import { channelOf, client, exchanges, hubId, wipe } from './rabbitmq-client.js'

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())

function openQueue(envelope: 'message' | 'batch'): QueueUnderTest {
  const queue = client(rabbit.url, { envelope })
  return {
    queue,
    group: 'record',
    close: () => queue.stop(),
    reopen: async () => {
      await queue.stop()
      return openQueue(envelope)
    },
  }
}

for (const envelope of ['message', 'batch'] as const) {
  t.test(`RabbitMQ as a queue, envelope ${envelope}`, async t => {
    queueContract(t, async () => {
      await wipe(rabbit.url)
      const opened = openQueue(envelope)
      // Connects, and so declares exchanges and queues.
      await opened.queue.publish([])
      return opened
    })
  })
}

t.test('the topology is the documented one, durable, and another consumer gets what the README says', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  await hub.put([])
  await hub.publish([])
  const channel = await channelOf(t, rabbit.url)
  // Asserting with other arguments would be refused.
  for (const [exchange, type] of Object.entries(exchanges)) {
    await channel.assertExchange(exchange, type, { durable: true })
  }
  const quorum = { 'x-queue-type': 'quorum', 'x-delivery-limit': 100, 'x-dead-letter-exchange': 'telehub.dead' }
  const declared = {
    'telehub.record': { ...quorum, 'x-single-active-consumer': true },
    'telehub.publish': quorum,
    'telehub.dead': { 'x-queue-type': 'quorum', 'x-delivery-limit': 2_147_483_647 },
  }
  for (const [queue, more] of Object.entries(declared)) {
    await channel.assertQueue(queue, { durable: true, arguments: more })
  }
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, 'telehub.telemetry', 'home.#')
  const got: { key: string; headers: object; id: string; body: string; persistent: boolean }[] = []
  const both = new Promise<void>(resolve => {
    void channel.consume(queue, delivery => {
      if (!delivery) return
      const { headers = {}, messageId, deliveryMode } = delivery.properties
      got.push({
        key: delivery.fields.routingKey,
        headers,
        id: messageId,
        body: delivery.content.toString(),
        persistent: deliveryMode === 2,
      })
      if (got.length === 2) resolve()
    })
  })
  await hub.publish([
    message(1, {
      topic: 'home/kitchen/v1.2/x',
      payload: Buffer.from('{"t":1}'),
      qos: 1,
      retain: false,
      clientId: 'c1',
      user: 'u1',
    }),
    message(2, { topic: 'garden/x' }),
    message(3, { topic: 'home', payload: Buffer.from('ä') }),
  ])
  await both
  t.match(got, [
    {
      key: 'home.kitchen.v1%2E2.x',
      id: 'hub-under-test-1',
      body: '{"t":1}',
      persistent: true,
      headers: {
        'mqtt-topic': 'home/kitchen/v1.2/x',
        'mqtt-qos': 1,
        'mqtt-retain': false,
        'client-id': 'c1',
        user: 'u1',
        'received-at': 1_700_000_000_000_001,
        sequence: 1,
      },
    },
    { key: 'home', id: 'hub-under-test-3', body: 'ä' },
  ])
  await hub.stop()
})

t.test('what strangers put into our queues, without headers or with odd ones, is taken as it is', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  const reader = hub.reader('publish')
  await hub.publish([])
  const channel = await channelOf(t, rabbit.url)
  channel.publish('telehub.publish', 'lamp.set%2Eme', Buffer.from('on'))
  channel.publish('telehub.publish', 'x', Buffer.from('y'), {
    headers: { 'mqtt-qos': 7, 'mqtt-retain': 'yes', sequence: 'one' },
  })
  const [first, second] = await take(reader, 2)
  t.match(first, { topic: 'lamp/set.me', qos: 0, retain: false, clientId: '', receivedAt: 5, sequence: 0 })
  t.match(second, { topic: 'x', qos: 0, retain: false })
  t.match(first?.hub, /^\?[0-9a-f]{16}$/, 'nobody is called that')
  t.not(first?.hub, second?.hub)
  await hub.stop()
})

t.test('whose message it is, is in its message id', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  await hub.publish([message(7), message(8, { hub: 'attic-2' }), message(9, { hub: `attic ${'é'.repeat(200)}` })])
  const channel = await channelOf(t, rabbit.url)
  const tricky: [messageId: string, headers: object][] = [
    ['own-words', {}],
    [`${hubId}-3`, { sequence: 4 }],
    ['-5', { sequence: 5 }],
    [`${hubId}-6`, { sequence: 6 }],
    [`${hubId}--1`, { sequence: -1 }],
  ]
  for (const [messageId, headers] of tricky) {
    channel.publish('telehub.telemetry', 'x', Buffer.from(messageId), { messageId, headers })
  }
  const reader = hub.reader('record')
  const came = (await take(reader, 8)).map(one => [one.hub, one.sequence])
  t.match(came[2]?.[0], /^\?[0-9a-f]{16}$/, 'too long for AMQP, and still one name')
  t.same(came.toSpliced(2, 1), [
    [undefined, 7],
    ['attic-2', 8],
    ['?own-words', 0],
    [`?${hubId}-3`, 0],
    ['?-5', 0],
    [undefined, 6],
    [`?${hubId}--1`, 0],
  ])
  await hub.stop()
})

t.test('a batch is the documented one; both envelopes mixed come in order, from several hubs', async t => {
  await wipe(rabbit.url)
  const [single, batching] = [client(rabbit.url), client(rabbit.url, { envelope: 'batch' })]
  const other = client(rabbit.url, { envelope: 'batch', hubId: 'attic-2' })
  await single.publish([1, 2].map(n => message(n)))
  const channel = await channelOf(t, rabbit.url)
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, 'telehub.batches', 'record')
  await batching.publish(Array.from({ length: 450 }, (_, i) => message(i + 3)))
  await single.publish([message(453)])
  await other.publish([message(1), message(2)])
  await batching.publish([message(454), message(9, { hub: 'attic-2' }), message(10, { hub: 'attic-2' }), message(455)])
  const batches: object[] = []
  await new Promise<void>(resolve => {
    void channel.consume(queue, got => {
      if (!got) return
      const { messageId, contentType, deliveryMode, headers } = got.properties
      batches.push({ messageId, contentType, deliveryMode, headers, decoded: decodeBatch(got.content)?.length })
      if (batches.length === 7) resolve()
    })
  })
  const expected = (hub: string, first: number, last: number) => ({
    messageId: `${hub}-${first}..${last}`,
    contentType: 'application/vnd.telehub.batch',
    deliveryMode: 2,
    headers: { count: last - first + 1, 'first-sequence': first, 'last-sequence': last },
    decoded: last - first + 1,
  })
  t.same(batches, [
    expected(hubId, 3, 202),
    expected(hubId, 203, 402),
    expected(hubId, 403, 452),
    expected('attic-2', 1, 2),
    expected(hubId, 454, 454),
    expected('attic-2', 9, 10),
    expected(hubId, 455, 455),
  ])
  const own = Array.from({ length: 453 }, (_, i) => message(i + 1))
  const attic = (n: number) => message(n, { hub: 'attic-2' })
  t.same(await take(single.reader('record'), 459), [
    ...own,
    attic(1),
    attic(2),
    message(454),
    attic(9),
    attic(10),
    message(455),
  ])
  await Promise.all([single.stop(), batching.stop(), other.stop()])
})

t.test('receipts reach the hub they are for, also later; for a hub without a queue they end', async t => {
  await wipe(rabbit.url)
  const recorder = client(rabbit.url, { hubId: 'recorder' })
  const hub = client(rabbit.url, { consumesReceipts: true })
  await hub.publish([])
  await recorder.publishReceipts(hubId, Buffer.from('{"stored":[[1,5]]}'))
  await recorder.publishReceipts('nobody', Buffer.from('{}'))
  await recorder.publishReceipts(hubId, Buffer.from('{"stored":[[6,9]]}'))
  const receipts = await take(hub.reader('receipts'), 2)
  t.same(
    receipts.map(({ payload }) => JSON.parse(payload.toString())),
    [{ stored: [[1, 5]] }, { stored: [[6, 9]] }],
  )
  t.throws(() => recorder.reader('receipts'), /no queue for receipts/)
  await Promise.all([recorder.stop(), hub.stop()])
})

t.test('a lost connection: what fails says so, and the next try works', async t => {
  await wipe(rabbit.url)
  const states: string[] = []
  const hub = client(rabbit.url, { state: (up, detail) => states.push(up ? 'up' : `down: ${detail}`) })
  const reader = hub.reader('record')
  await hub.publish([message(1)])
  await reader.next(1, AbortSignal.timeout(20_000))
  t.equal(states.at(-1), 'up')
  // RabbitMQ writes down that a quorum queue exists only seconds later; killed before that, it has lost the queue.
  await sleep(8_000)
  await rabbit.kill()
  await t.rejects(hub.publish([message(2)]), { code: 'queue_unavailable' })
  t.match(states.at(-1), /^down: /)
  await rabbit.restart()
  // The queue elects its leader first, and refuses until then.
  await eventually(() => hub.publish([message(2)]).then(() => true), 'published again')
  const { messages = [] } = (await reader.next(10, AbortSignal.timeout(20_000))) ?? {}
  t.ok(messages.length > 0)
  await hub.stop()
})

t.test(
  'a deleted queue or exchange is declared again; what nobody took meanwhile is not taken for confirmed',
  async t => {
    await wipe(rabbit.url)
    const hub = client(rabbit.url)
    const reader = hub.reader('record')
    await hub.publish([message(1)])
    t.equal((await take(reader, 1))[0]?.sequence, 1)
    const channel = await channelOf(t, rabbit.url)
    await channel.deleteQueue('telehub.record')
    await t.rejects(hub.publish([message(2)]), { code: 'queue_unavailable', message: /no queue took 1 messages/ })
    await eventually(() => hub.publish([message(2)]).then(() => true), 'published again')
    const again = await eventually(() => take(reader, 1), 'consumed again')
    t.equal(again[0]?.sequence, 2)
    await channel.deleteExchange('telehub.telemetry')
    await eventually(() => hub.publish([message(3)]).then(() => true), 'published to a new exchange')
    await hub.stop()
  },
)

t.test('nobody there, or a wrong password, is an error and not a wait', async t => {
  const state: string[] = []
  const more = { state: (_: boolean, detail = '') => state.push(detail) }
  const nobody = client('amqp://127.0.0.1:1', more)
  await t.rejects(nobody.publish([message(1)]), { code: 'queue_unavailable', message: /ECONNREFUSED/ })
  const url = new URL(rabbit.url)
  url.password = 'wrong'
  const stranger = client(url.href, more)
  await t.rejects(stranger.reader('record').next(1, AbortSignal.timeout(20_000)), {
    code: 'queue_unavailable',
    message: /ACCESS.REFUSED/,
  })
  t.equal(state.length, 2)
  await Promise.all([nobody.stop(), stranger.stop()])
})
