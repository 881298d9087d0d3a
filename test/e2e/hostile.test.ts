import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { generate, type Packet } from 'mqtt-packet'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { witness } from '../hostile/witness.js'

/** What a single client once could do to all others. Each was seen to work before it was mended. */

function dial(t: Test, hub: RunningHub): Socket {
  const { hostname, port } = new URL(hub.mqttUrl)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  return socket
}

const hello = (clientId: string, more: object = {}) =>
  generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId, keepalive: 0, ...more })

const publish = (topic: string, payload: string, qos: 0 | 1 = 0) =>
  generate({ cmd: 'publish', topic, payload, qos, messageId: 1, dup: false, retain: false } as Packet)

const rss = ({ pid }: RunningHub) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024

t.test('what was sent before the connection was closed counts, a DISCONNECT above all', async t => {
  const hub = await startHub(t)
  const watcher = await connectMqtt(t, hub.mqttUrl)
  let wills = 0
  let got = 0
  watcher.on('message', topic => {
    if (topic === 'will') wills++
    else got++
  })
  await watcher.subscribeAsync(['d/#', 'will'])
  const good = await witness(t, hub)
  const will = { topic: 'will', payload: Buffer.from('w'), qos: 0, retain: false }
  const goodbye = generate({ cmd: 'disconnect' })
  for (let n = 0; n < 10; n++) {
    dial(t, hub).end(Buffer.concat([hello(`at once ${n}`, { will }), publish('d/x', 'x'), goodbye]))
    // QoS 0 behind QoS 1 waits with it for the disk, and what is behind that waits in the connection.
    const many = Array.from({ length: 2_500 }, () => publish('d/x', 'x'))
    const socket = dial(t, hub)
    socket.write(hello(`after a while ${n}`, { will }))
    socket.once('data', () => socket.end(Buffer.concat([publish('d/x', 'x', 1), ...many, goodbye])))
  }
  await eventually(() => got === 10 * (1 + 2_501), `all 25,020 arrive; ${got}`)
  await sleep(200)
  t.same([got, wills], [25_020, 0])
  await good.end()
})

t.test('whoever asks and does not read the answers waits, and the memory of the hub stays', async t => {
  const hub = await startHub(t)
  const socket = dial(t, hub)
  socket.write(hello('asks'))
  await new Promise(resolve => socket.once('data', resolve))
  socket.pause()
  const good = await witness(t, hub)
  const before = rss(hub)
  const pings = Buffer.alloc(65_536, Buffer.from([0xc0, 0]))
  let sent = 0
  const until = Date.now() + 5_000
  while (Date.now() < until) {
    if (socket.writableLength < 1e6) {
      socket.write(pings)
      sent += pings.length
    }
    // A few, now and then, so that it is slow and not stuck.
    socket.read(1_000)
    await sleep(1)
  }
  t.ok(rss(hub) < before + 150, `${Math.round(before)} MB before, ${Math.round(rss(hub))} after ${sent / 1e6} MB`)
  await good.end()
})

t.test('one SUBSCRIBE with a hundred thousand filters that are refused holds up nobody', async t => {
  const hub = await startHub(t)
  const good = await witness(t, hub)
  const socket = dial(t, hub)
  socket.write(hello('\u0001'.repeat(2_000), { username: '\u0001'.repeat(2_000) }))
  await new Promise(resolve => socket.once('data', resolve))
  const subscriptions = Array.from({ length: 90_000 }, () => ({ topic: '$share/', qos: 0 as const }))
  socket.write(generate({ cmd: 'subscribe', messageId: 7, subscriptions } as unknown as Packet))
  let answered = 0
  socket.on('data', (chunk: Buffer) => {
    answered += chunk.length
  })
  await eventually(() => answered > 90_000, 'SUBACK has a code for each')
  await good.end()
  t.ok(rss(hub) < 500, `${Math.round(rss(hub))} MB`)
  t.ok(hub.log().split('\n').length < 100, 'one line, not ninety thousand')
})

t.test('filters that match little of many retained messages are looked up in turns', async t => {
  const hub = await startHub(t)
  const keeper = await connectMqtt(t, hub.mqttUrl)
  for (let n = 0; n < 20_000; n++) keeper.publish(`a/${n % 100}/${n}/x`, '1', { retain: true })
  await keeper.publishAsync('last', '1', { qos: 1 })
  const good = await witness(t, hub)
  const seeker = dial(t, hub)
  seeker.write(hello('seeker'))
  const subscriptions = Array.from({ length: 2_000 }, (_, n) => ({ topic: `+/+/+/no${n}`, qos: 0 as const }))
  subscriptions.push({ topic: 'last', qos: 0 }, { topic: 'a/1/1/x', qos: 0 })
  seeker.write(generate({ cmd: 'subscribe', messageId: 7, subscriptions } as unknown as Packet))
  // Forty million steps, and nobody waits for them.
  for (let n = 0; n < 20; n++) {
    const client = await connectMqtt(t, hub.mqttUrl)
    await client.publishAsync('b', String(n), { qos: 1 })
    await client.endAsync()
  }
  await good.end()
})

t.test('after a pause of the hub itself nobody is cut off for having said nothing', async t => {
  const hub = await startHub(t)
  const clients = await Promise.all(Array.from({ length: 20 }, () => connectMqtt(t, hub.mqttUrl, { keepalive: 1 })))
  let closed = 0
  for (const client of clients) client.on('close', () => closed++)
  await sleep(1_000)
  process.kill(hub.pid, 'SIGSTOP')
  await sleep(4_000)
  process.kill(hub.pid, 'SIGCONT')
  await sleep(1_500)
  // MQTT.js itself gives up when a PINGRESP is late: what counts is what the hub did.
  const { body } = await fetch(`${hub.httpUrl}/metrics`).then(async response => ({ body: await response.text() }))
  t.notMatch(body, /telehub_refused_total\{reason="keepalive_timeout"\}/, `${closed} gave up themselves`)
})
