import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nodeFiles, openToRead } from '../../src/disk/files.js'
import { SnapshotFile } from '../../src/sessions/snapshot-file.js'
import { Random } from '../fixtures/packets.js'
import { tempDir } from '../services/service.js'

t.test('pieces read at once and later are those of the file, wherever they are', async t => {
  const path = join(await tempDir(), 'file')
  const random = new Random(1)
  const bytes = Buffer.from(Array.from({ length: 1_000_000 }, () => random.below(256)))
  writeFileSync(path, bytes)
  let closed = 0
  const close: typeof nodeFiles.close = (fd, done) => {
    closed++
    nodeFiles.close(fd, done)
  }
  const file = new SnapshotFile({ ...nodeFiles, close }, nodeFiles.openSync(path, openToRead))
  const reads = Array.from({ length: 2_000 }, async (_, n) => {
    if (n % 50 === 0) await new Promise(resolve => setTimeout(resolve, n / 100))
    const [at, length] = [random.below(990_000), 1 + random.below(n % 10 === 0 ? 300_000 : 2_000)]
    const wanted = bytes.subarray(at, at + length)
    const { error, read } = await new Promise<{ error: Error | undefined; read: Buffer }>(resolve =>
      file.readLater(at, length, (error, read) => resolve({ error, read: Buffer.from(read) })),
    )
    if (wanted.length < length) return error?.message === 'the file ends before'
    return error === undefined && read.equals(wanted) && file.read(at, length).equals(wanted)
  })
  t.notOk((await Promise.all(reads)).includes(false))
  t.throws(() => file.read(999_999, 2), /ends before/)
  file.readLater(0, 10, () => {})
  file.readLater(500_000, 200_000, () => {})
  file.close()
  t.equal(closed, 0, 'not closed while it is being read')
  while (closed === 0) await new Promise(resolve => setTimeout(resolve, 1))
  t.equal(closed, 1)
})
