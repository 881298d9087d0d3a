import { existsSync, lstatSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { setAside } from '../../src/disk/damaged.js'
import { nodeFiles, readWholeSync } from '../../src/disk/files.js'
import { replaceFile, replaceFileSync } from '../../src/disk/replace-file.js'
import { tempDir } from '../services/service.js'

const modeOf = (path: string) => statSync(path).mode & 0o777

for (const [name, replace] of [
  ['at once', async (...given: Parameters<typeof replaceFileSync>) => replaceFileSync(...given)],
  ['without blocking', replaceFile],
] as const) {
  t.test(`a file is replaced whole, for its owner alone, ${name}`, async t => {
    const umask = process.umask(0)
    t.teardown(() => process.umask(umask))
    const path = join(await tempDir(), 'file')
    writeFileSync(path, 'old', { mode: 0o666 })
    writeFileSync(`${path}.new`, 'half', { mode: 0o666 })
    await replace(path, 'new')
    t.equal(readFileSync(path, 'utf8'), 'new')
    t.equal(modeOf(path), 0o600)
    t.notOk(existsSync(`${path}.new`))
    process.umask(0o077)
    await replace(path, 'public', { mode: 0o644 })
    t.equal(modeOf(path), 0o644, 'a mode that is asked for holds whatever the umask')
  })

  t.test(`links planted by others are neither written through nor followed, ${name}`, async t => {
    const dir = await tempDir()
    const path = join(dir, 'file')
    const victim = join(dir, 'victim')
    writeFileSync(victim, 'precious')
    symlinkSync(victim, `${path}.new`)
    symlinkSync(victim, path)
    await replace(path, 'secret')
    t.equal(readFileSync(victim, 'utf8'), 'precious')
    t.notOk(lstatSync(path).isSymbolicLink())
    t.equal(readFileSync(path, 'utf8'), 'secret')
  })

  t.test(`what fails leaves the old file and nothing beside it, ${name}`, async t => {
    const path = join(await tempDir(), 'file')
    writeFileSync(path, 'old')
    const full = Object.assign(new Error('full'), { code: 'ENOSPC' })
    const failing = {
      writeSync: () => {
        throw full
      },
      write: (...given: Parameters<typeof nodeFiles.write>) => given[5](full, 0),
    }
    await t.rejects(async () => replace(path, 'new', { files: { ...nodeFiles, ...failing } }), full)
    t.equal(readFileSync(path, 'utf8'), 'old')
    t.notOk(existsSync(`${path}.new`))
  })
}

t.test('a link is not read through', async t => {
  const dir = await tempDir()
  writeFileSync(join(dir, 'victim'), 'x')
  symlinkSync(join(dir, 'victim'), join(dir, 'link'))
  t.throws(() => readWholeSync(join(dir, 'link')), { code: 'ELOOP' })
  t.equal(readWholeSync(join(dir, 'nothing')), undefined)
})

t.test('damaged files are kept under names of their own', async t => {
  const path = join(await tempDir(), 'state.json')
  for (let n = 1; n <= 12; n++) {
    writeFileSync(path, String(n))
    t.match(setAside(path), /^the damaged file is .*state\.json\.bad/)
    t.notOk(existsSync(path))
  }
  t.equal(readFileSync(`${path}.bad`, 'utf8'), '1', 'the first is kept')
  t.equal(readFileSync(`${path}.bad.9`, 'utf8'), '12', 'and the last')
  t.match(setAside(path), /could not be renamed \(ENOENT/)
})
