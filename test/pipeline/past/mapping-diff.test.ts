import t from 'tap'
import type { MappingRule } from '../../../src/config/settings.js'
import { fieldType, type Message, seriesKey } from '../../../src/model.js'
import { Mapping } from '../../../src/pipeline/mapping.js'
import { MappingComparison } from '../../../src/pipeline/past/mapping-diff.js'
import { Random } from '../../fixtures/packets.js'

const json = { depth: 16, fields: 1_000, inflated: 1_000_000 }

let sequence = 0
const message = (topic: string, payload: string): Message => ({
  sequence: ++sequence,
  receivedAt: 1_763_710_000_000_000 + sequence * 1e6,
  topic,
  payload: Buffer.from(payload),
  qos: 1,
  retain: false,
  clientId: 'c',
  user: 'someone',
  packetId: 0,
})

const compare = (before: readonly MappingRule[], after: readonly MappingRule[], messages: readonly Message[]) => {
  const comparison = new MappingComparison(new Mapping(before, json), new Mapping(after, json))
  for (const one of messages) comparison.add(one)
  return comparison.result()
}

t.test('says what is stored, dead and ignored, and which series appear, vanish and change type', async t => {
  const before = [{ topic: 'plant/{machine}', measurement: 'plant' }]
  const after: MappingRule[] = [
    { topic: 'plant/noise', measurement: 'x', ignore: true },
    { topic: 'plant/{machine}', measurement: 'plant', types: { rpm: 'text' }, fields: { rpm: 'rpm', t: 'temp' } },
  ]
  const diff = compare(before, after, [
    message('plant/a', '{"rpm":5,"t":1}'),
    message('plant/a', '{"rpm":6,"t":2}'),
    message('plant/b', '{"only":1}'),
    message('plant/noise', '{"rpm":1}'),
    message('plant/c', '{"rpm":'),
    message('other', '7'),
  ])
  t.match(diff.before, { messages: 6, stored: 5, ignored: 0, dead: 1, points: 5, reasons: { bad_json: 1 } })
  t.match(diff.after, { stored: 3, ignored: 1, dead: 2, reasons: { bad_json: 1, no_reading: 1 } })
  t.same(diff.series, { before: 5, after: 3, same: 1, appear: 1, vanish: 3, retyped: 1 })
  t.same(diff.appear, [{ series: 'plant,machine=a temp', topic: 'plant/a', types: 'number', after: 1 }])
  t.same(diff.retyped, [
    { series: 'plant,machine=a rpm', topic: 'plant/a', types: 'number → text', before: 5, after: '5' },
  ])
  t.same(
    new Set(diff.vanish.map(({ series }) => series)),
    new Set(['plant,machine=a t', 'plant,machine=b only', 'plant,machine=noise rpm']),
  )
  t.match(diff.fates, [
    { before: 'stored', after: 'dead: no_reading', messages: 1, topic: 'plant/b' },
    { before: 'stored', after: 'ignored: rule', messages: 1, topic: 'plant/noise' },
  ])
})

t.test('agrees with a plain computation, whatever the rules and messages', async t => {
  const seed = Date.now() | 0
  t.comment(`seed ${seed}`)
  const random = new Random(seed)
  const name = () => random.pick(['a', 'b', 'c', 'd1', 'd2'])
  const rule = (): MappingRule => ({
    topic: random.pick(['#', `${name()}/#`, `${name()}/{x}`, '{x}/{y}', `+/${name()}`]),
    measurement: random.pick(['m', 'n']),
    ...(random.chance(20) && { ignore: true }),
    ...(random.chance(40) && { fields: { v: random.pick(['v', 'w']), u: 'u' } }),
    ...(random.chance(40) && { types: { v: random.pick(['text', 'number'] as const) } }),
    ...(random.chance(30) && { deadband: { '*': 3 } }),
  })
  const rules = () => Array.from({ length: random.below(4) }, rule)
  const payload = () =>
    random.pick([
      () => String(random.below(9)),
      () => JSON.stringify({ v: random.pick([1, 5, 'x', true, '7']), u: random.below(5) }),
      () => JSON.stringify({ [name()]: random.below(9) }),
      () => '{"broken',
    ])()
  for (let round = 0; round < 60; round++) {
    const [before, after] = [rules(), rules()]
    const messages = Array.from({ length: 120 }, () => message(`${name()}/${name()}`, payload()))
    const diff = compare(before, after, messages)
    const [old, fresh] = [plain(before, messages), plain(after, messages)]
    t.same(diff.before, old.tally, `round ${round}`)
    t.same(diff.after, fresh.tally)
    const kinds = (kind: 'appear' | 'vanish' | 'retyped') => diff[kind].map(({ series }) => series).sort()
    const all = new Set([...old.series.keys(), ...fresh.series.keys()])
    const expected = { appear: [] as string[], vanish: [] as string[], retyped: [] as string[] }
    for (const key of [...all].sort()) {
      const [one, other] = [old.series.get(key), fresh.series.get(key)]
      if (!one) expected.appear.push(key)
      else if (!other) expected.vanish.push(key)
      else if ([...one].sort().join() !== [...other].sort().join()) expected.retyped.push(key)
    }
    t.same({ appear: kinds('appear'), vanish: kinds('vanish'), retyped: kinds('retyped') }, expected)
    t.equal(diff.series.before, old.series.size)
    t.equal(diff.series.after, fresh.series.size)
  }
})

function plain(rules: readonly MappingRule[], messages: readonly Message[]) {
  const mapping = new Mapping(rules, json)
  const tally = {
    messages: 0,
    stored: 0,
    ignored: 0,
    dead: 0,
    partly: 0,
    points: 0,
    reasons: {} as Record<string, number>,
  }
  const series = new Map<string, Set<string>>()
  for (const one of messages) {
    tally.messages++
    const read = mapping.read(one)
    if ('reason' in read) {
      tally.dead++
      tally.reasons[read.reason] = (tally.reasons[read.reason] ?? 0) + 1
      continue
    }
    const kept = mapping.thin(one.topic, read.points)
    tally.points += kept.length
    if (read.refused) tally.partly++
    if (kept.length === 0 && (read.ignored || read.points.length > 0)) tally.ignored++
    else tally.stored++
    for (const { measurement, tags, fields } of read.points) {
      for (const [field, value] of fields) {
        const key = seriesKey({ measurement, tags, field })
        series.set(key, (series.get(key) ?? new Set()).add(fieldType(value)))
      }
    }
  }
  return { tally, series }
}

t.test('twenty thousand series fit in little memory, and are counted right', async t => {
  const comparison = new MappingComparison(
    new Mapping([], json),
    new Mapping([{ topic: 'd/{device}', measurement: 'd', tags: ['device'] }], json),
  )
  for (let n = 0; n < 20_000; n++) comparison.add(message(`d/${n}`, '1'))
  const { series, appear, vanish } = comparison.result()
  t.same(series, { before: 20_000, after: 20_000, same: 0, appear: 20_000, vanish: 20_000, retyped: 0 })
  t.equal(appear.length, 100)
  t.equal(vanish.length, 100)
})
