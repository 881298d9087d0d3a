import t from 'tap'
import { HashSet } from '../../src/runtime/hash-set.js'

t.test('a set of hashes answers as a set of their texts does', async t => {
  const set = new HashSet()
  const model = new Set<string>()
  let seed = 5
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((seed / 2_147_483_648) * below)
  }
  let wrong = 0
  for (let i = 0; i < 50_000; i++) {
    // Many with the same low half, which chooses the place.
    const [high, low] = [random(2 ** 32), random(3) === 0 ? 0xffffffff : random(2 ** 32)]
    const text = `${high} ${low}`
    if (set.add(high, low) === model.has(text)) wrong++
    model.add(text)
    if (!set.has(high, low)) wrong++
    const other = [random(2 ** 32), random(2 ** 32)] as const
    if (set.has(...other) !== model.has(other.join(' '))) wrong++
  }
  t.equal(wrong, 0)
  t.equal(set.size, model.size)
  t.notOk(set.add(0, 0), 'stands for an empty place')
})

t.test('hashes are deleted, and those that collide with them stay', async t => {
  const set = new HashSet()
  const kept = new Set<number>()
  let state = 1
  const random = (most: number) => {
    state = (state * 48_271) % 2_147_483_647
    return state % most
  }
  // Few values of the low half: long runs of collisions, which wrap around the end of the table.
  for (let step = 0; step < 200_000; step++) {
    const high = 1 + random(400)
    const low = [0, 1, 511, 1_022, 1_023, 0xffffffff][random(6)] as number
    const name = high * 2 ** 32 + low
    if (random(2) === 0) {
      if (set.add(high, low) === kept.has(name)) t.fail('added twice')
      kept.add(name)
    } else if (set.delete(high, low) !== kept.delete(name)) t.fail('deleted wrongly')
    if (set.size !== kept.size) t.fail('wrong size')
  }
  for (const name of kept) if (!set.has(Math.floor(name / 2 ** 32), name % 2 ** 32)) t.fail('lost')
  t.ok(kept.size > 500, `${kept.size} are left`)
})
