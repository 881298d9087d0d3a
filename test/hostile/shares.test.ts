import t, { type Test } from 'tap'
import { openRaw, RawClient } from '../clients/raw-mqtt.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { metric, type RunningHub, startHub } from '../harness.js'

/** Mallory, a user of the least rights, takes all she can get of what all users share; bob goes on. */

async function start(t: Test, settings: Readonly<Record<string, string>>): Promise<RunningHub> {
  const users = await usersFile()
  for (const name of ['mallory', 'bob']) await users.add(name, [`allow all ${name}/#`, 'allow read $hub/#'])
  await users.add('admin', ['allow all #', 'allow read $hub/#'])
  return startHub(t, { ...users.settings, ...settings })
}

const login = (user: string) => ({ username: user, password: Buffer.from(passwordOf(user)) })

const open = (t: Test, hub: RunningHub, user: string, clientId: string, clean = true) =>
  openRaw(t, hub, { ...login(user), clientId, clean })

const publish = (client: RawClient, topic: string, payload: string, messageId: number, retain = false) =>
  client.send({ cmd: 'publish', topic, payload, qos: 1, messageId, dup: false, retain })

t.test('sessions: those of the user with most give way', async t => {
  const hub = await start(t, { 'limits.sessions': '20' })
  const bob = await open(t, hub, 'bob', 'lamp', false)
  await bob.subscribe({ 'bob/x': 1 })
  await bob.leave()
  const sender = await open(t, hub, 'bob', 'sender')
  publish(sender, 'bob/x', 'acknowledged', 1)
  await sender.answer('puback')
  for (let n = 0; n < 60; n++) await (await open(t, hub, 'mallory', `m${n}`, false)).leave()
  t.equal(await metric(hub, 'telehub_given_up_total{reason="sessions"}'), 41, 'as many as there are too many')
  const back = await open(t, hub, 'bob', 'lamp', false)
  t.equal(back.sessionPresent, true)
  t.same(await back.receive(1), ['acknowledged'])
  t.equal(await metric(hub, 'telehub_pool_used{pool="absent_sessions",user="mallory"}'), 19)
})

t.test('retained messages: a user has no more than half, others have their share', async t => {
  const hub = await start(t, { 'limits.retained': '40' })
  const mallory = await open(t, hub, 'mallory', 'mallory')
  for (let n = 1; n <= 60; n++) {
    publish(mallory, `mallory/${n}`, 'x', n, true)
    await mallory.answer('puback')
  }
  const bob = await open(t, hub, 'bob', 'bob')
  publish(bob, 'bob/state', 'on', 1, true)
  await bob.answer('puback')
  await bob.subscribe({ 'bob/#': 0 })
  t.match(await bob.next(), { cmd: 'publish', topic: 'bob/state', retain: true })
  t.equal(await metric(hub, 'telehub_pool_used{pool="retained",user="mallory"}'), 20)
  t.equal(await metric(hub, 'telehub_given_up_total{reason="retained"}'), 40)
})

t.test('connections: a user has no more than half, others have their share', async t => {
  const hub = await start(t, { 'limits.connections': '20' })
  let refused = 0
  for (let n = 0; n < 30; n++) {
    const client = new RawClient(t, hub.mqttUrl)
    const answer = await client.hello({ ...login('mallory'), clientId: `m${n}` })
    if (answer.cmd === 'connack' && answer.returnCode !== 0) refused++
  }
  t.equal(refused, 20)
  const told = new RawClient(t, hub.mqttUrl, 5)
  t.match(await told.hello({ ...login('mallory'), clientId: 'told' }), {
    cmd: 'connack',
    reasonCode: 0x97,
    properties: { reasonString: /limits\.connections, limits\.share/ },
  })
  const again = new RawClient(t, hub.mqttUrl)
  await again.connect({ ...login('mallory'), clientId: 'm0' })
  for (let n = 0; n < 2; n++) await open(t, hub, 'bob', `bob ${n}`)
})

t.test('subscriptions and wildcards of all clients of a user together', async t => {
  const hub = await start(t, { 'limits.allSubscriptions': '40', 'limits.allWildcards': '20' })
  let granted = 0
  for (let n = 0; n < 5; n++) {
    const client = await open(t, hub, 'mallory', `m${n}`)
    const filters = Array.from({ length: 10 }, (_, i) => [`mallory/${n}/${i}/${i % 2 ? '+' : 'x'}`, 0] as const)
    granted += (await client.subscribe(filters)).filter(code => code === 0).length
  }
  t.equal(granted, 20, 'half of all')
  const bob = await open(t, hub, 'bob', 'bob')
  t.same(await bob.subscribe({ 'bob/a': 0, 'bob/#': 0 }), [0, 0])
  t.equal(await metric(hub, 'telehub_pool_used{pool="subscriptions",user="mallory"}'), 20)
})
