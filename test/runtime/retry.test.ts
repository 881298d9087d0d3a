import t from 'tap'
import { HubError } from '../../src/errors.js'
import {
  backoffMs,
  Circuit,
  type CircuitState,
  pause,
  type RetryPolicy,
  retryForever,
} from '../../src/runtime/retry.js'

const never = new AbortController().signal

/** A circuit whose clock the test sets. */
function circuitAt(start = 1_000_000_000) {
  const clock = { now: start }
  const changes: CircuitState[] = []
  const circuit = new Circuit({
    key: 'store',
    name: 'InfluxDB',
    clock: { now: () => clock.now },
    changed: state => changes.push(state),
  })
  /** The end of the pause. */
  const due = () => {
    clock.now = circuit.state.retryAt ?? clock.now
  }
  return { circuit, clock, changes, due }
}

const down = new HubError('store_unavailable', 'refused')

function options(more: Partial<RetryPolicy> = {}) {
  const retried: [string, string | undefined][] = []
  let recoveries = 0
  const persistence: RetryPolicy = {
    signal: never,
    circuitOf: () => undefined,
    retrying: (error, circuit) => retried.push([(error as HubError).code, circuit?.name]),
    recovered: () => recoveries++,
    ...more,
  }
  return { persistence, retried, recoveries: () => recoveries }
}

/** A promise that the test settles. */
function held<T>() {
  let resolve: (value: T) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<T>((fulfil, refuse) => {
    resolve = fulfil
    reject = refuse
  })
  return { promise, resolve, reject }
}

/** All that is ready to run has run. */
const turns = async () => {
  for (let n = 0; n < 5; n++) await new Promise(resolve => setImmediate(resolve))
}

t.test('pauses grow to ten seconds and no further, with chance in them', async t => {
  t.same(
    [0, 1, 2, 6, 7, 50, 5_000].map(attempt => backoffMs(attempt, () => 0)),
    [100, 200, 400, 6_400, 10_000, 10_000, 10_000],
  )
  t.equal(
    backoffMs(50, () => 1),
    7_500,
  )
})

t.test('a pause ends at once when told', async t => {
  await pause(1, never)
  await pause(1e9, AbortSignal.abort())
  const abort = new AbortController()
  const pausing = pause(1e9, abort.signal)
  abort.abort()
  await pausing
  t.pass()
})

t.test('a circuit that is up lets everyone through; what it says of itself', async t => {
  const { circuit, clock, changes, due } = circuitAt()
  t.ok(circuit.tryPass() && circuit.tryPass())
  t.equal(await circuit.pass(never), false, 'nobody has to find out')
  circuit.succeeded()
  t.same(changes, [])
  t.same(circuit.state, { key: 'store', name: 'InfluxDB', state: 'up', failures: 0 })
  const since = clock.now
  circuit.failed(down)
  t.same(changes, [circuit.state])
  due()
  t.ok(circuit.tryPass())
  circuit.failed(new Error('still'))
  const { retryAt, ...state } = circuit.state
  t.same(state, { key: 'store', name: 'InfluxDB', state: 'down', detail: 'still', since, failures: 2 })
  t.ok((retryAt as number) > clock.now)
  t.equal(changes.length, 1, 'not each failure is told')
  due()
  t.ok(circuit.tryPass())
  circuit.succeeded()
  t.same(
    changes.map(({ state }) => state),
    ['down', 'up'],
  )
})

t.test('while it is down one asks at a time, after pauses that grow', async t => {
  const { circuit, clock, due } = circuitAt()
  circuit.failed(down)
  for (let failures = 1; failures < 12; failures++) {
    const longest = backoffMs(failures - 1, () => 0)
    const pauseMs = (circuit.state.retryAt as number) - clock.now
    t.ok(pauseMs <= longest && pauseMs >= longest * 0.75, `${pauseMs} of ${longest} ms`)
    t.notOk(circuit.tryPass())
    due()
    t.ok(circuit.tryPass())
    t.notOk(circuit.tryPass(), 'another does not pass')
    circuit.failed(down)
    t.equal(circuit.state.failures, failures + 1)
  }
  due()
  t.ok(circuit.tryPass())
  circuit.released()
  t.ok(circuit.tryPass(), 'one that has not found out makes place for the next')
  circuit.succeeded()
  circuit.failed(down)
  t.ok((circuit.state.retryAt as number) - clock.now > 7_000, 'up for a moment only: the pauses go on')
  circuit.succeeded()
  clock.now += 10_001
  circuit.failed(down)
  t.ok((circuit.state.retryAt as number) - clock.now <= 100, 'it begins anew')
})

t.test('failures of those who asked before it went down do not count', async t => {
  const { circuit } = circuitAt()
  circuit.failed(down)
  const { retryAt } = circuit.state
  for (let n = 0; n < 20; n++) circuit.failed(down)
  t.equal(circuit.state.failures, 1)
  t.equal(circuit.state.retryAt, retryAt)
})

t.test('a pause that the target asks for is kept to, a minute at most', async t => {
  for (const [asked, expected] of [
    [5_000, 5_000],
    [60_000, 60_000],
    [3_600_000, 60_000],
    [1e15, 60_000],
  ] as const) {
    const { circuit, clock } = circuitAt()
    circuit.failed(new HubError('store_unavailable', 'busy', { retryAfterMs: asked }))
    t.equal((circuit.state.retryAt as number) - clock.now, expected)
    clock.now += expected - 1
    t.notOk(circuit.tryPass())
    clock.now++
    t.ok(circuit.tryPass())
  }
  const { circuit, clock } = circuitAt()
  for (const asked of [0, -5]) {
    circuit.failed(new HubError('store_unavailable', 'busy', { retryAfterMs: asked }))
    t.ok((circuit.state.retryAt as number) > clock.now, 'less than the own pause is not')
  }
})

t.test('a clock that jumps, back or forward, does not make anyone wait longer', async t => {
  const { circuit, clock } = circuitAt()
  circuit.failed(down)
  clock.now -= 86_400_000
  t.equal(await circuit.pass(never), true)
  circuit.failed(down)
  t.ok((circuit.state.retryAt as number) - clock.now <= 200)
  clock.now += 86_400_000
  t.equal(await circuit.pass(never), true)
  clock.now -= 2 * 86_400_000
  t.equal(await circuit.pass(never), true, 'nor for one that asks')
})

t.test('all who wait go on when the one that asks says it is back', async t => {
  const { circuit, due } = circuitAt()
  circuit.failed(down)
  due()
  t.equal(await circuit.pass(never), true)
  const waiting = [1, 2, 3].map(() => circuit.pass(never))
  await turns()
  circuit.succeeded()
  t.same(await Promise.all(waiting), [false, false, false])
})

t.test('when the one that asks gives up or fails, exactly one of those who wait asks next', async t => {
  for (const end of ['released', 'failed'] as const) {
    const { circuit, due } = circuitAt()
    circuit.failed(down)
    due()
    t.equal(await circuit.pass(never), true)
    const through: boolean[] = []
    const waiting = [1, 2, 3].map(async () => void through.push(await circuit.pass(never)))
    await turns()
    t.same(through, [])
    if (end === 'failed') circuit.failed(down)
    else circuit.released()
    due()
    await Promise.race(waiting)
    await turns()
    t.same(through, [true], end)
    circuit.succeeded()
    await Promise.all(waiting)
    t.same(through, [true, false, false])
  }
})

t.test('one that asks for ever does not keep the others from asking', async t => {
  const { circuit, clock, due } = circuitAt()
  circuit.failed(down)
  due()
  t.ok(circuit.tryPass())
  clock.now += 59_999
  t.notOk(circuit.tryPass())
  clock.now += 1
  t.ok(circuit.tryPass())
  t.notOk(circuit.tryPass())
})

t.test('who waits stops waiting when told, and leaves the one that asks alone', async t => {
  const { circuit, due } = circuitAt()
  circuit.failed(down)
  due()
  t.ok(circuit.tryPass())
  const abort = new AbortController()
  const { persistence } = options({ signal: abort.signal, circuitOf: () => circuit })
  const waiting = [
    circuit.pass(abort.signal),
    retryForever(async () => {
      throw down
    }, persistence),
  ]
  await turns()
  abort.abort()
  t.same(await Promise.all(waiting), [false, undefined])
  t.equal(await circuit.pass(abort.signal), false, 'a signal that was there before')
  t.notOk(circuit.tryPass(), 'the one that asks still does')
})

t.test('persist: tries until it works', async t => {
  let calls = 0
  const { persistence, retried, recoveries } = options()
  const result = await retryForever(async () => {
    if (++calls < 3) throw new HubError('queue_unavailable', 'no')
    return 'done'
  }, persistence)
  t.equal(result, 'done')
  t.same(retried, [
    ['queue_unavailable', undefined],
    ['queue_unavailable', undefined],
  ])
  t.equal(recoveries(), 1)
  t.equal(await retryForever(async () => 'at once', persistence), 'at once')
  t.equal(recoveries(), 1, 'nothing to recover from')
})

t.test(
  'persist: each error tells of its own target, and one that comes later of the answer of the one before',
  async t => {
    const store = new Circuit({ key: 'store', name: 'store', clock: Date, changed: () => {} })
    const queue = new Circuit({ key: 'queue', name: 'queue', clock: Date, changed: () => {} })
    const seen: string[] = []
    const { persistence, retried, recoveries } = options({
      circuitOf: error => {
        const { code } = error as HubError
        return code === 'store_unavailable' ? store : code === 'queue_unavailable' ? queue : undefined
      },
    })
    const failures = ['store_unavailable', 'store_unavailable', 'queue_unavailable', 'spool_failed', undefined] as const
    let calls = 0
    await retryForever(async () => {
      seen.push(`${store.state.state} ${queue.state.state}`)
      const code = failures[calls++]
      if (code) throw new HubError(code, 'no')
      return true
    }, persistence)
    t.same(seen, ['up up', 'down up', 'down up', 'up down', 'up up'])
    t.same(retried, [
      ['store_unavailable', 'store'],
      ['store_unavailable', 'store'],
      ['queue_unavailable', 'queue'],
      ['spool_failed', undefined],
    ])
    t.equal(recoveries(), 1)
    t.notOk(store.isDown || queue.isDown)
  },
)

t.test('persist: several callers of one target; while it is down one of them asks', async t => {
  const circuit = new Circuit({ key: 'store', name: 'store', clock: Date, changed: () => {} })
  let isDown = true
  let asking = 0
  let most = 0
  let asked = 0
  const ask = async (n: number) => {
    const alone = circuit.isDown
    asking++
    asked++
    if (alone) most = Math.max(most, asking)
    await turns()
    asking--
    if (isDown) throw down
    return n
  }
  const { persistence } = options({
    circuitOf: () => circuit,
    retrying: () => {
      if (circuit.state.failures === 3) isDown = false
    },
  })
  const results = await Promise.all([1, 2, 3, 4, 5].map(n => retryForever(() => ask(n), persistence)))
  t.same(results, [1, 2, 3, 4, 5])
  t.equal(most, 1)
  t.equal(asked, 5 + 2 + 1 + 4, 'all at first, one twice in vain, one that worked, the others')
})

t.test('persist: a late failure of another caller does not let a second one ask', async t => {
  const { circuit, due } = circuitAt()
  const late = held<void>()
  const { persistence } = options({ circuitOf: () => circuit })
  const abort = new AbortController()
  const slow = retryForever(() => late.promise, { ...persistence, signal: abort.signal })
  circuit.failed(down)
  due()
  t.equal(await circuit.pass(never), true)
  late.reject(down)
  await turns()
  t.equal(circuit.state.failures, 1)
  t.notOk(circuit.tryPass())
  abort.abort()
  t.equal(await slow, undefined)
  t.notOk(circuit.tryPass())
})

t.test('persist: what is under way when it is told to stop is not waited for, and makes place', async t => {
  const { circuit, due } = circuitAt()
  const abort = new AbortController()
  let calls = 0
  const { persistence, retried } = options({ signal: abort.signal, circuitOf: () => circuit })
  const ended = retryForever(() => {
    if (++calls === 1) return Promise.reject(down)
    abort.abort()
    return new Promise<never>(() => {})
  }, persistence)
  await turns()
  due()
  t.equal(await ended, undefined)
  t.equal(calls, 2)
  t.equal(retried.length, 1, 'being told is no failure')
  t.ok(circuit.tryPass())
})
