import { mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { WatchedFiles } from '../../src/disk/watched-files.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const everyMs = 20

/** How often it was told. */
function watch(t: Test, paths: readonly string[], every = everyMs): () => number {
  let told = 0
  const watched = new WatchedFiles({ paths, changed: () => told++, everyMs: every })
  watched.start()
  t.teardown(() => watched.stop())
  return () => told
}

t.test('every way of changing a file is seen, and once', async t => {
  const dir = await tempDir()
  const path = join(dir, 'users.yaml')
  const ways: [string, () => void][] = [
    ['it comes', () => writeFileSync(path, 'one')],
    ['written in place, as long as before', () => writeFileSync(path, 'two')],
    [
      'another renamed over it, as long and as old',
      () => {
        writeFileSync(`${path}.new`, 'six')
        utimesSync(`${path}.new`, 1, 1)
        renameSync(`${path}.new`, path)
      },
    ],
    [
      'written with its date set back',
      () => {
        writeFileSync(path, 'ten')
        utimesSync(path, 1, 1)
      },
    ],
    ['it goes', () => rmSync(path)],
  ]
  const told = watch(t, [path])
  for (const [i, [way, change]] of ways.entries()) {
    change()
    await eventually(() => told() > i, way)
    await sleep(everyMs * 5)
    t.equal(told(), i + 1, way)
  }
})

t.test('a symbolic link on the way turned, as Kubernetes does', async t => {
  const dir = await tempDir()
  for (const version of ['1', '2']) {
    mkdirSync(join(dir, version))
    writeFileSync(join(dir, version, 'tls.crt'), 'same')
  }
  symlinkSync('1', join(dir, 'now'))
  const told = watch(t, [join(dir, 'now', 'tls.crt')])
  symlinkSync('2', join(dir, 'next'))
  renameSync(join(dir, 'next'), join(dir, 'now'))
  await eventually(told, 'told')
  t.equal(told(), 1)
})

t.test('while files change nothing is told', async t => {
  const dir = await tempDir()
  const [cert, key] = [join(dir, 'cert'), join(dir, 'key')]
  const told = watch(t, [cert, key], 100)
  for (let i = 0; i < 60; i++) {
    writeFileSync(i % 2 ? cert : key, String(i))
    await sleep(10)
  }
  t.equal(told(), 0, 'not in between')
  await eventually(told, 'told')
  t.equal(told(), 1)
})

t.test('it keeps no process alive, and is silent after its end', async t => {
  const dir = await tempDir()
  let told = 0
  const watched = new WatchedFiles({ paths: [join(dir, 'a')], changed: () => told++, everyMs })
  watched.start()
  writeFileSync(join(dir, 'a'), '')
  watched.stop()
  await sleep(everyMs * 5)
  t.equal(told, 0)
  new WatchedFiles({ paths: [dir], changed: () => {}, everyMs: 1_000_000 }).start()
})
