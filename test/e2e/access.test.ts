import mqtt from 'mqtt'
import t from 'tap'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, metric, type RunningHub, runCli, startHub } from '../harness.js'

/** Runs a command that asks the hub; resolves with its exit code and all that it printed. */
async function telehub(hub: RunningHub, ...args: string[]) {
  const asks = args[0] === 'audit' ? [] : ['--url', hub.httpUrl]
  const run = runCli([...args, ...asks, '--data.dir', hub.dir])
  return { code: await run.exited, out: run.stdout() + run.stderr() }
}

t.test('bans: a source that guesses, what still comes in from there, the list and the way out', async t => {
  const users = await usersFile()
  await users.add('root', ['allow all #'], { kind: 'admin' })
  await users.add('thermo', ['allow publish home/#'])
  await users.add('other', ['allow publish home/#'])
  const hub = await startHub(t, { ...users.settings, 'proxy.trusted': '127.0.0.1', 'auth.banAfter': '6' })
  const from = (address: string) => ({ 'x-forwarded-for': address, 'content-type': 'application/json' })
  const login = async (address: string, user: string, password: string) => {
    const body = JSON.stringify({ user, password })
    const answer = await fetch(`${hub.httpUrl}/api/login`, { method: 'POST', headers: from(address), body })
    return { status: answer.status, retry: Number(answer.headers.get('retry-after')) }
  }
  const overWebSocket = (address: string, username: string, password = passwordOf(username)) =>
    connectMqtt(t, hub.webSocketUrl, { username, password, wsOptions: { headers: from(address) } })

  // From here comes one device, and then somebody guesses.
  await (await overWebSocket('203.0.113.5', 'thermo')).endAsync()
  for (let n = 0; n < 6; n++) t.equal((await login('203.0.113.5', `root${n}`, 'x')).status, 401, `${n}`)
  for (let n = 0; n < 6; n++) t.equal((await login('203.0.113.9', 'root', `${n}`)).status, 401)
  const banned = await login('203.0.113.5', 'root', 'x')
  t.equal(banned.status, 429)
  t.ok(banned.retry > 500 && banned.retry <= 600, `ten minutes: ${banned.retry} s`)
  await t.rejects(overWebSocket('203.0.113.5', 'other', 'x'), 'nor over MQTT')
  await (await overWebSocket('203.0.113.5', 'thermo')).endAsync()
  // No user ever came in from there: it is not even listened to.
  const cut = mqtt.connect(hub.webSocketUrl, { reconnectPeriod: 0, wsOptions: { headers: from('203.0.113.9') } })
  cut.on('error', () => {})
  t.teardown(() => cut.endAsync(true).catch(() => {}))
  await new Promise<void>(resolve => cut.once('close', () => resolve()))
  t.ok((await metric(hub, 'telehub_refused_total{reason="banned"}')) > 0)
  t.equal((await login('203.0.113.6', 'root', passwordOf('root'))).status, 204, 'another address')
  for (let n = 0; n < 12; n++) await fetch(`${hub.httpUrl}/api/login`, { method: 'POST', body: '{}' })
  const bans = await telehub(hub, 'ban', 'list')
  t.match(
    bans.out,
    /^what +name +since .*banned\naddress +203\.0\.113\.9 .* 1 time\naddress +203\.0\.113\.5 .* 1 time\n$/,
  )
  t.match(await telehub(hub, 'ban', 'lift', '203.0.113.7'), { code: 1, out: /is not banned/ })
  t.match(await telehub(hub, 'ban', 'lift', '203.0.113.5'), { code: 0, out: 'the ban of 203.0.113.5 is lifted\n' })
  t.equal((await login('203.0.113.5', 'root', passwordOf('root'))).status, 204)
  const log = await telehub(hub, 'audit', 'tail', '--json')
  t.match(log.out, /"event":"ban","result":"banned".*"address":"203\.0\.113\.5"/)
  t.match(log.out, /"event":"change".*"user":"admin\.key".*lift of the ban of 203\.0\.113\.5/)
})

t.test('logins: who is signed in and from where, and how to end that', async t => {
  const users = await usersFile()
  for (const name of ['root', 'ann', 'bob']) {
    await users.add(name, ['allow all #'], { kind: name === 'root' ? 'admin' : 'dashboard' })
  }
  const hub = await startHub(t, users.settings)
  const post = (path: string, body: object, cookie = '') =>
    fetch(hub.httpUrl + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': 'Test/1', cookie },
      body: JSON.stringify(body),
    })
  const signIn = async (user: string) => {
    const { headers } = await post('/api/login', { user, password: passwordOf(user) })
    return (headers.get('set-cookie') ?? '').split(';')[0] as string
  }
  const list = async (cookie: string) => {
    const answer = await fetch(`${hub.httpUrl}/api/logins`, { headers: { cookie } })
    return ((await answer.json()) as { logins: { id: string; user: string; current: boolean }[] }).logins
  }
  const [root, ann, ann2, bob] = [await signIn('root'), await signIn('ann'), await signIn('ann'), await signIn('bob')]
  t.equal((await list(root)).length, 4)
  const ofAnn = await list(ann)
  t.same(ofAnn.map(({ user, current }) => `${user} ${current}`).sort(), ['ann false', 'ann true'])
  const [ofBob] = await list(bob)
  t.equal((await post('/api/logins/end', { id: ofBob?.id }, ann)).status, 404, 'not those of others')
  t.same(await (await post('/api/logins/end', { user: 'bob' }, ann)).json(), { ended: 0 })
  t.equal((await post('/api/logins/end', {}, ann)).status, 400)
  t.equal((await post('/api/logins/end', { id: ofAnn.find(one => !one.current)?.id }, ann)).status, 200)
  t.equal((await fetch(`${hub.httpUrl}/api/session`, { headers: { cookie: ann2 } })).status, 401)
  t.equal((await list(ann)).length, 1)
  await signIn('ann')
  const root2 = await signIn('root')
  t.same(await (await post('/api/logins/end', { others: true }, ann)).json(), { ended: 1 })
  t.same(
    await (await post('/api/logins/end', { others: true }, root2)).json(),
    { ended: 1 },
    'of an admin its own alone',
  )
  t.same((await list(root2)).map(({ user }) => user).sort(), ['ann', 'bob', 'root'])
  t.equal((await post('/api/logins/end', { others: false }, ann)).status, 400)
  t.match(await telehub(hub, 'login', 'list', '--user', 'bob'), { code: 0, out: /bob .*127\.0\.0\.1 +Test\/1\n$/ })
  t.match(await telehub(hub, 'login', 'end', '--user', 'bob'), { code: 0, out: '1 login ended\n' })
  t.equal((await fetch(`${hub.httpUrl}/api/session`, { headers: { cookie: bob } })).status, 401)
  t.match(await telehub(hub, 'login', 'end'), { code: 2, out: /needs an ID/ })
  t.match(await telehub(hub, 'login', 'end', 'x'), { code: 1, out: /no such login/ })
  const log = await telehub(hub, 'audit', 'tail', '--json')
  t.match(log.out, /"event":"logout","result":"ended".*"user":"ann".*"what":"login of ann"/)
})

t.test('a login ends with auth.loginMax', async t => {
  const users = await usersFile()
  await users.add('root', ['allow all #'], { kind: 'admin' })
  const hub = await startHub(t, { ...users.settings, 'auth.loginMax': '2s' })
  const body = JSON.stringify({ user: 'root', password: passwordOf('root') })
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`${hub.httpUrl}/api/login`, { method: 'POST', headers, body })
  const set = answer.headers.get('set-cookie') ?? ''
  t.match(set, /Max-Age=[12];/)
  const cookie = set.split(';')[0] as string
  await eventually(
    async () => (await fetch(`${hub.httpUrl}/api/session`, { headers: { cookie } })).status === 401,
    'it is over, though it is used all the time',
  )
})

t.test('links that share a board: made by its name or id, listed, ended', async t => {
  const users = await usersFile()
  await users.add('root', ['allow all #'], { kind: 'admin' })
  const hub = await startHub(t, users.settings)
  const none = await telehub(hub, 'share', 'add', 'Kitchen')
  t.match(none, { code: 1, out: /there is no board "Kitchen"; there is none yet: make one/ })
  const boards = { k1: { name: 'Kitchen', areas: ['Kitchen'] }, w1: { name: 'Wall' }, w2: { name: 'Wall' } }
  const changed = await fetch(`${hub.httpUrl}/api/boards`, {
    method: 'PATCH',
    headers: { ...asAdmin(hub.dir), 'content-type': 'application/json' },
    body: JSON.stringify({ boards }),
  })
  t.equal(changed.status, 200)
  t.match(await telehub(hub, 'share', 'add', 'Cellar'), {
    code: 1,
    out: /"Cellar"; there are "Kitchen", "Wall", "Wall"/,
  })
  t.match(await telehub(hub, 'share', 'add', 'Wall'), { code: 1, out: /several boards .* the ids w1, w2/ })
  t.match(await telehub(hub, 'share', 'add', 'Kitchen', '--days', '400'), { code: 1, out: /given 400, allowed/ })
  t.match(await telehub(hub, 'share', 'list'), { code: 0, out: '0 links\n' })

  const made = await telehub(hub, 'share', 'add', 'Kitchen', '--days', '2')
  t.equal(made.code, 0)
  const address = /^http\S+\/share\/\S+$/m.exec(made.out)?.[0] ?? ''
  const open = async () => (await fetch(address, { redirect: 'manual' })).status
  t.equal(await open(), 200, made.out)
  t.equal((await telehub(hub, 'share', 'add', 'w2', '--json')).code, 0, 'by its id')
  const list = await telehub(hub, 'share', 'list')
  t.match(list.out, /^id +board +by *\n\w+ +Wall +admin\.key +until .*\n\w+ +Kitchen +admin\.key +until .*\n2 links\n$/)
  const id = /^(\w+) +Kitchen/m.exec(list.out)?.[1] ?? ''
  t.match(await telehub(hub, 'share', 'end', id), { code: 0, out: `link ${id} is ended\n` })
  t.equal(await open(), 404)
  t.match(await telehub(hub, 'share', 'end', id), { code: 1, out: /there is no such link/ })
})
