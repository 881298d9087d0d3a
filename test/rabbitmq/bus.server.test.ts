import t from 'tap'
import { RabbitBus } from '../../src/rabbitmq/bus.js'
import { busContract, KeptPlace, message, taken } from '../contract/bus.js'
import { startRabbit } from '../services/rabbitmq.js'
import { channelOf } from './client.js'

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())

const open = (hubId: string) => new RabbitBus({ urls: [rabbit.url], hubId, holder: 'tests', clock: { now: () => 5 } })

async function emptied(): Promise<void> {
  const channel = await channelOf(t, rabbit.url)
  await channel.deleteQueue('telehub.bus')
  await channel.close()
}

await busContract(t, { open, emptied })

t.test('RabbitMQ is killed: what was confirmed is read afterwards, from the place', async t => {
  await emptied()
  const [one, two] = [open('one'), open('two')]
  t.teardown(() => Promise.all([one.stop(), two.stop()]))
  const keeper = new KeptPlace()
  await one.append([message(1), message(2)])
  t.same(await taken(two, keeper, 2), ['one/1', 'one/2'])
  await rabbit.ctl('eval', 'timer:sleep(200).')
  await rabbit.kill()
  await t.rejects(one.append([message(3)]), { code: 'queue_unavailable' })
  await rabbit.restart()
  const append = async () => {
    for (;;) {
      try {
        return await one.append([message(3)])
      } catch {
        await new Promise(resolve => setTimeout(resolve, 200))
      }
    }
  }
  await append()
  const found = await taken(two, keeper, 1)
  t.equal(found.at(-1), 'one/3')
  t.ok(keeper.reasons.length <= 1, 'a stream is not synced: the end may be lost, and then the reader says so')
})

t.test('a stream that has lost its end is read from its beginning, and the reader says so', async t => {
  await emptied()
  const [one, two] = [open('one'), open('two')]
  t.teardown(() => Promise.all([one.stop(), two.stop()]))
  const keeper = new KeptPlace()
  await one.append([message(1)])
  await one.append([message(2)])
  t.same(await taken(two, keeper, 2), ['one/1', 'one/2'])
  t.equal(keeper.place?.offset, 1)
  await emptied()
  const again = open('one')
  t.teardown(() => again.stop())
  await again.append([message(7)])
  await again.append([message(8)])
  const other = open('two')
  t.teardown(() => other.stop())
  t.same(await taken(other, keeper, 2), ['one/7', 'one/8'])
  t.match(keeper.reasons, [/another record at offset 1/])
})
