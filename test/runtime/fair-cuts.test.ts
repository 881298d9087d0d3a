import t from 'tap'
import { fairCuts } from '../../src/runtime/fair-cuts.js'
import type { UserShares } from '../../src/runtime/user-shares.js'

const shares: UserShares = { isOpen: false, usual: 0.1, own: new Map([['large', 0.5]]) }
const cuts = (used: Record<string, number>, needed: number) =>
  Object.fromEntries(fairCuts(new Map(Object.entries(used)), shares, needed))

t.test('those with most for their share give, down to one level; the others keep everything', async t => {
  t.same(cuts({ mallory: 900, bob: 50 }, 100), { mallory: 100 })
  t.same(cuts({ bob: 50, mallory: 900 }, 875), { mallory: 862.5, bob: 12.5 })
  t.same(cuts({ a: 300, b: 300, c: 100 }, 100), { a: 50, b: 50 })
  t.same(cuts({ a: 300, b: 200, c: 100 }, 200), { a: 150, b: 50 })
  t.same(cuts({ large: 500, a: 100, b: 90 }, 60), { large: 50, a: 10 })
  t.same(cuts({ large: 500, a: 200 }, 60), { a: 60 }, 'the larger share may have more')
})

t.test('when more is needed than there is, all is given', async t => {
  t.same(cuts({ a: 300, b: 1 }, 1_000), { a: 300, b: 1 })
  t.same(cuts({ a: 300 }, 300), { a: 300 })
  t.same(cuts({}, 10), {})
  t.same(cuts({ a: 1 }, 0), {})
})

t.test('of any amounts: what is given is what is needed, and who gives has no less left than who keeps', async t => {
  for (let round = 0; round < 300; round++) {
    const used = new Map(
      Array.from({ length: 1 + (round % 20) }, (_, i) => [`u${i}`, 1 + ((i * 7_919 + round * 104_729) % 1_000)]),
    )
    const total = [...used.values()].reduce((a, b) => a + b, 0)
    const needed = (total * (round % 10)) / 10
    const given = fairCuts(used, shares, needed)
    const sum = [...given.values()].reduce((a, b) => a + b, 0)
    if (Math.abs(sum - needed) > 1e-6 * total) return t.fail(`round ${round}: ${sum} instead of ${needed}`)
    const left = [...given].map(([name, cut]) => (used.get(name) as number) - cut)
    const kept = [...used].filter(([name]) => !given.has(name)).map(([, amount]) => amount)
    if (Math.max(0, ...kept) > Math.min(Infinity, ...left) + 1e-6) return t.fail(`round ${round}: not level`)
  }
  t.pass()
})
