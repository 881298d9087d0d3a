import t from 'tap'
import { FilterIndex } from '../../src/sessions/filter-index.js'
import { matches } from '../../src/topics.js'
import { Random } from '../fixtures/packets.js'

t.test('the index forgets what is removed, also what it had remembered', async t => {
  const index = new FilterIndex<number>()
  index.add('a/+', 1)
  index.add('a/b', 2)
  index.add('a/+', 3)
  t.same(found(index, 'a/b').sort(), [1, 2, 3])
  index.remove('a/+', 1)
  index.remove('a/+', 99)
  index.remove('no/such', 1)
  t.same(found(index, 'a/b').sort(), [2, 3])
  index.remove('a/b', 2)
  index.remove('a/+', 3)
  t.same(found(index, 'a/b'), [])
  index.add('a/b', 4)
  t.same(found(index, 'a/b'), [4])
})

t.test(
  'a hundred thousand filters and topics: each topic finds its own, and ten thousand values leave one filter',
  async t => {
    const index = new FilterIndex<number>()
    for (let i = 0; i < 100_000; i++) index.add(i % 2 === 0 ? `site/${i}/+/temp` : `site/${i}/room/temp`, i)
    const wrong = Array.from({ length: 100_000 }, (_, i) => i).filter(i => {
      const values = found(index, `site/${i}/room/temp`)
      return values.length !== 1 || values[0] !== i
    })
    t.same(wrong, [])
    for (let i = 0; i < 10_000; i++) index.add('all/#', i)
    t.equal(found(index, 'all/of/them').length, 10_000)
    for (let i = 0; i < 10_000; i++) index.remove('all/#', i)
    t.same(found(index, 'all/of/them'), [])
  },
)

t.test('what was found stays true while values come and go', async t => {
  const index = new FilterIndex<string>()
  index.add('a/#', 'first')
  const sets = index.match('a/b')
  index.add('a/#', 'second')
  t.equal(index.match('a/b'), sets, 'remembered')
  t.same(found(index, 'a/b'), ['first', 'second'])
  index.remove('a/#', 'first')
  index.remove('a/#', 'second')
  t.same(found(index, 'a/b'), [])
  index.add('a/#', 'third')
  t.same(found(index, 'a/b'), ['third'])
  t.same(found(index, 'a'), ['third'], 'the parent level')
})

function found<T>(index: FilterIndex<T>, topic: string): T[] {
  return index.match(topic).flatMap(({ values }) => [...values])
}

t.test('values come and go as in a list of filters and values, few and many of one filter', async t => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = new Random(seed)
    const index = new FilterIndex<number>()
    const reference = new Set<string>()
    const filters = ['a', 'a/b', 'a/+', '+/b', '#', 'a/#', '+', '$x/#', '$x/+']
    for (let step = 0; step < 500; step++) {
      const filter = random.pick(filters)
      const value = random.below(20)
      if (random.chance(60)) {
        index.add(filter, value)
        reference.add(`${filter} ${value}`)
      } else {
        index.remove(filter, value)
        reference.delete(`${filter} ${value}`)
      }
      const topic = random.pick(['a', 'a/b', '$x/b', 'b'])
      const expected = [...reference].filter(one => matches(one.split(' ')[0] as string, topic))
      const actual = found(index, topic).length
      if (actual !== expected.length) t.equal(actual, expected.length, `seed ${seed}, step ${step}: ${topic}`)
    }
    t.pass(`seed ${seed}`)
  }
})

t.test('a value that is removed while the values are gone through takes no other one with it', async t => {
  for (const count of [3, 8, 9, 50]) {
    const index = new FilterIndex<number>()
    for (let value = 0; value < count; value++) index.add('a', value)
    const seen: number[] = []
    for (const { values } of index.match('a')) {
      for (const value of values) {
        seen.push(value)
        index.remove('a', value)
      }
    }
    t.equal(seen.length, count)
    t.same(found(index, 'a'), [])
  }
})
