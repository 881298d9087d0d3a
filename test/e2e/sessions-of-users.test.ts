import type { MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import { openRaw, type RawClient } from '../clients/raw-mqtt.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, type RunningHub, runCli, startHub } from '../harness.js'

async function start(t: Test) {
  const users = await usersFile()
  await users.add('admin', ['allow all #', 'allow read $hub/#'])
  await users.add('bob', ['allow all bob/#', 'allow subscribe $hub/#'])
  await users.add('mallory', ['allow all mallory/#', 'allow subscribe $hub/#'])
  const hub = await startHub(t, users.settings)
  return { hub, users }
}

const raw = (t: Test, hub: RunningHub, username: string, clientId: string, clean = false): Promise<RawClient> =>
  openRaw(t, hub, { username, password: Buffer.from(passwordOf(username)), clientId, clean })

/** What is published on these topics, newest by topic. */
async function watch(t: Test, hub: RunningHub, filter: string): Promise<Map<string, Record<string, unknown>>> {
  const seen = new Map<string, Record<string, unknown>>()
  const client: MqttClient = await connectMqtt(t, hub.mqttUrl, { username: 'admin', password: passwordOf('admin') })
  client.on('message', (topic, payload) => {
    if (payload.length === 0) seen.delete(topic)
    else seen.set(topic, JSON.parse(String(payload)) as Record<string, unknown>)
  })
  await client.subscribeAsync(filter)
  return seen
}

t.test('a client id cannot be squatted: each user has its session, presence and refusals', async t => {
  const { hub, users } = await start(t)
  const shown = await watch(t, hub, '$hub/+/+')
  const mallory = await raw(t, hub, 'mallory', 'lamp')
  await mallory.subscribe({ '$hub/why/lamp': 0, '$hub/presence/lamp': 0, 'mallory/x': 1 })
  await eventually(() => shown.get('$hub/presence/lamp')?.user === 'mallory', 'its own presence')
  const bob = await raw(t, hub, 'bob', 'lamp')
  t.equal(bob.sessionPresent, false)
  await bob.subscribe({ 'bob/x': 1 })
  await eventually(() => shown.get('$hub/presence/bob%00lamp')?.online === true, 'the other has a name of its own')
  t.match(shown.get('$hub/presence/bob%00lamp'), { clientId: 'lamp', user: 'bob' })
  t.match(shown.get('$hub/presence/lamp'), { user: 'mallory', online: true })

  await bob.subscribe({ 'mallory/x': 0 })
  await eventually(() => shown.get('$hub/why/bob%00lamp')?.topic === 'mallory/x', 'why bob was refused')
  t.equal(shown.get('$hub/why/lamp'), undefined)
  t.notOk(
    (await mallory.publishes()).some(({ payload }) => String(payload).includes('bob')),
    'who has the id reads nothing of the other',
  )

  // Neither does a client id that looks like the name of the other.
  const alike = await raw(t, hub, 'mallory', 'bob/lamp', true)
  await alike.subscribe({ '$hub/why/bob%2Flamp': 0, '$hub/why/bob%00lamp': 0, '$hub/presence/bob%00lamp': 0 })
  await bob.subscribe({ 'mallory/y': 0 })
  await eventually(() => shown.get('$hub/why/bob%00lamp')?.topic === 'mallory/y', 'why bob was refused again')
  const told = (await alike.publishes()).map(({ payload }) => JSON.parse(String(payload)) as { user: string })
  t.ok(told.every(({ user }) => user === 'mallory'))

  // Mallory goes and stays away with a kept session: bob comes back to his own, and gets the plain name.
  await mallory.cut()
  await eventually(() => shown.get('$hub/presence/lamp')?.online === false, 'mallory is gone')
  await bob.cut()
  const admin = await connectMqtt(t, hub.mqttUrl, { username: 'admin', password: passwordOf('admin') })
  await admin.publishAsync('bob/x', 'for bob', { qos: 1 })
  await eventually(() => shown.get('$hub/presence/bob%00lamp')?.online === false, 'bob is gone')
  const back = await raw(t, hub, 'bob', 'lamp')
  t.equal(back.sessionPresent, true)
  t.match(await back.answer('publish'), { topic: 'bob/x' })
  await eventually(() => shown.get('$hub/presence/lamp')?.user === 'bob', 'the plain name is his')
  t.match(shown.get('$hub/presence/mallory%00lamp'), { user: 'mallory', online: false })
  t.equal(shown.get('$hub/presence/bob%00lamp'), undefined)
  const again = await raw(t, hub, 'mallory', 'lamp')
  t.equal(again.sessionPresent, true)
  t.notOk(
    (await again.publishes()).some(({ payload }) => String(payload).includes('bob')),
    'kept subscriptions, too',
  )
  back.send({ cmd: 'pingreq' })
  t.match((await back.until('pingresp')).at(-1), { cmd: 'pingresp' }, 'nobody has taken over')

  await hub.kill()
  const second = await startHub(t, users.settings, hub.dir)
  const restored = await watch(t, second, '$hub/presence/+')
  await eventually(() => restored.size >= 2, 'both are shown again')
  t.match(restored.get('$hub/presence/lamp'), { user: 'bob', online: false })
  t.match(restored.get('$hub/presence/mallory%00lamp'), { user: 'mallory', online: false })
  for (const user of ['bob', 'mallory']) {
    t.equal((await raw(t, second, user, 'lamp')).sessionPresent, true, `${user} has its session after kill -9`)
  }
})

t.test('takeover is within a user', async t => {
  const { hub } = await start(t)
  const bob = await raw(t, hub, 'bob', 'lamp', true)
  const mallory = await raw(t, hub, 'mallory', 'lamp', true)
  const second = await raw(t, hub, 'bob', 'lamp', true)
  t.same(await bob.gone(), [], 'the first of the same user is closed')
  for (const client of [mallory, second]) {
    client.send({ cmd: 'pingreq' })
    t.match(await client.next(), { cmd: 'pingresp' })
  }
})

t.test('retained messages of a user who lost the right, or was removed, are not delivered', async t => {
  const { hub, users } = await start(t)
  const publish = async (user: string) => {
    const options = { username: user, password: passwordOf(user), clientId: `${user}-1` }
    const client = await connectMqtt(t, hub.mqttUrl, options)
    await client.publishAsync(`${user}/state`, `of ${user}`, { qos: 1, retain: true })
    await client.endAsync()
  }
  for (const user of ['bob', 'mallory', 'admin']) await publish(user)
  const retained = async (at: RunningHub) => {
    const reader = await openRaw(t, at, {
      username: 'admin',
      password: Buffer.from(passwordOf('admin')),
      clientId: 'r',
    })
    await reader.subscribe({ '#': 1 })
    const got = (await reader.publishes()).map(({ topic }) => topic)
    await reader.cut()
    return got.sort()
  }
  t.same(await retained(hub), ['admin/state', 'bob/state', 'mallory/state'])
  await users.edit(file => file.removeUser('mallory'))
  await eventually(async () => !(await retained(hub)).includes('mallory/state'), 'the user is removed')
  t.same(await retained(hub), ['admin/state', 'bob/state'])
  await users.edit(file => file.removeRule('bob', 'allow all bob/#'))
  await eventually(async () => !(await retained(hub)).includes('bob/state'), 'the right is gone')
  t.same(await retained(hub), ['admin/state'])
  await hub.kill()
  const second = await startHub(t, users.settings, hub.dir)
  t.same(await retained(second), ['admin/state'], 'also after kill -9')
  await users.edit(file => file.addRule('bob', 'allow publish bob/#'))
  await eventually(async () => (await retained(second)).includes('bob/state'), 'it comes back with the right')
})

t.test('telehub session lists sessions, and ends one with what waits in it', async t => {
  const { hub } = await start(t)
  const telehub = async (...args: string[]) => {
    const run = runCli(['session', ...args, '--url', hub.httpUrl, '--data.dir', hub.dir])
    t.teardown(() => run.kill())
    return { code: await run.exited, out: run.stdout(), err: run.stderr() }
  }
  for (const user of ['bob', 'mallory']) {
    const client = await raw(t, hub, user, 'lamp')
    await client.subscribe({ [`${user}/#`]: 1 })
    await client.cut()
  }
  const bob = await openRaw(t, hub, {
    username: 'bob',
    password: Buffer.from(passwordOf('bob')),
    clientId: 'here',
    protocolVersion: 5,
  })
  const admin = await connectMqtt(t, hub.mqttUrl, { username: 'admin', password: passwordOf('admin') })
  await admin.publishAsync('bob/x', 'for bob', { qos: 1 })

  const { body } = await hub.get<{ count: number; sessions: object[] }>('/api/sessions?client=lamp')
  t.match(body, { count: 2 })
  t.match(
    body.sessions.find(one => (one as { user: string }).user === 'bob'),
    { clientId: 'lamp', connected: false, kept: true, subscriptions: 1, queued: 1 },
  )
  const all = await telehub('list')
  t.match(all.out, /lamp +bob +away since .* kept +1 +1\n/)
  t.match(all.out, /here +bob +connected/)
  t.match((await telehub('list', '--user', 'bob', '--limit', '1')).out, /2 sessions, 1 shown/)

  const which = await telehub('end', 'lamp')
  t.not(which.code, 0)
  t.match(which.err, /users (bob, mallory|mallory, bob) have sessions of client id lamp; choose one with --user/)
  t.match(await telehub('end', 'lamp', '--user', 'mallory'), { code: 0, out: /lamp, user mallory, is ended/ })
  t.match(await telehub('end', 'lamp', '--user', 'mallory'), { err: /there is no session of client id "lamp" of user/ })
  t.match(await telehub('end', 'here'), { code: 0, out: /here, user bob, is ended/ })
  t.match(await bob.gone(), [{ cmd: 'disconnect', reasonCode: 0x98 }])
  const mallory = await raw(t, hub, 'mallory', 'lamp')
  t.equal(mallory.sessionPresent, false, 'it begins anew')
  t.equal((await raw(t, hub, 'bob', 'lamp')).sessionPresent, true, 'that of the other is as it was')

  const stranger = await fetch(`${hub.httpUrl}/api/sessions?client=lamp&user=bob`, { method: 'DELETE' })
  t.equal(stranger.status, 401)
})
