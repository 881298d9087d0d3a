import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'amqplib'
import t, { type Test } from 'tap'
import { RabbitMq } from '../../src/queue/rabbitmq.js'
import { type DeadLettersUnderTest, deadLettersContract } from '../contract/dead-letters.js'
import { message, type QueueUnderTest, queueContract, take } from '../contract/queue.js'
import { eventually } from '../harness.js'
import { startRabbit } from '../services/rabbitmq.js'

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())

const queues = ['telehub.record', 'telehub.publish', 'telehub.dead']
const exchanges = ['telehub.telemetry', 'telehub.publish', 'telehub.dead']

function client(states: string[] = []): RabbitMq {
  return new RabbitMq({
    url: rabbit.url,
    hubId: 'hub-under-test',
    prefetch: 1_000,
    state: (up, detail) => states.push(up ? 'up' : `down: ${detail}`),
    now: () => 5,
  })
}

/** A channel of ours beside the hub's; closed when the test ends. */
async function channelOf(t: Test) {
  const model = await connect(rabbit.url)
  t.teardown(() => model.close())
  const channel = await model.createChannel()
  channel.on('error', () => {})
  return channel
}

/** Nothing of the hub is left in RabbitMQ. */
async function wipe(): Promise<void> {
  const model = await connect(rabbit.url)
  const channel = await model.createChannel()
  for (const queue of queues) await channel.deleteQueue(queue)
  for (const exchange of exchanges) await channel.deleteExchange(exchange)
  await model.close()
}

function openQueue(): QueueUnderTest {
  const queue = client()
  return {
    queue,
    group: 'record',
    close: () => queue.stop(),
    reopen: async () => {
      await queue.stop()
      return openQueue()
    },
  }
}

function openDead(): DeadLettersUnderTest {
  const dead = client()
  return {
    dead,
    close: () => dead.stop(),
    reopen: async () => {
      await dead.stop()
      return openDead()
    },
  }
}

t.test('RabbitMQ as a queue', async t => {
  queueContract(t, async () => {
    await wipe()
    const opened = openQueue()
    // Connects, and so declares exchanges and queues.
    await opened.queue.publish([])
    return opened
  })
})

t.test('dead letters in RabbitMQ', async t => {
  deadLettersContract(t, async () => {
    await wipe()
    return openDead()
  })
})

t.test('the topology is the documented one, durable, and another consumer gets what the README says', async t => {
  await wipe()
  const hub = client()
  await hub.put([])
  await hub.publish([])
  const channel = await channelOf(t)
  // Asserting with other arguments would be refused.
  for (const exchange of exchanges) await channel.assertExchange(exchange, 'topic', { durable: true })
  for (const queue of queues) await channel.checkQueue(queue)
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
  await wipe()
  const hub = client()
  const reader = hub.reader('publish')
  await hub.publish([])
  const channel = await channelOf(t)
  channel.publish('telehub.publish', 'lamp.set%2Eme', Buffer.from('on'))
  channel.publish('telehub.publish', 'x', Buffer.from('y'), {
    headers: { 'mqtt-qos': 7, 'mqtt-retain': 'yes', sequence: 'one' },
  })
  const [first, second] = await take(reader, 2)
  t.match(first, { topic: 'lamp/set.me', qos: 0, retain: false, clientId: '', receivedAt: 5, sequence: 0 })
  t.match(second, { topic: 'x', qos: 0, retain: false })
  await hub.stop()
})

t.test('a lost connection: what fails says so, and the next try works', async t => {
  await wipe()
  const states: string[] = []
  const hub = client(states)
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
    await wipe()
    const hub = client()
    const reader = hub.reader('record')
    await hub.publish([message(1)])
    t.equal((await take(reader, 1))[0]?.sequence, 1)
    const channel = await channelOf(t)
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

t.test('something of the same name with other arguments is a clear error', async t => {
  await wipe()
  const channel = await channelOf(t)
  await channel.assertQueue('telehub.record', { durable: true })
  const hub = client()
  await t.rejects(hub.publish([message(1)]), { code: 'queue_clash', message: /telehub\..*telehub\.record/s })
  await hub.stop()
})

t.test('nobody there, or a wrong password, is an error and not a wait', async t => {
  const state: string[] = []
  const nobody = new RabbitMq({
    url: 'amqp://127.0.0.1:1',
    hubId: 'h',
    prefetch: 1,
    state: (_, d) => state.push(d ?? ''),
    now: () => 0,
  })
  await t.rejects(nobody.publish([message(1)]), { code: 'queue_unavailable', message: /ECONNREFUSED/ })
  const url = new URL(rabbit.url)
  url.password = 'wrong'
  const stranger = new RabbitMq({
    url: url.href,
    hubId: 'h',
    prefetch: 1,
    state: (_, d) => state.push(d ?? ''),
    now: () => 0,
  })
  await t.rejects(stranger.reader('record').next(1, AbortSignal.timeout(20_000)), {
    code: 'queue_unavailable',
    message: /ACCESS.REFUSED/,
  })
  t.equal(state.length, 2)
  await Promise.all([nobody.stop(), stranger.stop()])
})
