import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import mqtt, { type IClientOptions } from 'mqtt'
import t, { type Test } from 'tap'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'

/** A machine without a battery: its clock starts in 1970, until NTP sets it. */

interface Ready {
  readonly incidents: readonly { readonly kind: string; readonly count: number; readonly detail: string }[]
}

const incident = async (hub: RunningHub, kind: string) =>
  (await hub.get<Ready>('/readyz')).body.incidents.find(one => one.kind === kind)

/** Times of one series, oldest first, in milliseconds since the epoch. */
async function timesOf(hub: RunningHub, field: string): Promise<number[]> {
  const series = `telemetry,device=t1,room=kitchen ${field}`
  const query = new URLSearchParams({ series, from: '0', to: '4102444800000', points: '1000' })
  return (await hub.get<{ times: number[] }>(`/api/history?${query}`)).body.times
}

const stored = (hub: RunningHub, field: string, count: number) =>
  eventually(async () => {
    const times = await timesOf(hub, field)
    return times.length === count && times
  }, `${count} of ${field}`)

/**
 * Loaded before the hub, in each of its threads: the wall clock is a minute past the epoch when the machine starts, and
 * right from the moment on that the file is there.
 */
const preload = (startedAt: number, right: string) => `import { existsSync } from 'node:fs'
const Right = Date
let isRight = false
let lookedAt = -Infinity
const now = () => {
  if (!isRight && performance.now() - lookedAt > 20) {
    lookedAt = performance.now()
    isRight = existsSync(${JSON.stringify(right)})
  }
  return isRight ? Right.now() : Right.now() - ${startedAt} + 60_000
}
globalThis.Date = class extends Right {
  constructor(...given) {
    if (given.length > 0) super(...given)
    else super(now())
  }
  static now = now
}
`

function startIn1970(t: Test, dir?: string, settings: Readonly<Record<string, string>> = {}) {
  const own = t.testdir()
  const right = join(own, 'right')
  const file = join(own, 'preload.mjs')
  writeFileSync(file, preload(Date.now(), right))
  const hub = startHub(t, settings, dir, { NODE_OPTIONS: `--import ${pathToFileURL(file)}` })
  return { hub, setClock: () => writeFileSync(right, '') }
}

/** Connects once more as a client with a kept session, and leaves; says whether the session was there. */
async function comesBack(url: string, options: IClientOptions): Promise<boolean> {
  const client = mqtt.connect(url, { reconnectPeriod: 0, ...options })
  const isPresent = await new Promise<boolean>((resolve, reject) => {
    client.once('connect', ({ sessionPresent }) => resolve(sessionPresent))
    client.once('error', reject)
  })
  await client.endAsync()
  return isPresent
}

const kept: readonly IClientOptions[] = [
  { protocolVersion: 4, clean: false, clientId: 'kept-3.1.1' },
  { protocolVersion: 5, clean: false, clientId: 'kept-5', properties: { sessionExpiryInterval: 3_600 } },
]

t.test('a boot in 1970 with the state of today', async t => {
  const today = await startHub(t)
  for (const options of kept) {
    const client = await connectMqtt(t, today.mqttUrl, options)
    await client.subscribeAsync('alerts/#', { qos: 1 })
    await client.endAsync()
  }
  const first = await connectMqtt(t, today.mqttUrl, { clientId: 't1' })
  const send = (client: typeof first, reading: object) =>
    client.publishAsync('home/kitchen/t1/telemetry', JSON.stringify(reading), { qos: 1 })
  await first.publishAsync('alerts/1', 'before', { qos: 1 })
  const publishedAt = Date.now()
  await send(first, { v: 1 })
  await stored(today, 'v', 1)
  t.equal(await today.stop(), 0)

  const { hub: starting, setClock } = startIn1970(t, today.dir)
  const hub = await starting
  const unset = await incident(hub, 'clock_not_set')
  t.match(unset?.detail, /not set \(1970-01-01T00:01:.*; until it is, the hub counts time from 20/)
  t.match(hub.log(), /the clock of this machine is not set \(1970/)

  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1' })
  // Of a device whose clock is right, when the hub was off for two hours and cannot know.
  const own = Date.now() + 2 * 3_600_000
  await send(device, { own: 1, time: own })
  t.same(await stored(hub, 'own', 1), [own], 'the right time of a device stays')
  await send(device, { v: 2 })
  const [, unsetAt = 0] = await stored(hub, 'v', 2)
  t.ok(unsetAt >= publishedAt && unsetAt <= Date.now(), 'a reading without time has the latest that is known, not 1970')
  for (const options of kept) t.ok(await comesBack(hub.mqttUrl, options), `${options.clientId}: its session is there`)
  await device.publishAsync('alerts/2', 'in 1970', { qos: 1 })

  t.equal(await incident(hub, 'clock_jump'), undefined)
  setClock()
  const jump = await eventually(() => incident(hub, 'clock_jump'), 'the jump is shown')
  t.match(jump, { count: 1, detail: /jumped \d+ s forward, to 20/ })
  await eventually(() => /the clock of this machine jumped \d+ s forward/.test(hub.log()), 'and logged')
  const before = Date.now()
  await send(device, { v: 3 })
  const after = Date.now()
  const [, , at = 0] = await stored(hub, 'v', 3)
  t.ok(at >= Math.floor(before) && at <= after, `from now on the time is right: ${before} ≤ ${at} ≤ ${after}`)
  await send(device, { own: 2, time: after - 5_000 })
  t.same(await stored(hub, 'own', 2), [after - 5_000, own])

  // Long enough for what ends sessions and messages by their age to look at them.
  await sleep(1_500)
  for (const options of kept) {
    const client = mqtt.connect(hub.mqttUrl, { reconnectPeriod: 0, ...options })
    t.teardown(() => client.endAsync(true).catch(() => {}))
    const got: string[] = []
    client.on('message', (_topic, payload) => got.push(payload.toString()))
    await eventually(() => got.includes('in 1970'), `${options.clientId} gets what waited`)
  }
  t.match((await hub.get<object>('/api/balance')).body, { residual: 0, dead: 0, refused: 0 })
  t.equal(await hub.stop(), 0)
})

t.test('who signed in before the clock was set stays signed in, with the connections of the page', async t => {
  const users = await usersFile()
  await users.add('ann', ['allow read #'], { kind: 'dashboard' })
  const { hub: starting, setClock } = startIn1970(t, undefined, users.settings)
  const hub = await starting
  const asked = (path: string, cookie: string, init: RequestInit = {}) =>
    fetch(hub.httpUrl + path, { ...init, headers: { cookie, 'content-type': 'application/json' } })
  const body = JSON.stringify({ user: 'ann', password: passwordOf('ann') })
  const given = await asked('/api/login', '', { method: 'POST', body })
  const [cookie = '', ...attributes] = (given.headers.get('set-cookie') ?? '').split('; ')
  t.match(attributes.join(), /Max-Age=[1-9]/, 'a browser keeps the cookie')
  const made = await asked('/api/session/token', cookie, { method: 'POST' })
  const { username = '', password = '' } = (await made.json()) as IClientOptions
  const page = await connectMqtt(t, hub.webSocketUrl, { username, password: String(password) })
  let isClosed = false
  page.once('close', () => {
    isClosed = true
  })

  setClock()
  await eventually(() => incident(hub, 'clock_jump'), 'the hub has seen it')
  t.equal((await asked('/api/session', cookie)).status, 200)
  t.notOk(isClosed, 'the page is still connected')
  const again = await connectMqtt(t, hub.webSocketUrl, { username, password: String(password) })
  await again.endAsync()
  t.equal(await hub.stop(), 0)

  const next = await startHub(t, users.settings, hub.dir)
  const after = await fetch(`${next.httpUrl}/api/session`, { headers: { cookie } })
  t.equal(after.status, 200, 'after a restart with the right clock, too')
})
