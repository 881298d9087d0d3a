import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nextFrame, writeFrames } from '../../src/disk/commit-log.js'
import { type Files, nodeFiles } from '../../src/disk/files.js'
import { FrameReader, readFrames } from '../../src/disk/frame-file.js'
import { Random } from '../fixtures/packets.js'
import { tempDir } from '../services/service.js'

/** Frames and damage as they are read from a file with these bytes. */
async function read(bytes: Buffer, from = 0) {
  const path = join(await tempDir(), 'file')
  writeFileSync(path, bytes)
  const fd = openSync(path, 'r')
  const bodies: Buffer[] = []
  const damage: [at: number, bytes: number][] = []
  const frame = (body: Buffer, at: number) => {
    if (!bytes.subarray(at, at + body.length).equals(body)) t.fail(`not the body at ${at}`)
    bodies.push(Buffer.from(body))
  }
  const end = readFrames(fd, { frame, damaged: (at, bytes) => damage.push([at, bytes]) }, from)
  closeSync(fd)
  return { bodies, damage, end }
}

/** The same by the reader of buffers. */
function expected(bytes: Buffer) {
  const bodies: Buffer[] = []
  const damage: [at: number, bytes: number][] = []
  let end = 0
  for (let frame = nextFrame(bytes, 0); frame; frame = nextFrame(bytes, end)) {
    if (frame.start !== end) damage.push([end, frame.start - end])
    end = frame.end
    bodies.push(Buffer.from(frame.body))
  }
  return { bodies, damage, end }
}

async function framed(bodies: readonly Buffer[]): Promise<Buffer> {
  const path = join(await tempDir(), 'file')
  const fd = openSync(path, 'w+')
  writeFrames(fd, bodies)
  closeSync(fd)
  return readFileSync(path)
}

t.test('files larger than a piece, and frames larger than a piece', async t => {
  const random = new Random(1)
  const sizes = [1, 100, 4_194_304, 9_000_000, 12, 4_194_292, 4_194_291, 4_194_293, 5, 1_000_000, 3_194_300]
  const bytes = await framed(sizes.map(size => Buffer.alloc(size, random.below(256))))
  t.same(await read(bytes), expected(bytes))
  t.equal((await read(bytes)).bodies.length, sizes.length)
  const [first] = sizes
  t.equal((await read(bytes, (first as number) + 12)).bodies.length, sizes.length - 1)
})

t.test('damaged and cut in any way, a file is read as a buffer is', async t => {
  const random = new Random(2)
  for (let round = 0; round < 300; round++) {
    const bodies = Array.from({ length: 1 + random.below(20) }, () => Buffer.alloc(1 + random.below(60), 7))
    const bytes = await framed(bodies)
    for (let n = random.below(4); n > 0; n--) bytes[random.below(bytes.length)] = random.below(256)
    const cut = bytes.subarray(0, random.chance(50) ? random.below(bytes.length) : bytes.length)
    const [actual, wanted] = [await read(cut), expected(cut)]
    if (JSON.stringify(actual) !== JSON.stringify(wanted)) t.same(actual, wanted, `round ${round}`)
  }
  t.pass('read alike')
})

t.test('an empty file has no frames', async t =>
  t.same(await read(Buffer.alloc(0)), { bodies: [], damage: [], end: 0 }),
)

t.test('read without blocking, frames are found as when the thread is blocked', async t => {
  const random = new Random(3)
  for (let round = 0; round < 100; round++) {
    const bytes = await framed(
      Array.from({ length: 1 + random.below(20) }, () => Buffer.alloc(1 + random.below(60), 7)),
    )
    for (let n = random.below(4); n > 0; n--) bytes[random.below(bytes.length)] = random.below(256)
    const path = join(await tempDir(), 'file')
    writeFileSync(path, bytes)
    const fd = openSync(path, 'r')
    // Every read is short.
    const files: Files = {
      ...nodeFiles,
      read: (fd, buffer, offset, length, position, done) =>
        nodeFiles.read(fd, buffer, offset, 1 + random.below(length), position, done),
    }
    const reader = new FrameReader(files, fd)
    const bodies: Buffer[] = []
    for (let frame = await reader.next(0, bytes.length); frame; frame = await reader.next(frame.end, bytes.length)) {
      bodies.push(frame.body)
      t.same(reader.at(frame.start)?.end, frame.end)
    }
    closeSync(fd)
    if (JSON.stringify(bodies) !== JSON.stringify(expected(bytes).bodies)) t.fail(`round ${round}`)
  }
})
