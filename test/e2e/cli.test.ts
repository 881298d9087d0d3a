import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { connectMqtt, eventually, history, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

t.test('a taken port is one clear sentence', async t => {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  for (const setting of ['mqtt.port', 'http.port']) {
    const other = setting === 'mqtt.port' ? 'http.port' : 'mqtt.port'
    const run = runCli(['start', `--${setting}`, String(port), `--${other}`, '0', '--data.dir', await tempDir()])
    t.not(await run.exited, 0)
    t.equal(
      run.stderr(),
      `telehub: ${setting}: 127.0.0.1:${port} is taken by another program; choose another with --${setting}, 0 takes a free port\n`,
    )
    t.equal(run.stdout(), '')
  }
})

t.test('a data directory in use is refused with who has it; after a kill it is free at once', async t => {
  const hub = await startHub(t)
  const run = runCli(['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', hub.dir])
  t.equal(await run.exited, 1)
  t.equal(
    run.stderr(),
    `telehub: data.dir: ${hub.dir} is in use by another hub (process ${hub.pid}); stop it, or choose another with --data.dir\n`,
  )
  await hub.kill()
  const next = await startHub(t, {}, hub.dir)
  t.equal(await next.stop(), 0)
})

t.test('a hub whose log nobody reads goes on, and stops when it is told to', async t => {
  for (const format of ['json', 'text']) {
    const dir = await tempDir()
    const run = runCli(['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', dir, '--log.format', format])
    t.teardown(() => run.kill())
    const ready = await run.line(/^telehub ready .*$/m)
    run.unread()
    const client = await connectMqtt(t, /mqtt:\/\/\S+/.exec(ready)?.[0] ?? '')
    // Refused, and said.
    await client.subscribeAsync('$share/x/y').catch(() => {})
    await client.publishAsync('still/there', '1', { qos: 1 })
    process.kill(run.pid, 'SIGTERM')
    t.equal(await run.exited, 0, format)
  }
})

t.test('a very long data directory works, and is locked too', async t => {
  const dir = join(await tempDir(), 'x'.repeat(100), 'y'.repeat(100))
  const hub = await startHub(t, {}, dir)
  const run = runCli(['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', dir])
  t.equal(await run.exited, 1)
  t.match(run.stderr(), /in use by another hub/)
  t.equal(await hub.stop(), 0)
})

t.test('a data directory and all files in it are for the hub alone, whatever the umask', async t => {
  const umask = process.umask(0)
  t.teardown(() => process.umask(umask))
  const modeOf = (path: string) => statSync(path).mode & 0o777
  const above = join(await tempDir(), 'above')
  const hub = await startHub(t, {}, join(above, 'data'))
  t.equal(modeOf(join(above, 'data')), 0o700)
  const client = await connectMqtt(t, hub.mqttUrl, { clientId: 'kept', clean: false })
  await client.subscribeAsync('#', { qos: 1 })
  await client.publishAsync('a', '{"value":1}', { qos: 1, retain: true })
  await client.publishAsync('b', 'no number {', { qos: 1 })
  const filesOf = (dir: string): string[] =>
    readdirSync(dir, { withFileTypes: true }).flatMap(entry =>
      entry.isDirectory() ? filesOf(join(dir, entry.name)) : [join(dir, entry.name)],
    )
  await eventually(() => readdirSync(join(above, 'data', 'dead')).length > 0, 'a dead letter')
  t.equal(await hub.stop(), 0)
  const files = filesOf(join(above, 'data'))
  t.ok(files.length > 6, files.join(' '))
  t.same(
    files.filter(path => (modeOf(path) & 0o077) !== 0),
    [],
  )
  const given = join(above, 'given')
  mkdirSync(given, { mode: 0o755 })
  const other = await startHub(t, {}, given)
  t.equal(modeOf(given), 0o700, 'one that was there, too')
  t.equal(await other.stop(), 0)
})

t.test('a data directory that other users may write is refused, with what to do', async t => {
  const dir = join(await tempDir(), 'open')
  mkdirSync(dir)
  chmodSync(dir, 0o777)
  const run = runCli(['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', dir])
  t.equal(await run.exited, 1)
  t.match(
    run.stderr(),
    /^telehub: data\.dir: .* may be written by other users \(mode 777\).*; chmod 700 it, or choose another/,
  )
})

t.test('a data directory that cannot be is said so', async t => {
  const file = join(await tempDir(), 'file')
  writeFileSync(file, '')
  const run = runCli(['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', join(file, 'data')])
  t.equal(await run.exited, 1)
  t.match(run.stderr(), /^telehub: data\.dir: cannot use .*: ENOTDIR.*\n$/)
})

t.test('all wrong settings at once, each with what is allowed; unknown commands too', async t => {
  const run = runCli(['start', '--mqtt.prot', '1', '--http.port', 'eighty', '--nonsense'], {
    TELEHUB_SPOOL_FSYNC: 'maybe',
  })
  t.equal(await run.exited, 2)
  const lines = run.stderr().trimEnd().split('\n')
  t.equal(lines.length, 4, run.stderr())
  t.ok(lines.every(line => line.startsWith('telehub: ')))
  t.match(run.stderr(), /--mqtt\.prot: telehub start has no such flag; did you mean --mqtt\.port\?/)
  t.match(run.stderr(), /http\.port: given "eighty" \(--http\.port\), allowed is a whole number from 0 to 65535/)
  t.match(run.stderr(), /spool\.fsync: given "maybe" \(TELEHUB_SPOOL_FSYNC\), allowed is one of group, interval/)
  const unknown = runCli(['strat'])
  t.equal(await unknown.exited, 2)
  t.match(unknown.stderr(), /unknown command "strat"; did you mean "start"\?/)
})

t.test('help, version, check', async t => {
  const help = runCli(['--help'])
  t.equal(await help.exited, 0)
  t.match(help.stdout(), /telehub start .*--demo/)
  t.match(help.stdout(), /--rabbitmq\.url/)
  const version = runCli(['--version'])
  t.equal(await version.exited, 0)
  t.match(version.stdout(), /^\d+\.\d+\.\d+\n$/)
  const dir = await tempDir()
  writeFileSync(join(dir, 'telehub.yaml'), 'mqtt: {port: 1999}\n')
  const good = runCli(['check'], {}, dir)
  t.equal(await good.exited, 0)
  writeFileSync(join(dir, 'telehub.yaml'), 'mqtt: {port: none}\n')
  const bad = runCli(['check'], {}, dir)
  t.equal(await bad.exited, 2)
  t.match(bad.stderr(), /mqtt\.port: given "none" \(telehub\.yaml\)/)
})

t.test('check reads the users file, too, and says what the hub would', async t => {
  const dir = await tempDir()
  const settings = ['--auth.file', 'users.yaml', '--mqtt.port', '0', '--http.port', '0', '--data.dir', 'data']
  const both = async () => {
    const runs = ['check', 'start'].map(command => runCli([command, ...settings], {}, dir))
    for (const run of runs) t.equal(await run.exited, 2)
    const [check, start] = runs.map(run => run.stderr())
    t.equal(check, start)
    return check
  }
  t.equal(
    await both(),
    `telehub: auth.file: there is no file ${join(dir, 'users.yaml')}; telehub user add NAME --kind admin makes it\n`,
  )
  const file = join(dir, 'users.yaml')
  writeFileSync(file, 'users:\n  a: {kind: robot}\n  b: {kind: device, rules: [allow fly x]}\n', { mode: 0o600 })
  t.match(
    await both(),
    /^telehub: auth\.file: users\.yaml:2: a\.kind: .*\ntelehub: auth\.file: users\.yaml:3: b\.rules: .*\n$/,
  )
  writeFileSync(file, 'users:\n  a: {kind: admin}\n')
  const good = runCli(['check', ...settings], {}, dir)
  t.equal(await good.exited, 0)
  t.equal(good.stdout() + good.stderr(), 'Settings OK\n')
  writeFileSync(file, '')
  const empty = runCli(['check', ...settings, '--tls.cert', 'none', '--tls.key', 'none'], {}, dir)
  t.equal(await empty.exited, 2)
  t.match(empty.stderr(), /users\.yaml has no users, so nobody can log in; .*\ntelehub: tls\.cert: /)
})

t.test('spool and dead call a hub that listens everywhere by a name that certificates have', async t => {
  for (const [host, url] of [
    ['0.0.0.0', 'http://localhost:9'],
    ['::', 'http://localhost:9'],
    ['::1', 'http://[::1]:9'],
  ]) {
    const run = runCli(['spool', '--host', host as string, '--http.port', '9', '--data.dir', await tempDir()])
    t.equal(await run.exited, 1)
    t.ok(run.stderr().startsWith(`telehub: no hub answers at ${url} (`), run.stderr())
  }
})

t.test("stopped in order, and started again: yesterday's data is there, and the screen has it at once", async t => {
  const first = await startHub(t)
  const device = await connectMqtt(t, first.mqttUrl, { clientId: 'd' })
  await device.publishAsync('home/hall/m/telemetry', '{"power":5}', { qos: 1 })
  t.equal(await first.stop(), 0)
  t.match(first.log(), /stopped/)
  const second = await startHub(t, {}, first.dir)
  await eventually(
    async () => (await history(second, 'telemetry,device=m,room=hall power')).length === 1,
    'history is there',
  )
  const page = await connectMqtt(t, second.webSocketUrl)
  const last = new Promise<string>(resolve => page.once('message', (_topic, payload) => resolve(payload.toString())))
  await page.subscribeAsync('$hub/last/#')
  t.match(JSON.parse(await last), {
    topic: 'home/hall/m/telemetry',
    quality: 'good',
    values: [{ series: 'telemetry,device=m,room=hall power', value: 5, unit: 'W' }],
  })
})

t.test('a broken identity or store in the data directory is set aside, and said in a sentence', async t => {
  const dir = await tempDir()
  writeFileSync(join(dir, 'store.duckdb'), 'this is no database')
  writeFileSync(join(dir, 'hub.json'), 'this is no identity')
  const hub = await startHub(t, {}, dir)
  t.match(hub.log(), /the store was damaged and is .*store\.duckdb\.damaged-/)
  t.match(hub.log(), /hub\.json/)
  t.notMatch(hub.log(), /\n {4}at /)
  const { body } = await hub.get<{ incidents: readonly { readonly kind: string }[] }>('/readyz')
  t.ok(body.incidents.some(({ kind }) => kind === 'store_damaged'))
  t.equal(await hub.stop(), 0)
})

t.test('SIGUSR1 does not open the inspector of Node, which would be a way in for all users of the machine', async t => {
  const hub = await startHub(t)
  process.kill(hub.pid, 'SIGUSR1')
  await eventually(() => hub.log().includes('SIGUSR1 is ignored'), 'it is said')
  t.notMatch(hub.log(), /Debugger listening/)
  t.equal(await hub.stop(), 0)
})
