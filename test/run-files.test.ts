import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runFiles } from './run-files.js'
import { tempDir } from './services/service.js'
import { TapReport } from './tap-report.js'

/** Runs programs that stand for test files; each is the body of a module that finds its own folder in `here`. */
async function run(programs: Readonly<Record<string, string>>) {
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
  await runFiles(files, { root, temporary, report, timeoutMs: 60_000, jobs: 2 })
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
