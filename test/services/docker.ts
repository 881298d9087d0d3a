import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort } from './service.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const run = promisify(execFile)

let answer: Promise<boolean> | undefined

/** Is there a Docker that answers? Asked once. */
export function dockerAnswers(): Promise<boolean> {
  answer ??= run('docker', ['info'], { timeout: 10_000 }).then(
    () => true,
    () => false,
  )
  return answer
}

/** `docker compose` on our docker-compose.yml under a project name of its own, so that nobody's real data is touched. */
async function compose(project: string, environment: Record<string, string>, ...args: string[]): Promise<string> {
  const { stdout } = await run('docker', ['compose', '--project-name', project, ...args], {
    cwd: root,
    env: { ...process.env, ...environment },
    timeout: 300_000,
  })
  return stdout
}

/** What docker-compose.yml wants of its environment, for the tests alone: they ask InfluxDB without a password. */
export const composeEnvironment = {
  INFLUX_AUTH: 'false',
  RABBITMQ_PASSWORD: randomBytes(12).toString('hex'),
  INFLUX_PASSWORD: randomBytes(12).toString('hex'),
  INFLUX_ADMIN_PASSWORD: randomBytes(12).toString('hex'),
} as const

export interface ComposedServer {
  /** On 127.0.0.1. */
  readonly port: number
  docker(...args: string[]): Promise<string>
  stop(): Promise<void>
  kill(): Promise<void>
  restart(): Promise<void>
}

/** One service of docker-compose.yml on a free port, which the file takes from the variable `portVariable`. */
export async function startComposed(service: string, portVariable: string): Promise<ComposedServer> {
  const project = `telehub-test-${randomBytes(4).toString('hex')}`
  const port = await freePort()
  const docker = (...args: string[]) =>
    compose(project, { ...composeEnvironment, [portVariable]: String(port) }, ...args)
  const up = async () => void (await docker('up', '--detach', '--wait', '--no-deps', service))
  let gone = false
  await up()
  return {
    port,
    docker,
    stop: async () => {
      if (!gone) await docker('down', '--volumes')
      gone = true
    },
    kill: async () => void (await docker('kill', service)),
    restart: up,
  }
}
