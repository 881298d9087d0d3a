import { appendFileSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type AuditEvent, auditFiles, auditLines, parseAuditLine, verifyAudit } from '../../src/observe/audit-chain.js'
import { AuditLog } from '../../src/observe/audit-log.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

const began = Date.parse('2026-01-31T12:00:00Z')

function open(t: Test, dir: string, limitBytes = 1e6) {
  const reported: string[] = []
  const incidents = { report: (kind: string, sentence: string) => void reported.push(`${kind}: ${sentence}`) }
  const log = { info: () => {} }
  const one = new AuditLog({ dir, limitBytes, clock: { now: () => began }, incidents, log })
  one.start()
  t.teardown(() => one.stop())
  return { one, reported }
}

const login = (user: string): AuditEvent => ({ event: 'login', result: 'ok', user, address: '192.0.2.7', via: 'mqtt' })

async function linesOf(dir: string): Promise<string[]> {
  const all: string[] = []
  for (const { path } of auditFiles(dir)) for await (const { text } of auditLines(path)) all.push(text)
  return all
}

t.test('each line has the hash of the one before it; a restart goes on behind the last one', async t => {
  const dir = join(await tempDir(), 'audit')
  for (const users of [['ann', 'bob'], [], ['eve']]) {
    const { one, reported } = open(t, dir)
    for (const user of users) one.append(login(user))
    await one.stop()
    t.same(reported, [])
  }
  const { hash, ...verified } = await verifyAudit(dir)
  t.same(verified, { first: 1, last: 3, files: 1, faults: [], hasHash: undefined })
  const [first = '', second = '', third = ''] = await linesOf(dir)
  t.match(parseAuditLine(first), { n: 1, at: '2026-01-31T12:00:00.000Z', event: 'login', user: 'ann', previous: '' })
  t.match(parseAuditLine(third), { n: 3, user: 'eve' })
  t.equal((await verifyAudit(dir, hash)).hasHash, true)
  t.equal((await verifyAudit(dir, parseAuditLine(second)?.previous)).hasHash, true)
  t.equal((await verifyAudit(dir, 'x'.repeat(43))).hasHash, false)
  t.equal(statSync(dir).mode & 0o777, 0o700)
  t.equal(statSync(auditFiles(dir)[0]?.path ?? '').mode & 0o777, 0o600)
})

t.test('what was changed, taken out, put in or cut short is found', async t => {
  const whole = join(await tempDir(), 'audit')
  const { one } = open(t, whole)
  for (let n = 0; n < 20; n++) one.append(login(`user${n}`))
  await one.stop()
  const [file] = auditFiles(whole)
  const lines = readFileSync(file?.path ?? '', 'utf8')
    .trimEnd()
    .split('\n')
  const attempt = async (change: (lines: string[]) => string) => {
    const dir = await tempDir()
    writeFileSync(join(dir, '000000000001.jsonl'), change([...lines]))
    return verifyAudit(dir)
  }
  const text = (all: readonly string[]) => `${all.join('\n')}\n`
  t.same((await attempt(text)).faults, [])
  for (const [what, change, expected] of [
    [
      'another user',
      all => text(all.with(4, (all[4] ?? '').replace('user4', 'evil4'))),
      /:6: has a hash that is not that of the line before/,
    ],
    ['a line less', all => text(all.toSpliced(7, 1)), /:8: is number 9, but 8 is expected/],
    ['two lines swapped', all => text(all.with(2, all[3] ?? '').with(3, all[2] ?? '')), /:3: is number 4/],
    ['a line more', all => text(all.toSpliced(9, 0, all[9] ?? '')), /:11: is number 10, but 11 is expected/],
    ['the first gone', all => text(all.slice(1)), /:1: is number 2, but the name of the file says 1/],
    ['no JSON', all => text(all.with(3, 'garbage')), /:4: is not a line of an audit log/],
    ['an unfinished line', all => all.join('\n').slice(0, -10), /:20: is incomplete/],
    ['a very long line', all => text(all.with(5, 'x'.repeat(1e6))), /:6: is incomplete, or longer/],
  ] as [string, (lines: string[]) => string, RegExp][]) {
    const { faults } = await attempt(change)
    t.match(faults[0], expected, what)
  }
})

t.test('rotation: the oldest files go, and the chain of those left is whole', async t => {
  const dir = join(await tempDir(), 'audit')
  const { one } = open(t, dir, 20_000)
  for (let round = 0; round < 40; round++) {
    for (let n = 0; n < 10; n++) one.append(login(`user${round}-${n}`))
    await eventually(() => one.lines === (round + 1) * 10, 'written')
  }
  await one.stop()
  const size = auditFiles(dir).reduce((sum, { path }) => sum + statSync(path).size, 0)
  t.ok(size <= 20_000, `${size} bytes`)
  const { first, last, files, faults } = await verifyAudit(dir)
  t.same(faults, [])
  t.equal(last, 400)
  t.ok(first > 1 && files > 2, `${files} files from line ${first} on`)
  const { one: next } = open(t, dir, 20_000)
  next.append(login('later'))
  await next.stop()
  t.match(await verifyAudit(dir), { last: 401, faults: [] })
})

t.test('an end that a crash has left, or damage, does not keep the log from going on', async t => {
  const dir = join(await tempDir(), 'audit')
  const { one } = open(t, dir)
  for (const user of ['ann', 'bob']) one.append(login(user))
  await one.stop()
  const path = auditFiles(dir)[0]?.path ?? ''
  appendFileSync(path, '{"n":3,"at":"20')
  const { one: second } = open(t, dir)
  second.append(login('eve'))
  await second.stop()
  t.match(await verifyAudit(dir), { last: 4, faults: [] })
  t.match(parseAuditLine((await linesOf(dir))[2] ?? ''), { event: 'audit', result: 'cut', detail: /^15 bytes/ })
  appendFileSync(path, 'damage\n')
  const { one: third } = open(t, dir)
  third.append(login('kim'))
  await third.stop()
  const { last, faults } = await verifyAudit(dir)
  t.equal(last, 7)
  t.match(faults, [/:5: is not a line of an audit log/])
  t.match(parseAuditLine((await linesOf(dir))[5] ?? ''), { event: 'audit', result: 'damaged' })
  truncateSync(path, 0)
  writeFileSync(path, '\0'.repeat(100))
  const { one: fourth } = open(t, dir)
  fourth.append(login('lee'))
  await fourth.stop()
  t.equal(fourth.lines, 1)
})

t.test('a full disk: nothing throws, what waits is written later, and what is too much is counted', async t => {
  const disk = await smallDisk(t, 1e6)
  if (!disk) return t.comment('no file system may be mounted here')
  const dir = join(disk.dir, 'audit')
  const { one, reported } = open(t, dir, 1e6)
  one.append(login('before'))
  await eventually(() => one.lines === 1, 'written')
  disk.fill(0)
  for (let n = 0; n < 5_000; n++) one.append(login(`user${n}`))
  await eventually(() => one.failure, 'the disk is full')
  t.match(one.failure, /ENOSPC/)
  t.equal(reported.length, 1, 'said once')
  t.match(reported[0], /^audit_unwritable: .*ENOSPC.*free space on the disk/)
  t.equal(one.lost, 3_000)
  await eventually(() => {
    disk.free()
    return one.failure === undefined && one.lines > 2_000
  }, 'there is room again')
  one.append(login('after'))
  await one.stop()
  const { faults, last } = await verifyAudit(dir)
  t.same(faults, [])
  t.equal(last, 1 + 2_000 + 1 + 1)
  const lost = (await linesOf(dir)).map(parseAuditLine).filter(line => line?.result === 'lost')
  t.match(lost, [{ event: 'audit', count: 3_000 }])
  t.match(reported[1], /^audit_lost: .*3000 events are missing/)
})

t.test('a folder that cannot be written counts, and the hub goes on', async t => {
  const file = join(await tempDir(), 'file')
  writeFileSync(file, '')
  const { one, reported } = open(t, join(file, 'audit'))
  for (let n = 0; n < 3_000; n++) one.append(login('ann'))
  await eventually(() => one.failure, 'it cannot be written')
  t.equal(one.lost, 1_000)
  t.match(reported, [/^audit_unreadable: .*ENOTDIR/, /^audit_unwritable: .*ENOTDIR/])
  await one.stop()
})

t.test('texts of strangers stay within their line', async t => {
  const dir = join(await tempDir(), 'audit')
  const { one } = open(t, dir)
  one.append({ event: 'refused', result: 'refused', user: '\n{"n":2}\u202e\u001b[31m', detail: '\u0007'.repeat(5_000) })
  await one.stop()
  const text = readFileSync(join(dir, readdirSync(dir)[0] ?? ''), 'utf8')
  t.equal(text.split('\n').length, 2)
  for (const char of ['\u202e', '\u001b', '\u0007']) t.notOk(text.includes(char))
  t.match(await verifyAudit(dir), { last: 1, faults: [] })
})
