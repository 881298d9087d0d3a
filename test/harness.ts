import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { tempDir } from './services/service.js'

/** What a tap test gives us to clean up with. */
interface Test {
  teardown(end: () => unknown): void
}

export interface RunningHub {
  readonly dir: string
  readonly mqttUrl: string
  /** Empty without mqtts.port. */
  readonly mqttsUrl: string
  readonly httpUrl: string
  readonly webSocketUrl: string
  readonly pid: number
  /** What it has written to stderr so far. */
  log(): string
  /** A crash: SIGKILL. Resolves when it is gone. */
  kill(): Promise<void>
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>
  /** GET of a path as JSON, with the status. */
  get<T>(path: string): Promise<{ readonly status: number; readonly body: T }>
}

const bundled = fileURLToPath(new URL('../bundle/cli.js', import.meta.url))
const modules = fileURLToPath(new URL('../src/cli.js', import.meta.url))

/** The command, as users start it. A fixture that changes a class finds it only in the module of that class. */
const cliOf = ({ NODE_OPTIONS = '' }: Readonly<Record<string, string>>) =>
  NODE_OPTIONS.includes('--import') ? modules : bundled

/** The real hub, as users start it, on free ports; without `dir` in a new folder. Gone when the test ends. */
export async function startHub(
  t: Test,
  settings: Readonly<Record<string, string>> = {},
  dir?: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<RunningHub> {
  const folder = dir ?? (await tempDir())
  const all = { 'mqtt.port': '0', 'http.port': '0', 'data.dir': folder, ...settings }
  const run = runCli(['start', ...Object.entries(all).flatMap(([key, value]) => [`--${key}`, value])], environment)
  t.teardown(() => run.kill())
  const ready = await run.line(/^telehub ready .*$/m)
  const address = (pattern: RegExp) => pattern.exec(ready)?.[0] ?? ''
  const httpUrl = address(/https?:\/\/\S+/)
  return {
    dir: folder,
    mqttUrl: address(/mqtt:\/\/\S+/),
    mqttsUrl: address(/mqtts:\/\/\S+/),
    httpUrl,
    webSocketUrl: address(/wss?:\/\/\S+/),
    pid: run.pid,
    log: run.stderr,
    kill: run.kill,
    stop: async () => {
      process.kill(run.pid, 'SIGTERM')
      return run.exited
    },
    get: async <T>(path: string) => {
      const response = await fetch(httpUrl + path, { headers: asAdmin(folder) })
      return { status: response.status, body: (await response.json()) as T }
    },
  }
}

export interface Run {
  readonly pid: number
  readonly exited: Promise<number | null>
  stdout(): string
  stderr(): string
  /** Resolves with the first match on stdout; rejects with what was said when it ends without. */
  line(pattern: RegExp): Promise<string>
  /** Its stderr is read no more, as when a terminal is closed. */
  unread(): void
  /** Its stdout is read no more. */
  closeStdout(): void
  kill(): Promise<void>
}

/** The telehub command in a process of its own. */
export function runCli(args: readonly string[], env: Readonly<Record<string, string>> = {}, cwd?: string): Run {
  const child = spawn(process.execPath, [cliOf(env), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    ...(cwd && { cwd }),
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', chunk => {
    stdout += chunk
  })
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  const exited = new Promise<number | null>(resolve => child.once('close', resolve))
  return {
    pid: child.pid as number,
    exited,
    stdout: () => stdout,
    stderr: () => stderr,
    line: async pattern => {
      for (;;) {
        const found = pattern.exec(stdout)
        if (found) return found[0]
        if (child.exitCode !== null || child.signalCode !== null) throw new Error(`telehub ended: ${stderr}`)
        await sleep(10)
      }
    },
    unread: () => {
      child.stderr.destroy()
    },
    closeStdout: () => {
      child.stdout.destroy()
    },
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** An MQTT.js client in 3.1.1, connected; ended when the test is. */
export async function connectMqtt(t: Test, url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await mqtt.connectAsync(url, { protocolVersion: 4, reconnectPeriod: 0, ...options })
  client.on('error', () => {})
  t.teardown(() => client.endAsync(true).catch(() => {}))
  return client
}

/** Asks again until the answer is truthy, at most a minute; resolves with it. */
export async function eventually<T>(
  ask: () => T | Promise<T>,
  what: string,
): Promise<Exclude<T, false | 0 | '' | null | undefined>> {
  let last: unknown
  for (let tries = 0; tries < 600; tries++) {
    try {
      const answer = await ask()
      if (answer) return answer as Exclude<T, false | 0 | '' | null | undefined>
      last = answer
    } catch (error) {
      last = error
    }
    await sleep(100)
  }
  throw new Error(`never came true: ${what}; last: ${last instanceof Error ? last.message : JSON.stringify(last)}`)
}

/** As the commands on the hub's machine ask. */
export function asAdmin(dir: string): { readonly authorization: string } {
  return { authorization: `Bearer ${readFileSync(join(dir, 'admin.key'), 'utf8').trim()}` }
}

/** The stored values of one series, oldest first. */
export async function history(hub: RunningHub, series: string): Promise<unknown[]> {
  const query = new URLSearchParams({ series, from: '0', to: '4102444800000', points: '100000' })
  const { body } = await hub.get<{ values: unknown[] }>(`/api/history?${query}`)
  return body.values
}

/** One number of the metrics, by its whole name; 0 when it is not there. */
export async function metric(hub: RunningHub, name: string): Promise<number> {
  const text = await (await fetch(`${hub.httpUrl}/metrics`, { headers: asAdmin(hub.dir) })).text()
  const line = text.split('\n').find(one => one.startsWith(`${name} `))
  return Number(line?.slice(name.length) ?? 0)
}

/** All that the hub counts as dropped, given up or refused, by whatever name. */
export async function counted(hub: RunningHub): Promise<number> {
  const text = await (await fetch(`${hub.httpUrl}/metrics`, { headers: asAdmin(hub.dir) })).text()
  const found = text.matchAll(/^telehub_(?:dropped|given_up|refused|undelivered)\w*(?:\{.*\})? (\d+)$/gm)
  return [...found].reduce((sum, [, value]) => sum + Number(value), 0)
}

/** What the hub has in memory. */
export function residentMegabytes(hub: RunningHub): number {
  const status = readFileSync(`/proc/${hub.pid}/status`, 'utf8')
  return Math.round(Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1_000)
}
