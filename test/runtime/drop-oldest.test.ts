import t from 'tap'
import { dropOldest, OldestKey, takeOldest } from '../../src/runtime/drop-oldest.js'
import { Random } from '../fixtures/packets.js'

t.test('what was added first goes, until no more are left than may be', async t => {
  const set = new Set(['a', 'b', 'c', 'd'])
  set.delete('a')
  set.add('a')
  dropOldest(set, 4)
  t.same([...set], ['b', 'c', 'd', 'a'])
  dropOldest(set, 2)
  t.same([...set], ['d', 'a'])

  const map = new Map([
    [1, 'x'],
    [2, 'y'],
  ])
  map.set(1, 'changed where it was')
  dropOldest(map, 1)
  t.same([...map], [[2, 'y']])
  dropOldest(map, 0)
  t.equal(map.size, 0)
})

/** A map that counts its iterators: each one walks past all that was deleted before. */
class Counted extends Map<number, number> {
  iterators = 0

  override keys(): MapIterator<number> {
    this.iterators++
    return super.keys()
  }
}

t.test('the oldest key is found by one iterator, however many keys were deleted', async t => {
  const taken = new Counted()
  const known = new Counted()
  const oldest = new OldestKey(known)
  for (let n = 0; n < 10_000; n++) {
    taken.set(n, n)
    known.set(n, n)
  }
  for (let n = 0; n < 9_999; n++) {
    if (takeOldest(taken) !== n || oldest.key !== n) t.fail(`not ${n}`)
    known.delete(n)
    oldest.deleted(n)
  }
  t.equal(taken.iterators, 1)
  t.equal(known.iterators, 1)
})

t.test('the oldest key is that of a new iterator, whatever was added, deleted, moved and cleared', async t => {
  const wrong: string[] = []
  for (let seed = 1; seed <= 50; seed++) {
    const random = new Random(seed)
    const [known, taken] = [new Map<number, number>(), new Set<number>()]
    const oldest = new OldestKey(known)
    const remove = (key: number) => {
      known.delete(key)
      oldest.deleted(key)
    }
    for (let step = 0; step < 2_000; step++) {
      const key = random.below(40)
      if (random.chance(50)) {
        // A key that is there already becomes the youngest.
        remove(key)
        known.set(key, step)
        taken.delete(key)
        taken.add(key)
      } else if (random.chance(45)) {
        remove(key)
        taken.delete(key)
      } else if (random.chance(60)) {
        const [first] = taken
        if (takeOldest(taken) !== first || oldest.key !== first) wrong.push(`seed ${seed}, step ${step}`)
        if (first !== undefined) remove(first)
      } else if (random.chance(2)) {
        for (const each of [...known.keys()]) remove(each)
        taken.clear()
      }
      if (oldest.key !== known.keys().next().value) wrong.push(`seed ${seed}, step ${step}: not the oldest`)
    }
  }
  t.same(wrong, [])
})
