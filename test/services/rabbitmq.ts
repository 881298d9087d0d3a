import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { composeEnvironment, dockerAnswers, startComposed } from './docker.js'
import { answers, freePort, program, type RunningProcess, startProcess, tempDir } from './service.js'

export interface RabbitServer {
  /** `amqp://USER:PASSWORD@127.0.0.1:PORT` */
  readonly url: string
  /** Where its MQTT plugin listens, when that was asked for. */
  readonly mqttPort: number | undefined
  /** Where its management API answers, when that was asked for: `http://127.0.0.1:PORT`. */
  readonly managementUrl?: string | undefined
  stop(): Promise<void>
  /** A crash: SIGKILL to the server itself; resolves when nothing of it is left. */
  kill(): Promise<void>
  /** On the same folder and port, after `stop` or `kill`. */
  restart(): Promise<void>
  /** `rabbitmqctl` against it; resolves with what it printed. */
  ctl(...args: string[]): Promise<string>
}

export interface RabbitOptions {
  readonly plugins?: readonly ('rabbitmq_mqtt' | 'rabbitmq_management')[]
}

const run = promisify(execFile)

/** Makes sure that {@link startRabbit} finds a server, installing one if that is what it takes. */
export async function ensureRabbit(): Promise<void> {
  if (!process.env.TEST_RABBITMQ_URL && !(await dockerAnswers())) await serverProgram()
}

/**
 * A real RabbitMQ: the one TEST_RABBITMQ_URL names, else one from Docker Compose when Docker answers, else a private
 * one on free ports in a temporary folder, installed with apt-get when we are root. With plugins always the private one.
 */
export async function startRabbit({ plugins = [] }: RabbitOptions = {}): Promise<RabbitServer> {
  if (plugins.length > 0) return privateServer(plugins)
  const given = process.env.TEST_RABBITMQ_URL
  if (given) {
    return { url: given, mqttPort: undefined, stop: async () => {}, kill: notOurs, restart: notOurs, ctl: notOurs }
  }
  return (await dockerAnswers()) ? composed() : privateServer([])
}

async function notOurs(): Promise<never> {
  throw new Error('the server of TEST_RABBITMQ_URL is not ours to control')
}

async function composed(): Promise<RabbitServer> {
  const server = await startComposed('rabbitmq', 'RABBITMQ_PORT')
  return {
    ...server,
    url: `amqp://telehub:${composeEnvironment.RABBITMQ_PASSWORD}@127.0.0.1:${server.port}`,
    mqttPort: undefined,
    ctl: (...args) => server.docker('exec', '-T', 'rabbitmq', 'rabbitmqctl', ...args),
  }
}

/** The real script: the one in /usr/sbin is a wrapper that changes user and would leave our settings behind. */
async function serverProgram(): Promise<string> {
  const debian = '/usr/lib/rabbitmq/bin/rabbitmq-server'
  if (existsSync(debian)) return debian
  const found = await program('rabbitmq-server', 'rabbitmq-server')
  return existsSync(debian) ? debian : found
}

/** What the nodes of a cluster have in common. */
interface Cluster {
  /** The name server of the nodes, which runs already. */
  readonly epmdPort: number
  readonly cookie: string
  /** Name of the node that a new node joins. */
  readonly first: string | undefined
}

export interface ClusterNode extends RabbitServer {
  /** `NAME@localhost` */
  readonly name: string
  /** Stops the clock of the server: SIGSTOP. */
  freeze(): void
  /** Goes on after `freeze`: SIGCONT. */
  thaw(): void
}

export interface RabbitCluster {
  readonly nodes: readonly ClusterNode[]
  /** The URLs of all nodes, as rabbitmq.url takes them. */
  readonly url: string
  /** Resolves when nothing of it is left. */
  stop(): Promise<void>
}

/** A private RabbitMQ cluster: nodes of this machine with a name and ports each, of which a test may kill any. */
export async function startRabbitCluster(size = 3): Promise<RabbitCluster> {
  const cwd = await tempDir()
  const epmdPort = await freePort()
  const cookie = randomUUID()
  const epmd = await startEpmd(epmdPort, cwd)
  const nodes: ClusterNode[] = []
  const stop = async () => {
    await Promise.all(nodes.map(node => node.kill()))
    await epmd.kill()
  }
  try {
    nodes.push(await privateServer([], { epmdPort, cookie, first: undefined }))
    const { name: first } = nodes[0] as ClusterNode
    // One after the other, as nodes that join at the same time may wait for each other.
    while (nodes.length < size) nodes.push(await privateServer([], { epmdPort, cookie, first }))
  } catch (error) {
    await stop()
    throw error
  }
  return { nodes, url: nodes.map(({ url }) => url).join(','), stop }
}

async function startEpmd(
  port: number,
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Promise<RunningProcess> {
  // Started here, or Erlang starts one in the background that outlives everything.
  const command = await program('epmd', 'erlang-base')
  const args = ['-port', String(port), '-address', '127.0.0.1']
  return startProcess({ command, args, env, cwd, port, timeoutMs: 10_000 })
}

async function privateServer(plugins: readonly string[], cluster?: Cluster): Promise<ClusterNode> {
  const command = await serverProgram()
  const cwd = await tempDir()
  const [port, epmdPort, distPort] = [await freePort(), cluster?.epmdPort ?? (await freePort()), await freePort()]
  const name = `telehub-test-${port}@localhost`
  if (cluster) await writeFile(join(cwd, '.erlang.cookie'), cluster.cookie, { mode: 0o400 })
  const mqttPort = plugins.includes('rabbitmq_mqtt') ? await freePort() : undefined
  const managementPort = plugins.includes('rabbitmq_management') ? await freePort() : undefined
  const config = join(cwd, 'rabbitmq.conf')
  await writeFile(
    config,
    [
      `listeners.tcp.1 = 127.0.0.1:${port}`,
      'distribution.listener.interface = 127.0.0.1',
      'disk_free_limit.absolute = 50MB',
      ...(mqttPort ? [`mqtt.listeners.tcp.1 = 127.0.0.1:${mqttPort}`, 'mqtt.allow_anonymous = true'] : []),
      ...(cluster?.first
        ? [
            'cluster_formation.peer_discovery_backend = classic_config',
            `cluster_formation.classic_config.nodes.1 = ${cluster.first}`,
          ]
        : []),
      ...(managementPort ? [`management.tcp.port = ${managementPort}`, 'management.tcp.ip = 127.0.0.1'] : []),
      '',
    ].join('\n'),
  )
  await writeFile(join(cwd, 'enabled_plugins'), `[${plugins.join(',')}].\n`)
  const env = {
    HOME: cwd,
    RABBITMQ_NODENAME: name,
    RABBITMQ_CONFIG_FILE: config,
    RABBITMQ_ENABLED_PLUGINS_FILE: join(cwd, 'enabled_plugins'),
    RABBITMQ_MNESIA_BASE: join(cwd, 'mnesia'),
    RABBITMQ_LOG_BASE: join(cwd, 'log'),
    RABBITMQ_PID_FILE: join(cwd, 'pid'),
    RABBITMQ_DIST_PORT: String(distPort),
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    // The script becomes the Erlang VM instead of watching it: what we started is what we kill.
    RUNNING_UNDER_SYSTEMD: 'true',
  }
  const ctl = async (...args: string[]) => {
    const { stdout } = await run(join(dirname(command), 'rabbitmqctl'), args, { cwd, env: { ...process.env, ...env } })
    return stdout
  }

  let processes: RunningProcess[] = []
  const end = async (how: 'stop' | 'kill') => {
    // Erlang's helpers put themselves into a process group of their own and end when their parent has.
    const helpers = processes.flatMap(({ pid }) => descendants(pid))
    for (const one of processes) await one[how]()
    processes = []
    await gone(helpers)
  }
  const signal = (kind: NodeJS.Signals) => {
    for (const { pid } of processes) process.kill(pid, kind)
  }
  const start = async () => {
    if (!cluster) processes.unshift(await startEpmd(epmdPort, cwd, env))
    try {
      processes.unshift(await startProcess({ command, args: [], env, cwd, port, timeoutMs: 90_000 }))
      for (const one of [mqttPort, managementPort]) if (one) await listens(one)
    } catch (error) {
      await end('kill')
      throw error
    }
  }
  await start()
  return {
    url: `amqp://guest:guest@127.0.0.1:${port}`,
    name,
    freeze: () => signal('SIGSTOP'),
    thaw: () => signal('SIGCONT'),
    mqttPort,
    managementUrl: managementPort ? `http://127.0.0.1:${managementPort}` : undefined,
    stop: () => end('stop'),
    kill: () => end('kill'),
    restart: start,
    ctl,
  }
}

async function listens(port: number): Promise<void> {
  const deadline = performance.now() + 30_000
  while (!(await answers(port))) {
    if (performance.now() > deadline) throw new Error(`RabbitMQ's plugin does not listen on port ${port}`)
    await sleep(50)
  }
}

/** Every process below this one; none where there is no /proc. */
function descendants(pid: number): number[] {
  const parents = new Map(processes().map(id => [id, parentOf(id)]))
  const found = [pid]
  for (let i = 0; i < found.length; i++) {
    for (const [id, parent] of parents) if (parent === found[i]) found.push(id)
  }
  return found.slice(1)
}

function processes(): number[] {
  if (!existsSync('/proc/self/stat')) return []
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(Number)
}

function parentOf(pid: number): number {
  try {
    // "pid (name) state parent …", and the name may hold anything.
    return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1])
  } catch {
    return 0
  }
}

async function gone(pids: readonly number[]): Promise<void> {
  const isZombie = (pid: number) => {
    try {
      return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.startsWith('Z') ?? true
    } catch {
      return true
    }
  }
  for (let waited = 0; waited < 5_000 && !pids.every(isZombie); waited += 20) await sleep(20)
  for (const pid of pids.filter(id => !isZombie(id))) process.kill(pid, 'SIGKILL')
}
