import t from 'tap'
import type { Message } from '../../src/model.js'
import { TopicLevels } from '../../src/pipeline/explore/topic-levels.js'
import { TopicTree } from '../../src/pipeline/explore/topic-tree.js'
import { TopicWatch } from '../../src/pipeline/explore/topic-watch.js'
import { unsharing } from '../../src/runtime/user-shares.js'

let sequence = 0
const message = (topic: string, more: Partial<Message> = {}): Message => ({
  sequence: ++sequence,
  receivedAt: Date.now() * 1_000,
  topic,
  payload: Buffer.from('21.5'),
  qos: 1,
  retain: false,
  clientId: 'one',
  user: '',
  packetId: 0,
  ...more,
})

t.test('a level is answered by pages, in the order of names, with counts of what is below', async t => {
  const tree = new TopicTree(unsharing)
  for (const room of ['kitchen', 'bath', 'attic']) {
    for (let i = 0; i < 3; i++) tree.observe(message(`home/${room}/t${i}`))
    tree.observe(message(`home/${room}`))
  }
  tree.judge('home/bath', { reason: 'not_utf8', detail: 'x' })
  tree.judge('home/attic', 'ack')
  const levels = new TopicLevels(tree)
  const first = await levels.answer({ limit: 200, rules: undefined })
  t.match(first, { topics: 12, levels: [{ name: 'home', topics: 12, messages: 12, isOpenable: true }], forgotten: 0 })
  t.notOk(first.levels[0]?.own)
  t.ok((first.levels[0]?.rate ?? 0) > 0)
  const page = await levels.answer({ under: 'home', limit: 2, rules: undefined })
  t.match(page, {
    levels: [{ name: 'attic', own: { fate: 'stored', size: 4, client: 'one' } }, { name: 'bath' }],
    next: 'bath',
  })
  t.match(page.levels[1]?.own, { fate: 'refused', reason: 'not_utf8' })
  const rest = await levels.answer({ under: 'home', after: 'bath', limit: 2, rules: undefined })
  t.same(
    rest.levels.map(({ name }) => name),
    ['kitchen'],
  )
  t.notOk(rest.next)
  const found = await levels.answer({ search: 'KITCHEN /t', limit: 2, rules: undefined })
  t.match(found, {
    topics: 3,
    levels: [{ name: 'home/kitchen/t0' }, { name: 'home/kitchen/t1' }],
    next: 'home/kitchen/t1',
  })
  t.same((await levels.answer({ under: 'nowhere', limit: 2, rules: undefined })).levels, [])
})

t.test('counts are those of the topics that may be read', async t => {
  const tree = new TopicTree(unsharing)
  for (const topic of ['a/x/1', 'a/x/2', 'a/y/1', 'a/secret', 'b/1', '$c/1']) tree.observe(message(topic))
  const levels = new TopicLevels(tree)
  const rules = { allow: ['a/#'], deny: ['a/secret', 'a/x/2'] }
  t.match(await levels.answer({ limit: 10, rules }), { topics: 2, levels: [{ name: 'a', topics: 2, messages: 2 }] })
  const inside = await levels.answer({ under: 'a', limit: 10, rules })
  t.same(
    inside.levels.map(({ name, topics }) => [name, topics]),
    [
      ['x', 1],
      ['y', 1],
    ],
  )
  t.same(
    (await levels.answer({ search: '1', limit: 10, rules })).levels.map(({ name }) => name),
    ['a/x/1', 'a/y/1'],
  )
  t.same((await levels.answer({ limit: 10, rules: { allow: [], deny: [] } })).levels, [])
})

t.test('beyond its bound the tree forgets topics that were silent for long, of the user with the most', async t => {
  const shares = { isOpen: false, usual: 0.5, own: new Map() }
  const tree = new TopicTree({ shares }, 200)
  for (let i = 0; i < 20; i++) tree.observe(message(`calm/${i}`, { user: 'calm' }))
  for (let i = 0; i < 5_000; i++) tree.observe(message(`flood/${i}`, { user: 'flood' }))
  t.ok(tree.size <= 200, `${tree.size}`)
  t.ok(tree.forgotten >= 4_800)
  t.equal(tree.find('calm')?.topics, 20)
  t.ok(tree.find('flood/4999'), 'the newest is there')
  for (let i = 0; i < 500; i++) tree.observe(message(`${'deep/'.repeat(40)}${i}/${'x/'.repeat(40)}`, { user: 'flood' }))
  t.ok(tree.size <= 200)
  let nodes = 0
  const count = (node = tree.root): void => {
    nodes++
    for (const child of node.children?.values() ?? []) count(child)
  }
  count()
  t.ok(nodes <= 201, `${nodes} levels`)
})

t.test('a topic that is watched keeps its last messages, and says from where on nothing is missing', async t => {
  const watch = new TopicWatch()
  t.same(watch.ask('a', 0, 10), { messages: [], from: 10 })
  for (let i = 0; i < 300; i++) watch.observe(message('a'))
  watch.observe(message('b'))
  const { messages, from } = watch.ask('a', 1, 999)
  t.equal(messages.length, 100)
  t.equal(from, messages[0]?.sequence)
  t.equal(watch.ask('a', 100_000, 777).from, 777, 'nobody asked for too long')
})

t.test('400,000 topics', async t => {
  const tree = new TopicTree(unsharing, 500_000)
  for (let i = 0; i < 400_000; i++) tree.observe(message(`plant/l${i % 40}/m${i % 4_000}/v${i}`))
  t.equal(tree.size, 400_000)
  const flat = new TopicTree(unsharing, 500_000)
  for (let i = 0; i < 400_000; i++) flat.observe(message(`flat/${i}`))
  let longest = 0
  let last = performance.now()
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
  }, 1)
  const rules = { allow: ['plant/#', 'flat/#'], deny: ['plant/l3/m3/v3'] }
  for (const [one, query] of [
    [tree, { under: 'plant/l3', limit: 200, rules: undefined }],
    [tree, { limit: 200, rules }],
    [tree, { search: 'v39999', limit: 200, rules }],
    [flat, { under: 'flat', limit: 200, rules: undefined }],
    [flat, { under: 'flat', after: '250000', limit: 200, rules }],
  ] as const) {
    const began = performance.now()
    const { topics, levels } = await new TopicLevels(one).answer(query)
    t.ok(topics > 0 && levels.length > 0)
    t.comment(`${JSON.stringify(query)}: ${Math.round(performance.now() - began)} ms`)
  }
  clearInterval(timer)
  t.comment(`longest turn ${Math.round(longest)} ms`)
})
