import { execFile, spawn } from 'node:child_process'
import { accessSync, closeSync, constants, existsSync, openSync, readFileSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, delimiter, isAbsolute, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

export interface ProcessOptions {
  readonly command: string
  readonly args: readonly string[]
  /** Added to our own environment. */
  readonly env?: Readonly<Record<string, string>>
  /** Also where the output goes: `<command's name>.log`, appended to. */
  readonly cwd: string
  /** The process is up when this port on 127.0.0.1 takes a connection. */
  readonly port: number
  readonly timeoutMs: number
}

export interface RunningProcess {
  readonly pid: number
  /** SIGTERM to the process and its children, SIGKILL after ten seconds; resolves when it is gone. Safe to repeat. */
  stop(): Promise<void>
  /** SIGKILL, as a crash; resolves when it is gone. */
  kill(): Promise<void>
}

const folders = new Set<string>()
const running = new Set<number>()
let cleaning = false

/** A port that was free on 127.0.0.1 a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  if (!address || typeof address === 'string') throw new Error('no TCP port was given')
  return address.port
}

/** A new empty folder, removed when this process ends. */
export async function tempDir(): Promise<string> {
  cleanAtExit()
  const folder = await mkdtemp(join(tmpdir(), 'telehub-test-'))
  folders.add(folder)
  return folder
}

/** The folders made by {@link tempDir} so far are not removed: somebody wants to look into them. */
export function keepFolders(): readonly string[] {
  const kept = [...folders]
  folders.clear()
  return kept
}

/**
 * Starts a program in its own process group and resolves when its port answers. Rejects with the end of its
 * output when it ends first or is too slow (it is killed then). Whatever still runs when this process ends is killed.
 */
export async function startProcess(options: ProcessOptions): Promise<RunningProcess> {
  cleanAtExit()
  const { command, args, env, cwd, port, timeoutMs } = options
  const log = join(cwd, `${basename(command)}.log`)
  const output = openSync(log, 'a')
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', output, output],
    detached: true,
  })
  closeSync(output)
  let failure: Error | undefined
  let gone = false
  const ended = new Promise<void>(resolve => {
    child.once('error', error => {
      failure = error
      gone = true
      resolve()
    })
    child.once('exit', () => {
      gone = true
      resolve()
    })
  })
  // A test that forgot to stop it ends all the same, and the handler at exit kills it.
  child.unref()
  const { pid } = child
  if (pid === undefined) {
    await ended
    throw new Error(`${command} cannot be started`, { cause: failure })
  }
  running.add(pid)

  const end = async (signal: NodeJS.Signals, graceMs: number): Promise<void> => {
    child.ref()
    const timer = setTimeout(() => signalGroup(pid, 'SIGKILL'), graceMs)
    if (!gone) signalGroup(pid, signal)
    await ended
    clearTimeout(timer)
    if (running.delete(pid)) signalGroup(pid, 'SIGKILL')
  }

  const deadline = performance.now() + timeoutMs
  while (!(await answers(port))) {
    const late = performance.now() > deadline
    if (!gone && !late) {
      await sleep(25)
      continue
    }
    await end('SIGKILL', 0)
    const why = late ? `did not answer on port ${port} within ${timeoutMs} ms` : 'ended before it answered'
    throw new Error(`${command} ${why}; its output ends with:\n${tail(log)}`)
  }
  return { pid, stop: () => end('SIGTERM', 10_000), kill: () => end('SIGKILL', 1_000) }
}

/** Whether something on 127.0.0.1 takes connections on this port. */
export function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port, timeout: 1_000 })
    const settle = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => settle(true))
    socket.once('timeout', () => settle(false))
    socket.once('error', () => settle(false))
  })
}

/**
 * Where a program is: the path itself when `name` is absolute, else the first of PATH and the folders Debian
 * puts servers in. When it is nowhere: installed with apt-get if we are root, otherwise an error that says
 * what to install.
 */
export async function program(name: string, debianPackage: string): Promise<string> {
  const found = find(name, debianPackage)
  if (found) return found
  await installPackage(name, debianPackage)
  const installed = find(name, debianPackage)
  if (!installed) throw new Error(`${debianPackage} was installed but has no program ${name}`)
  return installed
}

/** Makes sure that Debian's Python has a module. */
export async function pythonModule(name: string, debianPackage: string): Promise<void> {
  const imported = () => promisify(execFile)('/usr/bin/python3', ['-c', `import ${name}`])
  try {
    await imported()
  } catch {
    await installPackage(`the Python module ${name}`, debianPackage)
    await imported()
  }
}

async function installPackage(what: string, debianPackage: string): Promise<void> {
  const missing = `${what} is needed for this test: install it (Debian: apt-get install ${debianPackage})`
  if (process.getuid?.() !== 0 || !find('apt-get', 'apt')) throw new Error(missing)
  process.stderr.write(`installing ${debianPackage} for the tests …\n`)
  try {
    await install(debianPackage).catch(async () => {
      await aptGet('update')
      await install(debianPackage)
    })
  } catch (error) {
    throw new Error(missing, { cause: error })
  }
}

/** Makes sure that a file of a Debian package is there, as {@link program} does for programs. */
export async function debianFile(path: string, debianPackage: string): Promise<void> {
  if (existsSync(path)) return
  const missing = `${path} is needed for this test: install it (Debian: apt-get install ${debianPackage})`
  if (process.getuid?.() !== 0 || !find('apt-get', 'apt')) throw new Error(missing)
  process.stderr.write(`installing ${debianPackage} for the tests …\n`)
  await install(debianPackage).catch(async () => {
    await aptGet('update')
    await install(debianPackage)
  })
  if (!existsSync(path)) throw new Error(missing)
}

function install(debianPackage: string): Promise<unknown> {
  return aptGet('install', '-y', '--no-install-recommends', debianPackage)
}

function aptGet(...args: string[]): Promise<unknown> {
  // Test files run at the same time, so the lock may be held. Run level 1: the package's own service is not started.
  return promisify(execFile)('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    maxBuffer: 64 * 1024 * 1024,
  })
}

function find(name: string, debianPackage: string): string | undefined {
  const places = isAbsolute(name)
    ? [name]
    : [
        ...(process.env.PATH ?? '').split(delimiter).filter(Boolean),
        '/usr/local/sbin',
        '/usr/sbin',
        '/sbin',
        `/usr/lib/${name}`,
        `/usr/lib/${name}/bin`,
        `/usr/lib/${debianPackage}`,
        `/usr/lib/${debianPackage}/bin`,
      ].map(folder => join(folder, name))
  return places.find(executable)
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // The group is gone already.
  }
}

function tail(file: string): string {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(-20).join('\n')
  } catch {
    return '(no output)'
  }
}

function cleanAtExit(): void {
  if (cleaning) return
  cleaning = true
  process.once('exit', () => {
    for (const pid of running) signalGroup(pid, 'SIGKILL')
    for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  })
  // Without a listener these end the process with no `exit` event.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1))
}
