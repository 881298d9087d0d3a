import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Boards } from '../../src/boards/boards.js'
import { difference, type JsonMap, merged } from '../../src/edits/merge.js'
import { Random } from '../fixtures/packets.js'
import { quietLog } from '../fixtures/quiet.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

function opened(dir: string, reports: string[] = []): Boards {
  const boards = new Boards({ dir, log: quietLog, incidents: { report: (_, text) => reports.push(text) } })
  boards.start()
  return boards
}

const by = (boards: Boards, name = 'anna') => ({ by: name, match: boards.etag })

t.test('a change is in the file, survives a start, and can be undone', async t => {
  const dir = await tempDir()
  const first = opened(dir)
  await first.patch({ devices: { f: { name: 'Freezer', values: { 'a/b#t': { decimals: 1 } } } } }, by(first))
  await first.patch({ devices: { f: { area: 'Cellar', values: { 'a/b#t': null } } } }, by(first, 'bob'))
  t.same(first.edits, { devices: { f: { name: 'Freezer', area: 'Cellar' } } })
  await first.setFavourites('anna', ['f'])
  await first.stop()
  const second = opened(dir)
  t.same(second.edits, { devices: { f: { name: 'Freezer', area: 'Cellar' } }, favourites: { anna: ['f'] } })
  t.match(second.changes, [{ by: 'anna', what: 'devices.f' }, { by: 'bob' }])
  await second.undo(by(second))
  t.match(second.edits.devices, { f: { name: 'Freezer', area: undefined, values: { 'a/b#t': { decimals: 1 } } } })
  await second.undo(by(second))
  t.same(second.edits, { favourites: { anna: ['f'] } })
  await t.rejects(second.undo(by(second)), { code: 'not_found' })
  await second.stop()
})

t.test('who has not seen the last change is told who made it', async t => {
  const boards = opened(await tempDir())
  const seen = boards.etag
  await boards.patch({ areas: ['Kitchen'] }, { by: 'bob', match: seen })
  await t.rejects(boards.patch({ areas: ['Cellar'] }, { by: 'anna', match: seen }), {
    code: 'changed',
    message: /bob changed areas at \d{4}-/,
  })
  t.same(boards.edits, { areas: ['Kitchen'] })
  await t.rejects(boards.patch({ devices: { f: { decimals: 1, order: 'x' } } }, by(boards)), {
    code: 'bad_request',
    message: /no "decimals".*order: given "x"/,
  })
  await boards.stop()
})

t.test('an edit by hand takes effect, all its mistakes are told, and the edits from before stay', async t => {
  const dir = await tempDir()
  const boards = opened(dir)
  await boards.patch({ areas: ['Kitchen'] }, by(boards))
  const before = boards.etag
  writeFileSync(boards.path, '{"areas": ["Kitchen", 7], "devices": {"f": {"nam": "x"}}}')
  await eventually(() => boards.mistakes.length === 2, 'two mistakes')
  t.match(boards.mistakes.join(), /line 1: areas\.1: given 7.*devices\.f\.nam: there is no "nam"/)
  t.match(boards.alarm(), /1 more mistakes/)
  t.same(boards.edits, { areas: ['Kitchen'] })
  await t.rejects(boards.patch({ areas: ['Attic'] }, by(boards)), { code: 'busy' }, 'the edit is not overwritten')
  writeFileSync(boards.path, 'areas: [Cellar]\ndevices:\n  f: { name: Freezer } # the old one\n')
  await eventually(() => boards.edits.areas?.[0] === 'Cellar', 'the edit is in force')
  t.same(boards.edits.devices, { f: { name: 'Freezer' } })
  t.notOk(boards.alarm())
  t.not(boards.etag, before)
  await boards.stop()
})

t.test('a damaged file is set aside, and the hub starts', async t => {
  const dir = await tempDir()
  writeFileSync(join(dir, 'boards.json'), '{"areas": ["Kit')
  writeFileSync(join(dir, 'boards.history.json'), 'x')
  const reports: string[] = []
  const boards = opened(dir, reports)
  t.same(boards.edits, {})
  t.match(reports, [/boards\.json\.bad now/, /boards\.history\.json\.bad now/])
  t.same(readdirSync(dir).sort(), ['boards.history.json.bad', 'boards.json.bad'])
  await boards.patch({ areas: ['Kitchen'] }, by(boards))
  t.match(readFileSync(boards.path, 'utf8'), /"Kitchen"/)
  t.notOk(existsSync(`${boards.path}.new`))
  await boards.stop()
})

t.test('the difference of two values leads back', async t => {
  const seed = Date.now() & 0x7fffffff
  const random = new Random(seed)
  const made = (depth: number): JsonMap =>
    Object.fromEntries(
      Array.from({ length: random.below(4) }, () => [
        ['a', 'b', 'c', '__proto__'][random.below(4)] as string,
        depth > 0 && random.below(2) === 0 ? { x: 1, ...made(depth - 1) } : random.below(3),
      ]),
    )
  for (let n = 0; n < 500; n++) {
    const [one, other] = [merged({}, made(3)), merged({}, made(3))]
    t.same(merged(one, difference(one, other)), other, `seed ${seed}`)
  }
})
