import t from 'tap'
import { ListenQueue, overflowsIn } from '../../src/transport/listen-queue.js'

const netstat = (overflows: number) =>
  `TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 ${overflows} ${overflows + 1}\nIpExt: InNoRoutes\nIpExt: 7\n`

t.test('the count of Linux', async t => {
  t.equal(overflowsIn(netstat(12)), 12)
  t.equal(overflowsIn('TcpExt: SyncookiesSent\nTcpExt: 3\n'), undefined)
  t.equal(overflowsIn(''), undefined)
})

t.test('connections that the system drops are told, with the setting that allows more', async t => {
  let overflows = 5
  const told: string[] = []
  const read = (path: string) => (path.endsWith('netstat') ? netstat(overflows) : '4096\n')
  const queue = new ListenQueue(sentence => told.push(sentence), read)
  t.teardown(() => queue.stop())
  queue.start()
  queue.look()
  t.same(told, [], 'those before the start are none of this hub')
  overflows = 105
  queue.look()
  queue.look()
  t.equal(told.length, 1)
  t.match(told[0], /dropped attempts to connect 100 times.*net\.core\.somaxconn is 4096/)
})

t.test('where the system does not say, nothing is told', async t => {
  const told: string[] = []
  const queue = new ListenQueue(
    sentence => told.push(sentence),
    () => {
      throw new Error('ENOENT')
    },
  )
  queue.start()
  queue.look()
  queue.stop()
  t.same(told, [])
})
