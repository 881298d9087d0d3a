import { writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { dockerAnswers, startComposed } from './docker.js'
import { freePort, program, type RunningProcess, startProcess, tempDir } from './service.js'

export interface InfluxServer {
  /** Without a database path. */
  readonly url: string
  stop(): Promise<void>
  /** A crash: SIGKILL. Only for a server that is ours. */
  kill(): Promise<void>
  /** On the same folder and port, after `stop` or `kill`. */
  restart(): Promise<void>
}

/** Answers `GET /ping` as InfluxDB 1.x does, for servers that a test scripts; false for any other request. */
export function answersPing({ url }: IncomingMessage, response: ServerResponse): boolean {
  if (url !== '/ping') return false
  response.writeHead(204, { 'x-influxdb-version': '1.6.7' }).end()
  return true
}

/**
 * A real InfluxDB 1.x: the one TEST_INFLUX_URL names, else one from Docker Compose when Docker answers, else a
 * private `influxd` on free ports in a temporary folder, installed with apt-get when we are root.
 */
export async function startInflux(): Promise<InfluxServer> {
  const given = process.env.TEST_INFLUX_URL
  if (given) return { url: given.replace(/\/$/, ''), stop: async () => {}, kill: notOurs, restart: notOurs }
  return (await dockerAnswers()) ? composed() : privateServer()
}

async function notOurs(): Promise<never> {
  throw new Error('the server of TEST_INFLUX_URL is not ours to kill or restart')
}

async function composed(): Promise<InfluxServer> {
  const server = await startComposed('influxdb', 'INFLUX_PORT')
  return { ...server, url: `http://127.0.0.1:${server.port}` }
}

async function privateServer(): Promise<InfluxServer> {
  const command = await program('influxd', 'influxdb')
  const cwd = await tempDir()
  const port = await freePort()
  const config = join(cwd, 'influxdb.conf')
  await writeFile(
    config,
    `reporting-disabled = true
bind-address = "127.0.0.1:${await freePort()}"
[meta]
  dir = "${join(cwd, 'meta')}"
[data]
  dir = "${join(cwd, 'data')}"
  wal-dir = "${join(cwd, 'wal')}"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:${port}"
  log-enabled = false
`,
  )
  const url = `http://127.0.0.1:${port}`
  const start = async (): Promise<RunningProcess> => {
    const started = await startProcess({ command, args: ['-config', config], cwd, port, timeoutMs: 60_000 })
    await ready(url)
    return started
  }
  let server = await start()
  return {
    url,
    stop: () => server.stop(),
    kill: () => server.kill(),
    restart: async () => {
      server = await start()
    },
  }
}

async function ready(url: string): Promise<void> {
  const deadline = performance.now() + 60_000
  while (performance.now() < deadline) {
    const response = await fetch(`${url}/ping`, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined)
    if (response?.ok) return
    await sleep(50)
  }
  throw new Error(`InfluxDB at ${url} did not answer within a minute`)
}
