import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { FileQueue, type FileTimes } from './file-queue.js'
import type { TapReport } from './tap-report.js'

export interface RunFilesOptions {
  /** The folder in which the files are run; their names are relative to it. */
  readonly root: string
  /** An empty folder. Each file gets a folder in it for its temporary files. */
  readonly temporary: string
  readonly report: TapReport
  readonly timeoutMs: number
  /** How many files run at the same time; a further one beside them when it mostly waits. */
  readonly jobs: number
  /** What earlier runs took. */
  readonly times?: FileTimes
}

/** In the environment of every process that a test file starts: the temporary folder of this file. */
const mark = 'TEST_RUN_FOLDER'

/** When more files than this fail, the fault is not unsteadiness, and running them again would only take time. */
const maxAgain = 8

/**
 * Runs the files as the Node programs they are. `tap run` is not used: it loads itself into every process a test starts,
 * and changes how these processes take signals and how they end; such processes are what is tested here.
 *
 * A file that fails is run once more when all others have ended, alone. When it passes then, it counts as passed, and the
 * report lists it as unsteady. A file also fails when it leaves a process or a folder behind; the process is ended.
 */
export async function runFiles(files: readonly string[], options: RunFilesOptions): Promise<void> {
  const { report, jobs } = options
  const running = new Set<ChildProcess>()
  let stopped = false
  const stop = (signal: NodeJS.Signals) => {
    stopped = true
    for (const child of running) child.kill(signal)
  }
  process.on('SIGINT', stop).on('SIGTERM', stop)
  let runs = 0
  const spent = processorTime()
  const runAll = async (next: () => string | undefined) => {
    for (let file = next(); file && !stopped; file = next()) {
      await runFile(file, { folder: join(options.temporary, String(++runs)), running, spent }, options)
    }
  }
  const queue = new FileQueue(files, options.times)
  await Promise.all([
    ...Array.from({ length: jobs }, () => runAll(() => queue.next())),
    runAll(() => queue.nextThatWaits()),
  ])
  const failed = [...report.failedFiles]
  if (failed.length <= maxAgain && !stopped) {
    for (const file of failed) report.again(file)
    await runAll(() => failed.shift())
  }
  process.off('SIGINT', stop).off('SIGTERM', stop)
}

interface OneRun {
  readonly folder: string
  readonly running: Set<ChildProcess>
  readonly spent: () => number
}

/** Hands the report what `tap run` would: the file as one subtest. Its errors are shown when it failed. */
async function runFile(
  file: string,
  { folder, running, spent }: OneRun,
  { root, report, timeoutMs }: RunFilesOptions,
): Promise<void> {
  mkdirSync(folder)
  const startedAt = performance.now()
  const child: ChildProcessByStdio<null, Readable, Readable> = spawn(process.execPath, ['--enable-source-maps', file], {
    cwd: root,
    env: { ...process.env, TAP: '1', TAP_TIMEOUT: String(timeoutMs / 1_000), TMPDIR: folder, [mark]: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
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
  child.once('exit', () => report.used(file, spent()))
  const exited = new Promise<boolean>(resolve => {
    child.once('error', () => resolve(false))
    child.once('close', code => resolve(code === 0))
  })
  const lines: string[] = []
  for await (const line of createInterface({ input: child.stdout })) lines.push(line)
  const ok = await exited
  running.delete(child)
  for (const timer of timers) clearTimeout(timer)
  const left = [...(await endLeftProcesses(folder)), ...leftFolders(folder)]
  // In one go: files that run at the same time must not come between.
  report.line(`# Subtest: ${file}`)
  for (const line of lines) report.line(`    ${line}`)
  for (const problem of left) report.failIn(problem)
  const time = (performance.now() - startedAt).toFixed(3)
  report.line(`${ok ? '' : 'not '}ok 1 - ${file}${ending} # time=${time}ms`)
  if (!ok && errors.length > 0) report.note(Buffer.concat(errors).toString())
}

/**
 * Returns a function that tells the seconds of processor time of the children that have ended since its last call, and of
 * the children that these have waited for. Called whenever one ends, it tells what that one took. 0 where there is no /proc.
 */
function processorTime(): () => number {
  const total = () => {
    // "pid (name) state …": the name may hold anything. The 14th and 15th after it: ticks of 10 ms in user and system mode.
    const fields = read('/proc/self/stat').split(') ').at(-1)?.split(' ') ?? []
    return (Number(fields[13] ?? 0) + Number(fields[14] ?? 0)) / 100
  }
  let before = total()
  return () => {
    const now = total()
    const spent = now - before
    before = now
    return spent
  }
}

/** Ends the processes that carry the mark in their environment and are still there after a moment; says which. */
async function endLeftProcesses(folder: string): Promise<string[]> {
  if (!existsSync('/proc/self/environ')) return []
  for (let waited = 0; ; waited += 100) {
    const left = markedProcesses(`${mark}=${folder}`)
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
        // The process ended by itself just now, which is too late all the same.
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

function leftFolders(folder: string): string[] {
  return readdirSync(folder)
    .filter(name => name.startsWith('telehub-test-'))
    .map(name => `a test left its folder: ${name} (${readdirSync(join(folder, name)).slice(0, 5).join(', ')})`)
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // The process ended meanwhile, or belongs to another user.
    return ''
  }
}
