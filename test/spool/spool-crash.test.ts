import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { encodedLength, encodeMessage } from '../../src/spool/message-codec.js'
import { listSegments, segmentPath } from '../../src/spool/segment-file.js'
import { append, openSpool as open, publish, readAll } from '../fixtures/spool.js'
import { tempDir } from '../services/service.js'

/** A spool of groups of three messages each, all acknowledged; and where each group ends in the file. */
async function written(groups: number) {
  const dir = await tempDir()
  const { spool } = await open(dir)
  const ends = [spool.position.end]
  for (let group = 0; group < groups; group++) {
    await Promise.all([1, 2, 3].map(n => append(spool, publish(group * 3 + n, `${n}`))))
    ends.push(spool.position.end)
  }
  await spool.stop()
  return { bytes: readFileSync(segmentPath(dir, 1)), ends }
}

/** The topics of so many messages. */
const topics = (count: number) => Array.from({ length: count }, (_, i) => `t/${i + 1}`)

/** A folder with this as its only segment. Made anew each time: one folder for all, so that nothing piles up. */
function restore(dir: string, bytes: Buffer): string {
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(dir)
  writeFileSync(segmentPath(dir, 1), bytes)
  return dir
}

t.test('cut at every byte of the last group: all before it is there, the rest is cut, more is taken', async t => {
  const { bytes, ends } = await written(3)
  const scratch = join(await tempDir(), 'spool')
  const begin = ends[2] as number
  for (let size = begin; size < bytes.length; size++) {
    const dir = restore(scratch, bytes.subarray(0, size))
    const { spool, warnings } = await open(dir)
    const kept = spool.position.sequence
    t.ok(kept >= 6 && kept < 9, `cut at ${size - begin}`)
    t.equal(warnings.length, spool.position.end === size ? 0 : 1)
    t.equal(statSync(segmentPath(dir, 1)).size, spool.position.end)
    t.equal(await append(spool, publish(99)), kept + 1)
    const { topics: read, skipped } = await readAll(dir, spool)
    t.same(read, [...topics(kept), 't/99'])
    t.same(skipped, [], 'what was never acknowledged is no loss')
    t.notOk(existsSync(`${segmentPath(dir, 1)}.bad`))
    await spool.stop()
  }
})

t.test('a bit flipped in any byte of the last two groups costs that message alone', async t => {
  const { bytes, ends } = await written(3)
  const scratch = join(await tempDir(), 'spool')
  for (let at = ends[1] as number; at < bytes.length; at++) {
    const flipped = Buffer.from(bytes)
    flipped[at] = (flipped[at] as number) ^ (1 << (at % 8))
    const dir = restore(scratch, flipped)
    const { spool, warnings } = await open(dir)
    t.match(warnings, [/is damaged \(\d+ bytes\)/], `byte ${at}`)
    t.same(readFileSync(`${segmentPath(dir, 1)}.bad`), flipped, 'the file as it was is kept')
    const sequence = await append(spool, publish(99))
    t.ok(sequence > 9, 'no number is given twice')
    const { messages, skipped } = await readAll(dir, spool)
    t.equal(messages.length, 9, 'all but one, and the new one')
    t.match(messages.at(-1), { topic: 't/99', sequence })
    const lost = Number(
      topics(9)
        .find(topic => !messages.some(message => message.topic === topic))
        ?.slice(2),
    )
    t.match(skipped, [{ from: lost, damaged: true }], 'it is said which is lost')
    t.ok((skipped[0]?.to ?? 0) < sequence)
    await spool.stop()
    const again = await open(dir)
    t.equal(await append(again.spool, publish(100)), sequence + 1)
    t.same((await readAll(dir, again.spool)).topics, ['t/100'])
    await again.spool.stop()
  }
})

t.test('a segment header cut or flipped at any byte costs no message, and time does not go astray', async t => {
  const { bytes } = await written(1)
  const scratch = join(await tempDir(), 'spool')
  for (let at = 0; at < 16; at++) {
    const flipped = Buffer.from(bytes)
    flipped[at] = (flipped[at] as number) ^ 0x80
    const dir = restore(scratch, flipped)
    const { spool } = await open(dir)
    t.equal(await append(spool, publish(4)), 4)
    const { messages, skipped } = await readAll(dir, spool)
    t.same(
      messages.map(({ topic, receivedAt }) => [topic, receivedAt]),
      [1, 2, 3, 4].map(n => [`t/${n}`, 1_000_000 + n - 1]),
      `byte ${at}`,
    )
    t.same(skipped, [])
    await spool.stop()
  }
  // Of the newest, empty one it alone tells the time, but for the segment before.
  const dir = restore(scratch, bytes)
  const newest = segmentPath(dir, 4)
  for (let at = 0; at <= 16; at++) {
    const header = Buffer.from(bytes.subarray(0, 16))
    header.writeUInt32LE(1_000_002, 8)
    if (at < 16) header[at] = (header[at] as number) ^ 0x80
    for (const damaged of [header, header.subarray(0, at)]) {
      writeFileSync(newest, damaged)
      rmSync(join(dir, 'clean'), { force: true })
      const { spool } = await open(dir)
      t.equal(await append(spool, publish(4)), 4)
      rmSync(join(dir, 'live.cursor'), { force: true })
      const { messages, skipped } = await readAll(dir, spool)
      t.match(messages.at(-1), { topic: 't/4', receivedAt: 1_000_003 })
      t.equal(messages.length, 4)
      t.same(skipped, [])
      await spool.stop()
      rmSync(join(dir, 'live.cursor'), { force: true })
    }
  }
})

t.test('a tail of zeros, as a file system leaves it after a loss of power', async t => {
  const { bytes, ends } = await written(2)
  const scratch = join(await tempDir(), 'spool')
  for (const zeros of [1, 11, 12, 13, 4_096]) {
    const dir = restore(scratch, Buffer.concat([bytes, Buffer.alloc(zeros)]))
    const { spool, warnings } = await open(dir)
    t.match(warnings, [new RegExp(`: ${zeros} bytes of an unfinished write`)])
    t.equal(await append(spool, publish(7)), 7)
    const { topics: read, skipped } = await readAll(dir, spool)
    t.same(read, topics(7))
    t.same(skipped, [])
    await spool.stop()
  }
  // Room was made for a group, and a part of it was written.
  const part = (ends[1] as number) + 30
  const dir = restore(scratch, Buffer.concat([bytes.subarray(0, part), Buffer.alloc(4_096)]))
  const { spool } = await open(dir)
  const sequence = await append(spool, publish(99))
  const { topics: read, skipped } = await readAll(dir, spool)
  t.same(read, ['t/1', 't/2', 't/3', 't/99'])
  t.same(skipped, [{ group: 'live', from: 4, to: sequence - 1, damaged: false }])
  await spool.stop()
})

t.test('a frame inside a payload is not taken for a message, torn or damaged', async t => {
  const { bytes } = await written(1)
  const forged = { ...publish(66), clientId: 'admin', sequence: 4, receivedAt: 2_000_000 }
  const body = Buffer.alloc(encodedLength(forged))
  encodeMessage(forged, body, 0)
  const source = await tempDir()
  const first = await open(source)
  await append(first.spool, forged)
  await first.spool.stop()
  const frame = readFileSync(segmentPath(source, 1)).subarray(16)
  const dir = restore(join(await tempDir(), 'spool'), bytes)
  const second = await open(dir)
  const payload = Buffer.concat([frame, Buffer.alloc(100, 'x')])
  await append(second.spool, { ...publish(4), payload })
  await second.spool.stop()
  const whole = readFileSync(segmentPath(dir, 1))
  for (const bad of [whole.subarray(0, -10), Buffer.concat([whole.subarray(0, -1), Buffer.from('y')])]) {
    restore(dir, bad)
    const { spool } = await open(dir)
    t.same((await readAll(dir, spool)).topics, topics(3))
    await spool.stop()
  }
})

t.test('a missing segment in the middle is said to be gone; what is around it is read', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir, { segmentBytes: 300 })
  for (let n = 1; n <= 20; n++) await append(spool, publish(n))
  const segments = listSegments(dir)
  const [gone = 0, next = 0] = segments.slice(2)
  rmSync(segmentPath(dir, gone))
  const { topics: read, skipped } = await readAll(dir, spool)
  t.same(
    read,
    topics(20).filter((_, i) => i + 1 < gone || i + 1 >= next),
  )
  t.same(skipped, [{ group: 'live', from: gone, to: next - 1, damaged: true }])
  await spool.stop()
})

t.test('an empty segment in the middle, left by a disk that was full, is passed', async t => {
  const dir = await tempDir()
  const first = await open(dir, { segmentBytes: 1 })
  for (let n = 1; n <= 3; n++) await append(first.spool, publish(n))
  await first.spool.stop()
  writeFileSync(segmentPath(dir, 6), '')
  copyFileSync(segmentPath(dir, 3), segmentPath(dir, 7))
  truncateSync(segmentPath(dir, 7), 16)
  const second = await open(dir)
  t.equal(await append(second.spool, publish(7)), 7)
  const { topics: read, skipped } = await readAll(dir, second.spool)
  t.same(read, ['t/1', 't/2', 't/3', 't/7'])
  t.match(skipped, [{ from: 4, to: 6 }])
  await second.spool.stop()
})

t.test('the cursor file: cut or flipped anywhere, it is where it was or a little before, never beyond', async t => {
  const dir = await tempDir()
  const { spool } = await open(dir)
  for (let n = 1; n <= 10; n++) await append(spool, publish(n))
  await readAll(dir, spool)
  for (let n = 11; n <= 20; n++) await append(spool, publish(n))
  await readAll(dir, spool)
  await append(spool, publish(21))
  const path = join(dir, 'live.cursor')
  const whole = readFileSync(path)
  t.equal(whole.length, 64)
  const damaged = [
    ...Array.from({ length: 64 }, (_, size) => whole.subarray(0, size)),
    ...Array.from({ length: 64 }, (_, at) => {
      const flipped = Buffer.from(whole)
      flipped[at] = (flipped[at] as number) ^ 1
      return flipped
    }),
    Buffer.alloc(64),
  ]
  for (const bytes of damaged) {
    writeFileSync(path, bytes)
    const { topics: read, skipped } = await readAll(dir, spool)
    t.equal(read.at(-1), 't/21')
    t.same(read, topics(21).slice(21 - read.length), `${read.length} come`)
    t.same(skipped, [])
  }
  await spool.stop()
  t.notOk(readdirSync(dir).some(name => name.endsWith('.bad')))
})
