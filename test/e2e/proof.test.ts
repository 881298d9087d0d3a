import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { Report } from '../proof/report.js'
import { tempDir } from '../services/service.js'

const command = fileURLToPath(new URL('../proof/proof.js', import.meta.url))

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** `npm run proof` with these arguments; `during` may send it a signal. */
async function prove(t: Test, args: readonly string[], during?: (run: Running) => Promise<void>): Promise<Ended> {
  const child = spawn(process.execPath, [command, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGTERM'))
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', chunk => {
    stdout += chunk
  })
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  const ended = new Promise<number | null>(resolve => child.once('close', resolve))
  await during?.({ said: () => stderr, signal: signal => child.kill(signal), isOver: () => child.exitCode !== null })
  return { code: await ended, stdout, stderr }
}

interface Running {
  said(): string
  signal(signal: NodeJS.Signals): void
  isOver(): boolean
}

const read = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Report

t.test(
  'hub, InfluxDB and RabbitMQ are killed while devices publish: nothing lost, doubled or out of order',
  async t => {
    const file = join(await tempDir(), 'report.json')
    const { code, stdout, stderr } = await prove(t, ['--messages', '4000', '--kills', '3', '--json', file])
    t.equal(code, 0, stdout + stderr)
    const found = read(file)
    t.match(found, {
      sent: 4_000,
      acknowledged: 4_000,
      lost: 0,
      duplicates: 0,
      outOfOrder: 0,
      passed: true,
      problems: [],
    })
    t.same(found.kills.map(({ victim }) => victim).sort(), ['InfluxDB', 'RabbitMQ', 'hub'])
    // What was not read cannot be found missing.
    for (const { read, distinct } of [found.stored.qos1, found.stored.qos2]) t.same([read, distinct], [2_000, 2_000])
    t.same([found.backEnd?.qos1.distinct, found.backEnd?.qos2.distinct], [2_000, 2_000])
    t.match(stdout, 'PASSED: 4,000 acknowledged')
  },
)

t.test('with Kafka, whose brokers all go and come back: the same', async t => {
  const file = join(await tempDir(), 'report.json')
  const { code, stdout, stderr } = await prove(t, ['--kafka', '--messages', '3000', '--kills', '3', '--json', file])
  t.equal(code, 0, stdout + stderr)
  const found = read(file)
  t.match(found, { acknowledged: 3_000, lost: 0, duplicates: 0, outOfOrder: 0, backEnd: null, queue: 'Kafka' })
  t.same(found.kills.map(({ victim }) => victim).sort(), ['InfluxDB', 'Kafka', 'hub'])
  t.equal(found.stored.qos1.distinct + found.stored.qos2.distinct, 3_000)
})

t.test('embedded, the hub alone is killed: the same', async t => {
  const file = join(await tempDir(), 'report.json')
  const { code, stdout, stderr } = await prove(t, ['--embedded', '--messages', '3000', '--kills', '2', '--json', file])
  t.equal(code, 0, stdout + stderr)
  const found = read(file)
  t.match(found, { acknowledged: 3_000, lost: 0, duplicates: 0, outOfOrder: 0, backEnd: null, store: 'DuckDB' })
  t.same(
    found.kills.map(({ victim }) => victim),
    ['hub', 'hub'],
  )
  t.equal(found.stored.qos1.distinct + found.stored.qos2.distinct, 3_000)
})

t.test('Ctrl-C ends it early, with a report of what was sent', async t => {
  const file = join(await tempDir(), 'report.json')
  const args = ['--embedded', '--messages', '1000000', '--kills', '50', '--json', file]
  const { code, stdout } = await prove(t, args, async run => {
    while (!run.isOver() && !/^[1-9][\d,]*\/1,000,000 acknowledged/m.test(run.said())) await sleep(50)
    // As npm does: once from the terminal, once from npm.
    run.signal('SIGINT')
    run.signal('SIGINT')
  })
  t.equal(code, 130, stdout)
  const found = read(file)
  t.equal(found.interrupted, true)
  t.ok(found.sent > 0 && found.sent < 1_000_000 && found.acknowledged === found.sent)
  t.equal(found.stored.qos1.distinct + found.stored.qos2.distinct, found.sent)
})

t.test('wrong options are one sentence', async t => {
  const wrong: readonly (readonly [string[], string])[] = [
    [['--messages', '10'], '--messages: allowed is a whole number from 200'],
    [['--envelope', 'box'], '--envelope: allowed are message, batch'],
    [['--kills', 'many'], '--kills: allowed is a whole number from 0'],
  ]
  for (const [args, sentence] of wrong) {
    const { code, stderr } = await prove(t, args)
    t.equal(code, 2)
    t.equal(stderr, `proof: ${sentence}\n`)
  }
})
