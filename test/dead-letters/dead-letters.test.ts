import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import {
  DeadLetterFiles,
  type DeadLetterFilesOptions,
  type DroppedLetter,
} from '../../src/dead-letters/dead-letters.js'
import { frameAt, writeFrames } from '../../src/disk/commit-log.js'
import type { DeadLetter } from '../../src/model.js'
import type { UserShares } from '../../src/runtime/user-shares.js'
import { encodedLength, encodeMessage } from '../../src/spool/message-codec.js'
import {
  all,
  type DeadLettersUnderTest,
  deadLettersContract,
  letter,
  numbers,
  removeAll,
} from '../contract/dead-letters.js'
import { tempDir } from '../services/service.js'

interface Incident {
  readonly kind: string
  readonly sentence: string
  readonly messages?: number
  readonly bytes?: number
}

async function open(dir: string, more: Partial<DeadLetterFilesOptions> = {}) {
  const warnings: string[] = []
  const incidents: Incident[] = []
  const dropped: DroppedLetter[] = []
  const dead = new DeadLetterFiles({
    dir,
    limitBytes: 1e9,
    log: { warn: sentence => warnings.push(sentence) },
    incidents: { report: (kind, sentence, lost = {}) => void incidents.push({ kind, sentence, ...lost }) },
    dropped: letters => void dropped.push(...letters),
    ...more,
  })
  await dead.start()
  return { dead, warnings, incidents, dropped, files: () => readdirSync(dir).sort() }
}

const many = (count: number, from = 1, bytes = 3) =>
  Array.from({ length: count }, (_, i) => letter(from + i, {}, { payload: Buffer.alloc(bytes, i) }))

const first = '0000000001.log'

t.test('dead letters in files', async t => {
  deadLettersContract(t, async () => {
    const dir = join(await tempDir(), 'dead')
    const reopen = async (): Promise<DeadLettersUnderTest> => {
      const { dead } = await open(dir, { log: { warn: sentence => t.fail(sentence) } })
      return { dead, reopen: () => dead.stop().then(reopen), close: () => dead.stop() }
    }
    return reopen()
  })
})

t.test('the files of the versions before are read, what they have twice is there once', async t => {
  const dir = join(await tempDir(), 'dead')
  mkdirSync(dir)
  const body = ({ message, reason, detail, failedAt, attempts }: DeadLetter) => {
    const head = Buffer.from(JSON.stringify({ reason, detail, failedAt, attempts }))
    const bytes = Buffer.alloc(4 + head.length + encodedLength(message))
    bytes.writeUInt32LE(head.length)
    head.copy(bytes, 4)
    encodeMessage(message, bytes, 4 + head.length)
    return bytes
  }
  writeFrames(
    openSync(join(dir, first), 'w'),
    [1, 2, 1].map(n => body(letter(n))),
  )
  writeFrames(
    openSync(join(dir, '0000000002.log'), 'w'),
    [3, 2].map(n => body(letter(n))),
  )
  for (const _ of ['first start', 'second start']) {
    const { dead, warnings } = await open(dir)
    t.same(
      await all(dead),
      [3, 2, 1].map(n => letter(n)),
    )
    t.equal(dead.count, 3)
    t.same(warnings, [])
    await dead.stop()
  }
})

t.test('count and bytes are what is there', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead, files } = await open(dir)
  t.same([dead.count, dead.bytes], [0, 0])
  await dead.put(many(100))
  await removeAll(dead, { from: letter(1).failedAt, to: letter(31).failedAt })
  const onDisk = () => files().reduce((sum, name) => sum + statSync(join(dir, name)).size, 0)
  t.same([dead.count, dead.bytes], [70, onDisk()])
  await dead.stop()
  const again = await open(dir)
  t.same([again.dead.count, again.dead.bytes], [70, onDisk()])
  await again.dead.stop()
})

t.test('a file whose letters are gone is deleted, one that is mostly gone is written anew', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead, files } = await open(dir, { limitBytes: 800_000 })
  for (let n = 1; n <= 300; n += 10) await dead.put(many(10, n, 1_000))
  t.same(files(), [first, '0000000002.log', '0000000003.log', '0000000004.log'])
  const before = dead.bytes
  await removeAll(dead, { to: letter(20).failedAt })
  t.same(files()[0], '0000000001.gone', 'a few: they are only marked')
  await removeAll(dead, { to: letter(61).failedAt })
  t.same(files()[0], '0000000001.1.log')
  t.notOk(files().includes('0000000001.gone'))
  t.ok(dead.bytes < before - 55_000)
  t.same(
    numbers(await all(dead)).reverse(),
    Array.from({ length: 240 }, (_, i) => i + 61),
    'the rest is as it was',
  )
  await removeAll(dead, { to: letter(80).failedAt })
  await dead.stop()
  const again = await open(dir, { limitBytes: 800_000 })
  t.equal(numbers(await all(again.dead)).at(-1), 80)
  await removeAll(again.dead, { to: letter(200).failedAt })
  t.notOk(files().some(name => name.startsWith('0000000001')))
  await removeAll(again.dead)
  t.same([again.dead.count, again.dead.bytes], [0, 0])
  t.equal(files().length, 1, 'the one to write to')
  t.same(again.warnings, [])
  await again.dead.put([letter(1)])
  t.same(numbers(await all(again.dead)), [1])
  await again.dead.stop()
})

t.test('any sequence of puts, removals and restarts: as a list in memory would be', async t => {
  const seed = Number(process.env.SEED ?? Date.now() % 1e6)
  let state = seed
  const random = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const dir = join(await tempDir(), 'dead')
  let { dead } = await open(dir, { limitBytes: 4e6 })
  let model: number[] = []
  for (let step = 0; step < 120; step++) {
    const from = random(6_000)
    const what = random(10)
    if (what < 5) {
      const some = Array.from({ length: random(600) }, (_, i) => (random(3) === 0 ? random(6_000) : from + i))
      await dead.put(some.map(n => letter(n)))
      const there = new Set(model)
      for (const n of some) if (!there.has(n)) model.push(n) && there.add(n)
    } else if (what < 9) {
      const [modulus, to] = [1 + random(3), from + random(3_000)]
      const range = { from: letter(from).failedAt, to: letter(to).failedAt }
      const goes = (n: number) => n % modulus === 0
      await dead.sweep(
        range,
        async letters => letters.map(({ message }) => goes(message.sequence)),
        new AbortController().signal,
      )
      model = model.filter(n => n < from || n >= to || !goes(n))
    } else {
      await dead.stop()
      dead = (await open(dir, { limitBytes: 4e6 })).dead
    }
    const there = numbers(await all(dead)).reverse()
    if (there.join() !== model.join() || dead.count !== model.length) return t.fail(`step ${step} with SEED=${seed}`)
  }
  t.pass()
  await dead.stop()
})

t.test('whatever a crash leaves of a rewrite or a deletion, each letter is there once', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead } = await open(dir, { limitBytes: 80_000 })
  await dead.put(many(10, 1, 1_000))
  await dead.put(many(10, 11, 1_000))
  const old = join(await tempDir(), 'old')
  mkdirSync(old)
  await removeAll(dead, { to: letter(4).failedAt })
  for (const name of ['0000000001.log', '0000000001.gone']) copyFileSync(join(dir, name), join(old, name))
  await removeAll(dead, { to: letter(7).failedAt })
  await dead.stop()
  const rewritten = readFileSync(join(dir, '0000000001.1.log'))
  const newest = readFileSync(join(dir, '0000000002.log'))
  const left = (from: number) => Array.from({ length: 21 - from }, (_, i) => 20 - i)
  const half = rewritten.subarray(0, rewritten.length / 2)
  const [oldLog, oldGone] = ['0000000001.log', '0000000001.gone'].map(name => readFileSync(join(old, name)))
  const empty = Buffer.alloc(0)
  const states: [string, Record<string, Buffer | undefined>, number][] = [
    ['begun', { '0000000001.log': oldLog, '0000000001.gone': oldGone, '0000000001.1.new': empty }, 4],
    ['half written', { '0000000001.log': oldLog, '0000000001.gone': oldGone, '0000000001.1.new': half }, 4],
    ['written', { '0000000001.log': oldLog, '0000000001.gone': oldGone, '0000000001.1.new': rewritten }, 4],
    ['named', { '0000000001.log': oldLog, '0000000001.gone': oldGone, '0000000001.1.log': rewritten }, 7],
    ['old one deleted', { '0000000001.gone': oldGone, '0000000001.1.log': rewritten }, 7],
    ['only its marks deleted', { '0000000001.log': oldLog, '0000000001.1.log': rewritten }, 7],
    ['done', { '0000000001.1.log': rewritten }, 7],
    ['all of it deleted but its marks', { '0000000001.gone': oldGone }, 11],
    ['the same, of a later generation', { '0000000001.3.gone': oldGone }, 11],
  ]
  for (const [what, files, from] of states) {
    const crashed = join(await tempDir(), 'dead')
    mkdirSync(crashed)
    writeFileSync(join(crashed, '0000000002.log'), newest)
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(crashed, name), bytes as Buffer)
    const again = await open(crashed, { limitBytes: 80_000 })
    t.same(numbers(await all(again.dead)), left(from), what)
    const lean = again.files().filter(name => !/^0000000001(\.1)?\.log$/.test(name) && name.startsWith('0000000001'))
    t.same(lean, from === 4 ? ['0000000001.gone'] : [], `${what}: nothing is left over`)
    t.same(again.warnings, [], what)
    await removeAll(again.dead, { to: letter(10).failedAt })
    await again.dead.stop()
    const later = await open(crashed)
    t.same(numbers(await all(later.dead)), left(Math.max(10, from)), `${what}: what is removed then is gone`)
    await later.dead.stop()
  }
})

t.test(
  'an unfinished write: a file cut at any byte of its last letter keeps all before it, and takes more',
  async t => {
    const dir = join(await tempDir(), 'dead')
    const { dead } = await open(dir)
    await dead.put([letter(1), letter(2)])
    const kept = dead.bytes
    await dead.put([letter(3)])
    const whole = dead.bytes
    await dead.stop()
    const path = join(dir, first)
    const original = readFileSync(path)
    for (let size = kept; size < whole; size++) {
      writeFileSync(path, original.subarray(0, size))
      // The last letter was not told to the index either.
      rmSync(`${dir}.index`)
      const again = await open(dir)
      t.equal(again.warnings.length, size === kept ? 0 : 1)
      t.same(again.incidents, [])
      await again.dead.put([letter(4), letter(1)])
      t.same(
        await all(again.dead),
        [4, 2, 1].map(n => letter(n)),
        `${size - kept} bytes`,
      )
      await again.dead.stop()
    }
  },
)

t.test('a removal cut at any byte has happened or has not', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead } = await open(dir)
  await dead.put(many(9))
  await removeAll(dead, { id: '2' })
  await removeAll(dead, { id: '3' })
  await dead.stop()
  const path = join(dir, '0000000001.gone')
  const original = readFileSync(path)
  for (let size = 0; size <= original.length; size++) {
    writeFileSync(path, original.subarray(0, size))
    const again = await open(dir)
    const gone = size < 16 ? [] : size < 32 ? [2] : [2, 3]
    t.same(
      numbers(await all(again.dead)),
      [9, 8, 7, 6, 5, 4, 3, 2, 1].filter(n => !gone.includes(n)),
      `${size} bytes`,
    )
    await removeAll(again.dead, { id: '5' })
    await again.dead.stop()
    const later = await open(dir)
    t.notOk(numbers(await all(later.dead)).includes(5))
    t.equal(later.dead.count, 8 - gone.length)
    await later.dead.stop()
  }
})

t.test('a flipped byte anywhere costs the letter it is in, no other, and is told once', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead } = await open(dir)
  await dead.put([1, 2, 3].map(n => letter(n)))
  await dead.stop()
  const path = join(dir, first)
  const original = readFileSync(path)
  const index = readFileSync(`${dir}.index`)
  const second = frameAt(original, 0)?.end as number
  const third = frameAt(original, second)?.end as number
  // Every byte of the headers, some of the rest.
  for (let at = 0; at < third; at += at % second < 20 ? 1 : 9) {
    const bytes = Buffer.from(original)
    bytes[at] = (bytes[at] as number) ^ 0x41
    writeFileSync(path, bytes)
    writeFileSync(`${dir}.index`, index)
    const expected = at < second ? [3, 2] : [3, 1]
    const again = await open(dir)
    t.same(numbers(await all(again.dead)), expected, `byte ${at}`)
    t.match(again.incidents, [{ kind: 'dead_letters_lost', messages: 1 }])
    t.same(readFileSync(`${path}.bad`), bytes)
    await again.dead.stop()
    const later = await open(dir)
    t.same(later.incidents, [])
    await removeAll(later.dead, { id: '3' })
    t.same(numbers(await all(later.dead)), expected.slice(1))
    await later.dead.stop()
    for (const name of readdirSync(dir)) rmSync(join(dir, name))
  }
})

t.test('past the limit the oldest go, told to the account before, and the rest stays below it', async t => {
  const dir = join(await tempDir(), 'dead')
  const limitBytes = 100_000
  const { dead, warnings, dropped, files } = await open(dir, { limitBytes })
  for (let n = 1; n <= 200; n++) {
    await dead.put([letter(n, { reason: n % 2 ? 'odd' : 'even' }, { payload: Buffer.alloc(1_000) })])
    t.ok(dead.bytes <= limitBytes)
  }
  t.ok(dropped.length >= 100 && dropped.length < 130, `${dropped.length} dropped`)
  t.same(
    dropped.map(({ sequence }) => sequence),
    dropped.map((_, i) => i + 1),
  )
  const { receivedAt, clientId, sequence } = letter(2).message
  t.same(dropped[1], { sequence, receivedAt, clientId, reason: 'even' })
  t.equal(dead.count, 200 - dropped.length)
  t.equal(numbers(await all(dead)).length, dead.count)
  t.match(warnings[0], /dropped the \d+ oldest dead letters: the limit is 100000 bytes \(dead\.limit\)/)
  t.ok(files().length <= 9)
  await dead.put([letter(1)])
  t.same(numbers(await dead.list({}, 1)), [1], 'a dropped one may come again')
  await dead.stop()
  const smaller = await open(dir, { limitBytes: 50_000 })
  t.ok(smaller.dead.bytes <= 50_000, 'a limit that was lowered is kept to from the start')
  t.ok(smaller.dropped.length > 0)
  await smaller.dead.stop()
})

const tenth: UserShares = { isOpen: false, usual: 0.1, own: new Map([['large', 0.5]]) }
const of = (user: string, n: number, bytes = 1_000) => letter(n, {}, { user, payload: Buffer.alloc(bytes, n) })
const usersOf = (letters: readonly DeadLetter[], user: string) =>
  numbers(letters.filter(({ message }) => message.user === user)).sort((a, b) => a - b)
const numbersTo = (count: number, from = 1) => Array.from({ length: count }, (_, i) => from + i)

t.test('past the limit a user with much loses its own oldest; the others keep theirs, in their order', async t => {
  const dir = join(await tempDir(), 'dead')
  const limitBytes = 100_000
  const options = { limitBytes, sharing: { shares: tenth } }
  const { dead, warnings, dropped } = await open(dir, options)
  // Mixed with what mallory sends, and older than that.
  for (let n = 1; n <= 6; n++) await dead.put([of('bob', n), of('mallory', 1_000 + n), of('carol', 100 + n)])
  for (let n = 7; n <= 300; n++) {
    await dead.put([of('mallory', 1_000 + n)])
    if (dead.bytes > limitBytes) return t.fail(`${dead.bytes} bytes`)
  }
  await dead.put([of('bob', 7), of('bob', 8)])
  const there = await all(dead)
  t.same(usersOf(there, 'bob'), numbersTo(8))
  t.same(usersOf(there, 'carol'), numbersTo(6, 101))
  const left = usersOf(there, 'mallory')
  t.ok(left.length > 50, `mallory has ${left.length}: what the others leave`)
  t.same(left, numbersTo(left.length, 1_301 - left.length), 'the youngest ones')
  t.same(
    dropped.map(({ sequence }) => sequence),
    numbersTo(300 - left.length, 1_001),
    'each that went was told once, in its order',
  )
  t.equal(dead.count, there.length)
  t.match(
    warnings[0],
    /dropped the \d+ oldest dead letters of the users that use most of their share \("mallory"\): the limit is/,
  )
  await dead.stop()
  const again = await open(dir, options)
  t.same(await all(again.dead), there, 'the same after a restart, and in the same order')
  t.same([again.dead.count, again.dropped, again.warnings], [there.length, [], []])
  await again.dead.stop()
  const smaller = await open(dir, { ...options, limitBytes: 50_000 })
  t.ok(smaller.dead.bytes <= 50_000)
  t.same(usersOf(await all(smaller.dead), 'bob'), numbersTo(8), 'nor when the limit is lowered')
  await smaller.dead.stop()
})

t.test('many users that have the same lose the same, the oldest first; a larger share keeps more', async t => {
  const users = [...Array.from({ length: 20 }, (_, i) => `user-${i}`), 'large']
  const { dead, dropped, files } = await open(join(await tempDir(), 'dead'), {
    limitBytes: 200_000,
    sharing: { shares: tenth },
  })
  for (let n = 0; n < 40; n++) {
    await dead.put(users.map((user, i) => of(user, 1 + n * users.length + i)))
    if (dead.bytes > 200_000) return t.fail(`${dead.bytes} bytes`)
  }
  const there = await all(dead)
  t.equal(there.length + dropped.length, 40 * users.length)
  const counts = users.slice(0, -1).map(user => usersOf(there, user).length)
  const large = usersOf(there, 'large').length
  t.ok(large >= 4 * Math.max(...counts), `${large} of the user with five times the share`)
  t.ok(Math.max(...counts) - Math.min(...counts) <= 4, `${counts}`)
  for (const user of users) {
    const left = usersOf(there, user)
    if (left.some((n, i) => i > 0 && n !== (left[i - 1] as number) + users.length)) t.fail(`${user} has a gap`)
  }
  t.ok(files().length <= 20, `${files()}`)
  await dead.stop()
})

t.test('also what was put last gives way, when all else is of users with less for their share', async t => {
  const { dead } = await open(join(await tempDir(), 'dead'), { limitBytes: 100_000, sharing: { shares: tenth } })
  const others = Array.from({ length: 9 }, (_, i) => `user-${i}`)
  await dead.put(others.flatMap((user, i) => numbersTo(9, 1 + i * 10).map(n => of(user, n))))
  await dead.put(numbersTo(40, 1_001).map(n => of('mallory', n)))
  const there = await all(dead)
  t.ok(dead.bytes <= 100_000)
  for (const [i, user] of others.entries()) {
    t.ok(usersOf(there, user).length >= 8, `${user} has ${usersOf(there, user)}`)
    t.equal(usersOf(there, user).at(-1), 9 + i * 10)
  }
  await dead.stop()
})

t.test('what cannot be written anew does not keep the letters below the limit: the oldest file goes', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead, dropped } = await open(dir, { limitBytes: 100_000, sharing: { shares: tenth } })
  for (let n = 1; n <= 12; n++) {
    // No file can be made where a folder is.
    mkdirSync(join(dir, `${String(n).padStart(10, '0')}.1.new`))
  }
  for (let n = 1; n <= 120; n++) {
    await dead.put([of('bob', n, 100), of('mallory', 1_000 + n)])
    if (dead.bytes > 100_000) return t.fail(`${dead.bytes} bytes`)
  }
  const there = await all(dead)
  t.equal(there.length, dead.count)
  t.same(
    [...there.map(({ message }) => message.sequence), ...dropped.map(({ sequence }) => sequence)].sort((a, b) => a - b),
    [...numbersTo(120), ...numbersTo(120, 1_001)],
    'each is there, or was told',
  )
  await dead.stop()
})

t.test('what a sweep has in hand is not dropped by the share of its user either', async t => {
  const { dead, dropped } = await open(join(await tempDir(), 'dead'), {
    limitBytes: 60_000,
    sharing: { shares: tenth },
  })
  for (let n = 1; n <= 30; n++) await dead.put([of('mallory', n), of('bob', 1_000 + n, 10)])
  const swept: number[] = []
  let next = 31
  await dead.sweep(
    {},
    async letters => {
      for (const end = next + 20; next < end; next++) await dead.put([of('mallory', next)])
      swept.push(...numbers(letters))
      return letters.map(({ message }) => message.user === 'mallory')
    },
    new AbortController().signal,
  )
  const left = await all(dead)
  t.same(usersOf(left, 'bob'), numbersTo(30, 1_001))
  const gone = [...swept.filter(n => n < 1_000), ...dropped.map(({ sequence }) => sequence)]
  t.ok(dropped.length > 0)
  t.same(
    [...gone, ...usersOf(left, 'mallory')].sort((a, b) => a - b),
    numbersTo(next - 1),
    'each has one fate',
  )
  await dead.stop()
})

t.test('nothing is dropped that could not be told to the account', async t => {
  const dir = join(await tempDir(), 'dead')
  let refuse = true
  const told: DroppedLetter[][] = []
  const { dead, warnings } = await open(dir, {
    limitBytes: 50_000,
    dropped: async letters => {
      told.push([...letters])
      if (refuse) throw new Error('the account is closed')
    },
  })
  for (let n = 1; n <= 60; n++) await dead.put(many(1, n, 1_000))
  t.equal(dead.count, 60)
  t.match(warnings[0], /could not drop the oldest dead letters: the account is closed/)
  refuse = false
  const refused = told.length
  await dead.put(many(1, 61, 1_000))
  t.same(told[refused], told[0], 'told again')
  t.equal(dead.count, 61 - told.slice(refused).flat().length)
  await dead.stop()
})

t.test('what a sweep has in hand is not dropped meanwhile', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead, dropped } = await open(dir, { limitBytes: 50_000 })
  for (let n = 1; n <= 30; n++) await dead.put(many(1, n, 1_000))
  const swept: number[] = []
  await dead.sweep(
    {},
    async letters => {
      const from = dead.count + dropped.length + swept.length + 1
      for (let n = from; n < from + 20; n++) await dead.put(many(1, n, 1_000))
      swept.push(...numbers(letters))
      return letters.map(() => true)
    },
    new AbortController().signal,
  )
  t.ok(swept.length > 0 && dropped.length > 0)
  const left = numbers(await all(dead))
  const seen = [...swept, ...dropped.map(({ sequence }) => sequence), ...left].sort((a, b) => a - b)
  t.same(
    seen,
    seen.map((_, i) => i + 1),
    'each was removed, or dropped, or is there',
  )
  await dead.stop()
})

t.test('a letter that is put again while it is in hand is not removed with the one in hand', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead } = await open(dir)
  await dead.put([1, 2, 3].map(n => letter(n)))
  let late: Promise<void> | undefined
  await dead.sweep(
    {},
    async () => {
      await dead.put([letter(1, { reason: 'again' }), letter(2, { reason: 'again' })])
      late = dead.put([letter(3, { reason: 'again' })])
      return [true, false, true]
    },
    new AbortController().signal,
  )
  await late
  for (const { dead: now } of [{ dead }, await dead.stop().then(() => open(dir))]) {
    if (now === dead) continue
    t.same(
      (await all(now)).map(({ message, reason }) => [message.sequence, reason]),
      [
        [3, 'again'],
        [2, 'again'],
        [1, 'again'],
      ],
    )
    t.equal(now.count, 3)
    await now.put([letter(1), letter(2)])
    t.equal(now.count, 3)
    t.same((await removeAll(now)).flat(), [1, 2, 3])
    await now.put([letter(2)])
    t.same(numbers(await all(now)), [2], 'and is forgotten once it is removed')
    await now.stop()
  }
})

t.test('sweeps come one after the other; looking and putting do not wait for them', async t => {
  const { dead } = await open(join(await tempDir(), 'dead'))
  await dead.put([1, 2].map(n => letter(n)))
  const signal = new AbortController().signal
  const order: string[] = []
  let letGo = () => {}
  const held = new Promise<void>(resolve => {
    letGo = resolve
  })
  const one = dead.sweep(
    {},
    async letters => {
      order.push('one begins')
      await held
      order.push('one ends')
      return letters.map(() => true)
    },
    signal,
  )
  const two = dead.sweep(
    {},
    async letters => {
      order.push(`two has ${numbers(letters)}`)
      return []
    },
    signal,
  )
  await dead.put([letter(3)])
  t.same(numbers(await all(dead)), [3, 2, 1])
  letGo()
  await Promise.all([one, two])
  t.same(order, ['one begins', 'one ends', 'two has 3'])
  t.same(numbers(await all(dead)), [3], 'what is answered with nothing is kept')
  await dead.stop()
  await t.rejects(dead.put([letter(9)]), { code: 'stopping' })
})

t.test('looking while files are deleted and written anew beside it misses nothing that stays', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead } = await open(dir, { limitBytes: 400_000 })
  for (let n = 1; n <= 200; n += 10) await dead.put(many(10, n, 1_000))
  const stays = numbers(await all(dead)).filter(n => n % 3 === 0)
  let sweeping = true
  const looking = (async () => {
    let looks = 0
    for (; sweeping; looks++) {
      const there = numbers(await all(dead))
      if (!stays.every(n => there.includes(n))) t.fail('a letter was missed')
    }
    return looks
  })()
  await dead.sweep({}, async letters => letters.map(({ message }) => message.sequence % 3 !== 0), AbortSignal.abort())
  await dead.sweep(
    {},
    async letters => letters.map(({ message }) => message.sequence % 3 !== 0),
    new AbortController().signal,
  )
  sweeping = false
  t.ok((await looking) > 1)
  t.same(numbers(await all(dead)), stays)
  t.ok(readdirSync(dir).some(name => name.endsWith('.1.log')))
  await dead.stop()
})

t.test('a removal that the disk refuses: the sweep rejects, all are there, and later it works', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead } = await open(dir)
  await dead.put(many(9))
  // No file can be made where a folder is.
  mkdirSync(join(dir, '0000000001.gone'))
  await t.rejects(removeAll(dead, { id: '2' }), { code: 'spool_failed' })
  t.equal(dead.count, 9)
  rmSync(join(dir, '0000000001.gone'), { recursive: true })
  t.same(numbers(await all(dead)), [9, 8, 7, 6, 5, 4, 3, 2, 1])
  await removeAll(dead, { id: '2' })
  t.same(numbers(await all(dead)), [9, 8, 7, 6, 5, 4, 3, 1])
  await dead.stop()
})

t.test('a file that cannot be written anew costs its space and nothing else', async t => {
  const dir = join(await tempDir(), 'dead')
  const { dead, warnings } = await open(dir, { limitBytes: 80_000 })
  for (let n = 1; n <= 20; n++) await dead.put(many(1, n, 1_000))
  mkdirSync(join(dir, '0000000001.1.new'))
  await removeAll(dead, { to: letter(8).failedAt })
  t.match(warnings[0], /could not free the space of removed dead letters/)
  const left = Array.from({ length: 13 }, (_, i) => 20 - i)
  t.same(numbers(await all(dead)), left)
  rmSync(join(dir, '0000000001.1.new'), { recursive: true })
  await dead.stop()
  const again = await open(dir, { limitBytes: 80_000 })
  t.same(numbers(await all(again.dead)), left)
  t.ok(again.files().includes('0000000001.1.log'), 'the next start tries again')
  await again.dead.stop()
})

/** Run where every write past a file size fails: what became of each letter, and which are there afterwards. */
const refused = `
  import { DeadLetterFiles } from '${new URL('../../src/dead-letters/dead-letters.js', import.meta.url)}'
  const [dir, letters] = JSON.parse(process.env.REFUSED)
  const dead = new DeadLetterFiles({ dir, limitBytes: 1e9, warn: () => {}, dropped: () => {}, incidents: { report: () => {} } })
  await dead.start()
  const results = []
  for (const letter of letters) {
    letter.message.payload = Buffer.alloc(1000)
    results.push(await dead.put([letter]).then(() => 'ok', error => error.code))
  }
  const kept = await dead.list({}, 1000)
  await dead.stop()
  console.log(JSON.stringify({ results, kept: kept.map(({ message }) => message.sequence).reverse() }))`

t.test('a disk that refuses: what was refused is not there, what was kept is, and it goes on', async t => {
  const dir = join(await tempDir(), 'dead')
  // Blocks of 512 bytes or 1024, as the shell likes.
  const limited = 'trap "" XFSZ; ulimit -f 50; exec "$0" "$@"'
  const args = ['-c', limited, process.execPath, '--input-type=module', '-e', refused]
  const { stdout } = await promisify(execFile)('sh', args, {
    env: { ...process.env, REFUSED: JSON.stringify([dir, many(80)]) },
  })
  const { results, kept } = JSON.parse(stdout) as { results: string[]; kept: number[] }
  t.same([...new Set(results)].sort(), ['ok', 'spool_failed'])
  const acknowledged = results.flatMap((result, i) => (result === 'ok' ? [i + 1] : []))
  t.same(kept, acknowledged)
  const { dead, warnings } = await open(dir)
  t.same(numbers(await all(dead)).reverse(), acknowledged)
  t.same(warnings, [], 'nothing torn was left')
  await dead.put(many(80, 1, 1_000))
  t.equal(dead.count, 80, 'with space again, all of them')
  await dead.stop()
})
