import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Boards } from '../../src/boards/boards.js'
import type { JsonMap } from '../../src/boards/merge.js'
import type { Files } from '../../src/disk/files.js'
import { KilledFiles } from '../fixtures/killed-files.js'
import { Random } from '../fixtures/packets.js'
import { quietLog } from '../fixtures/quiet.js'
import { tempDir } from '../services/service.js'

/*
 * A kill between any two operations of the disk: the same changes are made again and again, and killed one operation
 * later each time. Whatever the place, an answered change is in force after the next start, the file is whole, and what
 * can be undone leads back to what was there.
 */

/** Opening a file counts, too: boards are written whole. */
class KilledDisk extends KilledFiles {
  override openSync(...given: Parameters<Files['openSync']>): number {
    this.count()
    return super.openSync(...given)
  }
}

const steps: readonly (JsonMap | 'undo')[] = [
  { devices: { freezer: { name: 'Freezer', area: 'Cellar' } } },
  { devices: { freezer: { name: 'Big freezer' }, lamp: { hidden: true } } },
  { areas: ['Cellar', 'Kitchen'] },
  'undo',
  { devices: { lamp: null } },
]

async function run(t: Test, killedAfter: number, isPowerLoss: boolean): Promise<boolean> {
  const root = await tempDir()
  const [dir, attic] = [join(root, 'data'), join(root, 'attic')]
  mkdirSync(dir)
  mkdirSync(attic)
  const files = new KilledDisk(new Random(killedAfter), attic)
  const reports: string[] = []
  const open = () => {
    const boards = new Boards({ dir, files, log: quietLog, incidents: { report: (_, text) => reports.push(text) } })
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
  t.same(boards.edits, { devices: { freezer: { name: 'Big freezer', area: 'Cellar' } } })
  while (boards.changes.length > 0) await boards.undo({ by: 'anna', match: undefined })
  const { lamp: _, ...left } = { ...boards.edits.devices } as Record<string, unknown>
  // A history that was not on disk yet when the power failed leaves less to undo, and never anything else.
  t.ok(
    [
      '{}',
      '{"freezer":{"area":"Cellar","name":"Freezer"}}',
      '{"freezer":{"area":"Cellar","name":"Big freezer"}}',
    ].includes(JSON.stringify(left)),
    JSON.stringify(left),
  )
  t.same(reports, [])
  await boards.stop()
  return isKilled
}

for (const isPowerLoss of [false, true]) {
  t.test(isPowerLoss ? 'power loss at each operation' : 'kill at each operation', async t => {
    let killedAfter = 1
    while (await run(t, killedAfter, isPowerLoss)) killedAfter++
    t.ok(killedAfter > 20, `${killedAfter} places`)
  })
}
