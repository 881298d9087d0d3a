import { execFileSync } from 'node:child_process'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { doctor, usedDirectory } from '../doctor/examination.js'
import { connectMqtt, runCli, startHub } from '../harness.js'
import { freePort, tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

t.test('symbolic links and rights of files outside', async t => {
  const dir = await usedDirectory(t)
  symlinkSync('/etc/hostname', join(dir, 'linked'))
  const file = join(await tempDir(), 'users.yaml')
  writeFileSync(
    file,
    `everyone:
  - 'allow read #'
users:
  boss: {kind: admin, password: 'scrypt$ln=15,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', rules: ['allow read #', 'allow publish #']}
  lamp: {kind: device, rules: ['allow all #']}
`,
    { mode: 0o644 },
  )
  const found = await doctor(dir, { 'auth.file': file })
  t.match(found.of('data files'), 'linked is symbolic link')
  t.match(found.of('auth.file'), 'may be read or written by other users')
  t.match(found.of('users'), 'every user may read everything (everyone: allow read #, users.yaml:2)')
  t.match(found.of('users'), 'lamp (device) may publish and read everything (allow all #')
  t.match(found.of('users'), 'there is no way to log in as lamp')
  t.notMatch(found.of('users'), 'boss (admin)')
})

t.test('a port that is taken is named with who has it', async t => {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const found = await doctor(await tempDir(), { 'mqtt.port': String(port) })
  t.match(found.of('mqtt.port'), `127.0.0.1:${port} is taken by process ${process.pid} (`)
  t.equal(found.code, 1)
})

t.test('a hub that runs is asked, and what it writes is not taken for damage', async t => {
  const port = String(await freePort())
  const hub = await startHub(t, { 'http.port': port })
  const client = await connectMqtt(t, hub.mqttUrl)
  let published = 0
  const publishing = (async () => {
    for (; published < 300; published++) await client.publishAsync('a/b', '1', { qos: 1 })
  })()
  const found = await doctor(hub.dir, { 'http.port': port })
  await publishing
  t.equal(
    found.code,
    0,
    found.findings
      .filter(({ level }) => level === 'problem')
      .map(({ seen }) => seen)
      .join(),
  )
  t.match(found.of('hub'), `process ${hub.pid} answers at http://127.0.0.1:${port}`)
  t.match(found.of('http.port'), `the hub listens on 127.0.0.1:${port}`)
  t.same(found.levels('spool'), ['fine'])
  const elsewhere = await doctor(hub.dir, { 'http.port': String(await freePort()) })
  t.match(elsewhere.of('hub'), `process ${hub.pid} runs, and does not answer`)
  t.match(elsewhere.of('http.port'), 'nothing listens on')
})

t.test('a disk in memory, or one that is nearly full', async t => {
  const disk = await smallDisk(t, 20_000_000)
  if (!disk) return t.comment('no file system may be mounted here')
  const found = await doctor(disk.dir, { 'spool.limit': '1GB' })
  t.match(found.of('file system'), 'data.dir is in memory (tmpfs)')
  t.match(found.of('disk sync'), 'faster than a disk can be')
  t.match(found.of('free space'), 'soon nothing more will be acknowledged')
  t.equal(found.code, 1)
  execFileSync('mount', ['-o', 'remount,ro', disk.dir])
  t.match((await doctor(disk.dir)).of('disk sync'), 'does not take what is written to')
})

const pem = (name: string) => fileURLToPath(new URL(`../../../test/fixtures/tls/${name}`, import.meta.url))

t.test('certificates that do not fit', async t => {
  const dir = await tempDir()
  const with_ = (cert: string, key: string, more = {}) => doctor(dir, { 'tls.cert': cert, 'tls.key': key, ...more })
  const wrongKey = await with_(pem('server.pem'), pem('stranger.key'))
  t.match(wrongKey.of('certificates'), 'is not the key of the certificate')
  t.equal(wrongKey.code, 1)
  const chain = join(dir, 'chain.pem')
  writeFileSync(chain, readFileSync(pem('server.pem'), 'utf8') + readFileSync(pem('stranger.pem'), 'utf8'))
  t.match((await with_(chain, pem('server.key'))).of('certificates'), 'certificate 1 is not signed by certificate 2')
  const named = await with_(pem('server.pem'), pem('server.key'), { host: '192.0.2.7', 'auth.anonymous': 'true' })
  t.match(named.of('certificates'), 'and not for host 192.0.2.7')
  t.match(named.of('http.port') + named.of('mqtt.port'), '')
  t.match((await with_(pem('server.pem'), pem('server.key'))).levels('certificates'), ['fine'])
})

t.test(
  'for people it is a line a check; wrong settings are looked at as far as they go; wrong calls end with 2',
  async t => {
    const dir = await tempDir()
    const file = join(dir, 'telehub.yaml')
    writeFileSync(file, `host: 0.0.0.0\nhttp.port: 0\nmqtt.port: 0\ndata.dir: ${dir}\n`)
    const run = runCli(['doctor', '--config', file])
    t.equal(await run.exited, 1)
    const lines = run.stdout().trimEnd().split('\n')
    t.match(lines.at(-1), /^\d+ problems, \d+ warnings?$/)
    for (const line of lines.slice(0, -2)) t.match(line, /^[✓!✗] [\w. ]+: \S/)
    t.match(run.stdout(), /^✗ settings: host: given "0\.0\.0\.0"/m)
    t.match(run.stdout(), /^✓ disk sync: |^! disk sync: /m)
    for (const wrong of [['x'], ['--foo'], ['--mqtt.port', 'abc'], ['--management', 'abc']]) {
      t.equal(await runCli(['doctor', ...wrong]).exited, 2, wrong.join(' '))
    }
  },
)
