import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import t from 'tap'
import { hashSecret } from '../../src/passwords/passwords.js'
import { makePairing } from '../../src/users/users.js'
import { editUsers } from '../../src/users/users-file.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, type RunningHub, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

/*
 * How somebody becomes a user of the real hub: by a pairing code, a client certificate, or a login.
 */

/** Runs telehub in a folder; resolves with what it printed, or rejects with what it complained of. */
async function telehub(dir: string, ...args: string[]): Promise<string> {
  const run = runCli(args, {}, dir)
  if (await run.exited) throw new Error(run.stderr())
  return run.stdout()
}

/** How the hub answers who wants to connect: the code of its CONNACK, 0 for being let in, -1 when it just closes. */
async function answer(url: string, options: IClientOptions): Promise<number> {
  const client = mqtt.connect(url, { protocolVersion: 4, reconnectPeriod: 0, ...options })
  try {
    return await new Promise<number>(resolve => {
      client.once('connect', () => resolve(0))
      client.on('error', error => {
        const { code } = error as { code?: unknown }
        resolve(typeof code === 'number' ? code : -1)
      })
      client.once('close', () => resolve(-1))
    })
  } finally {
    await client.endAsync(true)
  }
}

const badCredentials = 4
const notAuthorized = 5

function closing(client: MqttClient): Promise<void> {
  return new Promise(resolve => client.once('close', () => resolve()))
}

/** Closed by the hub, as it acknowledges no publish that is not permitted. */
async function publishesNot(client: MqttClient, topic: string): Promise<void> {
  const closed = closing(client)
  client.publish(topic, 'x', { qos: 1 }, () => {})
  await closed
}

interface Answer<T = Record<string, unknown>> {
  readonly status: number
  readonly body: T
  readonly headers: Headers
}

async function post<T = Record<string, unknown>>(
  hub: RunningHub,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer<T>> {
  const response = await fetch(hub.httpUrl + path, {
    method: 'POST',
    headers: { ...headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, body: JSON.parse(text || '{}') as T, headers: response.headers }
}

// — pairing —

interface Paired {
  readonly user: string
  readonly password: string
  readonly clients: readonly string[]
  readonly publish: readonly string[]
  readonly read: readonly string[]
}

const redeem = (hub: RunningHub, code: string) => post<Paired>(hub, '/api/pair', { code })

let marks = 0

/** Changes the users file, and resolves when the hub has read it: it knows a user then that was added last. */
async function known(hub: RunningHub, file: string, change: () => unknown): Promise<void> {
  await change()
  const name = `mark-${++marks}`
  const password = hashSecret(passwordOf(name))
  await editUsers(file, users =>
    users.addUser({ name, kind: 'device', password, clients: [], certificates: [], rules: [] }),
  )
  const mark = { username: name, password: passwordOf(name) }
  await eventually(async () => (await answer(hub.mqttUrl, mark)) === 0, 'the hub has read the file')
}

/** A folder with settings and users, and a hub that uses them. */
async function household(t: Parameters<typeof startHub>[0]) {
  const dir = await tempDir()
  const file = join(dir, 'users.yaml')
  writeFileSync(join(dir, 'telehub.yaml'), `auth.file: ${file}\n`)
  await telehub(dir, 'user', 'add', 'boss', '--kind', 'admin', '--generate')
  const hub = await startHub(t, { 'auth.file': file, 'auth.attempts': '1000' })
  /** A code as `telehub device pair` prints it, known to the hub. */
  const pair = async (...args: string[]) => {
    let code = ''
    await known(hub, file, async () => {
      code = /^ {2}([\w-]{14})$/m.exec(await telehub(dir, 'device', 'pair', ...args))?.[1] ?? ''
    })
    return code
  }
  return { file, hub, pair, text: () => readFileSync(file, 'utf8') }
}

t.test('telehub device pair: the code becomes credentials, which open what the rules say', async t => {
  const { hub, pair, text } = await household(t)
  const code = await pair('lamp', '--allow', 'publish lamps/{user}/#', '--client', 'lamp-*')
  // As a person types it.
  const { status, body: paired } = await redeem(hub, ` ${code.toLowerCase()} `)
  t.equal(status, 200)
  t.match(paired, { user: 'lamp', clients: ['lamp-*'], publish: ['lamps/lamp/#'], read: [] })
  t.notMatch(text(), paired.password)
  t.notMatch(text(), 'pairing')
  t.match(await redeem(hub, code), { status: 403, body: { error: 'forbidden' } }, 'a second time')

  const credentials = { username: paired.user, password: paired.password }
  const lamp = await connectMqtt(t, hub.mqttUrl, { ...credentials, clientId: 'lamp-1' })
  await lamp.publishAsync('lamps/lamp/telemetry', '{"power":5}', { qos: 1 })
  await publishesNot(lamp, 'lamps/other/telemetry')
  t.equal(
    await answer(hub.mqttUrl, { ...credentials, clientId: 'other' }),
    notAuthorized,
    'a client id that is not its own',
  )
  t.equal(await answer(hub.mqttUrl, { ...credentials, password: code, clientId: 'lamp-1' }), badCredentials)
})

t.test('a code that is wrong, too old, or replaced opens nothing; one more try in time does', async t => {
  const { file, hub, pair, text } = await household(t)
  const first = await pair('lamp')
  const second = await pair('lamp')
  const no = { status: 403, body: { error: 'forbidden', message: /telehub device pair makes a new one/ } }
  for (const code of [first, 'ABCD-EFGH-JKMN', '', 'ABCD', '__proto__', `${second}0`]) {
    t.match(await redeem(hub, code), no, JSON.stringify(code))
  }
  const good = text()
  const edited = (from: RegExp | string, to: string) =>
    known(hub, file, () => writeFileSync(file, text().replace(from, to), { mode: 0o600 }))
  await edited(/expires: [^}]+/, 'expires: 2020-01-01T00:00:00Z')
  t.match(await redeem(hub, second), no, 'too old')
  await known(hub, file, () => writeFileSync(file, good))
  t.match(await redeem(hub, second), { status: 200, body: { user: 'lamp' } })
  t.match(await redeem(hub, second), no, 'used')
})

t.test('a device that is paired again: its old password opens nothing, and its connection ends', async t => {
  const { hub, pair } = await household(t)
  const before = await redeem(hub, await pair('lamp'))
  const old = { username: 'lamp', password: before.body.password }
  const lamp = await connectMqtt(t, hub.mqttUrl, old)
  const code = await pair('lamp')
  t.ok(lamp.connected, 'until the code is used')
  const closed = closing(lamp)
  const after = await redeem(hub, code)
  await closed
  t.equal(await answer(hub.mqttUrl, old), badCredentials)
  t.equal(await answer(hub.mqttUrl, { ...old, password: after.body.password }), 0)
})

t.test('one code redeemed by many at the same moment: one of them has it, and its password is the one', async t => {
  const { hub, pair } = await household(t)
  for (const round of [1, 2]) {
    const code = await pair('lamp')
    const answers = await Promise.all([1, 2, 3, 4].map(() => redeem(hub, code)))
    t.same(answers.map(({ status }) => status).sort(), [200, 403, 403, 403], `round ${round}`)
    const paired = answers.find(({ status }) => status === 200)?.body
    t.equal(await answer(hub.mqttUrl, { username: 'lamp', password: paired?.password ?? '' }), 0)
  }
})

t.test('many codes at once: each device gets its own', async t => {
  const { file, hub } = await household(t)
  const names = Array.from({ length: 8 }, (_, i) => `lamp-${i}`)
  const codes = names.map(() => makePairing(Date.now()))
  await known(hub, file, () =>
    editUsers(file, users => {
      for (const [i, name] of names.entries()) {
        const rules = ['allow all devices/{user}/#']
        users.addUser({ name, kind: 'device', password: '', clients: [], certificates: [], rules })
        users.setPairing(name, (codes[i] as (typeof codes)[number]).pairing)
      }
    }),
  )
  const answers = await Promise.all(codes.map(({ code }) => redeem(hub, code)))
  t.same(
    answers.map(({ status, body }) => [status, body.user]),
    names.map(name => [200, name]),
  )
  for (const { body } of answers) {
    const device = await connectMqtt(t, hub.mqttUrl, { username: body.user, password: body.password })
    await device.publishAsync(`devices/${body.user}/telemetry`, '1', { qos: 1 })
  }
})

t.test('who tries code after code has to wait', async t => {
  const { hub, pair } = await household(t)
  const code = await pair('lamp')
  let last = await redeem(hub, 'ABCD-EFGH-JKMN')
  for (let tries = 0; tries < 100 && last.status === 403; tries++) last = await redeem(hub, 'ABCD-EFGH-JKMN')
  t.match(last, { status: 429, body: { error: 'too_many' } })
  t.match(last.headers.get('retry-after'), /^\d+$/)
  t.equal((await redeem(hub, code)).status, 429, 'the right one, too')
})

// — certificates —

const certs = await tempDir()
const pem = (name: string) => readFileSync(join(certs, 'certs', name), 'utf8')
const shows = (name: string) => ({
  ca: pem('ca.pem'),
  cert: pem(`client-${name}.pem`),
  key: pem(`client-${name}.key`),
})
await telehub(certs, 'cert', ...['thermo', 'other', 'hall.example.org', 'stranger'].flatMap(name => ['--client', name]))

async function secured(t: Parameters<typeof startHub>[0], clients: 'required' | 'optional') {
  const users = await usersFile()
  await users.add('thermo', ['allow publish home/{user}/#'], { password: '' })
  await users.add('other', ['allow read home/#'])
  await users.add('hall', ['allow publish hall/#'], { certificates: ['hall.example.org'], clients: ['hall-*'] })
  const hub = await startHub(t, {
    ...users.settings,
    'mqtts.port': '0',
    'tls.cert': join(certs, 'certs', 'server.pem'),
    'tls.key': join(certs, 'certs', 'server.key'),
    'tls.ca': join(certs, 'certs', 'ca.pem'),
    'tls.clients': clients,
  })
  return { users, hub }
}

for (const clients of ['required', 'optional'] as const) {
  t.test(`tls.clients: ${clients}: a certificate is its user, and nobody else`, async t => {
    const { hub } = await secured(t, clients)
    const to = (options: IClientOptions) => answer(hub.mqttsUrl, options)
    const reader = await connectMqtt(t, hub.mqttsUrl, shows('other'))
    const got: string[] = []
    reader.on('message', topic => got.push(topic))
    await reader.subscribeAsync('home/#')
    for (const name of [{}, { username: 'thermo' }]) {
      const thermo = await connectMqtt(t, hub.mqttsUrl, { ...shows('thermo'), ...name })
      await thermo.publishAsync('home/thermo/t', '1', { qos: 1 })
      await publishesNot(thermo, 'home/other/t')
    }
    await eventually(() => got.length === 2, 'what was permitted arrives')
    t.same(got, ['home/thermo/t', 'home/thermo/t'])

    const hall = await connectMqtt(t, hub.mqttsUrl, { ...shows('hall.example.org'), clientId: 'hall-1' })
    await hall.publishAsync('hall/t', '1', { qos: 1 })
    t.equal(
      await to({ ...shows('hall.example.org'), clientId: 'elsewhere' }),
      notAuthorized,
      'a client id that is not its own',
    )

    t.equal(await to(shows('stranger')), badCredentials, 'the name of no user')
    t.equal(await to({ ...shows('stranger'), username: 'thermo' }), badCredentials)
    t.equal(await to({ ...shows('thermo'), username: 'hall' }), badCredentials, 'the name of another')
    t.equal(await to({ ...shows('thermo'), username: 'other', password: 'a guess' }), badCredentials)
    const bare = await to({ ca: pem('ca.pem'), username: 'other', password: passwordOf('other') })
    if (clients === 'required') t.equal(bare, -1, 'a password is no certificate')
    else t.equal(bare, 0, 'a password will do')
    if (clients === 'optional')
      t.equal(await to({ ca: pem('ca.pem'), username: 'thermo' }), badCredentials, 'a name alone')
  })
}

t.test('a user that is removed: its certificate opens nothing, and its connection ends', async t => {
  const { users, hub } = await secured(t, 'required')
  const thermo = await connectMqtt(t, hub.mqttsUrl, shows('thermo'))
  const hall = await connectMqtt(t, hub.mqttsUrl, { ...shows('hall.example.org'), clientId: 'hall-1' })
  const other = await connectMqtt(t, hub.mqttsUrl, shows('other'))
  const closed = [closing(thermo), closing(hall)]
  await users.edit(file => {
    file.removeUser('thermo')
    file.removeUser('hall')
  })
  await Promise.all(closed)
  for (const name of ['thermo', 'hall.example.org']) t.equal(await answer(hub.mqttsUrl, shows(name)), badCredentials)
  t.equal(await answer(hub.mqttsUrl, { ...shows('thermo'), username: 'thermo' }), badCredentials)
  await other.subscribeAsync('home/a')
  t.ok(other.connected, 'the others stay')
  await users.add('thermo', ['allow publish home/{user}/#'], { password: '' })
  await eventually(async () => (await answer(hub.mqttsUrl, shows('thermo'))) === 0, 'there again')
})

// — logins —

/** A hub with an admin and a device, and how one signs in. */
async function office(t: Parameters<typeof startHub>[0], more: Readonly<Record<string, string>> = {}) {
  const users = await usersFile()
  await users.add('boss', ['allow read #', 'allow publish #'], { kind: 'admin' })
  await users.add('lamp', ['allow all devices/{user}/#'])
  const hub = await startHub(t, { ...users.settings, ...more })
  const login = (user: string, password: string) => post(hub, '/api/login', { user, password })
  const session = async (cookie: string) => {
    const response = await fetch(`${hub.httpUrl}/api/session`, { headers: { cookie } })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  return { users, hub, login, session }
}

/** What a browser sends back of it. */
const cookieOf = ({ headers }: Answer) => (headers.get('set-cookie') ?? '').split(';')[0] as string

t.test('a login: its cookie opens the API and a WebSocket, until it is signed out', async t => {
  const { hub, login, session } = await office(t)
  t.match(await session(''), { status: 401, body: { error: 'unauthorized' } })
  const answered = await login('boss', passwordOf('boss'))
  t.equal(answered.status, 204)
  t.match(answered.headers.get('set-cookie'), /^telehub=[\w-]+; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Strict$/)
  const cookie = cookieOf(answered)
  t.same(await session(cookie), {
    status: 200,
    body: { auth: 'required', user: 'boss', kind: 'admin', mayChange: true },
  })
  const balance = await fetch(`${hub.httpUrl}/api/balance`, { headers: { cookie } })
  t.equal(balance.status, 200)

  const token = async () =>
    post<{ username: string; password: string }>(hub, '/api/session/token', undefined, { cookie })
  const { username, password } = (await token()).body
  t.match(password, /^tht_/)
  const page = await connectMqtt(t, hub.webSocketUrl, { username, password })
  await page.subscribeAsync('home/#')
  await page.publishAsync('home/a', '1', { qos: 1 })
  const spare = (await token()).body
  t.equal(await answer(hub.webSocketUrl, { ...spare, username: 'lamp' }), badCredentials, 'with the name of another')
  t.equal(await answer(hub.webSocketUrl, { ...spare, password: `${spare.password}x` }), badCredentials)
  t.equal(await answer(hub.webSocketUrl, {}), badCredentials)

  const closed = closing(page)
  const out = await post(hub, '/api/logout', undefined, { cookie })
  t.equal(out.status, 204)
  t.match(out.headers.get('set-cookie'), /^telehub=; Path=\/; Max-Age=0;/)
  await closed
  for (const one of [password, spare.password]) {
    t.equal(await answer(hub.webSocketUrl, { username, password: one }), badCredentials, 'a token after logout')
  }
  t.equal((await session(cookie)).status, 401)
  t.equal((await token()).status, 401)
  t.equal((await login('boss', passwordOf('boss'))).status, 204, 'signing in again')
})

t.test(
  'no login: a wrong password, no such user, a device; and after auth.attempts of them nobody is heard',
  async t => {
    const { hub, login, session } = await office(t, { 'auth.attempts': '3' })
    const wrong = { status: 401, body: { error: 'unauthorized', message: 'the name or the password is wrong' } }
    t.match(await login('boss', 'wrong password'), wrong)
    t.match(await login('nobody', passwordOf('nobody')), wrong)
    t.match(await login('__proto__', ''), wrong)
    const device = await login('lamp', passwordOf('lamp'))
    t.match(device, { status: 403, body: { error: 'forbidden', message: /lamp is a device/ } })
    for (const answered of [await login('boss', ''), device]) t.equal(answered.headers.get('set-cookie'), null)
    let last = await login('boss', 'wrong password')
    for (let tries = 0; tries < 100 && last.status === 401; tries++) last = await login('boss', 'wrong password')
    t.match(last, { status: 429, body: { error: 'too_many' } })
    t.match(last.headers.get('retry-after'), /^\d+$/)
    t.equal((await login('boss', passwordOf('boss'))).status, 204, 'a password that the hub made cannot be guessed')
    t.equal((await session('telehub=guess')).status, 401)
    t.match(await answer(hub.mqttUrl, { username: 'lamp', password: passwordOf('lamp') }), 0, 'others are served')
  },
)

t.test('a user that is removed, or whose password changes, is signed out', async t => {
  const { users, hub, login, session } = await office(t)
  const cookie = cookieOf(await login('boss', passwordOf('boss')))
  const { body } = await post<IClientOptions>(hub, '/api/session/token', undefined, { cookie })
  const page = await connectMqtt(t, hub.webSocketUrl, body)
  const closed = closing(page)
  await users.edit(file => file.removeUser('boss'))
  await closed
  t.equal((await session(cookie)).status, 401)
  t.equal(await answer(hub.webSocketUrl, body), badCredentials)
  t.equal((await login('boss', passwordOf('boss'))).status, 401)
})
