import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Files, nodeFiles } from '../../src/disk/files.js'
import type { Message } from '../../src/model.js'
import { ArchiveClock } from '../../src/spool/archive-clock.js'
import type { Cursors } from '../../src/spool/cursors.js'
import { listSegments } from '../../src/spool/segment-file.js'
import { mortalFiles } from '../fixtures/mortal-files.js'
import { append, drain, extended, never, openCursors, openSpool } from '../fixtures/spool.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const minute = 60e6
const day = 86_400_000
const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, i) => first + i)

/** A spool of a message a minute, each in a segment of its own, and the archive beside it. */
async function minutes(count: number, payload = 'payload') {
  const root = await tempDir()
  const dir = join(root, 'spool')
  let now = 0
  const { spool } = await openSpool(dir, { segmentBytes: 1, clock: { now: () => now } })
  for (let n = 1; n <= count; n++) {
    now = n * minute
    await append(spool, extended(n, `${payload} ${n}`))
  }
  return { root, dir, spool }
}

const archiveOf = (root: string, more = {}) => ({ dir: join(root, 'archive'), keepMs: day, limitBytes: 1e9, ...more })
const archived = (root: string) => readdirSync(join(root, 'archive')).filter(name => name.endsWith('.arc'))

async function past(cursors: Cursors, from = 0, to = Number.MAX_SAFE_INTEGER): Promise<Message[]> {
  const found: Message[] = []
  for await (const messages of cursors.past({ from, to }, never).batches) found.push(...messages)
  return found
}

const numbers = (messages: readonly Message[]) => messages.map(({ sequence }) => sequence)

t.test('what the spool lets go of is in the archive, and both are one history', async t => {
  const { root, dir, spool } = await minutes(10)
  const clock = { now: () => 10 * minute }
  const before = openCursors(dir, spool, { clock })
  const all = await past(before.cursors)
  await before.cursors.stop()
  const { cursors, warnings } = openCursors(dir, spool, { clock, archive: archiveOf(root) })
  await drain(cursors, 'live')
  cursors.deletePassed()
  await eventually(() => listSegments(dir).length === 2, 'archived')
  t.same(archived(root).length, 8)
  t.same(await past(cursors), all, 'every message as it was, with time, properties and expiry')
  t.same(numbers(await past(cursors, 3 * minute, 9.5 * minute)), upTo(9, 3))
  t.same(numbers(await past(cursors, 4 * minute, 5 * minute)), [4])
  t.equal(cursors.past({ from: 0, to: 1e15 }, never).total, 10)
  const { archive } = await cursors.status()
  t.match(archive, { messages: 8, segments: 8, added: 8, givenUp: 0, from: minute, to: 8 * minute })
  await cursors.stop()

  const again = openCursors(dir, spool, { clock, archive: archiveOf(root) })
  t.same(await past(again.cursors), all, 'also after a restart')
  t.same(again.warnings, [])
  t.same(warnings, [])
  await again.cursors.stop()
  await spool.stop()
})

t.test('a read goes on when its next segments go into the archive meanwhile', async t => {
  const { root, dir, spool } = await minutes(12)
  const { cursors } = openCursors(dir, spool, { clock: { now: () => 12 * minute }, archive: archiveOf(root) })
  const read = cursors.past({ from: 0, to: 1e15 }, never).batches[Symbol.asyncIterator]()
  const found = [...((await read.next()).value as Message[])]
  await drain(cursors, 'live')
  cursors.deletePassed()
  await eventually(() => listSegments(dir).length === 2, 'archived')
  for (let next = await read.next(); !next.done; next = await read.next()) found.push(...next.value)
  t.same(numbers(found), upTo(12))
  await cursors.stop()
  await spool.stop()
})

t.test('killed at any step, a segment is in the spool or in the archive', async t => {
  const { root, dir, spool } = await minutes(4)
  const first = openCursors(dir, spool)
  const all = await past(first.cursors)
  await drain(first.cursors, 'live')
  await first.cursors.stop()
  await spool.stop()
  let deaths = 0
  for (let step = 0; step < 60; step++) {
    const copy = await tempDir()
    cpSync(root, copy, { recursive: true })
    const spoolDir = join(copy, 'spool')
    const { spool: reader } = await openSpool(spoolDir, { segmentBytes: 1 })
    const { files, dead } = mortalFiles(step)
    // The segments were let go of and are there once more: as if the hub had stopped before the deletion.
    const { cursors } = openCursors(spoolDir, reader, { files, archive: archiveOf(copy), clock: { now: () => minute } })
    cursors.deletePassed()
    const outcome = await Promise.race([
      dead.then(() => 'dead'),
      eventually(() => listSegments(spoolDir).length === 2, 'done').then(() => 'done'),
    ])
    const after = openCursors(spoolDir, reader, { archive: archiveOf(copy), clock: { now: () => minute } })
    t.same(await past(after.cursors), all, `${outcome} at step ${step}`)
    after.cursors.deletePassed()
    await eventually(() => listSegments(spoolDir).length === 2, 'archived after all')
    t.same(await past(after.cursors), all)
    t.notOk(readdirSync(join(copy, 'archive')).some(name => name.endsWith('.new')))
    await after.cursors.stop()
    await reader.stop()
    if (outcome === 'done') break
    deaths++
  }
  t.ok(deaths > 10, `${deaths} deaths`)
})

t.test('a full disk takes the oldest of the archive first, and then what the spool keeps', async t => {
  const { root, dir, spool } = await minutes(12)
  const clock = { now: () => 12 * minute }
  let isFull = false
  const full = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
  const files: Files = {
    ...nodeFiles,
    write: (fd, bytes, at, length, position, done) =>
      isFull ? done(full, 0) : nodeFiles.write(fd, bytes, at, length, position, done),
  }
  const options = { clock, files, archive: archiveOf(root), keepMs: 4 * 60_000, keepBytes: 1e9 }
  const { cursors, warnings } = openCursors(dir, spool, options)
  await drain(cursors, 'live')
  cursors.deletePassed()
  await eventually(() => listSegments(dir).length === 4, 'those of the last four minutes are kept as they are')
  t.equal(archived(root).length, 8)
  isFull = true
  cursors.giveUpKept()
  t.same(archived(root), [], 'small as they are, all go at once')
  t.equal(listSegments(dir).length, 4)
  t.match(warnings, [/the disk is full: the oldest messages of the archive are deleted.*from 1 to 8/])
  cursors.giveUpKept()
  t.same(listSegments(dir), [11, 12])
  t.match((await cursors.status()).archive, { messages: 0, givenUp: 8 })
  await cursors.stop()
  await spool.stop()
})

t.test('a disk that takes no archive leaves the segments in the spool, until the spool needs the room', async t => {
  const { root, dir, spool } = await minutes(12)
  const full = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
  const files: Files = { ...nodeFiles, write: (_fd, _bytes, _at, _length, _position, done) => done(full, 0) }
  const size = readFileSync(join(dir, '0000000000000001.seg')).length
  const common = { clock: { now: () => 12 * minute }, files, archive: archiveOf(root) }
  const { cursors, warnings } = openCursors(dir, spool, { ...common, limitBytes: size * 100 })
  await drain(cursors, 'live')
  cursors.deletePassed()
  await eventually(() => warnings.some(one => /could not archive segment 1: .*ENOSPC/.test(one)), 'said so')
  t.equal(listSegments(dir).length, 12)
  t.same(readdirSync(join(root, 'archive')), [], 'nothing half is left')
  await cursors.stop()

  const pressed = openCursors(dir, spool, { ...common, limitBytes: size * 8 })
  pressed.cursors.deletePassed()
  t.ok(listSegments(dir).length <= 6, 'three quarters of the limit')
  t.match(pressed.warnings[0], /the spool needs room: messages 1 to 1 are deleted and not archived/)
  t.ok(((await pressed.cursors.status()).archive?.givenUp ?? 0) >= 6)
  await pressed.cursors.stop()
  await spool.stop()
})

t.test('the archive has a limit in bytes and in time', async t => {
  const { root, dir, spool } = await minutes(10)
  const first = openCursors(dir, spool, { clock: { now: () => 10 * minute }, archive: archiveOf(root) })
  await drain(first.cursors, 'live')
  first.cursors.deletePassed()
  await eventually(() => listSegments(dir).length === 2, 'archived')
  const [name = ''] = archived(root)
  const size = readFileSync(join(root, 'archive', name)).length
  await first.cursors.stop()

  const limited = archiveOf(root, { limitBytes: size * 4 })
  const second = openCursors(dir, spool, { clock: { now: () => 10 * minute }, archive: limited })
  second.cursors.deletePassed()
  t.ok(archived(root).length <= 4)
  const left = archived(root).length
  t.match((await second.cursors.status()).archive, { givenUp: 8 - left, expired: 0 })
  await second.cursors.stop()

  const short = archiveOf(root, { keepMs: 3.5 * 60_000 })
  const third = openCursors(dir, spool, { clock: { now: () => 10 * minute }, archive: short })
  third.cursors.deletePassed()
  t.same(numbers(await past(third.cursors)), upTo(10, 7), 'received in the last three and a half minutes')
  await third.cursors.stop()
  await spool.stop()
})

t.test('a clock that jumps ahead deletes nothing for a day', async t => {
  const dir = await tempDir()
  let [wall, ticks] = [1e12, 0]
  const open = () => {
    const clock = new ArchiveClock({
      dir,
      wall: { now: () => wall },
      monotonic: { now: () => ticks },
      files: nodeFiles,
    })
    clock.start()
    return clock
  }
  const pass = (ms: number) => {
    wall += ms
    ticks += ms
  }
  let clock = open()
  pass(5_000)
  t.equal(clock.now(), wall)
  wall += 400 * day
  t.equal(clock.now(), 1e12 + 5_000, 'not believed')
  pass(day / 2)
  clock.now()
  clock.save()
  clock = open()
  t.equal(clock.now(), 1e12 + 5_000 + day / 2, 'also after a restart')
  pass(day / 2 - 1)
  t.ok(clock.now() < wall)
  pass(1)
  t.equal(clock.now(), wall, 'a day later that is the time')
  wall -= 400 * day
  t.equal(clock.now(), wall, 'back is believed at once: that deletes nothing')
  clock.save()
  pass(30 * day)
  clock = open()
  t.equal(clock.now(), wall - 30 * day, 'after a month without the hub')
  pass(day)
  t.equal(clock.now(), wall)
})

t.test('damage in the archive is stepped over, and said', async t => {
  const { root, dir, spool } = await minutes(6)
  const { cursors } = openCursors(dir, spool, { archive: archiveOf(root), clock: { now: () => 6 * minute } })
  await drain(cursors, 'live')
  cursors.deletePassed()
  await eventually(() => listSegments(dir).length === 2, 'archived')
  await cursors.stop()
  const [first = '', second = '', third = ''] = archived(root).map(name => join(root, 'archive', name))
  const change = (path: string, at: number) => {
    const bytes = readFileSync(path)
    bytes[at] = (bytes[at] as number) ^ 0xff
    writeFileSync(path, bytes)
  }
  change(first, 20)
  change(second, readFileSync(second).length - 3)
  rmSync(third)
  const after = openCursors(dir, spool, { archive: archiveOf(root), clock: { now: () => 6 * minute } })
  t.same(numbers(await past(after.cursors)), [1, 4, 5, 6], 'a damaged header hides no message')
  t.match(after.warnings, [/header of .*0001.arc is damaged/, /0002.arc is damaged \(\d+ bytes\)/])
  await after.cursors.stop()
  await spool.stop()
})
