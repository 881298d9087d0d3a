import { existsSync, mkdirSync, openSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { writeFrames } from '../../src/disk/commit-log.js'
import type { Message } from '../../src/model.js'
import type { Cursors } from '../../src/spool/cursors.js'
import { encodedLength, encodeMessage } from '../../src/spool/message-codec.js'
import { listSegments, segmentPath } from '../../src/spool/segment-file.js'
import { append, drain, never, openCursors, openSpool, publish } from '../fixtures/spool.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const minute = 60e6

/** A spool of a message a minute from minute 1 on, each in a segment of its own. */
async function minutes(count: number) {
  const dir = await tempDir()
  let now = 0
  const { spool } = await openSpool(dir, { segmentBytes: 1, clock: { now: () => now } })
  for (let n = 1; n <= count; n++) {
    now = n * minute
    await append(spool, publish(n))
  }
  return { dir, spool, size: readFileSync(segmentPath(dir, 1)).length }
}

const sequences = (messages: readonly Message[]) => messages.map(({ sequence }) => sequence)
const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, i) => first + i)

t.test('what every cursor has passed is kept by time', async t => {
  const { dir, spool } = await minutes(10)
  let now = 10 * minute
  let freed = 0
  const { cursors } = openCursors(dir, spool, {
    keepMs: 4 * 60_000,
    keepBytes: 1e9,
    clock: { now: () => now },
    freed: bytes => {
      freed += bytes
      spool.freed(bytes)
    },
  })
  const before = spool.bytes
  cursors.deletePassed()
  t.equal(listSegments(dir).length, 10, 'nobody has passed them')
  await drain(cursors, 'live')
  cursors.deletePassed()
  t.same(listSegments(dir), upTo(10, 7), 'those of the last four minutes')
  now = 12.5 * minute
  cursors.deletePassed()
  t.same(listSegments(dir), [9, 10], 'the newest two stay')
  t.equal(spool.bytes, before - freed)
  await cursors.stop()
  await spool.stop()
})

t.test('kept messages expire without any traffic', async t => {
  const { dir, spool } = await minutes(10)
  let now = 10 * minute
  const gone = eventually(() => listSegments(dir).length === 2, 'deleted')
  const { cursors } = openCursors(dir, spool, { keepMs: 300_000, keepBytes: 1e9, clock: { now: () => now } })
  await drain(cursors, 'live')
  // The place is saved by then, which looks for what can be deleted, too.
  await pause(300)
  t.ok(listSegments(dir).length > 2)
  now = 20 * minute
  await gone
  await cursors.stop()
  await spool.stop()
})

t.test('what is kept has a bound in bytes, and never takes more than makes half of the spool', async t => {
  for (const [options, left] of [
    [(size: number) => ({ keepBytes: size * 3 }), upTo(10, 6)],
    [(size: number) => ({ keepBytes: 1e9, limitBytes: size * 8.5 }), upTo(10, 7)],
    [() => ({ keepBytes: 0 }), [9, 10]],
  ] as const) {
    const { dir, spool, size } = await minutes(10)
    const { cursors } = openCursors(dir, spool, { keepMs: 1e9, clock: { now: () => 10 * minute }, ...options(size) })
    await drain(cursors, 'live')
    cursors.deletePassed()
    t.same(listSegments(dir), left)
    await cursors.stop()
    await spool.stop()
  }
})

t.test('what is pinned stays; what is kept is given up when the disk is full', async t => {
  const { dir, spool } = await minutes(10)
  const { cursors } = openCursors(dir, spool, { pinned: () => 3, clock: { now: () => 10 * minute } })
  await drain(cursors, 'live')
  cursors.deletePassed()
  t.same(listSegments(dir), upTo(10, 3))
  cursors.giveUpKept()
  t.same(listSegments(dir), upTo(10, 9), 'without room nothing could be released any more')
  await cursors.stop()
  await spool.stop()
})

t.test('what is kept for the past is given up when the disk is full', async t => {
  const { dir, spool } = await minutes(10)
  const { cursors } = openCursors(dir, spool, { keepMs: 1e9, keepBytes: 1e9, clock: { now: () => 10 * minute } })
  await drain(cursors, 'live')
  await cursors.stop()
  const keeping = { keepMs: 1e9, keepBytes: 1e9, clock: { now: () => 10 * minute } }
  const second = openCursors(dir, spool, { ...keeping, groups: ['live', 'record'], inherit: { record: 'live' } })
  second.cursors.deletePassed()
  t.equal(listSegments(dir).length, 10)
  second.cursors.giveUpKept()
  t.same(listSegments(dir), [9, 10])
  await second.cursors.stop()
  await spool.stop()
})

t.test('the past is read again, from here to there, over segments that are passed', async t => {
  const { dir, spool } = await minutes(10)
  const { cursors } = openCursors(dir, spool, { keepMs: 1e9, keepBytes: 1e9, clock: { now: () => 10 * minute } })
  await drain(cursors, 'live')
  const read = async (from: number, to: number) => {
    const found: number[] = []
    const past = cursors.past({ from, to }, never)
    for await (const messages of past.batches) found.push(...sequences(messages))
    return { found, total: past.total, bytes: past.bytes }
  }
  const all = await read(0, Number.POSITIVE_INFINITY)
  t.same(all.found, upTo(10))
  t.equal(all.total, 10)
  t.equal(all.bytes, spool.bytes)
  const some = await read(3 * minute, 7 * minute)
  t.same(some.found, [3, 4, 5, 6])
  t.ok(some.total >= 3 && some.total <= 5, `about ${some.total}`)
  t.same((await read(3 * minute + 1, 4 * minute)).found, [])
  t.same((await read(11 * minute, 12 * minute)).found, [])
  t.same((await read(10 * minute, 12 * minute)).found, [10])

  const found: number[] = []
  const reading = (async () => {
    for await (const messages of cursors.past({ from: 0, to: 1e15 }, never).batches) {
      found.push(...sequences(messages))
      if (found.length === 2) cursors.giveUpKept()
    }
  })()
  await t.rejects(reading, { code: 'not_found', message: /oldest message is from 1970-01-01T00:09:00/ })
  t.same(found, [1, 2])
  await cursors.stop()
  await spool.stop()
})

t.test('the past is that of the clock, also after it was wrong for a moment', async t => {
  const day = 86_400e6
  const clocks = [1, 2, 3].map(n => n * minute)
  clocks.push(10 * day, 10 * day + minute, ...[4, 5, 6].map(n => n * minute))
  for (const segmentBytes of [1, 1e6]) {
    const dir = await tempDir()
    let now = 0
    const { spool } = await openSpool(dir, { segmentBytes, clock: { now: () => now } })
    for (const [i, clock] of clocks.entries()) {
      now = clock
      await append(spool, publish(i + 1))
    }
    // What the header of a segment says is more than a day ahead of the clock now.
    const { cursors } = openCursors(dir, spool, { keepMs: 1e9, keepBytes: 1e9, clock: { now: () => now } })
    const read = async (from: number, to: number) => {
      const found: number[] = []
      for await (const messages of cursors.past({ from, to }, never).batches) found.push(...sequences(messages))
      return found
    }
    t.same(await read(5 * minute, 7 * minute), [7, 8], 'since the clock was set back')
    t.same(await read(3 * minute, 5 * minute), [3, 6], 'from both sides')
    t.same(await read(10 * day, 11 * day), [4, 5], 'what was taken meanwhile')
    t.same(await read(0, Number.POSITIVE_INFINITY), upTo(8))
    t.same(await read(0, 2 * minute), [1])
    t.same(await read(7 * minute, 10 * day), [])
    await cursors.stop()
    await spool.stop()
  }
})

t.test('the past is read in batches of one segment, past damage, and can be ended', async t => {
  const dir = await tempDir()
  const { spool } = await openSpool(dir)
  await Promise.all(upTo(5_000).map(n => append(spool, publish(n, 'x'.repeat(300)))))
  const { cursors } = openCursors(dir, spool)
  const path = segmentPath(dir, 1)
  const bytes = readFileSync(path)
  bytes[1_000_000] = (bytes[1_000_000] as number) ^ 1
  writeFileSync(path, bytes)
  const found: number[] = []
  const end = new AbortController()
  const past = cursors.past({ from: 0, to: 1e15 }, never)
  for await (const messages of past.batches) found.push(...sequences(messages))
  t.equal(found.length, 4_999)
  t.equal(new Set(found).size, 4_999)
  t.equal(past.total, 5_000)
  let batches = 0
  for await (const _ of cursors.past({ from: 0, to: 1e15 }, end.signal).batches) {
    batches++
    end.abort()
  }
  t.equal(batches, 1)
  await cursors.stop()
  await spool.stop()
})

t.test('status: segments, cursors, how far behind and since when', async t => {
  const { dir, spool, size } = await minutes(5)
  const { cursors } = openCursors(dir, spool, {
    groups: ['live', 'record'],
    keepMs: 1e9,
    keepBytes: 1e9,
    limitBytes: 1e6,
    clock: { now: () => 5 * minute },
  })
  await drain(cursors, 'live')
  ;(await cursors.reader('record').next(1, never))?.settle()
  ;(await cursors.reader('record').next(1, never))?.settle()
  t.same(await cursors.status(), {
    bytes: spool.bytes,
    limit: 1e6,
    keptBytes: size,
    segments: upTo(5).map(n => ({
      segment: n,
      bytes: size,
      from: n * minute,
      to: n < 5 ? n * minute : undefined,
      kept: n === 1,
    })),
    cursors: [
      { name: 'live', sequence: 6, lag: 0, lagBytes: 0, oldest: undefined },
      { name: 'record', sequence: 3, lag: 3, lagBytes: size * 3, oldest: 3 * minute },
    ],
  })
  await cursors.stop()
  await spool.stop()
})

/** A segment with just these sequence numbers, as a disk leaves it that refused the others. */
function segmentWith(dir: string, numbers: readonly number[]): void {
  const source = numbers.map(sequence => {
    const message = { ...publish(sequence), sequence, receivedAt: 1_000 + sequence }
    const body = Buffer.alloc(encodedLength(message))
    encodeMessage(message, body, 0)
    return body
  })
  const path = join(dir, 'frames')
  writeFrames(openSync(path, 'w+'), source)
  const header = Buffer.from('THSPOOL1\0\0\0\0\0\0\0\0', 'latin1')
  writeFileSync(segmentPath(dir, numbers[0] as number), Buffer.concat([header, readFileSync(path)]))
}

t.test(
  'numbers that the disk refused are told before what is behind them, and again until that is settled',
  async t => {
    const dir = await tempDir()
    segmentWith(dir, [1, 2, 5, 6, 9])
    const { spool } = await openSpool(dir)
    const told: string[] = []
    const open = () => openCursors(dir, spool, { skipped: async (...gap) => void told.push(gap.join(' ')) }).cursors
    const first = open()
    const one = await first.reader('live').next(100, never)
    t.same(sequences(one?.messages ?? []), [1, 2], 'a delivery ends before a gap')
    one?.settle()
    t.same(told, [])
    const two = await first.reader('live').next(100, never)
    t.same(sequences(two?.messages ?? []), [5, 6])
    t.same(told, ['live 3 4 false'])
    await first.stop()
    const second = open()
    t.same(sequences(await drain(second, 'live')), [5, 6, 9])
    t.same(told, ['live 3 4 false', 'live 3 4 false', 'live 7 8 false'])
    await second.stop()
    await spool.stop()
  },
)

t.test('a gap that could not be told of is told of again, and holds up what is behind it', async t => {
  const dir = await tempDir()
  segmentWith(dir, [1, 3])
  const { spool } = await openSpool(dir)
  let works = false
  const { cursors } = openCursors(dir, spool, {
    skipped: async () => {
      if (!works) throw new Error('not now')
    },
  })
  ;(await cursors.reader('live').next(100, never))?.settle()
  await t.rejects(cursors.reader('live').next(100, never), /not now/)
  works = true
  t.same(sequences((await cursors.reader('live').next(100, never))?.messages ?? []), [3])
  await cursors.stop()
  await spool.stop()
})

t.test(
  'a segment that cannot be begun: its group is refused, the next one is not, and nothing is left behind',
  async t => {
    const dir = await tempDir()
    const refused: string[] = []
    const warnings: string[] = []
    let isOver = () => {}
    const over = new Promise<void>(resolve => {
      isOver = resolve
    })
    const { spool } = await openSpool(dir, {
      segmentBytes: 1,
      log: {
        warn: sentence => {
          if (warnings.push(sentence) === 2) isOver()
        },
      },
    })
    spool.reportTo({ onRefused: () => void refused.push(spool.failing?.message ?? '') })
    await append(spool, publish(1))
    mkdirSync(segmentPath(dir, 2))
    await t.rejects(append(spool, publish(2)), { code: 'spool_failed' })
    t.ok(refused.length > 0)
    rmdirSync(segmentPath(dir, 2))
    const sequence = await append(spool, publish(5))
    t.match(spool.failing, { code: 'spool_failed' })
    // A timer that holds up no end of the process: the test must wait on its own.
    const waiting = setInterval(() => {}, 1_000)
    await over
    clearInterval(waiting)
    t.equal(spool.failing, undefined)
    t.match(warnings, [/EISDIR|EEXIST/, /accepts writes again/], 'told when it begins and when it is over')
    t.notOk(existsSync(join(dir, 'probe')))
    const { cursors, skipped } = openCursors(dir, spool)
    t.same((await drain(cursors, 'live')).map(({ topic }) => topic).at(-1), 't/5')
    t.match(skipped, [{ from: 2, damaged: false }])
    t.ok(sequence > 2)
    await cursors.stop()
    await spool.stop()
  },
)

t.test('a cursor that cannot be saved holds up nothing, and is saved when it can be', async t => {
  const dir = await tempDir()
  const { spool } = await openSpool(dir)
  for (let n = 1; n <= 5; n++) await append(spool, publish(n))
  const path = join(dir, 'live.cursor')
  mkdirSync(path)
  const first = openCursors(dir, spool)
  await drain(first.cursors, 'live')
  await first.cursors.stop()
  t.match(first.warnings, [/cannot be read/, /could not be created/, /could not be saved/])
  t.equal(first.warnings.length, 3, 'once an occasion')
  rmdirSync(path)
  const second = openCursors(dir, spool)
  t.equal((await drain(second.cursors, 'live')).length, 5)
  await second.cursors.stop()
  const third = openCursors(dir, spool)
  t.equal(third.cursors.depth('live'), 0)
  t.same([...second.warnings, ...third.warnings], [])
  await third.cursors.stop()
  await spool.stop()
})

t.test('a segment deleted by hand while it is read: what is left is read, and the gap is told', async t => {
  const dir = await tempDir()
  const { spool } = await openSpool(dir, { segmentBytes: 1 })
  for (let n = 1; n <= 6; n++) await append(spool, publish(n))
  const { cursors, warnings, skipped } = openCursors(dir, spool)
  ;(await cursors.reader('live').next(1, never))?.settle()
  for (const gone of [3, 4]) rmSync(segmentPath(dir, gone))
  t.same(sequences(await drain(cursors, 'live')), [2, 5, 6])
  t.same(skipped, [{ group: 'live', from: 3, to: 4, damaged: true }])
  t.match(warnings, [/3\.seg is missing/, /4\.seg is missing/])
  cursors.deletePassed()
  t.same(listSegments(dir), [5, 6])
  await cursors.stop()
  await spool.stop()
})

t.test('told of commits now and then, it misses no segment between', async t => {
  const dir = await tempDir()
  const { spool } = await openSpool(dir, { segmentBytes: 1 })
  const { cursors } = openCursors(dir, spool)
  for (let n = 1; n <= 6; n++) await append(spool, publish(n))
  cursors.committed(spool.position)
  t.same(sequences(await drain(cursors, 'live')), upTo(6))
  await cursors.stop()
  await spool.stop()
})

t.test('a backlog is metered, the live cursor is not, and what arrives is not held back', async t => {
  const dir = await tempDir()
  let cursors: Cursors | undefined
  const { spool } = await openSpool(dir)
  spool.reportTo({ onCommitted: position => cursors?.committed(position) })
  for (let n = 1; n <= 100; n++) await append(spool, publish(n))
  let clock = 0
  const opened = openCursors(dir, spool, { groups: ['live', 'record'], rate: 1_000, monotonic: { now: () => clock } })
  cursors = opened.cursors
  t.equal((await drain(cursors, 'live')).length, 100)
  clock = 60
  const take = async () => {
    const delivery = await opened.cursors.reader('record').next(1_000, never)
    delivery?.settle()
    return delivery?.messages.length
  }
  t.equal(await take(), 60)
  clock = 1_000_000
  t.equal(await take(), 40)
  for (let n = 101; n <= 103; n++) await append(spool, publish(n))
  t.equal(await take(), 3)
  await cursors.stop()
  await spool.stop()
})

t.test('the live cursor goes first, and holds up nobody who waits for it in vain', async t => {
  const dir = await tempDir()
  const { spool } = await openSpool(dir)
  for (let n = 1; n <= 10; n++) await append(spool, publish(n))
  const { cursors } = openCursors(dir, spool, { groups: ['live', 'record'] })
  const order: string[] = []
  const next = async (group: string) => {
    const delivery = await cursors.reader(group).next(5, never)
    order.push(group)
    return delivery
  }
  const record = next('record')
  const live = next('live')
  await Promise.all([record, live])
  t.same(order, ['live', 'record'])
  ;(await record)?.settle()
  t.equal((await next('record'))?.messages.length, 5, 'the live one is busy with its five')
  await cursors.stop()
  await spool.stop()
})
