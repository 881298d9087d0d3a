import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BalanceSheet, type BalanceSheetOptions, type Totals } from '../../src/accounting/balance-sheet.js'
import { type Files, nodeFiles } from '../../src/disk/files.js'
import type { Message } from '../../src/model.js'
import { message as base } from '../contract/queue.js'
import { tempDir } from '../services/service.js'

const hour = 3_600e6
const noon = 500_000 * hour
/** Three clients take turns; a hundred messages an hour. */
const message = (sequence: number, more: Partial<Message> = {}): Message =>
  base(sequence, {
    receivedAt: noon + Math.floor(sequence / 100) * hour + sequence,
    clientId: `dev-${sequence % 3}`,
    ...more,
  })
const messages = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => message(from + i))
const stored = (from: number, to: number) => messages(from, to).map(m => ({ message: m, rejection: undefined }))
const dead = (sequence: number, reason = 'bad_json') => ({
  message: message(sequence),
  rejection: { reason, detail: '' },
})

async function open(dir: string, more: Partial<BalanceSheetOptions> = {}) {
  const warnings: string[] = []
  const balance = new BalanceSheet({
    dir,
    offsets: { accepted: 1e9, drained: 0 },
    clock: { now: () => noon + 5 * hour },
    incidents: { report: (kind, sentence) => warnings.push(`${kind}: ${sentence}`) },
    ...more,
  })
  await balance.start()
  return { balance, warnings }
}

/** What must always be true of a sheet. */
function sumOf({ stored, spool, queue, dead, dropped, refused, residual }: Totals): number {
  return stored + spool + queue + dead + dropped + refused + residual
}

const embedded = (accepted: number, drained: number) => ({ accepted, drained, queued: false })
const queued = (accepted: number, drained: number) => ({ accepted, drained, queued: true })

t.test('what is received is stored, dead, or waits: in the spool alone, or in the queue too', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  balance.recordAccepted(messages(1, 250))
  await balance.settle([...stored(1, 98), dead(99), dead(100, 'type_conflict')])
  const alone = balance.sheet(embedded(250, 100))
  t.match(alone, { received: 250, stored: 98, dead: 2, spool: 150, queue: 0, residual: 0 })
  t.same(Object.fromEntries(alone.reasons.dead), { bad_json: 1, type_conflict: 1 })
  t.match(balance.sheet(queued(250, 180)), { received: 250, stored: 98, dead: 2, spool: 70, queue: 80, residual: 0 })
  // The ledger is told before the cursor.
  t.match(balance.sheet(embedded(250, 60)), { spool: 150, residual: 0 })
  t.equal(sumOf(alone), alone.received)
  await balance.stop()
})

t.test('a number that was passed and never heard of again is the residual, until it turns up', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  await balance.settle(stored(1, 40))
  await balance.settle(stored(46, 60))
  for (const places of [embedded(100, 60), queued(100, 80)]) {
    const sheet = balance.sheet(places)
    t.match(sheet, { residual: 5, stored: 55 })
    t.equal(sumOf(sheet), sheet.received)
  }
  await balance.settle(stored(41, 45))
  t.match(balance.sheet(embedded(100, 60)), { residual: 0, stored: 60 })
  // Passed by the cursor, and in no account: the end of the spool was damaged.
  t.match(balance.sheet(embedded(100, 64)), { residual: 4, spool: 36 })
  await balance.stop()
})

t.test('numbers that the disk refused were never received, wherever the queue is by then', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  await balance.never(51, 60)
  await balance.settle(stored(1, 40))
  const behind = balance.sheet(queued(100, 80))
  t.match(behind, { received: 90, stored: 40, spool: 20, queue: 30, residual: 0 })
  t.equal(sumOf(behind), behind.received)
  await balance.settle([...stored(41, 50), ...stored(61, 80)])
  t.match(balance.sheet(queued(100, 80)), { received: 90, stored: 70, spool: 20, queue: 0, residual: 0 })
  t.match(balance.sheet(embedded(100, 80)), { residual: 0 })
  await balance.stop()
})

t.test('what comes twice is counted once, and not handed on', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  const twice = [message(1), message(2), message(1)]
  t.same(
    balance.unsettled(twice).map(m => m.sequence),
    [1, 2],
  )
  await balance.settle(stored(1, 2))
  t.same(
    balance.unsettled([...twice, message(3)]).map(m => m.sequence),
    [3],
  )
  await Promise.all([balance.settle(stored(1, 5)), balance.settle(stored(2, 7))])
  t.match(balance.sheet(embedded(7, 7)), { stored: 7, residual: 0 })
  await balance.stop()
})

t.test('messages of which some values are stored count as dead, and are told beside the sum', async t => {
  const dir = await tempDir()
  const first = await open(dir)
  const partly = (n: number) => ({ message: message(n), rejection: { reason: 'bad_value', detail: '', partly: true } })
  await first.balance.settle([partly(1), partly(2), partly(3), dead(4, 'bad_value'), ...stored(5, 6)])
  first.balance.recordAccepted(messages(1, 6))
  const letter = (n: number, more: object = { partly: true }) => ({ message: message(n), reason: 'bad_value', ...more })
  const check = ({ balance }: typeof first, counts: object) => {
    const sheet = balance.sheet(embedded(6, 6))
    t.match(sheet, { received: 6, residual: 0, ...counts })
    t.equal(sumOf(sheet), sheet.received)
  }
  check(first, { stored: 2, dead: 4, partly: 3 })
  t.match(first.balance.clients(10, 10, 'dev-1'), [{ dead: 2, partly: 1 }])
  await first.balance.moved([letter(1), letter(4, {})], 'stored')
  check(first, { stored: 4, dead: 2, partly: 2 })
  await first.balance.stop()
  // From the journal, and once more from a snapshot.
  for (let round = 0; round < 2; round++) {
    const again = await open(dir, { journalBytes: 1 })
    check(again, { stored: 4, dead: 2, partly: 2 })
    await again.balance.moved([letter(4, {})], 'dropped')
    await again.balance.stop()
  }
  const last = await open(dir)
  await last.balance.moved([letter(2)], 'dropped')
  check(last, { stored: 4, dead: 1, dropped: 1, partly: 1 })
  await last.balance.stop()
})

t.test('what was there before the account was opened is handed on and not counted', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir, { offsets: { accepted: 1e9, drained: 1_000 } })
  t.equal(balance.unsettled(messages(990, 1_010)).length, 21)
  balance.recordAccepted(messages(990, 1_010))
  await balance.settle(stored(990, 1_005))
  t.match(balance.sheet(embedded(1_010, 1_005)), { received: 10, stored: 5, spool: 5, residual: 0 })
  await balance.stop()
})

t.test('dead letters that are stored after all or dropped move, each once, also when that is told twice', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  await balance.settle([dead(1), dead(2), dead(3, 'type_conflict'), ...stored(4, 5)])
  const letter = (n: number, reason = 'bad_json') => ({ message: message(n), reason })
  await balance.moved([letter(1)], 'stored')
  await balance.moved([letter(1), letter(3, 'type_conflict')], 'dropped')
  // Of another hub.
  await balance.moved([{ message: message(2, { hub: 'other' }), reason: 'bad_json' }], 'dropped')
  const check = (sheet: Totals) => {
    t.match(sheet, { stored: 3, dead: 1, dropped: 1, residual: 0 })
    t.same(Object.fromEntries(sheet.reasons.dead), { bad_json: 1 })
  }
  check(balance.sheet(embedded(5, 5)))
  await balance.stop()
  const again = await open(dir)
  await again.balance.moved([letter(1)], 'stored')
  check(again.balance.sheet(embedded(5, 5)))
  await again.balance.stop()
})

t.test('a letter that is replayed before its hub has heard that it is dead counts once', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  await balance.moved([{ message: message(1), reason: 'bad_json' }], 'stored')
  await balance.settle([dead(1), dead(2)])
  t.match(balance.sheet(embedded(2, 2)), { received: 2, stored: 1, dead: 1, residual: 0 })
  await balance.moved([{ message: message(2), reason: 'another_reason' }], 'dropped')
  t.match(balance.sheet(embedded(2, 2)), { dead: 1, dropped: 0 }, 'no reason goes below nothing')
  await balance.stop()
})

t.test('a disk that is full: refusals are kept together, and what it takes later is whole', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  t.ok(readdirSync(dir).includes('reserve'), 'room is held for such a time')
  for (let n = 0; n < 30_000; n++) balance.refused([{ clientId: `dev-${n}`, reasons: { spool_full: 1 } }])
  await balance.stop()
  const { balance: again } = await open(dir)
  t.match(again.sheet(embedded(0, 0)), { received: 30_000, refused: 30_000 })
  t.equal(again.clients(1, 100_000, undefined).length, 10_001, 'those past ten thousand are one row')
  await again.stop()
})

t.test('refused publishes are received and refused, by reason', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  balance.refused([{ clientId: 'dev-1', reasons: { spool_full: 3, not_permitted: 1 } }])
  balance.refused([{ clientId: 'dev-1', reasons: { spool_full: 2 } }])
  await balance.stop()
  const { balance: again } = await open(dir)
  const sheet = again.sheet(embedded(10, 0))
  t.match(sheet, { received: 16, refused: 6, spool: 10, residual: 0 })
  t.same(Object.fromEntries(sheet.reasons.refused), { spool_full: 5, not_permitted: 1 })
  t.match(again.clients(1, 10, undefined), [{ clientId: 'dev-1', received: 6, refused: 6, waiting: 0, residual: 0 }])
  await again.stop()
})

t.test('by client and hour: what waits, and what is missing once nothing does', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  balance.recordAccepted(messages(1, 250))
  await balance.settle([...stored(1, 119), ...stored(121, 149)])
  await balance.stop()
  const { balance: again } = await open(dir)
  const lines = again.clients(10, 100, 'dev-0')
  t.same(
    lines.map(({ hour: at, clientId, received, stored, waiting, residual }) => ({
      at: (at - noon) / hour,
      clientId,
      received,
      stored,
      waiting,
      residual,
    })),
    [
      { at: 2, clientId: 'dev-0', received: 17, stored: 0, waiting: 17, residual: 0 },
      // 102, 105 … 198, of which 120 is missing: which cannot be said while others of the hour are on their way.
      { at: 1, clientId: 'dev-0', received: 33, stored: 15, waiting: 18, residual: 0 },
      { at: 0, clientId: 'dev-0', received: 33, stored: 33, waiting: 0, residual: 0 },
    ],
  )
  await again.settle(stored(150, 250))
  t.same(
    again.clients(10, 100, 'dev-0').map(({ waiting, residual }) => [waiting, residual]),
    [
      [0, 0],
      [0, 1],
      [0, 0],
    ],
  )
  const sum = again.hours(10).reduce((all, line) => all + line.received, 0)
  t.equal(sum, 250)
  t.equal(again.clients(10, 4, undefined).length, 4)
  await again.stop()
})

t.test('killed: what was settled is known, what was received is read again from where it was saved', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  balance.recordAccepted(messages(1, 50))
  await balance.settle(stored(1, 30))
  // A crash: another process has the files as they are.
  const copy = await tempDir()
  for (const name of readdirSync(dir)) copyFileSync(join(dir, name), join(copy, name))
  const after = await open(copy)
  t.equal(after.balance.saved, 1, 'nothing of what was received was written yet')
  after.balance.recordAccepted(messages(1, 60))
  t.same(
    after.balance.unsettled(messages(25, 35)).map(m => m.sequence),
    [31, 32, 33, 34, 35],
  )
  await after.balance.settle(stored(31, 60))
  await after.balance.stop()
  const last = await open(copy)
  t.equal(last.balance.saved, 61)
  t.match(last.balance.sheet(embedded(60, 60)), { received: 60, stored: 60, residual: 0 })
  t.equal(
    last.balance.hours(10).reduce((all, line) => all + line.received, 0),
    60,
  )
  await last.balance.stop()
  await balance.stop()
})

t.test('the journal cut at any byte, or with any byte flipped, is a sheet that adds up', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  balance.recordAccepted(messages(1, 40))
  for (let n = 1; n <= 40; n += 10) await balance.settle([...stored(n, n + 8), dead(n + 9)])
  await balance.stop()
  const [name = ''] = readdirSync(dir).filter(one => one.endsWith('.log'))
  const whole = readFileSync(join(dir, name))
  const opening = whole.indexOf('"settled":[1,10]')
  t.ok(opening > 0)
  const scratch = await tempDir()
  let known = 0
  for (let cut = opening - 20; cut < whole.length; cut++) {
    const folder = join(scratch, String(cut))
    mkdirSync(folder)
    writeFileSync(join(folder, name), whole)
    truncateSync(join(folder, name), cut)
    const { balance: torn } = await open(folder)
    const sheet = torn.sheet(embedded(40, 40))
    if (sumOf(sheet) !== sheet.received || (sheet.stored + sheet.dead) % 10 !== 0) t.fail(`cut at ${cut}`)
    if (sheet.stored < known) t.fail(`cut at ${cut}: less than with a byte less`)
    known = sheet.stored
    // It goes on from there.
    await torn.settle([...stored(1, 40)])
    const after = torn.sheet(embedded(40, 40))
    if (after.residual !== 0 || after.stored + after.dead !== 40) t.fail(`cut at ${cut}: does not go on`)
    await torn.stop()
  }
  for (let at = opening - 20; at < whole.length; at += 3) {
    const folder = join(scratch, `flip-${at}`)
    mkdirSync(folder)
    const bytes = Buffer.from(whole)
    bytes[at] = (bytes[at] as number) ^ 0x10
    writeFileSync(join(folder, name), bytes)
    const { balance: flipped } = await open(folder)
    const sheet = flipped.sheet(embedded(40, 40))
    if (sumOf(sheet) !== sheet.received) t.fail(`flipped at ${at}`)
    await flipped.stop()
  }
  t.pass('every byte')
})

t.test('the journal is written anew when it has grown, and nothing is counted twice', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir, { journalBytes: 3_000 })
  balance.recordAccepted(messages(1, 600))
  balance.refused([{ clientId: 'x', reasons: { spool_full: 5 } }])
  await balance.never(601, 610)
  for (let n = 1; n <= 600; n += 5) await balance.settle([...stored(n, n + 3), dead(n + 4)])
  await balance.moved([{ message: message(5), reason: 'bad_json' }], 'stored')
  const before = balance.sheet(embedded(610, 610))
  await balance.stop()
  const names = readdirSync(dir).filter(name => name.endsWith('.log'))
  t.equal(names.length, 1)
  t.ok(Number.parseInt(names[0] ?? '', 10) > 2, `written anew: ${names}`)
  const { balance: again, warnings } = await open(dir, { journalBytes: 3_000 })
  const after = again.sheet(embedded(610, 610))
  t.match(after, { received: 605, stored: 481, dead: 119, refused: 5, residual: 0 })
  t.same({ ...after, received: 0, refused: 0, reasons: 0 }, { ...before, received: 0, refused: 0, reasons: 0 })
  t.equal(
    again.hours(100).reduce((all, line) => all + line.stored + line.dead + line.refused, 0),
    605,
  )
  t.same(warnings, [])
  await again.stop()
})

t.test('a spool that lost its end to a loss of power: its numbers come again, and are new ones', async t => {
  const dir = await tempDir()
  const { balance } = await open(dir)
  balance.recordAccepted(messages(1, 100))
  await balance.settle(stored(1, 100))
  await balance.stop()
  for (let start = 0; start < 2; start++) {
    const offsets = { accepted: start === 0 ? 80 : 90, drained: 0 }
    const { balance: after, warnings } = await open(dir, { offsets })
    t.equal(warnings.length, start === 0 ? 1 : 0)
    t.equal(after.saved, start === 0 ? 81 : 91)
    const from = start === 0 ? 81 : 91
    offsets.accepted += 10
    t.equal(after.unsettled(messages(from, from + 9)).length, 10, 'not taken for what was there before')
    await after.settle(stored(from, from + 9))
    after.recordAccepted(messages(from, from + 9))
    t.match(after.sheet(embedded(from + 9, from + 9)), { received: from + 29, stored: from + 29, residual: 0 })
    await after.stop()
  }
})

t.test('what incidents report as lost is kept over a restart, beside the sum', async t => {
  const dir = await tempDir()
  const first = await open(dir, { journalBytes: 100 })
  first.balance.lost(7)
  t.equal(first.balance.sheet(embedded(0, 0)).lost, 7, 'at once')
  await first.balance.stop()
  const second = await open(dir, { journalBytes: 100 })
  second.balance.lost(3)
  t.match(second.balance.sheet(embedded(0, 0)), { lost: 10, residual: 0, received: 0 })
  second.balance.recordAccepted(messages(1, 5))
  await second.balance.stop()
  const third = await open(dir)
  t.equal(third.balance.sheet(embedded(5, 5)).lost, 10)
  await third.balance.stop()
})

t.test('a balance sheet that was emptied, cut or removed begins anew, and that is reported', async t => {
  for (const [name, damage] of [
    ['emptied', (path: string) => truncateSync(path, 0)],
    ['cut in its first record', (path: string) => truncateSync(path, 30)],
    ['removed', (path: string) => rmSync(path)],
  ] as const) {
    const dir = await tempDir()
    const first = await open(dir)
    first.balance.recordAccepted(messages(1, 10))
    await first.balance.settle(stored(1, 10))
    await first.balance.stop()
    damage(join(dir, readdirSync(dir).find(file => file.endsWith('.log')) as string))
    const offsets = { accepted: 10, drained: 10 }
    const second = await open(dir, { offsets })
    offsets.accepted = 14
    t.match(second.warnings, [/^balance_lost: .*starts again/], name)
    second.balance.recordAccepted(messages(11, 14))
    await second.balance.settle(stored(11, 14))
    t.match(second.balance.sheet(embedded(14, 14)), { received: 4, stored: 4, residual: 0 }, name)
    await second.balance.stop()
    const third = await open(dir, { offsets: { accepted: 14, drained: 0 } })
    t.match(third.balance.sheet(embedded(14, 14)), { received: 4, stored: 4, residual: 0 }, name)
    t.same(third.warnings, [], 'reported once')
    await third.balance.stop()
  }
})

t.test('damage in the middle of the balance sheet is reported with its bytes', async t => {
  const dir = await tempDir()
  const first = await open(dir)
  for (let n = 0; n < 5; n++) await first.balance.settle(stored(n * 10 + 1, n * 10 + 10))
  await first.balance.stop()
  const path = join(dir, readdirSync(dir).find(file => file.endsWith('.log')) as string)
  const bytes = readFileSync(path)
  bytes.fill(0xff, bytes.indexOf('[21,30]'), bytes.indexOf('[21,30]') + 3)
  writeFileSync(path, bytes)
  const second = await open(dir)
  t.match(second.warnings, [/^balance_damaged: .*bytes of .* are damaged; the intact part is kept, a copy is/])
  t.match(second.balance.sheet(embedded(50, 50)), { residual: 10, stored: 40 }, 'the residual tells what is not known')
  await second.balance.stop()
})

for (const code of ['EIO', 'EROFS', 'ENOSPC']) {
  t.test(
    `a disk that refuses everything (${code}) ends nothing: what was refused is settled when the disk works`,
    async t => {
      const dir = await tempDir()
      let refuses = false
      const fail = () => Object.assign(new Error(`refused: ${code}`), { code })
      const files: Files = {
        ...nodeFiles,
        openSync: (path, flags) => {
          if (refuses && (flags & 3) !== 0) throw fail()
          return nodeFiles.openSync(path, flags)
        },
        write: (fd, buffer, offset, length, position, done) =>
          refuses ? setImmediate(done, fail(), 0) : nodeFiles.write(fd, buffer, offset, length, position, done),
        ftruncate: (fd, length, done) => (refuses ? setImmediate(done, fail()) : nodeFiles.ftruncate(fd, length, done)),
        removeSync: path => {
          if (refuses) throw fail()
          nodeFiles.removeSync(path)
        },
      }
      const first = await open(dir, { files })
      await first.balance.settle(stored(1, 5))
      refuses = true
      for (let n = 0; n < 3; n++) await t.rejects(first.balance.settle(stored(6, 10)))
      refuses = false
      await first.balance.settle(stored(6, 10))
      refuses = true
      await first.balance.stop()
      // The same at the start.
      const second = await open(dir, { files })
      await t.rejects(second.balance.settle(stored(11, 12)))
      refuses = false
      await second.balance.settle(stored(11, 12))
      t.match(second.balance.sheet(embedded(12, 12)), { stored: 12, residual: 0 })
      await second.balance.stop()
      const third = await open(dir)
      t.match(third.balance.sheet(embedded(12, 12)), { stored: 12, residual: 0 })
      await third.balance.stop()
    },
  )
}

t.test('a gap that a reader comes to again after a restart is counted once', async t => {
  const dir = await tempDir()
  const first = await open(dir, { journalBytes: 100 })
  t.equal(await first.balance.gone(5, 9), 5)
  t.equal(await first.balance.gone(5, 9), 0)
  await first.balance.settle(stored(1, 4))
  await first.balance.stop()
  const second = await open(dir)
  t.equal(await second.balance.gone(5, 11), 2, 'the new ones alone')
  await second.balance.stop()
})
