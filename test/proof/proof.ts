import { randomInt } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startInflux } from '../services/influxdb.js'
import { startMockKafka } from '../services/kafka.js'
import { startRabbit } from '../services/rabbitmq.js'
import { keepFolders, type RunningProcess, startProcess, tempDir } from '../services/service.js'
import { Chaos, lastingPort, pause, seeded, type Victim } from './chaos.js'
import { Publishers, streams as streamsOf } from './publishers.js'
import {
  BackEnd,
  clearQueues,
  EmbeddedReader,
  HubApi,
  InfluxReader,
  mostInHistory,
  recordQueueDepth,
  type StoreReader,
} from './readers.js'
import {
  type Balance,
  type Progress,
  printed,
  progressLine,
  type Report,
  report,
  Sequence,
  verified,
} from './report.js'

const usage = `npm run proof -- [options]

Kills the hub, RabbitMQ (or Kafka) and InfluxDB (SIGKILL) in turn at random moments while devices publish, and then counts:
what was acknowledged must be stored, once, in order. Ends with 0 only if it is.

  --messages N          in all; default 20000
  --kills N             default 6
  --publishers N        half of them QoS 1, half QoS 2; default 20
  --envelope message|batch
                        how the hub bridges into RabbitMQ or Kafka; default message
  --kafka               with Kafka in place of RabbitMQ: librdkafka's mock cluster, whose three brokers go and come back
  --embedded            without RabbitMQ and InfluxDB: spool, DuckDB, and only the hub is killed
  --seed N              of the random moments; default a random one, which is printed
  --json FILE           write the report there too

The servers are those of npm test: Docker Compose, or installed programs; one that TEST_RABBITMQ_URL or TEST_INFLUX_URL
names is used but cannot be killed. Settings of the hub may be given in the environment (TELEHUB_SPOOL_FSYNC=interval).
`

interface Options {
  readonly publishers: number
  /** Of each publisher. */
  readonly numbers: number
  readonly kills: number
  readonly envelope: 'message' | 'batch'
  readonly embedded: boolean
  readonly kafka: boolean
  readonly seed: number
  readonly json: string | undefined
}

const window = 50
/** RabbitMQ 3.10 loses a quorum queue that it is killed within seconds after the declaration of. */
const queueSafeMs = 10_000
/** Nothing moves any more: what is missing then is lost. */
const stuckMs = 60_000
/** Still the same for so long, it is complete: what would come twice has come. */
const stableMs = 2_000
const cli = fileURLToPath(new URL('../../bundle/cli.js', import.meta.url))

async function main(): Promise<number> {
  const options = readOptions()
  if (!options) {
    process.stdout.write(usage)
    return 0
  }
  const dir = await tempDir()
  // Those of test/services end the process at once; here a first Ctrl-C ends the run, with its report.
  process.removeAllListeners('SIGINT').removeAllListeners('SIGTERM')
  const interrupt = new AbortController()
  takeSignals(interrupt)
  const stop: (() => Promise<unknown>)[] = []
  let passed = false
  try {
    const result = await prove(options, dir, interrupt.signal, stop)
    passed = result.passed
    if (options.json) writeFileSync(options.json, `${JSON.stringify(result, undefined, 2)}\n`)
    process.stdout.write(`${printed(result)}\n`)
  } finally {
    for (const end of stop) await end().catch(() => {})
    if (!passed) say(`kept for a look: ${keepFolders().join(' ')}`)
  }
  if (!passed) return 1
  return interrupt.signal.aborted ? 130 : 0
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      messages: { type: 'string', default: '20000' },
      kills: { type: 'string', default: '6' },
      publishers: { type: 'string', default: '20' },
      envelope: { type: 'string', default: 'message' },
      embedded: { type: 'boolean', default: false },
      kafka: { type: 'boolean', default: false },
      seed: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help) return undefined
  const whole = (name: 'messages' | 'kills' | 'publishers', least: number) => {
    const value = Number(values[name])
    if (!Number.isInteger(value) || value < least) throw new Wrong(`--${name}: allowed is a whole number from ${least}`)
    return value
  }
  const publishers = whole('publishers', 1)
  const messages = whole('messages', 10 * publishers)
  const { envelope, embedded, kafka, json } = values
  if (embedded && kafka) throw new Wrong('--embedded and --kafka: allowed is one of them')
  if (envelope !== 'message' && envelope !== 'batch') throw new Wrong('--envelope: allowed are message, batch')
  const seed = values.seed === undefined ? randomInt(2 ** 32) : Number(values.seed)
  if (!Number.isInteger(seed)) throw new Wrong('--seed: allowed is a whole number')
  const numbers = Math.ceil(messages / publishers)
  if (embedded && numbers > 0.9 * mostInHistory)
    throw new Wrong('--embedded: the API of the hub reads at most 90,000 messages of a publisher; take more publishers')
  return { publishers, numbers, kills: whole('kills', 0), envelope, embedded, kafka, seed, json }
}

class Wrong extends Error {}

/** npm passes a Ctrl-C on that the terminal has sent to all: two at once are one. The next one ends the process. */
function takeSignals(interrupt: AbortController): void {
  let first: number | undefined
  const take = () => {
    if (first === undefined) {
      first = performance.now()
      say('interrupted: what was sent is waited for and checked; once more to end at once')
      interrupt.abort()
    } else if (performance.now() - first > 500) process.exit(130)
  }
  process.on('SIGINT', take).on('SIGTERM', take)
}

async function prove(
  options: Options,
  dir: string,
  signal: AbortSignal,
  stop: (() => Promise<unknown>)[],
): Promise<Report> {
  const { publishers: count, numbers, kills, envelope, embedded, kafka, seed } = options
  const startedAt = performance.now()
  const streams = streamsOf(count)
  say(`seed ${seed}; data in ${dir}`)

  const display = new Display(kills)
  stop.unshift(async () => display.end())
  display.phase = 'starting the servers'
  const servers = embedded ? undefined : await (kafka ? startWithKafka(envelope, stop) : startServers(envelope, stop))
  const database = `proof_${Date.now()}`
  const backEnd =
    servers?.rabbitUrl && envelope === 'message' ? new BackEnd(servers.rabbitUrl, streams, numbers) : undefined
  if (backEnd) {
    await backEnd.start()
    stop.unshift(() => backEnd.stop())
  }
  const hub = await startHub(
    dir,
    servers ? { ...servers.settings, 'influx.url': `${servers.influx.url}/${database}` } : {},
  )
  stop.unshift(() => hub.stop())
  const store: StoreReader = servers ? new InfluxReader(servers.influx.url, database) : new EmbeddedReader(hub.httpUrl)
  const api = new HubApi(hub.httpUrl, [store.name, ...(servers ? [servers.name] : [])])
  const recovered = () => works(api)
  const problems: string[] = []
  const trouble = await recovered()
  if (trouble) throw new Error(`the hub was started, but ${trouble}`)
  const queuesAt = performance.now()

  // In the past, as far as there are numbers: a clock ahead of the hub's would be corrected.
  const base = Date.now() - numbers
  const publishers = new Publishers({ port: hub.mqttPort, publishers: count, numbers, window, base })
  stop.unshift(async () => publishers.stop())
  const chaos = new Chaos({
    victims: [hub, ...(servers?.victims(queuesAt + queueSafeMs) ?? [])],
    kills,
    stretchMs: 6_000,
    random: seeded(seed),
    allow: (part, overMs) => publishers.allow(part, overMs),
    recovered,
    signal,
  })
  display.phase = undefined
  display.watch(publishers, chaos)
  publishers.start()
  const cut = () => publishers.cut()
  signal.addEventListener('abort', cut)
  await chaos.run()
  problems.push(...chaos.problems)
  if (signal.aborted) cut()
  if (!(await acknowledged(publishers))) problems.push(`not acknowledged: ${publishers.waiting().join('; ')}`)
  const longestStallMs = publishers.longestStallMs
  publishers.stop()

  const expected = publishers.acknowledged
  const pending = async () => {
    const waiting = [await api.spoolLag(), servers ? await servers.depth(api) : 0]
    return waiting.every(one => one === 0)
  }
  await settled({
    isComplete: async () =>
      (await store.count(streams)) >= expected && (backEnd?.distinct ?? expected) >= expected && (await pending()),
    look: async () => {
      const stored = await store.count(streams).catch(() => 0)
      display.phase = `waiting until everything is stored: ${stored.toLocaleString('en')}`
      return `${stored} ${backEnd?.distinct} ${await api.spoolLag()}`
    },
  })

  display.phase = 'reading everything'
  const sequences: Sequence[] = []
  for (const stream of streams) {
    const sequence = new Sequence('store', stream, numbers)
    for (const n of await store.numbers(stream)) sequence.take(n)
    sequences.push(sequence)
  }
  for (const [i, sequence] of [...sequences, ...(backEnd?.sequences ?? [])].entries())
    sequence.end(publishers.acknowledgedBelow(i % count))
  const byQos = (all: readonly Sequence[]) => {
    const [qos1, qos2] = ([1, 2] as const).map(qos => verified(all.filter((_, i) => streams[i]?.qos === qos)))
    return { qos1, qos2 } as { qos1: ReturnType<typeof verified>; qos2: ReturnType<typeof verified> }
  }
  const balance = await settledBalance(api, problems)
  if (publishers.forgottenSessions > 0)
    problems.push(
      `the hub did not know the session of a device it had told that it has one, ${publishers.forgottenSessions} times`,
    )
  display.end()

  return report({
    seed,
    queue: servers?.name ?? 'embedded',
    store: store.name,
    envelope,
    publishers: count,
    messages: count * numbers,
    interrupted: signal.aborted,
    kills: chaos.kills,
    qos1: publishers.published(1),
    qos2: publishers.published(2),
    longestStallMs: Math.round(longestStallMs),
    durationMs: Math.round(performance.now() - startedAt),
    stored: byQos(sequences),
    backEnd: backEnd ? { ...byQos(backEnd.sequences), redelivered: backEnd.redelivered } : null,
    balance,
    problems,
  })
}

interface Servers {
  /** Name of the queue server. */
  readonly name: 'RabbitMQ' | 'Kafka'
  /** Undefined when it is not RabbitMQ. */
  readonly rabbitUrl: string | undefined
  readonly influx: { readonly url: string }
  /** How the hub finds the queue server. */
  readonly settings: Readonly<Record<string, string>>
  /** Messages that wait there; undefined when nobody says. */
  depth(api: HubApi): Promise<number | undefined>
  /** Those that may be killed; the queue server not before then. */
  victims(queueNotBefore: number): Victim[]
}

async function startWithKafka(envelope: Options['envelope'], stop: (() => Promise<unknown>)[]): Promise<Servers> {
  const [cluster, influx] = await Promise.all([startMockKafka(), startInflux()])
  stop.push(
    () => cluster.stop(),
    () => influx.stop(),
  )
  return {
    name: 'Kafka',
    rabbitUrl: undefined,
    influx,
    // After a kill the partitions are free for the next hub when the session of the last one is over.
    settings: { 'kafka.brokers': cluster.brokers, 'kafka.envelope': envelope, 'kafka.session': '3000' },
    depth: async api => {
      const balance = await api.balance()
      return balance === 'not available' ? undefined : balance.queue
    },
    victims: notBefore => [
      ...(process.env.TEST_INFLUX_URL ? [] : [{ name: 'InfluxDB', kill: influx.kill, restart: influx.restart }]),
      { name: 'Kafka', kill: () => cluster.down(1, 2, 3), restart: () => cluster.up(1, 2, 3), notBefore },
    ],
  }
}

async function startServers(envelope: Options['envelope'], stop: (() => Promise<unknown>)[]): Promise<Servers> {
  for (const name of ['TEST_RABBITMQ_URL', 'TEST_INFLUX_URL'])
    if (process.env[name]) say(`the server of ${name} is not ours to kill, so it is not killed`)
  const [rabbit, influx] = await Promise.all([startRabbit(), startInflux()])
  stop.push(
    () => rabbit.stop(),
    () => influx.stop(),
  )
  if (process.env.TEST_RABBITMQ_URL) await clearQueues(rabbit.url)
  return {
    name: 'RabbitMQ',
    rabbitUrl: rabbit.url,
    influx,
    // Not every hub knows the envelope; the default is one message each.
    settings: { 'rabbitmq.url': rabbit.url, ...(envelope === 'batch' && { 'rabbitmq.envelope': envelope }) },
    depth: () => recordQueueDepth(rabbit.url),
    // InfluxDB first: RabbitMQ has to be waited for at the beginning.
    victims: rabbitNotBefore => [
      ...(process.env.TEST_INFLUX_URL ? [] : [{ name: 'InfluxDB', kill: influx.kill, restart: influx.restart }]),
      ...(process.env.TEST_RABBITMQ_URL
        ? []
        : [{ name: 'RabbitMQ', kill: rabbit.kill, restart: rabbit.restart, notBefore: rabbitNotBefore }]),
    ],
  }
}

interface HubProcess extends Victim {
  readonly mqttPort: number
  readonly httpUrl: string
  stop(): Promise<void>
}

/** The built hub, as users start it, on ports that stay the same. Its log is beside its data. */
async function startHub(dir: string, settings: Readonly<Record<string, string>>): Promise<HubProcess> {
  const [mqttPort, httpPort] = [await lastingPort(), await lastingPort()]
  const all = {
    'mqtt.port': String(mqttPort),
    'http.port': String(httpPort),
    'data.dir': join(dir, 'data'),
    'log.level': 'info',
    ...settings,
  }
  const args = [cli, 'start', ...Object.entries(all).flatMap(([key, value]) => [`--${key}`, value])]
  const start = (): Promise<RunningProcess> =>
    startProcess({ command: process.execPath, args, cwd: dir, port: mqttPort, timeoutMs: 60_000 })
  let running = await start()
  return {
    name: 'hub',
    mqttPort,
    httpUrl: `http://127.0.0.1:${httpPort}`,
    kill: () => running.kill(),
    restart: async () => {
      running = await start()
    },
    stop: () => running.stop(),
  }
}

/** Resolves when the hub says that all it needs is there; after a minute with what is not. */
async function works(api: HubApi): Promise<string | undefined> {
  const deadline = performance.now() + stuckMs
  for (;;) {
    const trouble = await api.trouble()
    if (!trouble) return undefined
    if (performance.now() > deadline) return `a minute later ${trouble}`
    await sleep(100)
  }
}

/** Resolves with true when everything is acknowledged, with false when for too long nothing more was. */
async function acknowledged(publishers: Publishers): Promise<boolean> {
  let last = -1
  let since = performance.now()
  while (!publishers.isComplete) {
    if (publishers.acknowledged !== last) {
      last = publishers.acknowledged
      since = performance.now()
    } else if (performance.now() - since > stuckMs) return false
    await sleep(50)
  }
  return true
}

interface Settling {
  readonly isComplete: () => Promise<boolean>
  /** Differs when something has moved. */
  readonly look: () => Promise<string>
}

/** Resolves when everything has arrived and nothing moves any more; or nothing has moved for long, whatever is missing. */
async function settled({ isComplete, look }: Settling): Promise<void> {
  let last = ''
  let since = performance.now()
  for (;;) {
    const now = await look()
    if (now !== last) {
      last = now
      since = performance.now()
    }
    const stillMs = performance.now() - since
    if (stillMs > stuckMs) return
    if (stillMs > stableMs && (await isComplete().catch(() => false))) return
    await sleep(300)
  }
}

/** The account is written with the next batch: it may be a moment behind what is stored. */
async function settledBalance(api: HubApi, problems: string[]): Promise<Balance | 'not available'> {
  const deadline = performance.now() + 15_000
  for (;;) {
    try {
      const balance = await api.balance()
      const isAtRest = balance === 'not available' || (balance.residual === 0 && balance.spool + balance.queue === 0)
      if (isAtRest || performance.now() > deadline) return balance
    } catch (error) {
      if (performance.now() > deadline) {
        problems.push(`no balance: ${(error as Error).message}`)
        return 'not available'
      }
    }
    await pause(300, AbortSignal.timeout(1_000))
  }
}

/** How far it is: a line that is drawn anew on a terminal, a line every few seconds elsewhere. On stderr. */
class Display {
  phase: string | undefined
  readonly #killsWanted: number
  readonly #isTerminal = process.stderr.isTTY === true
  readonly #timer: NodeJS.Timeout
  #watched: { publishers: Publishers; chaos: Chaos } | undefined
  #last = { at: performance.now(), acknowledged: 0 }
  #printed = ''
  #ended = false

  constructor(killsWanted: number) {
    this.#killsWanted = killsWanted
    this.#timer = setInterval(() => this.#draw(), this.#isTerminal ? 250 : 5_000)
  }

  watch(publishers: Publishers, chaos: Chaos): void {
    this.#watched = { publishers, chaos }
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    clearInterval(this.#timer)
    if (this.#isTerminal) process.stderr.write('\r\x1b[K')
    else this.#draw()
  }

  #draw(): void {
    const line = this.#watched ? this.#line(this.#watched) : (this.phase ?? '')
    if (this.#isTerminal) process.stderr.write(`\r${line.slice(0, (process.stderr.columns ?? 80) - 1)}\x1b[K`)
    else if (line !== this.#printed) say(line)
    this.#printed = line
  }

  #line({ publishers, chaos }: { publishers: Publishers; chaos: Chaos }): string {
    const at = performance.now()
    const { acknowledged, messages } = publishers
    const perSecond = ((acknowledged - this.#last.acknowledged) * 1_000) / Math.max(1, at - this.#last.at)
    this.#last = { at, acknowledged }
    const progress: Progress = {
      acknowledged,
      messages,
      perSecond,
      kills: chaos.kills.length + (chaos.down ? 1 : 0),
      killsWanted: this.#killsWanted,
      down: chaos.down,
      phase: this.phase,
    }
    return progressLine(progress, this.#isTerminal ? 24 : 0)
  }
}

function say(line: string): void {
  process.stderr.write(`${process.stderr.isTTY ? '\r\x1b[K' : ''}${line}\n`)
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`proof: ${error instanceof Wrong ? error.message : (error as Error).stack}\n`)
  process.exitCode = error instanceof Wrong ? 2 : 1
}
