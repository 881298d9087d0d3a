import { readdirSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { SnapshotLog } from '../../src/disk/snapshot-log.js'
import { tempDir } from '../services/service.js'

/** A journal of numbers by name: a frame says the number of one name. */
function journalOf(dir: string, state: Map<string, number>) {
  const log = new SnapshotLog({
    dir,
    fsync: 'write',
    rotateBytes: 1e9,
    inTurns: true,
    snapshot: function* () {
      for (const [name, number] of state) yield frame(name, number)
    },
    damaged: sentence => t.fail(sentence),
  })
  return {
    log,
    load: () =>
      log.load(body => {
        const [name, number] = JSON.parse(body.toString()) as [string, number]
        state.set(name, number)
      }),
    set: (name: string, number: number) => {
      state.set(name, number)
      return new Promise<void>((resolve, reject) =>
        log.append(frame(name, number), error => (error ? reject(error) : resolve())),
      )
    },
  }
}

const frame = (name: string, number: number) => Buffer.from(JSON.stringify([name, number]))

t.test('a large snapshot takes many turns, and what changes meanwhile is kept', async t => {
  const dir = await tempDir()
  const state = new Map<string, number>()
  const { load, log, set } = journalOf(dir, state)
  t.notOk(await load())
  log.begin()
  for (let n = 0; n < 200_000; n++) state.set(`n${n}`, 0)
  log.rewriteNext()
  let isWritten = false
  const written = set('n0', 1).then(() => {
    isWritten = true
  })
  let turns = 0
  const changes: Promise<void>[] = []
  while (!isWritten) {
    await turn()
    // Names before and behind the one that is written now.
    if (turns++ % 10 === 0) changes.push(set(`n${(turns * 7_919) % 200_000}`, turns))
  }
  t.ok(turns > 20, `${turns} turns`)
  await Promise.all([written, ...changes])
  await log.close()
  t.same(readdirSync(dir), ['0000000002.log'])

  const read = new Map<string, number>()
  const again = journalOf(dir, read)
  t.ok(await again.load())
  t.same([...read].sort(), [...state].sort())
  await again.log.close()
})
