import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { IPublishPacket } from 'mqtt'
import t, { type Test } from 'tap'
import { makeKey } from '../../src/users/users.js'
import { publish } from '../clients/publish.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, history, metric, type RunningHub, startHub } from '../harness.js'

/** A subscriber to everything, and what it has got. */
async function subscriber(t: Test, hub: RunningHub, more: object = {}) {
  const client = await connectMqtt(t, hub.mqttUrl, { protocolVersion: 5, ...more })
  const got: IPublishPacket[] = []
  client.on('message', (_topic, _payload, packet) => got.push(packet))
  await client.subscribeAsync('#', { qos: 2 })
  return { client, got, texts: () => got.map(({ payload }) => payload.toString()) }
}

t.test('messages of all forms are on disk, stored and delivered when the answer is 200', async t => {
  const hub = await startHub(t)
  const { client, got, texts } = await subscriber(t, hub)

  const one = await publish(hub.httpUrl, { topic: 'home/k/t/telemetry', payload: { temperature: 21.5 } })
  t.match(one, { status: 200, body: { messages: [{ sequence: 1 }] } })
  const many = [
    { topic: 'a', payload: 'on', qos: 0 },
    { topic: 'a', payload: 'on', encoding: 'json', qos: 2 },
    { topic: 'a', payload: Buffer.from([0, 255]).toString('base64'), encoding: 'base64' },
    { topic: 'a', payload: 20.5, retain: true },
    { topic: 'a', payload: false },
    { topic: 'a', payload: null },
    { topic: 'a', payload: [1, { b: 2 }] },
    { topic: 'b', payload: '' },
  ]
  const answer = await publish(hub.httpUrl, many)
  t.equal(answer.status, 200)
  t.same(
    answer.body.messages,
    many.map((_, i) => ({ sequence: 2 + i })),
  )
  t.match(await publish(hub.httpUrl, { messages: many.slice(0, 1) }), { status: 200 })
  t.match(await publish(hub.httpUrl, 'raw ü', {}, '?topic=raw/x&qos=2&retain=true&contentType=text%2Fplain'), {
    status: 200,
  })
  const json = { 'content-type': 'application/json' }
  t.match(await publish(hub.httpUrl, '{ "not": "a message" }', json, '?topic=raw/json'), { status: 200 })
  t.match(
    await publish(hub.httpUrl, {
      topic: 'full',
      payload: 'x',
      contentType: 'text/x',
      responseTopic: 'answers',
      correlationData: 'aWQ=',
      userProperties: { trace: '7' },
      messageExpiry: 600,
    }),
    { status: 200 },
  )
  await eventually(() => got.length === 13, 'all are delivered')
  // A delivery with QoS 2 takes one more round trip, so others can pass it.
  t.same(
    texts().sort(),
    [
      ...['{"temperature":21.5}', 'on', '"on"', Buffer.from([0, 255]).toString(), '20.5', 'false', 'null'],
      ...['[1,{"b":2}]', '', 'on', 'raw ü', '{ "not": "a message" }', 'x'],
    ].sort(),
  )
  const qosOf = (text: string) => got.find(({ payload }) => payload.toString() === text)?.qos
  t.same(['on', '"on"', '20.5'].map(qosOf), [0, 2, 1], 'as asked, 1 without')
  const on = (topic: string) => got.find(packet => packet.topic === topic)
  t.match(on('raw/x'), { qos: 2, payload: Buffer.from('raw ü'), properties: { contentType: 'text/plain' } })
  t.equal(on('raw/json')?.payload.toString(), '{ "not": "a message" }')
  t.match(on('full')?.properties, {
    contentType: 'text/x',
    responseTopic: 'answers',
    correlationData: Buffer.from('id'),
    userProperties: { trace: '7' },
    messageExpiryInterval: 600,
  })
  t.equal(on('full')?.properties?.userProperties?.['telehub-request'], undefined, 'no key, no property of the hub')

  const late = await subscriber(t, hub)
  await eventually(() => late.got.length === 2, 'retained messages')
  t.same(late.texts().sort(), ['20.5', 'raw ü'])
  await publish(hub.httpUrl, [{ topic: 'a', payload: '', retain: true }])
  await client.endAsync()

  await eventually(async () => {
    const values = await history(hub, 'telemetry,device=t,room=k temperature')
    return values.length === 1
  }, 'the reading is stored')
  const { body } = await eventually(async () => {
    const asked = await hub.get<{ received: number; residual: number; devices: { clientId: string }[] }>('/api/balance')
    return asked.body.received === 14 && asked
  }, 'the balance has all')
  t.equal(body.residual, 0)
  t.match(body.devices, [{ clientId: 'http' }])
  t.same((await hub.get<{ devices: unknown[] }>('/api/devices')).body.devices, [], 'no device')
})

t.test('what is wrong is named, and nothing of the request is published', async t => {
  const hub = await startHub(t, { 'limits.packet': '1KB' })
  const good = { topic: 'a', payload: 'x' }
  const cases: readonly (readonly [given: unknown, status: number, answer: object, query?: string])[] = [
    [[good, good, { topic: 'a' }], 400, { error: 'bad_request', index: 2, message: /message 2 .*payload/ }],
    [[good, { ...good, topic: 'a/+' }], 400, { index: 1, message: /message 1: topic.*without \+/ }],
    [{ ...good, topic: '' }, 400, { index: 0 }],
    [{ ...good, topic: 'a\0' }, 400, { index: 0 }],
    [{ ...good, topic: 'x/'.repeat(40) }, 400, { index: 0, message: /levels/ }],
    [{ ...good, qos: 3 }, 400, { index: 0, message: /message 0\/qos/ }],
    [{ ...good, retained: true }, 400, { index: 0, message: /"retained"/ }],
    [{ ...good, encoding: 'hex' }, 400, { index: 0, message: /encoding/ }],
    [{ ...good, encoding: 'base64', payload: 'a' }, 400, { message: /base64/ }],
    [{ ...good, encoding: 'text', payload: 5 }, 400, { message: /must be a string/ }],
    [{ ...good, responseTopic: 'a/#' }, 400, { message: /responseTopic/ }],
    [{ ...good, correlationData: '?' }, 400, { message: /correlationData/ }],
    [{ ...good, userProperties: { 'telehub-request': 'x' } }, 400, { message: /telehub-/ }],
    [{ ...good, userProperties: [['a', 'x'.repeat(17_000)]] }, 400, { message: /properties have more than/ }],
    [[], 400, { message: /given 0 messages/ }],
    [Array.from({ length: 1_001 }, () => good), 400, { message: /given 1001 messages/ }],
    [5, 400, { index: 0 }],
    ['{', 400, { error: 'bad_request', message: /no topic/ }],
    [[good, { ...good, payload: 'x'.repeat(1_000) }], 413, { error: 'too_large', index: 1 }],
    ['x'.repeat(2_000), 413, { error: 'too_large' }, '?topic=a'],
    ['x'.repeat(2e6), 413, { error: 'too_large' }, '?topic=a'],
    ['x', 400, { error: 'bad_request' }, '?topic=a&qos=7'],
    ['x', 400, { error: 'bad_request' }, '?topic=a&retian=true'],
    [[good, { ...good, topic: '$SYS/x' }], 403, { error: 'forbidden', index: 1, message: /hub's own/ }],
  ]
  for (const [given, status, answer, query] of cases) {
    const { headers, ...got } = await publish(hub.httpUrl, given, {}, query)
    t.match(got, { status, body: answer }, JSON.stringify(given).slice(0, 80))
  }
  const bad = await fetch(`${hub.httpUrl}/api/publish`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"topic": "a", ',
  })
  t.equal(bad.status, 400)
  for (const key of ['', 'x'.repeat(256), 'ü']) {
    const { status } = await publish(hub.httpUrl, good, { 'idempotency-key': key })
    t.equal(status, 400, `the key ${key.slice(0, 5)}`)
  }
  t.equal(await metric(hub, 'telehub_refused_total{reason="publish"}'), 2, 'both messages of the refused request')
  t.match(await publish(hub.httpUrl, good), { body: { messages: [{ sequence: 1 }] } }, 'nothing was published before')
})

t.test('users publish what their rules allow: by API key, cookie or admin key', async t => {
  const users = await usersFile()
  const secret = makeKey('', Date.now())
  await users.add('backend', ['allow publish cmd/#', 'deny publish cmd/secret/#'], { kind: 'service' })
  await users.edit(file => file.addKey('backend', secret.key))
  await users.add('viewer', ['allow read #'], { kind: 'dashboard' })
  await users.add('operator', ['allow all cmd/#'], { kind: 'dashboard' })
  await users.add('reader', ['allow read #', 'allow read $hub/#'], { kind: 'service' })
  await users.add('thermo', ['allow publish #'])
  const hub = await startHub(t, users.settings)
  const { got, texts } = await subscriber(t, hub, { username: 'reader', password: passwordOf('reader') })
  const key = { authorization: `Bearer ${secret.text}` }

  t.match(await publish(hub.httpUrl, { topic: 'cmd/a', payload: 'by key', retain: true }, key), { status: 200 })
  t.match(
    await publish(
      hub.httpUrl,
      [
        { topic: 'cmd/a', payload: '' },
        { topic: 'cmd/secret/a', payload: '' },
      ],
      key,
    ),
    {
      status: 403,
      body: { error: 'forbidden', index: 1, message: /deny publish cmd\/secret\/#/ },
    },
  )
  t.match(await publish(hub.httpUrl, { topic: 'other', payload: '' }, key), {
    status: 403,
    body: { message: /no rule of user backend allows it/ },
  })
  t.match(await publish(hub.httpUrl, { topic: 'anything', payload: 'by admin', retain: true }, asAdmin(hub.dir)), {
    status: 200,
  })
  t.equal((await publish(hub.httpUrl, { topic: 'cmd/a', payload: '' })).status, 401)

  const signIn = async (user: string) => {
    const login = await fetch(`${hub.httpUrl}/api/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user, password: passwordOf(user) }),
    })
    return { cookie: (login.headers.get('set-cookie') ?? '').split(';')[0] ?? '' }
  }
  t.match(await publish(hub.httpUrl, { topic: 'cmd/a', payload: '' }, await signIn('viewer')), {
    status: 403,
    body: { message: /no rule of user viewer allows it/ },
  })
  const cookie = await signIn('operator')
  t.equal((await publish(hub.httpUrl, { topic: 'cmd/a', payload: 'by cookie' }, cookie)).status, 200)
  const foreign = { ...cookie, origin: 'https://evil.example' }
  t.equal((await publish(hub.httpUrl, 'x', foreign, '?topic=cmd/a')).status, 403, 'a page of another site')

  await eventually(() => texts().includes('by admin'), 'delivered')
  const late = await subscriber(t, hub, { username: 'reader', password: passwordOf('reader'), clientId: 'late' })
  await eventually(() => late.texts().includes('by key') && late.texts().includes('by admin'), 'both are retained')
  const why = await eventually(async () => {
    await late.client.subscribeAsync('$hub/why/#')
    return late.got.find(({ topic }) => topic === '$hub/why/http:backend')
  }, 'the refusal is shown')
  t.match(JSON.parse(why.payload.toString()), { user: 'backend', action: 'publish' })
  t.equal(got.filter(({ topic }) => topic === 'cmd/secret/a').length, 0)
})

t.test('a user beyond its rate is told when to come back', async t => {
  const hub = await startHub(t, { 'limits.messages': '10' })
  const messages = Array.from({ length: 100 }, () => ({ topic: 'a', payload: 'x' }))
  t.equal((await publish(hub.httpUrl, messages)).status, 200, 'one request may use up what comes')
  const { status, headers, body } = await publish(hub.httpUrl, messages)
  t.match({ status, body }, { status: 429, body: { error: 'too_many', message: /limits\.messages/ } })
  const seconds = Number(headers.get('retry-after'))
  t.ok(seconds > 1 && seconds <= 9, `${seconds} s`)
})

t.test('a full spool: 503, and which were kept', async t => {
  const hub = await startHub(t, {
    ...{ 'spool.limit': '1MB', 'spool.segment': '100KB', 'influx.url': 'http://127.0.0.1:9/x' },
  })
  const messages = Array.from({ length: 10 }, (_, n) => ({ topic: `t/${n}`, payload: 'x'.repeat(30_000) }))
  const key = { 'idempotency-key': 'k' }
  let answer = await publish(hub.httpUrl, messages)
  while (answer.status === 200) answer = await publish(hub.httpUrl, messages)
  t.match(answer, { status: 503, body: { error: 'spool_full', message: /spool\.limit/ } })
  t.ok(answer.headers.get('retry-after'))
  const { index = -1, kept = [] } = answer.body
  t.same(
    kept.map(one => one.index),
    Array.from({ length: index }, (_, i) => i),
    'those before the refused one',
  )
  t.equal((await publish(hub.httpUrl, messages, key)).status, 503)
})

t.test('a key is for one request', async t => {
  const hub = await startHub(t)
  const { got } = await subscriber(t, hub)
  const messages = [1, 2, 3].map(n => ({ topic: 'a', payload: n }))
  const key = { 'idempotency-key': 'order 1' }
  const answers = await Promise.all([0, 1, 2, 3].map(() => publish(hub.httpUrl, messages, key)))
  for (const { status, body } of answers) t.same({ status, body }, { status: 200, body: answers[0]?.body })
  t.equal(answers.filter(({ headers }) => headers.get('idempotent-replayed') === 'true').length, 3)
  t.match(await publish(hub.httpUrl, messages.slice(1), key), { status: 422, body: { error: 'key_reused' } })
  t.match(await publish(hub.httpUrl, 'x', key, '?topic=a'), { status: 422 })
  t.match(await publish(hub.httpUrl, messages, { 'idempotency-key': 'order 2' }), {
    body: { messages: [{ sequence: 4 }, { sequence: 5 }, { sequence: 6 }] },
  })
  t.equal((await publish(hub.httpUrl, { topic: '$SYS', payload: '' }, { 'idempotency-key': 'bad' })).status, 403)
  t.equal((await publish(hub.httpUrl, { topic: 'ok', payload: '' }, { 'idempotency-key': 'bad' })).status, 200)
  await eventually(() => got.length >= 7, 'delivered')
  t.equal(got.length, 7)

  t.equal(await hub.stop(), 0)
  const again = await startHub(t, {}, hub.dir)
  t.same((await publish(again.httpUrl, messages, key)).body, answers[0]?.body, 'after a restart')
})

t.test('on disk, but killed before the journal or the client knew: the retry publishes nothing', async t => {
  const first = await startHub(t)
  const journal = join(first.dir, 'requests')
  const before = `${first.dir}-journal`
  t.teardown(() => rmSync(before, { recursive: true, force: true }))
  await publish(first.httpUrl, { topic: 'a', payload: 0 }, { 'idempotency-key': '0' })
  cpSync(journal, before, { recursive: true })
  const messages = [1, 2, 3].map(n => ({ topic: 'a', payload: n }))
  const key = { 'idempotency-key': 'killed' }
  const { body } = await publish(first.httpUrl, messages, key)
  await first.kill()
  rmSync(journal, { recursive: true })
  cpSync(before, journal, { recursive: true })

  const second = await startHub(t, {}, first.dir)
  const retried = await publish(second.httpUrl, messages, key)
  t.same(retried.body, body, 'the first answer')
  t.equal(retried.headers.get('idempotent-replayed'), 'true')
  t.equal((await publish(second.httpUrl, { topic: 'a', payload: 9 }, key)).status, 422)
  await eventually(async () => (await history(second, 'a,topic=a value')).length === 4, 'stored once')
})

t.test('killed in the middle of requests, sent again until answered: each is stored once', async t => {
  let hub = await startHub(t)
  const wanted: number[] = []
  let repeated = 0
  const requests = new Map<string, number[]>()
  const send = async (key: string, values: readonly number[]) => {
    const answer = await publish(
      hub.httpUrl,
      values.map(value => ({ topic: 'once', payload: value })),
      { 'idempotency-key': key },
    )
    if (answer.status !== 200) throw new Error(JSON.stringify(answer.body))
    if (answer.headers.get('idempotent-replayed')) repeated++
  }
  let n = 0
  for (let round = 0; round < 4; round++) {
    const lane = async (number: number): Promise<void> => {
      const values = [0, 1, 2].map(() => n++)
      const key = `${round}-${number}-${values[0]}`
      requests.set(key, values)
      await send(key, values)
      requests.delete(key)
      wanted.push(...values)
      return lane(number)
    }
    const sending = Array.from({ length: 8 }, (_, number) => lane(number).catch(() => {}))
    await sleep(150 + 100 * round)
    await hub.kill()
    await Promise.all(sending)
    hub = await startHub(t, {}, hub.dir)
    for (const [key, values] of requests) {
      await send(key, values)
      wanted.push(...values)
    }
    requests.clear()
  }
  t.ok(wanted.length > 100, `${wanted.length} messages`)
  t.comment(`${repeated} requests were on disk before they were sent again`)
  const stored = await eventually(async () => {
    const found = await history(hub, 'once,topic=once value')
    return found.length >= wanted.length && found
  }, 'all stored')
  await sleep(500)
  const byNumber = (a: unknown, b: unknown) => Number(a) - Number(b)
  t.same([...stored].sort(byNumber), wanted.sort(byNumber), 'each once')
  t.equal((await history(hub, 'once,topic=once value')).length, wanted.length)
})
