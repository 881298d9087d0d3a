import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { eventually } from '../harness.js'
import { type Guarded, startGuarded } from './guarded.js'

type List = Answer<'GET /api/users'>

/** Asks as the admin root, who is signed in. */
async function asRoot(hub: Guarded) {
  const cookie = await hub.signIn('root', 'sesame-root')
  const ask = async <T>(method: string, path: string, body?: object, match?: string) => {
    const response = await hub.request(path, {
      method,
      headers: {
        cookie,
        ...(match !== undefined && { 'if-match': match }),
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
    })
    return { status: response.status, body: (await response.json()) as T & { error?: string; message?: string } }
  }
  const list = async (query = '') => (await ask<List>('GET', `/api/users${query}`)).body
  return { ask, list }
}

t.test('users are listed without any secret, and changed by the users file', async t => {
  const hub = await startGuarded(t)
  const { ask, list } = await asRoot(hub)
  const all = await list()
  t.same(
    all.users.map(({ name }) => name),
    ['ann', 'grafana', 'root', 'thermo'],
  )
  const text = readFileSync(all.file, 'utf8')
  for (const [hash = ''] of text.matchAll(/sha256\$[\w-]+/g)) t.notMatch(JSON.stringify(all), hash)
  const page = await list('?limit=2')
  t.match(page, { count: 4, next: 'grafana', users: [{ name: 'ann' }, { name: 'grafana' }] })
  t.match(await list(`?limit=2&after=${page.next}`), { users: [{ name: 'root' }, { name: 'thermo' }] })
  t.equal((await list('?search=AN')).count, 2, 'ann and grafana')

  const made = await ask<{ password: string; version: string }>(
    'POST',
    '/api/users',
    { name: 'hall', kind: 'device' },
    all.version,
  )
  t.equal(made.status, 200)
  t.equal(hub.authority.user('hall')?.kind, 'device', 'in effect when the answer is there')
  t.notMatch(readFileSync(all.file, 'utf8'), made.body.password)
  t.match(await list('?name=hall'), {
    users: [{ password: 'generated', rules: [{ rule: 'allow all devices/{user}/#' }] }],
  })
  t.match(await ask('POST', '/api/users', { name: 'hall', kind: 'device' }), { status: 400 })
  t.match(await ask('POST', '/api/users', { name: 'erp', kind: 'service' }), {
    body: { message: /a service has no rights/ },
  })
  t.match(await ask('POST', '/api/users', { name: '../x', kind: 'device' }), {
    body: { message: /^name: given "..\/x"/ },
  })
  t.match(await ask('POST', '/api/users', { name: 'x', kind: 'device', rules: ['allow x y'] }), {
    body: { message: /^given "x", allowed are/ },
  })
  t.match(await ask('DELETE', '/api/users?name=root'), { status: 400, body: { message: /cannot remove the user/ } })
  t.match(await ask('DELETE', '/api/users?name=nobody'), { status: 404 })
  t.match(await ask('POST', '/api/users/rules', { name: 'hall', remove: ['allow read x'] }), { status: 404 })

  const key = (await ask<{ key: string; id: string }>('POST', '/api/users/keys', { name: 'grafana', label: 'new' }))
    .body
  const byKey = () => hub.request('/api/series', { headers: { authorization: `Bearer ${key.key}` } })
  t.equal((await byKey()).status, 200)
  await ask('DELETE', `/api/users/keys?name=grafana&id=${key.id}`)
  t.equal((await byKey()).status, 401, 'an ended key')

  const did = hub.audited.filter(({ event, user }) => event === 'change' && user === 'root')
  t.match(did, [
    { what: 'add user hall', detail: /^device: allow all/ },
    { what: 'add user hall', result: 'failed', reason: 'bad_request' },
    { what: 'remove user nobody', result: 'failed' },
    { what: 'rules of user hall', result: 'failed' },
    { what: 'add API key of user grafana', detail: `${key.id} new` },
    { what: 'end API key of user grafana', detail: key.id },
  ])
  for (const secret of [made.body.password, key.key]) t.notMatch(JSON.stringify(hub.audited), secret)
})

t.test('an edit by hand in between is noticed, kept, and told when it is wrong', async t => {
  const hub = await startGuarded(t)
  const { ask, list } = await asRoot(hub)
  const before = await list()
  const text = readFileSync(before.file, 'utf8')
  writeFileSync(before.file, text.replace('users:', '# by hand\nusers:'))
  const refused = await ask('DELETE', '/api/users?name=ann', undefined, before.version)
  t.match(refused, { status: 412, body: { error: 'changed', message: /has been changed meanwhile/ } })
  t.ok(hub.authority.user('ann'))
  const now = await eventually(async () => {
    const answer = await list()
    return answer.version !== before.version && answer
  }, 'the hub has read the file')
  t.equal((await ask('DELETE', '/api/users?name=ann', undefined, `"${now.version}"`)).status, 200)
  t.match(readFileSync(before.file, 'utf8'), '# by hand')

  writeFileSync(before.file, `${readFileSync(before.file, 'utf8')}  broken: {kind: robot}\n`)
  const { trouble } = await eventually(async () => {
    const answer = await list()
    return answer.trouble !== undefined && answer
  }, 'the mistake is told')
  t.match(trouble, /users\.yaml:\d+: broken\.kind: given "robot"/)
  t.match(await ask('DELETE', '/api/users?name=grafana'), { status: 400, body: { message: /given "robot"/ } })
  t.ok(hub.authority.user('grafana'), 'the version before stays in use')
})

t.test('explain names the rule that decides', async t => {
  const hub = await startGuarded(t)
  const { ask } = await asRoot(hub)
  await hub.set('lamp', 'device', 'sesame', ['allow publish home/{user}/#', 'deny publish home/lamp/secret'])
  const explain = async (topic: string, action = 'publish', user = 'lamp') =>
    (await ask(`GET`, `/api/explain?${new URLSearchParams({ user, action, topic })}`)).body
  t.match(await explain('home/lamp/on'), {
    allowed: true,
    rule: { rule: 'allow publish home/{user}/#', place: /:\d+$/ },
  })
  t.match(await explain('home/lamp/secret'), {
    allowed: false,
    rule: { rule: 'deny publish home/lamp/secret' },
    lines: [/deny publish/, 'a matching deny overrides every allow'],
  })
  t.match(await explain('office/x'), {
    allowed: false,
    lines: [/no rule allows user lamp to publish office\/x/, /./, /./],
  })
  t.notOk('rule' in (await explain('office/x')))
  t.match(await explain('a/+/b', 'read'), { allowed: false, lines: [/must not be empty or contain/] })
  t.match(await explain('a', 'read', 'nobody'), { lines: ['there is no user nobody in users.yaml'] })
})

t.test('all of it is for admins', async t => {
  const hub = await startGuarded(t)
  const cookie = await hub.signIn('ann', 'sesame-ann')
  for (const path of [
    '/api/users',
    '/api/explain?user=a&action=read&topic=a',
    '/api/settings',
    '/api/certificate',
    '/api/audit',
  ]) {
    t.equal((await hub.request(path, { headers: { cookie } })).status, 403, path)
    t.equal((await hub.request(path)).status, 401, path)
  }
  t.equal((await hub.post('/api/users', { name: 'x', kind: 'admin' }, { cookie })).status, 403)
  t.equal((await hub.post('/api/users/pairing', { name: 'x' }, { cookie })).status, 403)
})
