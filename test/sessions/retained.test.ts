import t from 'tap'
import type { RetainedDelivery } from '../../src/sessions/delivery.js'
import { type Retained, RetainedMessages } from '../../src/sessions/retained.js'
import { isTopicFilter, matches } from '../../src/topics.js'
import { Random } from '../fixtures/packets.js'

const retained = (topic: string, text = topic): RetainedDelivery => ({
  topic,
  payload: Buffer.from(text),
  qos: 1,
  clientId: 'c',
})

const found = (messages: RetainedMessages, filter: string) =>
  [...messages.match(filter)].map(({ topic, payload }) => `${topic}=${payload}`).sort()

const levels = ['', 'a', 'b', '$a', '$SYS', 'constructor', '__proto__', 'ü', ' ']

function someLevels(random: Random, more: readonly string[] = []): string[] {
  return Array.from({ length: 1 + random.below(4) }, () => random.pick([...levels, ...more]))
}

function someFilter(random: Random): string {
  const filter = someLevels(random, ['+', '+', '+'])
  if (random.chance(50)) filter.push('#')
  return filter.join('/')
}

t.test('whatever is set, replaced and deleted, a filter finds what it matches', async t => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed)
    const messages = new RetainedMessages(() => 0)
    const reference = new Map<string, string>()
    const known: string[] = []
    for (let step = 0; step < 400; step++) {
      const topic = random.chance(30) && known.length > 0 ? random.pick(known) : someLevels(random).join('/')
      if (topic === '') continue
      if (random.chance(65)) {
        messages.set(retained(topic, `${step}`))
        reference.set(topic, `${step}`)
        known.push(topic)
      } else if (messages.delete(topic) !== reference.delete(topic)) t.fail(`seed ${seed}, step ${step}: ${topic}`)
      if (messages.get(topic)?.payload.toString() !== reference.get(topic))
        t.fail(`seed ${seed}, step ${step}: ${topic}`)
      const filter = random.pick(['#', '+', '+/#', '/#', someFilter(random), someFilter(random), topic])
      if (!isTopicFilter(filter)) continue
      const expected = [...reference].filter(([topic]) => matches(filter, topic)).map(([a, b]) => `${a}=${b}`)
      const actual = found(messages, filter)
      if (JSON.stringify(actual) !== JSON.stringify(expected.sort())) {
        t.same(actual, expected, `seed ${seed}, step ${step}: ${filter}`)
        return
      }
    }
    t.equal(messages.count, reference.size)
    t.same(
      [...messages.all()].map(({ topic, payload }) => [topic, payload.toString()]).sort(),
      [...reference].sort(),
      `seed ${seed}`,
    )
    for (const topic of random.chance(50) ? [...reference.keys()] : [...reference.keys()].reverse()) {
      messages.delete(topic)
    }
    t.same([messages.count, messages.bytes, found(messages, '#')], [0, 0, []])
  }
})

t.test('a wildcard at the front hides topics that begin with $, and only those', async t => {
  const messages = new RetainedMessages(() => 0)
  for (const topic of ['$SYS/x', 'a/$SYS', 'a/b/$x/c', '/$x', '$']) messages.set(retained(topic))
  const topics = (filter: string) => [...messages.match(filter)].map(({ topic }) => topic).sort()
  t.same(topics('#'), ['/$x', 'a/$SYS', 'a/b/$x/c'])
  t.same(topics('+/#'), ['/$x', 'a/$SYS', 'a/b/$x/c'])
  t.same(topics('+/+'), ['/$x', 'a/$SYS'])
  t.same(topics('$SYS/#'), ['$SYS/x'])
  t.same(topics('$SYS/+'), ['$SYS/x'])
  t.same(topics('$'), ['$'])
})

t.test('bytes: grow with topic and payload, a replacement counts once, and all of it is given back', async t => {
  const messages = new RetainedMessages(() => 0)
  messages.set(retained('a/b', 'x'.repeat(1_000)))
  const one = messages.bytes
  t.ok(one > 1_000)
  messages.set(retained('a/b', 'x'.repeat(5_000)))
  t.equal(messages.bytes, one + 4_000)
  messages.set(retained('a/b', ''))
  t.equal(messages.bytes, one - 1_000)
  messages.set(retained(`a/${'b'.repeat(1_000)}`, ''))
  t.ok(messages.bytes > one)
  t.equal(messages.delete('a/b'), true)
  t.equal(messages.delete('a/b'), false)
  t.equal(messages.delete('a'), false, 'on the way to a message, but none itself')
  t.equal(messages.delete(`a/${'b'.repeat(1_000)}`), true)
  t.equal(messages.bytes, 0)
})

t.test('the payload is copied, to bytes of its own', async t => {
  const messages = new RetainedMessages(() => 0)
  const chunk = Buffer.from('before PAYLOAD after')
  messages.set({ ...retained('t'), payload: chunk.subarray(7, 14) })
  chunk.fill(0)
  const { payload } = messages.get('t') as Retained
  t.equal(payload.toString(), 'PAYLOAD')
  messages.set({ ...retained('large'), payload: Buffer.alloc(10_000, 'before').subarray(100, 9_000) })
  t.equal(messages.get('large')?.payload.buffer.byteLength, 8_900)
})

t.test('what changes while a search is under way does not end it, nor bring what is gone', async t => {
  for (const filter of ['#', 'a/+', '+/#']) {
    const messages = new RetainedMessages(() => 0)
    for (let n = 0; n < 100; n++) messages.set(retained(`a/${n}`, 'old'))
    const seen = new Map<string, string>()
    let n = 0
    for (const { topic, payload } of messages.match(filter)) {
      seen.set(topic, payload.toString())
      if (n < 30) messages.set(retained(`a/${n + 10}`, 'new'))
      if (n < 40) messages.delete(`a/${99 - n}`)
      n++
    }
    t.equal(seen.get('a/0'), 'old')
    t.equal(seen.get('a/30'), 'new', `${filter}: as it is when its turn comes`)
    t.notOk(seen.has('a/70'))
    t.equal(n, 60)
  }
  const messages = new RetainedMessages(() => 0)
  messages.set(retained('exact', 'old'))
  const search = messages.match('exact')
  messages.set(retained('exact', 'new'))
  t.same(
    [...search].map(({ payload }) => payload.toString()),
    ['new'],
  )
})

t.test('a hundred thousand topics: each is found by itself, by its group, and with all', async t => {
  const messages = new RetainedMessages(() => 0)
  const count = 100_000
  for (let n = 0; n < count; n++) messages.set(retained(`site/${n % 1_000}/device/${n}/state`, `${n}`))
  t.equal(messages.count, count)
  let wrong = 0
  for (let n = 0; n < count; n++) {
    const [one, ...more] = messages.match(`site/${n % 1_000}/device/${n}/state`)
    if (one?.payload.toString() !== `${n}` || more.length > 0) wrong++
  }
  t.equal(wrong, 0)
  let inGroups = 0
  for (let group = 0; group < 1_000; group++) inGroups += [...messages.match(`site/${group}/device/+/state`)].length
  t.equal(inGroups, count)
  t.equal([...messages.match('#')].length, count)
  t.equal([...messages.match('+/+/device/#')].length, count)
  t.same([...messages.match('site/1000/#'), ...messages.match('site/+/device/+')], [])
  for (let n = 0; n < count; n++) messages.delete(`site/${n % 1_000}/device/${n}/state`)
  t.same([messages.count, messages.bytes], [0, 0])
})

t.test('a topic of as many levels as fit is found, counted for what it takes, and taken away', async t => {
  const messages = new RetainedMessages(() => 0)
  const topic = 'x/'.repeat(2_048).slice(0, -1)
  messages.set(retained(topic, 'deep'))
  for (const filter of ['#', 'x/#', topic, `${'+/'.repeat(31)}#`]) t.same(found(messages, filter), [`${topic}=deep`])
  // Each level of its own is a node with a map.
  t.ok(messages.bytes > 2_048 * 200, `${messages.bytes} bytes`)
  const bytes = messages.bytes
  messages.set(retained(`${topic.slice(0, -1)}y`, 'beside it'))
  t.ok(messages.bytes < bytes + 10_000, 'levels shared are counted once')
  messages.delete(topic)
  messages.delete(`${topic.slice(0, -1)}y`)
  t.same([messages.count, messages.bytes, found(messages, '#')], [0, 0, []])
})

t.test('searches that find nothing pause together, however short each of them is', async t => {
  const messages = new RetainedMessages(() => 0)
  for (let n = 0; n < 200; n++) messages.set({ topic: `a/${n}`, payload: Buffer.from('x'), qos: 0, clientId: '' })
  let pauses = 0
  for (let n = 0; n < 100; n++) for (const found of messages.search(`a/+/no${n}`)) if (found === undefined) pauses++
  t.ok(pauses >= (100 * 200) / 500 - 1, `${pauses} pauses in 20,000 steps`)
})
