import { fileURLToPath } from 'node:url'
import mqtt from 'mqtt'
import t, { type Test } from 'tap'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, history, metric, type RunningHub, runCli, startHub } from '../harness.js'
import { ensureMosquitto, type MosquittoServer, startMosquitto } from '../services/mosquitto.js'
import { freePort } from '../services/service.js'

await ensureMosquitto()

const pem = (name: string) => fileURLToPath(new URL(`../../../test/fixtures/tls/${name}`, import.meta.url))
const list = (key: 'inlets' | 'outlets', ...all: readonly object[]) => ({ [key]: JSON.stringify(all) })
const inlet = (url: string, more: object = {}) => list('inlets', { name: 'other', url, topics: ['plant/#'], ...more })
const outlet = (url: string, more: object = {}) =>
  list('outlets', { name: 'other', kind: 'mqtt', url, topics: ['plant/#'], ...more })

/** Publishes numbers, in order; resolves when all are acknowledged. */
async function publish(t: Test, url: string, topic: string, from: number, to: number): Promise<void> {
  const device = await connectMqtt(t, url)
  const all = Array.from({ length: to - from }, (_, i) => device.publishAsync(topic, `{"n": ${from + i}}`, { qos: 1 }))
  await Promise.all(all)
  await device.endAsync()
}

/** The numbers that a hub has stored, each where it came first; and how many came again. */
async function stored(hub: RunningHub, topic = 'plant/a') {
  const all = (await history(hub, `plant,topic=${topic} n`)) as number[]
  const once = [...new Set(all)]
  return { once, again: all.length - once.length }
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)
const pause = (pid: number) => process.kill(pid, 'SIGSTOP')
const resume = (pid: number) => process.kill(pid, 'SIGCONT')
const inletIsUp = (hub: RunningHub) =>
  eventually(async () => (await metric(hub, 'telehub_inlet_connected{inlet="other"}')) === 1, 'the inlet is connected')

async function mosquitto(t: Test, lines: readonly string[] = []): Promise<MosquittoServer> {
  const server = await startMosquitto({ persistence: true, lines })
  t.teardown(() => server.stop())
  return server
}

t.test(
  'in: 10,000 messages of Mosquitto; it is stopped and killed, the hub is killed and frozen; none is lost',
  async t => {
    const other = await mosquitto(t)
    const settings = inlet(other.url)
    let hub = await startHub(t, settings)
    await inletIsUp(hub)
    await publish(t, other.url, 'plant/a', 0, 2_000)
    await hub.kill()
    // Kept by the session at Mosquitto.
    await publish(t, other.url, 'plant/a', 2_000, 4_000)
    hub = await startHub(t, settings, hub.dir)
    await publish(t, other.url, 'plant/a', 4_000, 6_000)
    await other.stop()
    await other.restart()
    await publish(t, other.url, 'plant/a', 6_000, 7_000)
    pause(hub.pid)
    await publish(t, other.url, 'plant/a', 7_000, 8_000)
    resume(hub.pid)
    await eventually(async () => (await stored(hub)).once.length >= 8_000, 'all of them are stored')
    // What Mosquitto has in memory alone dies with it: nothing is there now.
    await other.kill()
    await other.restart()
    await inletIsUp(hub)
    await publish(t, other.url, 'plant/a', 8_000, 10_000)
    await eventually(async () => (await stored(hub)).once.length >= 10_000, 'all of them are stored')
    const { once, again } = await stored(hub)
    t.same(once, upTo(10_000), 'each of them, in order')
    t.comment(`${again} came twice`)
  },
)

t.test(
  'out: 10,000 messages to another hub; both are killed and frozen; none is lost, and the order stays',
  async t => {
    const port = String(await freePort())
    let other = await startHub(t, { 'mqtt.port': port })
    const settings = outlet(other.mqttUrl)
    let hub = await startHub(t, settings)
    await publish(t, hub.mqttUrl, 'plant/a', 0, 2_000)
    await other.kill()
    await publish(t, hub.mqttUrl, 'plant/a', 2_000, 4_000)
    other = await startHub(t, { 'mqtt.port': port }, other.dir)
    await publish(t, hub.mqttUrl, 'plant/a', 4_000, 6_000)
    await hub.kill()
    hub = await startHub(t, settings, hub.dir)
    pause(other.pid)
    await publish(t, hub.mqttUrl, 'plant/a', 6_000, 8_000)
    resume(other.pid)
    await publish(t, hub.mqttUrl, 'plant/a', 8_000, 10_000)
    await eventually(async () => (await stored(other)).once.length >= 10_000, 'all of them are there')
    const { once, again } = await stored(other)
    t.same(once, upTo(10_000), 'each of them, in order')
    t.comment(`${again} came twice`)
    await eventually(
      async () => (await metric(hub, 'telehub_outlet_messages{outlet="other",term="delivered"}')) === 10_000,
      'the account has each of them once',
    )
  },
)

t.test('out: to Mosquitto, which is stopped, and started again', async t => {
  const other = await mosquitto(t)
  const hub = await startHub(t, outlet(other.url, { topics: ['plant/#'], strip: 'plant/', prefix: 'site/1/' }))
  const options = { clientId: 'reader', clean: false }
  const first = await connectMqtt(t, other.url, options)
  await first.subscribeAsync('site/1/#', { qos: 1 })
  await publish(t, hub.mqttUrl, 'plant/a', 0, 500)
  await eventually(
    async () => (await metric(hub, 'telehub_outlet_messages{outlet="other",term="delivered"}')) > 0,
    'it goes',
  )
  await first.endAsync(true)
  await other.stop()
  await publish(t, hub.mqttUrl, 'plant/a', 500, 1_000)
  await other.restart()
  const seen = new Set<string>()
  const reader = mqtt.connect(other.url, { ...options, protocolVersion: 4 })
  t.teardown(() => reader.endAsync(true).catch(() => {}))
  reader.on('message', (topic, payload) => seen.add(`${topic} ${payload}`))
  await publish(t, hub.mqttUrl, 'plant/a', 1_000, 1_001)
  const missing = () => upTo(501).filter(n => !seen.has(`site/1/a {"n": ${500 + n}}`))
  await eventually(() => missing().length === 0, 'all that came while nobody read are there')
  await eventually(
    async () => (await metric(hub, 'telehub_outlet_messages{outlet="other",term="delivered"}')) === 1_001,
    'all are settled',
  )
  t.same(missing(), [])
})

for (const version of [4, 5]) {
  t.test(`every QoS and the retain flag, both ways, MQTT ${version === 4 ? '3.1.1' : '5'}`, async t => {
    const other = await mosquitto(t)
    const keeper = await connectMqtt(t, other.url)
    await keeper.publishAsync('plant/kept', '{"n": 7}', { qos: 1, retain: true })
    const settings = {
      ...inlet(other.url, { version, topics: [{ filter: 'plant/#', qos: 2 }] }),
      ...list('outlets', { name: 'up', kind: 'mqtt', url: other.url, version, qos: 2, topics: ['home/#'] }),
    }
    const hub = await startHub(t, settings)
    await inletIsUp(hub)
    for (const qos of [0, 1, 2] as const) {
      await keeper.publishAsync(`plant/q${qos}`, '{"n": 1}', { qos })
      const device = await connectMqtt(t, hub.mqttUrl)
      await device.publishAsync(`home/q${qos}`, '{"n": 1}', { qos, retain: true })
    }
    const here: string[] = []
    const there: string[] = []
    const watcher = await connectMqtt(t, hub.mqttUrl)
    watcher.on('message', (topic, _, { retain }) => here.push(`${topic} ${retain}`))
    await watcher.subscribeAsync('plant/#', { qos: 2 })
    await eventually(() => here.includes('plant/kept true'), 'the retained message is retained here, too')
    for (const qos of [0, 1, 2])
      await eventually(async () => (await stored(hub, `plant/q${qos}`)).once.length === 1, `QoS ${qos} came in`)
    const far = await connectMqtt(t, other.url)
    far.on('message', (topic, _, { retain }) => there.push(`${topic} ${retain}`))
    await eventually(async () => {
      await far.subscribeAsync('home/#', { qos: 2 })
      return [0, 1, 2].every(qos => there.includes(`home/q${qos} true`))
    }, 'all went out, and are retained there')
    for (const qos of [0, 1, 2]) t.equal((await stored(hub, `plant/q${qos}`)).again, 0, `QoS ${qos} once`)
  })
}

t.test(
  'two hubs that send each other everything, and one that reads back what it sends: nothing goes round',
  async t => {
    const port = String(await freePort())
    const one = await startHub(t, outlet(`mqtt://127.0.0.1:${port}`))
    const two = await startHub(t, { ...outlet(one.mqttUrl), 'mqtt.port': port })
    await publish(t, one.mqttUrl, 'plant/a', 0, 100)
    await publish(t, two.mqttUrl, 'plant/b', 0, 100)
    for (const hub of [one, two])
      for (const topic of ['plant/a', 'plant/b'])
        await eventually(async () => (await stored(hub, topic)).once.length === 100, `${topic} is everywhere`)
    // A message that comes last shows that nothing is on its way any more.
    await publish(t, one.mqttUrl, 'plant/last', 0, 1)
    await eventually(async () => (await stored(two, 'plant/last')).once.length === 1, 'the last one')
    await eventually(
      async () => (await metric(one, 'telehub_refused_total{reason="loop"}')) >= 101,
      'its own came back',
    )
    for (const hub of [one, two])
      for (const topic of ['plant/a', 'plant/b']) t.equal((await stored(hub, topic)).again, 0, `${topic} once`)

    const other = await mosquitto(t)
    const both = await startHub(t, { ...inlet(other.url), ...outlet(other.url) })
    await inletIsUp(both)
    await publish(t, both.mqttUrl, 'plant/a', 0, 50)
    await publish(t, other.url, 'plant/b', 0, 50)
    await eventually(async () => (await stored(both, 'plant/b')).once.length === 50, 'what came in')
    await eventually(
      async () => (await metric(both, 'telehub_inlet_messages_total{inlet="other",outcome="looped"}')) === 50,
      'what it had sent',
    )
    t.same(await stored(both), { once: upTo(50), again: 0 })
    t.equal((await stored(both, 'plant/b')).again, 0)
  },
)

t.test('TLS with certificates of both sides; a certificate that is not trusted is said', async t => {
  const tls = { 'mqtts.port': '0', 'tls.cert': pem('server.pem'), 'tls.key': pem('server.key') }
  const other = await startHub(t, tls)
  const { port } = new URL(other.mqttsUrl)
  const url = `mqtts://localhost:${port}`
  const hub = await startHub(t, {
    ...outlet(url, { ca: pem('ca.pem') }),
    ...inlet(url, { ca: pem('ca.pem'), topics: ['down/#'] }),
  })
  await inletIsUp(hub)
  await publish(t, hub.mqttUrl, 'plant/a', 0, 10)
  await eventually(
    async () => (await metric(hub, 'telehub_outlet_messages{outlet="other",term="delivered"}')) === 10,
    'it goes out',
  )
  const stranger = await startHub(t, inlet(url))
  await eventually(() => /inlet other .*certificate/.test(stranger.log()), 'the log says so')
  await eventually(async () => {
    const { body } = await stranger.get<{ alarms: { name: string; detail: string }[] }>('/readyz')
    return body.alarms.some(({ name, detail }) => name === 'inlets' && /certificate/.test(detail))
  }, 'so does the alarm')
  const looked = async (more: Readonly<Record<string, string>>) => {
    const flags = Object.entries(more).flatMap(([key, value]) => [`--${key}`, value])
    const run = runCli(['doctor', '--data.dir', hub.dir, ...flags])
    await run.exited
    return run.stdout()
  }
  t.match(await looked(inlet(url, { ca: pem('ca.pem') })), /✓ inlet other: mqtts:.* answers, and lets the hub in/)
  t.match(await looked(inlet(url)), /✗ inlet other: mqtts:.* does not let the hub in/)
})

t.test(
  'the rules of its user hold for an inlet: what they do not allow is acknowledged, counted and shown',
  async t => {
    const other = await mosquitto(t)
    const users = await usersFile()
    await users.add('plant', ['allow publish plant/a', 'allow read plant/#'])
    const settings = { ...users.settings, ...inlet(other.url, { user: 'plant' }) }
    const hub = await startHub(t, settings)
    await inletIsUp(hub)
    await publish(t, other.url, 'plant/secret', 0, 3)
    await publish(t, other.url, 'plant/a', 0, 3)
    await eventually(async () => (await stored(hub)).once.length === 3, 'what is allowed is stored')
    t.equal(await metric(hub, 'telehub_inlet_messages_total{inlet="other",outcome="refused"}'), 3)
    t.same((await stored(hub, 'plant/secret')).once, [])
    const reader = await connectMqtt(t, hub.mqttUrl, { username: 'plant', password: passwordOf('plant') })
    t.ok(reader.connected)
    const nobody = runCli([
      'check',
      '--data.dir',
      hub.dir,
      ...Object.entries({ ...users.settings, ...inlet(other.url) }).flatMap(([key, value]) => [`--${key}`, value]),
    ])
    await nobody.exited
    t.match(nobody.stderr() + nobody.stdout(), /inlets: other\.user: missing, and there are users/)
  },
)

t.test('out: what the other hub does not allow is a dead letter of the outlet, and holds nothing up', async t => {
  const users = await usersFile()
  await users.add('site', ['allow publish plant/a', 'allow publish plant/b'])
  const other = await startHub(t, users.settings)
  const { host } = new URL(other.mqttUrl)
  const hub = await startHub(t, outlet(`mqtt://site:${encodeURIComponent(passwordOf('site'))}@${host}`))
  await publish(t, hub.mqttUrl, 'plant/a', 0, 3)
  await publish(t, hub.mqttUrl, 'plant/secret', 0, 2)
  await publish(t, hub.mqttUrl, 'plant/b', 0, 3)
  const term = (name: string) => metric(hub, `telehub_outlet_messages{outlet="other",term="${name}"}`)
  await eventually(async () => (await term('delivered')) === 6, 'the others are delivered')
  t.equal(await term('refused'), 2)
  t.notMatch(hub.log(), passwordOf('site'))
  t.equal(await hub.stop(), 0)
})

t.test('mistakes of the settings are all said, and show no secret', async t => {
  const run = runCli([
    ...['check', '--data.dir', t.testdir()],
    ...[
      '--inlets',
      '[{"name":"Other","url":"http://u:hidden@x","topics":[{"filter":"a/#/b","qos":3}],"colour":"red"}]',
    ],
    ...['--outlets', '[{"name":"o","kind":"mqtt","url":"mqtt://u:50%hidden@x","version":6,"prefix":"a/#"}]'],
  ])
  t.not(await run.exited, 0)
  const said = run.stderr() + run.stdout()
  for (const pattern of [
    /inlets: number 1\.name: given "Other"/,
    /url: not allowed, allowed is an address that begins with mqtt:/,
    /filter: given "a\/#\/b"/,
    /qos: given "3", allowed is a whole number from 0 to 2/,
    /colour: no such field/,
    /outlets: o\.version: given "6"/,
    /outlets: o\.prefix/,
    /outlets: o\.url: user and password must be percent-encoded \(% is %25\)/,
  ])
    t.match(said, pattern)
  t.notMatch(said, 'hidden')
})

for (const version of [4, 5]) {
  t.test(`in: what is larger than limits.packet stays out and holds nothing up, MQTT ${version}`, async t => {
    const other = await mosquitto(t)
    const hub = await startHub(t, { ...inlet(other.url, { version }), 'limits.packet': '2000' })
    await inletIsUp(hub)
    const device = await connectMqtt(t, other.url)
    await device.publishAsync('plant/a', JSON.stringify({ n: 1, text: 'x'.repeat(3_000) }), { qos: 1 })
    await device.publishAsync('plant/a', '{"n": 2}', { qos: 1 })
    await eventually(async () => (await stored(hub)).once.length > 0, 'the small one is stored')
    t.same((await stored(hub)).once, [2])
    const refused = await metric(hub, 'telehub_inlet_messages_total{inlet="other",outcome="refused"}')
    t.equal(refused, version === 4 ? 1 : 0, 'with MQTT 5 the broker is told, and drops it')
  })
}
