import t from 'tap'
import { Ranges } from '../../src/accounting/ranges.js'

t.test('numbers that come in order are one range', async t => {
  const ranges = new Ranges()
  for (let n = 1; n <= 1_000; n++) t.equal(ranges.add(n, n), 1)
  t.same([...ranges.pairs()], [[1, 1_000]])
  t.equal(ranges.add(500, 1_010), 10)
  t.equal(ranges.count, 1_010)
})

t.test('against a plain set, whatever comes', async t => {
  // A fixed sequence: a failure must come again.
  let seed = 7
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((seed / 2 ** 32) * below)
  }
  for (let round = 0; round < 200; round++) {
    const ranges = new Ranges()
    const set = new Set<number>()
    for (let step = 0; step < 40; step++) {
      const from = random(100)
      const to = from + random(8)
      let added = 0
      for (let n = from; n <= to; n++) {
        if (!set.has(n)) added++
        set.add(n)
      }
      if (ranges.add(from, to) !== added) t.fail(`round ${round}: added ${from} to ${to}`)
    }
    const wrong = Array.from({ length: 110 }, (_, n) => n).filter(n => {
      const below = [...set].filter(one => one <= n).length
      return ranges.has(n) !== set.has(n) || ranges.upTo(n) !== below
    })
    if (wrong.length > 0 || ranges.count !== set.size) t.fail(`round ${round}: differs at ${wrong}`)
    const at = random(110)
    const kept = [...set].filter(n => n <= at).length
    const pairs = [...ranges.pairs()]
    if (pairs.some(([from, to], i) => from > to || from <= (pairs[i - 1]?.[1] ?? -2) + 1)) t.fail('ranges touch')
    if (
      ranges.cut(at) !== set.size - kept ||
      ranges.count !== kept ||
      ranges.upTo(1_000) !== kept ||
      ranges.has(at + 1)
    ) {
      t.fail(`round ${round}: cut at ${at}`)
    }
  }
  t.pass('200 rounds')
})
