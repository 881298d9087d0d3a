import t from 'tap'
import {
  encodeLevel,
  FilterIndex,
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

t.test('matching: the function and the index agree with the specification', async t => {
  const index = new FilterIndex<string>()
  for (const [filter] of cases) index.add(filter, filter)
  for (const [filter, topic, expected] of cases) {
    t.equal(matches(filter, topic), expected, `${filter} ${expected ? 'matches' : 'does not match'} ${topic}`)
    t.equal(found(index, topic).includes(filter), expected, `index: ${filter} · ${topic}`)
  }
})

t.test('the index forgets what is removed, also what it had remembered', async t => {
  const index = new FilterIndex<number>()
  index.add('a/+', 1)
  index.add('a/b', 2)
  index.add('a/+', 3)
  t.same(found(index, 'a/b').sort(), [1, 2, 3])
  index.remove('a/+', 1)
  index.remove('a/+', 99)
  index.remove('no/such', 1)
  t.same(found(index, 'a/b').sort(), [2, 3])
  index.remove('a/b', 2)
  index.remove('a/+', 3)
  t.same(found(index, 'a/b'), [])
  index.add('a/b', 4)
  t.same(found(index, 'a/b'), [4])
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

t.test(
  'a hundred thousand filters and topics: each topic finds its own, and ten thousand values leave one filter',
  async t => {
    const index = new FilterIndex<number>()
    for (let i = 0; i < 100_000; i++) index.add(i % 2 === 0 ? `site/${i}/+/temp` : `site/${i}/room/temp`, i)
    const wrong = Array.from({ length: 100_000 }, (_, i) => i).filter(i => {
      const values = found(index, `site/${i}/room/temp`)
      return values.length !== 1 || values[0] !== i
    })
    t.same(wrong, [])
    for (let i = 0; i < 10_000; i++) index.add('all/#', i)
    t.equal(found(index, 'all/of/them').length, 10_000)
    for (let i = 0; i < 10_000; i++) index.remove('all/#', i)
    t.same(found(index, 'all/of/them'), [])
  },
)

t.test('what was found stays true while values come and go', async t => {
  const index = new FilterIndex<string>()
  index.add('a/#', 'first')
  const sets = index.match('a/b')
  index.add('a/#', 'second')
  t.equal(index.match('a/b'), sets, 'remembered')
  t.same(found(index, 'a/b'), ['first', 'second'])
  index.remove('a/#', 'first')
  index.remove('a/#', 'second')
  t.same(found(index, 'a/b'), [])
  index.add('a/#', 'third')
  t.same(found(index, 'a/b'), ['third'])
  t.same(found(index, 'a'), ['third'], 'the parent level')
})

function found<T>(index: FilterIndex<T>, topic: string): T[] {
  return index.match(topic).flatMap(values => [...values])
}
