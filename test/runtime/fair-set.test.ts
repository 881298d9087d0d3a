import t from 'tap'
import { FairSet } from '../../src/runtime/fair-set.js'
import type { UserShares } from '../../src/runtime/user-shares.js'

const shares: UserShares = { isOpen: false, usual: 0.1, own: new Map([['large', 0.5]]) }

t.test('the oldest key of the user that has most for its share is the one to go', async t => {
  const set = new FairSet<string>({ shares })
  t.equal(set.first, undefined)
  set.add('b1', 'bob')
  for (const key of ['m1', 'm2', 'm3']) set.add(key, 'mallory')
  for (const key of ['l1', 'l2', 'l3', 'l4']) set.add(key, 'large')
  t.equal(set.first, 'm1')
  set.add('m1', 'mallory')
  t.equal(set.first, 'm2', 'one that came again is the youngest')
  t.ok(set.delete('m2'))
  t.notOk(set.delete('m2'))
  t.equal(set.first, 'm3')
  set.delete('m3')
  t.same([...set], ['b1', 'l1', 'l2', 'l3', 'l4', 'm1'], 'all in order')
  t.equal(set.first, 'b1', 'bob and mallory have as much, and bob had it first')
  set.add('m1', 'bob')
  t.equal(set.first, 'b1', 'a key may change hands')
  t.equal(set.size, 6)
})

t.test('where nobody is asked, the oldest of all goes', async t => {
  const set = new FairSet<string>({ shares: { ...shares, isOpen: true } })
  set.add('a', 'one')
  for (const key of ['b', 'c', 'd']) set.add(key, 'other')
  t.equal(set.first, 'a')
})
