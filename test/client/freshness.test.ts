import t from 'tap'
import { EventParser } from '../../client/src/event-stream.js'
import { Freshness } from '../../client/src/freshness.js'

/** A receiver whose time is told, with ticks every second of the time that it is awake. */
class Clock {
  now = 1e6
  readonly freshness = new Freshness(() => this.now)
  readonly verdicts: string[] = []

  /** Time passes with ticks. */
  pass(seconds: number): void {
    for (let i = 0; i < seconds; i++) {
      this.now += 1_000
      const verdict = this.freshness.tick()
      if (verdict) this.verdicts.push(verdict)
    }
  }

  /** Time passes without a tick. */
  sleep(seconds: number): void {
    this.now += seconds * 1_000
  }

  /** A reading arrives that the hub received some time ago, by a clock that is hours off. */
  reading(msAgo: number): void {
    this.freshness.heard()
    this.freshness.reading(this.now - msAgo - 7_200_000)
  }
}

t.test('a reading that took much longer than others shows that the receiver is behind, until one is quick', async t => {
  const clock = new Clock()
  clock.reading(30)
  t.notOk(clock.freshness.isLate)
  clock.reading(8_500)
  t.ok(clock.freshness.isLate)
  t.ok(clock.freshness.ageMs >= 8_000)
  clock.reading(1_000)
  t.notOk(clock.freshness.isLate)
})

t.test('a program that stood still is behind at once, before it has read anything', async t => {
  const clock = new Clock()
  clock.reading(30)
  clock.pass(2)
  clock.sleep(8.5)
  t.ok(clock.freshness.isLate, 'as seen by who asks')
  clock.freshness.heard()
  t.ok(clock.freshness.isLate, 'something has come, who knows how old')
  clock.reading(8_000)
  t.ok(clock.freshness.isLate)
  clock.reading(40)
  t.notOk(clock.freshness.isLate)
})

t.test('when nothing had come meanwhile, two ticks in time show that', async t => {
  const clock = new Clock()
  clock.reading(30)
  clock.sleep(6)
  clock.pass(1)
  t.ok(clock.freshness.isLate)
  clock.pass(1)
  t.notOk(clock.freshness.isLate)
  t.same(clock.verdicts, [])
})

t.test('a silent connection is lost, and one that stays late is doubted', async t => {
  const silent = new Clock()
  silent.pass(25)
  t.same(silent.verdicts, [])
  silent.pass(1)
  t.same(silent.verdicts, ['lost'])
  const asleep = new Clock()
  asleep.sleep(3_600)
  asleep.pass(1)
  t.same(asleep.verdicts, ['lost'])
  const late = new Clock()
  late.reading(30)
  late.reading(5_000)
  late.pass(6)
  t.same(late.verdicts, ['doubt'], 'nothing comes after a late reading')
  late.freshness.restart()
  t.notOk(late.freshness.isLate)
  late.reading(5_000)
  t.notOk(late.freshness.isLate, 'the hub says that nothing was missed: its clock was set')
})

t.test('events are the same however the stream is cut', async t => {
  const stream =
    'retry: 1000\n\n:\n\nevent: live\nid: 7\ndata: {"a":1}\n\nevent: two\r\ndata: x\r\ndata:y\r\n\r\ndata: z\n\n'
  const wanted = [
    { event: 'live', data: '{"a":1}' },
    { event: 'two', data: 'x\ny' },
    { event: 'message', data: 'z' },
  ]
  for (let size = 1; size <= stream.length; size++) {
    const parser = new EventParser()
    const events = []
    for (let at = 0; at < stream.length; at += size) events.push(...parser.push(stream.slice(at, at + size)))
    t.same(events, wanted)
  }
})
