import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { connectMqtt, runCli, startHub } from '../harness.js'
import { freePort, tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

interface Seen {
  readonly check: string
  readonly level: 'fine' | 'warning' | 'problem'
  readonly seen: string
  readonly advice?: string
  readonly repair?: string
}

interface Examination {
  readonly code: number | null
  readonly problems: number
  readonly findings: readonly Seen[]
  /** All that a check has found, in one text. */
  of(check: string): string
  levels(check: string): string[]
}

/** The command, as it is called, on a data directory; on free ports unless they are given. */
async function doctor(
  dir: string,
  settings: Readonly<Record<string, string>> = {},
  ...more: string[]
): Promise<Examination> {
  const all = { 'mqtt.port': '0', 'http.port': '0', 'data.dir': dir, ...settings }
  const flags = Object.entries(all).flatMap(([key, value]) => [`--${key}`, value])
  const run = runCli(['doctor', '--json', ...more, ...flags])
  const code = await run.exited
  const { problems, findings } = JSON.parse(run.stdout() || `{"problems": -1, "findings": []}`) as Examination
  if (run.stderr()) t.comment(run.stderr())
  const by = (check: string) => findings.filter(one => one.check === check)
  return {
    code,
    problems,
    findings,
    of: check =>
      by(check)
        .map(({ seen, advice }) => `${seen}. ${advice ?? ''}`)
        .join('\n'),
    levels: check => by(check).map(({ level }) => level),
  }
}

/** A data directory as a hub leaves it: messages in the spool, a session, dead letters. */
async function usedDirectory(t: Test): Promise<string> {
  const hub = await startHub(t)
  const client = await connectMqtt(t, hub.mqttUrl, { clientId: 'kept', clean: false })
  await client.subscribeAsync('a/#', { qos: 1 })
  for (let i = 0; i < 20; i++) await client.publishAsync('home/hall/t/telemetry', `{"value": ${i}}`, { qos: 1 })
  await client.publishAsync('home/hall/t/telemetry', '{"value": ', { qos: 1 })
  await client.endAsync()
  t.equal(await hub.stop(), 0)
  return hub.dir
}

const newest = (dir: string, ending: string) =>
  join(
    dir,
    readdirSync(dir)
      .filter(name => name.endsWith(ending))
      .sort()
      .at(-1) ?? '',
  )

/** Overwrites bytes in the middle of a file. */
function scratch(path: string, at: number): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, Buffer.alloc(8, 0xff), 0, 8, at)
  closeSync(fd)
}

t.test('a sound directory has no problems, and looking changes nothing', async t => {
  const dir = await usedDirectory(t)
  const before = contents(dir)
  const sound = await doctor(dir)
  t.equal(sound.code, 0)
  t.equal(
    sound.problems,
    0,
    sound.findings
      .filter(({ level }) => level === 'problem')
      .map(({ seen }) => seen)
      .join(),
  )
  t.match(sound.of('spool'), /\d+ messages, .* in 1 segment/)
  t.match(sound.of('cursors'), /live at \d+, record at \d+; the spool ends at \d+/)
  t.match(sound.of('hub'), 'none runs')
  t.match(sound.of('disk sync'), 'fdatasync takes')
  t.match(sound.of('leftovers'), 'none')
  t.same(contents(dir), before)
})

/** Names, sizes, modes and times of all files. */
function contents(dir: string): string[] {
  return (readdirSync(dir, { recursive: true }) as string[]).sort().map(name => {
    const { size, mode, mtimeMs } = statSync(join(dir, name))
    // A folder has a new time when a file was made in it, and removed again.
    return `${name} ${mode} ${statSync(join(dir, name)).isFile() ? `${size} ${mtimeMs}` : ''}`
  })
}

t.test('damage is named, in each kind of file', async t => {
  const dir = await usedDirectory(t)
  const segment = newest(join(dir, 'spool'), '.seg')
  scratch(segment, Math.floor(statSync(segment).size / 2))
  writeFileSync(join(dir, 'spool', 'live.cursor'), Buffer.alloc(64, 7))
  const sessions = newest(join(dir, 'sessions'), '.snapshot')
  scratch(sessions, 20)
  writeFileSync(join(dir, 'registry.json'), '{"half')
  writeFileSync(join(dir, 'store.duckdb'), Buffer.alloc(20_000, 3))
  writeFileSync(`${segment}.bad`, 'kept')
  const damaged = await doctor(dir)
  t.equal(damaged.code, 1)
  t.match(damaged.of('spool'), /damaged: spool\/\d{16}\.seg: .* in the middle; .*steps over the damage/)
  t.match(damaged.of('cursors'), /live\.cursor is damaged in both of its halves/)
  t.match(damaged.of('sessions'), /damaged: sessions\/\d+\.snapshot: .* in the middle/)
  t.match(damaged.of('state files'), /registry\.json is damaged: .*makes it again/)
  t.match(damaged.of('DuckDB'), 'does not begin as a DuckDB database does')
  t.match(damaged.of('leftovers'), /kept after damage: spool\/\d+\.seg\.bad \(4 B, 0 days old\)/)
})

t.test('a write that was cut short is no damage; a cursor beyond the spool is', async t => {
  const dir = await usedDirectory(t)
  const segment = newest(join(dir, 'spool'), '.seg')
  appendFileSync(segment, Buffer.from([1, 2, 3]))
  const torn = await doctor(dir)
  t.same(torn.levels('spool'), ['fine'])
  t.match(torn.of('spool'), 'ends in 3 B of a write that was cut short')
  writeFileSync(segment, readFileSync(segment).subarray(0, 200))
  const short = await doctor(dir)
  t.match(short.of('cursors'), /live\.cursor wants message \d+, and the spool ends at \d+: \d+ messages are gone/)
  t.equal(short.code, 1)
})

t.test('--repair does what is safe, and nothing else', async t => {
  const dir = await usedDirectory(t)
  chmodSync(dir, 0o777)
  const store = join(dir, 'store.duckdb')
  chmodSync(store, 0o666)
  const begun = join(dir, 'sessions', '0000000099.log.new')
  const kept = join(dir, 'spool', '0000000000000001.seg.bad')
  for (const path of [begun, kept]) writeFileSync(path, 'x')
  const hourAgo = Date.now() / 1_000 - 3_600
  utimesSync(begun, hourAgo, hourAgo)
  const found = await doctor(dir)
  t.equal(found.code, 1)
  t.match(found.of('data files'), 'writable by other users')
  t.match(found.of('leftovers'), 'begun and never finished: sessions/0000000099.log.new')
  t.equal(statSync(dir).mode & 0o777, 0o777, 'nothing was changed')
  const repaired = await doctor(dir, {}, '--repair')
  t.equal(repaired.code, 0)
  t.match(repaired.of('data files'), 'repaired: ')
  t.equal(statSync(dir).mode & 0o777, 0o700)
  t.equal(statSync(store).mode & 0o777, 0o600)
  t.notOk(existsSync(begun))
  t.ok(existsSync(kept), 'data is never removed')
  t.notMatch((await doctor(dir)).of('data files'), 'writable')
})

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
  t.match(found.of('users'), 'nothing lets in lamp')
  t.notMatch(found.of('users'), 'boss (admin)')
})

t.test('what is no file, no folder, or not there is said, and the other checks go on', async t => {
  const dir = await usedDirectory(t)
  mkdirSync(join(dir, 'spool', '0000000000000000.seg'))
  const log = join(dir, 'audit', readdirSync(join(dir, 'audit'))[0] ?? '')
  writeFileSync(log, readFileSync(log, 'utf8').replace('"event"', '"Event"'))
  writeFileSync(join(dir, 'store.duckdb.damaged-2026-11-29'), 'x')
  const found = await doctor(dir)
  t.match(found.of('spool'), '0000000000000000.seg cannot be read: it is not a file')
  t.match(found.of('audit log'), /jsonl:\d+: /)
  t.match(found.of('leftovers'), 'store.duckdb.damaged-2026-11-29')
  const file = join(await tempDir(), 'data')
  writeFileSync(file, '')
  const noFolder = await doctor(file)
  t.equal(noFolder.code, 1)
  t.ok(noFolder.levels('users').length > 0)
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

const pem = (name: string) => fileURLToPath(new URL(`../../../test/cases/tls/${name}`, import.meta.url))

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
