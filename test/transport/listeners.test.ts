import { once } from 'node:events'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { Bans } from '../../src/auth/bans.js'
import { Logins } from '../../src/auth/logins.js'
import { loadSettings } from '../../src/config/config.js'
import { type HttpOptions, HttpServer } from '../../src/http/server.js'
import { Counters } from '../../src/observe/counters.js'
import type { PipelineApi } from '../../src/pipeline/pipeline-api.js'
import { Listeners, type ListenersOptions } from '../../src/transport/listeners.js'
import type { Peer } from '../../src/transport/pool.js'
import { loadTls, Tls, type TlsPaths } from '../../src/transport/tls.js'
import { quietAudit, quietLog } from '../fixtures/quiet.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const path = (name: string) =>
  name ? fileURLToPath(new URL(`../../../test/fixtures/tls/${name}`, import.meta.url)) : ''
const file = (name: string) => readFileSync(path(name))
const tls = { cert: path('server.pem'), key: path('server.key'), ca: '', crl: '' }
const secure = { ...tls, ca: path('ca.pem') }

interface Accepted {
  readonly stream: Duplex
  readonly peer: Peer
}

interface Served {
  readonly listeners: Listeners
  /** By reason. */
  refused(): Readonly<Record<string, number>>
  readonly said: string[]
  /** The server's side of the next connection. */
  next(): Promise<Accepted>
  waiting(): number
}

const defaults: Omit<ListenersOptions, 'connections' | 'counters' | 'log' | 'tls'> = {
  host: '127.0.0.1',
  mqttPort: 0,
  mqttsPort: 'off',
  clientCertificates: 'required',
  webSocket: { origins: [], pingMs: 0, packetBytes: 100_000, helloBytes: 1_000 },
  proxy: { trusted: [], protocol: false },
  pending: 10_000,
  handshakeMs: 10_000,
}

/** Loaded and watched. */
function certificates(t: Test, paths: TlsPaths): Tls {
  const say = (sentence: string) => t.comment(sentence)
  const tls = new Tls({ paths, clock: Date, log: { info: say, warn: say }, everyMs: 20 })
  tls.start()
  t.teardown(() => tls.stop())
  return tls
}

async function serve(
  t: Test,
  options: Partial<Omit<ListenersOptions, 'tls'> & { tls: TlsPaths }> = {},
): Promise<Served> {
  const accepted: Accepted[] = []
  const counters = new Counters()
  const said: string[] = []
  const listeners = new Listeners({
    ...defaults,
    connections: {
      accept: (stream, peer) => {
        t.teardown(() => stream.destroy())
        accepted.push({ stream, peer })
      },
    },
    counters,
    log: { info: sentence => said.push(sentence) },
    ...options,
    tls: options.tls && certificates(t, options.tls),
  })
  t.teardown(() => listeners.stop())
  await listeners.start()
  const next = async () => {
    while (accepted.length === 0) await sleep(1)
    return accepted.shift() as Accepted
  }
  const refused = () => Object.fromEntries(counters.refused)
  return { listeners, refused, said, next, waiting: () => accepted.length }
}

const mqttPort = (served: Served) => served.listeners.mqttPort ?? 0
const mqttsPort = (served: Served) => served.listeners.mqttsPort ?? 0

async function dial(t: Test, port: number, host = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host, noDelay: true })
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** Resolves when the handshake is over; what a refused client certificate does to TLS 1.3 comes after. */
async function dialTls(t: Test, port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({ port, host: '127.0.0.1', ca: file('ca.pem'), ...options })
  t.teardown(() => socket.destroy())
  await once(socket, 'secureConnect')
  socket.on('error', () => {})
  return socket
}

async function read(stream: Duplex, length: number): Promise<string> {
  let all = ''
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    all += chunk
    if (all.length >= length) break
  }
  return all
}

/** Unlike `once` does not mind an error before. */
const closed = (socket: Socket) => new Promise<void>(resolve => socket.resume().once('close', () => resolve()))

const echoes = async (t: Test, client: Duplex, { stream }: Accepted, sent = 'MQTT') => {
  client.write(sent)
  t.equal(await read(stream, sent.length), sent, 'there')
  stream.write('back')
  t.equal(await read(client, 4), 'back', 'and back')
}

t.test('TCP and TLS', async t => {
  const served = await serve(t, { mqttsPort: 0, tls })
  const client = await dial(t, mqttPort(served))
  const accepted = await served.next()
  t.same(accepted.peer, { address: '127.0.0.1', listener: 'mqtt', certificate: [] })
  await echoes(t, client, accepted)

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const client = await dialTls(t, mqttsPort(served), { minVersion: version, maxVersion: version })
    const accepted = await served.next()
    t.same(accepted.peer, { address: '127.0.0.1', listener: 'mqtts', certificate: [] })
    await echoes(t, client, accepted)
    client.destroy()
    await eventually(() => accepted.stream.closed, 'it is over on both sides')
  }
  t.same(served.refused(), {})

  const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
  await t.rejects(dialTls(t, mqttsPort(served), old), 'TLS 1.1')
  const plain = await dial(t, mqttsPort(served))
  plain.write(Buffer.from([0x10, 12, 0, 4, 77, 81, 84, 84, 4, 2, 0, 0, 0, 0]))
  await closed(plain)
  t.same(served.refused(), { tls_handshake: 2 })
  t.match(served.said[0], /127.0.0.1: TLS handshake failed: unsupported protocol/)
  t.match(served.said[1], /127.0.0.1: TLS handshake failed: (wrong version number|packet length too long|http request)/)

  const hasty = await dial(t, mqttsPort(served))
  hasty.resetAndDestroy()
  const leaving = connectTls({ port: mqttsPort(served), host: '127.0.0.1', ca: file('ca.pem') })
  leaving.on('error', () => {})
  await once(leaving, 'connect')
  leaving.destroy()
  await sleep(100)
  t.same(served.refused(), { tls_handshake: 2 }, 'who leaves is not refused')
  t.equal(served.waiting(), 0)
})

t.test('an IPv4 client of a dual-stack port has an IPv4 address', async t => {
  const served = await serve(t, { host: '::' })
  await dial(t, mqttPort(served))
  t.equal((await served.next()).peer.address, '127.0.0.1')
  await dial(t, mqttPort(served), '::1')
  t.equal((await served.next()).peer.address, '::1')
})

t.test('client certificates', async t => {
  const served = await serve(t, { mqttsPort: 0, tls: secure })
  const port = mqttsPort(served)
  const good = { cert: file('client.pem'), key: file('client.key') }
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const client = await dialTls(t, port, { ...good, maxVersion })
    await echoes(t, client, await served.next())
    for (const cert of [{}, { cert: file('stranger.pem'), key: file('stranger.key') }]) {
      const refused = connectTls({ port, host: '127.0.0.1', ca: file('ca.pem'), maxVersion, ...cert })
      refused.on('error', () => {})
      await closed(refused)
    }
  }
  t.same(served.refused(), { tls_handshake: 4 })
  t.match(served.said[0], /TLS handshake failed: peer did not return a certificate/)
  t.match(served.said[1], /certificate of a client was not accepted: DEPTH_ZERO_SELF_SIGNED_CERT/)
  t.equal(served.waiting(), 0)
})

t.test(
  'the names of a client certificate go with its connection; with tls.clients: optional one may have none',
  async t => {
    const good = { cert: file('client.pem'), key: file('client.key') }
    const stranger = { cert: file('stranger.pem'), key: file('stranger.key') }
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const served = await serve(t, { mqttsPort: 0, tls: secure, clientCertificates: 'optional' })
      const port = mqttsPort(served)
      const names = async (options: ConnectionOptions) => {
        const client = await dialTls(t, port, { maxVersion, ...options })
        const accepted = await served.next()
        await echoes(t, client, accepted)
        return accepted.peer.certificate
      }
      t.same(await names(good), ['device-1'])
      t.same(await names({}), [], 'without one')
      const refused = connectTls({ port, host: '127.0.0.1', ca: file('ca.pem'), maxVersion, ...stranger })
      refused.on('error', () => {})
      await closed(refused)
      t.same(served.refused(), { tls_handshake: 1 })
      t.match(
        served.said[0],
        /^127\.0\.0\.1: the certificate of a client was not accepted: DEPTH_ZERO_SELF_SIGNED_CERT/,
      )
      t.equal(served.waiting(), 0)

      for (const [who, options, expected] of [
        ['with one', good, ['device-1']],
        ['without', {}, []],
        ['of a stranger', stranger, undefined],
      ] as const) {
        const first = connectTls({ port, host: '127.0.0.1', ca: file('ca.pem'), maxVersion, ...options })
        first.on('error', () => {})
        let session: Buffer | undefined
        first.on('session', one => {
          session = one
        })
        if (expected) {
          await once(first, 'secureConnect')
          await echoes(t, first, await served.next())
          first.destroy()
        } else await closed(first)
        if (!session) continue
        const again = connectTls({ port, host: '127.0.0.1', ca: file('ca.pem'), maxVersion, session })
        again.on('error', () => {})
        t.teardown(() => again.destroy())
        if (expected) {
          await once(again, 'secureConnect')
          const accepted = await served.next()
          t.ok(again.isSessionReused(), `a session ${who} resumed`)
          t.same(accepted.peer.certificate, expected, 'is whose it was')
        } else {
          await closed(again)
          t.equal(served.waiting(), 0, `a session ${who} gets no further`)
        }
      }
    }
  },
)

t.test('new certificates are for those who come; a session with a certificate of the old CA is over', async t => {
  const dir = await tempDir()
  const paths = { cert: join(dir, 'cert'), key: join(dir, 'key'), ca: join(dir, 'ca'), crl: '' }
  const put = (name: string) => {
    copyFileSync(path(`${name}.pem`), paths.cert)
    copyFileSync(path(`${name}.key`), paths.key)
  }
  put('server')
  copyFileSync(path('ca.pem'), paths.ca)
  const served = await serve(t, { mqttsPort: 0, tls: paths, clientCertificates: 'optional' })
  const good = { cert: file('client.pem'), key: file('client.key') }
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    put('server')
    copyFileSync(path('ca.pem'), paths.ca)
    const port = mqttsPort(served)
    const shown = async (options: ConnectionOptions = {}) => {
      const client = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
      client.on('error', () => {})
      t.teardown(() => client.destroy())
      await once(client, 'secureConnect')
      return client
    }
    const nameOf = (client: TLSSocket) => client.getPeerCertificate().subject.CN
    await eventually(async () => {
      const client = await shown()
      await served.next()
      return nameOf(client) === 'localhost'
    }, 'the first certificate')
    let session: Buffer | undefined
    const open = await dialTls(t, port, { ...good, maxVersion })
    const accepted = await served.next()
    open.on('session', one => {
      session = one
    })
    await echoes(t, open, accepted)
    t.same(accepted.peer.certificate, ['device-1'])
    copyFileSync(path('stranger.pem'), paths.ca)
    put('stranger')
    await eventually(async () => {
      const client = await shown()
      await served.next()
      return nameOf(client) === 'device-1'
    }, 'the second certificate')
    await echoes(t, open, accepted, 'still there')
    session ??= open.getSession()
    t.ok(session)
    const again = await shown({ maxVersion, ...(session && { session }) })
    t.notOk(again.isSessionReused(), 'not resumed')
    t.same((await served.next()).peer.certificate, [], 'and what it showed then counts no more')
  }
})

t.test('certificates and keys that are none are refused at the start, in words', async t => {
  const dir = await tempDir()
  const written = (name: string, content: string | Buffer) => {
    writeFileSync(join(dir, name), content)
    return join(dir, name)
  }
  const text = written('text.pem', 'not PEM')
  const damaged = written('damaged.pem', String(file('server.pem')).replace(/M/g, 'N'))
  const locked = '-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjMF8G\n-----END ENCRYPTED PRIVATE KEY-----\n'
  const missing = join(dir, 'missing.pem')
  for (const [given, why] of [
    [{ cert: missing }, `tls.cert: ${missing}: the file does not exist`],
    [{ cert: dir }, /^tls.cert: .*: EISDIR/],
    [{ cert: text }, `tls.cert: ${text}: contains no certificate in PEM`],
    [{ cert: path('server.key') }, /^tls.cert: .*server.key: contains no certificate in PEM/],
    [{ cert: damaged }, `tls.cert: ${damaged}: contains a damaged certificate`],
    [{ key: missing }, `tls.key: ${missing}: the file does not exist`],
    [{ key: text }, `tls.key: ${text}: contains no private key in PEM without a passphrase`],
    [{ key: written('locked.pem', locked) }, /^tls.key: .*: contains no private key in PEM without a passphrase/],
    [{ key: path('server.pem') }, /^tls.key: .*server.pem: contains no private key/],
    [{ key: path('stranger.key') }, /^tls.key: .*stranger.key: is not the key of the certificate in .*server.pem/],
    [{ ca: missing }, `tls.ca: ${missing}: the file does not exist`],
    [{ ca: text }, `tls.ca: ${text}: contains no certificate in PEM`],
  ] as const) {
    const message = typeof why === 'string' ? new RegExp(`^${why.replaceAll('.', '\\.')}`) : why
    t.throws(() => loadTls({ ...tls, ...given }), { code: 'bad_settings', message }, String(why))
  }
  const chain = written('chain.pem', Buffer.concat([file('server.pem'), file('ca.pem')]))
  t.equal(loadTls({ ...tls, cert: chain }).cert.length, readFileSync(chain).length, 'a chain')
  const { ca } = loadTls(secure)
  t.ok(ca?.equals(file('ca.pem')))
  await t.rejects(serve(t, { mqttsPort: 0, tls: { ...tls, cert: missing } }), { code: 'bad_settings' })
})

const header = 'PROXY TCP4 203.0.113.9 198.51.100.1 56324 1883\r\n'
const local = Buffer.from('\r\n\r\n\0\r\nQUIT\n\x20\0\0\0', 'latin1')
const proxy = { trusted: ['127.0.0.1'], protocol: true }

t.test('PROXY protocol, before MQTT and before TLS', async t => {
  const served = await serve(t, { mqttsPort: 0, tls, proxy })
  for (const [sent, address] of [
    [Buffer.from(header), '203.0.113.9'],
    [local, '127.0.0.1'],
  ] as const) {
    const client = await dial(t, mqttPort(served))
    client.write(Buffer.concat([sent, Buffer.from('MQTT')]))
    const accepted = await served.next()
    t.same(accepted.peer, { address, listener: 'mqtt', certificate: [] })
    t.equal(await read(accepted.stream, 4), 'MQTT', 'in one segment with what follows')
    await echoes(t, client, accepted, 'more')

    const apart = await dial(t, mqttPort(served))
    for (const byte of sent) {
      apart.write(Buffer.from([byte]))
      await sleep(1)
    }
    const other = await served.next()
    t.same(other.peer, { address, listener: 'mqtt', certificate: [] }, 'byte by byte')
    await echoes(t, apart, other)

    const raw = await dial(t, mqttsPort(served))
    raw.cork()
    raw.write(sent)
    const overTls = connectTls({ socket: raw, host: 'localhost', ca: file('ca.pem') })
    overTls.on('error', () => {})
    process.nextTick(() => raw.uncork())
    await once(overTls, 'secureConnect')
    const third = await served.next()
    t.same(third.peer, { address, listener: 'mqtts', certificate: [] })
    await echoes(t, overTls, third)
  }
  t.same(served.refused(), {})
})

t.test('a trusted proxy must send a header; what others send is theirs', async t => {
  const served = await serve(t, { mqttsPort: 0, tls, proxy })
  for (const port of [mqttPort(served), mqttsPort(served)]) {
    const bare = await dial(t, port)
    bare.write(Buffer.from([0x10, 12, 0, 4]))
    await closed(bare)
    const silent = await dial(t, port)
    silent.end()
    await closed(silent)
  }
  t.same(served.refused(), { proxy_header: 2 })
  t.match(served.said[0], '127.0.0.1: no PROXY header, which proxy.protocol requires: it does not begin')
  t.equal(served.waiting(), 0)
  for (const other of [
    { trusted: ['10.0.0.0/8'], protocol: true },
    { trusted: ['127.0.0.1'], protocol: false },
  ]) {
    const served = await serve(t, { proxy: other })
    const client = await dial(t, mqttPort(served))
    client.write(header)
    const { stream, peer } = await served.next()
    t.same(peer, { address: '127.0.0.1', listener: 'mqtt', certificate: [] })
    t.equal(await read(stream, header.length), header, 'not looked at')
  }
})

t.test('who is slow is cut off, drip by drip', async t => {
  const served = await serve(t, { mqttsPort: 0, tls, proxy, handshakeMs: 300 })
  const plainPort = mqttPort(served)
  const hello = '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'
  const took = await Promise.all(
    (
      [
        [plainPort, '', header],
        [plainPort, '', local.toString('latin1')],
        [mqttsPort(served), '', header],
        [mqttsPort(served), header, hello],
        [mqttsPort(served), header, ''],
      ] as const
    ).map(async ([port, first, slowly]) => {
      const socket = await dial(t, port)
      const from = Date.now()
      socket.write(first)
      let at = 0
      const drip = setInterval(() => socket.write(slowly.slice(at, ++at), 'latin1'), 40)
      await closed(socket)
      clearInterval(drip)
      return Date.now() - from
    }),
  )
  t.ok(
    took.every(ms => ms >= 280 && ms < 2_000),
    took.join(),
  )
  t.equal(served.waiting(), 0)
  t.same(served.refused(), { handshake_timeout: 5 })
  t.match(served.said.join('\n'), '203.0.113.9: handshake aborted: not finished within 300 ms (limits.connect)')
})

t.test('2,000 half-open connections do not keep a client out, on TCP and TLS', async t => {
  const from = Date.now()
  const served = await serve(t, { mqttsPort: 0, tls, proxy, pending: 100, handshakeMs: 60_000 })
  for (const [port, sent] of [
    [mqttPort(served), ''],
    [mqttPort(served), header.slice(0, -1)],
    [mqttsPort(served), header],
    [mqttsPort(served), `${header}\x16\x03\x01\x02\x00\x01`],
  ] as const) {
    const before = served.refused().gave_way ?? 0
    const idle = await Promise.all(Array.from({ length: 2_000 }, () => dial(t, port)))
    for (const socket of idle) socket.resume().write(sent)
    const client = await dial(t, port)
    client.write(header)
    if (port === mqttsPort(served)) {
      const overTls = connectTls({ socket: client, host: 'localhost', ca: file('ca.pem') })
      overTls.on('error', () => {})
      await once(overTls, 'secureConnect')
      await echoes(t, overTls, await served.next())
    } else await echoes(t, client, await served.next())
    await eventually(() => idle.filter(socket => socket.closed).length >= 1_900, 'those that waited longest gave way')
    t.ok((served.refused().gave_way ?? 0) - before >= 1_900)
    for (const socket of idle) socket.destroy()
    await sleep(50)
  }
  t.same(Object.keys(served.refused()), ['gave_way'])
  const seconds = Math.ceil((Date.now() - from) / 1_000) + 1
  t.ok(served.said.length <= 10 * seconds, `${served.said.length} sentences in ${seconds} s`)
  t.match(served.said.join('\n'), /handshake aborted: closed to make room for another/)
  t.match(served.said.join('\n'), /\(and \d+ more like it\)/)
})

t.test('who has left, or got through, takes no place', async t => {
  const served = await serve(t, { mqttsPort: 0, tls, proxy, pending: 1, handshakeMs: 200 })
  const opened: [Duplex, Accepted][] = []
  for (const port of [mqttPort(served), mqttsPort(served)]) {
    for (const sent of ['', 'PROXY', header.slice(0, -1)]) {
      const socket = await dial(t, port)
      socket.write(sent)
      await sleep(20)
      socket.destroy()
      await sleep(20)
    }
    const socket = await dial(t, port)
    socket.write(header)
    if (port === mqttPort(served)) opened.push([socket, await served.next()])
    else {
      const overTls = connectTls({ socket, host: 'localhost', ca: file('ca.pem') })
      opened.push([overTls, await served.next()])
    }
  }
  await sleep(300)
  t.same(served.refused(), {}, 'nor is it cut off later')
  for (const [client, accepted] of opened) await echoes(t, client, accepted)
})

t.test('stop frees the ports at once, ends handshakes, and leaves connections alone', async t => {
  const served = await serve(t, { mqttsPort: 0, tls })
  const port = mqttPort(served)
  const securePort = mqttsPort(served)
  const tcp = await dial(t, port)
  const overTcp = await served.next()
  const overTls = await dialTls(t, securePort)
  const alsoTls = await served.next()
  const halfOpen = await dial(t, securePort)
  const gone = closed(halfOpen)
  await sleep(50)
  await served.listeners.stop()
  await gone
  await t.rejects(dial(t, port), { code: 'ECONNREFUSED' })
  const again = await serve(t, { mqttPort: port, mqttsPort: securePort, tls })
  t.equal(mqttPort(again), port)
  t.equal(again.listeners.mqttsPort, securePort)
  await echoes(t, tcp, overTcp)
  await echoes(t, overTls, alsoTls)
  t.same(served.refused(), {})
})

t.test('a port that is taken is said so, and the other is not kept', async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => taken.close())
  await once(taken, 'listening')
  const port = (taken.address() as { port: number }).port
  const said = (setting: string) => ({
    code: 'port_taken',
    message: new RegExp(`^${setting}: 127.0.0.1:${port} is taken`),
  })
  await t.rejects(serve(t, { mqttPort: port }), said('mqtt.port'))
  await t.rejects(serve(t, { mqttsPort: port, tls }), said('mqtts.port'))
  const [free] = [await serve(t)].map(({ listeners }) => {
    const free = listeners.mqttPort
    listeners.stop()
    return free
  })
  await t.rejects(serve(t, { mqttPort: port, mqttsPort: free ?? 0, tls }), said('mqtt.port'))
  await serve(t, { mqttPort: free ?? 0 })
  await t.rejects(serve(t, { host: '192.0.2.1' }), { message: /192.0.2.1:0 is not an address of this machine/ })
})

t.test('with a certificate HTTP is HTTPS, and its WebSockets are secure', async t => {
  const served = await serve(t)
  const http = new HttpServer({
    connections: 1_000,
    perAddress: 250,
    host: '127.0.0.1',
    port: 0,
    version: 'test',
    tls: certificates(t, secure),
    // No request here asks the pipeline.
    pipeline: {} as PipelineApi,
    mapping: {} as HttpOptions['mapping'],
    admin: {} as HttpOptions['admin'],
    shadows: { ask: async () => ({ status: 404, answer: {} }), namesOf: () => [] },
    publisher: { publishDirectly: async () => ({ sequences: [], isRepeated: false }) },
    packetBytes: 1e6,
    feeds: {} as HttpOptions['feeds'],
    commands: {} as HttpOptions['commands'],
    origins: [],
    health: { starts: [], hubId: 'hub', ready: async () => ({ ready: true, dependencies: [] }) },
    metrics: { text: async () => '', contentType: 'text/plain' },
    clock: { now: () => 0 },
    counters: new Counters(),
    audit: quietAudit,
    bans: new Bans({
      path: '',
      failures: 1,
      firstMs: 0,
      exempt: [],
      clock: { now: () => 0 },
      audit: quietAudit,
      log: quietLog,
    }),
    authority: undefined,
    anonymous: false,
    logins: new Logins({ path: '', loginMs: 0, clock: { now: () => 0 }, monotonic: performance }),
    pairing: { redeem: async () => undefined, last: () => undefined },
    auditLog: { dir: '' },
    live: { current: loadSettings({}) },
    adminKey: '',
    proxies: [],
    webSockets: served.listeners,
    log: { info: () => {}, warn: sentence => t.comment(sentence) },
  })
  await http.start()
  t.teardown(() => http.stop())
  const [response] = await once(
    request({ host: '127.0.0.1', port: http.port, path: '/healthz', ca: file('ca.pem') }).end(),
    'response',
  )
  t.equal(response.statusCode, 200, 'browsers need no certificate')
  response.resume()
  const own = `https://127.0.0.1:${http.port}`
  const client = new WebSocket(`wss://127.0.0.1:${http.port}/mqtt`, 'mqtt', { ca: file('ca.pem'), origin: own })
  t.teardown(() => client.terminate())
  await once(client, 'open')
  const { stream, peer } = await served.next()
  t.same(peer, { address: '127.0.0.1', listener: 'wss', certificate: [] })
  client.send(Buffer.from('MQTT'))
  t.equal(await read(stream, 4), 'MQTT')

  served.listeners.stop()
  const late = new WebSocket(`wss://127.0.0.1:${http.port}/mqtt`, 'mqtt', { ca: file('ca.pem') })
  const [error] = await once(late, 'error')
  t.match(error.message, /503/, 'after the stop there are no more')
  client.send(Buffer.from('more'))
  t.equal(await read(stream, 4), 'more')
})
