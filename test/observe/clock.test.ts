import t from 'tap'
import { Clock, neverSetBefore } from '../../src/observe/clock.js'

const hour = 3_600_000

function clockAt(start: number) {
  const time = { wall: start, ticks: 50_000 }
  const reports: string[] = []
  const clock = new Clock({
    wall: { now: () => time.wall },
    monotonic: { now: () => time.ticks },
    incidents: { report: (kind, sentence) => reports.push(`${kind}: ${sentence}`) },
  })
  t.teardown(() => clock.stop())
  const pass = (ms: number) => {
    time.wall += ms
    time.ticks += ms
  }
  return { clock, time, reports, pass }
}

t.test('a clock that is set is believed; its jumps are reported, corrections are not', async t => {
  const { clock, time, reports, pass } = clockAt(neverSetBefore + hour)
  clock.start()
  t.equal(clock.now(), (neverSetBefore + hour) * 1_000)
  pass(hour)
  clock.look()
  time.wall += 400
  clock.look()
  t.same(reports, [])
  time.wall += 24 * hour
  clock.look()
  t.match(reports.pop(), /^clock_jump: .*jumped 86400 s forward/)
  clock.look()
  t.same(reports, [], 'once')
  time.wall -= 24 * hour
  clock.look()
  t.match(reports.pop(), /jumped 86400 s back/)
  t.equal(clock.now(), time.wall * 1_000)
})

t.test('started in 1970: time goes on from the latest that is known, until the clock is set', async t => {
  const { clock, time, reports, pass } = clockAt(12_000)
  const latest = neverSetBefore + 100 * hour
  clock.learnFrom({ latest: latest * 1_000 })
  clock.start()
  t.match(reports.pop(), /^clock_not_set: .*1970-01-01T00:00:12/)
  pass(hour)
  t.equal(clock.now(), (latest + hour) * 1_000)
  time.wall = latest + 30 * hour
  t.equal(clock.now(), (latest + 30 * hour) * 1_000)
  clock.look()
  t.match(reports.pop(), /^clock_jump: /)
})

t.test('started in 1970 with nothing known', async t => {
  const { clock, pass } = clockAt(0)
  clock.start()
  pass(hour)
  t.equal(clock.now(), (neverSetBefore + hour) * 1_000)
})
