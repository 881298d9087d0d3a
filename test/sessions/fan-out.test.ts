import t from 'tap'
import type { PendingPublish } from '../../src/model.js'
import { sliceWork, Work } from '../../src/runtime/work.js'
import { FanOut } from '../../src/sessions/fan-out.js'

/** Publishes whose topic says what they cost; `told` has what is done, in order. */
function fixture() {
  const work = new Work()
  const told: string[] = []
  const fanOut = new FanOut({
    work,
    sessions: {
      publish: ({ topic }) => {
        work.done += Number(topic)
      },
      committed: sequence => void told.push(`up to ${sequence}`),
    },
  })
  fanOut.relieves({ onRelieved: () => void told.push('relieved') })
  let sequence = 0
  const settle = (clientId: string, cost: number, { bytes = 1, error }: { bytes?: number; error?: Error } = {}) => {
    const n = ++sequence
    const publish: PendingPublish = {
      topic: String(cost),
      payload: Buffer.alloc(bytes),
      qos: 1,
      retain: false,
      clientId,
      user: '',
      packetId: 0,
      settle: error => told.push(`${clientId} ${n}${error ? ` ${error.message}` : ''}`),
    }
    fanOut.settled(publish, error, n)
  }
  return { fanOut, told, settle, commit: () => fanOut.committed(sequence) }
}

t.test('little work is done at once, in the order of the spool', async t => {
  const { fanOut, told, settle, commit } = fixture()
  settle('a', 10)
  settle('b', 10)
  settle('a', 10, { error: new Error('full') })
  commit()
  t.same(told, ['a 1', 'b 2', 'a 3 full', 'up to 3'])
  await fanOut.drained()
})

t.test('beyond a slice clients take turns, each in its order, and a group is distributed when it is whole', async t => {
  const { fanOut, told, settle, commit } = fixture()
  const dear = sliceWork
  for (let n = 0; n < 4; n++) settle('dear', dear)
  settle('b', 10)
  settle('b', 10, { error: new Error('full') })
  commit()
  settle('c', 10)
  commit()
  t.same(told, ['dear 1'], 'the others wait for the next turns')
  await fanOut.drained()
  t.same(
    told.filter(line => line.startsWith('dear')),
    ['dear 1', 'dear 2', 'dear 3', 'dear 4'],
  )
  t.same(
    told.filter(line => line.startsWith('b')),
    ['b 5', 'b 6 full'],
  )
  const at = (line: string) => told.indexOf(line)
  t.ok(at('c 7') < at('dear 3'), 'a client that asks for little does not wait for one that asks for much')
  t.ok(at('up to 6') > at('dear 4'))
  t.ok(at('up to 7') > at('up to 6'), 'also when the second group was done before the first')
  settle('a', 10)
  commit()
  await fanOut.drained()
  t.same(told.slice(-2), ['a 8', 'up to 8'])
})

t.test('what waits is bounded: past it the hub reads no more, until half of it is distributed', async t => {
  const { fanOut, told, settle, commit } = fixture()
  for (let n = 0; n < 10; n++) settle('a', sliceWork, { bytes: 1e6 })
  commit()
  t.ok(fanOut.overloaded)
  await fanOut.drained()
  t.notOk(fanOut.overloaded)
  const at = told.indexOf('relieved')
  t.ok(at > told.indexOf('a 5') && at < told.indexOf('a 10'))
})
