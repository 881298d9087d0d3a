import {
  copyFileSync,
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
import { DeadLetterFiles, type DeadLetterFilesOptions } from '../../src/dead-letters/dead-letters.js'
import { frameAt } from '../../src/disk/commit-log.js'
import { type Files, nodeFiles } from '../../src/disk/files.js'
import { all, letter, numbers, removeAll } from '../contract/dead-letters.js'
import { FaultyFiles } from '../fixtures/faulty-files.js'
import { Random } from '../fixtures/packets.js'
import { tempDir } from '../services/service.js'

/*
 * Files of dead letters that are damaged while the hub is stopped: each loss is reported, once, with what is known of it; what
 * is whole is there; and new letters are taken.
 */

interface Incident {
  readonly kind: string
  readonly sentence: string
  readonly messages?: number
  readonly bytes?: number
}

async function open(dir: string, more: Partial<DeadLetterFilesOptions> = {}) {
  const incidents: Incident[] = []
  const dead = new DeadLetterFiles({
    dir,
    limitBytes: 80_000,
    log: { warn: () => {} },
    incidents: { report: (kind, sentence, lost = {}) => void incidents.push({ kind, sentence, ...lost }) },
    dropped: () => {
      t.fail('nothing is over the limit')
    },
    ...more,
  })
  await dead.start()
  return { dead, incidents }
}

const first = '0000000001.log'
const second = '0000000002.log'
const many = (count: number, from = 1) =>
  Array.from({ length: count }, (_, i) => letter(from + i, {}, { payload: Buffer.alloc(1_000, i) }))
const down = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, i) => from - i)

/** Letters 1 to 10 in the first file, 11 to 15 in the second, which is being written to; 3 and 12 are gone. */
async function filled(): Promise<string> {
  const dir = join(await tempDir(), 'dead')
  const { dead } = await open(dir)
  await dead.put(many(10))
  await dead.put(many(5, 11))
  await removeAll(dead, { id: '3' })
  await removeAll(dead, { id: '12' })
  await dead.stop()
  t.same(readdirSync(dir).sort(), ['0000000001.gone', first, '0000000002.gone', second])
  return dir
}

const whole = [15, 14, 13, 11, 10, 9, 8, 7, 6, 5, 4, 2, 1]
const without = (...lost: number[]) => whole.filter(n => !lost.includes(n))

function starts(path: string): number[] {
  const bytes = readFileSync(path)
  const found: number[] = []
  for (let frame = frameAt(bytes, 0); frame; frame = frameAt(bytes, frame.end)) found.push(frame.start)
  return found
}

function overwrite(path: string, at: number, bytes: Buffer): void {
  const all = readFileSync(path)
  bytes.copy(all, at)
  writeFileSync(path, all)
}

interface Damage {
  readonly what: string
  readonly harm: (dir: string) => void
  readonly left: readonly number[]
  readonly incidents: readonly object[]
  /** Kept as it was; none when the file is gone. */
  readonly kept?: string
}

const lost = (messages: number, more: object = {}) => ({ kind: 'dead_letters_lost', messages, ...more })

const cases: readonly Damage[] = [
  {
    what: 'a header in the middle',
    harm: dir => overwrite(join(dir, first), starts(join(dir, first))[4] as number, Buffer.alloc(6, 0xff)),
    left: without(5),
    incidents: [lost(1)],
    kept: first,
  },
  {
    what: 'a body in the middle',
    harm: dir => overwrite(join(dir, first), (starts(join(dir, first))[4] as number) + 300, Buffer.alloc(6, 0xff)),
    left: without(5),
    incidents: [lost(1)],
    kept: first,
  },
  {
    what: 'the body of a letter that is gone',
    harm: dir => overwrite(join(dir, first), (starts(join(dir, first))[2] as number) + 300, Buffer.alloc(6, 0xff)),
    left: whole,
    incidents: [lost(0)],
    kept: first,
  },
  {
    what: 'an older file, cut by some bytes',
    harm: dir => truncateSync(join(dir, first), statSync(join(dir, first)).size - 5),
    left: without(10),
    incidents: [lost(1)],
    kept: first,
  },
  {
    what: 'the newest file, cut by some bytes',
    harm: dir => truncateSync(join(dir, second), statSync(join(dir, second)).size - 5),
    left: without(15),
    incidents: [lost(1)],
    kept: second,
  },
  {
    what: 'the newest file, cut between two letters, before one that is gone',
    harm: dir => truncateSync(join(dir, second), starts(join(dir, second))[1] as number),
    left: without(13, 14, 15),
    incidents: [lost(3)],
    kept: second,
  },
  {
    what: 'an older file, emptied',
    harm: dir => truncateSync(join(dir, first), 0),
    left: [15, 14, 13, 11],
    incidents: [lost(9)],
    kept: first,
  },
  {
    what: 'the newest file, emptied',
    harm: dir => truncateSync(join(dir, second), 0),
    left: without(15, 14, 13, 11),
    incidents: [lost(4)],
    kept: second,
  },
  {
    what: 'an older file, removed',
    harm: dir => rmSync(join(dir, first)),
    left: [15, 14, 13, 11],
    incidents: [lost(9)],
  },
  {
    what: 'the newest file, removed',
    harm: dir => rmSync(join(dir, second)),
    left: without(15, 14, 13, 11),
    incidents: [lost(4)],
  },
  {
    what: 'the whole directory, removed',
    harm: dir => rmSync(dir, { recursive: true }),
    left: [],
    // Which letters were gone is not known any more.
    incidents: [lost(10), lost(5)],
  },
  {
    what: 'garbage in place of an older file',
    harm: dir => writeFileSync(join(dir, first), Buffer.alloc(20_000, 'garbage')),
    left: [15, 14, 13, 11],
    incidents: [lost(9, { bytes: 20_000 })],
    kept: first,
  },
  {
    what: 'garbage in place of the newest file',
    harm: dir => writeFileSync(join(dir, second), Buffer.alloc(20_000, 'garbage')),
    left: without(15, 14, 13, 11),
    incidents: [lost(4, { bytes: 20_000 })],
    kept: second,
  },
  {
    what: 'garbage behind the newest file',
    harm: dir => writeFileSync(join(dir, second), Buffer.alloc(500, 'garbage'), { flag: 'a' }),
    left: whole,
    incidents: [lost(0, { bytes: 500 })],
    kept: second,
  },
  {
    what: 'garbage in place of what tells which are gone',
    harm: dir => writeFileSync(join(dir, '0000000001.gone'), Buffer.alloc(64, 'garbage')),
    left: [15, 14, 13, ...down(11, 1)],
    incidents: [{ kind: 'dead_letters_returned' }],
    kept: '0000000001.gone',
  },
  {
    what: 'what tells which are gone, removed',
    harm: dir => rmSync(join(dir, '0000000002.gone')),
    left: [15, 14, 13, 12, ...without(15, 14, 13)],
    incidents: [{ kind: 'dead_letters_returned', sentence: /: 1 dead letters/ }],
  },
  {
    what: 'a folder in place of an older file',
    harm: dir => {
      rmSync(join(dir, first))
      mkdirSync(join(dir, first))
    },
    left: [15, 14, 13, 11],
    incidents: [{ kind: 'dead_letters_unreadable' }],
  },
  {
    what: 'a file in place of the directory',
    harm: dir => {
      rmSync(dir, { recursive: true })
      writeFileSync(dir, 'not a directory')
    },
    left: [],
    incidents: [{ kind: 'dead_letters_unreadable' }],
  },
  {
    what: 'garbage in place of the index',
    harm: dir => writeFileSync(`${dir}.index`, Buffer.alloc(2_000_000, 'garbage')),
    left: whole,
    incidents: [{ kind: 'dead_letters_unreadable' }],
  },
  {
    what: 'the index, removed',
    harm: dir => rmSync(`${dir}.index`),
    left: whole,
    incidents: [],
  },
]

for (const { what, harm, left, incidents, kept } of cases) {
  t.test(`damage: ${what}`, async t => {
    const dir = await filled()
    harm(dir)
    const before = kept && readFileSync(join(dir, kept))
    const damaged = await open(dir)
    t.same(numbers(await all(damaged.dead)), left, 'what is whole is there')
    t.equal(damaged.dead.count, left.length)
    t.match(damaged.incidents, incidents)
    t.equal(damaged.incidents.length, incidents.length)
    if (kept) t.same(readFileSync(join(dir, `${kept}.bad`)), before, 'the file as it was')
    if (what.startsWith('a file in place')) {
      await t.rejects(damaged.dead.put(many(2, 21)), { code: 'spool_failed' })
      rmSync(dir)
    }
    await damaged.dead.put(many(2, 21))
    t.same(numbers(await all(damaged.dead)), [22, 21, ...left], 'new letters are taken')
    await damaged.dead.stop()
    const again = await open(dir)
    t.same(numbers(await all(again.dead)), [22, 21, ...left], 'and are there after a restart')
    if (!what.startsWith('a folder')) t.same(again.incidents, [], 'what is lost is told once')
    t.same((await removeAll(again.dead)).flat().sort(), [21, 22, ...left].sort(), 'all can be removed')
    await again.dead.stop()
  })
}

t.test('damage of the newest file after kill -9, which leaves no time to write anything down', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead } = await open(dir)
  await dead.put(many(5))
  // The index is written behind the letters.
  await new Promise(resolve => setTimeout(resolve, 100))
  const copy = join(await tempDir(), 'dead')
  mkdirSync(copy)
  copyFileSync(join(dir, first), join(copy, first))
  copyFileSync(`${dir}.index`, `${copy}.index`)
  await dead.stop()
  truncateSync(join(copy, first), starts(join(copy, first))[3] as number)
  const again = await open(copy)
  t.match(again.incidents, [lost(2)])
  t.same(numbers(await all(again.dead)), [3, 2, 1])
  await again.dead.stop()
})

/** A disk with bad sectors: reads that touch these bytes of files of this name fail. */
class BadSectors extends FaultyFiles {
  name = ''
  from = 0
  to = Number.POSITIVE_INFINITY
  readonly #names = new Map<number, string>()

  constructor() {
    super(new Random(1))
  }

  override openSync(path: string, flags: number): number {
    const fd = nodeFiles.openSync(path, flags)
    this.#names.set(fd, path)
    return fd
  }

  override read(...[fd, buffer, offset, length, position, done]: Parameters<Files['read']>): void {
    const isBad = this.name !== '' && this.#names.get(fd)?.endsWith(this.name) && position < this.to
    if (isBad && position + length > this.from)
      setImmediate(done, Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }), 0)
    else nodeFiles.read(fd, buffer, offset, length, position, done)
  }
}

t.test('a file that cannot be read is left as it is, and read by the next start that can', async t => {
  const dir = await filled()
  const files = new BadSectors()
  files.name = first
  const broken = await open(dir, { files })
  t.match(broken.incidents, [{ kind: 'dead_letters_unreadable', sentence: /0000000001\.log cannot be read \(EIO/ }])
  t.same(numbers(await all(broken.dead)), [15, 14, 13, 11])
  await broken.dead.put(many(2, 21))
  await broken.dead.stop()
  const again = await open(dir)
  t.same(again.incidents, [])
  t.same(numbers(await all(again.dead)), [22, 21, ...whole])
  await again.dead.stop()
})

t.test('a bad sector costs the letters in it; the file is never removed', async t => {
  const dir = join(await tempDir(), 'dead')
  const sound = await open(dir, { limitBytes: 8e6 })
  await sound.dead.put(many(100))
  await sound.dead.stop()
  const original = readFileSync(join(dir, first))
  const files = new BadSectors()
  files.name = first
  files.from = 40_000
  files.to = 41_000
  const broken = await open(dir, { files, limitBytes: 8e6 })
  t.match(broken.incidents, [{ kind: 'dead_letters_unreadable', sentence: /^16384 bytes of/ }])
  const readable = numbers(await all(broken.dead))
  t.ok(readable.length > 80 && readable.length < 90, `${readable.length} letters`)
  await removeAll(broken.dead, { from: letter(91).failedAt })
  t.same(
    numbers(await all(broken.dead)),
    readable.filter(n => n <= 90),
  )
  await broken.dead.stop()
  const again = await open(dir, { limitBytes: 8e6 })
  t.same(again.incidents, [])
  t.same(numbers(await all(again.dead)), down(90, 1), 'all are there once it can be read, and what was removed is not')
  t.same(readFileSync(join(dir, first)), original)
  await again.dead.stop()
})

t.test('letters that cannot be read for a moment are neither lost nor removed', async t => {
  const dir = join(await tempDir(), 'dead')
  const files = new BadSectors()
  const { dead, incidents } = await open(dir, { files })
  await dead.put(many(5))
  await removeAll(dead, { id: '5' })
  for (const name of [first, '0000000001.gone']) {
    files.name = name
    t.same(await all(dead), [])
    const handed: number[][] = []
    const sweep = removeAll(dead).then(batches => handed.push(...batches))
    if (name.endsWith('gone')) await t.rejects(sweep, { code: 'spool_failed' })
    await sweep.catch(() => {})
    t.same(handed, [])
    t.equal(dead.count, 4)
  }
  t.ok(incidents.every(({ kind }) => kind === 'dead_letters_unreadable'))
  files.name = ''
  t.same(numbers(await all(dead)), [4, 3, 2, 1])
  await dead.stop()
})

t.test('damage that begins while the hub runs is found when the file is written anew', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead, incidents } = await open(dir)
  await dead.put(many(10))
  await dead.put(many(1, 11))
  overwrite(join(dir, first), (starts(join(dir, first))[4] as number) + 300, Buffer.alloc(6, 0xff))
  await removeAll(dead, { to: letter(8).failedAt })
  t.match(incidents, [lost(1)])
  t.same(numbers(await all(dead)), [11, 10, 9, 8])
  t.equal(dead.count, 4)
  await dead.put([letter(5)])
  t.same(numbers(await all(dead)), [5, 11, 10, 9, 8], 'it may come again')
  rmSync(join(dir, '0000000001.1.log'))
  t.same(numbers(await all(dead)), [5, 11])
  t.match(incidents[1], lost(3))
  await dead.stop()
})

t.test('a disk that refuses everything: it starts, shows what there is, refuses letters, and goes on', async t => {
  const dir = await filled()
  const files = new FaultyFiles(new Random(1))
  files.percent = 100
  const broken = await open(dir, { files })
  t.match(broken.incidents, [
    { kind: 'dead_letters_unreadable', sentence: /: until it can, dead letters are neither shown nor written/ },
  ])
  await t.rejects(broken.dead.put(many(1, 21)), { code: 'spool_failed' })
  files.percent = 0
  await broken.dead.put(many(1, 21))
  t.same(numbers(await all(broken.dead)), [21, ...whole], 'all are there once the disk works')
  files.percent = 100
  await t.rejects(broken.dead.put(many(1, 22)), { code: 'spool_failed' })
  await t.rejects(removeAll(broken.dead, { id: '21' }), { code: 'spool_failed' })
  await broken.dead.stop()
  const again = await open(dir)
  const there = numbers(await all(again.dead))
  t.same(
    there.filter(n => n < 21),
    whole,
  )
  t.same(again.incidents, [])
  await again.dead.stop()
})
