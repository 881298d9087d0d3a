import { type Channel, connect } from 'amqplib'
import t, { type Test } from 'tap'
import { routingKeyOf, topicOf } from '../../src/topics.js'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { startRabbit } from '../services/rabbitmq.js'
import { attempts, levels, stillServes } from './attempts.js'

/** Topics on their way to routing keys, and routing keys and headers on their way to topics, through a real RabbitMQ. */

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())

async function open(t: Test): Promise<Channel> {
  const model = await connect(rabbit.url)
  t.teardown(() => model.close().catch(() => {}))
  return model.createChannel()
}

/** A hub that is connected; the queues begin empty. */
async function start(t: Test): Promise<RunningHub> {
  const hub = await startHub(t, { 'rabbitmq.url': rabbit.url })
  await eventually(async () => {
    const { dependencies } = (await hub.get<{ dependencies: { name: string; state: string }[] }>('/readyz')).body
    return dependencies.some(({ name, state }) => name === 'RabbitMQ' && state === 'up')
  }, 'RabbitMQ is up')
  return hub
}

t.test('a topic reaches the bindings of its own levels and no others, and is told untouched', async t => {
  const hub = await start(t)
  const channel = await open(t)
  interface Seen {
    readonly key: string
    readonly topic: unknown
    readonly client: unknown
    readonly user: unknown
    readonly body: string
  }
  const bound = async (binding: string) => {
    const seen: Seen[] = []
    const { queue } = await channel.assertQueue('', { exclusive: true })
    await channel.bindQueue(queue, 'telehub.telemetry', binding)
    await channel.consume(
      queue,
      got => {
        const { 'mqtt-topic': topic, 'client-id': client, user } = got?.properties.headers ?? {}
        if (got) seen.push({ key: got.fields.routingKey, topic, client, user, body: got.content.toString() })
      },
      { noAck: true },
    )
    return seen
  }
  const [all, secret, one, deep] = [await bound('#'), await bound('secret.#'), await bound('a.*'), await bound('*.b')]
  const topics = [
    ...levels.filter(([, text]) => !text.startsWith('$')).map(([, text]) => `x/${text}`),
    'secret.x',
    '.secret.x',
    'x/secret.x',
    '*',
    'secret%2Ex',
    'secret%',
    'SECRET/x',
    '/secret',
    'a.b',
    'a.b.b',
    'a%2Eb',
    'a/b/',
    '*.b',
    `${'l'.repeat(254)}/secret`,
    `${'.'.repeat(400)}/b`,
    `${'é'.repeat(200)}/b`,
    `a${'/'.repeat(31)}`,
    `${'x'.repeat(255)}`,
  ]
  const id = 'a.b.#\r\n*'
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: id, username: attempts[0]?.[1] ?? '' })
  for (const topic of topics) await device.publishAsync(topic, topic, { qos: 1 })
  await eventually(() => all.length === topics.length, 'each arrives')
  for (const [i, { key, topic, client, user, body }] of all.entries()) {
    const sent = topics[i] as string
    t.strictSame([topic, body, client, user], [sent, sent, id, attempts[0]?.[1]], `topic ${i}: as it was sent`)
    t.ok(Buffer.byteLength(key) <= 255, 'a key is no longer than keys may be')
    const whole = routingKeyOf(sent)
    if (Buffer.byteLength(whole) <= 255) t.equal(topicOf(key), sent, 'and leads back to the topic')
    else t.ok(whole.startsWith(key), 'or is the beginning of it')
  }
  t.same(secret, [], 'secret.# is for the level secret')
  t.same(one, [], 'a.* is for two levels')
  t.same(deep, [], '*.b too')
  await stillServes(t, hub)
})

t.test(
  'what is published to telehub.publish reaches the topic it names, or the dead letters; never a topic of the hub',
  async t => {
    const hub = await start(t)
    const channel = await open(t)
    const watcher = await connectMqtt(t, hub.mqttUrl)
    const got: [topic: string, body: string][] = []
    const forged: string[] = []
    watcher.on('message', (topic, payload) => {
      if (payload.toString().startsWith('evil')) forged.push(topic)
      else if (!topic.startsWith('$')) got.push([topic, payload.toString()])
    })
    await watcher.subscribeAsync(['#', '$hub/#', '$SYS/#'], { qos: 1 })
    const refused: readonly (readonly [attempt: string, key: string, headers?: Record<string, unknown>])[] = [
      ['a topic of the hub', '$hub.presence.x'],
      ['a topic of the hub, alone', '$hub'],
      ['statistics', '$SYS.broker.clients.connected'],
      ['a shared subscription', '$share.a.b'],
      ['#', '#'],
      ['# encoded', '%23'],
      ['# at the end', 'a.%23'],
      ['+', '+'],
      ['+ in a level', 'a.+.b'],
      ['nothing', ''],
      ['a NUL', 'a\0b'],
      ['a header that names a topic of the hub', 'x', { 'mqtt-topic': '$hub/presence/x' }],
      ['a header with #', 'x', { 'mqtt-topic': 'a/#' }],
      ['a header with a NUL', 'x', { 'mqtt-topic': 'a\0b' }],
      ['a header of 4,097 bytes', 'x', { 'mqtt-topic': 'x'.repeat(4_097) }],
      ['a header of 16,384 bytes', 'x', { 'mqtt-topic': 'x'.repeat(16_384) }],
      ['a header of 60,000 bytes', 'x', { 'mqtt-topic': 'x'.repeat(60_000) }],
    ]
    const passed: readonly (readonly [
      attempt: string,
      key: string,
      headers: Record<string, unknown>,
      topic: string,
    ])[] = [
      ['an escape that is none', 'a%2Fb%2B%00%24hub', {}, 'a%2Fb%2B%00%24hub'],
      ['an escape of an escape', '%2523', {}, '%23'],
      ['a key of 255 bytes', 'k'.repeat(255), {}, 'k'.repeat(255)],
      ['a topic of the hub further on', 'a.$hub', {}, 'a/$hub'],
      ['headers of other types', 'typed', { 'mqtt-topic': 7, 'mqtt-qos': 'x', 'mqtt-retain': 'true' }, 'typed'],
      ['a header that is an object', 'object', { 'mqtt-topic': { toString: 'x' }, 'mqtt-qos': 3 }, 'object'],
      ['a header of a prototype', 'proto', JSON.parse('{"__proto__":"x","constructor":"y"}'), 'proto'],
      [
        'properties of other types',
        'typed.properties',
        {
          'mqtt-payload-format': 'x',
          'mqtt-content-type': 7,
          'mqtt-response-topic': { toString: 'x' },
          'mqtt-correlation-data': [1],
          'mqtt-user-properties': 'x',
          'mqtt-properties': 'x',
          'mqtt-expires-at': '1',
        },
        'typed/properties',
      ],
      [
        'properties that cannot be sent',
        'wrong.properties',
        {
          'mqtt-payload-format': 2,
          'mqtt-content-type': 'a\0',
          'mqtt-response-topic': '$hub/#',
          'mqtt-user-properties': [['\0', ''], ['a'], [{}, []]],
          'mqtt-properties': Buffer.from('230001', 'hex'),
          'mqtt-expires-at': 1.5,
        },
        'wrong/properties',
      ],
      ['a property of 60,000 bytes', 'large', { 'mqtt-content-type': 'x'.repeat(60_000) }, 'large'],
      ['60,000 bytes of encoded properties', 'encoded', { 'mqtt-properties': Buffer.alloc(60_000, 0x26) }, 'encoded'],
      ['4,000 properties', 'many', { 'mqtt-user-properties': new Array(4_000).fill(['', '']) }, 'many'],
      [
        'properties of a prototype',
        'proto.properties',
        { 'mqtt-user-properties': JSON.parse('{"__proto__":["x"],"constructor":"y"}') },
        'proto/properties',
      ],
      ...levels
        .filter(([, text]) => Buffer.byteLength(text) < 200)
        .map(([attempt, text]) => [attempt, routingKeyOf(`p/${text}`), {}, `p/${text}`] as const),
    ]
    for (const [i, [, key, headers = {}]] of refused.entries()) {
      // Those of the same bytes would be one.
      channel.publish('telehub.publish', key, Buffer.from(`evil ${i}`), { headers })
    }
    for (const [i, [, key, headers]] of passed.entries()) {
      channel.publish('telehub.publish', key, Buffer.from(String(i)), { headers })
    }
    await eventually(
      () => got.length >= passed.length || Promise.reject(JSON.stringify(got.slice(-3))),
      'those with a topic arrive',
    )
    for (const [i, [attempt, , , topic]] of passed.entries()) t.same(got[i], [topic, String(i)], attempt)
    const { dead } = await eventually(async () => {
      const { body } = await hub.get<{ dead: { reason: string; detail: string }[] }>('/api/dead?reason=bad_topic')
      return body.dead.length >= refused.length && body
    }, 'the others are dead letters')
    t.equal(dead.length, refused.length)
    t.ok(dead.every(({ reason, detail }) => reason === 'bad_topic' && detail.length <= 1_000))
    t.same(forged, [], 'nobody got any of them')
    const later = await connectMqtt(t, hub.mqttUrl)
    const retained: string[] = []
    later.on('message', topic => retained.push(topic))
    await later.subscribeAsync(['typed', 'object', 'proto'])
    await stillServes(t, hub)
    t.same(retained, [], 'and nothing is retained that did not say so')
  },
)

t.test('what strangers put into telehub.record is stored as what it is, or dead-lettered', async t => {
  const hub = await start(t)
  const channel = await open(t)
  const bodies: readonly (readonly [attempt: string, body: Buffer, properties: object])[] = [
    ['a batch that is none', Buffer.from('rubbish'), { contentType: 'application/vnd.telehub.batch' }],
    [
      'a batch of 65,535 that holds none',
      Buffer.from('8100ffff', 'hex'),
      { contentType: 'application/vnd.telehub.batch' },
    ],
    [
      'a batch with a message of 4 GB',
      Buffer.from('81000100ffffffff00', 'hex'),
      { contentType: 'application/vnd.telehub.batch' },
    ],
    [
      'a batch with a message whose properties have 4 GB',
      Buffer.from(`8100010026000000${'02'.padEnd(52, '0')}ffffffff${'0'.repeat(16)}`, 'hex'),
      { contentType: 'application/vnd.telehub.batch' },
    ],
    ['a header of 60,000 bytes', Buffer.from('1'), { headers: { 'mqtt-topic': 'x'.repeat(60_000) } }],
    ['not text, compressed', Buffer.from('1f8b0800000000000003ab56', 'hex'), { contentEncoding: 'gzip' }],
  ]
  const before = (await hub.get<{ dead: object[] }>('/api/dead?limit=1000')).body.dead.length
  for (const [, body, properties] of bodies) channel.sendToQueue('telehub.record', body, properties)
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty']
  for (const name of names) {
    channel.sendToQueue('telehub.record', Buffer.from(`{"${name}":1}`), {
      messageId: name,
      headers: { 'mqtt-topic': `${name}/x`, 'client-id': name, user: name, sequence: name, 'received-at': name },
    })
  }
  const letters = await eventually(async () => {
    const { dead } = (await hub.get<{ dead: { reason: string }[] }>('/api/dead?limit=1000')).body
    return dead.length >= before + bodies.length && dead
  }, 'what is nothing is dead')
  t.equal(letters.length, before + bodies.length)
  const { series } = await eventually(async () => {
    const { body } = await hub.get<{ series: { measurement: string; field: string }[] }>('/api/series')
    return names.every(name => body.series.some(({ measurement }) => measurement === name)) && body
  }, 'what is something is stored')
  for (const name of names)
    t.ok(
      series.some(one => one.measurement === name && one.field === name),
      name,
    )
  await stillServes(t, hub)
})
