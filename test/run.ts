import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { FileTimes } from './file-queue.js'
import { runFiles } from './run-files.js'
import { ensureChromium } from './services/chromium.js'
import { dockerAnswers } from './services/docker.js'
import { ensureKafka } from './services/kafka.js'
import { ensureMosquitto } from './services/mosquitto.js'
import { ensureRabbit } from './services/rabbitmq.js'
import { program } from './services/service.js'
import { TapReport } from './tap-report.js'

/*
 * npm test [-- [--unit] [--record] [words]]: runs every dist/test/**\/*.test.js, or those whose path contains one of the
 * words. `--record` writes into test/times.json what each file took; later runs begin with the longest.
 *
 * A test that needs a real server, starts the built program, or kills processes, is in test/e2e/, browser/ or hostile/ or is named
 * *.server.test.ts. `--unit` leaves those out. A test is never skipped because a server is missing: the servers are
 * installed first, or the run ends with what to install.
 *
 * A test file that fails is run once more, alone. When it passes then, it counts as passed and is listed as unsteady at
 * the end: a defect to mend next, not to forget. A file that leaves a process or a folder behind has failed.
 *
 * The last line on stdout is `N passed, N failed`. The exit code is 0 only when something passed and nothing failed.
 */

const here = fileURLToPath(new URL('.', import.meta.url))
const root = fileURLToPath(new URL('../..', import.meta.url))

const needsServer = (file: string) => /^dist\/test\/(e2e|browser|hostile)\/|\.server\.test\.js$/.test(file)

const timeoutMs = 300_000

const timesFile = join(root, 'test/times.json')

async function main(): Promise<number> {
  const options = { unit: { type: 'boolean' }, record: { type: 'boolean' } } as const
  const { values, positionals } = parseArgs({ options, allowPositionals: true })
  const files = readdirSync(here, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.test.js'))
    .map(file => relative(root, join(here, file)).replaceAll('\\', '/'))
    .filter(file => !values.unit || !needsServer(file))
    .filter(file => positionals.length === 0 || positionals.some(word => file.includes(nameInDist(word))))
    // As long as nothing is known about them: those with servers take longer.
    .sort((a, b) => Number(needsServer(b)) - Number(needsServer(a)) || (a < b ? -1 : 1))
  if (files.length === 0) {
    console.error(positionals.length > 0 ? `no test file matches ${positionals.join(' or ')}` : 'there is no test file')
    console.log('0 passed, 0 failed')
    return 1
  }
  if (files.some(needsServer)) {
    // Once and here, as the test files run at the same time and apt-get does not.
    for (const ensure of [ensureRabbit, ensureKafka, ensureInflux, ensureMosquitto, ensureChromium]) await ensure()
  }

  const temporary = mkdtempSync(join(tmpdir(), 'telehub-run-'))
  const report = new TapReport(files, console.log, process.stdout.isTTY === true)
  const times = readTimes()
  try {
    await runFiles(files, { root, temporary, report, timeoutMs, jobs: 2, times })
  } finally {
    rmSync(temporary, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
  if (values.record) writeTimes(new Map([...times, ...report.times]))
  report.summarize()
  console.log(`${report.passed} passed, ${report.failed} failed`)
  return report.failed === 0 && report.passed > 0 ? 0 : 1
}

/** `test/store/duckdb.test.ts`, as a shell completes it, is `dist/test/store/duckdb.test` here. */
function nameInDist(word: string): string {
  return word.replace(/^(\.\/)?(dist\/)?test\//, 'dist/test/').replace(/\.ts$/, '')
}

function readTimes(): FileTimes {
  return new Map(existsSync(timesFile) ? Object.entries(JSON.parse(readFileSync(timesFile, 'utf8'))) : [])
}

/** A line for each file that is still there. */
function writeTimes(times: FileTimes): void {
  const lines = [...times]
    .filter(([file]) => existsSync(join(root, file)))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([file, seconds]) => `  ${JSON.stringify(file)}: [${seconds.map(time => Number(time.toFixed(1))).join(', ')}]`)
  writeFileSync(timesFile, `{\n${lines.join(',\n')}\n}\n`)
}

async function ensureInflux(): Promise<void> {
  if (!process.env.TEST_INFLUX_URL && !(await dockerAnswers())) await program('influxd', 'influxdb')
}

process.exitCode = await main()
