import t from 'tap'
import { AlertEvaluator, type EvaluatorOptions, type SeriesNaming } from '../../src/alerts/evaluator.js'
import { MetGroups } from '../../src/alerts/met-series.js'
import type { AlertRule } from '../../src/alerts/rule.js'
import { RuleReader } from '../../src/alerts/rule-reader.js'
import type { AlertDecision } from '../../src/alerts/watch-machine.js'
import type { FieldValue, SeriesId, Tags } from '../../src/model.js'
import { WeekTime } from '../../src/runtime/week-time.js'
import { Random } from '../fixtures/packets.js'

const second = 1e6
const minute = 60e6
const hour = 60 * minute
const start = Date.UTC(2026, 5, 1, 12) * 1_000

const naming: SeriesNaming = {
  describe: (id, source) => ({
    id,
    devices: source?.clientId ? [source.clientId] : [],
    deviceClass: id.field === 'temperature' ? 'temperature' : undefined,
    label: `${id.tags[0]?.[1] ?? id.measurement} ${id.field}`,
    unit: id.field === 'temperature' ? '°C' : undefined,
    device: source?.clientId,
  }),
  namesOf: clientId => [clientId],
}

function rulesOf(given: object): AlertRule[] {
  const reader = new RuleReader()
  const rules = reader.readAll(given)
  t.same(reader.mistakes, [], 'the rules of a test are right')
  return rules
}

/** An evaluator with a clock that the test moves. */
class Bench {
  now = start
  sequence = 0
  readonly decisions: AlertDecision[] = []
  readonly evaluator: AlertEvaluator

  constructor(rules: object, more: Partial<EvaluatorOptions> = {}) {
    this.evaluator = new AlertEvaluator({
      clock: { now: () => this.now },
      week: new WeekTime('UTC'),
      sink: { decided: decision => this.decisions.push(decision) },
      naming,
      usual: undefined,
      ...more,
    })
    this.evaluator.setRules(rulesOf(rules))
    this.evaluator.machine.now = start
  }

  /** A reading that is received now. */
  read(
    value: FieldValue,
    { time = this.now, field = 'temperature', device = 'freezer', tags = [['room', 'cellar']] as Tags } = {},
  ): void {
    const source = { topic: 'x', clientId: device, sequence: ++this.sequence, receivedAt: this.now }
    this.evaluator.take(source, [{ measurement: 'home', tags, fields: [[field, value]], time }], this.now)
  }

  /** Lets time pass, a second at a time. */
  pass(time: number): void {
    for (const end = this.now + time; this.now < end; ) {
      this.now = Math.min(end, this.now + second)
      this.evaluator.machine.advance(this.now)
    }
  }

  get told(): string[] {
    return this.decisions.map(({ state, past }) => (past ? `${state} past` : state))
  }
}

t.test('a limit with hysteresis and a duration', async t => {
  const bench = new Bench({ warm: { field: 'temperature', above: -15, hysteresis: 1, for: '10m' } })
  bench.read(-18)
  bench.pass(minute)
  bench.read(-14)
  t.same(bench.told, ['pending'])
  bench.pass(5 * minute)
  bench.read(-15.5)
  t.same(bench.told, ['pending'], 'not back by the hysteresis')
  bench.pass(5 * minute + 10 * second)
  t.same(bench.told, ['pending', 'firing'], 'by the timer, without a reading')
  t.match(bench.decisions[1], { at: start + minute + 10 * minute, sentence: /above −15 °C for 10 min$/, past: false })
  bench.read(-16.1)
  t.same(bench.told, ['pending', 'firing', 'cleared'])
  bench.pass(second)
  bench.read(-14)
  bench.pass(minute)
  bench.read(-20)
  t.same(bench.told.slice(3), ['pending', 'cleared'], 'too short to fire')
  t.equal(new Set(bench.decisions.map(({ alert }) => alert)).size, 2)
})

t.test('late and repeated readings change nothing; wild times neither', async t => {
  const bench = new Bench({ warm: { field: 'temperature', above: 0 } })
  bench.pass(hour)
  bench.read(-5)
  for (const time of [bench.now - minute, bench.now, 0, start - 365 * 24 * hour]) bench.read(99, { time })
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 'warm']) {
    bench.pass(second)
    bench.read(value)
  }
  bench.read(99, { time: Number.NaN })
  t.same(bench.told, [])
  t.equal(bench.evaluator.machine.late, 4)
})

t.test('two series of one message are compared once, with both new values', async t => {
  const bench = new Bench({
    apart: { field: 'temperature', minus: { field: 'setpoint' }, above: 3, below: -3 },
  })
  const take = (times: readonly number[], ...fields: readonly (readonly [string, number])[]) => {
    const source = { topic: 'x', clientId: 'oven', sequence: ++bench.sequence, receivedAt: bench.now }
    const tags: Tags = [['room', 'cellar']]
    const points = times.flatMap((time, n) =>
      fields.map(([field, value]) => ({
        ...{ measurement: 'home', tags, time },
        fields: [[field, value + n * 100] as const],
      })),
    )
    bench.evaluator.take(source, points, bench.now)
    bench.pass(second)
  }
  // Both jump together, the watched one first and then the other one first.
  take([bench.now], ['temperature', 20], ['setpoint', 20])
  take([bench.now], ['temperature', 80], ['setpoint', 81])
  take([bench.now], ['setpoint', 20], ['temperature', 21])
  take([bench.now - 2, bench.now - 1, bench.now], ['temperature', 30], ['setpoint', 31])
  t.same(bench.told, [], 'never apart')
  take([bench.now], ['temperature', 30], ['setpoint', 20])
  t.same(bench.told, ['firing'])
  t.match(bench.decisions[0], { value: 30, sentence: /is 30 °C, 10 °C more than setpoint \(20 °C\)/ })
  take([bench.now], ['setpoint', 40], ['temperature', 50])
  t.equal(bench.told.length, 1, 'it goes on')
  take([bench.now], ['temperature', 50], ['setpoint', 50])
  t.same(bench.told, ['firing', 'cleared'])
})

t.test('after an outage what was is recorded, and what is still so is raised', async t => {
  const bench = new Bench({ warm: { field: 'temperature', above: 0, for: '1m' } })
  bench.read(-5)
  bench.pass(6 * hour)
  // The device sends its backlog: once warm and cold again, and then warm until now.
  const times = (from: number, values: readonly number[]) =>
    values.forEach((value, i) => {
      bench.read(value, { time: start + from + i * 10 * minute })
    })
  times(hour, [5, 5, -5])
  t.same(bench.told, ['firing past', 'cleared past'])
  times(3 * hour, [5, 5, 5])
  bench.pass(5 * second)
  t.equal(bench.told.length, 2, 'it may be over already')
  bench.pass(10 * second)
  t.same(bench.told.slice(2), ['firing'])
  bench.read(6)
  t.equal(bench.told.length, 3, 'a newer reading that confirms it tells nothing new')
  bench.pass(second)
  t.equal(bench.decisions[2]?.at, start + 3 * hour + minute)
  bench.read(-5)
  t.same(bench.told.slice(3), ['cleared'])
})

t.test('silence by a fixed time and by the rhythm; a jump of the clock is no silence', async t => {
  const bench = new Bench({
    fixed: { device: 'a', silent: '5m' },
    learned: { device: 'b', silent: 'usual' },
    gone: { device: 'a', silent: '5m', of: 'device', for: '0s' },
  })
  const both = () => {
    bench.read(1, { device: 'a', tags: [['room', 'a']] })
    bench.read(1, { device: 'b', tags: [['room', 'b']] })
  }
  for (let n = 0; n < 30; n++) {
    both()
    bench.pass(minute)
  }
  t.same(bench.told, [])
  // The wall clock jumps two hours ahead, and back.
  for (const jump of [2 * hour, -2 * hour]) {
    bench.now += jump
    bench.evaluator.machine.shift(jump, bench.evaluator.watches())
    bench.pass(minute)
    both()
  }
  t.same(bench.told, [])
  bench.pass(4.5 * minute)
  t.same(bench.told, [])
  bench.pass(minute)
  t.same(bench.decisions.map(({ watch, state }) => `${watch.rule.name} ${state}`).sort(), [
    'fixed firing',
    'gone firing',
  ])
  bench.pass(6 * minute)
  t.match(
    bench.decisions.at(-1)?.sentence,
    /^B temperature has been silent for 1\d min \(usually every 1 min( \d s)?\)$/,
  )
  both()
  t.same(bench.told.slice(3), ['cleared', 'cleared', 'cleared'])
})

t.test('a gateway that is offline holds back its sensors, and a schedule what comes at night', async t => {
  const bench = new Bench({
    gateway: { device: 'gw', offline: '1m' },
    sensor: { field: 'temperature', silent: '5m', unless: { rule: 'gateway', same: 'device' } },
    office: { field: 'humidity', above: 70, when: 'mon-fri 13:00-14:00' },
  })
  for (let n = 0; n < 40; n++) bench.read(1, { device: 'gw', tags: [['room', `r${n}`]] })
  bench.evaluator.presence('gw', true, bench.now)
  bench.evaluator.presence('gw', false, bench.now)
  bench.read(80, { field: 'humidity' })
  bench.pass(30 * minute)
  t.same(
    bench.decisions.map(({ watch }) => watch.rule.name),
    ['gateway', 'gateway'],
    'pending and firing, and none of 40',
  )
  bench.evaluator.presence('gw', true, bench.now)
  bench.pass(2 * minute)
  t.equal(bench.told.length, 3, 'sensors have their own time to be heard of again')
  for (let n = 1; n < 40; n++) bench.read(1, { device: 'gw', tags: [['room', `r${n}`]] })
  bench.pass(4 * minute)
  t.same(
    bench.decisions.slice(3).map(({ watch }) => watch.subject.series),
    ['home,room=r0 temperature'],
    'the one that is gone',
  )
  bench.pass(30 * minute)
  t.equal(bench.decisions.at(-1)?.watch.rule.name, 'office', 'it fires once its time has come')
})

t.test('two series, a rate, a text, and the hub', async t => {
  const bench = new Bench({
    off: { field: 'temperature', minus: { field: 'setpoint' }, above: 3 },
    fast: { field: 'pressure', rate: { above: 2, per: '1m', over: '10m' } },
    open: { field: 'door', equals: ['open', true] },
    disk: { hub: 'any', severity: 'critical' },
  })
  bench.read(20, { field: 'setpoint' })
  bench.read(24)
  t.match(bench.decisions[0]?.sentence, /is 24 °C, 4 °C more than setpoint \(20 °C\)$/)
  bench.pass(second)
  bench.read(22, { field: 'setpoint' })
  t.same(bench.told, ['firing', 'cleared'])
  for (let n = 0; n <= 12; n++) {
    bench.read(n < 6 ? 10 : 10 + (n - 5) * 5, { field: 'pressure' })
    bench.pass(minute)
  }
  t.match(bench.decisions[2]?.sentence, /rises by .* per 1 min \(over 10 min.*\), above 2 per 1 min$/)
  bench.read('closed', { field: 'door' })
  bench.pass(second)
  bench.read('open', { field: 'door' })
  t.match(bench.decisions[3], { state: 'firing', sentence: /is "open"$/ })
  bench.evaluator.hub([{ name: 'disk', value: 1, sentence: 'the disk has 3 MB free' }], bench.now)
  t.match(bench.decisions[4], { state: 'firing', sentence: 'The disk has 3 MB free' })
  bench.evaluator.hub([], bench.now)
  t.match(bench.decisions[5], { state: 'cleared' })
})

t.test('rules that change while they fire, and series that vanish', async t => {
  const warm = { field: 'temperature', above: 0 }
  const bench = new Bench({ warm, other: warm })
  bench.read(5)
  t.same(bench.told, ['firing', 'firing'])
  bench.evaluator.setRules(rulesOf({ warm: { ...warm, above: 3 }, other: { field: 'humidity', above: 0 } }))
  t.match(bench.decisions[2], {
    state: 'cleared',
    sentence: /the rule was changed$/,
    watch: { rule: { name: 'other' } },
  })
  bench.pass(second)
  bench.read(2)
  t.match(
    bench.decisions[3],
    { state: 'cleared', alert: bench.decisions[0]?.alert },
    'the alert goes on under the new rule',
  )
  bench.pass(second)
  bench.read(5)
  bench.evaluator.forgetBefore(bench.now - 30 * 24 * hour)
  t.equal(bench.evaluator.size, 1)
  bench.evaluator.forgetBefore(bench.now + 1)
  t.same([bench.told.at(-1), bench.evaluator.size], ['cleared', 0])
  bench.evaluator.setRules([])
  bench.read(9)
  t.equal(bench.told.length, 6)
})

t.test('beyond the limit of watches it is counted', async t => {
  const bench = new Bench({ warm: { field: 'temperature', above: 0 } }, { maxWatches: 10 })
  for (let n = 0; n < 30; n++) bench.read(5, { tags: [['room', String(n)]] })
  t.same([bench.evaluator.size, bench.evaluator.overLimit, bench.told.length], [10, 20, 10])
})

t.test('model: random readings, late, repeated, and restarts: each alert as a simple model says', async t => {
  const seed = Number(process.env.TEST_SEED ?? Date.now() % 1e9)
  t.comment(`seed ${seed}`)
  const random = new Random(seed)
  for (let round = 0; round < 60; round++) {
    const limit = 10
    const hysteresis = random.below(3)
    const duration = random.pick([0, 30, 120]) * second
    const rules = { warm: { field: 'temperature', above: limit, hysteresis, for: `${duration / second}s`, late: '0s' } }
    let bench = new Bench(rules)
    // The model: by the newest reading by time, with the clock in whole seconds. None is of the past: older than a minute.
    let state: 'idle' | 'pending' | 'firing' = 'idle'
    let since = 0
    let newest = Number.NEGATIVE_INFINITY
    const expected: string[] = []
    const fire = (now: number) => {
      if (state === 'pending' && now - since >= duration) {
        state = 'firing'
        expected.push(`firing ${since + duration}`)
      }
    }
    const told: string[] = []
    const collect = () => {
      for (const { state, at } of bench.decisions.splice(0)) if (state !== 'pending') told.push(`${state} ${at}`)
    }
    let fired = false
    for (let n = 0; n < 60; n++) {
      const step = 1 + random.below(40)
      bench.pass(step * second)
      for (let s = step - 1; s >= 0; s--) fire(bench.now - s * second)
      const time = random.chance(20) ? bench.now - random.below(55) * second : bench.now
      const value = limit - 5 + random.below(10)
      for (let times = random.chance(10) ? 2 : 1; times > 0; times--) bench.read(value, { time })
      if (time > newest) {
        newest = time
        const holds = value > limit - (state === 'idle' ? 0 : hysteresis)
        if (holds && state === 'idle') {
          state = 'pending'
          since = time
        }
        if (holds) fire(time)
        else if (state !== 'idle') {
          fire(time)
          fired = (state as string) === 'firing'
          if (fired) expected.push(`cleared ${time}`)
          state = 'idle'
        }
      }
      collect()
      if (!random.chance(10)) continue
      // A restart: what is saved is all that the next one knows.
      const saved = [...bench.evaluator.watches()].map(watch => ({
        id: watch.seriesId as SeriesId,
        subject: watch.subject,
        saved: JSON.parse(JSON.stringify(watch.save(bench.evaluator.machine.position))),
      }))
      const next = new Bench(rules)
      next.now = next.evaluator.machine.now = bench.now
      next.sequence = bench.sequence - random.below(3)
      for (const { id, subject, saved: one } of saved) next.evaluator.restore('warm', subject, one, id)
      // Messages that come again are passed over.
      while (next.sequence < bench.sequence) next.read(50)
      bench = next
    }
    const ofPending = expected.filter((one, i) => one.startsWith('firing') || expected[i - 1]?.startsWith('firing'))
    // A cleared alert that never fired is told only as far as it was pending.
    t.same(
      told.filter((one, i) => one.startsWith('firing') || told[i - 1]?.startsWith('firing')),
      ofPending,
      `round ${round} of seed ${seed}`,
    )
  }
})

t.test('what devices name is bounded: fields, and the keys of series', async t => {
  const groups = new MetGroups(100)
  const met = { generation: 1, watches: [], others: [], last: undefined }
  const tags: Tags = Object.freeze([])
  for (let n = 0; n < 1_000; n++) groups.add(groups.of('home', tags), `f${n}`, met)
  t.ok(groups.size <= 100)
  t.ok(groups.of('home', tags).fields.size <= 101)

  const bench = new Bench({ warm: { above: 0 } })
  bench.read(5, { field: 'x'.repeat(5_000) })
  t.same(bench.told, [])
  t.equal(bench.evaluator.overLimit, 1)
  bench.evaluator.setRules(rulesOf({ warm: { field: 'temperature', above: 0 } }))
  t.equal(bench.evaluator.overLimit, 0, 'counted anew for other rules')
  bench.read(5)
  t.same(bench.told, ['firing'])
})

t.test('two alerts that begin with the same reading are two', async t => {
  const bench = new Bench({ off: { field: 'temperature', above: 2, minus: { field: 'setpoint' } } })
  const time = start + 5 * second
  bench.read(20, { time })
  for (const [n, setpoint] of [10, 20, 11, 20, 12].entries())
    bench.read(setpoint, { time: start + n * second, field: 'setpoint' })
  t.same(bench.told, ['firing', 'cleared', 'firing', 'cleared', 'firing'])
  t.equal(new Set(bench.decisions.map(({ alert }) => alert)).size, 3)
  const [saved] = [...bench.evaluator.watches()].map(watch => watch.save(bench.sequence))
  t.equal(saved?.lastSince, time + 2, 'kept over a start')
})
