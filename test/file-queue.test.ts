import t from 'tap'
import { FileQueue, type FileTimes } from './file-queue.js'

const times: FileTimes = new Map([
  ['short', [1, 1]],
  ['long', [90, 80]],
  ['sleeps', [60, 2]],
  ['dozes', [8, 1]],
])
const files = ['dozes', 'short', 'new', 'sleeps', 'long']

t.test('the longest first, a file of which nothing is known before the short ones, those that wait last', async t => {
  const queue = new FileQueue(files, times)
  const order = Array.from(files, () => queue.next())
  t.same(order, ['long', 'new', 'short', 'sleeps', 'dozes'])
  t.equal(queue.next(), undefined)
})

t.test('a file is taken once, also as one that waits', async t => {
  const queue = new FileQueue(files, times)
  t.equal(queue.nextThatWaits(), 'sleeps')
  t.equal(queue.nextThatWaits(), 'dozes')
  t.equal(queue.nextThatWaits(), undefined, 'busy ones are never taken beside two others')
  t.same([queue.next(), queue.next(), queue.next(), queue.next()], ['long', 'new', 'short', undefined])
})

t.test('without times, the order given', async t => {
  const queue = new FileQueue(['b', 'a'])
  t.same([queue.nextThatWaits(), queue.next(), queue.next()], [undefined, 'b', 'a'])
})
