import t from 'tap'
import { ruleMistakes } from '../../../src/config/settings.js'
import { TopicTree } from '../../../src/pipeline/explore/topic-tree.js'
import { proposedRules } from '../../../src/pipeline/own-rules/proposal.js'
import { unsharing } from '../../../src/runtime/user-shares.js'

function treeOf(...topics: readonly string[]): TopicTree {
  const tree = new TopicTree(unsharing)
  for (const topic of topics) tree.restore(topic, 1, 'client', '')
  return tree
}

const cases: readonly [topics: readonly string[], rule: string, measurement: string][] = [
  [['home/kitchen/lamp/state', 'home/cellar/freezer/state'], 'home/{room}/{device}/state', 'home'],
  [['plant/line1/oven-3/data'], 'plant/{line}/{oven}/data', 'plant'],
  [['plant/line1/line2'], 'plant/{line}/{line2}', 'plant'],
  [['rooms/kitchen/t', 'rooms/hall/t'], 'rooms/{room}/t', 'rooms'],
  [['garden/pump/state'], 'garden/{device}/state', 'garden'],
  [['garden/pump'], 'garden/{device}', 'garden'],
  [['a4c138f1e2d3/telemetry'], '{device}/telemetry', 'telemetry'],
  [['shellyplus1pm-441793a1b2c3/status'], '{device}/status', 'status'],
  [['zigbee2mqtt/Freezer', 'zigbee2mqtt/Lamp', 'shellies/plug/power'], 'zigbee2mqtt/{device}', 'zigbee2mqtt'],
  [['alone'], 'alone', 'alone'],
  [['/x/y'], '/{device}/y', 'y'],
  [['a/{b}/c'], 'a/{device}/c', 'a'],
]

for (const [topics, rule, measurement] of cases) {
  t.test(`${topics[0]} is proposed as ${rule}`, async t => {
    const [first] = proposedRules(treeOf(...topics), topics[0] ?? '')
    t.match(first, { topic: rule, measurement })
    t.same(first && ruleMistakes(first), [])
  })
}

t.test('a rule that decides already is where the proposals begin; one that names files is not copied', async t => {
  const rule = { topic: 'a/{b}', measurement: 'm', types: { x: 'number' as const }, fields: { x: 'y' } }
  const [same, untyped, whole] = proposedRules(treeOf('a/1'), 'a/1', rule)
  t.same(same, rule)
  t.same(untyped, { topic: 'a/{b}', measurement: 'm', fields: { x: 'y' } })
  t.same(whole, { topic: 'a/{b}', measurement: 'm' })
  const [fresh] = proposedRules(treeOf('a/1'), 'a/1', { topic: 'a/#', measurement: 'm', codec: 'x.js' })
  t.same(fresh, { topic: 'a/{device}', measurement: 'a' })
})
