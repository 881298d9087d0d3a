import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { ensureChromium } from './services/chromium.js'
import { dockerAnswers } from './services/docker.js'
import { ensureMosquitto } from './services/mosquitto.js'
import { ensureRabbit } from './services/rabbitmq.js'
import { program } from './services/service.js'
import { TapReport } from './tap-report.js'

/*
 * npm test [-- [--unit] [words]]: runs every dist/test/**\/*.test.js, or those whose path contains one of the words.
 *
 * A test that needs a real server, or starts the built program, is in test/e2e/, browser/ or hostile/ or is named
 * *.server.test.ts. `--unit` leaves those out. A test is never skipped because a server is missing: the servers are
 * installed first, or the run ends with what to install.
 *
 * The last line on stdout is `N passed, N failed`. The exit code is 0 only when something passed, nothing failed,
 * and no process and no folder of a test was left behind.
 */

const here = fileURLToPath(new URL('.', import.meta.url))
const root = fileURLToPath(new URL('../..', import.meta.url))

const needsServer = (file: string) => /^dist\/test\/(e2e|browser|hostile)\/|\.server\.test\.js$/.test(file)

const mark = 'TEST_RUN_FOLDER'
const timeoutMs = 180_000

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({ options: { unit: { type: 'boolean' } }, allowPositionals: true })
  const files = readdirSync(here, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.test.js'))
    .map(file => relative(root, join(here, file)).replaceAll('\\', '/'))
    .filter(file => !values.unit || !needsServer(file))
    .filter(file => positionals.length === 0 || positionals.some(word => file.includes(nameInDist(word))))
    .sort()
  if (files.length === 0) {
    console.error(positionals.length > 0 ? `no test file matches ${positionals.join(' or ')}` : 'there is no test file')
    console.log('0 passed, 0 failed')
    return 1
  }
  if (files.some(needsServer)) {
    // Once and here, as the test files run at the same time and apt-get does not.
    for (const ensure of [ensureRabbit, ensureInflux, ensureMosquitto, ensureChromium]) await ensure()
  }

  // Tests get a temporary folder and a mark of their own, so that what they leave behind is told from all else.
  const temporary = mkdtempSync(join(tmpdir(), 'telehub-run-'))
  const report = new TapReport(files, console.log, process.stdout.isTTY === true)
  try {
    await runFiles(files, temporary, report)
    const left = [...(await leftProcesses(temporary)), ...leftFolders(temporary)]
    for (const problem of left) report.fail(problem)
  } finally {
    rmSync(temporary, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
  report.summarize()
  console.log(`${report.passed} passed, ${report.failed} failed`)
  return report.failed === 0 && report.passed > 0 ? 0 : 1
}

/** `test/store/duckdb.test.ts`, as a shell completes it, is `dist/test/store/duckdb.test` here. */
function nameInDist(word: string): string {
  return word.replace(/^(\.\/)?(dist\/)?test\//, 'dist/test/').replace(/\.ts$/, '')
}

async function ensureInflux(): Promise<void> {
  if (!process.env.TEST_INFLUX_URL && !(await dockerAnswers())) await program('influxd', 'influxdb')
}

/**
 * Runs the files as the Node programs they are, two at a time. Not by `tap run`: it loads itself into every process a
 * test starts, and changes how they take signals and how they end; what is tested here are such processes.
 */
async function runFiles(files: readonly string[], temporary: string, report: TapReport): Promise<void> {
  const waiting = [...files]
  const running = new Set<ChildProcess>()
  let stopped = false
  const stop = (signal: NodeJS.Signals) => {
    stopped = true
    for (const child of running) child.kill(signal)
  }
  process.on('SIGINT', stop).on('SIGTERM', stop)
  const worker = async () => {
    for (let file = waiting.shift(); file && !stopped; file = waiting.shift()) {
      const child = spawn(process.execPath, ['--enable-source-maps', file], {
        cwd: root,
        env: { ...process.env, TAP: '1', TAP_TIMEOUT: String(timeoutMs / 1_000), TMPDIR: temporary, [mark]: temporary },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      running.add(child)
      await runFile(file, child, report)
      running.delete(child)
    }
  }
  await Promise.all([worker(), worker()])
  process.off('SIGINT', stop).off('SIGTERM', stop)
}

/** Hands the report what `tap run` would: the file as one subtest. Its errors are shown when it failed. */
async function runFile(file: string, child: ChildProcessByStdio<null, Readable, Readable>, report: TapReport) {
  const startedAt = performance.now()
  const errors: Buffer[] = []
  child.stderr.on('data', chunk => errors.push(chunk))
  let ending = ''
  // tap itself says sooner which test took too long; this is for a file that does not end after that.
  const timers = [
    setTimeout(() => {
      ending = ' (did not end in time)'
      child.kill('SIGTERM')
    }, timeoutMs + 5_000),
    setTimeout(() => child.kill('SIGKILL'), timeoutMs + 20_000),
  ]
  const exited = new Promise<boolean>(resolve => {
    child.once('error', () => resolve(false))
    child.once('close', code => resolve(code === 0))
  })
  const lines: string[] = []
  for await (const line of createInterface({ input: child.stdout })) lines.push(line)
  const ok = await exited
  for (const timer of timers) clearTimeout(timer)
  report.line(`# Subtest: ${file}`)
  for (const line of lines) report.line(`    ${line}`)
  const time = (performance.now() - startedAt).toFixed(3)
  report.line(`${ok ? '' : 'not '}ok 1 - ${file}${ending} # time=${time}ms`)
  if (!ok && errors.length > 0) report.note(Buffer.concat(errors).toString())
}

/** Processes that carry the mark of this run in their environment; those still there after a moment are ended. */
async function leftProcesses(temporary: string): Promise<string[]> {
  if (!existsSync('/proc/self/environ')) return []
  for (let waited = 0; ; waited += 100) {
    const left = markedProcesses(`${mark}=${temporary}`)
    if (left.length === 0) return []
    if (waited < 3_000) {
      await sleep(100)
      continue
    }
    return left.map(pid => {
      const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It ended by itself just now, too late all the same.
      }
      return `a test left a process running: ${pid} ${command.slice(0, 200)}`
    })
  }
}

function markedProcesses(entry: string): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name) && read(`/proc/${name}/environ`).split('\0').includes(entry))
    .map(Number)
}

function leftFolders(temporary: string): string[] {
  return readdirSync(temporary)
    .filter(name => name.startsWith('telehub-test-'))
    .map(name => `a test left its folder: ${name} (${readdirSync(join(temporary, name)).slice(0, 5).join(', ')})`)
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // Ended meanwhile, or not ours.
    return ''
  }
}

process.exitCode = await main()
