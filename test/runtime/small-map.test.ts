import t from 'tap'
import { SmallMap } from '../../src/runtime/small-map.js'
import { Random } from '../fixtures/packets.js'

t.test('a small map does what a Map does, with few entries and with many', async t => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new Random(seed)
    const map = new SmallMap<string, number>()
    const reference = new Map<string, number>()
    for (let step = 0; step < 400; step++) {
      const key = `k${random.below(14)}`
      if (random.chance(55)) {
        map.set(key, step)
        reference.set(key, step)
      } else if (map.delete(key) !== reference.delete(key)) t.fail(`seed ${seed}, step ${step}: delete ${key}`)
      if (map.get(key) !== reference.get(key)) t.fail(`seed ${seed}, step ${step}: get ${key}`)
      if (map.has(key) !== reference.has(key)) t.fail(`seed ${seed}, step ${step}: has ${key}`)
      if (map.size !== reference.size) t.fail(`seed ${seed}, step ${step}: size`)
    }
    t.same([...map], [...reference], `seed ${seed}`)
    t.same([...map.values()], [...reference.values()])
  }
})

t.test('every entry that stays is iterated once, whatever is deleted and added meanwhile', async t => {
  for (const count of [2, 8, 9, 30]) {
    const map = new SmallMap<number, number>()
    for (let n = 0; n < count; n++) map.set(n, n)
    const seen: number[] = []
    for (const [key] of map) {
      seen.push(key)
      map.delete(key)
      if (key === 0) map.set(100, 100)
    }
    t.same(
      seen.filter(key => key < 100),
      Array.from({ length: count }, (_, n) => n),
    )
  }
})
