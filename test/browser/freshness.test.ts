import t from 'tap'

/** What the page's module has, which is compiled apart from the tests. */
interface Module {
  readonly FeedAge: new () => {
    begin(now: number): void
    heard(notice: { readonly state: 'live' | 'behind'; readonly at: string }, now: number): void
    look(now: number): string
    age(now: number): number
  }
}

const { FeedAge } = (await import(new URL('../../src/dashboard/freshness.js', import.meta.url).href)) as Module

/** The page's clock begins at 0 here, and the hub's clock is so much ahead. */
const ahead = Date.UTC(2026, 5, 1)
const notice = (hubTime: number, state: 'live' | 'behind' = 'live') => ({
  state,
  at: new Date(ahead + hubTime).toISOString(),
})

t.test('live while notices come in time, whatever the clock of the hub says; behind when they are late', async t => {
  const age = new FeedAge()
  age.begin(0)
  t.equal(age.look(10), 'checking')
  for (let now = 100; now < 10_000; now += 1_000) {
    age.heard(notice(now), now)
    t.equal(age.look(now + 900), 'live')
  }
  t.equal(age.look(11_500), 'live')
  t.equal(age.look(12_300), 'behind')
  t.equal(age.age(12_300), 3_200)
  // Read late, in the order sent.
  age.heard(notice(10_100), 13_400)
  t.equal(age.look(13_400), 'behind')
  age.heard(notice(13_100, 'behind'), 13_450)
  t.equal(age.look(13_450), 'catching-up')
  age.heard(notice(13_400), 13_500)
  t.equal(age.look(13_500), 'live')
})

t.test('a page that was paused is not live before a notice of now has come', async t => {
  const age = new FeedAge()
  age.begin(0)
  age.heard(notice(0), 0)
  t.equal(age.look(500), 'live')
  // Paused for 2.1 s, which alone is not late.
  t.equal(age.look(2_600), 'checking')
  t.equal(age.look(2_700), 'checking')
  age.heard(notice(2_700), 2_750)
  t.equal(age.look(2_750), 'live')
  // Paused for long: what was sent meanwhile is read first.
  age.heard(notice(3_700), 20_000)
  t.equal(age.look(20_000), 'behind')
  age.heard(notice(19_900), 20_001)
  t.equal(age.look(20_001), 'live')
})

t.test('a clock of the hub that is set makes nobody late for ever', async t => {
  for (const jump of [-3_600_000, 3_600_000]) {
    const age = new FeedAge()
    age.begin(0)
    age.heard(notice(0), 0)
    age.heard(notice(1_000), 1_000)
    for (let now = 2_000; now < 5_000; now += 1_000) age.heard(notice(now + jump), now)
    t.equal(age.look(4_100), 'live', `${jump} ms`)
  }
})
