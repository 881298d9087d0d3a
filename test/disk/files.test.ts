import { existsSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Files, nodeFiles, removeInPieces } from '../../src/disk/files.js'
import { tempDir } from '../services/service.js'

const piece = 16 << 20

/** Node's files, and the sizes that a file was cut to once its name was gone. */
function watched(path: string) {
  const sizes: number[] = []
  const open = new Set<number>()
  const files: Files = {
    ...nodeFiles,
    openSync: (path, flags) => {
      const fd = nodeFiles.openSync(path, flags)
      open.add(fd)
      return fd
    },
    close: (fd, done) => {
      open.delete(fd)
      nodeFiles.close(fd, done)
    },
    ftruncate: (fd, length, done) => {
      if (existsSync(path)) done(new Error('a file that still has its name is cut'))
      else {
        sizes.push(length)
        nodeFiles.ftruncate(fd, length, done)
      }
    },
  }
  return { files, sizes, open }
}

t.test('a large file loses its name first, then its blocks in pieces', async t => {
  const path = join(await tempDir(), 'large')
  writeFileSync(path, 'x')
  truncateSync(path, 3 * piece + 5)
  const { files, sizes, open } = watched(path)
  await removeInPieces(files, path)
  t.notOk(existsSync(path))
  t.same(sizes, [2 * piece + 5, piece + 5, 5])
  t.equal(open.size, 0)
})

t.test('a small file is removed at once, and a missing one is no error', async t => {
  const path = join(await tempDir(), 'small')
  writeFileSync(path, 'x')
  const { files, sizes } = watched(path)
  await removeInPieces(files, path)
  t.notOk(existsSync(path))
  await removeInPieces(files, path)
  t.same(sizes, [])
})

t.test('the error of the disk is passed on, and the file is closed', async t => {
  const path = join(await tempDir(), 'large')
  writeFileSync(path, 'x')
  truncateSync(path, 2 * piece)
  const { files, open } = watched(path)
  const failing: Files = { ...files, ftruncate: (_fd, _length, done) => done(new Error('EIO: made to fail')) }
  await t.rejects(removeInPieces(failing, path), /EIO/)
  t.equal(open.size, 0)
})
