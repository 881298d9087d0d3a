import t from 'tap'
import { dropOldest } from '../../src/runtime/drop-oldest.js'

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
