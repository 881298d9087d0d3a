import t from 'tap'
import type { MappingRule } from '../../src/config/settings.js'
import type { Message } from '../../src/model.js'
import { Zone } from '../../src/pipeline/decoders/zone.js'
import { Mapping } from '../../src/pipeline/mapping.js'

const json = { depth: 16, fields: 1_000, inflated: 1_000_000 }
const receivedAt = Date.UTC(2026, 9, 25, 1, 30) * 1_000

const message = (topic: string, payload: unknown, at = receivedAt): Message => ({
  sequence: 1,
  receivedAt: at,
  topic,
  payload: Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload)),
  qos: 1,
  retain: false,
  clientId: 'c',
  user: 'u',
  packetId: 0,
})

/** The points of a message by one rule for `x/{d}`, or why there are none. */
function read(rule: Partial<MappingRule>, payload: unknown, at = receivedAt) {
  const mapping = new Mapping([{ topic: 'x/{d}', measurement: 'm', ...rule }], json)
  const reading = mapping.read(message('x/a', payload, at))
  return 'reason' in reading ? reading : { ...reading, points: reading.points }
}

const fieldsOf = (rule: Partial<MappingRule>, payload: unknown) => {
  const reading = read(rule, payload)
  return 'points' in reading ? Object.fromEntries(reading.points.flatMap(({ fields }) => [...fields])) : reading.reason
}

t.test('ignore, drop, keep, types, absent words, decimal comma, each', async t => {
  t.match(read({ ignore: true }, '{oops'), { ignored: 'rule', points: [] })
  t.same(fieldsOf({ drop: ['wifi.*', 'n'] }, { v: 1, n: 2, wifi: { rssi: -60 } }), { v: 1 })
  t.same(fieldsOf({ keep: ['v*'] }, { v: 1, volt: 2, n: 3 }), { v: 1, volt: 2 })
  t.same(fieldsOf({ types: { version: 'text', on: 'boolean', n: 'number' } }, { version: '2024', on: 1, n: true }), {
    version: '2024',
    on: true,
    n: 1,
  })
  t.same(fieldsOf({ types: { '*': 'text' } }, { code: '12' }), { code: '12' })
  t.match(read({ types: { n: 'number' } }, { n: 'x', v: 1 }), {
    refused: { reason: 'not_of_type', fields: ['n'] },
    points: [{}],
  })
  t.match(read({ types: { n: 'number' } }, { n: 'x' }), { reason: 'not_of_type' })
  t.match(read({ absent: ['err'] }, { v: 'ERR', n: 1 }), { absent: [{ field: 'v' }] })
  t.same(fieldsOf({ decimalComma: true }, '1,016'), { value: 1.016 })
  t.same(fieldsOf({ decimalComma: false }, '21,5'), { value: '21,5' })
  t.same(
    fieldsOf(
      { each: 'box' },
      {
        list: [
          { box: 'b1', name: 'x', t: 1 },
          { box: 'b2', name: 'x', t: 2 },
        ],
      },
    ),
    {
      'list.b1.name': 'x',
      'list.b1.t': 1,
      'list.b2.name': 'x',
      'list.b2.t': 2,
    },
  )
})

t.test('tags from the payload keep the topic beside them', async t => {
  t.match(read({ tags: ['d', 'payload.unit.model'] }, { unit: { model: 'A', t: 5 } }), {
    points: [
      {
        tags: [
          ['d', 'a'],
          ['model', 'A'],
          ['topic', 'x/a'],
        ],
        fields: [['unit.t', 5]],
      },
    ],
  })
})

t.test('zones: daylight saving, the hour that comes twice, the hour that is skipped', async t => {
  const berlin = new Zone('Europe/Berlin')
  const instant = (text: string, about: number) =>
    new Date(berlin.instantOf(Date.parse(`${text}Z`) * 1_000, about * 1_000) / 1_000).toISOString()
  const after = Date.UTC(2026, 9, 25, 12)
  t.equal(instant('2026-07-01T12:00:00', after), '2026-07-01T10:00:00.000Z')
  t.equal(instant('2026-12-01T12:00:00', Date.UTC(2026, 11, 2)), '2026-12-01T11:00:00.000Z')
  t.equal(instant('2026-10-25T02:30:00', after), '2026-10-25T01:30:00.000Z', 'the later one')
  t.equal(instant('2026-10-25T02:30:00', Date.UTC(2026, 9, 25, 0, 31)), '2026-10-25T00:30:00.000Z', 'not in the future')
  t.equal(instant('2026-03-29T02:30:00', after), '2026-03-29T01:30:00.000Z', 'an hour that is no hour')
  const rule = { zone: 'America/New_York' }
  t.match(read(rule, { time: '2026-10-24T21:29:50', v: 1 }), { points: [{ time: receivedAt - 10e6 }] })
  t.throws(() => new Zone('Nowhere/At_All'), RangeError)
})

t.test('a clock without a zone that is wrong by whole quarters of an hour is in another zone', async t => {
  const local = (minutes: number) => new Date(receivedAt / 1_000 + minutes * 60_000).toISOString().slice(0, 19)
  for (const minutes of [0, 60, -420, 345, 765]) {
    t.match(read({}, { Time: local(minutes), v: 1 }), { quality: 'good', points: [{ time: receivedAt }] }, `${minutes}`)
  }
})

t.test('on change, with a heartbeat; a dead band; at most so often', async t => {
  const stored = (rule: Partial<MappingRule>, values: readonly number[]) => {
    const mapping = new Mapping([{ topic: 'x/{d}', measurement: 'm', ...rule }], json)
    return values.filter((value, i) => {
      const reading = mapping.read(message('x/a', { v: value }, receivedAt + i * 1e6))
      return 'points' in reading && mapping.thin('x/a', reading.points).length > 0
    })
  }
  t.same(stored({}, [1, 1, 2]), [1, 1, 2])
  t.same(stored({ onChange: true }, [1, 1, 2, 2, 1]), [1, 2, 1])
  t.same(stored({ onChange: { heartbeat: '3s' } }, [1, 1, 1, 1, 1]), [1, 1])
  t.same(stored({ deadband: 0.5 }, [1, 1.4, 1.6, 1.7, 2.2]), [1, 1.6, 2.2])
  t.same(stored({ every: '2s' }, [1, 2, 3, 4, 5]), [1, 3, 5])
})
