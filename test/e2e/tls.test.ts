import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { get } from 'node:https'
import { join } from 'node:path'
import { connect } from 'node:tls'
import type { MqttClient } from 'mqtt'
import t from 'tap'
import { connectMqtt, eventually, type Run, runCli, startHub } from '../harness.js'
import { mosquittoClient } from '../services/mosquitto.js'
import { tempDir } from '../services/service.js'

const dir = await tempDir()
const certs = join(dir, 'certs')
const at = (name: string) => join(certs, name)
const pem = (name: string) => readFileSync(at(name), 'utf8')
const certificate = (name: string) => new X509Certificate(pem(name))

/** Runs `telehub cert` in the folder; resolves with what it printed, or rejects with what it complained of. */
async function cert(...args: string[]): Promise<string> {
  const run: Run = runCli(['cert', ...args], {}, dir)
  if (await run.exited) throw new Error(run.stderr())
  return run.stdout()
}

await t.test('telehub cert: a first set-up', async t => {
  const said = await cert('--name', 'hub.example.org', '--name', '192.0.2.7', '--client', 'thermo')
  t.same(readdirSync(certs).sort(), [
    'ca.key',
    'ca.pem',
    'client-thermo.key',
    'client-thermo.pem',
    'server.key',
    'server.pem',
  ])
  for (const name of readdirSync(certs))
    t.equal((statSync(at(name)).mode & 0o777) === 0o600, name.endsWith('.key'), name)
  const [ca, server, client] = [certificate('ca.pem'), certificate('server.pem'), certificate('client-thermo.pem')]
  t.ok(ca.ca && ca.verify(ca.publicKey))
  for (const one of [server, client]) {
    t.ok(one.verify(ca.publicKey) && one.checkIssued(ca) && !one.ca)
    t.match(one.serialNumber, /^01[\dA-F]{32}$/)
    const days = (Date.parse(one.validTo) - Date.parse(one.validFrom)) / 864e5
    t.ok(days > 824 && days <= 825.1, `${days} days`)
  }
  t.not(server.serialNumber, client.serialNumber)
  for (const name of ['hub.example.org', 'localhost']) t.ok(server.checkHost(name), name)
  for (const address of ['192.0.2.7', '127.0.0.1', '::1']) t.ok(server.checkIP(address), address)
  t.same([server.keyUsage, client.keyUsage], [['1.3.6.1.5.5.7.3.1'], ['1.3.6.1.5.5.7.3.2']], 'each for its purpose')
  t.equal((client.toLegacyObject().subject as unknown as { CN: string }).CN, 'thermo')
  t.match(said, ca.fingerprint256)
  t.match(said, `cert: ${at('server.pem')}`)
  t.match(said, /mosquitto_pub -h hub\.example\.org -p 8883 --cafile \S+ca\.pem --cert \S+client-thermo\.pem/)
  t.notMatch(said, 'PRIVATE KEY')
})

await t.test('telehub cert again: the authority and all keys stay, certificates are renewed', async t => {
  const before = Object.fromEntries(readdirSync(certs).map(name => [name, pem(name)]))
  await cert('--client', 'other')
  t.equal(pem('server.pem'), before['server.pem'], 'a client alone')
  await cert('--days', '30')
  for (const name of Object.keys(before)) t.equal(pem(name) === before[name], name !== 'server.pem', name)
  const server = certificate('server.pem')
  t.ok(server.checkHost('hub.example.org'), 'the names given before stay')
  t.ok(Date.parse(server.validTo) - Date.now() < 31 * 864e5)
  t.notOk(readdirSync(certs).some(name => name.endsWith('.new')))
})

await t.test('telehub cert leaves alone what is not its own, and says what was wrong', async t => {
  const other = join(dir, 'other')
  for (const [args, why] of [
    [['--days', '826'], /--days: given 826, allowed is a whole number from 1 to 825/],
    [['--days', '1e2'], /--days/],
    [['--client', '../../etc/passwd'], /--client: given .* allowed is the name of a user/],
    [['--client', ''], /--client/],
    [['--name', 'https://hub'], /--name: given .* allowed is a host name or an address/],
    [['--name', 'hub:8883'], /--name/],
    [['--nmae', 'hub'], /nmae/],
    [['hub'], /telehub cert takes no "hub"/],
  ] as const) {
    await t.rejects(cert('--dir', other, ...args), { message: why }, args.join(' '))
  }
  t.notOk(existsSync(other), 'nothing was made')
  const cases = new URL('../../../test/fixtures/tls/', import.meta.url)
  const foreign = readFileSync(new URL('server.pem', cases), 'utf8')
  mkdirSync(other)
  const stays = async (name: string, content: string, why: RegExp) => {
    writeFileSync(join(other, name), content)
    await t.rejects(cert('--dir', other), { message: why }, name)
    t.equal(readFileSync(join(other, name), 'utf8'), content, `${name} is as it was`)
    rmSync(join(other, name))
  }
  await stays('ca.pem', foreign, /ca\.pem exists without its ca\.key/)
  await stays('ca.key', 'not a key', /ca\.key holds no private key/)
  await stays('ca.key', readFileSync(new URL('server.key', cases), 'utf8'), /ca\.key is a key of the kind ec/)
  await stays('server.pem', foreign, /server\.pem .*; move it away, or name another folder with --dir/)
  await stays('server.pem', pem('server.pem'), /server\.pem was not signed by the ca\.pem beside it/)
  await stays('server.key', 'not a key', /server\.key holds no private key/)
  rmSync(join(other, 'ca.pem'))
  writeFileSync(join(other, 'ca.pem'), pem('ca.pem'))
  await t.rejects(cert('--dir', other), { message: /ca\.pem and ca\.key do not belong together/ })
})

await t.test('telehub check looks at the certificates, too', async t => {
  const check = (key: string) =>
    runCli(['check', '--tls.cert', at('server.pem'), '--tls.key', at(key), '--data.dir', dir], {}, dir)
  t.equal(await check('server.key').exited, 0)
  const run = check('ca.key')
  t.equal(await run.exited, 2)
  t.match(run.stderr(), /tls\.key: .*ca\.key: is not the key of the certificate in/)
})

const hub = await startHub(t, {
  'mqtts.port': '0',
  'tls.cert': at('server.pem'),
  'tls.key': at('server.key'),
  'tls.ca': at('ca.pem'),
  'tls.clients': 'optional',
})
const port = new URL(hub.mqttsUrl).port
const ca = pem('ca.pem')
const own = (name: string) => ({ cert: pem(`client-${name}.pem`), key: pem(`client-${name}.key`) })

/** GET over HTTPS. */
async function status(path: string): Promise<number | undefined> {
  const [response] = await once(get(hub.httpUrl + path, { ca, agent: false }), 'response')
  response.resume()
  return response.statusCode
}

async function passes(from: MqttClient, to: MqttClient, topic: string): Promise<void> {
  await to.subscribeAsync(topic, { qos: 1 })
  const got = new Promise<string>(resolve => to.once('message', (_topic, payload) => resolve(String(payload))))
  await from.publishAsync(topic, 'hello', { qos: 1 })
  t.equal(await got, 'hello', topic)
}

t.test('mqtts, https and wss, with and without a client certificate', async t => {
  t.match(hub.httpUrl, /^https:/)
  t.equal(await status('/healthz'), 200)
  t.equal(await status('/'), 200)
  const named = await connectMqtt(t, hub.mqttsUrl, { ca, ...own('thermo') })
  const bare = await connectMqtt(t, hub.mqttsUrl, { ca })
  const browser = await connectMqtt(t, hub.webSocketUrl, { wsOptions: { ca } })
  await passes(named, bare, 'a/1')
  await passes(bare, browser, 'a/2')
  await passes(browser, named, 'a/3')

  const flags = ['-h', 'localhost', '-p', port, '--cafile', at('ca.pem'), '-q', '1', '-t', 'a/4', '-m', 'mosquitto']
  await bare.subscribeAsync('a/4')
  const got: string[] = []
  bare.on('message', (topic, payload) => topic === 'a/4' && got.push(String(payload)))
  await mosquittoClient('pub', ...flags)
  await mosquittoClient('pub', ...flags, '--cert', at('client-thermo.pem'), '--key', at('client-thermo.key'))
  await eventually(() => got.length === 2, 'both')
  await t.rejects(
    mosquittoClient('pub', ...flags, '--cert', at('server.pem'), '--key', at('server.key')),
    'the purpose of another',
  )
  await t.rejects(mosquittoClient('pub', ...flags.with(1, '127.0.0.2')), 'a name that the certificate does not have')
})

t.test('a renewed certificate is taken up, and no connection is lost', async t => {
  const overTls = await connectMqtt(t, hub.mqttsUrl, { ca, ...own('thermo') })
  const overWebSocket = await connectMqtt(t, hub.webSocketUrl, { wsOptions: { ca } })
  const lost: string[] = []
  overTls.on('close', () => lost.push('mqtts'))
  overWebSocket.on('close', () => lost.push('wss'))
  const serial = async (port: string) => {
    const socket = connect({ port: Number(port), host: 'localhost', ca })
    socket.on('error', () => {})
    await once(socket, 'secureConnect')
    const { serialNumber } = socket.getPeerCertificate()
    socket.destroy()
    return serialNumber
  }
  const httpsPort = new URL(hub.httpUrl).port
  const old = certificate('server.pem').serialNumber
  t.equal(await serial(port), old)
  t.equal(await serial(httpsPort), old)
  await cert('--days', '10')
  const fresh = certificate('server.pem').serialNumber
  t.not(fresh, old)
  for (const one of [port, httpsPort]) await eventually(async () => (await serial(one)) === fresh, `taken up on ${one}`)
  await passes(overTls, overWebSocket, 'b/1')
  await passes(overWebSocket, overTls, 'b/2')
  t.same(lost, [])
  t.match(hub.log(), /tls\.cert: .*server\.pem: read a new certificate, valid until/)
  t.match(hub.log(), /the certificate in .*server\.pem \(tls\.cert\) expires on .*; put a new one into the file/)
  await eventually(() => /alarm: the certificate in .*server\.pem/.test(hub.log()), 'an alarm, too')

  renameSync(at('server.key'), at('away.key'))
  await eventually(() => /tls\.key: .*the file does not exist; the hub continues/.test(hub.log()), 'the key is missing')
  t.equal(await serial(port), fresh)
  renameSync(at('away.key'), at('server.key'))
  t.equal(await status('/healthz'), 200)
})

t.test('who has to show a certificate and has none, stays out', async t => {
  const strict = await startHub(t, {
    'mqtts.port': '0',
    'tls.cert': at('server.pem'),
    'tls.key': at('server.key'),
    'tls.ca': at('ca.pem'),
    'tls.hsts': '30d',
  })
  const { headers } = await new Promise<IncomingMessage>((resolve, reject) =>
    get(`${strict.httpUrl}/healthz`, { ca }, answer => resolve(answer.resume())).on('error', reject),
  )
  t.equal(headers['strict-transport-security'], 'max-age=2592000')
  const named = await connectMqtt(t, strict.mqttsUrl, { ca, ...own('thermo') })
  t.ok(named.connected)
  await t.rejects(connectMqtt(t, strict.mqttsUrl, { ca, connectTimeout: 5_000 }))
  const { port } = new URL(strict.mqttsUrl)
  await t.rejects(
    mosquittoClient('pub', '-h', 'localhost', '-p', port, '--cafile', at('ca.pem'), '-t', 'x', '-m', 'x', '-q', '1'),
  )
  const browser = await connectMqtt(t, strict.webSocketUrl, { wsOptions: { ca } })
  t.ok(browser.connected, 'tls.ca is for mqtts alone')
})
