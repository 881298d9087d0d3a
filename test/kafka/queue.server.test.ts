import t from 'tap'
import { type QueueUnderTest, queueContract } from '../contract/queue.js'
import { startKafka } from '../services/kafka.js'
import { freshPrefix, hubKafka } from './client.js'

const cluster = await startKafka()
t.teardown(() => cluster.stop())

function openQueue(envelope: 'message' | 'batch', prefix: string): QueueUnderTest {
  const queue = hubKafka(cluster, { envelope, prefix })
  return {
    queue,
    group: 'record',
    close: () => queue.stop(),
    reopen: async () => {
      await queue.stop()
      return openQueue(envelope, prefix)
    },
  }
}

for (const envelope of ['message', 'batch'] as const) {
  t.test(`Kafka as a queue, envelope ${envelope}`, async t => {
    queueContract(t, async () => {
      const opened = openQueue(envelope, freshPrefix())
      await opened.queue.publish([])
      return opened
    })
  })
}
