import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { message } from '../contract/queue.js'
import { eventually } from '../harness.js'
import { startKafka } from '../services/kafka.js'
import { freshPrefix, hubKafka } from './client.js'

const example = fileURLToPath(new URL('../../../examples/kafka-consumer/consumer.mjs', import.meta.url))

t.test('the example prints each message once, although the hub has sent one twice', async t => {
  const cluster = await startKafka()
  t.teardown(() => cluster.stop())
  const prefix = freshPrefix()
  const kafka = hubKafka(cluster, { prefix })
  const sent = [1, 2, 3].map(n =>
    message(n, { clientId: 'boiler', topic: 'cellar/boiler', payload: Buffer.from(`${n}°`) }),
  )
  await kafka.publish(sent)
  await kafka.publish(sent.slice(1))
  await kafka.publish([message(4, { clientId: 'boiler', topic: 'cellar/ü', payload: Buffer.from('last') })])
  await kafka.stop()
  const args = [example, '--brokers', cluster.brokers, '--topic', `${prefix}telemetry`, '--group', freshPrefix()]
  const run = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => run.kill('SIGKILL'))
  let said = ''
  run.stdout.on('data', chunk => {
    said += chunk
  })
  await eventually(() => said.includes('last'), 'the last one is printed')
  const at = (n: number) => new Date((1_700_000_000_000_000 + n) / 1_000).toISOString()
  t.same(said.trim().split('\n'), [
    ...[1, 2, 3].map(n => `${at(n)} boiler cellar/boiler ${n}°`),
    `${at(4)} boiler cellar/ü last`,
  ])
  const ended = new Promise<number | null>(resolve => run.once('exit', resolve))
  run.kill('SIGTERM')
  t.equal(await ended, 0, 'it leaves its group and ends')
})
