import t from 'tap'
import { FieldsReading, SettingFields } from '../../src/config/settings.js'
import { kafkaKind } from '../../src/outlets/kafka.js'
import { outletContract } from '../contract/outlet.js'
import { message } from '../contract/queue.js'
import { startMockKafka } from '../services/kafka.js'
import { foreignKafka, freshPrefix, records } from './client.js'

const cluster = await startMockKafka()
t.teardown(() => cluster.stop())

function read(given: Readonly<Record<string, unknown>>) {
  const reading = new FieldsReading(name => (name === 'SECRET' ? 'hunter2' : undefined))
  const fields = new SettingFields(given, 'outlets: test', reading)
  const target = kafkaKind.read(fields)
  fields.end()
  return { target, faults: reading.faults }
}

const parts = {
  ...{ name: 'test', hubId: 'hub1', dir: '.' },
  log: { info: () => {}, warn: () => {} },
  incidents: { report: () => {} },
}

/** The sequence numbers of all records of a topic with one partition. */
async function numbersIn(topic: string): Promise<readonly number[]> {
  const admin = foreignKafka(cluster).admin()
  await admin.connect()
  const [end] = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  const count = Number(end?.high ?? 0)
  const found = count === 0 ? [] : await records(t, cluster, topic, count)
  return found.map(({ headers }) => Number(headers.sequence))
}

t.test('the contract', async t => {
  outletContract(t, async () => {
    const topic = `${freshPrefix()}out`
    const { target, faults } = read({ brokers: cluster.brokers.split(','), topic, partitions: 1 })
    t.same(faults, [])
    cluster.maxBatch = 20_000
    return {
      outlet: await target.open(parts),
      has: () => numbersIn(topic),
      message: sequence => message(sequence),
      refused: sequence => message(sequence, { payload: Buffer.alloc(40_000) }),
      takeAway: () => cluster.down(1, 2, 3),
      bringBack: () => cluster.up(1, 2, 3),
      close: async () => {
        await cluster.up(1, 2, 3)
        cluster.maxBatch = undefined
      },
    }
  })
})

t.test('settings: mistakes are named, and a password is in no sentence', async t => {
  t.same(read({ brokers: 'a:9092, b:9092' }).faults, [])
  t.match(read({}).faults, [/brokers: .*host:port/])
  t.match(read({ brokers: ['a:9092'], mechanism: 'plain' }).faults, [/user: missing/, /password: missing/])
  const login = { brokers: ['a:9092'], mechanism: 'plain', user: 'hub', password: '$' + '{SECRET}', topik: 'x' }
  const { faults } = read(login)
  t.match(faults, [/topik: no such field; did you mean topic\?/])
  t.notMatch(faults.join(), 'hunter2')
  t.match(read({ brokers: ['a:9092'], cert: 'a.pem' }).faults, [/cert: given without key/])
})
