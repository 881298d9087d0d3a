import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { OutletAccount } from '../../src/outlets/account.js'
import { message } from '../contract/queue.js'
import { tempDir } from '../services/service.js'

const done = (n: number) => ({ message: message(n), rejection: undefined })
const filtered = (n: number) => ({ ...done(n), ignored: true as const })
const refused = (n: number) => ({ message: message(n), rejection: { reason: 'http_422', detail: 'no' } })

t.test('every message is in one term, also after a restart', async t => {
  const path = join(await tempDir(), 'account')
  const account = new OutletAccount(path)
  t.equal(account.open(100), false)
  await account.settle([done(101), filtered(102), refused(103)])
  t.equal(account.pass(105, 'never'), 2)
  await account.settle([done(106)])
  t.equal(account.pass(110, 'skipped'), 4)
  account.moved(1, 'replayed')
  account.close()

  const again = new OutletAccount(path)
  t.equal(again.open(0), true)
  t.same(again.balance(115), {
    received: 13,
    delivered: 2,
    filtered: 1,
    refused: 1,
    replayed: 1,
    dropped: 0,
    skipped: 4,
    lost: 0,
    behind: 5,
    residual: 0,
  })
  t.same(
    again.unsettled([message(109), message(110), message(111)]).map(({ sequence }) => sequence),
    [111],
    'what comes again is known',
  )
  // A batch that was in hand when its messages were given up.
  await again.settle([done(109), done(110), done(111)])
  t.match(again.balance(115), { delivered: 3, skipped: 4, behind: 4, residual: 0 })
  t.equal(again.pass(111, 'lost'), 0, 'already accounted for')
  again.close()
})

t.test('a message that is in no term is missing', async t => {
  const account = new OutletAccount(join(await tempDir(), 'account'))
  account.open(0)
  await account.settle([done(1), done(3)])
  t.match(account.balance(3), { received: 3, delivered: 2, residual: 1 })
  account.close()
})

t.test('a write that a crash cut short leaves the one before', async t => {
  const path = join(await tempDir(), 'account')
  const account = new OutletAccount(path)
  account.open(0)
  await account.settle([done(1)])
  const before = readFileSync(path)
  await account.settle([done(2)])
  account.close()
  const torn = readFileSync(path)
  // The slots are written in turn, so one of them has changed.
  const half = torn.length / 2
  const at = torn.subarray(0, half).equals(before.subarray(0, half)) ? half : 0
  torn.fill(255, at + 20, at + 40)
  writeFileSync(path, torn)
  const again = new OutletAccount(path)
  t.equal(again.open(9), true)
  t.equal(again.upTo, 1)
  again.close()
  writeFileSync(path, Buffer.alloc(torn.length, 1))
  const damaged = new OutletAccount(path)
  t.equal(damaged.open(9), false)
  t.equal(damaged.upTo, 9)
  damaged.close()
})
