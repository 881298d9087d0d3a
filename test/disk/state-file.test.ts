import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { StateFile } from '../../src/disk/state-file.js'
import { tempDir } from '../services/service.js'

t.test('a change is saved, what has not changed is not, and changes during a write become one more', async t => {
  const path = join(await tempDir(), 'state')
  let state = 0
  let written = 0
  const file = new StateFile(path, () => {
    written++
    return String(state)
  })
  file.save()
  await file.stop()
  t.equal(written, 0)

  for (state = 1; state < 10; state++) {
    file.changed()
    file.save()
  }
  await file.stop()
  t.equal(readFileSync(path, 'utf8'), '10')
  t.equal(written, 1, 'nine changes before the write begins')

  state = 11
  file.changed()
  await file.stop()
  t.equal(readFileSync(path, 'utf8'), '11', 'a change that nobody saved is saved by the stop')
  await file.stop()
  t.equal(written, 2)
})

t.test('after a failed write the next save tries again', async t => {
  const dir = join(await tempDir(), 'later')
  const file = new StateFile(join(dir, 'state'), () => 'kept')
  file.changed()
  await file.stop()
  mkdirSync(dir)
  file.save()
  await file.stop()
  t.same(readdirSync(dir), ['state'])
})

t.test('changes are saved at intervals', async t => {
  const path = join(await tempDir(), 'state')
  let saved = () => {}
  const file = new StateFile(path, () => {
    saved()
    return 'kept'
  })
  // The interval keeps no process alive.
  const alive = setInterval(() => {}, 1_000)
  t.teardown(() => clearInterval(alive))
  const isSaved = new Promise<void>(resolve => {
    saved = resolve
  })
  file.saveEvery(1)
  file.changed()
  await isSaved
  await file.stop()
  t.equal(readFileSync(path, 'utf8'), 'kept')
})
