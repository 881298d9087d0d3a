import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort, program, startProcess, tempDir } from './service.js'

export interface MosquittoServer {
  /** `mqtt://127.0.0.1:PORT` */
  readonly url: string
  readonly port: number
  stop(): Promise<void>
  /** A crash: SIGKILL. */
  kill(): Promise<void>
  /** On the same port, and the same folder with `persistence`, after `stop` or `kill`. */
  restart(): Promise<void>
}

export interface MosquittoOptions {
  /** Keep sessions and retained messages on disk; default memory only. */
  readonly persistence?: boolean
  /** Further lines of its configuration, such as a bridge. */
  readonly lines?: readonly string[]
}

/** Makes sure that {@link startMosquitto} finds the server and tests its clients, installing them if need be. */
export async function ensureMosquitto(): Promise<void> {
  if (!process.env.TEST_MOSQUITTO_URL) await program('mosquitto', 'mosquitto')
  await program('mosquitto_pub', 'mosquitto-clients')
}

/** A real Mosquitto: the one TEST_MOSQUITTO_URL names, else a private one on a free port in a temporary folder. */
export async function startMosquitto({
  persistence = false,
  lines: more = [],
}: MosquittoOptions = {}): Promise<MosquittoServer> {
  const given = process.env.TEST_MOSQUITTO_URL
  if (given) {
    const port = Number(new URL(given).port || 1883)
    return { url: given, port, stop: async () => {}, kill: notOurs, restart: notOurs }
  }
  const command = await program('mosquitto', 'mosquitto')
  const cwd = await tempDir()
  const port = await freePort()
  const config = join(cwd, 'mosquitto.conf')
  const lines = [
    `listener ${port} 127.0.0.1`,
    'allow_anonymous true',
    `persistence ${persistence}`,
    `persistence_location ${cwd}/`,
    // As root it would become a user that may not read this folder.
    ...(process.getuid?.() === 0 ? ['user root'] : []),
    // Nothing of what a publisher in a hurry sends is dropped by the rival's own limits.
    'max_queued_messages 0',
    'max_inflight_messages 0',
    'log_type error',
    ...more,
    '',
  ]
  await writeFile(config, lines.join('\n'))
  const start = () => startProcess({ command, args: ['-c', config], cwd, port, timeoutMs: 10_000 })
  let server = await start()
  return {
    url: `mqtt://127.0.0.1:${port}`,
    port,
    stop: () => server.stop(),
    kill: () => server.kill(),
    restart: async () => {
      server = await start()
    },
  }
}

async function notOurs(): Promise<never> {
  throw new Error('the server of TEST_MOSQUITTO_URL is not ours to kill or restart')
}

/** Runs `mosquitto_pub`, `mosquitto_sub` or `mosquitto_rr`, a client that shares no code with us; what it printed. */
export async function mosquittoClient(name: 'pub' | 'sub' | 'rr', ...args: string[]): Promise<string> {
  const command = await program(`mosquitto_${name}`, 'mosquitto-clients')
  const { stdout } = await promisify(execFile)(command, args, { timeout: 60_000 })
  return stdout
}
