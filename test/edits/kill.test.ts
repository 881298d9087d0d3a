import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Boards } from '../../src/boards/boards.js'
import type { Files } from '../../src/disk/files.js'
import type { EditFile } from '../../src/edits/edit-file.js'
import type { JsonMap } from '../../src/edits/merge.js'
import { OwnRules, type OwnRulesOptions } from '../../src/pipeline/own-rules/own-rules.js'
import { KilledFiles } from '../fixtures/killed-files.js'
import { Random } from '../fixtures/packets.js'
import { quietLog } from '../fixtures/quiet.js'
import { tempDir } from '../services/service.js'

/*
 * A kill between any two operations of the disk: the same changes are made again and again, and killed one operation
 * later each time. Whatever the place, an answered change is in force after the next start, the file is whole, and what
 * can be undone leads back to what was there.
 */

/** Opening a file counts, too: edits are written whole. */
class KilledDisk extends KilledFiles {
  override openSync(...given: Parameters<Files['openSync']>): number {
    this.count()
    return super.openSync(...given)
  }
}

interface Case {
  readonly name: string
  open(options: OwnRulesOptions): EditFile
  readonly steps: readonly (JsonMap | 'undo')[]
  /** The edits after all steps, and what may be left once all that can be undone is. */
  readonly last: JsonMap
  readonly undone: readonly JsonMap[]
}

const oven = { topic: 'plant/{line}/oven', measurement: 'oven' }
const noise = { topic: 'plant/+/noise', ignore: true }
const big = { name: 'Big freezer', area: 'Cellar' }

const cases: readonly Case[] = [
  {
    name: 'boards',
    open: options => new Boards(options),
    steps: [
      { devices: { freezer: { name: 'Freezer', area: 'Cellar' } } },
      { devices: { freezer: { name: 'Big freezer' }, lamp: { hidden: true } } },
      { areas: ['Cellar', 'Kitchen'] },
      'undo',
      { devices: { lamp: null } },
    ],
    last: { devices: { freezer: big } },
    undone: [
      {},
      { devices: { freezer: { ...big, name: 'Freezer' } } },
      { devices: { freezer: big, lamp: { hidden: true } } },
      { devices: { freezer: big } },
    ],
  },
  {
    name: 'mapping',
    open: options => new OwnRules(options),
    steps: [{ rules: [oven] }, { rules: [noise, oven] }, { rules: [] }, 'undo', { rules: [noise] }],
    last: { rules: [noise] },
    undone: [{}, { rules: [oven] }, { rules: [noise, oven] }, { rules: [noise] }],
  },
]

async function run(
  t: Test,
  { open: openFile, steps, last, undone }: Case,
  killedAfter: number,
  isPowerLoss: boolean,
): Promise<boolean> {
  const root = await tempDir()
  const [dir, attic] = [join(root, 'data'), join(root, 'attic')]
  mkdirSync(dir)
  mkdirSync(attic)
  const files = new KilledDisk(new Random(killedAfter), attic)
  const reports: string[] = []
  const open = () => {
    const boards = openFile({ dir, files, log: quietLog, incidents: { report: (_, text) => reports.push(text) } })
    boards.start()
    return boards
  }
  let boards = open()
  files.left = killedAfter
  let isKilled = false
  for (const step of steps) {
    const before = JSON.stringify(boards.edits)
    const asked = { by: 'anna', match: boards.etag }
    const change = step === 'undo' ? boards.undo(asked) : boards.patch(step, asked)
    let timer: NodeJS.Timeout | undefined
    const dead = new Promise<false>(resolve => {
      timer = setInterval(() => files.left <= 0 && resolve(false), 1)
    })
    const made = change.then(
      () => true,
      () => false,
    )
    const isAnswered = await Promise.race([made, dead])
    clearInterval(timer)
    const after = JSON.stringify(boards.edits)
    if (files.left > 0) {
      t.ok(isAnswered)
      continue
    }
    isKilled = true
    files.left = Number.POSITIVE_INFINITY
    files.off()
    await Promise.race([boards.stop(), new Promise(resolve => setTimeout(resolve, 20))])
    files.on()
    if (isPowerLoss) files.cut()
    boards = open()
    const now = JSON.stringify(boards.edits)
    if (isAnswered) t.equal(now, after, 'what was answered is in force')
    if (now === before) {
      // Whoever got no answer asks again.
      const again = { by: 'anna', match: boards.etag }
      await (step === 'undo' ? boards.undo(again) : boards.patch(step, again))
    }
  }
  files.left = Number.POSITIVE_INFINITY
  t.same(boards.edits, last)
  while (boards.changes.length > 0) await boards.undo({ by: 'anna', match: undefined })
  // A history that was not on disk yet when the power failed leaves less to undo, and never anything else.
  const left = JSON.stringify(sorted(boards.edits))
  t.ok(undone.map(one => JSON.stringify(sorted(one))).includes(left), left)
  t.same(reports, [])
  await boards.stop()
  return isKilled
}

/** Returns a value with the names of its maps in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const names = Object.keys(value).sort()
  return Object.fromEntries(names.map(name => [name, sorted((value as Record<string, unknown>)[name])]))
}

for (const one of cases) {
  for (const isPowerLoss of [false, true]) {
    t.test(`${one.name}: ${isPowerLoss ? 'power loss' : 'kill'} at each operation`, async t => {
      let killedAfter = 1
      while (await run(t, one, killedAfter, isPowerLoss)) killedAfter++
      t.ok(killedAfter > 20, `${killedAfter} places`)
    })
  }
}
