import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { dockerAnswers, startComposed } from './docker.js'
import { type Gate, type GateRules, kafkaErrors, openGate, type ProducedBatch } from './kafka-gate.js'
import { debianFile, program, tempDir } from './service.js'

/** Kafka for a test, or what stands for it. */
export interface KafkaCluster {
  /** `host:port`, with commas between. */
  readonly brokers: string
  stop(): Promise<void>
}

/** Three brokers of librdkafka's mock cluster, which a test may hurt in any way. They are numbered from 1. */
export interface MockCluster extends KafkaCluster {
  /** A command of test/fixtures/kafka-mock.c. */
  command(line: string): Promise<void>
  down(...brokers: number[]): Promise<void>
  up(...brokers: number[]): Promise<void>
  /** Gives the next requests of a kind these errors of Kafka; 0: none. */
  fail(api: 'produce' | 'fetch' | 'commit', ...errors: number[]): Promise<void>
  /** Whether topics may be made; true at the beginning. */
  allowsTopics: boolean
  /** Largest batch of records of any topic, in bytes; undefined at the beginning: any. */
  maxBatch: number | undefined
  /** Drops the answers to the next Produce requests, which are carried out, and the connections. */
  dropAnswers(count: number): void
  /** Everything that producers have sent, in order. */
  readonly produced: readonly ProducedBatch[]
}

/** Login and encryption that clients need. Without: none. */
export type MockOptions = Pick<GateRules, 'user' | 'tls'>

const source = fileURLToPath(new URL('../../../test/fixtures/kafka-mock.c', import.meta.url))
const apis = { produce: 0, fetch: 1, commit: 8 } as const

/** Makes sure that {@link startMockKafka} can be compiled, installing what is missing. */
export async function ensureKafka(): Promise<void> {
  if (!process.env.TEST_KAFKA_BROKERS && !(await dockerAnswers())) await compiler()
}

/** A real Kafka: the one TEST_KAFKA_BROKERS names, else one from Docker Compose when Docker answers; else the mock. */
export async function startKafka(): Promise<KafkaCluster> {
  const given = process.env.TEST_KAFKA_BROKERS
  if (given) return { brokers: given, stop: async () => {} }
  if (!(await dockerAnswers())) return startMockKafka()
  const server = await startComposed('kafka', 'KAFKA_PORT')
  return { brokers: `127.0.0.1:${server.port}`, stop: server.stop }
}

/** librdkafka's mock cluster: real sockets and the real protocol, but all in memory, and no transactions. */
export async function startMockKafka({ user, tls }: MockOptions = {}): Promise<MockCluster> {
  const command = await compiled()
  const child = spawn(command, ['3'], { stdio: ['pipe', 'pipe', 'ignore'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()))
  // A test that forgot to stop the cluster ends all the same, and so does the cluster: the stdin is closed then.
  child.unref()
  const next = async () => {
    const { value } = await lines.next()
    if (value === undefined) throw new Error('the mock cluster has ended')
    return value as string
  }
  const ports = (await next())
    .replace('brokers ', '')
    .split(',')
    .map(address => Number(address.split(':')[1]))
  let last: Promise<unknown> = Promise.resolve()
  const run = (line: string): Promise<void> => {
    const done = last.then(async () => {
      child.stdin.write(`${line}\n`)
      const answer = await next()
      if (answer !== 'ok') throw new Error(`${line}: ${answer}`)
    })
    last = done.catch(() => {})
    return done
  }
  const gates: Gate[] = []
  const topics = new Set<string>()
  const produced: ProducedBatch[] = []
  let drops = 0
  const cluster: MockCluster = {
    brokers: '',
    allowsTopics: true,
    maxBatch: undefined,
    produced,
    command: run,
    down: async (...brokers) => {
      for (const broker of brokers) await run(`down ${broker}`)
    },
    up: async (...brokers) => {
      for (const broker of brokers) await run(`up ${broker}`)
    },
    fail: (api, ...errors) => run(`errors ${apis[api]} ${errors.join(' ')}`),
    dropAnswers: count => {
      drops = count
    },
    stop: async () => {
      child.ref()
      child.stdin.end()
      for (const gate of gates) await gate.close()
      await ended
    },
  }
  for (const port of ports)
    gates.push(
      await openGate(port, {
        gateOf: broker => gates[ports.indexOf(broker)]?.port,
        createTopic: async (name, partitions, replication) => {
          if (!cluster.allowsTopics) return kafkaErrors.topicAuthorization
          if (topics.has(name)) return kafkaErrors.topicExists
          topics.add(name)
          await run(`topic ${name} ${partitions} ${replication}`)
          return 0
        },
        maxBatch: () => cluster.maxBatch,
        dropsAnswer: () => drops > 0 && drops-- > 0,
        onBatch: batch => produced.push(batch),
        ...{ user, tls },
      }),
    )
  return Object.assign(cluster, { brokers: gates.map(({ port }) => `127.0.0.1:${port}`).join(',') })
}

/** Resolves with the compiler, and with the library in place. */
async function compiler(): Promise<string> {
  const cc = await program('gcc', 'gcc')
  await debianFile('/usr/include/stdio.h', 'libc6-dev')
  await debianFile('/usr/include/librdkafka/rdkafka_mock.h', 'librdkafka-dev')
  return cc
}

let mock: Promise<string> | undefined

function compiled(): Promise<string> {
  mock ??= (async () => {
    const cc = await compiler()
    const target = join(await tempDir(), 'kafka-mock')
    await promisify(execFile)(cc, ['-O1', '-o', target, source, '-lrdkafka'])
    if (!existsSync(target)) throw new Error('the mock cluster was not compiled')
    return target
  })()
  return mock
}
