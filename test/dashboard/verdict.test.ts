import t from 'tap'

interface Counts {
  readonly [name: string]: number
}

/** What is tested of a module that is compiled for browsers. */
interface Module {
  verdictOf(
    balance: Counts,
    isSure: boolean,
    isWaiting: boolean,
    now: number,
  ): { readonly state: string; readonly title: string; readonly text: string }
  receivedOf(counts: Counts): number
}

const module = new URL('../../src/dashboard/delivery/verdict.js', import.meta.url).href
const { verdictOf, receivedOf } = (await import(module)) as Module

const none = { since: 0, residual: 0, received: 0, stored: 0, spool: 0, queue: 0, dead: 0, dropped: 0, refused: 0 }
const of = (counts: Counts, isSure = true, isWaiting = false) =>
  verdictOf({ ...none, ...counts }, isSure, isWaiting, 1_000)

t.test('the verdict is green only while all that came is stored, waits, or was dropped by an operator', async t => {
  t.equal(of({}).title, 'No messages yet')
  t.match(of({ received: 9, stored: 9 }), { state: 'even', title: 'All stored' })
  t.match(of({ received: 9, stored: 8, spool: 1 }, true, true), { state: 'even', title: 'Nothing is missing' })
  t.match(of({ received: 9, stored: 7, dropped: 2 }), {
    state: 'even',
    title: '2 messages dropped, all others stored',
  })
})

t.test('what is not stored is counted, and its share is said', async t => {
  const third = of({ received: 900, stored: 600, dead: 300 })
  t.match(third, { state: 'many', title: '300 messages are not stored' })
  t.match(third.text, /Not stored: 33% of all/)
  t.match(of({ received: 100_000, stored: 99_999, refused: 1 }), { state: 'some', title: '1 message is not stored' })
  t.match(of({ received: 100_000, stored: 99_999, dead: 1 }).text, /Not stored: under 0\.1% of all/)
})

t.test('a residual is missing once it was seen twice', async t => {
  t.match(of({ received: 9, stored: 8, residual: 1 }, false), { state: 'counting', title: 'Counting' })
  t.match(of({ received: 9, stored: 8, residual: 1 }), { state: 'odd', title: '1 message is missing' })
  t.match(of({ received: 8, stored: 10, residual: -2 }), { state: 'odd', title: '2 messages are counted twice' })
  t.equal(receivedOf({ received: 8, stored: 10 }), 10, 'never fewer than are stored')
})
