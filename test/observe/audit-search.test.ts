import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { auditFileName, auditLine, noHash } from '../../src/observe/audit-chain.js'
import { searchAudit } from '../../src/observe/audit-search.js'
import { tempDir } from '../services/service.js'

/** A log of three files with lines 1 to 10, 11 to 20 and 21 to 25, a second apart. */
async function sampleLog() {
  const dir = join(await tempDir(), 'audit')
  mkdirSync(dir)
  let hash = noHash
  for (let n = 1; n <= 25; n++) {
    const user = n % 5 === 0 ? 'ann' : 'bob'
    const made = auditLine(
      n,
      n * 1_000,
      { event: n % 2 ? 'login' : 'change', result: 'ok', user, what: `Thing ${n}` },
      hash,
    )
    hash = made.hash
    appendFileSync(join(dir, auditFileName(n - ((n - 1) % 10))), `${made.line}\n`)
  }
  return dir
}

const numbers = (lines: readonly { n: number }[]) => lines.map(({ n }) => n)

t.test('pages go from the newest line to the first, over all files', async t => {
  const dir = await sampleLog()
  const found: number[] = []
  for (let before: number | undefined; ; ) {
    const { lines, next } = await searchAudit(dir, { before, limit: 7 })
    found.push(...numbers(lines))
    if (next === undefined) break
    t.equal(lines.length, 7)
    before = next
  }
  t.same(
    found,
    Array.from({ length: 25 }, (_, i) => 25 - i),
  )
  t.match(await searchAudit(dir, { limit: 25 }), { next: undefined })
})

t.test('filters', async t => {
  const dir = await sampleLog()
  const find = async (query: object) => numbers((await searchAudit(dir, { limit: 100, ...query })).lines)
  t.same(await find({ user: 'ann' }), [25, 20, 15, 10, 5])
  t.same(await find({ user: 'ann', event: 'change' }), [20, 10])
  t.same(await find({ text: 'thing 2' }), [25, 24, 23, 22, 21, 20, 2])
  t.same(await find({ from: 9_000, to: 12_000 }), [11, 10, 9])
  t.same(await find({ from: 24_500 }), [25])
  t.same(await find({ user: 'nobody' }), [])
})

t.test('a part of the files at a time, and where to go on', async t => {
  const dir = await sampleLog()
  const first = await searchAudit(dir, { text: 'thing 3', limit: 5, files: 1 })
  t.same(first, { lines: [], next: 21 })
  const second = await searchAudit(dir, { text: 'thing 3', limit: 5, files: 1, before: first.next })
  t.same(second, { lines: [], next: 11 })
  const third = await searchAudit(dir, { text: 'thing 3', limit: 5, files: 1, before: second.next })
  t.same([numbers(third.lines), third.next], [[3], undefined])
})

t.test('a damaged line is shown, and never fits a filter', async t => {
  const dir = await sampleLog()
  writeFileSync(join(dir, auditFileName(26)), 'nonsense\n')
  t.match((await searchAudit(dir, { limit: 1 })).lines, [{ n: 26, text: 'nonsense', line: undefined }])
  t.same(numbers((await searchAudit(dir, { limit: 1, user: 'ann' })).lines), [25])
})
