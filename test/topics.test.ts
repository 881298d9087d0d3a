import t from 'tap'
import {
  encodeLevel,
  isTopicFilter,
  isTopicName,
  matches,
  parsePattern,
  publishFault,
  routingKeyOf,
  topicOf,
} from '../src/topics.js'

// filter, topic, does it match? [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1] [MQTT-4.7.3-1]
const cases: readonly (readonly [filter: string, topic: string, matches: boolean])[] = [
  ['a/b', 'a/b', true],
  ['a/b', 'a/B', false],
  ['a/b', 'a/b/c', false],
  ['#', 'a/b', true],
  ['#', '/', true],
  ['sport/#', 'sport', true],
  ['sport/#', 'sport/tennis/player1', true],
  ['sport/#', 'sports', false],
  ['+', 'finance', true],
  ['+', '/finance', false],
  ['+/+', '/finance', true],
  ['/+', '/finance', true],
  ['+/+', 'a', false],
  ['a/+/c', 'a//c', true],
  ['a/+/c', 'a/b/c', true],
  ['a/+', 'a', false],
  ['a/+/#', 'a/b', true],
  ['#', '$SYS/x', false],
  ['+/x', '$SYS/x', false],
  ['$SYS/#', '$SYS/x', true],
  ['$SYS/+', '$SYS/x', true],
  ['a/$x', 'a/$x', true],
  ['constructor/+', 'constructor/__proto__', true],
]

t.test('matching agrees with the specification', async t => {
  for (const [filter, topic, expected] of cases) t.equal(matches(filter, topic), expected, `${filter} ← ${topic}`)
})

t.test('names and filters', async t => {
  for (const topic of ['a', '/', 'a/b', ' ', 'ü/$x']) t.ok(isTopicName(topic), topic)
  for (const topic of ['', 'a/+', '#', 'a\0b']) t.notOk(isTopicName(topic), JSON.stringify(topic))
  for (const filter of ['#', '+', 'a/+/b/#', '/', '+/+']) t.ok(isTopicFilter(filter), filter)
  for (const filter of ['', 'a#', 'a/#/b', 'a+', '+a/b', 'a\0']) t.notOk(isTopicFilter(filter), JSON.stringify(filter))
})

t.test("what may be published to: a name, not the hub's own, of sane length in bytes", async t => {
  for (const topic of ['a', 'a/$x', 'x'.repeat(4_096), 'ä'.repeat(2_048)]) t.equal(publishFault(topic), undefined)
  for (const topic of ['', 'a/+', '$SYS/x', 'x'.repeat(4_097), 'ä'.repeat(2_049), '😀'.repeat(1_025)])
    t.type(publishFault(topic), 'string')
})

t.test('routing keys go there and back', async t => {
  t.equal(routingKeyOf('home/kitchen/temp'), 'home.kitchen.temp')
  t.equal(routingKeyOf('a.b/c*d/#e/100%'), 'a%2Eb.c%2Ad.%23e.100%25')
  for (const topic of ['a', 'a/b', '/a//b/', 'v1.2/x', '%2E/.', 'ä/*#/%', '%252E']) {
    t.equal(topicOf(routingKeyOf(topic)), topic, topic)
  }
})

t.test('any client id fits one level', async t => {
  t.equal(encodeLevel('a/b+c#d%e\n'), 'a%2Fb%2Bc%23d%25e%0A')
  t.equal(encodeLevel('gerät-1'), 'gerät-1')
})

t.test('patterns with named levels', async t => {
  const pattern = parsePattern('home/{room}/{device}/telemetry')
  if (typeof pattern === 'string') throw new Error(pattern)
  t.equal(pattern.filter, 'home/+/+/telemetry')
  t.same(pattern.match('home/kitchen/t1/telemetry'), [
    ['room', 'kitchen'],
    ['device', 't1'],
  ])
  t.equal(pattern.match('home/kitchen/telemetry'), undefined)
  const rest = parsePattern('a/{all...}')
  t.same(typeof rest !== 'string' && rest.match('a/b/c'), [['all', 'b/c']])
  const fill = (text: string, named: Record<string, string>) => {
    const parsed = parsePattern(text)
    return typeof parsed === 'string' ? parsed : parsed.fill(new Map(Object.entries(named)))
  }
  t.same(fill('home/{room}/{device}/+', { room: 'kitchen' }), ['home/kitchen/+/+'])
  t.same(fill('a/{all...}', {}), ['a/#'])
  t.same(fill('a/{all...}', { all: 'b/c' }), ['a/b/c'])
  t.same(fill('a/{all...}', { all: '' }), ['a/', 'a'])
  t.same(fill('{x}', { x: '' }), [], 'no topic is empty')
  t.same(fill('{x}/b', { x: '' }), ['/b'])
  for (const bad of ['a/b', '+', '#', 'a+', '$SYS', '\u0000']) t.same(fill('{x}/b', { x: bad }), [], bad)
  t.same(fill('{all...}', { all: '$SYS/x' }), [])
  t.same(fill('a/{all...}', { all: 'b/#' }), [])
  for (const bad of ['a/{x', 'a/{x...}/b', '{x}/{x}', 'a/#/b', 'pre{x}']) t.type(parsePattern(bad), 'string', bad)
})
