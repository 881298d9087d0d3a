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
