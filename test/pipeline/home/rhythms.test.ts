import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Rhythms } from '../../../src/pipeline/home/rhythms.js'
import { SeenTopic } from '../../../src/pipeline/home/topic-book.js'

const second = 1e6

function topicOf(name: string, rests: number): SeenTopic {
  const seen = new SeenTopic(name)
  for (let i = 0; i < rests; i++) seen.rhythm.take(2 * second)
  return seen
}

t.test('a rhythm is known after a restart, and silence from before it counts', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'rhythms-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const problems: string[] = []
  const incidents = { report: (_: string, text: string) => void problems.push(text) }
  const make = (topics: readonly SeenTopic[]) =>
    new Rhythms({ dir, topics: { all: () => topics[Symbol.iterator]() as MapIterator<SeenTopic> }, incidents })

  const first = make([topicOf('a', 20), topicOf('new', 3)])
  first.start()
  const now = Date.now() * 1_000
  t.ok(first.silence(now, now + 5 * second) === 5 * second, 'while it listens, time is silence')
  await first.stop()

  const second_ = make([])
  second_.start()
  const seen = new SeenTopic('a')
  second_.restore(seen)
  t.equal(seen.rhythm.usual, 2 * second)
  const unknown = new SeenTopic('new')
  second_.restore(unknown)
  t.equal(unknown.rhythm.usual, undefined, 'what was not learned is not kept')
  const later = Date.now() * 1_000
  const silence = second_.silence(later - 600 * second, later)
  t.ok(silence > 590 * second && silence <= 601 * second, `silent before and after: ${silence / second} s`)
  await second_.stop()
  t.match(readFileSync(join(dir, 'rhythms.json'), 'utf8'), '"topics":{}', 'what is gone is not kept')

  // Away for an hour: what came meanwhile nobody knows.
  const at = (Date.now() - 3_600_000) * 1_000
  writeFileSync(join(dir, 'rhythms.json'), JSON.stringify({ at, topics: { a: [20, 2 * second, 2 * second] } }))
  const third = make([])
  third.start()
  const after = Date.now() * 1_000
  t.ok(third.silence(at - 5 * second, after) < 30 * second, 'the time that it was away is not silence')
  await third.stop()

  writeFileSync(join(dir, 'rhythms.json'), '{"at": 1, "topics": {"a": "x"')
  const broken = make([])
  broken.start()
  await broken.stop()
  t.match(problems, [/rhythms are learned anew/])
})
