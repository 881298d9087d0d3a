import { setTimeout as sleep } from 'node:timers/promises'
import type { Options } from 'amqplib'
import t from 'tap'
import { type DeadLetter, type Message, messageId } from '../../src/model.js'
import {
  decodeProperties,
  encodeProperties,
  type MessageProperties,
  maxPropertyBytes,
} from '../../src/mqtt/message-properties.js'
import { decodeBatch, encodeBatch, maxName } from '../../src/spool/message-codec.js'
import { message, type QueueUnderTest, queueContract, take } from '../contract/queue.js'
import { eventually } from '../harness.js'
import { startRabbit } from '../services/rabbitmq.js'
import { channelOf, client, exchanges, hubId, wipe } from './client.js'

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

t.test('the topology is the documented one, durable, and another consumer gets what docs/rabbitmq.md says', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  await hub.put([])
  await hub.publish([])
  const channel = await channelOf(t, rabbit.url)
  // Asserting with other arguments would be refused.
  for (const [exchange, type] of Object.entries(exchanges)) {
    await channel.assertExchange(exchange, type, { durable: true })
  }
  const noLimit = { 'x-queue-type': 'quorum', 'x-delivery-limit': 2_147_483_647 }
  const quorum = { ...noLimit, 'x-dead-letter-exchange': 'telehub.dead' }
  const declared = {
    'telehub.record': { ...quorum, 'x-single-active-consumer': true },
    'telehub.publish': quorum,
    'telehub.dead': noLimit,
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
  // These are of two clients, of which the other may overtake the first.
  got.sort((a, b) => a.id.localeCompare(b.id))
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

t.test('many channels: each client keeps its order, and nothing is missing; one channel: all keep it', async t => {
  const queue = 'test.order'
  for (const channels of [1, 8]) {
    await wipe(rabbit.url)
    const hub = client(rabbit.url, { channels })
    await hub.publish([])
    const channel = await channelOf(t, rabbit.url)
    await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
    await channel.bindQueue(queue, 'telehub.telemetry', '#')
    const clients = 50
    const all = Array.from({ length: 4_000 }, (_, i) =>
      // Those with an expiry are encoded in another way.
      message(i + 1, { clientId: `c${i % clients}`, ...(i % 3 === 0 && { expiresAt: 2 ** 50 }) }),
    )
    await Promise.all([0, 1_000, 2_000, 3_000].map(from => hub.publish(all.slice(from, from + 1_000))))
    const publishing = (await rabbit.ctl('list_channels', '--quiet', 'confirm')).match(/true/g)
    t.equal(publishing?.length, channels === 1 ? 1 : channels + 1)
    const got: { sequence: number; client: number }[] = []
    const done = new Promise<void>(resolve => {
      void channel.consume(
        queue,
        delivery => {
          const { headers = {} } = delivery?.properties ?? {}
          got.push({ sequence: headers.sequence, client: Number(String(headers['client-id']).slice(1)) })
          if (got.length === all.length) resolve()
        },
        { noAck: true },
      )
    })
    await done
    const inOrder = all.map(({ sequence }) => sequence)
    if (channels === 1)
      t.same(
        got.map(({ sequence }) => sequence),
        inOrder,
      )
    const byClient = (a: (typeof got)[0], b: (typeof got)[0]) => a.client - b.client
    const expected = all.map(({ sequence }, i) => ({ sequence, client: i % clients })).sort(byClient)
    t.same([...got].sort(byClient), expected)
    await hub.stop()
    await channel.deleteQueue(queue)
  }
})

t.test('headers lean: routing key, message id and one header say what docs/rabbitmq.md promises', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url, { headers: 'lean', channels: 1 })
  await hub.publish([])
  const channel = await channelOf(t, rabbit.url)
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, 'telehub.telemetry', '#')
  const long = `${'l'.repeat(300)}/ü`
  const properties = encodeProperties({ contentType: 'text/plain', userProperties: [['a', 'b']] }) as Buffer
  const sent = [
    message(1, { topic: 'home/v1.2/x', qos: 1, retain: true, clientId: 'c1', user: 'u1' }),
    message(2, { topic: long }),
    message(3, { topic: 'home/x', properties, expiresAt: 2 ** 52 }),
  ]
  await hub.publish(sent)
  const got: object[] = []
  for (const { sequence } of sent) {
    const delivery = await channel.get(queue, { noAck: true })
    if (!delivery) throw new Error(`no message ${sequence}`)
    const { headers, messageId, deliveryMode, timestamp, contentType } = delivery.properties
    got.push({ key: delivery.fields.routingKey, headers, messageId, deliveryMode, timestamp, contentType })
  }
  const same = { deliveryMode: 2, timestamp: 1_700_000_000, contentType: undefined }
  t.strictSame(got, [
    {
      ...{ ...same, key: 'home.v1%2E2.x', messageId: `${hubId}-1` },
      headers: { 'received-at': 1_700_000_000_000_001 },
    },
    {
      ...{ ...same, key: 'l'.repeat(255), messageId: `${hubId}-2` },
      headers: { 'mqtt-topic': long, 'received-at': 1_700_000_000_000_002 },
    },
    {
      ...{ ...same, key: 'home.x', messageId: `${hubId}-3`, contentType: 'text/plain' },
      headers: {
        'received-at': 1_700_000_000_000_003,
        'mqtt-content-type': 'text/plain',
        'mqtt-user-properties': [['a', 'b']],
        'mqtt-expires-at': 2 ** 52,
      },
    },
  ])
  // What the hub itself stores lacks nothing.
  t.match(await take(hub.reader('record'), 3), [{ clientId: 'c1', user: 'u1', qos: 1, retain: true }, {}, {}])
  await hub.stop()
})

t.test('queues that an older version declared are used as they are', async t => {
  await wipe(rabbit.url)
  const channel = await channelOf(t, rabbit.url)
  const quorum = { 'x-queue-type': 'quorum', 'x-delivery-limit': 100, 'x-dead-letter-exchange': 'telehub.dead' }
  const older = { 'telehub.record': { ...quorum, 'x-single-active-consumer': true }, 'telehub.publish': quorum }
  for (const [queue, more] of Object.entries(older)) {
    await channel.assertQueue(queue, { durable: true, arguments: more })
  }
  const hub = client(rabbit.url)
  await hub.publish([message(1)])
  t.match(await take(hub.reader('record'), 1), [{ sequence: 1 }])
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
    channel.sendToQueue('telehub.record', Buffer.from(messageId), { messageId, headers })
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

t.test('a batch is the documented one; those of both envelopes and of several hubs come in order', async t => {
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
      if (batches.length === 8) resolve()
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
    expected(hubId, 453, 453),
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

t.test('a binding that an older hub made is taken away, so that nothing is stored twice', async t => {
  await wipe(rabbit.url)
  const older = client(rabbit.url)
  await older.publish([message(1)])
  const channel = await channelOf(t, rabbit.url)
  await channel.bindQueue('telehub.record', 'telehub.telemetry', '#')
  const hub = client(rabbit.url)
  await hub.publish([message(2)])
  const reader = hub.reader('record')
  t.same(
    (await take(reader, 2)).map(({ sequence }) => sequence),
    [1, 2],
  )
  await hub.publish([message(3)])
  t.same(
    (await take(reader, 1)).map(({ sequence }) => sequence),
    [3],
  )
  t.equal((await channel.checkQueue('telehub.record')).messageCount, 0)
  await Promise.all([older.stop(), hub.stop()])
})

t.test('what MQTT 5 adds is there for every consumer, in headers', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url, { channels: 1 })
  await hub.publish([])
  const channel = await channelOf(t, rabbit.url)
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, 'telehub.telemetry', '#')
  const userProperties = Array.from({ length: 500 }, (_, i) => [`n${i % 7}`, String(i)] as const)
  const many = [...userProperties, ['one', 'more'] as const]
  const sent: [properties: MessageProperties, expiresAt?: number][] = [
    [
      {
        payloadFormat: 1,
        contentType: 'application/json',
        responseTopic: 'replies/c1',
        correlationData: Buffer.from([0, 255]),
        userProperties,
      },
      1_763_710_000_000_001,
    ],
    [{ contentType: 'ä'.repeat(127), payloadFormat: 0 }],
    [{ contentType: 'ä'.repeat(128) }],
    [{ contentType: '' }],
    [{ userProperties: many, responseTopic: 'r' }],
    [{}],
  ]
  await hub.publish(
    sent.map(([properties, expiresAt], i) =>
      message(i + 1, { properties: encodeProperties(properties), ...(expiresAt && { expiresAt }) }),
    ),
  )
  const got: [contentType: unknown, headers: Record<string, unknown>][] = []
  await new Promise<void>(resolve => {
    void channel.consume(queue, delivery => {
      if (!delivery) return
      const { contentType, headers = {} } = delivery.properties
      const ours = Object.entries(headers).filter(([name]) => !/^mqtt-(topic|qos|retain)$/.test(name))
      got.push([contentType, Object.fromEntries(ours.filter(([name]) => name.startsWith('mqtt-')))])
      if (got.length === sent.length) resolve()
    })
  })
  t.strictSame(got, [
    [
      'application/json',
      {
        'mqtt-payload-format': 1,
        'mqtt-content-type': 'application/json',
        'mqtt-response-topic': 'replies/c1',
        'mqtt-correlation-data': Buffer.from([0, 255]),
        'mqtt-user-properties': userProperties,
        'mqtt-expires-at': 1_763_710_000_000_001,
      },
    ],
    ['ä'.repeat(127), { 'mqtt-payload-format': 0, 'mqtt-content-type': 'ä'.repeat(127) }],
    [undefined, { 'mqtt-content-type': 'ä'.repeat(128) }],
    [undefined, { 'mqtt-content-type': '' }],
    [undefined, { 'mqtt-response-topic': 'r', 'mqtt-properties': encodeProperties({ userProperties: many }) }],
    [undefined, {}],
  ])
  await hub.stop()
})

t.test('what others say in headers, or as AMQP says it, becomes properties; what cannot be is left out', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url, { clock: { now: () => 1_700_000_000_000_000 } })
  const reader = hub.reader('publish')
  await hub.publish([])
  const channel = await channelOf(t, rabbit.url)
  const headers = (more: Record<string, unknown>): Options.Publish => ({ headers: more })
  const encoded = encodeProperties({ contentType: 'a', responseTopic: 'a', userProperties: [['a', '1']] })
  const cases: [sent: Options.Publish, properties?: MessageProperties | undefined, expiresAt?: number][] = [
    [{}],
    [
      { contentType: 'text/csv', correlationId: 'ü' },
      { contentType: 'text/csv', correlationData: Buffer.from('ü') },
    ],
    [
      { ...headers({ 'mqtt-content-type': 'a', 'mqtt-correlation-data': 'b' }), contentType: 'c', correlationId: 'd' },
      { contentType: 'a', correlationData: Buffer.from('b') },
    ],
    [headers({ 'mqtt-correlation-data': Buffer.from([0, 1]) }), { correlationData: Buffer.from([0, 1]) }],
    [headers({ 'mqtt-response-topic': 'replies/1' }), { responseTopic: 'replies/1' }],
    ...['a/#', '+', '', 'a\0', 7, ['a'], 'x'.repeat(17_000)].map((topic): [Options.Publish] => [
      headers({ 'mqtt-response-topic': topic }),
    ]),
    [headers({ 'mqtt-payload-format': 0 }), { payloadFormat: 0 }],
    ...[2, -1, 0.5, '1', true, null].map((format): [Options.Publish] => [headers({ 'mqtt-payload-format': format })]),
    ...['a\0', 7, true, ['a'], { a: 'b' }, Buffer.from('a'), 'x'.repeat(16_385)].map((type): [Options.Publish] => [
      headers({ 'mqtt-content-type': type }),
    ]),
    ...[7, true, ['a'], { a: 'b' }, '', Buffer.alloc(17_000)].map((data): [Options.Publish] => [
      headers({ 'mqtt-correlation-data': data }),
    ]),
    [
      headers({
        'mqtt-user-properties': { b: '2', a: ['1', '', 7, '3'], c: 7, d: null, constructor: 'x', e: { f: 'g' } },
      }),
      {
        userProperties: [
          ['b', '2'],
          ['a', '1'],
          ['a', ''],
          ['a', '3'],
          ['constructor', 'x'],
        ],
      },
    ],
    [
      headers({
        'mqtt-user-properties': [
          ['b', '2'],
          ['a'],
          ['a', '1', '2'],
          'ab',
          7,
          null,
          ['b', 3],
          ['\0', ''],
          ['b', '1'],
          {},
        ],
      }),
      {
        userProperties: [
          ['b', '2'],
          ['b', '1'],
        ],
      },
    ],
    ...[7, 'a=b', Buffer.from('ab'), [[['a', 'b']]]].map((users): [Options.Publish] => [
      headers({ 'mqtt-user-properties': users }),
    ]),
    [headers({ 'mqtt-properties': encoded }), decodeProperties(encoded as Buffer)],
    [
      headers({ 'mqtt-properties': encoded, 'mqtt-content-type': 'b', 'mqtt-user-properties': [['b', '2']] }),
      { contentType: 'b', responseTopic: 'a', userProperties: [['b', '2']] },
    ],
    [headers({ 'mqtt-properties': encodeProperties({ responseTopic: '#', payloadFormat: 1 }) }), { payloadFormat: 1 }],
    ...['text', 7, Buffer.from('rubbish'), Buffer.from([0x23, 0, 1]), Buffer.alloc(17_000, 1)].map(
      (wrong): [Options.Publish] => [headers({ 'mqtt-properties': wrong })],
    ),
    // Of which not one alone is too long.
    [headers({ 'mqtt-content-type': 'x'.repeat(9_000), 'mqtt-user-properties': { a: 'x'.repeat(9_000) } })],
    [headers({ 'mqtt-user-properties': new Array(Math.ceil(maxPropertyBytes / 5)).fill(['', '']) })],
    [headers({ 'mqtt-expires-at': 1_800_000_000_000_000 }), undefined, 1_800_000_000_000_000],
    [{ expiration: '60000' }, undefined, 1_700_000_060_000_000],
    [{ ...headers({ 'mqtt-expires-at': 5 }), expiration: '60000' }, undefined, 5],
    ...[0, -1].map((at): [Options.Publish, undefined, number] => [headers({ 'mqtt-expires-at': at }), undefined, 1]),
    ...[1.5, '5', 2 ** 60, null].flatMap((at): [Options.Publish, undefined?, number?][] => [
      [headers({ 'mqtt-expires-at': at })],
      [{ ...headers({ 'mqtt-expires-at': at }), expiration: '60000' }, undefined, 1_700_000_060_000_000],
    ]),
  ]
  for (const [sent] of cases) channel.publish('telehub.publish', 'x', Buffer.from('{}'), sent)
  const taken = await take(reader, cases.length)
  for (const [i, [sent, properties, expiresAt]] of cases.entries()) {
    const { properties: bytes, ...got } = taken[i] as Message
    const attempt = JSON.stringify(sent).slice(0, 100)
    t.strictSame(bytes && decodeProperties(bytes), properties, attempt)
    t.equal(got.expiresAt, expiresAt, attempt)
    t.equal(got.topic, 'x')
  }
  await hub.stop()
})

t.test('no device can make its message a batch', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  const channel = await channelOf(t, rabbit.url)
  await hub.publish([])
  const { queue } = await channel.assertQueue('', { exclusive: true })
  for (const exchange of ['telehub.telemetry', 'telehub.dead']) await channel.bindQueue(queue, exchange, '#')
  const payload = encodeBatch([message(1, { clientId: 'forged', user: 'admin' })])
  const types = [
    'application/vnd.telehub.batch',
    'APPLICATION/VND.TELEHUB.BATCH',
    ' application/vnd.telehub.batch ',
    'application/vnd.telehub.batch; charset=utf-8',
    'application / vnd . telehub . batch',
  ]
  const sent = types.map((contentType, i) =>
    message(i + 1, {
      payload,
      properties: encodeProperties({
        contentType,
        userProperties: [
          ['content-type', contentType],
          ['contentType', contentType],
          ['mqtt-topic', 'forged'],
          ['client-id', 'forged'],
        ],
      }),
    }),
  )
  await hub.publish(sent)
  await hub.put(sent.map(one => ({ message: one, reason: 'r', detail: '', failedAt: 1, attempts: 1 })))
  t.strictSame(await take(hub.reader('record'), sent.length), sent)
  t.strictSame(
    (await hub.list({}, 100)).map(letter => letter.message).sort((a, b) => a.sequence - b.sequence),
    sent,
  )
  const seen: unknown[] = []
  await new Promise<void>(resolve => {
    void channel.consume(queue, got => {
      seen.push(got?.properties.contentType)
      if (seen.length === 2 * sent.length) resolve()
    })
  })
  t.ok(seen.every(type => type === undefined))
  // One whom RabbitMQ lets in may send one; what it is not is no content type for subscribers either.
  channel.publish('telehub.publish', 'x', Buffer.from('none'), { contentType: types[0] as string })
  const stranger = await hub.reader('publish').next(1, AbortSignal.timeout(20_000))
  t.equal(stranger?.rejected?.get(0)?.reason, 'bad_batch')
  t.equal(stranger?.messages[0]?.properties, undefined)
  await hub.stop()
})

t.test('names at their longest and properties at their most: everything can be published, and put', async t => {
  const names = (bytes: number, character: string) => {
    const name = character.repeat(bytes / Buffer.byteLength(character))
    return { topic: name, clientId: name, user: name }
  }
  const rest: MessageProperties = {
    payloadFormat: 1,
    contentType: 'x'.repeat(255),
    responseTopic: 'é'.repeat(2_048),
    userProperties: new Array(500).fill(['é', 'bcde']),
  }
  const restBytes = encodeProperties(rest)?.length ?? 0
  const properties: [what: string, properties: MessageProperties][] = [
    ['tiny ones', { userProperties: new Array(Math.floor(maxPropertyBytes / 5)).fill(['', '']) }],
    ['the most that is an array', { userProperties: new Array(500).fill(['é', 'x'.repeat(25)]) }],
    ['a large one', { userProperties: [['', 'x'.repeat(maxPropertyBytes - 5)]] }],
    ['correlation data', { correlationData: Buffer.alloc(maxPropertyBytes - 3, 255) }],
    ['some of each', { ...rest, correlationData: Buffer.alloc(maxPropertyBytes - restBytes - 3, 1) }],
  ]
  const sent = properties.flatMap(([what, some], i) => {
    const encoded = encodeProperties(some)
    t.ok((encoded?.length ?? 0) <= maxPropertyBytes, what)
    return [names(4_096, '😀'), names(maxName, 'é')].map((longest, j) =>
      message(i * 2 + j + 1, { ...longest, properties: encoded, expiresAt: 2 ** 52 - 1, hub: 'é'.repeat(300) }),
    )
  })
  const named = sent.map(one => ({ ...one, hub: undefined }))
  for (const envelope of ['message', 'batch'] as const) {
    await wipe(rabbit.url)
    const hub = client(rabbit.url, { envelope })
    await hub.publish(sent)
    const taken = await take(hub.reader('record'), sent.length)
    t.strictSame(
      taken.map(one => ({ ...one, hub: undefined })),
      named,
      envelope,
    )
    const letters = taken.map(
      (one): DeadLetter => ({
        message: one,
        reason: 'é'.repeat(127),
        detail: '温'.repeat(1_000),
        failedAt: 2 ** 52,
        attempts: 2 ** 31,
      }),
    )
    await hub.put(letters)
    const listed = await hub.list({}, 100)
    t.strictSame(
      new Map(listed.map(one => [messageId(one.message), one])),
      new Map(letters.map(one => [messageId(one.message), one])),
    )
    await hub.stop()
  }
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
