import t from 'tap'
import { isBeyond, type SkipCase, skipTarget } from '../../src/outlets/skip-policy.js'

/** Ten segments of 100 bytes, a minute each: segment 1 has messages 1 to 10, segment 11 those from 11 on, … */
const segments = Array.from({ length: 10 }, (_, i) => ({ segment: i * 10 + 1, bytes: 100, before: i * 60_000_000 }))
const now = 600_000_000
const base: SkipCase = {
  ...{ segments, place: 1, others: 91, bytesBehind: 1_000, limit: undefined, spoolLimit: 10_000, now },
}

t.test('without a limit and with room in the spool nothing is skipped', async t => {
  t.equal(skipTarget(base), undefined)
})

t.test('to the first segment that is within a limit in bytes', async t => {
  t.equal(skipTarget({ ...base, limit: { bytes: 1_000 } }), undefined)
  t.equal(skipTarget({ ...base, limit: { bytes: 550 } }), 51)
  t.equal(skipTarget({ ...base, limit: { bytes: 50 } }), 91, 'the newest, when none is')
  t.equal(skipTarget({ ...base, place: 91, bytesBehind: 100, limit: { bytes: 50 } }), undefined)
})

t.test('past the segments whose last message is too old', async t => {
  t.equal(skipTarget({ ...base, limit: { ms: 600_001 } }), undefined)
  t.equal(skipTarget({ ...base, limit: { ms: 300_000 } }), 41)
})

t.test('when the spool is nearly full, as far as that makes room', async t => {
  t.equal(skipTarget({ ...base, spoolLimit: 1_000 }), 21, 'below nine tenths')
  t.equal(skipTarget({ ...base, spoolLimit: 1_000, others: 11 }), 11, 'not beyond what others need')
  t.equal(skipTarget({ ...base, spoolLimit: 1_000, others: 1 }), undefined, 'it would not help')
  t.equal(skipTarget({ ...base, spoolLimit: 1_000, place: 51 }), undefined, 'another holds the spool')
})

t.test('a limit in time is about the oldest message, one in bytes about the place', async t => {
  t.equal(isBeyond({ bytes: 10 }, 11, Infinity, now), true)
  t.equal(isBeyond({ bytes: 10 }, 10, 0, now), false)
  t.equal(isBeyond({ ms: 60_000 }, 1_000, now - 61_000_000, now), true)
  t.equal(isBeyond({ ms: 60_000 }, 1_000, Infinity, now), false)
})
