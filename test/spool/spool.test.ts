import {
  appendFileSync,
  closeSync,
  copyFileSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import t from 'tap'
import { type Files, nodeFiles } from '../../src/disk/files.js'
import type { Message } from '../../src/model.js'
import { Cursors } from '../../src/spool/cursors.js'
import { listSegments, segmentPath } from '../../src/spool/segment-file.js'
import type { Spool } from '../../src/spool/spool.js'
import { append, drain, extended, openSpool as open, openCursors, publish, readAll } from '../fixtures/spool.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const read = async (dir: string, spool: Spool) => (await readAll(dir, spool)).messages

t.test('what is appended is read back, whole and in order, also after a restart', async t => {
  const dir = await tempDir()
  const first = await open(dir)
  const sequences = await Promise.all([1, 2, 3].map(n => append(first.spool, publish(n))))
  t.same(sequences, [1, 2, 3], 'callbacks come in order, sequences begin at 1')
  await first.spool.stop()

  const second = await open(dir)
  t.equal(await append(second.spool, publish(4, '')), 4, 'the sequence goes on')
  const messages = await read(dir, second.spool)
  t.same(
    messages,
    [1, 2, 3, 4].map(n => ({ ...publish(n, n === 4 ? '' : undefined), sequence: n, receivedAt: 1_000_000 + n - 1 })),
    'every part of a message, stamped in strictly ascending microseconds although the clock stood still',
  )
  t.same(second.warnings, [])
  await second.spool.stop()
})

t.test('properties and expiry too, for every reader, beside messages that have neither', async t => {
  const dir = await tempDir()
  const first = await open(dir, { segmentBytes: 200 })
  const sent = [publish(1), extended(2), extended(3), publish(4), extended(5), extended(6), extended(7, '')]
  for (const one of sent.slice(0, 5)) await append(first.spool, one)
  await first.spool.stop()
  const second = await open(dir, { segmentBytes: 200 })
  for (const one of sent.slice(5)) await append(second.spool, one)
  const expected = sent.map((one, i) => ({ ...one, sequence: i + 1, receivedAt: 1_000_000 + i }))
  t.ok(listSegments(dir).length > 1, 'over segments')
  const { cursors } = openCursors(dir, second.spool, { groups: ['live', 'bridge'] })
  t.strictSame(await drain(cursors, 'live', 3), expected)
  t.strictSame(await drain(cursors, 'bridge'), expected)
  const { batches } = cursors.past({ from: 0, to: 2_000_000 }, new AbortController().signal)
  const past: Message[] = []
  for await (const messages of batches) past.push(...messages)
  t.strictSame(past, expected, 'what is kept')
  t.strictSame([...second.spool.replay(2)], expected.slice(2), 'what the broker makes its state good from')
  t.same([...first.warnings, ...second.warnings], [])
  await cursors.stop()
  await second.spool.stop()
})

t.test('a clock that was wrong for a moment spoils no later time, and the order stays, also over restarts', async t => {
  const dir = await tempDir()
  const day = 86_400e6
  const begin = 1_763_710_000_000_000
  let now = begin
  const times: number[] = []
  const clocks = [begin, begin + day, begin + day, begin + 1_000, begin + 2_000, begin - day, begin + 3_000]
  let n = 0
  for (const clock of clocks) {
    now = clock
    // Each time in a segment, or behind the last message, of an earlier life.
    const life = await open(dir, { clock: { now: () => now }, segmentBytes: n % 2 === 0 ? 1 : 1e6 })
    for (const publication of [extended(++n), publish(++n)]) {
      await append(life.spool, publication)
      times.push(now++)
    }
    t.same(life.warnings, [])
    await life.spool.stop()
  }
  const last = await open(dir, { clock: { now: () => now } })
  const { messages, skipped, warnings } = await readAll(dir, last.spool)
  t.same(
    messages.map(message => message.sequence),
    times.map((_, i) => i + 1),
  )
  const expected = times.map((_, i) => (i % 2 === 0 ? extended(i + 1) : publish(i + 1)))
  t.match(messages, expected, 'whole')
  // The same instant a second time is one microsecond later.
  const seen = messages.map(message => message.receivedAt)
  t.ok(
    seen.every((time, i) => Math.abs(time - (times[i] as number)) < 10),
    `${seen.map((time, i) => time - (times[i] as number))}`,
  )
  t.equal(new Set(seen).size, seen.length, 'no time twice')
  t.same(skipped, [])
  t.same(warnings, [])
  t.ok(last.spool.latest >= begin + day)
  await last.spool.stop()
})

t.test('an empty or headless newest segment is begun anew', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir)
  await append(spool, publish(1))
  await spool.stop()
  truncateSync(segmentPath(dir, 1), 0)
  copyFileSync(segmentPath(dir, 1), segmentPath(dir, 2))
  const again = await open(dir)
  t.equal(await append(again.spool, publish(2)), 2)
  await again.spool.stop()
})

t.test('segments: one after the other, read across, deleted once every cursor has passed', async t => {
  const dir = await tempDir()
  let freed = 0
  const { spool } = await open(dir, { segmentBytes: 2_000 })
  for (let n = 1; n <= 200; n++) await append(spool, publish(n))
  const segments = listSegments(dir)
  t.ok(segments.length > 5, `${segments.length} segments`)
  const bytesBefore = spool.bytes

  const cursors = new Cursors({
    dir,
    groups: ['live', 'record'],
    inherit: {},
    position: spool.position,
    freed: bytes => {
      freed += bytes
      spool.freed(bytes)
    },
    log: { warn: sentence => t.fail(sentence) },
    incidents: { report: (_kind, sentence) => t.fail(sentence) },
  })
  cursors.start()
  const signal = new AbortController().signal
  const readAll = async (group: string) => {
    const seen: number[] = []
    while (cursors.depth(group) > 0) {
      const delivery = await cursors.reader(group).next(7, signal)
      t.ok((delivery?.messages.length ?? 0) <= 7)
      seen.push(...(delivery?.messages ?? []).map(message => message.sequence))
      delivery?.settle()
    }
    return seen
  }
  const all = Array.from({ length: 200 }, (_, i) => i + 1)
  t.same(await readAll('live'), all)
  await cursors.deletePassed()
  t.same(listSegments(dir), segments, 'the other cursor has not passed')
  t.same(await readAll('record'), all)
  await cursors.deletePassed()
  t.same(listSegments(dir), segments.slice(-2), 'the newest two stay')
  t.equal(bytesBefore - spool.bytes, freed)
  await cursors.stop()
  await spool.stop()
})

t.test('a cursor goes on where it was settled; what was taken and not settled comes again', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir)
  for (let n = 1; n <= 10; n++) await append(spool, publish(n))
  const signal = new AbortController().signal
  const start = () => {
    const cursors = new Cursors({
      dir,
      groups: ['bridge'],
      inherit: { bridge: 'record' },
      position: spool.position,
      freed: () => {},
      log: { warn: () => {} },
      incidents: { report: () => {} },
    })
    cursors.start()
    return cursors
  }
  const first = start()
  const one = await first.reader('bridge').next(4, signal)
  one?.settle()
  await first.reader('bridge').next(4, signal)
  await first.stop()

  const second = start()
  t.equal(second.depth('bridge'), 6)
  const two = await second.reader('bridge').next(100, signal)
  t.same(
    two?.messages.map(message => message.sequence),
    [5, 6, 7, 8, 9, 10],
  )
  await second.stop()
  await spool.stop()
})

t.test('a backlog changes hands when the drain changes: record becomes bridge where it was', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir)
  for (let n = 1; n <= 4; n++) await append(spool, publish(n))
  const options = {
    dir,
    position: spool.position,
    freed: () => {},
    log: { warn: () => {} },
    incidents: { report: () => {} },
  }
  const signal = new AbortController().signal
  const embedded = new Cursors({ ...options, groups: ['record'], inherit: {} })
  embedded.start()
  ;(await embedded.reader('record').next(3, signal))?.settle()
  await embedded.stop()
  const bridged = new Cursors({ ...options, groups: ['bridge'], inherit: { bridge: 'record' } })
  bridged.start()
  t.same(
    (await bridged.reader('bridge').next(9, signal))?.messages.map(message => message.sequence),
    [4],
  )
  t.notOk(readdirSync(dir).includes('record.cursor'))
  await bridged.stop()
  await spool.stop()
})

t.test('a reader that waits is woken by a commit, and by the end', async t => {
  const dir = await tempDir()
  let cursors: Cursors | undefined
  const { spool } = await open(dir)
  spool.reportTo({ onCommitted: position => cursors?.committed(position) })
  cursors = new Cursors({
    dir,
    groups: ['live'],
    inherit: {},
    position: spool.position,
    freed: () => {},
    log: { warn: () => {} },
    incidents: { report: () => {} },
  })
  cursors.start()
  const abort = new AbortController()
  const waiting = cursors.reader('live').next(10, abort.signal)
  await append(spool, publish(1))
  const delivery = await waiting
  t.equal(delivery?.messages[0]?.sequence, 1)
  delivery?.settle()
  const last = cursors.reader('live').next(10, abort.signal)
  abort.abort()
  t.equal(await last, undefined)
  await cursors.stop()
  await spool.stop()
})

t.test('at its limit it refuses, and says so; a message larger than a chunk goes through', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir, { limitBytes: 3e6 })
  const large = 'x'.repeat(2_500_000)
  await append(spool, publish(1, large))
  t.equal((await read(dir, spool))[0]?.payload.length, large.length)
  await append(spool, publish(2, 'y'.repeat(600_000)))
  await t.rejects(append(spool, publish(3)), { code: 'spool_full' })
  t.ok(spool.full)
  t.ok(spool.fill >= 1)
  await spool.stop()
})

t.test('what a cursor has passed is not numbered again, as after a loss of power with fsync interval', async t => {
  const dir = await tempDir()
  const first = await open(dir)
  for (let n = 1; n <= 10; n++) await append(first.spool, publish(n))
  t.equal((await read(dir, first.spool)).length, 10)
  await first.spool.stop()
  truncateSync(segmentPath(dir, 1), 300)
  const second = await open(dir, { known: 5 })
  t.equal(await append(second.spool, publish(20)), 11)
  const { topics, skipped } = await readAll(dir, second.spool)
  t.same(topics, ['t/20'])
  t.same(skipped, [])
  const behind = await readAll(dir, second.spool, 'other')
  t.equal(behind.topics.at(-1), 't/20')
  t.match(behind.skipped, [{ to: 10, damaged: true }], 'who had not read them is told')
  await second.spool.stop()
  const third = await open(dir, { known: 500 })
  t.equal(await append(third.spool, publish(21)), 501, 'nor what is known elsewhere')
  await third.spool.stop()
})

t.test('after damage, bytes that look like a header are told from one at a glance', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir)
  const samples = Buffer.alloc(4_000_000)
  for (let at = 0; at < samples.length; at += 4) samples.writeInt32LE(at % 50_000, at)
  await append(spool, { ...publish(1), payload: samples })
  await append(spool, publish(2))
  await spool.stop()
  const path = segmentPath(dir, 1)
  const bytes = readFileSync(path)
  bytes[20] = 0xff
  writeFileSync(path, bytes)
  const again = await open(dir)
  t.same(
    (await read(dir, again.spool)).map(message => message.topic),
    ['t/2'],
  )
  await again.spool.stop()
})

t.test('the bytes are those of the files: after a rotation, a deletion, a restart', async t => {
  const dir = await tempDir()
  const onDisk = () => listSegments(dir).reduce((sum, segment) => sum + statSync(segmentPath(dir, segment)).size, 0)
  const first = await open(dir, { segmentBytes: 500 })
  t.equal(first.spool.bytes, onDisk())
  for (let n = 1; n <= 50; n++) {
    await append(first.spool, publish(n))
    t.equal(first.spool.bytes, onDisk())
  }
  const { cursors } = openCursors(dir, first.spool)
  await drain(cursors, 'live')
  cursors.deletePassed()
  await cursors.stop()
  t.equal(listSegments(dir).length, 2)
  t.equal(first.spool.bytes, onDisk())
  await first.spool.stop()
  const second = await open(dir)
  t.equal(second.spool.bytes, onDisk())
  await second.spool.stop()
})

t.test('replay gives what comes after a sequence number, over segments', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir, { segmentBytes: 500 })
  for (let n = 1; n <= 20; n++) await append(spool, publish(n))
  t.same(
    [...spool.replay(15)].map(message => message.sequence),
    [16, 17, 18, 19, 20],
  )
  t.same([...spool.replay(20)], [])
  await spool.stop()
})

t.test('a replay goes on with what is committed meanwhile, and reads segments that are gone by now', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir, { segmentBytes: 500 })
  for (let n = 1; n <= 20; n++) await append(spool, publish(n))
  const replay = spool.replay(0)
  const next = () => [...replay].map(({ sequence }) => sequence)
  replay.skipTo(3)
  for (const segment of listSegments(dir)) rmSync(segmentPath(dir, segment))
  t.same(
    next(),
    Array.from({ length: 17 }, (_, n) => n + 4),
  )
  t.same(next(), [], 'no more so far')
  for (let n = 21; n <= 23; n++) await append(spool, publish(n))
  const more = [append(spool, publish(24)), append(spool, publish(25))]
  t.same(next(), [21, 22, 23], 'not what is on the way to the disk')
  await Promise.all(more)
  for (let n = 26; n <= 40; n++) await append(spool, publish(n))
  for (const segment of listSegments(dir)) rmSync(segmentPath(dir, segment))
  t.same(
    next(),
    Array.from({ length: 17 }, (_, n) => n + 24),
  )
  replay.close()
  t.same(next(), [])
  await spool.stop()
})

t.test('a replay passes over messages in steps', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir)
  await Promise.all(Array.from({ length: 1_600 }, (_, n) => append(spool, publish(n))))
  const replay = spool.replay(1_550)
  const steps = [replay.next(), replay.next(), replay.next()]
  t.same(steps, ['passed', 'passed', 'passed'])
  t.match(replay.next(), { sequence: 1_551 })
  await spool.stop()
})

t.test('a segment of more than 2 GiB is read in pieces', async t => {
  const dir = await tempDir()
  const first = await open(dir)
  for (let n = 1; n <= 3; n++) await append(first.spool, publish(n))
  await first.spool.stop()
  // The bytes behind the first message are a hole of 2 GiB, and then come the others.
  const path = segmentPath(dir, 1)
  const bytes = readFileSync(path)
  const firstEnd = 16 + 12 + bytes.readUInt32LE(16)
  truncateSync(path, firstEnd)
  const fd = openSync(path, 'r+')
  writeSync(fd, bytes, firstEnd, bytes.length - firstEnd, 2_200_000_000)
  closeSync(fd)
  const second = await open(dir, { files: withoutCopies, limitBytes: 1e10 })
  t.match(second.warnings, [/is damaged \(\d{10} bytes\); the intact part is kept/])
  t.equal(await append(second.spool, publish(4)), 4)
  t.same(
    [...second.spool.replay(1)].map(({ sequence }) => sequence),
    [2, 3, 4],
  )
  await second.spool.stop()
})

/** A copy of gigabytes of zeros is nothing to wait for. */
const withoutCopies: Files = {
  ...nodeFiles,
  openSync: (path, flags) => {
    if (path.endsWith('.bad')) throw Object.assign(new Error('no room for a copy'), { code: 'ENOSPC' })
    return nodeFiles.openSync(path, flags)
  },
}

t.test('a tail that was cut off or removed is noticed, and its numbers are not given again', async t => {
  for (const [name, damage] of [
    ['cut', (path: string) => truncateSync(path, 300)],
    ['emptied', (path: string) => truncateSync(path, 0)],
    ['removed', (path: string) => rmSync(path)],
  ] as const) {
    const dir = await tempDir()
    const first = await open(dir)
    for (let n = 1; n <= 20; n++) await append(first.spool, publish(n))
    const { cursors } = openCursors(dir, first.spool, { groups: ['record'] })
    const delivery = await cursors.reader('record').next(2, new AbortController().signal)
    delivery?.settle()
    await cursors.stop()
    await first.spool.stop()
    damage(segmentPath(dir, 1))
    const second = await open(dir)
    t.match(second.warnings.join(), /although message 20 was accepted: the end of the spool is missing/, name)
    t.equal(await append(second.spool, publish(21)), 21, name)
    const { skipped, messages } = await readAll(dir, second.spool, 'record')
    t.equal(messages.at(-1)?.sequence, 21, name)
    t.ok(skipped.length > 0 && skipped.every(({ damaged }) => damaged), name)
    t.equal(skipped.at(-1)?.to, 20, name)
    const lost = skipped.reduce((sum, { from, to }) => sum + to - from + 1, 0)
    t.equal(lost + messages.length, 19, 'every message that was not settled is there or told to be lost')
    await second.spool.stop()
  }
})

t.test('a damaged cursor begins at the oldest message, and that is reported', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir)
  for (let n = 1; n <= 5; n++) await append(spool, publish(n))
  t.equal((await readAll(dir, spool)).messages.length, 5)
  for (const damaged of [Buffer.alloc(0), Buffer.alloc(64, 7), Buffer.alloc(10)]) {
    writeFileSync(`${dir}/live.cursor`, damaged)
    const { messages, warnings } = await readAll(dir, spool)
    t.equal(messages.length, 5)
    t.match(warnings, [
      /cursor live cannot be read \(both of its positions are damaged\); it starts at the oldest message/,
    ])
  }
  t.equal((await readAll(dir, spool)).messages.length, 0, 'the place is kept again')
  await spool.stop()
})

for (const code of ['ENOSPC', 'EROFS', 'EIO']) {
  t.test(
    `a disk that refuses writes at the start (${code}): what is there is read, and publishes wait for the disk`,
    async t => {
      for (const [name, messages] of [
        ['with messages', 3],
        ['new', 0],
      ] as const) {
        const dir = `${await tempDir()}/spool`
        if (messages > 0) {
          const before = await open(dir)
          for (let n = 1; n <= messages; n++) await append(before.spool, publish(n))
          await before.spool.stop()
          // A torn tail cannot be cut off yet.
          appendFileSync(segmentPath(dir, 1), Buffer.alloc(5))
        }
        let refuses = true
        const files: Files = {
          ...nodeFiles,
          openSync: (path, flags) => {
            if (refuses && (flags & 3) !== 0) throw Object.assign(new Error(`refused: ${code}`), { code })
            return nodeFiles.openSync(path, flags)
          },
        }
        const { spool, warnings } = await open(dir, { files })
        t.ok(spool.failing, name)
        t.match(warnings.join(), /publishes are not acknowledged/, name)
        await t.rejects(append(spool, publish(9)), { code: 'spool_failed' }, name)
        t.same(
          [...spool.replay(0)].map(({ sequence }) => sequence),
          Array.from({ length: messages }, (_, i) => i + 1),
          name,
        )
        refuses = false
        await eventually(() => !spool.failing, 'the disk works again')
        const sequence = await append(spool, publish(10))
        t.ok(sequence > messages, name)
        const { messages: all, skipped } = await readAll(dir, spool)
        t.same(
          all.map(({ topic }) => topic),
          [...Array.from({ length: messages }, (_, i) => `t/${i + 1}`), 't/10'],
          name,
        )
        t.ok(
          skipped.every(({ damaged }) => !damaged),
          'what was refused was never there',
        )
        await spool.stop()
        t.equal((await readAll(dir, (await open(dir)).spool)).messages.length, 0)
      }
    },
  )
}

t.test('nothing is written to a directory that is not locked', async t => {
  const dir = await tempDir()
  const lock = { held: false }
  const { spool } = await open(dir, { lock })
  await t.rejects(append(spool, publish(1)), { code: 'spool_failed' })
  t.same(listSegments(dir), [])
  lock.held = true
  await eventually(() => !spool.failing, 'locked')
  await append(spool, publish(2))
  await spool.stop()
})
