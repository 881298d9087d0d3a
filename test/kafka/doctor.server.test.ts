import t from 'tap'
import { runCli } from '../harness.js'
import { startMockKafka } from '../services/kafka.js'
import { tempDir } from '../services/service.js'
import { freshPrefix, hubKafka } from './client.js'

const cluster = await startMockKafka()
t.teardown(() => cluster.stop())

async function examined(prefix: string, ...more: readonly string[]): Promise<string> {
  const all = { 'kafka.brokers': cluster.brokers, 'kafka.prefix': prefix, 'data.dir': await tempDir() }
  const flags = Object.entries(all).flatMap(([key, value]) => [`--${key}`, value])
  const run = runCli(['doctor', ...flags, ...more])
  await run.exited
  return (
    run
      .stdout()
      .split('\n')
      .find(line => line.includes(' Kafka: ')) ?? run.stderr()
  )
}

t.test('telehub doctor looks at Kafka: topics that are missing, brokers that are away', async t => {
  const prefix = freshPrefix()
  t.match(await examined(prefix), /3 brokers answer; not there yet, and made by the hub when it connects: .*telemetry/)
  t.match(await examined(prefix, '--kafka.create', 'false'), /topics are missing, and kafka\.create is false: /)
  const kafka = hubKafka(cluster, { prefix })
  await kafka.reader('publish').next(1, AbortSignal.timeout(4_000))
  await kafka.stop()
  t.match(await examined(prefix), /3 brokers answer$/)
  await cluster.down(1, 2, 3)
  t.match(await examined(prefix), /the spool keeps arriving messages|Start it, or fix kafka\.brokers/)
  await cluster.up(1, 2, 3)
})
