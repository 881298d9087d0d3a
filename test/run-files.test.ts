import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { FileTimes } from './file-queue.js'
import { runFiles } from './run-files.js'
import { tempDir } from './services/service.js'
import { TapReport } from './tap-report.js'

/** Runs programs that stand for test files; each is the body of a module. */
async function run(programs: Readonly<Record<string, string>>, times?: FileTimes) {
  const root = await tempDir()
  const temporary = join(root, 'temporary')
  mkdirSync(temporary)
  const prelude = `
    import { spawn } from 'node:child_process'
    import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
    import { tmpdir } from 'node:os'
    const first = name => existsSync(name) ? false : (writeFileSync(name, ''), true)
    const pass = () => console.log('ok 1 - fine\\n1..1')
    const fail = () => { console.log('not ok 1 - fine\\n1..1'); process.exitCode = 1 }
  `
  for (const [name, body] of Object.entries(programs)) writeFileSync(join(root, name), prelude + body)
  const written: string[] = []
  const files = Object.keys(programs)
  const report = new TapReport(files, line => written.push(line), false)
  await runFiles(files, { root, temporary, report, timeoutMs: 60_000, jobs: 2, ...(times && { times }) })
  report.summarize()
  return { root, report, written: written.join('\n') }
}

t.test('a file that fails is run once more, alone, when the others have ended', async t => {
  const { root, report, written } = await run({
    'unsteady.mjs': `if (first('once')) fail(); else { pass(); writeFileSync('alone', String(existsSync('ended'))) }`,
    'fails.mjs': `writeFileSync(first('failed') ? 'first' : 'second', ''); fail()`,
    'passes.mjs': `pass(); writeFileSync('ended', '')`,
  })
  t.same(report.unsteadyFiles, ['unsteady.mjs'])
  t.equal(report.passed, 2)
  t.equal(report.failed, 1)
  t.equal(readFileSync(join(root, 'alone'), 'utf8'), 'true', 'the second run came after all others')
  t.ok(existsSync(join(root, 'second')), 'the one that fails was run twice')
  t.match(written, 'once more, alone: unsteady.mjs')
  t.match(written, '✖ fails.mjs › fine')
})

t.test('what a file leaves behind makes it fail', async t => {
  const { report, written } = await run({
    'process.mjs': `pass(); if (first('a')) spawn('sleep', ['60'], { stdio: 'ignore', detached: true }).unref()`,
    'folder.mjs': `pass(); mkdirSync(tmpdir() + '/telehub-test-x')`,
  })
  t.same(report.unsteadyFiles, ['process.mjs'])
  t.match(written, /~ process\.mjs › a test left a process running: \d+ sleep 60/)
  t.match(written, '✖ folder.mjs › a test left its folder: telehub-test-x')
  t.equal(report.failed, 1)
})

t.test('when most files fail, they are not run again', async t => {
  const programs = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`${i}.mjs`, `if (first('${i}')) fail()`]))
  const { report } = await run(programs)
  t.equal(report.failed, 9)
  t.same(report.unsteadyFiles, [])
})

t.test('the processor time of a file is that of all processes that it waited for', async t => {
  const busy = 'for (let i = 0; process.cpuUsage().user < 1200000; ) for (let n = 0; n < 1e7; n++) i += n'
  const { report, written } = await run({
    'busy.mjs': `const child = spawn(process.execPath, ['-e', ${JSON.stringify(busy)}]); child.on('exit', pass)`,
    'idle.mjs': 'pass()',
  })
  const times = new Map(report.times)
  t.ok((times.get('busy.mjs')?.[1] ?? 0) > 1.1, `${times.get('busy.mjs')}`)
  t.ok((times.get('idle.mjs')?.[1] ?? 9) < (times.get('busy.mjs')?.[1] ?? 0))
  t.match(written, /Most processor time \(all: \d+ s\):\n +[\d.]+ s {2}busy\.mjs/)
})

t.test('the longest files come first; a file that waits runs beside the busy ones', async t => {
  // Each writes when it started, and the first ones end only when the file that waits has begun.
  const names = ['short', 'long', 'longest', 'waits']
  const until = (file: string) => `while (!existsSync('${file}')) await new Promise(go => setTimeout(go, 10));`
  const body = (name: string) => `writeFileSync('${name}', ''); ${name.startsWith('long') ? until('waits') : ''} pass()`
  const { report } = await run(
    Object.fromEntries(names.map(name => [`${name}.mjs`, body(name)])),
    new Map([
      ['short.mjs', [1, 1]],
      ['long.mjs', [50, 50]],
      ['longest.mjs', [90, 90]],
      ['waits.mjs', [30, 1]],
    ]),
  )
  t.equal(report.passed, 4)
  t.equal(report.failed, 0)
})
