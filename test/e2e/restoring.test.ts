import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import t from 'tap'
import { connectMqtt, eventually, metric, type RunningHub, startHub } from '../harness.js'

/*
 * A hub with much state takes publishes while it restores: what is acknowledged then, kept sessions get, whatever
 * happens meanwhile, and what needs the state waits for it.
 */

type Test = Parameters<typeof connectMqtt>[0]

const kept = { clientId: 'kept', clean: false }
/** The start does not wait. */
const early = { 'start.wait': '0s' }

interface Readiness {
  readonly ready: boolean
  readonly restoring?: { readonly sessions: number; readonly retained: number }
}

/** Starts a hub whose restore stands still until `release`. */
async function startHeld(t: Test, dir: string, settings: Readonly<Record<string, string>> = {}): Promise<RunningHub> {
  const held = new URL('../fixtures/held-restore.js', import.meta.url)
  return startHub(t, { ...early, ...settings }, dir, { NODE_OPTIONS: `--import=${held}` })
}

const release = (hub: RunningHub) => process.kill(hub.pid, 'SIGUSR2')

/** A folder with kept sessions of the clients `kept` and `other`, and with retained messages. */
async function keptState(t: Test): Promise<string> {
  const hub = await startHub(t)
  for (const clientId of ['kept', 'other']) {
    const client = await connectMqtt(t, hub.mqttUrl, { clientId, clean: false })
    await client.subscribeAsync(['news/#', 'exactly/#'], { qos: 2 })
    await client.endAsync()
  }
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'device' })
  for (const n of [1, 2, 3]) await device.publishAsync(`plant/${n}`, 'older', { qos: 1, retain: true })
  await device.endAsync()
  await hub.stop()
  return hub.dir
}

const readiness = async (hub: RunningHub) => (await hub.get<Readiness>('/readyz')).body
const isRestoring = async (hub: RunningHub) => (await readiness(hub)).restoring !== undefined
const restored = (hub: RunningHub) => eventually(async () => !(await isRestoring(hub)), 'restored')

/** What a client gets, by topic and in order. QoS 2 arrives later than QoS 1 that was sent after it. */
class Inbox {
  readonly news: string[] = []
  readonly exactly: string[] = []

  constructor(client: MqttClient) {
    client.on('message', (topic, payload) => this[topic === 'news/x' ? 'news' : 'exactly'].push(String(payload)))
  }

  has(text: string): boolean {
    return this.news.includes(text) || this.exactly.includes(text)
  }
}

/** Publishes texts, alternating between QoS 1 to `news` and QoS 2 to `exactly`. */
async function publishTexts(client: MqttClient, texts: readonly string[]): Promise<void> {
  for (const [n, text] of texts.entries()) {
    await client.publishAsync(n % 2 === 0 ? 'news/x' : 'exactly/x', text, { qos: n % 2 === 0 ? 1 : 2 })
  }
}

function connecting(t: Test, hub: RunningHub, options: IClientOptions): MqttClient {
  const client = mqtt.connect(hub.mqttUrl, {
    protocolVersion: 4,
    reconnectPeriod: 0,
    connectTimeout: 120_000,
    ...options,
  })
  client.on('error', () => {})
  t.teardown(() => client.endAsync(true).catch(() => {}))
  return client
}

t.test('publishes are taken while sessions are restored, and reach them in order; the rest waits', async t => {
  const dir = await keptState(t)
  // To wait for a session may take longer than CONNECT may otherwise.
  const hub = await startHeld(t, dir, { 'limits.connect': '1s' })
  const publisher = await connectMqtt(t, hub.mqttUrl, { clientId: 'publisher' })
  const now = await readiness(hub)
  t.ok(now.ready)
  t.ok(now.restoring, 'it says so')
  t.equal(await metric(hub, 'telehub_restoring'), 1)
  t.match(hub.log(), /publishes are taken while kept sessions are restored/)

  const mine = connecting(t, hub, kept)
  const inbox = new Inbox(mine)
  let isBack: boolean | undefined
  mine.on('connect', ({ sessionPresent }) => {
    isBack = sessionPresent
  })
  const subscriber = await connectMqtt(t, hub.mqttUrl, { clientId: 'subscriber' })
  const heard: string[] = []
  subscriber.on('message', (topic, payload) => heard.push(`${topic} ${payload}`))
  const subscribed = subscriber.subscribeAsync('plant/1', { qos: 1 }).then(async () => isRestoring(hub))

  const texts = Array.from({ length: 40 }, (_, n) => `text ${n}`)
  await publishTexts(publisher, texts)
  await publisher.publishAsync('plant/1', 'newer', { qos: 0, retain: true })
  await publisher.publishAsync('plant/2', 'newer', { qos: 1, retain: true })
  await publisher.publishAsync('plant/3', '', { qos: 1, retain: true })
  t.ok(await isRestoring(hub), 'all of that while the sessions are being restored')
  await sleep(3_600)
  t.equal(isBack, undefined, 'a client with a session waits')
  t.same(heard, [])

  release(hub)
  await restored(hub)
  await publisher.publishAsync('news/x', 'after', { qos: 1 })
  await eventually(() => inbox.has('after') && inbox.has('text 39'), 'the kept session has everything')
  t.equal(isBack, true)
  t.same(inbox.news, [...texts.filter((_, n) => n % 2 === 0), 'after'], 'once, in order')
  t.same(
    inbox.exactly,
    texts.filter((_, n) => n % 2 === 1),
  )
  t.equal(await subscribed, false, 'SUBACK comes when everything is there')
  await subscriber.subscribeAsync(['plant/2', 'plant/3', '$hub/presence/publisher'], { qos: 1 })
  await eventually(() => heard.length >= 3, 'retained messages come')
  t.same(
    heard.map(line => line.replace(/\{.*"online":true.*\}/, 'online')),
    ['plant/1 newer', 'plant/2 newer', '$hub/presence/publisher online'],
  )
  t.match(hub.log(), /restored after .* 2 sessions/)
  t.equal(await metric(hub, 'telehub_restoring'), 0)
  t.equal(await hub.stop(), 0)
})

t.test('killed while sessions are restored, again and again: they miss nothing of what was acknowledged', async t => {
  const dir = await keptState(t)
  const acknowledged = { news: [] as string[], exactly: [] as string[] }
  for (let round = 0; round < 6; round++) {
    const hub = await startHeld(t, dir)
    const publisher = await connectMqtt(t, hub.mqttUrl, { clientId: `publisher-${round % 2}` })
    const texts = Array.from({ length: 10 + 10 * round }, (_, n) => `${round} ${n}`)
    const middle = round % 2 === 0 ? texts.length : round * 4
    await publishTexts(publisher, texts.slice(0, middle))
    t.ok(await isRestoring(hub))
    // Killed in the middle of it, or when it is just about to be over, or over.
    if (middle < texts.length) release(hub)
    await publishTexts(publisher, texts.slice(middle))
    acknowledged.news.push(...texts.filter((_, n) => n % 2 === 0))
    acknowledged.exactly.push(...texts.filter((_, n) => n % 2 === 1))
    await hub.kill()
    publisher.end(true)
  }
  const hub = await startHub(t, {}, dir)
  const inbox = new Inbox(connecting(t, hub, kept))
  await eventually(() => inbox.has(acknowledged.exactly.at(-1) as string), 'everything is delivered')
  t.same({ ...inbox }, acknowledged, 'each once, in order')
  t.equal(await hub.stop(), 0)
})

t.test('stopped while sessions are restored: in order, and nothing is missing afterwards', async t => {
  const dir = await keptState(t)
  const first = await startHeld(t, dir)
  const publisher = await connectMqtt(t, first.mqttUrl, { clientId: 'publisher' })
  await publisher.publishAsync('news/x', 'before the stop', { qos: 1 })
  connecting(t, first, kept)
  t.ok(await isRestoring(first))
  t.equal(await first.stop(), 0, first.log())
  t.notMatch(first.log(), /restored after/)
  const second = await startHub(t, {}, dir)
  const inbox = new Inbox(connecting(t, second, kept))
  await eventually(() => inbox.has('before the stop'), 'it is delivered')
  t.same(inbox.news, ['before the stop'])
  t.equal(await second.stop(), 0)
})

t.test('a clean start ends the session that is still being restored; clients of one id keep their order', async t => {
  const dir = await keptState(t)
  const hub = await startHeld(t, dir)
  const clean = await connectMqtt(t, hub.mqttUrl, { ...kept, clean: true })
  await clean.publishAsync('news/x', 'not for itself', { qos: 1 })
  let isOther: boolean | undefined
  const other = connecting(t, hub, { clientId: 'other', clean: false })
  other.on('connect', ({ sessionPresent }) => {
    isOther = sessionPresent
  })
  await eventually(() => (other.stream as Socket).bytesWritten > 0, 'CONNECT is sent')
  // The hub has read that CONNECT by the time that it answers another client.
  for (let n = 0; n < 5; n++) await clean.publishAsync('elsewhere', 'x', { qos: 1 })
  const later = connecting(t, hub, { clientId: 'other' })
  t.ok(await isRestoring(hub))
  await sleep(200)
  t.notOk(later.connected, 'a clean start waits behind one of the same client')
  release(hub)
  await restored(hub)
  await eventually(() => later.connected && !other.connected, 'the later one has taken over')
  t.equal(isOther, true)
  t.ok(clean.connected)
  await clean.endAsync()
  const again = connecting(t, hub, kept)
  const present = await new Promise(resolve => again.once('connect', packet => resolve(packet.sessionPresent)))
  t.equal(present, false, 'its session is gone')
  t.equal(await hub.stop(), 0)
})
