import t from 'tap'
import { keepTimes, type MappingRule } from '../../../src/config/settings.js'
import type { SeriesId, Tags } from '../../../src/model.js'
import { Mapping } from '../../../src/pipeline/mapping.js'
import { KeepRules } from '../../../src/pipeline/retention/keep-rules.js'

const json = { depth: 16, fields: 2_000, inflated: 4e6 }

function rulesOf(mapping: readonly MappingRule[], usual = '') {
  return new KeepRules(new Mapping(mapping, json), keepTimes(usual) ?? {})
}

const series = (measurement: string, tags: Tags, field = 'value'): SeriesId => ({ measurement, tags, field })

const rules: readonly MappingRule[] = [
  { topic: 'plant/{line}/{machine}/energy', measurement: 'energy', keep: { raw: '30d', '1m': '1y' } },
  { topic: 'plant/{line}/{machine}/#', measurement: 'machines', keep: ['temp*'] },
  { topic: 'lab/{room}', measurement: 'shared', tags: ['room'], keep: { raw: '7d' } },
  { topic: 'office/{room}', measurement: 'shared', tags: ['room'] },
]

t.test('the rule that makes a series says how long it is kept, the setting all else', async t => {
  const of = rulesOf(rules, 'raw=90d')
  t.equal(of.usual, 'raw=90d')
  const tags: Tags = [
    ['line', '1'],
    ['machine', 'm'],
  ]
  t.equal(of.of(series('energy', tags)), 'raw=30d,1m=1y')
  t.equal(of.of(series('energy', tags, 'value_str')), 'raw=30d,1m=1y', 'the field beside is of the same message')
  t.equal(of.of(series('energy', [...tags, ['publisher', 'ann']])), 'raw=30d,1m=1y')
  t.equal(of.of(series('machines', tags)), undefined, 'a list is of fields')
  t.equal(of.of(series('other', [['topic', 'other/x']])), undefined)
})

t.test('where several rules make a series, the longest time counts', async t => {
  t.equal(rulesOf(rules, 'raw=90d').of(series('shared', [['room', 'a']])), 'raw=90d')
  t.equal(rulesOf(rules).of(series('shared', [['room', 'a']])), '', 'for ever, as the other rule says nothing')
})

t.test('a roll-up is kept at least as long as what is finer', async t => {
  const of = rulesOf([{ topic: 'a/{b}', measurement: 'a', keep: { '1m': '30d' } }], 'raw=90d,1m=1y')
  t.equal(of.of(series('a', [['b', 'x']])), 'raw=90d,1m=90d')
})

t.test('without times in rules nothing is looked at', async t => {
  const of = rulesOf([rules[1] as MappingRule])
  t.notOk(of.hasTimes)
  t.equal(of.of(series('machines', [])), undefined)
})
