import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { DataDirLock } from '../../src/disk/lock.js'
import { tempDir } from '../services/service.js'

const racer = fileURLToPath(new URL('../fixtures/lock-racer.js', import.meta.url))

interface Racer {
  readonly held: Promise<readonly number[]>
  kill(): Promise<void>
}

/** A process that tries to get all of these folders, one after the other. */
function race(begin: number, everyMs: number, dirs: readonly string[]): Racer {
  const child = spawn(process.execPath, [racer, String(begin), String(everyMs), ...dirs], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  return {
    held: once(child.stdout, 'data').then(([chunk]) => JSON.parse(String(chunk)) as number[]),
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}

function lockOf(dir: string) {
  const warnings: string[] = []
  const lost: Error[] = []
  const lock = new DataDirLock({ dir, log: { warn: sentence => warnings.push(sentence) } })
  void lock.lost.then(error => lost.push(error))
  return { lock, warnings, lost }
}

t.test('of many hubs that start at the same instant after a kill -9 one gets the folder', async t => {
  const root = await tempDir()
  const dirs = Array.from({ length: 40 }, (_, i) => join(root, String(i)))
  const victim = race(0, 0, dirs)
  t.equal((await victim.held).length, dirs.length)
  await victim.kill()
  const begin = Date.now() + 1_500
  const racers = Array.from({ length: 6 }, () => race(begin, 30, dirs))
  t.teardown(() => Promise.all(racers.map(one => one.kill())))
  const holders = dirs.map(() => 0)
  for (const { held } of racers) for (const i of await held) holders[i] = (holders[i] as number) + 1
  t.same(
    holders,
    dirs.map(() => 1),
    'exactly one each',
  )
})

t.test('in one process as well, round after round of killed and stopped holders', async t => {
  const dir = await tempDir()
  for (let round = 0; round < 40; round++) {
    const locks = Array.from({ length: 8 }, () => lockOf(dir).lock)
    const results = await Promise.allSettled(locks.map(lock => lock.start()))
    const winners = locks.filter((_, i) => results[i]?.status === 'fulfilled')
    t.equal(winners.length, 1)
    for (const result of results) {
      if (result.status === 'rejected') t.match(result.reason, { code: 'data_dir_locked' })
    }
    await winners[0]?.stop()
    // A socket whose process is gone.
    if (round % 5 === 0) await deadSocket(dir)
  }
  t.ok(readdirSync(dir).length < 10, `what is left: ${readdirSync(dir)}`)
})

/** As a kill -9 leaves it. */
async function deadSocket(dir: string): Promise<void> {
  const highest = Math.max(0, ...readdirSync(dir).map(name => Number(/^lock\.(\d+)$/.exec(name)?.[1] ?? 0)))
  const script = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
  const path = join(dir, `lock.${String(highest + 1).padStart(10, '0')}`)
  const child = spawn(process.execPath, ['-e', script, path], { stdio: 'inherit' })
  await once(child, 'close')
}

t.test('a holder is named, and a folder is free again once its holder has stopped', async t => {
  const dir = await tempDir()
  const first = lockOf(dir).lock
  await first.start()
  t.ok(first.held)
  await t.rejects(lockOf(dir).lock.start(), {
    code: 'data_dir_locked',
    message: new RegExp(`in use by another hub \\(process ${process.pid}\\); stop it`),
  })
  await first.stop()
  t.notOk(first.held)
  const second = lockOf(dir).lock
  await second.start()
  await second.stop()
  t.same(readdirSync(dir), ['pid'])
})

t.test('a path too long for a socket', async t => {
  const dir = join(await tempDir(), 'x'.repeat(100), 'y'.repeat(100))
  const { lock } = lockOf(dir)
  await lock.start()
  await t.rejects(lockOf(dir).lock.start(), { code: 'data_dir_locked' })
  await lock.stop()
})

t.test('a folder that others may write is refused, one that others may read is closed to them', async t => {
  const umask = process.umask(0)
  t.teardown(() => process.umask(umask))
  const root = await tempDir()
  for (const mode of [0o777, 0o770, 0o702, 0o720, 0o1777]) {
    const dir = join(root, mode.toString(8))
    mkdirSync(dir)
    chmodSync(dir, mode)
    await t.rejects(lockOf(dir).lock.start(), {
      code: 'data_dir_unusable',
      message: /may be written by other users \(mode \d+\).*chmod 700/,
    })
  }
  for (const mode of [0o755, 0o750, 0o701]) {
    const dir = join(root, mode.toString(8))
    mkdirSync(dir)
    chmodSync(dir, mode)
    const { lock, warnings } = lockOf(dir)
    await lock.start()
    t.equal(statSync(dir).mode & 0o777, 0o700)
    t.same(warnings, [])
    await lock.stop()
  }
  const { lock } = lockOf(join(root, 'fresh', 'data'))
  await lock.start()
  t.equal(statSync(join(root, 'fresh', 'data')).mode & 0o777, 0o700)
  await lock.stop()
})

t.test('links of others in the folder are not followed', async t => {
  const dir = await tempDir()
  const victim = join(await tempDir(), 'victim')
  writeFileSync(victim, 'precious')
  for (const name of ['.writable', 'pid', 'pid.new', 'lock']) symlinkSync(victim, join(dir, name))
  const { lock } = lockOf(dir)
  await lock.start()
  t.equal(readFileSync(victim, 'utf8'), 'precious')
  t.notOk(lstatSync(join(dir, 'pid')).isSymbolicLink())
  t.notOk(existsSync(join(dir, 'pid.new')))
  await lock.stop()
})

t.test('what is no folder cannot be locked', async t => {
  const path = join(await tempDir(), 'file')
  writeFileSync(path, '')
  await t.rejects(lockOf(path).lock.start(), { code: 'data_dir_unusable', message: /data\.dir: cannot/ })
  await t.rejects(lockOf(join(path, 'x')).lock.start(), { code: 'data_dir_unusable' })
})

t.test('a full listening socket is one of a hub that runs', async t => {
  const dir = await tempDir()
  const server = createServer()
  await new Promise<void>(resolve => server.listen(join(dir, 'lock.0000000001'), () => resolve()))
  t.teardown(() => server.close())
  await t.rejects(lockOf(dir).lock.start(), { code: 'data_dir_locked', message: /process unknown/ })
})
