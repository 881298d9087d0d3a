import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Access } from '../../src/access/rules.js'
import { HubError } from '../../src/errors.js'
import type { FeedChunk, FeedItem, FeedQuery } from '../../src/pipeline/pipeline-api.js'
import { Feeds } from '../../src/push/feeds.js'

const item = (sequence: number, topic = 'a'): FeedItem => ({
  kind: 'live',
  topic,
  sequence,
  json: JSON.stringify({ sequence, filler: 'x'.repeat(1_500) }),
})

const end = (sequence: number, items: readonly FeedItem[] = []): FeedChunk => ({
  items,
  end: { sequence, series: 0, truncated: false },
})

/** The processor thread as a feed sees it: each chunk is given by the test. */
function pipeline() {
  const opened: FeedQuery[] = []
  const chunks: (FeedChunk | Error)[] = []
  return {
    opened,
    chunks,
    openFeed: async (query: FeedQuery) => opened.push(query),
    nextOfFeed: async () => {
      while (chunks.length === 0) await sleep(1)
      const chunk = chunks.shift() as FeedChunk | Error
      if (chunk instanceof Error) throw chunk
      return chunk
    },
    closeFeed: async () => {},
  }
}

function open(rules?: Access) {
  const processor = pipeline()
  const counts = { merged: 0, dropped: 0 }
  const feeds = new Feeds({
    perUser: 10,
    pipeline: processor,
    authority: { open: false, user: () => ({}), access: () => undefined },
    broker: { historyFrom: () => ({ retainedBy: () => [] }) },
    counters: { feeds: counts },
  })
  const feed = feeds.open({ user: 'u', access: rules }, { filters: ['#'], historyMs: 0, points: 1 })
  return { processor, counts, feeds, feed }
}

t.test('what waited comes before what is read again after the processor thread was replaced', async t => {
  const { processor, feeds, feed } = open()
  processor.chunks.push(end(5))
  t.match(await feed.next(), [{ kind: 'ready', sequence: 5 }])
  await feeds.feed([item(6), item(7)])
  feeds.restarted()
  processor.chunks.push(new HubError('processor_down', 'ended'), end(9, [item(8), item(9)]))
  t.same(
    (await feed.next())?.map(({ sequence }) => sequence),
    [6, 7],
  )
  t.same(
    (await feed.next())?.map(({ sequence }) => sequence),
    [8, 9],
    'and no second marker',
  )
  t.same(
    processor.opened.map(({ after }) => after),
    [undefined, 7, 7],
  )
  await feeds.feed([item(10)])
  t.same(
    (await feed.next())?.map(({ sequence }) => sequence),
    [10],
  )
})

t.test('while merged events are sent, a receiver that breaks off continues before them', async t => {
  const { processor, counts, feeds, feed } = open()
  processor.chunks.push(end(0))
  await feed.next()
  const total = 4_000
  await feeds.feed(Array.from({ length: total }, (_, i) => item(i + 1, `t${i % 400}`)))
  const all: { kind: string; sequence: number; topic: string; json: string }[] = []
  while (all.at(-1)?.kind !== 'caught_up') all.push(...((await feed.next()) ?? []))
  const behind = all.findIndex(({ kind }) => kind === 'behind')
  const inOrder = all.slice(0, behind)
  t.same(
    inOrder.map(({ sequence }) => sequence),
    inOrder.map((_, i) => i + 1),
  )
  const merged = all.slice(behind + 1, -1)
  t.equal(merged.length, 400, 'one for each topic')
  t.ok(merged.every(({ sequence }) => sequence === 0))
  t.equal(all.at(-1)?.sequence, total)
  t.equal(inOrder.length + merged.length + counts.merged, total)
})

t.test('rights that are narrowed apply to what waits, and to a feed that has just begun', async t => {
  const { processor, feeds, feed } = open()
  processor.chunks.push({ items: [item(1)] })
  await feed.next()
  const access = new Access('u', '', [{ effect: 'allow', verb: 'read', filter: 'a', place: '' }])
  feed.permit(access)
  processor.chunks.push(end(2))
  const next = await feed.next()
  t.match(next, [{ kind: 'ready' }])
  t.same(processor.opened[1]?.rules, { allow: ['a'], deny: [] })
  await feeds.feed([item(3, 'a'), item(4, 'b')])
  t.same(
    (await feed.next())?.map(({ topic }) => topic),
    ['a'],
  )
  feed.permit(undefined)
  await feeds.feed([item(5, 'a'), item(6, 'b')])
  feed.permit(access)
  t.same(
    (await feed.next())?.map(({ topic }) => topic),
    ['a'],
  )
  feed.close()
  t.equal(await feed.next(), undefined)
})

t.test('too much that arrives while a chunk is made is read from the spool', async t => {
  const { processor, feeds, feed } = open()
  const next = feed.next()
  await sleep(20)
  await feeds.feed(Array.from({ length: 20_001 }, (_, i) => ({ ...item(i + 1), json: '{}' })))
  processor.chunks.push(end(10, [item(10)]))
  t.same(
    (await next)?.map(({ sequence }) => sequence),
    [10],
  )
  processor.chunks.push(end(20_001))
  t.match(await feed.next(), [{ kind: 'ready', sequence: 20_001 }])
  t.equal(processor.opened[1]?.after, 10)
})
