import t from 'tap'
import { SharedPool } from '../../src/runtime/shared-pool.js'
import type { UserShares } from '../../src/runtime/user-shares.js'

const tenth: UserShares = { isOpen: false, usual: 0.1, own: new Map() }

t.test('the user that uses most for its share is known, whatever is added and given back', async t => {
  const sharing = { shares: { ...tenth, own: new Map([['large', 0.5]]) } }
  const pool = new SharedPool(sharing)
  t.equal(pool.heaviest, undefined)
  pool.add('bob', 5)
  pool.add('large', 20)
  t.equal(pool.heaviest, 'bob', '5 of a tenth is more than 20 of a half')
  pool.add('mallory', 6)
  t.equal(pool.heaviest, 'mallory')
  t.ok(pool.isHeaviest('mallory'))
  t.notOk(pool.isHeaviest('bob'))
  pool.add('mallory', -2)
  t.equal(pool.heaviest, 'bob')
  t.equal(pool.total, 29)
  t.same(pool.top(2), [
    { user: 'large', amount: 20 },
    { user: 'bob', amount: 5 },
  ])
  sharing.shares = { ...tenth, own: new Map() }
  t.equal(pool.heaviest, 'large', 'the users file has changed')
  pool.add('large', -20)
  pool.add('bob', -5)
  pool.add('mallory', -4)
  t.equal(pool.heaviest, undefined)
  t.equal(pool.total, 0)
})

t.test('the heap agrees with a search through all users', async t => {
  let seed = 7
  const random = (below: number) => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  const own = new Map<string, number>(Array.from({ length: 10 }, (_, i) => [`u${i}`, (1 + i) / 20] as const))
  const shares = { ...tenth, own }
  const pool = new SharedPool({ shares: shares })
  const amounts = new Map<string, number>()
  for (let step = 0; step < 20_000; step++) {
    const user = `u${random(30)}`
    const before = amounts.get(user) ?? 0
    const amount = Math.max(0, before + random(21) - 10)
    amounts.set(user, amount)
    pool.add(user, amount - before)
    const heaviest = Math.max(...[...amounts].map(([name, amount]) => amount / (own.get(name) ?? 0.1)))
    const found = pool.heaviest
    const weight = found === undefined ? 0 : pool.used(found) / (own.get(found) ?? 0.1)
    if (weight !== heaviest) return t.equal(weight, heaviest, `step ${step}`)
  }
  t.equal(
    pool.total,
    [...amounts.values()].reduce((sum, amount) => sum + amount, 0),
  )
})

t.test('half of the pool is for anybody, the other half for users within their share', async t => {
  const pool = new SharedPool({ shares: tenth })
  t.ok(pool.admits('mallory', 50, 100))
  t.notOk(pool.admits('mallory', 51, 100))
  pool.add('mallory', 50)
  t.ok(pool.admits('bob', 10, 100))
  t.notOk(pool.admits('bob', 11, 100))
  for (const user of ['a', 'b', 'c', 'd', 'e']) {
    t.ok(pool.admits(user, 10, 100), user)
    pool.add(user, 10)
  }
  t.notOk(pool.admits('f', 1, 100), 'the pool is full')
})

t.test('where nobody is asked, all clients are one user, who may have all of it', async t => {
  const open = { ...tenth, isOpen: true }
  const pool = new SharedPool({ shares: open })
  pool.add('lamp', 60)
  pool.add('door', 39)
  t.equal(pool.used('anyone'), 99)
  t.ok(pool.admits('anyone', 1, 100))
  t.notOk(pool.admits('anyone', 2, 100))
})
