import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { IAuthPacket } from 'mqtt-packet'
import t, { type Test } from 'tap'
import { open5, propertiesOf, publishOf, RawClient, type Received } from '../clients/raw-mqtt.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, metric, type RunningHub, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

/*
 * SCRAM-SHA-256 (RFC 5802, RFC 7677) in AUTH packets (MQTT 5.0 §4.12), with a client of our own: what proves that the
 * hub speaks it as others do. The users are made by the command that people use.
 */

const method = 'SCRAM-SHA-256'
const continues = 0x18
const again = 0x19

const file = join(await tempDir(), 'users.yaml')

/** telehub user add NAME --scram, with this password. */
async function addUser(name: string, password: string, ...more: string[]): Promise<void> {
  const secret = join(await tempDir(), 'secret')
  writeFileSync(secret, `${password}\n`)
  const run = runCli(['user', 'add', name, '--scram', '--password-file', secret, '--auth.file', file, ...more])
  const code = await run.exited
  if (code !== 0) throw new Error(`user add ${name} ended with ${code}: ${run.stderr()}`)
}

await addUser('thermo', 'correct horse', '--allow', 'publish home/thermo/#', '--allow', 'read home/#')
await addUser('lamp', 'battery staple', '--allow', 'read #')
await addUser('curious', 'open sesame', '--allow', 'read $hub/#')
const hub = await startHub(t, { 'auth.file': file, 'auth.attempts': '1000' })

const sha256 = (data: Buffer) => createHash('sha256').update(data).digest()
const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest()
const xor = (a: Buffer, b: Buffer) => Buffer.from(a.map((byte, n) => byte ^ (b[n] as number)))

/** The client's side of one exchange. */
class Scram {
  readonly first: string
  readonly #password: string
  readonly #bare: string
  readonly #header: string
  readonly #nonce: string
  #signature = Buffer.alloc(0)
  salt = ''
  iterations = 0

  constructor(name: string, password: string, header = 'n,,', nonce = randomBytes(18).toString('base64')) {
    this.#password = password
    this.#header = header
    this.#nonce = nonce
    this.#bare = `n=${name.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`
    this.first = header + this.#bare
  }

  /** The last message of the client, in answer to the first of the server. `change` is for what a forger does. */
  final(serverFirst: string, change: Partial<Record<'nonce' | 'channel' | 'proof', string>> = {}): string {
    const [, nonce = '', salt = '', iterations = ''] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? []
    if (!nonce.startsWith(this.#nonce) || nonce === this.#nonce) throw new Error(`not our nonce: ${serverFirst}`)
    this.salt = salt
    this.iterations = Number(iterations)
    const salted = pbkdf2Sync(this.#password, Buffer.from(salt, 'base64'), this.iterations, 32, 'sha256')
    const channel = change.channel ?? Buffer.from(this.#header).toString('base64')
    const without = `c=${channel},r=${change.nonce ?? nonce}`
    const message = `${this.#bare},${serverFirst},${without}`
    const clientKey = hmac(salted, 'Client Key')
    const proof = xor(clientKey, hmac(sha256(clientKey), message)).toString('base64')
    this.#signature = hmac(hmac(salted, 'Server Key'), message)
    return `${without},p=${change.proof ?? proof}`
  }

  /** Has the server shown that it knows the password, too? */
  verifies(serverFinal: string): boolean {
    const [, given = ''] = /^v=([^,]+)$/.exec(serverFinal) ?? []
    const bytes = Buffer.from(given, 'base64')
    return bytes.length === this.#signature.length && timingSafeEqual(bytes, this.#signature)
  }
}

const auth = (reasonCode: number, data: string, authenticationMethod = method): IAuthPacket => ({
  cmd: 'auth',
  reasonCode,
  properties: { authenticationMethod, authenticationData: Buffer.from(data) },
})

const property = (got: Received, id: number) => propertiesOf(got).find(([one]) => one === id)?.[1]
const methodOf = (got: Received) => property(got, 0x15)
const dataOf = (got: Received) => String(property(got, 0x16) ?? '')

/** Sends CONNECT with the first message; with what the hub says to it. */
async function begin(
  t: Test,
  at: RunningHub,
  scram: Scram | undefined,
  more: object = {},
  authenticationMethod = method,
) {
  const client = new RawClient(t, at.mqttUrl, 5)
  const authenticationData = scram && Buffer.from(scram.first)
  const properties = { authenticationMethod, ...(authenticationData && { authenticationData }) }
  const answer = await client.hello({ protocolVersion: 5, clientId: 'scram', properties, ...more })
  return { client, answer }
}

/** Authenticated, or not: the CONNACK. */
async function authenticate(t: Test, scram: Scram, change = {}, clientId = 'scram') {
  const { client, answer } = await begin(t, hub, scram, { clientId })
  t.match(answer, { cmd: 'auth', reasonCode: continues })
  t.equal(methodOf(answer), method, '[MQTT-4.12.0-5]')
  client.send(auth(continues, scram.final(dataOf(answer), change)))
  return { client, connack: await client.next() }
}

async function refused(t: Test, client: RawClient, connack: Received, code: number, what: string): Promise<void> {
  t.match(connack, { cmd: 'connack', reasonCode: code, sessionPresent: false }, what)
  t.same(await client.gone(), [], `${what}: closed`)
}

/** Is it connected, as this user? Only thermo may publish there. */
async function serves(t: Test, client: RawClient, name: string): Promise<void> {
  client.send(publishOf('home/thermo/x', name, 1, 77))
  const puback = await client.answer('puback')
  t.equal(puback.reasonCode, name === 'thermo' ? 0 : 0x87, `connected as ${name}`)
}

t.test('who knows the password is in, and the hub shows that it knows it, too', async t => {
  for (const [name, password, header] of [
    ['thermo', 'correct horse', 'n,,'],
    ['lamp', 'battery staple', 'n,,'],
    // It could bind to a channel, and thinks that the hub cannot.
    ['thermo', 'correct horse', 'y,,'],
  ] as const) {
    const scram = new Scram(name, password, header)
    const { client, connack } = await authenticate(t, scram)
    t.match(connack, { cmd: 'connack', reasonCode: 0 })
    t.equal(methodOf(connack), method, '[MQTT-4.12.0-5]')
    t.ok(scram.verifies(dataOf(connack)), 'the signature of the server')
    t.ok(scram.iterations >= 4_096, 'RFC 7677 §4')
    await serves(t, client, name)
    await client.leave()
  }
  // In a hub that is started anew as well: nothing of it is in memory alone.
  const second = await startHub(t, { 'auth.file': file })
  const scram = new Scram('lamp', 'battery staple')
  const { client, answer } = await begin(t, second, scram)
  client.send(auth(continues, scram.final(dataOf(answer))))
  const connack = await client.next()
  t.match(connack, { cmd: 'connack', reasonCode: 0 })
  t.ok(scram.verifies(dataOf(connack)))
})

t.test('the password in CONNECT still opens for such a user', async t => {
  const client = await connectMqtt(t, hub.mqttUrl, {
    protocolVersion: 5,
    username: 'thermo',
    password: 'correct horse',
  })
  t.ok(client.connected)
  await t.rejects(connectMqtt(t, hub.mqttUrl, { protocolVersion: 5, username: 'thermo', password: 'wrong' }), {
    code: 0x86,
  })
})

t.test('who does not is not, and learns nothing', async t => {
  const attempts: Readonly<Record<string, [Scram, object]>> = {
    'a wrong password': [new Scram('thermo', 'wrong horse'), {}],
    'the password of another': [new Scram('thermo', 'battery staple'), {}],
    'nobody of that name': [new Scram('nobody', 'correct horse'), {}],
    __proto__: [new Scram('__proto__', 'x'), {}],
    'a name with a comma': [new Scram('thermo,x', 'correct horse'), {}],
    'another nonce': [new Scram('thermo', 'correct horse'), { nonce: 'AAAAAAAAAAAAAAAAAAAAAAAA' }],
    'another channel': [new Scram('thermo', 'correct horse'), { channel: Buffer.from('y,,').toString('base64') }],
    'a proof of zeros': [new Scram('thermo', 'correct horse'), { proof: Buffer.alloc(32).toString('base64') }],
    'a proof that is too short': [new Scram('thermo', 'correct horse'), { proof: 'AAAA' }],
  }
  for (const [what, [scram, change]] of Object.entries(attempts)) {
    const { client, connack } = await authenticate(t, scram, change)
    await refused(t, client, connack, 0x86, what)
    t.equal(dataOf(connack), '', `${what}: no signature`)
  }
  // Nobody's salt is as steady as somebody's: otherwise it tells which names there are.
  const salts = new Map<string, Set<string>>()
  for (const name of ['thermo', 'thermo', 'nobody', 'nobody', 'somebody']) {
    const scram = new Scram(name, 'wrong')
    const { client } = await authenticate(t, scram)
    await client.cut()
    salts.set(name, (salts.get(name) ?? new Set()).add(`${scram.salt} ${scram.iterations}`))
  }
  t.same(
    [...salts.values()].map(({ size }) => size),
    [1, 1, 1],
    'always the same for a name',
  )
  t.not([...(salts.get('nobody') ?? [])][0], [...(salts.get('somebody') ?? [])][0], 'another for another name')
  const lengths = [...salts.values()].map(all => [...all].map(text => text.length).join())
  t.equal(new Set(lengths).size, 1, 'as long as a real one, with as many iterations')

  // A proof that was heard once is good for nothing more.
  const scram = new Scram('thermo', 'correct horse')
  const { client: heard, answer } = await begin(t, hub, scram)
  const final = scram.final(dataOf(answer))
  heard.send(auth(continues, final))
  t.match(await heard.next(), { cmd: 'connack', reasonCode: 0 })
  const { client: replays, answer: other } = await begin(t, hub, scram)
  t.not(dataOf(other), dataOf(answer), 'another nonce of the hub')
  replays.send(auth(continues, final))
  await refused(t, replays, await replays.next(), 0x86, 'replayed')
})

t.test('what is no SCRAM, or another method', async t => {
  for (const name of ['PLAIN', 'SCRAM-SHA-1', 'scram-sha-256', '', 'SCRAM-SHA-256-PLUS']) {
    const { client, answer } = await begin(t, hub, new Scram('thermo', 'correct horse'), {}, name)
    await refused(t, client, answer, 0x8c, `method "${name}" [MQTT-4.12.0-1]`)
  }
  const open = await startHub(t)
  const { client, answer } = await begin(t, open, new Scram('thermo', 'correct horse'))
  await refused(t, client, answer, 0x8c, 'without auth.file')

  const garbage = [
    'n,,',
    'n,,n=thermo',
    'x',
    'n=thermo,r=abc',
    'p=tls-unique,,n=thermo,r=abc',
    'n,a=lamp,n=thermo,r=abc',
    '\0'.repeat(50),
    'n,,m=x,n=thermo,r=abc',
    `n,,n=thermo,r=${'x'.repeat(20_000)}`,
  ]
  for (const data of garbage) {
    const scram = { first: data } as Scram
    const { client, answer } = await begin(t, hub, scram)
    t.equal(answer.cmd, 'connack', `no way on after ${JSON.stringify(data.slice(0, 30))}`)
    const code = answer.cmd === 'connack' ? (answer.reasonCode ?? 0) : 0
    t.ok([0x81, 0x82, 0x86, 0x87].includes(code), `refused with ${code.toString(16)}`)
    t.same(await client.gone(), [])
  }
  for (const data of ['', 'x', 'c=biws', 'c=biws,r=abc,p=', 'e=other-error']) {
    const { client, answer } = await begin(t, hub, new Scram('thermo', 'correct horse'))
    t.equal(answer.cmd, 'auth')
    client.send(auth(continues, data))
    const connack = await client.next()
    t.match(connack, { cmd: 'connack', reasonCode: /^(129|130|134|135)$/ }, `second message ${JSON.stringify(data)}`)
    t.same(await client.gone(), [])
  }
})

t.test('in the middle of it: nothing else is heard, and who is silent is cut off', async t => {
  const watcher = await authenticate(t, new Scram('lamp', 'battery staple'), {}, 'watcher').then(({ client }) => client)
  await watcher.subscribe({ 'home/#': 1 })
  const { client, answer } = await begin(t, hub, new Scram('thermo', 'correct horse'))
  t.match(answer, { cmd: 'auth' })
  client.send(publishOf('home/thermo/x', 'too soon', 1, 1))
  const packets = await client.gone()
  t.match(packets, [{ cmd: 'connack', reasonCode: 0x82 }], '[MQTT-3.1.2-30]')
  t.equal(packets.length, 1)
  t.same(await watcher.publishes(), [], 'it is not published')

  for (const [what, packet] of [
    ['another method', auth(continues, 'x', 'PLAIN')],
    ['to authenticate again before the first time', auth(again, 'x')],
    ['success, which the hub alone can say', auth(0, 'x')],
  ] as const) {
    const { client } = await begin(t, hub, new Scram('thermo', 'correct horse'))
    client.send(packet)
    const [connack] = await client.gone()
    t.match(connack, { cmd: 'connack', reasonCode: 0x82 }, what)
  }
  // Who leaves in the middle is just gone: its will was never one.
  const will = { topic: 'home/thermo/will', payload: Buffer.from('x'), qos: 1 as const, retain: false }
  const left = await begin(t, hub, new Scram('thermo', 'correct horse'), { will })
  await left.client.cut()
  t.same(await watcher.publishes(), [], 'no will')

  const impatient = await startHub(t, { 'auth.file': file, 'limits.connect': '1s' })
  const silent = await begin(t, impatient, new Scram('thermo', 'correct horse'))
  t.match(silent.answer, { cmd: 'auth' })
  t.match(await silent.client.gone(), [{ cmd: 'connack', reasonCode: 0x87 }], 'limits.connect, and it is told')
  const narrow = await startHub(t, { 'auth.file': file, 'limits.address': '1' })
  const slow = await begin(t, narrow, new Scram('thermo', 'correct horse'))
  const last = await begin(t, narrow, new Scram('thermo', 'correct horse'))
  t.match(await slow.client.gone(), [{ cmd: 'connack', reasonCode: 0x89 }], 'it made room for another')
  t.match(last.answer, { cmd: 'auth' })
  t.equal(await narrow.stop(), 0)
  t.match(await last.client.gone(), [{ cmd: 'connack', reasonCode: 0x88 }], 'there is no 0x8B in CONNACK')
})

t.test('a challenge that is larger than the client takes is not sent [MQTT-3.1.2-24]', async t => {
  const scram = new Scram('thermo', 'correct horse')
  const properties = {
    authenticationMethod: method,
    authenticationData: Buffer.from(scram.first),
    maximumPacketSize: 60,
  }
  const { client, answer } = await begin(t, hub, scram, { properties })
  await refused(t, client, answer, 0x95, 'AUTH')
})

t.test('authenticating again: the connection goes on, or ends when it fails', async t => {
  const reauthenticate = async (client: RawClient, scram: Scram) => {
    client.send(auth(again, scram.first))
    const answer = await client.answer('auth')
    t.equal(answer.reasonCode, continues)
    // In between it is a connection like any other. (§4.12.1)
    await serves(t, client, 'thermo')
    client.send(auth(continues, scram.final(dataOf(answer))))
  }
  const { client } = await authenticate(t, new Scram('thermo', 'correct horse'))
  await client.subscribe({ 'home/#': 0 })
  for (let n = 0; n < 2; n++) {
    const scram = new Scram('thermo', 'correct horse')
    await reauthenticate(client, scram)
    const done = await client.answer('auth')
    t.equal(done.reasonCode, 0)
    t.equal(methodOf(done), method)
    t.ok(scram.verifies(dataOf(done)), 'the hub shows it again')
    await serves(t, client, 'thermo')
  }
  const counted = () => metric(hub, 'telehub_refused_total{reason="bad_credentials"}')
  const before = await counted()
  await reauthenticate(client, new Scram('thermo', 'wrong horse'))
  const ended = await client.gone()
  t.match(ended.at(-1), { cmd: 'disconnect', reasonCode: 0x87 }, '[MQTT-4.12.1-2]')
  t.equal((await counted()) - before, 1, 'counted as a CONNECT that is refused')
  const curious = await open5(t, hub, { username: 'curious', password: Buffer.from('open sesame') })
  await curious.subscribe({ '$hub/why/scram': 0 })
  const why = String((await curious.answer('publish')).payload)
  t.match(JSON.parse(why), { user: 'thermo', action: 'connect' }, 'and shown')
  t.match(hub.log(), /refused scram at \S+ to connect/, 'and said')

  // Nobody becomes another on the way.
  const { client: other } = await authenticate(t, new Scram('thermo', 'correct horse'))
  const lamp = new Scram('lamp', 'battery staple')
  other.send(auth(again, lamp.first))
  for (;;) {
    const packet = await other.next()
    if (packet.cmd === 'auth' && packet.reasonCode === continues) {
      other.send(auth(continues, lamp.final(dataOf(packet))))
      continue
    }
    t.match(packet, { cmd: 'disconnect', reasonCode: 0x87 }, 'another user')
    break
  }
  await other.gone()
})

t.test('AUTH out of place: 0x82', async t => {
  const { client: changes } = await authenticate(t, new Scram('thermo', 'correct horse'))
  changes.send(auth(again, 'x', 'PLAIN'))
  t.match(await changes.gone(), [{ cmd: 'disconnect', reasonCode: 0x82 }], 'another method [MQTT-4.12.1-1]')
  const { client: goesOn } = await authenticate(t, new Scram('thermo', 'correct horse'))
  goesOn.send(auth(continues, 'x'))
  t.match(await goesOn.gone(), [{ cmd: 'disconnect', reasonCode: 0x82 }], 'nothing to continue')
  const { client: twice } = await authenticate(t, new Scram('thermo', 'correct horse'))
  twice.send(auth(again, new Scram('thermo', 'correct horse').first), auth(again, new Scram('thermo', 'x').first))
  t.match((await twice.gone()).at(-1), { cmd: 'disconnect', reasonCode: 0x82 }, 'again, in the middle of again')
  const without = await open5(t, hub, { username: 'thermo', password: Buffer.from('correct horse') })
  without.send(auth(again, new Scram('thermo', 'correct horse').first))
  t.match(await without.gone(), [{ cmd: 'disconnect', reasonCode: 0x82 }], '[MQTT-4.12.0-6]')
})

t.test('a user without SCRAM, and one whose password changes', async t => {
  const users = await usersFile()
  await users.add('plain', ['allow read #'])
  const hub = await startHub(t, users.settings)
  const scram = new Scram('plain', passwordOf('plain'))
  const { client, answer } = await begin(t, hub, scram)
  t.match(answer, { cmd: 'auth', reasonCode: continues }, 'as if there were nobody of that name')
  client.send(auth(continues, scram.final(dataOf(answer))))
  await refused(t, client, await client.next(), 0x86, 'it has no SCRAM')

  await addUser('changes', 'first password', '--allow', 'read #')
  const second = await startHub(t, { 'auth.file': file })
  const open = async (password: string) => {
    const scram = new Scram('changes', password)
    const { client, answer } = await begin(t, second, scram, { clientId: 'changes' })
    client.send(auth(continues, scram.final(dataOf(answer))))
    const connack = await client.next()
    return connack.cmd === 'connack' && connack.reasonCode === 0 && client
  }
  const here = await open('first password')
  t.ok(here)
  const secret = join(await tempDir(), 'secret')
  writeFileSync(secret, 'second password\n')
  const run = runCli(['user', 'passwd', 'changes', '--scram', '--password-file', secret, '--auth.file', file])
  t.equal(await run.exited, 0, run.stderr())
  if (here)
    t.match((await here.gone()).at(-1), { cmd: 'disconnect', reasonCode: 0x87 }, 'what the old one opened is closed')
  t.notOk(await open('first password'))
  t.ok(await eventually(() => open('second password'), 'the new one'))
})
