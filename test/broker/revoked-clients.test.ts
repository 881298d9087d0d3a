import { once } from 'node:events'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connect, type TLSSocket } from 'node:tls'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { Counters } from '../../src/observe/counters.js'
import { Listeners } from '../../src/transport/listeners.js'
import { Tls } from '../../src/transport/tls.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const path = (name: string) => fileURLToPath(new URL(`../../../test/fixtures/tls/${name}`, import.meta.url))
const file = (name: string) => readFileSync(path(name))

type Client = 'kept' | 'revoked' | 'below'

/** A listener that asks for client certificates and echoes; `put` replaces the revocation lists. */
async function serve(t: Test, first: readonly string[], clientCertificates: 'required' | 'optional' = 'required') {
  const crl = join(await tempDir(), 'clients.crl')
  const put = (...names: string[]) =>
    writeFileSync(crl, Buffer.concat(names.map(name => file(`revocation/${name}.crl`))))
  put(...first)
  const paths = { cert: path('server.pem'), key: path('server.key'), ca: path('revocation/ca.pem'), crl }
  const logged: string[] = []
  const log = { info: (sentence: string) => logged.push(sentence), warn: (sentence: string) => logged.push(sentence) }
  const tls = new Tls({ paths, clock: Date, log, everyMs: 20 })
  tls.start()
  t.teardown(() => tls.stop())
  const counters = new Counters()
  const said: string[] = []
  const names: string[] = []
  const listeners = new Listeners({
    host: '127.0.0.1',
    mqttPort: 'off',
    mqttsPort: 0,
    tls,
    clientCertificates,
    webSocket: { origins: [], pingMs: 0, packetBytes: 100_000, helloBytes: 1_000 },
    proxy: { trusted: [], protocol: false },
    pending: 10_000,
    handshakeMs: 10_000,
    connections: {
      accept: (stream: Duplex, peer) => {
        names.push(...peer.certificate)
        stream.on('error', () => {})
        stream.pipe(stream)
        t.teardown(() => stream.destroy())
      },
    },
    counters,
    log: { info: sentence => said.push(sentence) },
  })
  await listeners.start()
  t.teardown(() => listeners.stop())
  const dial = (client: Client, options: object = {}): TLSSocket => {
    const chain = client === 'below' ? [file('revocation/intermediate.pem')] : []
    const socket = connect({
      port: listeners.mqttsPort ?? 0,
      host: '127.0.0.1',
      ca: file('ca.pem'),
      cert: Buffer.concat([file(`revocation/${client}.pem`), ...chain]),
      key: file(`revocation/${client}.key`),
      ...options,
    })
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    return socket
  }
  const refused = () => Object.fromEntries(counters.refused)
  return { put, dial, tls, refused, said, logged, names, crl }
}

const closed = (socket: TLSSocket) => new Promise<void>(resolve => socket.resume().once('close', () => resolve()))

async function echoes(socket: TLSSocket): Promise<void> {
  const answer = once(socket, 'data')
  socket.write('MQTT')
  await answer
}

t.test('a revoked certificate does not get in, and is counted as such', async t => {
  for (const clients of ['required', 'optional'] as const) {
    const { dial, refused, said, names } = await serve(t, ['revoked'], clients)
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
      await echoes(dial('kept', { maxVersion }))
      await closed(dial('revoked', { maxVersion }))
    }
    t.same(refused(), { certificate_revoked: 2 }, clients)
    t.same(names, ['device-1', 'device-1'])
    t.match(said[0], /the certificate of a client was not accepted: CERT_REVOKED: it is revoked by a list in tls\.crl/)
  }
})

t.test('an authority between the client and tls.ca needs a list, and can be revoked', async t => {
  const { dial, refused, said, put, logged } = await serve(t, ['none'])
  await closed(dial('below'))
  t.same(refused(), { crl_unusable: 1 })
  t.match(said[0], /UNABLE_TO_GET_CRL: tls\.crl has no list of a CA between it and tls\.ca; add one/)
  put('none', 'intermediate')
  await eventually(() => logged.length > 0, 'taken up')
  t.match(logged[0], /^tls\.crl: .*: read 2 new revocation lists, with 0 certificates$/)
  await echoes(dial('below'))
  put('revoked', 'intermediate')
  await eventually(() => logged.length > 1, 'taken up')
  await closed(dial('below'))
  t.same(refused(), { crl_unusable: 1, certificate_revoked: 2 }, 'the open connection and the new one')
})

t.test('who is revoked is closed, resumes no session, and others stay', async t => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
    const { dial, refused, said, put } = await serve(t, ['none', 'intermediate'])
    const open = { kept: dial('kept', { maxVersion }), revoked: dial('revoked', { maxVersion }) }
    const below = dial('below', { maxVersion })
    let session: Buffer | undefined
    open.revoked.on('session', one => {
      session = one
    })
    for (const socket of [open.kept, open.revoked, below]) await echoes(socket)
    put('revoked', 'intermediate')
    await Promise.all([closed(open.revoked), closed(below)])
    await echoes(open.kept)
    t.same(refused(), { certificate_revoked: 2 })
    t.match(said[0], /^127\.0\.0\.1: connection closed: its certificate [0-9a-f]+ was revoked \(tls\.crl\)$/)
    t.ok(session)
    await closed(dial('revoked', { maxVersion, session }))
    await closed(dial('revoked', { maxVersion }))
    t.same(refused(), { certificate_revoked: 4 })
    put('none')
    await eventually(async () => {
      const again = dial('revoked', { maxVersion })
      const isIn = await Promise.race([echoes(again).then(() => true), closed(again).then(() => false)])
      return isIn
    }, 'a list without it lets it in')
  }
})

t.test('a list that has ended refuses everybody, and is said', async t => {
  const { dial, refused, said, tls, logged } = await serve(t, ['ended'])
  await closed(dial('kept'))
  t.same(refused(), { crl_unusable: 1 })
  t.match(said[0], /CRL_HAS_EXPIRED: the list of its CA in tls\.crl has expired; add a new one to the file/)
  const sentence = tls.warning()
  t.match(sentence, /^a revocation list in .*clients\.crl \(tls\.crl\) expired on 2020-02-01 00:00 UTC: all clients/)
  t.same(logged, [sentence])
})

t.test('a broken file is not taken: the lists there were still count, and why is an alarm', async t => {
  const { dial, refused, tls, logged, crl, put } = await serve(t, ['revoked'])
  for (const [change, why] of [
    [() => writeFileSync(crl, 'half a li'), /contains no revocation list in PEM/],
    [() => writeFileSync(crl, String(file('revocation/none.crl')).slice(0, 200)), /contains no revocation/],
    [
      () => writeFileSync(crl, '-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----'),
      /contains a damaged revocation list/,
    ],
    [
      () => copyFileSync(path('revocation/intermediate.crl'), crl),
      /contains no list of O=telehub, CN=telehub revoking CA/,
    ],
  ] as const) {
    const before = logged.length
    change()
    await eventually(() => logged.length > before, String(why))
    t.match(logged.at(-1), why)
    t.match(logged.at(-1), /^tls\.crl: .*; the hub continues with the certificates and revocation lists it has$/)
    t.equal(tls.warning(), logged.at(-1))
  }
  await closed(dial('revoked'))
  await echoes(dial('kept'))
  t.same(refused(), { certificate_revoked: 1 })
  put('none')
  await eventually(() => tls.warning() === undefined, 'mended')
  await echoes(dial('revoked'))
})
