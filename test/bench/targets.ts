import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { freePort, program, startProcess, tempDir } from '../services/service.js'

/** A running server to load. */
export interface Target {
  readonly pid: number
  /** MQTT over TCP. */
  readonly port: number
  /** MQTT over WebSocket, path `/mqtt`. */
  readonly webSocketPort: number
  stop(): Promise<void>
}

/** Bytes of a hub's threads that are in use once garbage is collected: objects, and buffers beside them. */
export interface HeapInUse {
  readonly broker: number
  readonly others: number
}

/** A hub that tells what it has in use. */
export interface ObservedHub extends Target {
  heap(): Promise<HeapInUse>
}

export interface Candidate {
  readonly name: 'telehub' | 'mosquitto' | 'floor'
  readonly what: string
  start(): Promise<Target>
}

export const candidates: readonly Candidate[] = [
  { name: 'floor', what: 'Node floor', start: startFloor },
  { name: 'mosquitto', what: 'Mosquitto', start: startRival },
  { name: 'telehub', what: 'telehub', start: startHub },
]

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** More than any row needs: what is measured is speed, not where the limits are. */
export const hubLimits = ['--limits.connections', '100000', '--limits.address', '100000']

/** Parses, acknowledges, passes on: the least Node can do. */
async function startFloor(): Promise<Target> {
  const child = fork(fileURLToPath(new URL('floor.js', import.meta.url)))
  const port = await new Promise<number>((resolve, reject) => {
    child.once('message', message => resolve(Number(message)))
    child.once('exit', code => reject(new Error(`the floor ended with exit code ${code}`)))
  })
  return { pid: child.pid as number, port, webSocketPort: port, stop: () => end(child) }
}

/** Mosquitto, memory only: it has nothing on disk when it acknowledges. */
async function startRival(): Promise<Target> {
  const command = await program('mosquitto', 'mosquitto')
  const cwd = await tempDir()
  const [port, webSocketPort] = [await freePort(), await freePort()]
  const config = join(cwd, 'mosquitto.conf')
  const lines = [
    // The first one must be TCP: with WebSockets alone it does not start (mosquitto #2284).
    `listener ${port} 127.0.0.1`,
    `listener ${webSocketPort} 127.0.0.1`,
    'protocol websockets',
    'allow_anonymous true',
    'persistence false',
    // As root it would become a user that may not read this folder.
    ...(process.getuid?.() === 0 ? ['user root'] : []),
    // Nothing of what a publisher in a hurry sends is dropped by the rival's own limits.
    'max_queued_messages 0',
    'max_inflight_messages 0',
    'set_tcp_nodelay true',
    'log_type error',
    '',
  ]
  await writeFile(config, lines.join('\n'))
  // Node raises its limit of open files by itself; others start with what the shell has.
  const script = 'ulimit -n "$(ulimit -Hn)"; exec "$0" -c "$1"'
  const args = ['-c', script, command, config]
  const server = await startProcess({ command: '/bin/sh', args, cwd, port, timeoutMs: 10_000 })
  return { pid: server.pid, port, webSocketPort, stop: () => server.stop() }
}

/**
 * The built hub, as users run it: embedded queue and store, acknowledged after fdatasync. A folder that is given is
 * there after `stop`, to start with again.
 */
export function startHub(flags: readonly string[] = hubLimits, given?: string): Promise<Target> {
  return spawnHub(flags, given, []).then(({ target }) => target)
}

/** Starts a hub as {@link startHub} does, which collects its garbage when it is asked what it has in use. */
export async function startObservedHub(flags: readonly string[], given: string): Promise<ObservedHub> {
  const collector = new URL('collect.js', import.meta.url).href
  const { target, child, lines } = await spawnHub(flags, given, ['--expose-gc', '--import', collector])
  const heap = () =>
    new Promise<HeapInUse>((resolve, reject) => {
      const ended = () => reject(new Error('the hub ended'))
      const line = (text: string) => {
        const [, broker, others] = /^heap (\d+) (\d+)$/.exec(text) ?? []
        if (broker === undefined) return
        lines.off('line', line)
        child.off('exit', ended)
        resolve({ broker: Number(broker), others: Number(others) })
      }
      lines.on('line', line)
      child.once('exit', ended)
      child.kill('SIGUSR2')
    })
  return { ...target, heap }
}

interface SpawnedHub {
  readonly target: Target
  readonly child: ChildProcess
  /** The lines that the hub prints. */
  readonly lines: Interface
}

async function spawnHub(
  flags: readonly string[],
  given: string | undefined,
  nodeFlags: readonly string[],
): Promise<SpawnedHub> {
  // What is measured is a disk: where /tmp is memory, TMPDIR names another place.
  const folder = given ?? (await tempDir())
  const args = ['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', folder, '--log.level', 'warn', ...flags]
  const child = spawn(process.execPath, [...nodeFlags, join(root, 'dist/bundle/cli.js'), ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const kill = () => void child.kill('SIGKILL')
  process.once('exit', kill)
  const gone = new Promise(resolve => child.once('exit', resolve))
  // What it has not stored yet nobody will ask for.
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      kill()
      await gone
    }
    process.off('exit', kill)
    if (given === undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
  const lines = createInterface({ input: child.stdout })
  const ready = new Promise<Omit<Target, 'stop'>>((resolve, reject) => {
    lines.on('line', line => {
      const port = /^telehub ready .*mqtt:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1]
      const webSocketPort = /ws:\/\/127\.0\.0\.1:(\d+)\/mqtt/.exec(line)?.[1]
      if (port) resolve({ pid: child.pid as number, port: Number(port), webSocketPort: Number(webSocketPort) })
    })
    child.once('exit', code => reject(new Error(`telehub ended with exit code ${code} before it was ready`)))
  })
  try {
    return { target: { ...(await ready), stop }, child, lines }
  } catch (error) {
    await stop()
    throw error
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
  await gone
  clearTimeout(timer)
}

/** Bytes of memory a process has at this moment, and had at most. */
export function residentBytes(pid: number): { readonly now: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1_024
  return { now: of('VmRSS'), peak: of('VmHWM') }
}

/** Processor time a process has used with all its threads, in seconds. */
export function processorSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // Behind the program's name, which may hold anything. utime and stime are fields 14 and 15, in hundredths.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** How many files, connections among them, a process of ours may have open. */
export function openFilesLimit(): number {
  return Number(/^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? Infinity)
}

/** The process that we started and that calls itself `name`; undefined when there is none, as with Docker. */
export function childNamed(name: string): number | undefined {
  const isIt = (pid: string) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const end = stat.lastIndexOf(')')
      return (
        stat.slice(stat.indexOf('(') + 1, end) === name && Number(stat.slice(end + 2).split(' ')[1]) === process.pid
      )
    } catch {
      // It has ended meanwhile.
      return false
    }
  }
  const found = readdirSync('/proc').find(entry => /^\d+$/.test(entry) && isIt(entry))
  return found === undefined ? undefined : Number(found)
}

/** What everything is measured on. */
export function machine(): { readonly cores: number; readonly cpu: string; readonly memoryBytes: number } {
  const all = cpus()
  return { cores: all.length, cpu: all[0]?.model.trim() ?? 'unknown', memoryBytes: totalmem() }
}

/** Of the hub that is built. */
export function version(): string {
  return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version
}

/** Of all that is measured beside one another. */
export async function versions(): Promise<Readonly<Record<'telehub' | 'mosquitto' | 'node', string>>> {
  const help = helpOf(await program('mosquitto', 'mosquitto'))
  return { telehub: version(), mosquitto: /version (\S+)/.exec(help)?.[1] ?? 'unknown', node: process.versions.node }
}

/** Mosquitto ends its help with an exit code that is none of success. */
function helpOf(command: string): string {
  try {
    return execFileSync(command, ['-h'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  } catch (error) {
    return String((error as { stdout?: unknown }).stdout ?? '')
  }
}
