import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect, createServer, type SecureContextOptions, type TLSSocket } from 'node:tls'
import { fileURLToPath } from 'node:url'
import forge from 'node-forge'
import t, { type Test } from 'tap'
import { namesOf, Tls } from '../../src/transport/tls.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const path = (name: string) => fileURLToPath(new URL(`../../../test/fixtures/tls/${name}`, import.meta.url))
const end = Date.parse(new X509Certificate(readFileSync(path('server.pem'))).validTo)
const dayMs = 864e5

interface Kept {
  readonly tls: Tls
  readonly said: string[]
  readonly paths: { readonly cert: string; readonly key: string; readonly ca: string; readonly crl: string }
  changes(): number
}

/** In a folder of its own, with the certificate of `server`. */
async function keep(t: Test, { ca = false, now = Date.now() } = {}): Promise<Kept> {
  const dir = await tempDir()
  const paths = { cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem'), ca: ca ? join(dir, 'ca.pem') : '', crl: '' }
  copyFileSync(path('server.pem'), paths.cert)
  copyFileSync(path('server.key'), paths.key)
  if (ca) copyFileSync(path('ca.pem'), paths.ca)
  const said: string[] = []
  const log = { info: (sentence: string) => said.push(sentence), warn: (sentence: string) => said.push(sentence) }
  const tls = new Tls({ paths, clock: { now: () => now }, log, everyMs: 20 })
  let changes = 0
  tls.onChange(() => changes++)
  tls.start()
  t.teardown(() => tls.stop())
  return { tls, said, paths, changes: () => changes }
}

t.test('a new pair is taken up; what does not fit is not, and why is said', async t => {
  const { tls, said, paths, changes } = await keep(t)
  const first = tls.context.cert
  for (const [change, why] of [
    [
      () => copyFileSync(path('stranger.key'), paths.key),
      /^tls\.key: .*key\.pem: is not the key of the certificate in/,
    ],
    [() => writeFileSync(paths.cert, 'half a certif'), /^tls\.cert: .*cert\.pem: contains no certificate in PEM/],
    [() => writeFileSync(paths.key, ''), /^tls\.cert: .*contains no certificate/],
  ] as const) {
    const before = said.length
    change()
    await eventually(() => said.length > before, String(why))
    t.match(said.at(-1), why)
    t.match(said.at(-1), /; the hub continues with the certificate it has$/)
    t.equal(tls.context.cert, first)
  }
  t.equal(changes(), 0)
  copyFileSync(path('stranger.pem'), paths.cert)
  copyFileSync(path('stranger.key'), paths.key)
  await eventually(changes, 'told')
  t.equal(String(tls.context.cert), String(readFileSync(path('stranger.pem'))))
  t.match(said.at(-1), /read a new certificate, valid until 20\d\d-/)
})

t.test('a key that is too short to be safe is refused in words', async t => {
  const { said, paths, tls } = await keep(t)
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1_024 })
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  writeFileSync(paths.cert, crafted({ keyPem: pem }).toString())
  writeFileSync(paths.key, pem)
  await eventually(() => said.length > 0, 'said')
  t.match(said[0], /tls\.cert: .*: cannot be used: .*key too small; the hub continues/)
  t.ok(tls.context.cert)
})

t.test('the end of a certificate is said before it comes', async t => {
  for (const [now, warning] of [
    [end - 15 * dayMs, undefined],
    [
      end - 13 * dayMs,
      /^the certificate in .*cert\.pem \(tls\.cert\) expires on \d{4}-\d\d-\d\d; put a new one into the file/,
    ],
    [end + 1, /expired on \d{4}-\d\d-\d\d: clients reject it; put a new one/],
    [0, /is not valid before \d{4}-\d\d-\d\d: is the clock right\?/],
  ] as const) {
    const { tls, said } = await keep(t, { now, ca: true })
    const is = tls.warning()
    if (warning) t.match(is, warning)
    else t.equal(is, undefined)
    t.same(said, is ? [is] : [], 'said at the start')
  }
})

t.test('the end of a revocation list is said before it comes', async t => {
  const dir = await tempDir()
  const crl = join(dir, 'clients.crl')
  copyFileSync(path('revocation/ended.crl'), crl)
  const paths = { cert: path('server.pem'), key: path('server.key'), ca: path('revocation/ca.pem'), crl }
  // Of 31 days, in January 2020; the last quarter is less than two weeks.
  for (const [day, warning] of [
    [Date.UTC(2020, 0, 24), undefined],
    [
      Date.UTC(2020, 0, 25),
      /\(tls\.crl\) expires on 2020-02-01 00:00 UTC; from then on all clients .* are refused; add a new/,
    ],
    [Date.UTC(2020, 1, 1), /\(tls\.crl\) expired on 2020-02-01 00:00 UTC: all clients .* are refused; add a new list/],
    [Date.UTC(2019, 11, 31), /\(tls\.crl\) is not valid before 2020-01-01 00:00 UTC: clients are refused/],
  ] as const) {
    const log = { info: () => {}, warn: () => {} }
    const tls = new Tls({ paths, clock: { now: () => day }, log })
    t.teardown(() => tls.stop())
    tls.start()
    // The certificate of the hub is of a later year.
    const sentence = tls.warning()?.split('; the certificate in')[0]
    if (warning) t.match(sentence, warning)
    else t.match(sentence, /^the certificate in .* is not valid before/)
  }
})

/** What a client and the server agree on; rejects if nothing. */
async function agree(t: Test, context: SecureContextOptions, options: object): Promise<string> {
  const server = createServer(context, stream => stream.on('error', () => {}).end())
  server.on('tlsClientError', () => {})
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const client = connect({ port, host: '127.0.0.1', ca: readFileSync(path('ca.pem')), ...options })
  t.teardown(() => client.destroy())
  await once(client, 'secureConnect')
  return `${client.getProtocol()} ${client.getCipher().name}`
}

t.test('what is agreed on', async t => {
  const { tls } = await keep(t)
  const legacy = 'ALL:@SECLEVEL=0'
  const with12 = (ciphers: string) => agree(t, tls.context, { maxVersion: 'TLSv1.2', ciphers })
  t.equal(await agree(t, tls.context, {}), 'TLSv1.3 TLS_AES_128_GCM_SHA256')
  t.equal(
    await agree(t, tls.context, { ciphers: 'TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256' }),
    'TLSv1.3 TLS_CHACHA20_POLY1305_SHA256',
    'no AES in hardware',
  )
  t.equal(await with12(legacy), 'TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256', 'of all there are the one of an ESP32')
  t.equal(await with12('ECDHE-ECDSA-AES128-GCM-SHA256'), 'TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256', 'of that alone')
  t.equal(await agree(t, tls.context, { ecdhCurve: 'P-256' }), 'TLSv1.3 TLS_AES_128_GCM_SHA256', 'and its curve')
  for (const weak of [
    'AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES128-SHA',
    'ECDHE-ECDSA-AES256-SHA384',
    'AES128-SHA',
    'DHE-RSA-AES128-GCM-SHA256',
    'aNULL',
    'PSK',
  ]) {
    await t.rejects(with12(`${weak}:@SECLEVEL=0`), `${weak} alone`)
  }
  for (const version of ['TLSv1', 'TLSv1.1']) {
    await t.rejects(agree(t, tls.context, { minVersion: version, maxVersion: version, ciphers: legacy }), version)
  }
  const key = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey
  const pem = key.export({ type: 'pkcs8', format: 'pem' }) as string
  const rsa = { ...tls.context, key: pem, cert: crafted({ keyPem: pem }) }
  const options = {
    maxVersion: 'TLSv1.2',
    ciphers: 'ECDHE-RSA-AES128-GCM-SHA256',
    ca: rsa.cert,
    checkServerIdentity: () => undefined,
  }
  t.equal(await agree(t, rsa, options), 'TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256', 'with an RSA key')
})

t.test('a client does not renegotiate', async t => {
  const { tls } = await keep(t)
  const server = createServer(tls.context, stream => stream.on('error', () => {}))
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const client: TLSSocket = connect({
    port,
    host: '127.0.0.1',
    ca: readFileSync(path('ca.pem')),
    maxVersion: 'TLSv1.2',
  })
  client.on('error', () => {})
  t.teardown(() => client.destroy())
  await once(client, 'secureConnect')
  const error = await new Promise<Error | null>(done => {
    client.on('error', done)
    client.renegotiate({}, done)
  })
  t.match(String(error), /no.renegotiation/i)
})

interface Craft {
  readonly keyPem?: string
  readonly names?: readonly string[]
  /** `[type, value]`: 1 email, 2 DNS, 6 URI. */
  readonly others?: readonly (readonly [number, string])[]
}

const testKey = () =>
  generateKeyPairSync('rsa', { modulusLength: 1_024 }).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string

/** Signed by itself, with names as nobody should have them. */
function crafted({ keyPem = testKey(), names = ['crafted'], others = [] }: Craft): Buffer {
  const certificate = forge.pki.createCertificate()
  certificate.publicKey = forge.pki.publicKeyFromPem(
    createPublicKey(keyPem).export({ type: 'spki', format: 'pem' }) as string,
  )
  certificate.serialNumber = '01'
  certificate.validity.notBefore = new Date(Date.now() - dayMs)
  certificate.validity.notAfter = new Date(Date.now() + 365 * dayMs)
  const valueTagClass = forge.asn1.Type.UTF8 as unknown as forge.asn1.Class
  certificate.setSubject(names.map(value => ({ name: 'commonName', value, valueTagClass })))
  certificate.setIssuer(certificate.subject.attributes)
  const altNames = others.map(([type, value]) => ({ type, value: Buffer.from(value).toString('latin1') }))
  if (altNames.length > 0) certificate.setExtensions([{ name: 'subjectAltName', altNames }])
  certificate.sign(forge.pki.privateKeyFromPem(keyPem), forge.md.sha256.create())
  return Buffer.from(forge.pki.certificateToPem(certificate))
}

t.test('the names of a certificate, and none that only looks like one', async t => {
  const keyPem = testKey()
  const of = (names: readonly string[], others: Craft['others'] = []) =>
    namesOf(new X509Certificate(crafted({ keyPem, names, others })))
  t.same(namesOf(new X509Certificate(readFileSync(path('client.pem')))), ['device-1'])
  t.same(
    of(
      ['thermo'],
      [
        [2, 'thermo.example'],
        [1, 'a@example.org'],
        [6, 'urn:dev:mac:1'],
        [2, 'thermo'],
      ],
    ),
    ['thermo', 'thermo.example', 'a@example.org', 'urn:dev:mac:1'],
  )
  t.same(of(['one', 'two']), ['one', 'two'], 'two CNs')
  for (const [evil, why] of [
    ['admin\0.evil.example', 'cut off at the NUL'],
    ['admin\n', 'a line end'],
    ['a\nCN=admin', 'a line of its own in the printed subject'],
    ['\u001b[2Kadmin', 'a terminal that obeys'],
    ['ad\u200bmin', 'a space of no width'],
    ['admin\u202e', 'right to left'],
    ['', 'nothing'],
  ] as const) {
    t.same(of([evil]), [], `CN: ${why}`)
    t.notOk(of(['x'], [[2, evil]]).includes('admin'), `DNS: ${why}`)
  }
  for (const evil of [
    'x, DNS:admin',
    'x", DNS:"admin',
    '"admin"',
    'x\\", DNS:admin',
    "x', DNS:admin",
    'x\u002c DNS:admin',
    'DNS:admin',
    'admin ',
    ' admin',
    'admin,',
    'CN=admin',
  ]) {
    for (const type of [1, 2, 6]) t.same(of(['x'], [[type, evil]]), ['x', evil], JSON.stringify(evil))
    t.same(of([evil]), [evil], `CN: ${JSON.stringify(evil)}`)
  }
  const long = 'a'.repeat(10_000)
  t.same(of(['x'], [[2, long]]), ['x', long])
  t.same(of([], [[2, '__proto__']]), ['__proto__'])
})
