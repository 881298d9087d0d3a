import { setImmediate as turn } from 'node:timers/promises'
import { MessageChannel } from 'node:worker_threads'
import t from 'tap'
import { loadSettings } from '../../src/config/config.js'
import { processorOffers } from '../../src/pipeline/processor-offers.js'
import type { BrokerOffers } from '../../src/pipeline/thread-ports.js'
import { ThreadExit } from '../../src/runtime/thread-exit.js'
import { unsharing } from '../../src/runtime/user-shares.js'
import { Link } from '../../src/runtime/worker-link.js'

t.test('messages that are on disk while the processor starts do not end its thread', async t => {
  const { port1, port2 } = new MessageChannel()
  // Nobody is at the other end: what is told to the broker thread stays in the port.
  const link: Link<BrokerOffers> = new Link(port1, {})
  t.teardown(() => {
    port1.close()
    port2.close()
  })
  const data = {
    settings: loadSettings({ environment: {} }),
    dir: t.testdir(),
    hubId: 'hub',
    version: 'test',
    isFirst: true,
    shares: unsharing.shares,
  }
  const offers = processorOffers(data, () => link, new ThreadExit())
  const position = { segment: 1, end: 0, sequence: 0 }
  let isStarted = false
  const start = Promise.resolve(offers.start(position)).then(() => {
    isStarted = true
  })
  let turns = 0
  for (; !isStarted; turns++) {
    offers.committed(position)
    await turn()
  }
  await start
  t.ok(turns > 1, 'messages were on disk before')
  await offers.stop({ position, drainMs: 0 })
})
