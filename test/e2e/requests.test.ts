import { randomUUID } from 'node:crypto'
import { connect } from 'amqplib'
import type { IClientOptions, IPublishPacket } from 'mqtt'
import { io } from 'socket.io-client'
import t from 'tap'
import { asAdmin, connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { startRabbit } from '../services/rabbitmq.js'

interface Row {
  readonly id: string
  readonly state: string
  readonly reason?: string
  readonly answer?: { readonly payload: string; readonly good: boolean }
}

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())

const five: IClientOptions = { protocolVersion: 5 }

/** Asks a service over HTTP. */
async function ask(hub: RunningHub, service: string, payload: string, more: object = {}): Promise<Row> {
  const response = await fetch(`${hub.httpUrl}/api/requests`, {
    method: 'POST',
    headers: { ...asAdmin(hub.dir), 'content-type': 'application/json' },
    body: JSON.stringify({ service, payload, ...more }),
  })
  return (await response.json()) as Row
}

const stateOf = async (hub: RunningHub, id: string) => (await hub.get<Row>(`/api/commands/${id}`)).body

/** A service that takes requests from the queue. Without `answers` it takes one and never answers. */
async function worker(t: { teardown(end: () => unknown): void }, answers: boolean) {
  const model = await connect(rabbit.url)
  model.on('error', () => {})
  const channel = await model.createChannel()
  await channel.prefetch(1)
  const taken: string[] = []
  await channel.consume('telehub.requests', got => {
    if (!got) return
    taken.push(got.fields.routingKey)
    if (!answers) return
    const { replyTo, correlationId } = got.properties as { replyTo: string; correlationId: string }
    // One that answers twice is heard once.
    for (let n = 0; n < 2; n++) {
      channel.sendToQueue(replyTo, Buffer.from(`${got.content}!`), { correlationId, persistent: true })
    }
    channel.ack(got)
  })
  const stop = () => model.close().catch(() => {})
  t.teardown(stop)
  return { taken, stop }
}

t.test('a browser asks, one of several workers answers, and a worker that dies is replaced', async t => {
  const hub = await startHub(t, { 'rabbitmq.url': rabbit.url })
  const page = await connectMqtt(t, hub.webSocketUrl, { ...five, clientId: 'page' })
  const answers: IPublishPacket[] = []
  page.on('message', (_topic, _payload, packet) => answers.push(packet))
  await page.subscribeAsync('replies/page')
  const dies = await worker(t, false)
  const properties = { responseTopic: 'replies/page', correlationData: Buffer.from('c1') }
  await page.publishAsync('$hub/requests/orders/create', '7', { qos: 1, properties })
  await eventually(() => dies.taken.length === 1, 'the first worker has it')
  t.same(dies.taken, ['orders.create'])
  await dies.stop()
  const works = await worker(t, true)
  const answer = await eventually(() => answers[0], 'an answer')
  t.equal(String(answer.payload), '7!')
  t.same(answer.properties?.correlationData, Buffer.from('c1'))
  t.equal(works.taken.length, 1)
  t.equal(answers.length, 1)
  await page.publishAsync('$hub/requests/orders/create', '7', { qos: 1, dup: true, properties })
  const repeated = await eventually(() => answers[1], 'the answer again, as the request was not acknowledged')
  t.equal(String(repeated.payload), '7!')
  t.equal(works.taken.length, 1, 'the service has no second request')

  t.match(await ask(hub, 'orders/list', 'all'), { state: 'answered', answer: { payload: 'all!' } }, 'over HTTP')
  const socket = io(hub.httpUrl, { transports: ['websocket'] })
  t.teardown(() => socket.close())
  t.match(await socket.emitWithAck('request', { topic: '$hub/requests/orders/x', payload: 'io' }), {
    ...{ state: 'answered', answer: { payload: 'io!' } },
  })
  t.match(await socket.emitWithAck('request', { topic: 7 }), { error: 'bad_request' })
  const { body } = await hub.get<{ received: number }>('/api/balance')
  t.equal(body.received, 0, 'requests and answers are no telemetry')
  t.match(await ask(hub, '+/x', ''), { error: 'bad_request' })
})

t.test('requests survive a kill of the hub and an outage of RabbitMQ, or are said to have failed', async t => {
  const hub = await startHub(t, { 'rabbitmq.url': rabbit.url })
  const first = await ask(hub, 'slow/one', 'a', { wait: 0, expiry: 300 })
  await eventually(async () => (await stateOf(hub, first.id)).state === 'delivered', 'it is in the queue')
  await hub.kill()
  const again = await startHub(t, { 'rabbitmq.url': rabbit.url }, hub.dir)
  // Not killed: RabbitMQ 3.10 forgets quorum queues that it declared only seconds before (docs/rabbitmq.md).
  await rabbit.stop()
  const second = await ask(again, 'slow/two', 'b', { wait: 0, expiry: 300 })
  const short = await ask(again, 'slow/three', 'c', { wait: 5, expiry: 1 })
  t.match(short, { state: 'expired', reason: /no service/ }, 'nobody waits longer than it says')
  await rabbit.restart()
  const works = await worker(t, true)
  for (const { id } of [first, second]) {
    await eventually(async () => (await stateOf(again, id)).state === 'answered', `${id} is answered`)
  }
  t.notOk(works.taken.includes('slow.three'))
})

t.test('a back end asks a device and gets the answer, by direct reply-to as well', async t => {
  const hub = await startHub(t, { 'rabbitmq.url': rabbit.url })
  const lamp = await connectMqtt(t, hub.mqttUrl, { ...five, clientId: 'lamp' })
  lamp.on('message', (_topic, payload, { properties }) => {
    const { responseTopic = '', correlationData = Buffer.alloc(0) } = properties ?? {}
    lamp.publish(responseTopic, `done: ${payload}`, { qos: 1, properties: { correlationData } })
  })
  await lamp.subscribeAsync('lamp/set', { qos: 1 })
  const model = await connect(rabbit.url)
  t.teardown(() => model.close())
  const channel = await model.createChannel()
  const own = await channel.assertQueue('', { exclusive: true })
  for (const replyTo of ['amq.rabbitmq.reply-to', own.queue]) {
    const correlationId = randomUUID()
    const answered = new Promise<[string, string, unknown]>(resolve => {
      void channel
        .consume(
          replyTo,
          got => {
            if (!got || got.properties.correlationId !== correlationId) return
            resolve([String(got.content), correlationId, got.properties.headers?.['telehub-state']])
          },
          { noAck: true },
        )
        .then(() => channel.publish('telehub.publish', 'lamp.set', Buffer.from('on'), { replyTo, correlationId }))
    })
    t.same(await answered, ['done: on', correlationId, 'answered'], replyTo)
  }
  const { body } = await hub.get<{ received: number }>('/api/balance')
  t.equal(body.received, 0, 'the answers are no telemetry')
})

t.test('without RabbitMQ one of the MQTT clients that share a subscription answers', async t => {
  const hub = await startHub(t)
  const services = await Promise.all([1, 2].map(n => connectMqtt(t, hub.mqttUrl, { ...five, clientId: `worker-${n}` })))
  const taken: string[] = []
  for (const service of services) {
    service.on('message', (topic, payload, { properties }) => {
      taken.push(topic)
      const { responseTopic = '', correlationData = Buffer.alloc(0) } = properties ?? {}
      service.publish(responseTopic, `${payload}!`, { qos: 1, properties: { correlationData } })
    })
    await service.subscribeAsync('$share/workers/$hub/requests/orders/#', { qos: 1 })
  }
  for (let n = 0; n < 4; n++) {
    t.match(await ask(hub, 'orders/create', String(n)), { state: 'answered', answer: { payload: `${n}!` } })
  }
  t.equal(taken.length, 4, 'each is taken once')
})

t.test(
  'a worker that dies between request and answer: another one gets it, or the request is said to have failed',
  async t => {
    const hub = await startHub(t)
    const share = '$share/workers/$hub/requests/orders/#'
    // Takes a request, and dies before it acknowledges.
    const silent = await connectMqtt(t, hub.mqttUrl, { ...five, clientId: 'dies-1' })
    const dies: string[] = []
    silent.handleMessage = ({ payload }) => {
      dies.push(String(payload))
      silent.stream.destroy()
    }
    await silent.subscribeAsync(share, { qos: 1 })
    const first = await ask(hub, 'orders/create', 'a', { wait: 0, expiry: 60 })
    await eventually(() => dies.length === 1, 'the worker has it')
    t.match(await stateOf(hub, first.id), { state: /sent|queued/ })
    const works = async (clientId: string) => {
      const worker = await connectMqtt(t, hub.mqttUrl, { ...five, clientId })
      const taken: string[] = []
      worker.on('message', (_topic, payload, { properties }) => {
        taken.push(String(payload))
        const { responseTopic = '', correlationData = Buffer.alloc(0) } = properties ?? {}
        worker.publish(responseTopic, `${payload}!`, { qos: 1, properties: { correlationData } })
      })
      await worker.subscribeAsync(share, { qos: 1 })
      return { worker, taken }
    }
    const { worker, taken } = await works('works-1')
    const done = await eventually(async () => {
      const row = await stateOf(hub, first.id)
      return row.state === 'answered' && row
    }, 'another one answers')
    t.match(done, { answer: { payload: 'a!' } })
    t.same(taken, ['a'])
    await worker.endAsync()

    // Acknowledges, and dies before it answers: nobody knows whether the work is done, so it is not done twice.
    const lazy = await connectMqtt(t, hub.mqttUrl, { ...five, clientId: 'dies-2' })
    lazy.on('message', (_topic, payload) => dies.push(String(payload)))
    await lazy.subscribeAsync(share, { qos: 1 })
    const second = await ask(hub, 'orders/create', 'b', { wait: 0, expiry: 4 })
    await eventually(async () => (await stateOf(hub, second.id)).state === 'delivered', 'it is acknowledged')
    lazy.stream.destroy()
    const { taken: takenLater } = await works('works-2')
    const failed = await eventually(async () => {
      const row = await stateOf(hub, second.id)
      return row.state !== 'delivered' && row
    }, 'it is over')
    t.match(failed, { state: 'expired', reason: 'no service has answered in time' })
    t.same(takenLater, [], 'not done twice')
    t.match(await ask(hub, 'orders/create', 'c'), { state: 'answered', answer: { payload: 'c!' } })
  },
)
