import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import fastify from 'fastify'
import t from 'tap'
import { type Answer, type Asked, problem, type RouteName, routes } from '../../src/contract/contract.js'
import type { Schema } from '../../src/contract/schema.js'
import { signRight } from '../../src/notify/acknowledge-token.js'
import { hubKeys } from '../../src/notify/hub-keys.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, runCli, startHub } from '../harness.js'

/** A schema that accepts no property beside those declared, at any depth: what is answered must be in the contract. */
function exact(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(exact)
  if (typeof schema !== 'object' || schema === null) return schema
  const copy = Object.fromEntries(Object.entries(schema).map(([keyword, value]) => [keyword, exact(value)]))
  return copy.properties ? { additionalProperties: false, ...copy } : copy
}

/** Validates by the validator of the hub, with neither conversion nor removal. Resolves with the fault, or undefined. */
function validator() {
  const app = fastify({ ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false } } })
  const paths = new Map<Schema, string>()
  const pathOf = (schema: Schema) => {
    const known = paths.get(schema)
    if (known) return known
    const path = `/${paths.size}`
    paths.set(schema, path)
    app.post(path, { schema: { body: exact(schema) } }, async () => ({}))
    return path
  }
  for (const route of Object.values(routes)) if ('answer' in route) pathOf(route.answer)
  pathOf(problem)
  return async (schema: Schema, value: unknown): Promise<string | undefined> => {
    const { statusCode, body } = await app.inject({ method: 'POST', url: pathOf(schema), payload: value as object })
    return statusCode === 200 ? undefined : body
  }
}

t.test('every route answers as the contract says', async t => {
  const users = await usersFile()
  await users.add('root', ['allow all #', 'allow all $hub/#'], { kind: 'admin' })
  await users.add('thermo', ['allow publish home/#', 'allow subscribe home/#'])
  const hub = await startHub(t, {
    outlets: JSON.stringify([{ name: 'hook', kind: 'webhook', url: 'http://127.0.0.1:9/' }]),
    ...users.settings,
    'proxy.trusted': '127.0.0.1',
    'auth.banAfter': '2',
    'spool.keep': '1h',
  })
  const admin = asAdmin(hub.dir)
  const fault = validator()
  const asked = new Set<RouteName>()

  const send = (name: RouteName, given: object, headers: Readonly<Record<string, string>>) => {
    const [method = '', pattern = ''] = name.split(' ')
    const path = pattern.replace(/:(\w+)/g, (_, part: string) => {
      const { [part]: value, ...rest } = given as Record<string, string>
      given = rest
      return encodeURIComponent(value ?? '')
    })
    return method === 'POST' || method === 'PATCH'
      ? fetch(hub.httpUrl + path, {
          method,
          headers: { ...headers, 'content-type': 'application/json' },
          body: JSON.stringify(given),
        })
      : fetch(`${hub.httpUrl}${path}?${new URLSearchParams(given as Record<string, string>)}`, { method, headers })
  }

  /** Asks, and checks each line of the answer. Resolves with the last one. */
  const ask = async <Name extends RouteName>(
    name: Name,
    given: Asked<Name>,
    headers: Readonly<Record<string, string>> = admin,
  ): Promise<Answer<Name>> => {
    asked.add(name)
    const response = await send(name, given, headers)
    const { answer, isStream } = routes[name] as { readonly answer?: Schema; readonly isStream?: boolean }
    t.equal(response.status, answer ? 200 : 204, name)
    let last: unknown
    if (!answer) t.equal(await response.text(), '', name)
    else if (isStream && response.body) {
      for await (const line of createInterface({ input: Readable.fromWeb(response.body) })) {
        last = JSON.parse(line)
        t.equal(await fault(answer, last), undefined, `${name}: ${line}`)
      }
    } else {
      last = await response.json()
      t.equal(await fault(answer, last), undefined, `${name}: ${JSON.stringify(last).slice(0, 2_000)}`)
    }
    return last as Answer<Name>
  }

  const device = await connectMqtt(t, hub.mqttUrl, {
    protocolVersion: 5,
    clientId: 'one',
    clean: false,
    username: 'thermo',
    password: passwordOf('thermo'),
    properties: { sessionExpiryInterval: 600 },
  })
  await device.subscribeAsync('home/#', { qos: 1 })
  await device.publishAsync('home/thermo', '{"temperature":21.5,"on":true,"state":"heating"}', { qos: 1 })
  await device.publishAsync('home/nothing', Buffer.from([0xff, 0xfd]), {
    qos: 1,
    retain: true,
    properties: {
      contentType: 'application/x',
      responseTopic: 'home/answer',
      correlationData: Buffer.from('c'),
      payloadFormatIndicator: false,
      messageExpiryInterval: 600,
      userProperties: { a: ['1', '2'] },
    },
  })

  const series = await eventually(async () => {
    const { series } = await ask('GET /api/series', {})
    return series.length === 3 && series
  }, 'three series')
  t.same(series.map(({ type }) => type).sort(), ['boolean', 'number', 'text'])
  t.match(await ask('GET /api/series', { limit: 1 }), { series: [{}], next: /./ })
  for (const { key } of series) {
    const { times, values } = await ask('GET /api/history', { series: key, fn: 'last' })
    t.same([times.length, values.length], [1, 1], key)
  }
  const whole = { series: series[0]?.key ?? '', from: 0, points: 1 }
  t.equal('window' in (await ask('GET /api/history', whole)), false, 'one reading, as it is stored')
  t.match(await ask('GET /api/export', { select: 'field=temperature' }), { field: 'temperature', value: 21.5 })
  t.match(await ask('POST /api/sql', { sql: 'SELECT count(*) AS n FROM readings' }), { rows: [[3]], isWhole: true })
  t.match(await ask('POST /api/imports', { job: 'one', file: 'one.csv' }), { next: 1, finished: false })
  const content = JSON.stringify({
    series: [['past', [], 'value']],
    s: [0, 0],
    t: [1e15, 2e15],
    v: [1, 'x'],
    n: [2, 3],
  })
  t.match(await ask('POST /api/imports/:job', { job: 'one', batch: 1, position: '9', last: true, content }), {
    ...{ rows: 2, stored: 2, finished: true },
  })
  t.match(await ask('POST /api/series/drop', { series: 'past value' }), { changed: true })
  t.match(await ask('POST /api/series/drop', { series: 'past value_str' }), { changed: true })
  t.equal((await ask('GET /api/starts', {})).starts.length, 1)
  t.match((await ask('GET /api/devices', {})).devices, [{ clientId: 'one', online: true }])
  const letters = await eventually(async () => {
    const { dead } = await ask('GET /api/dead', {})
    return dead.length > 0 && dead
  }, 'a dead letter')
  t.match(letters[0], { topic: 'home/nothing', contentType: 'application/x', userProperties: [['a', '1']] })
  const {
    devices: [thing],
  } = await ask('GET /api/home', { values: 'all' })
  t.match(thing, { values: [{ field: 'temperature', main: true, fate: 'kept' }], online: true })
  const [value] = thing?.values ?? []
  const found = async (given: Asked<'GET /api/home'>) =>
    (await ask('GET /api/home', given)).devices.map(({ values }) => values.map(({ field }) => field))
  t.same(await found({ search: 'thermo temp|temperatur' }), [['temperature']], 'by the names of device and value')
  t.same(await found({ search: 'thermo pressure' }), [])
  t.same(await found({ series: value?.series ?? '' }), [[value?.field]], 'by series')
  const place = { devices: { [thing?.id ?? '']: { name: 'Warmth', main: ['home/thermo#state'] } } }
  t.match(await ask('PATCH /api/boards', place), { undo: 1, changes: [{ by: 'admin.key' }] })
  const shown = (await ask('GET /api/home', { device: thing?.id ?? '' })).devices[0]
  t.match(shown, { name: 'Warmth', given: { name: thing?.name }, values: [{ field: 'state', main: true }] })
  t.same(await ask('POST /api/boards/favourites', { devices: ['x'] }), { changed: true })
  t.match(await ask('GET /api/boards', {}), { mayEdit: true, favourites: ['x'], devices: place.devices })
  t.equal((await send('POST /api/boards/undo', {}, { ...admin, 'if-match': '"0-x"' })).status, 412)
  t.match(await ask('POST /api/boards/undo', {}), { undo: 0, devices: {} })
  await ask('PATCH /api/boards', { boards: { wall: { name: 'Wall' } } })
  const share = await ask('POST /api/shares', { board: 'wall', expires: Date.now() + 1e6 })
  t.match(await ask('GET /api/shares', {}), { shares: [{ id: share.id, board: 'wall', by: 'admin.key' }] })
  t.same(await ask('POST /api/shares/end', { id: share.id }), { ended: true })
  const { levels } = await ask('GET /api/topics', { under: 'home' })
  t.match(levels, [
    { name: 'nothing', topics: 1, own: { client: 'one', user: 'thermo', fate: 'refused', retained: true } },
    { name: 'thermo', own: { fate: 'stored' } },
  ])
  t.match(await ask('GET /api/topics', { search: 'therm' }), { topics: 1, levels: [{ name: 'home/thermo' }] })
  t.match(await ask('GET /api/topics/messages', { topic: 'home/nothing' }), {
    messages: [{ retain: true, contentType: 'application/x', bytes: 2, mapped: { outcome: 'dead' } }],
    isWhole: true,
    mayPublish: true,
    retained: { bytes: 2, clientId: 'one' },
  })
  t.match(await ask('GET /api/retained', { filter: 'home/+' }), { count: 1, messages: [{ topic: 'home/nothing' }] })
  t.same(await ask('POST /api/retained/clear', { filter: 'nowhere/+' }), { cleared: 0 })
  t.match(await ask('GET /api/clients', { search: 'on', sort: 'in' }), {
    count: 1,
    clients: [{ clientId: 'one', user: 'thermo', version: '5', listener: 'mqtt', filters: ['home/#'], publishes: 2 }],
    talkers: [{ clientId: 'one' }],
  })
  t.match(await ask('POST /api/bans', { kind: 'user', name: 'nobody', seconds: 60 }), { disconnected: 0 })
  t.match((await ask('GET /api/bans', {})).imposed, [{ kind: 'user', name: 'nobody', by: 'admin.key' }])
  t.same(await ask('POST /api/bans/lift', { kind: 'user', source: 'nobody' }), { lifted: 'nobody' })
  const ownRule = { topic: 'home/{device}', measurement: 'home', decoder: 'value' }
  const proposal = await ask('POST /api/mapping/check', { topic: 'home/nothing' })
  t.match(proposal, { proposed: true, mistakes: [], topic: 'home/nothing', messages: [{ now: { outcome: 'dead' } }] })
  t.equal(proposal.messages[0]?.letter, letters[0]?.id)
  t.match(await ask('POST /api/mapping/check', { rule: ownRule }), {
    mistakes: [],
    matches: { count: 2, topics: [{ topic: /^home/, taken: true }, { taken: true }] },
  })
  t.match(await ask('POST /api/mapping/check', { rule: { topic: 'home/{a}', unit: 1 }, topic: 'home/thermo' }), {
    mistakes: [{ key: 'unit' }, { key: 'measurement', sentence: 'missing' }],
  })
  const rulesBefore = await ask('GET /api/mapping', {})
  const rulesSaved = await ask('POST /api/mapping', { rules: [ownRule] })
  t.match(rulesSaved, { undo: 1, rules: [{ place: { from: 'hub', number: 1 }, rule: ownRule }] })
  t.equal(rulesSaved.rules.length, rulesBefore.rules.length + 1)
  t.equal((await send('POST /api/mapping/undo', {}, { ...admin, 'if-match': rulesBefore.revision })).status, 412)
  t.match(await ask('POST /api/mapping/undo', {}), { undo: 0, rules: rulesBefore.rules })
  await ask('GET /api/balance', {})
  await ask('GET /api/spool', {})
  t.match(await ask('GET /api/find', { topic: 'home/nothing' }), {
    messages: [{ clientId: 'one', hops: [{ hop: 'received' }, { hop: 'on disk' }, { hop: 'dead' }] }],
  })
  const held = await ask('POST /api/backup/hold', { seconds: 1 })
  t.ok((held.store?.logBytes ?? -1) >= 0)
  t.same(await ask('POST /api/backup/release', {}), { hub: held.hub })
  await ask('GET /api/store', {})
  t.match(await ask('POST /api/dead/replay', { all: true }), { finished: true, kept: 1 })
  t.match(await ask('POST /api/dead/drop', { id: letters[0]?.id ?? '' }), { finished: true, dropped: 1 })
  t.match(await ask('POST /api/spool/replay', { from: 0, topic: 'home/#' }), { finished: true })
  t.match(await ask('POST /api/mapping/diff', { rules: [ownRule], from: 0 }), { finished: true, diff: { fates: [] } })
  t.same((await ask('GET /api/mapping/past', {})).change, undefined)
  t.match(await ask('POST /api/mapping/apply', { rules: [ownRule], from: 0 }), { finished: true, error: undefined })
  t.match(await ask('GET /api/mapping/past', {}), { change: { phase: 'done' }, progress: { finished: true } })
  t.equal((await send('POST /api/mapping/apply', { rules: [{}], from: 0 }, admin)).status, 400)
  t.match(await ask('POST /api/mapping/apply/undo', {}), { finished: true, error: undefined })
  t.equal((await send('POST /api/mapping/apply/undo', {}, admin)).status, 404)
  t.match(await ask('GET /api/inbox', {}), { more: 0 })
  t.match(await ask('GET /api/noise', {}), { series: Number, rows: Array })
  t.equal((await send('POST /api/noise/fix', { series: ['nothing x'] }, admin)).status, 404)
  const steady = 'home,topic=home/steady value'
  for (let n = 0; n < 3; n++) await ask('POST /api/publish', { topic: 'home/steady', payload: '7', qos: 1 })
  await eventually(
    async () => (await ask('GET /api/noise', { series: steady })).rows[0]?.points === 3,
    'the same value is stored three times',
  )
  t.match(await ask('POST /api/noise/fix', { series: [steady] }), { written: [{ topic: 'home/steady' }] })
  await ask('POST /api/mapping/undo', {})
  t.match(await ask('GET /api/balance', { device: 'one', limit: 1 }), { dropped: 1, devices: [{ clientId: 'one' }] })

  const measured = series.find(({ type }) => type === 'number')?.key ?? ''
  const renamed = measured.replace(/ .*/, ' warmth')
  t.same(await ask('POST /api/series/rename', { series: measured, to: renamed }), { changed: true })
  t.same(await ask('POST /api/series/retype', { series: renamed, type: 'text' }), { changed: true, replayed: true })
  t.same(await ask('POST /api/series/drop', { series: renamed }), { changed: true })
  const tried = { topic: 'cmnd/plug/POWER', payload: Buffer.from('ON').toString('base64') }
  const lamp = { thing: 'lamp' }
  t.match(await ask('POST /api/shadows/:thing', { ...lamp, desired: { on: true } }), { version: 1 })
  t.match(await ask('PATCH /api/shadows/:thing', { ...lamp, name: 'night', desired: { on: 1 } }), { name: 'night' })
  t.match(await ask('GET /api/shadows/:thing', lamp), { delta: { on: true }, named: ['night'] })
  t.match(await ask('DELETE /api/shadows/:thing', { ...lamp, name: 'night' }), { deleted: true, version: 1 })
  t.match(await ask('POST /api/map/try', tried), { preset: 'tasmota', outcome: 'ignored' })

  await writeFile(
    join(hub.dir, 'notify.yaml'),
    'targets: { bus: { type: mqtt, topic: home/alerts } }\nroutes: [{ targets: bus }]\n',
    { mode: 0o600 },
  )
  await eventually(async () => (await ask('GET /api/notify', {})).targets[0]?.target === 'bus', 'the targets are known')
  t.same(await ask('POST /api/notify/test', { target: 'bus' }), { sent: 1 })
  t.match(await ask('GET /api/notify', {}), {
    targets: [{ target: 'bus', type: 'mqtt', waiting: 0 }],
    routes: [{ targets: ['bus'] }],
  })
  const { tokens } = hubKeys(join(hub.dir, 'notify', 'keys.json'))
  const token = signRight(tokens, { alerts: ['none'], by: 'bus', address: 'bus', expires: Date.now() + 60_000 })
  t.same(await ask('POST /api/outlets/pause', { outlet: 'hook', paused: true }), { paused: true })
  t.match(await ask('GET /api/outlets', {}), { outlets: [{ name: 'hook', state: 'paused' }] })
  t.same(await ask('POST /api/notify/acknowledge', { token, note: 'seen' }, {}), { acknowledged: 0 })

  t.match(await ask('POST /api/publish', { topic: 'home/x', payload: 1 }), { messages: [{}] })

  const told = await ask('POST /api/commands', { topic: 'home/lamp/set', payload: { on: true }, expiry: 60 })
  t.match(told, { state: 'queued', payload: '{"on":true}' })
  const request = await ask('POST /api/requests', { service: 'orders/create', payload: 1, expiry: 60, wait: 0 })
  t.match(request, { topic: '$hub/requests/orders/create', state: 'queued' })
  t.match(await ask('DELETE /api/commands/:id', { id: request.id }), { state: 'cancelled' })
  t.match(await ask('GET /api/commands', { open: true }), { commands: [{ id: told.id }] })
  t.match(await ask('DELETE /api/commands/:id', { id: told.id }), { state: 'cancelled' })
  t.match(await ask('GET /api/commands/:id', { id: told.id }), { over: true })
  const hot = { field: 'temperature', above: 30 }
  t.match(await ask('POST /api/alerts/rules', { name: 'hot', rule: hot }), { name: 'hot', definition: hot })
  await device.publishAsync('home/stove', '{"temperature":90}', { qos: 1 })
  const [alert] = await eventually(async () => {
    const { alerts } = await ask('GET /api/alerts', { rule: 'hot' })
    return alerts.length > 0 && alerts
  }, 'an alert')
  t.match(await ask('POST /api/alerts/ack', { alert: alert?.alert ?? '' }), { state: 'acknowledged' })
  const mute = await ask('POST /api/alerts/mute', { rule: 'hot', note: 'cooking' })
  await ask('GET /api/alerts', { state: 'all' })
  t.match(await ask('POST /api/alerts/unmute', { id: mute.id }), { note: 'cooking' })
  // The alert may be earlier than the reading is stored, which is what a back-test reads.
  const isFound = async () => (await ask('POST /api/alerts/test', { rule: 'hot', from: 0 })).count === 1
  await eventually(isFound, 'the back-test finds the alert')
  const wrong = { ...hot, above: 'much' }
  t.match(await ask('POST /api/alerts/check', { name: 'hot', rule: wrong }), { mistakes: [{ path: ['above'] }] })
  t.match(await ask('POST /api/alerts/check', { rule: hot }), { mistakes: [] })
  t.match(await ask('GET /api/alerts/rules', {}), { rules: [{ firing: 1 }] })
  t.same(await ask('DELETE /api/alerts/rules', { name: 'hot' }), { removed: true })

  const { sessions } = await ask('GET /api/sessions', {})
  t.match(sessions, [{ clientId: 'one', user: 'thermo', expiry: 600 }])
  await device.endAsync()
  await eventually(async () => !(await ask('GET /api/sessions', {})).sessions[0]?.connected, 'the client has left')
  const guest = await connectMqtt(t, hub.mqttUrl, {
    username: 'thermo',
    password: passwordOf('thermo'),
    clientId: 'kicked',
    reconnectPeriod: 0,
  })
  t.same(await ask('POST /api/clients/disconnect', { client: 'kicked', user: 'thermo' }), { disconnected: 1 })
  guest.end(true)
  t.same(await ask('DELETE /api/sessions', { client: 'one', user: 'thermo' }), { ended: true })
  t.match(await ask('DELETE /api/devices', { client: 'one', user: 'thermo' }), { retained: 1 })

  t.match(await ask('GET /api/session', {}), { auth: 'required', kind: 'admin', mayChange: true })
  const from = { 'x-forwarded-for': '203.0.113.9' }
  const signIn = async () => {
    const credentials = { user: 'root', password: passwordOf('root') }
    const response = await send('POST /api/login', credentials, {})
    return { cookie: (response.headers.get('set-cookie') ?? '').split(';')[0] ?? '' }
  }
  await ask('POST /api/login', { user: 'root', password: passwordOf('root') }, {})
  const browser = await signIn()
  t.match(await ask('GET /api/session', {}, browser), { user: 'root' })
  t.match(await ask('POST /api/session/token', {}, browser), { username: 'root' })
  const keys = { p256dh: Buffer.alloc(65, 4).toString('base64url'), auth: Buffer.alloc(16).toString('base64url') }
  const { id } = await ask('POST /api/notify/push', { endpoint: 'https://push.example.org/1', keys }, browser)
  t.match(await ask('GET /api/notify/push', {}, browser), { subscriptions: [{ id }] })
  await ask('DELETE /api/notify/push', { id }, browser)
  t.equal((await ask('GET /api/logins', {}, browser)).logins.length, 2)
  t.same(await ask('POST /api/logins/end', { others: true }, browser), { ended: 1 })
  await ask('POST /api/logout', {}, browser)

  const { version } = await ask('GET /api/users', { search: 'therm' })
  const added = await send('POST /api/users', { name: 'screen', kind: 'dashboard' }, { ...admin, 'if-match': 'x' })
  t.equal(added.status, 412, 'another file')
  t.match(await ask('POST /api/users', { name: 'screen', kind: 'dashboard' }), { password: /^[\w-]{27}$/ })
  t.match(await ask('POST /api/users/password', { name: 'screen', scram: true }), { password: /./ })
  t.match(await ask('POST /api/users/rules', { name: 'screen', add: ['deny read home/secret'] }), { version: /./ })
  const isAllowed = { user: 'screen', action: 'read', topic: 'home/secret' } as const
  t.match(await ask('GET /api/explain', isAllowed), { allowed: false, rule: { rule: 'deny read home/secret' } })
  const made = await ask('POST /api/users/keys', { name: 'screen', label: 'wall' })
  const listed = await ask('GET /api/users', { name: 'screen' })
  t.match(listed.users, [{ kind: 'dashboard', keys: [{ id: made.id, label: 'wall' }], password: 'generated' }])
  t.not(listed.version, version)
  await ask('DELETE /api/users/keys', { name: 'screen', id: made.id })
  t.match(await ask('POST /api/users/pairing', { name: 'sensor' }), { isNew: true, code: /^\w{4}-\w{4}-\w{4}$/ })
  await ask('DELETE /api/users', { name: 'sensor' })
  await ask('DELETE /api/users', { name: 'screen' })
  const { settings } = await ask('GET /api/settings', {})
  t.match(
    settings.find(({ key }) => key === 'auth.banAfter'),
    { value: '2', source: '--auth.banAfter', atOnce: false },
  )
  t.same(await ask('GET /api/certificate', {}), {})
  t.match(await ask('GET /api/audit', { event: 'change', text: 'user screen', limit: 2 }), {
    lines: [{ what: 'remove user screen', user: 'admin.key', via: 'http' }, { what: 'end API key of user screen' }],
    next: Number,
  })

  const pair = runCli(['device', 'pair', 'lamp', '--auth.file', users.file, '--data.dir', join(hub.dir, 'none')])
  t.equal(await pair.exited, 0, pair.stderr())
  const code = /\b\w{4}-\w{4}-\w{4}\b/.exec(pair.stdout())?.[0] ?? ''
  await eventually(() => /auth\.file: .*\b3 users/.test(hub.log()), 'the hub knows the new user')
  t.match(await ask('POST /api/pair', { code }, {}), { user: 'lamp', addresses: [hub.mqttUrl] })

  for (let n = 0; n < 3; n++) await send('POST /api/login', { user: 'root', password: `${n}` }, from)
  t.match((await ask('GET /api/bans', {})).bans, [{ source: '203.0.113.9', times: 1 }])
  t.same(await ask('POST /api/bans/lift', { source: '203.0.113.9' }), { lifted: '203.0.113.9' })

  asked.add('GET /api/live')
  const feed = await send('GET /api/live', { topic: '#' }, admin)
  t.equal(feed.headers.get('content-type'), 'text/event-stream; charset=utf-8')
  await feed.body?.cancel()

  await ask('GET /healthz', {}, {})
  t.same(await ask('GET /readyz', {}, {}), { ready: true })
  t.ok((await ask('GET /readyz', {})).dependencies?.length)
  t.same((await ask('GET /api/hubs', {})).hubs, [], 'this hub is alone')

  t.same(
    Object.keys(routes).filter(name => !asked.has(name as RouteName)),
    [],
    'no route is left out',
  )

  const refusals: readonly [
    name: RouteName,
    given: object,
    headers: Readonly<Record<string, string>>,
    status: number,
  ][] = [
    ['GET /api/history', {}, admin, 400],
    ['GET /api/dead', { device: 'x', devise: 'x' }, admin, 400],
    ['POST /api/dead/drop', {}, admin, 400],
    ['POST /api/publish', [{ topic: 'home/x', payload: 1 }, { topic: '+' }], admin, 400],
    ['POST /api/logins/end', { id: 'x', others: true }, admin, 400],
    ['GET /api/devices', {}, {}, 401],
    ['DELETE /api/sessions', { client: 'nobody' }, admin, 404],
  ]
  for (const [name, given, headers, status] of refusals) {
    const response = await send(name, given, headers)
    t.equal(response.status, status, name)
    t.equal(await fault(problem, await response.json()), undefined, name)
  }

  const description = await (await fetch(`${hub.httpUrl}/api/openapi.json`, { headers: admin })).json()
  interface Described {
    readonly summary: string
    readonly responses: Readonly<
      Record<string, { readonly description: string; readonly content?: Readonly<Record<string, { schema?: object }>> }>
    >
  }
  const { paths } = description as { paths: Record<string, Record<string, Described>> }
  for (const [name, { summary }] of Object.entries(routes)) {
    const [method = '', path = ''] = name.split(' ')
    const described = paths[path.replace(/:(\w+)/g, '{$1}')]?.[method.toLowerCase()]
    t.equal(described?.summary, summary, name)
    t.ok(Object.keys(described?.responses ?? {}).includes('4XX'), name)
  }
  const published = JSON.stringify(paths['/api/publish'])
  t.match(published, /requestBody.*correlationData/, 'a body that the route validates by itself is described')
  t.notMatch(JSON.stringify(description), /Default Response/)
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, { responses }] of Object.entries(methods)) {
      for (const [status, { description, content = {} }] of Object.entries(responses)) {
        const isEmpty = status === '204'
        t.ok(description.length > 3, `${method} ${path} ${status}`)
        t.ok(isEmpty || Object.values(content).every(({ schema }) => schema), `${method} ${path} ${status}: a schema`)
        t.equal(Object.keys(content).length, isEmpty ? 0 : 1, `${method} ${path} ${status}: a type`)
      }
    }
  }
})
