import t, { type Test } from 'tap'
import { openRaw, RawClient } from '../clients/raw-mqtt.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { eventually, metric, type RunningHub, startHub } from '../harness.js'

/** Mallory, a user of the least rights, sends more than the spool can be drained of; bob goes on. */

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

t.test('limits.share is a setting, and what is given back is free again', async t => {
  const users = await usersFile()
  await users.add('fleet', ['allow all fleet/#'])
  const hub = await startHub(t, { ...users.settings, 'limits.connections': '10', 'limits.share': '90' })
  const clients = []
  for (let n = 0; n < 9; n++) clients.push(await open(t, hub, 'fleet', `f${n}`))
  const late = new RawClient(t, hub.mqttUrl)
  t.match(await late.hello({ ...login('fleet'), clientId: 'late' }), { cmd: 'connack', returnCode: 3 })
  await clients[0]?.leave()
  await eventually(async () => (await metric(hub, 'telehub_clients')) === 8, 'it has left')
  await open(t, hub, 'fleet', 'late')
})

t.test('the spool: a user that sends more than is drained is refused, and others are still kept', async t => {
  // Nothing answers there, so nothing leaves the spool.
  const stuck = { 'rabbitmq.url': 'amqp://127.0.0.1:1', 'spool.limit': '4MB', 'spool.segment': '256KB' }
  const hub = await start(t, stuck)
  const mallory = await open(t, hub, 'mallory', 'mallory')
  const payload = 'x'.repeat(100_000)
  for (let n = 1; n <= 40 && !mallory.closed; n++) {
    publish(mallory, 'mallory/x', payload, n)
    await mallory.next().catch(() => {})
  }
  t.ok(mallory.closed, 'the connection ends, as there is no other way to say no')
  t.ok((await metric(hub, 'telehub_refused_total{reason="spool_share"}')) > 0, 'and that is counted')
  const bytes = await metric(hub, 'telehub_spool_bytes')
  t.ok(bytes > 1.9e6 && bytes < 2.4e6, `half of the spool: ${bytes}`)
  const bob = await open(t, hub, 'bob', 'bob')
  for (let n = 1; n <= 3; n++) {
    publish(bob, 'bob/x', payload, n)
    t.match(await bob.next(), { cmd: 'puback', messageId: n })
  }
})
