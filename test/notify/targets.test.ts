import { createHmac } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import t, { type Test } from 'tap'
import { isPublic } from '../../src/notify/http-call.js'
import { escapeFor, fill, type TemplateValues } from '../../src/notify/template.js'
import { type Notified, startNotifications, transition } from '../fixtures/notify.js'
import { eventually } from '../harness.js'
import { startMailServer } from '../services/mail-server.js'

const secret = 'open-sesame-1234'

interface Received {
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** A web server that keeps what it is sent; `answer` decides, 204 without. */
async function startReceiver(t: Test, answer?: (response: ServerResponse, count: number) => void) {
  const received: Received[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      received.push({ headers: request.headers, body: Buffer.concat(parts).toString() })
      if (answer) answer(response, received.length)
      else response.writeHead(204).end()
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook-${secret}`, received }
}

async function start(t: Test, ...given: Parameters<typeof startNotifications>): Promise<Notified> {
  const started = await startNotifications(...given)
  t.teardown(() => started.notifications.stop())
  return started
}

const routeTo = (...targets: string[]) => `routes: [{ targets: [${targets}], group: 0s }]\n`

t.test('a webhook is signed as Standard Webhooks says, and has one id for all attempts', async t => {
  const { url, received } = await startReceiver(t, (response, count) =>
    response.writeHead(count === 1 ? 503 : 200).end(),
  )
  const hub = await start(
    t,
    `targets: { hook: { type: webhook, url: '${url}', secret: '${secret}' } }\nurl: https://hub.example\n${routeTo('hook')}`,
  )
  hub.raise(transition(1))
  await eventually(() => received.length === 2, 'two attempts')
  for (const { headers, body } of received) {
    const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': given } = headers
    const expected = createHmac('sha256', secret).update(`${id}.${time}.${body}`).digest('base64')
    t.equal(given, `v1,${expected}`)
    t.ok(Math.abs(Number(time) - Date.now() / 1_000) < 60)
  }
  t.equal(received[0]?.headers['webhook-id'], received[1]?.headers['webhook-id'])
  const message = JSON.parse(received[1]?.body ?? '')
  t.match(message, {
    id: /^msg_/,
    title: 'Critical: Freezer temperature is −7.3 °C, above −15 °C for 1 min',
    alerts: [{ alert: 'alert-1', device: 'freezer', severity: 'critical' }],
    url: 'https://hub.example/#device=freezer',
    acknowledge: { url: 'https://hub.example/api/notify/acknowledge' },
  })

  const { token } = message.acknowledge
  t.same(await hub.notifications.acknowledgeBy(token, 'on my way'), { acknowledged: 1, by: 'hook' })
  t.same(hub.alerts.acknowledged, [['alert-1', 'hook', 'on my way']])
  for (const forged of [`${token}x`, token.slice(1), token.replace('.', '..'), '', '.', `${token}.${token}`]) {
    await t.rejects(hub.notifications.acknowledgeBy(forged), { code: 'forbidden' }, forged.slice(0, 20))
  }
})

t.test('a token is for a day, and for its own alerts', async t => {
  let wall = Date.now()
  const { url, received } = await startReceiver(t)
  const hub = await start(
    t,
    `targets: { hook: { type: webhook, url: '${url}', body: '{{acknowledgeToken}}', contentType: text/plain } }\nurl: http://h\n${routeTo('hook')}`,
    { clock: { now: () => wall } },
  )
  hub.raise(transition(1), transition(2))
  await eventually(() => received[0], 'a message')
  const token = received[0]?.body ?? ''
  wall += 864e5 - 1_000
  t.equal((await hub.notifications.acknowledgeBy(token)).acknowledged, 2)
  wall += 2_000
  await t.rejects(hub.notifications.acknowledgeBy(token), { code: 'forbidden' })
})

t.test('texts of alerts end no text of a template, and are no templates', async t => {
  const { url, received } = await startReceiver(t)
  const body = '{"text": "{{title}}", "priority": {{priority}}}'
  const hub = await start(t, `targets: { hook: { type: webhook, url: '${url}', body: '${body}' } }\n${routeTo('hook')}`)
  const sentence = '"}, {"x": {{text}} {{acknowledgeToken}} \\ \u2028 $HOME \r\nEvil: 1'
  hub.raise(transition(1, { sentence }))
  await eventually(() => received[0], 'a message')
  const parsed = JSON.parse(received[0]?.body ?? '')
  t.same(Object.keys(parsed), ['text', 'priority'])
  t.equal(parsed.priority, 5)
  t.match(parsed.text, '"}, {"x": {{text}} {{acknowledgeToken}} \\')
  const values = { title: '<&>"{{id}}', id: 'x' } as TemplateValues
  t.equal(fill('{{title}}', values, escapeFor('text/html')), '&#60;&#38;&#62;&#34;{{id}}')
  t.equal(fill('a={{ title }}', values, escapeFor('application/x-www-form-urlencoded')), 'a=%3C%26%3E%22%7B%7Bid%7D%7D')
})

t.test('an answer of 10 MB, a redirect, a refusal: none of them stops the other targets', async t => {
  const big = await startReceiver(t, response => {
    response.writeHead(500)
    const part = Buffer.alloc(100_000, 'x')
    for (let n = 0; n < 100; n++) response.write(part)
    response.end()
  })
  const moved = await startReceiver(t, response => response.writeHead(302, { location: `${good.url}` }).end())
  const wrong = await startReceiver(t, response => response.writeHead(422).end(`I do not take /hook-${secret}`))
  const silent = await startReceiver(t, () => {})
  const good = await startReceiver(t)
  const all = { big, moved, wrong, silent, good }
  const targets = Object.entries(all).map(([name, { url }]) => `  ${name}: { type: webhook, url: '${url}' }`)
  const hub = await start(t, ['targets:', ...targets, routeTo(...Object.keys(all))].join('\n'))
  const before = process.memoryUsage().rss
  for (let n = 1; n <= 5; n++) {
    hub.raise(transition(n))
    await eventually(() => good.received.length === n, `message ${n}`)
  }
  await eventually(() => big.received.length >= 2 && moved.received.length >= 2 && wrong.received.length === 5, 'tries')
  const statusOf = (target: string) => hub.notifications.status().find(one => one.target === target)
  await eventually(() => statusOf('wrong')?.givenUp === 5 && statusOf('good')?.sent === 5, 'the answers are counted')
  t.ok(process.memoryUsage().rss - before < 200e6)
  t.equal(good.received.length, 5, 'nobody followed the redirect')
  const status = new Map(hub.notifications.status().map(one => [one.target, one]))
  t.match(status.get('big'), { trouble: /answers with 500: x+$/, waiting: 5 })
  t.match(status.get('moved'), { trouble: /302.*redirects are not followed/ })
  t.match(status.get('wrong'), { trouble: /refuses a message.*answers with 422/, givenUp: 5, waiting: 0 })
  t.match(status.get('good'), { sent: 5, trouble: undefined })
  t.match(hub.notifications.alarm(), /notifications to big fail since .*; 5 wait; notifications to moved/)
  for (const text of [hub.notifications.alarm(), JSON.stringify([...status.values()]), ...hub.log])
    t.notMatch(text, new RegExp(secret))
})

t.test('mail over SMTP; a sentence begins no header', async t => {
  const login = { user: 'hub', password: secret }
  const server = await startMailServer({ login })
  t.teardown(() => server.stop())
  const hub = await start(
    t,
    `
url: https://hub.example
targets:
  mail:
    type: email
    host: 127.0.0.1
    port: ${server.port}
    security: none
    user: hub
    password: ${secret}
    from: telehub <hub@example.org>
    to: [ops@example.org, Anna <anna@example.org>]
${routeTo('mail')}`,
  )
  hub.raise(
    transition(1, { sentence: 'Warm\r\nBcc: eve@example.org\r\n\r\n<script>', device: 'a\r\nTo: eve@example.org' }),
  )
  const mail = await eventually(() => server.mails[0], 'a mail')
  t.match(mail, { from: 'hub@example.org', to: ['ops@example.org', 'anna@example.org'], user: 'hub' })
  const [head = ''] = mail.raw.split('\r\n\r\n')
  t.notMatch(head, /^(bcc|evil):/im)
  t.equal(head.match(/^to:/gim)?.length, 1)
  t.match(head, /^Subject: Critical: Warm/m)
  t.match(head, /^Auto-Submitted: auto-generated/im)
  t.match(head, /^Message-ID: <msg_[\w-]+@example\.org>/im)
  t.match(mail.raw, /https:\/\/hub\.example\//)
})

t.test('a wrong password shows in no sentence; the test call says what the server said', async t => {
  const server = await startMailServer({ login: { user: 'hub', password: 'other' } })
  t.teardown(() => server.stop())
  const hub = await start(
    t,
    `targets: { mail: { type: email, host: 127.0.0.1, port: ${server.port}, security: none, user: hub-${secret}, password: '${secret}', from: a@b.c, to: d@e.f } }\n${routeTo('mail')}`,
  )
  await t.rejects(hub.notifications.test('mail'), /target mail fails: .*\*\*\*/)
  hub.raise(transition(1))
  await eventually(() => hub.notifications.alarm(), 'an alarm')
  await t.rejects(hub.notifications.test('mial'), { code: 'not_found', message: /there are mail/ })
  for (const text of [hub.notifications.alarm(), ...hub.log]) t.notMatch(text, new RegExp(secret))
})

t.test('one of two mailboxes is refused: the other one has the mail once', async t => {
  const server = await startMailServer({ refuses: address => address.startsWith('nobody') })
  t.teardown(() => server.stop())
  const hub = await start(
    t,
    `targets: { mail: { type: email, host: 127.0.0.1, port: ${server.port}, security: none, from: a@b.c, to: [nobody@e.f, ops@e.f] } }\n${routeTo('mail')}`,
  )
  hub.raise(transition(1))
  await eventually(() => hub.notifications.status()[0]?.givenUp === 1, 'given up')
  t.same(
    server.mails.map(({ to }) => to),
    [['ops@e.f']],
  )
  t.match(hub.notifications.alarm(), /rejects 1 of 2 receivers/)
})

t.test('a server that says nothing, and one that never stops, delay nobody', async t => {
  const open = new Set<{ destroy(): void }>()
  const tcp = async (talk: (write: (text: string) => boolean) => void) => {
    const server = createTcpServer(socket => {
      open.add(socket)
      socket.on('error', () => {})
      talk(text => socket.write(text))
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => {
      for (const socket of open) socket.destroy()
      server.close()
    })
    return (server.address() as AddressInfo).port
  }
  const mute = await tcp(() => {})
  const chatty = await tcp(write => {
    for (let n = 0; n < 1_000; n++) write(`220-${'x'.repeat(10_000)}\r\n`)
  })
  const mail = (port: number) =>
    `{ type: email, host: 127.0.0.1, port: ${port}, security: none, from: a@b.c, to: d@e.f }`
  const hub = await start(
    t,
    `targets: { mute: ${mail(mute)}, chatty: ${mail(chatty)}, bus: { type: mqtt, topic: alerts } }\n${routeTo('mute', 'chatty', 'bus')}`,
  )
  hub.raise(transition(1), transition(2))
  t.ok(await eventually(() => hub.published.all[0], 'the other target'), 'the other target is told')
  t.ok(await eventually(() => open.size >= 2, 'both are called'), 'while the two are called')
})

t.test('addresses that are not of the public internet, in every spelling', async t => {
  for (const address of [
    ...['127.0.0.1', '10.1.2.3', '172.16.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '0.0.0.0', '224.0.0.1'],
    ...['255.255.255.255', '::1', '::', '::ffff:127.0.0.1', '::ffff:7f00:1', 'fe80::1', 'fe80::1%eth0', 'fd00::1'],
    ...['64:ff9b::7f00:1', '2002:7f00:1::', '2001:0:1::', '::127.0.0.1', 'ff02::1', 'no address'],
  ]) {
    t.equal(isPublic(address), false, address)
  }
  for (const address of ['1.1.1.1', '8.8.8.8', '2606:4700::1111', '::ffff:8.8.8.8'])
    t.equal(isPublic(address), true, address)
})
