import t from 'tap'
import type { Session } from '../../src/sessions/session.js'
import { ownerOf, sessionName } from '../../src/sessions/session-name.js'
import type { Sessions } from '../../src/sessions/sessions.js'
import { crash, folders, kept, message, openSessions, passing, topicsOf, Wire, will } from '../fixtures/sessions.js'

/** A client of a user, connected, with its subscriptions at QoS 1. */
function connected(
  sessions: Sessions,
  user: string,
  clientId: string,
  filters: readonly string[] = [],
  opening = kept,
) {
  const { session, present } = sessions.open(clientId, { ...opening, user })
  const wire = new Wire()
  session.attach(wire)
  for (const filter of filters) sessions.subscribe(session, { filter, qos: 1 })
  return { session, present, wire }
}

const queued = (session: Session | undefined) => [
  ...topicsOf(session?.inflight.values() ?? []),
  ...topicsOf(session?.unsent ?? []),
]

t.test('a name is of user and client id, and says both', async t => {
  for (const user of ['', 'ada', 'a@b.c']) {
    for (const clientId of ['', 'lamp', 'ada/lamp', '__proto__', 'ä']) {
      t.same(ownerOf(sessionName(user, clientId)), { user, clientId })
    }
  }
  t.equal(sessionName('', 'lamp'), 'lamp')
})

t.test('two users have the same client id, and each has its session, also after a crash', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir)
  const ada = connected(first, 'ada', 'lamp', ['a/#'])
  const bob = connected(first, 'bob', 'lamp', ['b/#'])
  t.same([ada.present, bob.present], [false, false])
  t.not(ada.session, bob.session)
  for (const { session } of [ada, bob]) first.leave(session)
  for (const [n, topic] of ['a/1', 'b/1', 'b/2'].entries()) first.publish(message(topic), n + 1)
  first.wills.put(will('lamp', { user: 'ada', topic: 'will/ada' }))
  first.wills.put(will('lamp', { user: 'bob', topic: 'will/bob' }))
  first.recoverIncoming(sessionName('bob', 'lamp'), 7)

  const second = await crash(first, dir, next())
  t.same(queued(second.find(sessionName('ada', 'lamp'))), ['a/1'])
  t.same(queued(second.find(sessionName('bob', 'lamp'))), ['b/1', 'b/2'])
  t.same([...(second.find(sessionName('bob', 'lamp'))?.incoming.keys() ?? [])], [7])
  t.equal(second.find('lamp'), undefined)
  t.equal(second.wills.of(sessionName('ada', 'lamp'))?.topic, 'will/ada')
  t.equal(second.wills.delete(sessionName('bob', 'lamp'))?.topic, 'will/bob')
  t.equal(second.wills.all().length, 1)

  // Neither of them ends the other's.
  connected(second, 'bob', 'lamp', [], { clean: true, expiry: 0 })
  t.equal(second.find(sessionName('bob', 'lamp')), undefined)
  const again = connected(second, 'ada', 'lamp')
  t.equal(again.present, true)
  t.same(again.wire.take(), ['a/1 q1 #1'])
  t.equal(connected(second, 'eve', 'lamp').present, false)
  await second.stop()
})

t.test('a session from before there were users goes to the first user with its client id, once', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir)
  const early = connected(first, '', 'lamp', ['a/#'])
  first.leave(early.session)
  first.publish(message('a/1'), 1)
  const second = await crash(first, dir, next())
  const ada = connected(second, 'ada', 'lamp')
  t.equal(ada.present, true)
  t.same(ada.wire.take(), ['a/1 q1 #1'])
  t.equal(connected(second, 'bob', 'lamp').present, false)
  second.leave(ada.session)
  second.publish(message('a/2'), 2)
  // When nobody is asked again, who comes without a user has another session.
  const nobody = connected(second, '', 'lamp', ['n/#'])
  t.equal(nobody.present, false)
  second.leave(nobody.session)
  second.publish(message('n/1'), 3)

  const third = await crash(second, `${dir}/../2`, next())
  t.same(queued(third.find(sessionName('ada', 'lamp'))), ['a/1', 'a/2'])
  t.same(queued(third.find('lamp')), ['n/1'])
  await third.stop()
})

t.test('No Local is about the client of that user', async t => {
  const next = await folders()
  const sessions = await openSessions(next())
  t.teardown(() => sessions.stop())
  const { session, wire } = connected(sessions, 'ada', 'lamp', [], passing)
  sessions.subscribe(session, { filter: '#', qos: 0, noLocal: true })
  sessions.publish(message('own', { clientId: 'lamp', user: 'ada', retain: true }), 1)
  sessions.publish(message('other', { clientId: 'lamp', user: 'bob', retain: true }), 2)
  t.same(wire.take(), ['other q0'])
  sessions.offerRetained(session, '#', 0)
  t.same(wire.take(), ['other q0 retain'])
})

t.test('a retained message is delivered while its publisher may still publish it, and remembers the user', async t => {
  const next = await folders()
  const dir = next()
  let permitted = ['ada']
  const asked: string[] = []
  const mayRetain = (user: string, clientId: string, topic: string) => {
    asked.push(`${user} ${clientId} ${topic}`)
    return permitted.includes(user)
  }
  const first = await openSessions(dir, { mayRetain })
  first.publish(message('r/ada', { clientId: 'x', user: 'ada', retain: true }), 1)
  first.publish(message('r/bob', { clientId: 'y', user: 'bob', retain: true }), 2)
  first.publish(message('r/hub', { clientId: '', retain: true }), 3)
  const second = await crash(first, dir, next(), { mayRetain })
  const offered = (filter: string) => {
    const { session, wire } = connected(second, 'reader', 'r', [], passing)
    second.offerRetained(session, filter, 0)
    return wire.take().sort()
  }
  t.same(offered('r/#'), ['r/ada q0 retain', 'r/hub q0 retain'])
  t.same(asked.sort(), ['ada x r/ada', 'bob y r/bob'])
  t.same(offered('r/bob'), [])
  permitted = ['bob']
  t.same(offered('r/#'), ['r/bob q0 retain', 'r/hub q0 retain'], 'it comes back with the right')
  await second.stop()
})
