import { createHmac } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { FieldsReading, SettingFields } from '../../src/config/settings.js'
import type { Message } from '../../src/model.js'
import { webhookKind } from '../../src/outlets/webhook.js'
import type { Outlet } from '../../src/queue/queue.js'
import { outletContract } from '../contract/outlet.js'
import { message as anyMessage } from '../contract/queue.js'
import { type HookAnswer, type HookReceiver, startHookReceiver } from '../services/webhook-receiver.js'

const message = (sequence: number, more: Partial<Message> = {}) =>
  anyMessage(sequence, { payload: Buffer.from(`{"n":${sequence}}`), ...more })

async function open(given: Readonly<Record<string, unknown>>): Promise<Outlet> {
  const reading = new FieldsReading(() => undefined)
  const fields = new SettingFields(given, 'outlets: test', reading)
  const target = webhookKind.read(fields)
  fields.end()
  if (reading.faults.length > 0) throw new Error(reading.faults.join('\n'))
  const silent = { info: () => {}, warn: () => {} }
  return target.open({ name: 'test', hubId: 'hub1', dir: '.', log: silent, incidents: { report: () => {} } })
}

async function begin(t: Test, answer: HookAnswer, settings: Readonly<Record<string, unknown>> = {}) {
  const receiver = await startHookReceiver(answer)
  const outlet = await open({ url: receiver.url, ...settings })
  t.teardown(async () => {
    await outlet.close()
    await receiver.close()
  })
  return { receiver, outlet }
}

const signal = new AbortController().signal

t.test('the contract', async t => {
  outletContract(t, async () => {
    const answer: HookAnswer = ({ messages }) => (messages.some(({ topic }) => topic === 'refused') ? 422 : 200)
    let receiver: HookReceiver = await startHookReceiver(answer)
    const { url } = receiver
    const had: number[] = []
    return {
      outlet: await open({ url }),
      has: async () => [...had, ...receiver.taken.map(({ sequence }) => sequence)],
      message,
      refused: sequence => message(sequence, { topic: 'refused' }),
      takeAway: async () => {
        had.push(...receiver.taken.map(({ sequence }) => sequence))
        await receiver.close()
      },
      bringBack: async () => {
        receiver = await startHookReceiver(answer, Number(new URL(url).port))
      },
      close: () => receiver.close(),
    }
  })
})

t.test('what a receiver sees of a message', async t => {
  const { receiver, outlet } = await begin(t, () => 200)
  const payloads = ['{"big":12345678901234567890}', '21.50', 'on', '', '"text"', Buffer.from([0, 255])]
  await outlet.deliver(
    payloads.map((payload, i) => message(i + 1, { payload: Buffer.from(payload as string) })),
    signal,
  )
  t.same(
    receiver.taken.map(({ encoding, payload }) => [encoding, payload]),
    [
      ['json', { big: Number('12345678901234567890') }],
      ['json', 21.5],
      ['text', 'on'],
      ['text', ''],
      ['json', 'text'],
      ['base64', 'AP8='],
    ],
  )
  t.ok(receiver.requests[0]?.body.includes('12345678901234567890'), 'digit for digit')
  t.match(receiver.taken[1], {
    id: 'hub1-2',
    sequence: 2,
    topic: 'home/room 2/dev.2',
    clientId: 'client/2#',
    user: 'müller',
    receivedAt: 1_700_000_000_000.002,
  })
})

t.test('a signature by Standard Webhooks, and an id that stays the same for the same batch', async t => {
  const secret = `whsec_${Buffer.from('a secret of 24 bytes ....').toString('base64')}`
  let fails = true
  const { receiver, outlet } = await begin(t, () => (fails ? 500 : 200), {
    secret,
    headers: { authorization: 'Bearer token-1234' },
  })
  const batch = [message(7), message(9)]
  await t.rejects(outlet.deliver(batch, signal), { code: 'outlet_unavailable', message: /answers with 500/ })
  fails = false
  await outlet.deliver(batch, signal)
  const [first, second] = receiver.requests
  t.equal(first?.headers['webhook-id'], 'hub1-test-7-9-2')
  t.equal(second?.headers['webhook-id'], first?.headers['webhook-id'])
  t.equal(second?.headers.authorization, 'Bearer token-1234')
  const stamp = second?.headers['webhook-timestamp']
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64')
  const hmac = createHmac('sha256', key)
    .update(`hub1-test-7-9-2.${stamp}.`)
    .update(second?.body ?? '')
  t.equal(second?.headers['webhook-signature'], `v1,${hmac.digest('base64')}`)
})

t.test('batches are limited in messages and in bytes', async t => {
  const { receiver, outlet } = await begin(t, () => 200, { batch: 4, batchBytes: '1KB' })
  await outlet.deliver(
    [1, 2, 3, 4, 5, 6].map(n => message(n, { clientId: 'c' })),
    signal,
  )
  t.same(
    receiver.requests.map(({ messages }) => messages.length),
    [4, 2],
  )
  const large = (n: number) => message(n, { payload: Buffer.alloc(n === 8 ? 2_000 : 500, 'x') })
  await outlet.deliver([7, 8, 9, 10].map(large), signal)
  t.same(
    receiver.requests.slice(2).map(({ messages }) => messages.map(({ sequence }) => sequence)),
    [[7], [8], [9], [10]],
    'one that is larger is alone',
  )
})

t.test('what was taken before a failure is not sent again', async t => {
  const { receiver, outlet } = await begin(t, ({ messages }) => (messages[0]?.sequence === 3 ? 503 : 200), { batch: 2 })
  t.same(
    await outlet.deliver(
      [1, 2, 3, 4].map(n => message(n)),
      signal,
    ),
    ['ack', 'ack', 'retry', 'retry'],
  )
  t.same(
    receiver.taken.map(({ sequence }) => sequence),
    [1, 2],
  )
})

t.test('a pause that the server asks for, and answers that are about the address or the login', async t => {
  const answers = [429, 408, 425, 401, 404, 301]
  const { outlet } = await begin(t, (_request, response) => {
    const status = answers.shift() ?? 200
    response.writeHead(status, { 'retry-after': '7', location: '/elsewhere' }).end('not now')
    return status
  })
  for (const status of [...answers]) {
    await t.rejects(outlet.deliver([message(1)], signal), {
      code: 'outlet_unavailable',
      message: new RegExp(`answers with ${status}: not now`),
      retryAfterMs: 7_000,
    })
  }
  await t.resolves(outlet.deliver([message(1)], signal))
})

t.test('a server that takes the request and never answers', async t => {
  const { outlet } = await begin(t, () => undefined, { timeout: '100ms' })
  await t.rejects(outlet.deliver([message(1)], signal), {
    code: 'outlet_unavailable',
    message: /no answer within 0.1 s/,
  })
})

t.test('a body that is compressed is signed as it is sent', async t => {
  const { receiver, outlet } = await begin(t, () => 200, { gzip: true, secret: 'plain' })
  await outlet.deliver([message(1)], signal)
  const [request] = receiver.requests
  t.equal(request?.headers['content-encoding'], 'gzip')
  t.match(JSON.parse(gunzipSync(request?.body ?? '').toString()), [{ sequence: 1 }])
  const head = `${request?.headers['webhook-id']}.${request?.headers['webhook-timestamp']}.`
  const hmac = createHmac('sha256', 'plain')
    .update(head)
    .update(request?.body ?? '')
  t.equal(request?.headers['webhook-signature'], `v1,${hmac.digest('base64')}`)
})

t.test('a kept connection that the server has closed costs no failure', async t => {
  const { receiver, outlet } = await begin(t, (_request, response) => {
    response.writeHead(200, { connection: 'keep-alive', 'keep-alive': 'timeout=60' }).end()
    // Closed without a word once the answer is out.
    setTimeout(() => response.socket?.destroy(), 5)
    return 200
  })
  for (let n = 1; n <= 10; n++) await outlet.deliver([message(n)], signal)
  t.same(
    receiver.taken.map(({ sequence }) => sequence),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  )
})

t.test('mistakes in the settings, all at once', async t => {
  await t.rejects(open({ url: 'ftp://x', batch: 0, batchBytes: 'big', timeout: '1h', gzip: 'perhaps', urll: 1 }), {
    message: new RegExp(
      [
        'url: not allowed, allowed is an address',
        'batch: given "0", allowed is a whole number from 1 to 10000',
        'batchBytes: given "big", allowed is a size of at least 1000 bytes',
        'timeout: given "1h", allowed is a time from 100ms to 5m',
        'gzip: given "perhaps", allowed is true or false',
        'urll: no such field; did you mean url\\?',
      ].join('[\\s\\S]*'),
    ),
  })
})
