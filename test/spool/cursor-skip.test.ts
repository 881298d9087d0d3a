import t from 'tap'
import type { Message } from '../../src/model.js'
import type { Batch } from '../../src/queue/queue.js'
import { append, openCursors, openSpool, publish } from '../fixtures/spool.js'
import { tempDir } from '../services/service.js'

const signal = new AbortController().signal
const groups = ['live', 'slow']
const sequences = (batch: Batch | undefined) => batch?.messages.map(({ sequence }: Message) => sequence)

/** A spool of ten messages, each in a segment of its own. */
async function ten() {
  const dir = await tempDir()
  const { spool } = await openSpool(dir, { segmentBytes: 1 })
  for (let n = 1; n <= 10; n++) await append(spool, publish(n))
  return { dir, spool }
}

t.test('messages before a segment are given up; those in hand change nothing when they are settled', async t => {
  const { dir, spool } = await ten()
  const { cursors } = openCursors(dir, spool, { groups })
  const cursor = cursors.reader('slow')
  const inHand = await cursor.next(2, signal)
  t.same(sequences(inHand), [1])
  const before = cursors.bytesBehind('slow')
  t.equal(cursor.skipTo(6), 5)
  t.equal(cursor.lag, 5)
  t.ok(cursors.bytesBehind('slow') < before)
  inHand?.settle()
  t.equal(cursor.settled.sequence, 6, 'the place does not go back')
  t.same(sequences(await cursor.next(10, signal)), [6])
  t.equal(cursor.skipTo(3), undefined, 'never back')
  await cursors.stop()

  const { cursors: again } = openCursors(dir, spool, { groups })
  t.same(sequences(await again.reader('slow').next(10, signal)), [6], 'also after a restart')
  await again.stop()
  await spool.stop()
})

t.test('messages in hand beyond what is given up are not read again', async t => {
  const { dir, spool } = await ten()
  const { cursors } = openCursors(dir, spool, { groups })
  const cursor = cursors.reader('slow')
  for (let n = 1; n <= 3; n++) (await cursor.next(1, signal))?.settle()
  const inHand = await cursor.next(1, signal)
  t.same(sequences(inHand), [4])
  cursor.skipTo(4)
  inHand?.settle()
  t.equal(cursor.settled.sequence, 5)
  t.same(sequences(await cursor.next(1, signal)), [5])
  await cursors.stop()
  await spool.stop()
})

t.test('a new group begins at the end, where that is wanted, and has its place on disk at once', async t => {
  const { dir, spool } = await ten()
  const more = { groups: [...groups, 'new'], atEnd: ['new', 'slow'] }
  const { cursors: first } = openCursors(dir, spool, { groups })
  await first.stop()
  const { cursors } = openCursors(dir, spool, more)
  t.equal(cursors.reader('new').lag, 0)
  t.equal(cursors.bytesBehind('new'), 0)
  t.equal(cursors.reader('slow').lag, 10, 'only a new one')
  // Killed: nothing more is saved.
  await append(spool, publish(11))
  const { cursors: again } = openCursors(dir, spool, more)
  t.same(sequences(await again.reader('new').next(10, signal)), [11])
  await again.stop()
  await cursors.stop()
  await spool.stop()
})
