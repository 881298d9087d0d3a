import t, { type Test } from 'tap'
import type { Answer, RouteName } from '../../src/contract/contract.js'
import { makeKey } from '../../src/users/users.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, startHub } from '../harness.js'

/** Asks as somebody. Resolves with the answer; the test fails at any other status. */
function asking(t: Test, url: string, headers: Readonly<Record<string, string>>) {
  return async <Name extends RouteName>(name: Name, query: Readonly<Record<string, string>>, status = 200) => {
    const [method = '', path] = name.split(' ')
    const response =
      method === 'GET'
        ? await fetch(`${url}${path}?${new URLSearchParams(query)}`, { headers })
        : await fetch(`${url}${path}`, {
            method,
            headers: { ...headers, 'content-type': 'application/json' },
            body: JSON.stringify(query),
          })
    t.equal(response.status, status, `${name} ${JSON.stringify(query)}`)
    return (await response.json()) as Answer<Name>
  }
}

t.test('messages of a topic come from the spool, then as they are published, and over a restart', async t => {
  const hub = await startHub(t, { 'spool.keep': '1h' })
  const ask = asking(t, hub.httpUrl, {})
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'meter', protocolVersion: 5 })
  for (let i = 0; i < 30; i++) await device.publishAsync(`noise/${i % 3}`, String(i), { qos: 1 })
  for (const value of ['1', '{"t":2}', 'not { json'])
    await device.publishAsync('cellar/meter', value, { qos: 1, properties: { contentType: 'text/plain' } })
  const before = await eventually(async () => {
    const answer = await ask('GET /api/topics/messages', { topic: 'cellar/meter' })
    return answer.messages.length === 3 && answer
  }, 'three messages')
  t.match(before, { isWhole: true, mayPublish: true })
  t.same(
    before.messages.map(({ payload }) => Buffer.from(payload, 'base64').toString()),
    ['not { json', '{"t":2}', '1'],
  )
  t.match(before.messages[0], { clientId: 'meter', qos: 1, retain: false, bytes: 10, contentType: 'text/plain' })
  t.match(before.messages[1]?.mapped, { outcome: 'stored', points: [{ fields: [{ name: 't', value: 2 }] }] })
  await device.publishAsync('cellar/meter', '4', { qos: 1 })
  const after = String(before.messages[0]?.sequence)
  const more = await eventually(async () => {
    const answer = await ask('GET /api/topics/messages', { topic: 'cellar/meter', after })
    return answer.messages.length > 0 && answer
  }, 'the next message')
  t.match(more, { messages: [{ bytes: 1 }], isWhole: true })
  t.equal(more.messages.length, 1)
  t.match(await ask('GET /api/topics/messages', { topic: 'noise/1', limit: '4' }), { isWhole: false })
  t.match(await ask('GET /api/topics/messages', { topic: 'never/seen' }), { messages: [], isWhole: true })

  await hub.stop()
  const again = await startHub(t, { 'spool.keep': '1h' }, hub.dir)
  const askAgain = asking(t, again.httpUrl, {})
  t.match(await askAgain('GET /api/topics', {}), {
    topics: 4,
    levels: [
      { name: 'cellar', last: Number },
      { name: 'noise', topics: 3 },
    ],
  })
  t.equal((await askAgain('GET /api/topics/messages', { topic: 'cellar/meter' })).messages.length, 4)
})

t.test('callers see and delete what their rules allow', async t => {
  const users = await usersFile()
  await users.add('root', ['allow all #'], { kind: 'admin' })
  await users.add('guest', ['allow read home/#', 'deny read home/safe', 'allow publish home/lamp'], { kind: 'service' })
  const { text: key, key: kept } = makeKey('', 0)
  await users.edit(file => file.addKey('guest', kept))
  const hub = await startHub(t, users.settings)
  const admin = asking(t, hub.httpUrl, asAdmin(hub.dir))
  const guest = asking(t, hub.httpUrl, { authorization: `Bearer ${key}` })
  const device = await connectMqtt(t, hub.mqttUrl, { username: 'root', password: passwordOf('root') })
  for (const topic of ['home/lamp', 'home/safe', 'office/door', 'home/a/b'])
    await device.publishAsync(topic, '1', { qos: 1, retain: true })
  await eventually(async () => (await admin('GET /api/topics', {})).topics === 4, 'four topics')
  t.match(await guest('GET /api/topics', {}), { topics: 2, levels: [{ name: 'home', topics: 2, messages: 2 }] })
  const inside = await guest('GET /api/topics', { under: 'home' })
  t.same(
    inside.levels.map(({ name }) => name),
    ['a', 'lamp'],
  )
  t.match(inside.levels[1]?.own, { retained: true })
  t.same((await guest('GET /api/topics', { search: 'safe' })).levels, [])
  t.match(await guest('GET /api/topics/messages', { topic: 'home/lamp' }), { mayPublish: true })
  t.match(await guest('GET /api/topics/messages', { topic: 'home/a/b' }), { mayPublish: false })
  await guest('GET /api/topics/messages', { topic: 'home/safe' }, 403)
  await guest('GET /api/topics/messages', { topic: 'home/#' }, 400)
  t.match(await guest('GET /api/retained', {}), { count: 2, messages: [{ topic: 'home/a/b' }, { topic: 'home/lamp' }] })
  await guest('POST /api/retained/clear', { filter: 'home/lamp' }, 403)
  await admin('POST /api/retained/clear', { filter: '$hub/last/#' }, 400)
  t.same(await admin('POST /api/retained/clear', { filter: 'home/#' }), { cleared: 3 })
  t.match(await admin('GET /api/retained', { filter: '#' }), { count: 1, messages: [{ topic: 'office/door' }] })
  const log = await admin('GET /api/retained', { filter: 'office/#', limit: '1' })
  t.equal(Buffer.from(log.messages[0]?.payload ?? '', 'base64').toString(), '1')
})
