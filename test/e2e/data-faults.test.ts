import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { eventually, type Run, type RunningHub, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

/* Kills and full disks in the middle of exports and imports: each goes on, or leaves no trace. */

const at = Date.parse('2026-01-31T12:00:00Z')
const rows = 200_000

/** A file of line protocol, with numbers that do not compress well. */
async function lines(path: string, more: readonly string[] = []): Promise<string> {
  const all = Array.from({ length: rows }, (_, i) => `m,n=${i % 50} v=${Math.sin(i) * i} ${at + i}000000\n`)
  await writeFile(path, [...all, ...more].join(''))
  return path
}

const started = (hub: RunningHub, args: readonly string[], dir: string) =>
  runCli([...args, '--url', hub.httpUrl, '--data.dir', hub.dir], {}, dir)

async function done(t: Test, run: Run, code = 0): Promise<string> {
  t.equal(await run.exited, code, run.stderr())
  return run.stdout() + run.stderr()
}

const imported = async (hub: RunningHub) =>
  (await hub.get<{ imported: { rows: number; stored: number; dead: number } }>('/api/balance')).body.imported

/** Resolves when a condition is true, or the command has ended. */
async function whileRunning(run: Run, isTrue: () => boolean): Promise<void> {
  let hasEnded = false
  void run.exited.then(() => {
    hasEnded = true
  })
  while (!hasEnded && !isTrue()) await sleep(2)
}

t.test('an export: command killed, hub killed, disk of the file full', async t => {
  const hub = await startHub(t)
  const dir = await tempDir()
  const file = await lines(join(dir, 'big.lp'))
  await done(t, started(hub, ['import', file], dir))
  const out = join(dir, 'out.jsonl')
  const killed = started(hub, ['export', '--out', out], dir)
  await whileRunning(killed, () => existsSync(`${out}.part`))
  await killed.kill()
  t.notOk(existsSync(out), 'no file that is not whole')

  const other = join(dir, 'other.jsonl')
  const cut = started(hub, ['export', '--out', other], dir)
  await whileRunning(cut, () => existsSync(`${other}.part`))
  await hub.kill()
  t.match(await done(t, cut, 1), /run it again/)
  t.notOk(existsSync(other) || existsSync(`${other}.part`), 'nothing was kept')

  const again = await startHub(t, {}, hub.dir)
  t.match(await done(t, started(again, ['export', '--out', out], dir)), /^200,000 rows/)
  t.equal(readFileSync(out, 'utf8').trim().split('\n').length, rows)
  t.notOk(existsSync(`${out}.part`), 'what the killed command left is replaced')

  const disk = await smallDisk(t, 2e6)
  if (!disk) return t.pass('no file system may be mounted here')
  const full = started(again, ['export', '--out', join(disk.dir, 'out.csv')], dir)
  t.match(await done(t, full, 1), /cannot be written: .*nothing was kept/)
  t.same(readdirSync(disk.dir), [])
})

t.test('the disk of the hub is full: Parquet, and an import', async t => {
  const disk = await smallDisk(t, 150e6)
  if (!disk) return t.pass('no file system may be mounted here')
  const hub = await startHub(t, {}, disk.dir)
  const dir = await tempDir()
  const file = await lines(join(dir, 'big.lp'))

  const first = started(hub, ['import', file], dir)
  await eventually(async () => (await imported(hub)).rows > 0, 'some rows')
  disk.fill(0)
  t.match(await done(t, first, 1), /run the same command again/)
  const before = await imported(hub)
  t.ok(before.rows < rows, `${before.rows} rows`)
  disk.free()
  // The store is opened again by the next question.
  await eventually(async () => (await hub.get('/readyz')).status === 200, 'the hub is ready again')
  const told = await done(t, started(hub, ['import', file], dir))
  t.match(told, /goes on behind [\d,]+ rows/)
  t.match(told, /200,000 rows: 200,000 stored, 0 refused/)
  t.match(await imported(hub), { rows, stored: rows, dead: 0 })
  t.match(await done(t, started(hub, ['sql', 'SELECT count(*) AS n FROM readings', '--csv'], dir)), /200000/)

  const out = join(dir, 'out.parquet')
  disk.fill(300_000)
  t.match(await done(t, started(hub, ['export', '--out', out], dir), 1), /./)
  t.notOk(existsSync(out) || existsSync(`${out}.part`))
  t.same(existsSync(join(hub.dir, 'exports')) ? readdirSync(join(hub.dir, 'exports')) : [], [])
  disk.free()
  t.match(await done(t, started(hub, ['export', '--out', out], dir)), /^200,000 rows/)
})

t.test('the disk of the command is full: refused lines are listed when there is room', async t => {
  const disk = await smallDisk(t, 1e6)
  if (!disk) return t.pass('no file system may be mounted here')
  const hub = await startHub(t)
  const file = await lines(join(await tempDir(), 'big.lp'), ['wrong\n', 'm v= 1\n'])
  disk.fill(0)
  t.match(await done(t, started(hub, ['import', file], disk.dir), 1), /big\.lp\.mistakes\.jsonl, .* cannot be written/)
  t.ok((await imported(hub)).rows < rows + 2)
  disk.free()
  t.match(await done(t, started(hub, ['import', file], disk.dir), 1), /200,002 rows: 200,000 stored, 2 refused/)
  const report = readFileSync(join(disk.dir, 'big.lp.mistakes.jsonl'), 'utf8').trim().split('\n')
  t.same(
    report.map(line => (JSON.parse(line) as { line: number }).line),
    [rows + 1, rows + 2],
  )
})
