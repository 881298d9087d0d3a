import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CommitLog, type CommitLogOptions, frameAt, nextFrame, writeFrames } from '../../src/disk/commit-log.js'
import { tempDir } from '../services/service.js'

async function open(more: Partial<CommitLogOptions> = {}) {
  const path = join(await tempDir(), 'log')
  const log = new CommitLog({
    fsync: 'group',
    rotateBytes: 1e9,
    rotate: async () => {
      throw new Error('not asked for')
    },
    ...more,
  })
  log.open(openSync(path, 'w+'), 0)
  const append = (text: string) =>
    new Promise<void>((resolve, reject) =>
      log.append(text.length, text, write, (_, error) => (error ? reject(error) : resolve())),
    )
  return { path, log, append }
}

const write = (text: string, target: Buffer, at: number) => target.write(text, at)

function bodies(path: string): string[] {
  const buffer = readFileSync(path)
  const found: string[] = []
  for (let frame = frameAt(buffer, 0); frame; frame = frameAt(buffer, frame.end)) found.push(frame.body.toString())
  return found
}

t.test('callbacks come in append order, after their frame is in the file', async t => {
  const { path, log } = await open()
  const order: number[] = []
  await new Promise<void>(resolve => {
    for (let n = 0; n < 1_000; n++) {
      const text = `frame ${n}`
      const append = () =>
        log.append(
          text.length,
          n,
          (_, target, at) => target.write(text, at),
          (value, error) => {
            t.error(error)
            if (value !== n) t.fail('the value is the one given')
            if (n % 250 === 0) t.ok(bodies(path).includes(text))
            if (order.push(n) === 1_000) resolve()
          },
        )
      if (n < 500) append()
      else setTimeout(append, n - 500)
    }
  })
  t.same(
    order,
    Array.from({ length: 1_000 }, (_, n) => n),
  )
  t.equal(bodies(path).length, 1_000)
  t.equal(log.pendingBytes, 0)
  await log.close()
})

t.test('a frame larger than the buffer, and flush', async t => {
  const { path, log } = await open()
  const large = 'x'.repeat(5_000_000)
  log.append(3, 'abc', write)
  log.append(large.length, large, write)
  await log.flush()
  t.equal(log.pendingBytes, 0)
  t.same(
    bodies(path).map(body => body.length),
    [3, large.length],
  )
  await log.flush()
  await log.close()
})

t.test('a group that the disk refuses fails as a whole, in order, and the next one works', async t => {
  let settled: [number, boolean][] = []
  const { path, log, append } = await open({ settled: (_end, frames, error) => settled.push([frames, !error]) })
  await append('first')
  // A file opened for reading refuses every write, as a full disk does.
  const readOnly = openSync(path, 'r')
  const good = openSync(path, 'r+')
  log.open(readOnly, log.end)
  const results = await Promise.allSettled([append('a'), append('b')])
  t.same(
    results.map(result => result.status === 'rejected' && result.reason.code),
    ['spool_failed', 'spool_failed'],
  )
  log.open(good, log.end)
  await t.rejects(
    append('c'),
    { code: 'spool_failed' },
    'truncating failed too, so a new file is wanted, and there is none',
  )
  t.same(settled, [
    [1, true],
    [2, false],
    [1, false],
  ])
  settled = []
  await log.close()
})

t.test('rotation happens between groups', async t => {
  const dir = await tempDir()
  let files = 0
  const { log, append } = await open({
    rotateBytes: 40,
    rotate: async () => ({ fd: openSync(join(dir, String(++files)), 'w+'), end: 0 }),
  })
  for (let n = 0; n < 12; n++) await append(`number ${n} `)
  await log.close()
  t.ok(files >= 2)
  t.same(bodies(join(dir, '1')).length, 2)
})

t.test('damage: a frame is whole or it is not there, and the next whole one is found', async t => {
  const path = join(await tempDir(), 'frames')
  const fd = openSync(path, 'w+')
  const end = writeFrames(
    fd,
    ['one', 'two', 'three'].map(text => Buffer.from(text)),
  )
  const whole = readFileSync(path)
  t.equal(whole.length, end)
  const second = frameAt(whole, 0)?.end as number
  for (let at = second; at < second + 11; at++) {
    const damaged = Buffer.from(whole)
    damaged[at] = (damaged[at] as number) ^ 0xff
    writeFileSync(path, damaged)
    t.equal(frameAt(damaged, second), undefined, `byte ${at}`)
    t.equal(nextFrame(damaged, second)?.body.toString(), 'three')
  }
  t.equal(frameAt(whole.subarray(0, whole.length - 1), 22), undefined)
  t.equal(frameAt(Buffer.alloc(100), 0), undefined, 'zeros are no frame')
})

t.test('a payload that looks like a frame is not taken for one when what it is in is damaged', async t => {
  const path = join(await tempDir(), 'frames')
  writeFrames(openSync(path, 'w+'), [Buffer.from('inner')])
  const inner = readFileSync(path)
  writeFrames(openSync(path, 'w+'), [Buffer.concat([inner, Buffer.from('tail')]), Buffer.from('next')])
  const whole = readFileSync(path)
  const damaged = Buffer.from(whole)
  damaged[12 + inner.length] = 0
  t.equal(nextFrame(damaged, 0)?.body.toString(), 'next')
  t.equal(nextFrame(whole.subarray(0, 12 + inner.length + 2), 0), undefined, 'torn')
})

t.test('after a failed sync the next group goes to a new file; after a full disk it need not', async t => {
  const dir = await tempDir()
  const groups: number[] = []
  let files = 0
  const { log, append } = await open({
    fsync: 'write',
    taken: () => groups.push(log.pendingBytes),
    rotate: async () => ({ fd: openSync(join(dir, String(++files)), 'w+'), end: 0 }),
  })
  await append('one')
  t.same(groups, [15], 'told of a group before it is written')
  const good = openSync(join(dir, 'good'), 'w+')
  log.open(openSync('/dev/full', 'r+'), 0)
  await t.rejects(append('two'), { code: 'spool_failed', message: /ENOSPC/ })
  log.open(good, 0)
  await append('three')
  t.equal(files, 1, 'that one could not be cut off')
  await log.close()
  await t.rejects(append('late'), { code: 'spool_failed' }, 'a closed one refuses')
})

t.test('interval: a sync that fails is told', async t => {
  const errors: Error[] = []
  const { log, append } = await open({ fsync: 'interval', unsynced: error => errors.push(error) })
  // It takes what is written and cannot be synced.
  log.open(openSync('/dev/null', 'r+'), 0)
  await append('one')
  await log.close()
  t.match(errors, [{ code: 'EINVAL' }])
})
