import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { Access } from '../../src/access/rules.js'
import type { Queued } from '../../src/sessions/delivery.js'
import { isReleased } from '../../src/sessions/delivery.js'
import type { Session } from '../../src/sessions/session.js'
import type { LastWill } from '../../src/sessions/session-state.js'
import type { Sessions } from '../../src/sessions/sessions.js'
import type { Dropped, SessionsOptions } from '../../src/sessions/sessions-options.js'
import { Random } from '../fixtures/packets.js'
import { crash, folders, message, openSessions, stateOf, Wire, will } from '../fixtures/sessions.js'

/*
 * What MQTT 5 adds to sessions, against random deeds and crashes. The same again:
 * SESSIONS_SEED=… node dist/test/broker/sessions-mqtt5.test.js; longer: SESSIONS_STEPS=….
 */

const seed = Number(process.env.SESSIONS_SEED ?? Date.now() % 1_000_000)
const steps = Number(process.env.SESSIONS_STEPS ?? 3_000)
const folder = await folders()

/** Sessions with a clock that is set, and what was given up. */
async function withClock(more: Partial<SessionsOptions> = {}) {
  const clock = { now: 1_000_000_000 }
  const dropped: Dropped[] = []
  const wills: LastWill[] = []
  const options: Partial<SessionsOptions> = {
    clock: { now: () => clock.now },
    dropped: what => dropped.push(what),
    willDue: (one, done) => {
      wills.push(one)
      done(false)
    },
    ...more,
  }
  const dir = folder()
  return { clock, dropped, wills, options, dir, sessions: await openSessions(dir, options) }
}

/** All that is to outlive a crash. What a session has lent to others it has itself again. */
function wholeState(sessions: Sessions) {
  const hex = (bytes: Buffer | undefined) => bytes?.toString('hex')
  const queued = ({ backupDone: _, payload, properties, group, state, ...entry }: Queued) => ({
    ...entry,
    released: isReleased({ state }),
    payload: payload.toString(),
    properties: hex(properties),
    group: group?.key,
  })
  return {
    wills: stateOf(sessions).wills,
    sessions: [...sessions.all()]
      .map(({ clientId, expiry, subscriptions, inflight, unsent, backups = [] }) => ({
        clientId,
        expiry,
        subscriptions: [...subscriptions.values()]
          .map(({ filter, qos, noLocal, asPublished, ids, group }) =>
            [filter, qos, noLocal, asPublished, ids, group?.filter].join(' '),
          )
          .sort(),
        queued: [...inflight.values(), ...unsent, ...backups].map(queued).sort((a, b) => a.n - b.n),
      }))
      .sort((a, b) => (a.clientId < b.clientId ? -1 : 1)),
    retained: [...sessions.retainedBy('#')]
      .map(({ topic, payload, properties, expiresAt }) => `${topic} ${payload} ${hex(properties)} ${expiresAt}`)
      .sort(),
    willProperties: sessions.wills
      .all()
      .map(({ clientId, delay, expiry, properties }) => `${clientId} ${delay} ${expiry} ${hex(properties)}`)
      .sort(),
  }
}

t.test(`what there is outlives a crash, whatever was done (SESSIONS_SEED=${seed})`, async t => {
  const random = new Random(seed)
  const { clock, options, dir, sessions: first } = await withClock()
  let sessions = first
  let at = dir
  const clients = ['a', 'b', 'c', 'd']
  const filters = ['x/#', 'x/+', 'x/1', '$share/g/x/#', '$share/g/x/1', '$share/h/x/1']
  const there = new Map<string, { session: Session; wire: Wire }>()
  const properties = Buffer.from([0x26, 0, 1, 0x61, 0, 1, 0x62])
  let sequence = 0
  let crashes = 0
  for (let step = 0; step < steps; step++) {
    const clientId = random.pick(clients)
    const known = there.get(clientId)
    const kind = random.below(100)
    clock.now += random.below(500)
    if (kind < 2) {
      for (const one of there.values()) sessions.leave(one.session)
      there.clear()
      sessions.committed(sequence)
      const before = wholeState(sessions)
      const to = folder()
      sessions = await crash(sessions, at, to, options)
      at = to
      crashes++
      const after = wholeState(sessions)
      if (isDeepStrictEqual(after, before)) continue
      t.same(after, before, `step ${step}`)
      break
    } else if (kind < 20 && !known) {
      const expiry = random.pick([0, 60, 3_600, Number.POSITIVE_INFINITY])
      const { session } = sessions.open(clientId, { clean: random.chance(20), expiry })
      const wire = new Wire()
      wire.receiveMaximum = 1 + random.below(5)
      session.attach(wire)
      there.set(clientId, { session, wire })
    } else if (kind < 28 && known) {
      if (random.chance(20)) sessions.setExpiry(known.session, random.pick([0, 5, 60]))
      sessions.leave(known.session)
      there.delete(clientId)
    } else if (kind < 40 && known) {
      const filter = random.pick(filters)
      const qos = random.below(3) as 0 | 1 | 2
      const more = { noLocal: !filter.startsWith('$') && random.chance(30), asPublished: random.chance(30) }
      sessions.subscribe(known.session, { filter, qos, id: random.below(3), ...more })
    } else if (kind < 44 && known) sessions.unsubscribe(known.session, random.pick(filters))
    else if (kind < 46) sessions.wills.put(will(clientId, { delay: random.below(2) * 10, expiry: 7, properties }))
    else if (kind < 48) {
      const left = sessions.wills.of(clientId)
      if (left && !sessions.wills.delay(left)) sessions.wills.delete(clientId)
    } else if (kind < 50) sessions.expire()
    else if (kind < 75) {
      sessions.publish(
        message(`x/${random.below(3)}`, {
          payload: Buffer.from(String(step)),
          qos: random.below(3) as 0 | 1 | 2,
          retain: random.chance(20),
          clientId,
          properties: random.chance(50) ? properties : undefined,
          expiresAt: random.chance(30) ? (clock.now + random.below(60_000)) * 1_000 : undefined,
        }),
        ++sequence,
      )
      sessions.committed(sequence)
    } else if (known) {
      const [entry] = known.session.inflight.values()
      if (!entry) continue
      const { packetId, qos } = entry
      if (qos === 1) known.session.acknowledge(packetId, random.chance(5))
      else if (isReleased(entry)) known.session.complete(packetId)
      else known.session.received(packetId, random.chance(5))
    }
  }
  t.ok(crashes > 5 || steps < 1_000, `${crashes} crashes`)
  t.pass('all states were the same')
  await sessions.stop()
})

t.test(`a group loses nothing, and each member gets its own in order (SESSIONS_SEED=${seed})`, async t => {
  const random = new Random(seed)
  const { options, dropped, dir, sessions: first } = await withClock()
  let sessions: Sessions = first
  let at = dir
  // One of them keeps no session.
  const members = ['a', 'b', 'c', 'passing']
  const there = new Map<string, { session: Session; wire: Wire; seen: number; acknowledged: Set<number> }>()
  const done = new Set<string>()
  let published = 0
  let sequence = 0
  const open = (clientId: string) => {
    const opened = sessions.open(clientId, { clean: false, expiry: clientId === 'passing' ? 0 : 3_600 })
    if (!opened.present) sessions.subscribe(opened.session, { filter: '$share/g/x', qos: 1 })
    return opened.session
  }
  for (const clientId of members) sessions.leave(open(clientId))
  const come = (clientId: string) => {
    const session = open(clientId)
    const wire = new Wire()
    wire.receiveMaximum = 1 + random.below(4)
    there.set(clientId, { session, wire, seen: 0, acknowledged: new Set() })
    session.attach(wire)
  }
  const leave = (clientId: string) => {
    const one = there.get(clientId)
    if (one) sessions.leave(one.session)
    there.delete(clientId)
  }
  const disorder: string[] = []
  /** Looks at what came, and acknowledges some of it. */
  const work = (clientId: string, isAll = false) => {
    const one = there.get(clientId)
    if (!one) return
    for (const entry of [...one.session.inflight.values()]) {
      if (!isAll && random.chance(30)) break
      done.add(entry.payload.toString())
      one.session.acknowledge(entry.packetId)
    }
    // What another member had when it went comes out of its place; all the rest is in order.
    const fresh = one.wire.publishes.map(({ payload }) => Number(payload)).filter(n => !redelivered.has(n))
    for (const [i, n] of fresh.entries())
      if (n <= (fresh[i - 1] ?? -1)) disorder.push(`${clientId}: ${fresh[i - 1]}, ${n}`)
  }
  const redelivered = new Set<number>()
  const note = ({ inflight, unsent }: Session) => {
    for (const { payload } of [...inflight.values(), ...unsent]) redelivered.add(Number(payload))
  }
  for (let step = 0; step < steps; step++) {
    const clientId = random.pick(members)
    const kind = random.below(100)
    if (kind < 1) {
      for (const { session } of there.values()) note(session)
      there.clear()
      const to = folder()
      sessions.committed(sequence)
      sessions = await crash(sessions, at, to, options)
      at = to
    } else if (kind < 6) {
      const one = there.get(clientId)
      if (one) note(one.session)
      leave(clientId)
    } else if (kind < 12 && !there.has(clientId)) come(clientId)
    else if (kind < 14) {
      const one = there.get(clientId)
      if (!one) continue
      note(one.session)
      sessions.unsubscribe(one.session, '$share/g/x')
      sessions.subscribe(one.session, { filter: '$share/g/x', qos: 1 })
    } else if (kind < 60) {
      sessions.publish(message('x', { payload: Buffer.from(String(published++)) }), ++sequence)
      sessions.committed(sequence)
      // Where messages wait with several absent members, one of them is emptied after the other.
      const holders = [...sessions.all()].filter(one => !one.attached && one.groups.some(group => one.has(group) > 0))
      if (holders.length > 1) redelivered.add(published - 1)
    } else work(clientId)
    if (step % 50 === 0) await new Promise(resolve => setImmediate(resolve))
  }
  for (const clientId of members) if (!there.has(clientId)) come(clientId)
  for (let round = 0; round < 10_000 && done.size < published; round++) {
    for (const clientId of members) work(clientId, true)
    await new Promise(resolve => setImmediate(resolve))
  }
  t.equal(done.size, published, 'every message was acknowledged by a member')
  t.same(disorder, [], 'in order')
  t.same(dropped, [], 'nothing was given up')
  await sessions.stop()
})

t.test(
  'a will that waits: due after its delay, or when the session ends; not after a return; also after a crash',
  async t => {
    const { clock, options, wills, dir, sessions } = await withClock()
    const gone = (clientId: string, delay: number, expiry: number) => {
      const { session } = sessions.open(clientId, { clean: false, expiry })
      sessions.wills.put(will(clientId, { delay }))
      sessions.leave(session)
      return sessions.wills.delay(will(clientId, { delay }))
    }
    t.equal(gone('at once', 0, 60), false)
    t.equal(gone('no session', 10, 0), false, 'the session is over')
    t.equal(gone('later', 10, 60), true)
    t.equal(gone('session ends', 100, 5), true)
    t.equal(gone('back', 10, 60), true)
    t.equal(gone('anew', 10, 60), true)
    sessions.open('back', { clean: false, expiry: 60 })
    sessions.open('anew', { clean: true, expiry: 60 })
    t.same(
      wills.splice(0).map(({ clientId }) => clientId),
      ['anew'],
      'clean start ends the session',
    )
    const again = await crash(sessions, dir, folder(), options)
    clock.now += 6_000
    again.expire()
    t.same(
      wills.splice(0).map(({ clientId }) => clientId),
      ['session ends'],
    )
    again.wills.publishDue()
    t.same(wills, [])
    clock.now += 5_000
    again.wills.publishDue()
    again.wills.publishDue()
    t.same(
      wills.map(({ clientId }) => clientId),
      ['later'],
      'once',
    )
    await again.stop()
  },
)

t.test('what has expired is not sent, from nowhere, and is counted', async t => {
  const { clock, dropped, sessions } = await withClock({ queue: { window: 1, messages: 10, bytes: 1e6, ageMs: 0 } })
  const inSeconds = (seconds: number) => (clock.now + seconds * 1_000) * 1_000
  const { session } = sessions.open('c', { clean: false, expiry: 60 })
  sessions.subscribe(session, { filter: '#', qos: 1 })
  const wire = new Wire()
  session.attach(wire)
  sessions.publish(message('flies', { expiresAt: inSeconds(1) }), 1)
  sessions.publish(message('waits', { expiresAt: inSeconds(1), retain: true }), 2)
  sessions.publish(message('late', { expiresAt: inSeconds(-1) }), 3)
  sessions.publish(message('keeps'), 4)
  t.same(wire.take(), ['flies q1 #1'])
  t.equal(sessions.counts.retained, 1)
  clock.now += 1_000
  sessions.leave(session)
  const second = new Wire()
  session.attach(second)
  t.same(second.take(), ['keeps q1 #2'])
  t.same(dropped, ['expired', 'expired', 'expired'])
  session.offerRetained('#', sessions.retainedBy('#') as Iterable<never>)
  session.acknowledge(2)
  t.same(second.take(), [], 'nor what was retained')
  sessions.expire()
  t.equal(sessions.counts.retained, 0, 'which is gone')
  await sessions.stop()
})

t.test('no more is sent again than the client takes at a time', async t => {
  const { sessions } = await withClock()
  const { session } = sessions.open('c', { clean: false, expiry: 60 })
  sessions.subscribe(session, { filter: '#', qos: 2 })
  const first = new Wire()
  session.attach(first)
  for (let n = 1; n <= 5; n++) sessions.publish(message('m', { qos: n % 2 === 0 ? 2 : 1 }), n)
  await sessions.flush()
  sessions.leave(session)
  const second = new Wire()
  second.receiveMaximum = 2
  session.attach(second)
  t.same(second.take(), ['m q1 #1 dup', 'm q2 #2 dup'])
  session.acknowledge(1)
  t.same(second.take(), ['m q1 #3 dup'])
  session.received(2, true)
  t.same(second.take(), ['m q2 #4 dup'], 'a PUBREC that refuses makes room')
  session.acknowledge(3)
  t.same(second.take(), ['m q1 #5 dup'])
  await sessions.stop()
})

t.test('a group stays the same to those who have messages of it', async t => {
  const { dropped, dir, options, sessions } = await withClock()
  const group = '$share/g/x'
  const a = sessions.open('a', { clean: false, expiry: 60 }).session
  const wire = new Wire()
  wire.receiveMaximum = 1
  a.attach(wire)
  sessions.subscribe(a, { filter: group, qos: 1 })
  for (let n = 1; n <= 5; n++) sessions.publish(message('x', { payload: Buffer.from(String(n)) }), n)
  // The only member asks again, in other words.
  sessions.subscribe(a, { filter: group, qos: 1, id: 7 })
  sessions.unsubscribe(a, group)
  sessions.subscribe(a, { filter: group, qos: 2, asPublished: true })
  sessions.leave(a)
  const again = await crash(sessions, dir, folder(), options)
  const b = again.open('b', { clean: false, expiry: 60 }).session
  const other = new Wire()
  b.attach(other)
  again.subscribe(b, { filter: group, qos: 1 })
  await new Promise(resolve => setImmediate(resolve))
  t.same(
    other.publishes.map(({ payload }) => payload),
    ['1', '2', '3', '4', '5'],
    'who joins gets what waits at once',
  )
  t.same(dropped, [])
  await again.stop()
})

t.test(
  'a client that left a group with messages of it, and joins again after others, is a member as before',
  async t => {
    const { sessions } = await withClock()
    const filter = '$share/g/x'
    const join = (clientId: string) => {
      const { session } = sessions.open(clientId, { clean: false, expiry: 60 })
      const wire = new Wire()
      session.attach(wire)
      sessions.subscribe(session, { filter, qos: 1 })
      return { session, wire }
    }
    const a = join('a')
    sessions.publish(message('x'), 1)
    // The message stays unacknowledged in the session, and there is no other member.
    sessions.unsubscribe(a.session, filter)
    const b = join('b')
    sessions.subscribe(a.session, { filter, qos: 1 })
    sessions.unsubscribe(b.session, filter)
    sessions.publish(message('x'), 2)
    t.equal(a.wire.publishes.length, 2)
    await sessions.stop()
  },
)

t.test('what one member may not have any more, or does not take over, another has', async t => {
  let denied = ''
  const access = (user: string, clientId: string) =>
    new Access(user, clientId, user === denied ? [] : [{ effect: 'allow', verb: 'read', filter: '#', place: '' }])
  const { dropped, sessions } = await withClock({ access })
  const join = (user: string, qos: 0 | 1 | 2, receiveMaximum = 100) => {
    const { session } = sessions.open(user, { clean: false, expiry: 60, user })
    const wire = new Wire()
    wire.receiveMaximum = receiveMaximum
    session.attach(wire)
    sessions.subscribe(session, { filter: '$share/g/x', qos })
    return { session, wire }
  }
  const a = join('a', 1, 1)
  for (let n = 1; n <= 4; n++) sessions.publish(message('x', { payload: Buffer.from(String(n)) }), n)
  const b = join('b', 2)
  const zero = join('zero', 0)
  denied = 'a'
  sessions.reconsider()
  a.session.acknowledge(1)
  const texts = ({ wire }: typeof a) => wire.publishes.map(({ payload }) => payload)
  t.same([texts(a), texts(b), texts(zero)], [['1'], ['2', '3', '4'], []])
  t.same(dropped, [])
  await sessions.stop()
})

t.test('a quick return: no more than the client takes, and each once', async t => {
  const { sessions } = await withClock()
  const opening = { clean: false, expiry: 60 }
  const { session } = sessions.open('c', opening)
  sessions.subscribe(session, { filter: '#', qos: 2 })
  session.attach(new Wire())
  for (let n = 1; n <= 5; n++) sessions.publish(message('m', { qos: 2 }), n)
  // Before the journal has their packet ids.
  sessions.leave(session)
  sessions.open('c', opening)
  const wire = new Wire()
  wire.receiveMaximum = 1
  session.attach(wire)
  await sessions.flush()
  t.same(wire.take(), ['m q2 #1'])
  session.received(1, true)
  t.same(wire.take(), ['m q2 #2'])
  session.received(2)
  session.received(2, true)
  await sessions.flush()
  t.same(wire.take(), ['pubrel #2'], 'who has taken it cannot refuse it')
  await sessions.stop()
})

t.test('a QoS 2 message that was sent once is sent again, also when it has expired', async t => {
  const { clock, sessions } = await withClock()
  const opening = { clean: false, expiry: 60 }
  const { session } = sessions.open('c', opening)
  sessions.subscribe(session, { filter: '#', qos: 2 })
  session.attach(new Wire())
  sessions.publish(message('m', { qos: 2, expiresAt: (clock.now + 1_000) * 1_000 }), 1)
  await sessions.flush()
  sessions.leave(session)
  clock.now += 2_000
  sessions.open('c', opening)
  const wire = new Wire()
  session.attach(wire)
  t.same(wire.take(), ['m q2 #1 dup'], '[MQTT-4.3.3-7]')
  await sessions.stop()
})

t.test('too large for the client: what comes behind is sent', async t => {
  const { dropped, sessions } = await withClock({ queue: { window: 1, messages: 10, bytes: 1e6, ageMs: 0 } })
  class Small extends Wire {
    override publish(...[encoded, sending, dup]: Parameters<Wire['publish']>): boolean {
      return encoded.topic !== 'large' && super.publish(encoded, sending, dup)
    }
  }
  const { session } = sessions.open('c', { clean: false, expiry: 60 })
  sessions.subscribe(session, { filter: '#', qos: 2 })
  const wire = new Small()
  session.attach(wire)
  for (const [n, topic] of ['large', 'large', 'small'].entries()) sessions.publish(message(topic, { qos: 2 }), n + 1)
  for (let turn = 0; turn < 5; turn++) {
    await sessions.flush()
    await new Promise(resolve => setImmediate(resolve))
  }
  t.match(wire.take(), [/^small q2/])
  t.same(dropped, ['too_large', 'too_large'])
  await sessions.stop()
})

t.test('a will that could not be published when it was due still is when its client is back', async t => {
  const wills: string[] = []
  let isFull = true
  const { clock, sessions } = await withClock({
    willDue: ({ payload }, done) => {
      if (!isFull) wills.push(payload.toString())
      done(isFull)
    },
  })
  sessions.leave(sessions.open('c', { clean: false, expiry: 600 }).session)
  sessions.wills.delay(will('c', { delay: 1, payload: Buffer.from('first') }))
  clock.now += 2_000
  sessions.wills.publishDue()
  isFull = false
  sessions.open('c', { clean: false, expiry: 600 })
  t.same(wills, ['first'])
  await sessions.stop()
})

t.test('a will that was slow to be published leaves the next one of its client alone', async t => {
  const wills: string[] = []
  const publishing: (() => void)[] = []
  const { clock, options, dir, sessions } = await withClock({
    willDue: ({ payload }, done) => {
      wills.push(payload.toString())
      publishing.push(() => done(false))
    },
  })
  const goes = (payload: string) => {
    sessions.leave(sessions.open('c', { clean: false, expiry: 600 }).session)
    sessions.wills.delay(will('c', { delay: 1, payload: Buffer.from(payload) }))
  }
  goes('first')
  clock.now += 2_000
  sessions.wills.publishDue()
  goes('second')
  publishing[0]?.()
  const again = await crash(sessions, dir, folder(), options)
  clock.now += 2_000
  again.wills.publishDue()
  t.same(wills, ['first', 'second'])
  await again.stop()
})
