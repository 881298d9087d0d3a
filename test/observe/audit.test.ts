import t from 'tap'
import { Audit } from '../../src/observe/audit.js'
import type { AuditEvent } from '../../src/observe/audit-chain.js'

function audit() {
  const lines: AuditEvent[] = []
  let time = Date.parse('2026-01-31T12:00:00Z')
  const one = new Audit({ log: { append: event => void lines.push(event) }, clock: { now: () => time } })
  const pass = (ms: number) => {
    time += ms
  }
  /** How many events the lines stand for. */
  const sum = (all = lines) => all.reduce((total, { count = 1 }) => total + count, 0)
  return { one, lines, pass, sum }
}

const guess = (address: string, user = 'ann'): AuditEvent => ({
  event: 'refused',
  result: 'refused',
  reason: 'bad_credentials',
  user,
  address,
  via: 'mqtt',
})

t.test('a source that is refused again and again: the first few, then a line with the count', t => {
  const { one, lines, sum } = audit()
  for (let n = 0; n < 10_000; n++) one.repeated(guess('192.0.2.7', `user${n}`))
  t.equal(lines.length, 5)
  one.repeated(guess('198.51.100.1'))
  t.equal(lines.length, 6, 'another source has its own lines')
  one.stop()
  t.match(lines[6], {
    reason: 'bad_credentials',
    address: '192.0.2.7',
    count: 9_995,
    since: '2026-01-31T12:00:00.000Z',
  })
  t.equal(lines.length, 7)
  t.equal(sum(), 10_001)
  t.end()
})

t.test('any number of sources and names: a few hundred lines, exact counts, and logins still have theirs', t => {
  const { one, lines, pass, sum } = audit()
  for (let n = 0; n < 100_000; n++) {
    one.repeated(guess(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, `user${n}`))
    if (n % 1_000 === 0) pass(100)
  }
  t.ok(lines.length < 250, `${lines.length} lines`)
  one.repeated({ event: 'login', result: 'ok', user: 'root', address: '127.0.0.1', via: 'http' })
  t.match(lines.at(-1), { event: 'login', user: 'root' }, 'a login in the middle of it')
  one.stop()
  t.ok(lines.length < 270, `${lines.length} lines`)
  t.equal(sum(), 100_001)
  t.match(lines.at(-1), { event: 'refused', reason: 'bad_credentials', detail: /^from \d+ sources together$/ })
  t.end()
})

t.test('a line of IPv6 is one source; each user that is let in counts for itself', t => {
  const { one, lines } = audit()
  for (let n = 0; n < 1_000; n++) one.repeated(guess(`2001:db8:1:2::${n.toString(16)}`))
  t.equal(lines.length, 5)
  for (let n = 0; n < 500; n++) {
    for (let times = 0; times < 10; times++) {
      one.repeated({ event: 'login', result: 'ok', user: `device${n}`, address: '192.0.2.1' })
    }
  }
  t.ok(lines.length >= 1_000, 'ten thousand logins: a budget of a thousand lines')
  t.ok(lines.length < 1_100)
  t.end()
})

t.test('what an admin does always has a line', t => {
  const { one, lines } = audit()
  for (let n = 0; n < 2_000; n++) one.record({ event: 'change', result: 'ok', user: 'root', what: 'drop' })
  t.equal(lines.length, 2_000)
  t.end()
})
