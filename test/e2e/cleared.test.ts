import { io } from 'socket.io-client'
import t from 'tap'
import { connect, type FeedEvent, NewestValues } from '../../client/src/client.js'
import { EventStream } from '../clients/event-stream.js'
import { asAdmin, connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'

interface LiveEvent {
  readonly topic: string
  readonly sequence: number
  readonly values?: readonly unknown[]
}

const removeClient = (hub: RunningHub, client: string) =>
  fetch(`${hub.httpUrl}/api/devices?${new URLSearchParams({ client })}`, {
    method: 'DELETE',
    headers: asAdmin(hub.dir),
  })

const stream = (hub: RunningHub, more = '') =>
  new EventStream(`${hub.httpUrl}/api/live?topic=home/%23${more}`, asAdmin(hub.dir))

t.test('every kind of feed is told of a topic that is cleared, and of a device that is removed', async t => {
  const hub = await startHub(t)
  const lamp = await connectMqtt(t, hub.mqttUrl, { clientId: 'lamp' })
  const other = await connectMqtt(t, hub.mqttUrl, { clientId: 'other' })
  await lamp.publishAsync('home/lamp/power', '4.5', { qos: 1 })
  await other.publishAsync('home/door/state', '1', { qos: 1, retain: true })
  await other.publishAsync('home/stays/state', '1', { qos: 1, retain: true })

  const told: Record<string, string[]> = { socketIo: [], mqtt: [], client: [] }
  const sse = stream(hub)
  t.teardown(() => sse.close())
  const socket = io(hub.httpUrl, { forceNew: true, transports: ['websocket'] })
  t.teardown(() => socket.disconnect())
  socket.on('cleared', ({ topic }: { readonly topic: string }) => told.socketIo?.push(topic))
  const ready: string[] = []
  socket.on('ready', () => ready.push('socketIo'))
  await socket.emitWithAck('subscribe', 'home/#')
  const mqtt = await connectMqtt(t, hub.mqttUrl)
  mqtt.on('message', (on, payload) => {
    const { event, topic } = JSON.parse(payload.toString()) as { readonly event: string; readonly topic: string }
    if (event === 'ready') ready.push('mqtt')
    if (event !== 'cleared') return
    told.mqtt?.push(topic)
    t.equal(on, `$hub/history/1h/10/${topic}`)
  })
  await mqtt.subscribeAsync('$hub/history/1h/10/home/#')
  const gone: string[] = []
  const newest = new NewestValues({ cleared: ({ series }) => gone.push(series) })
  const library = connect({ url: hub.httpUrl })
  t.teardown(() => library.close())
  const on = {
    event: (event: FeedEvent) => {
      if (event.kind === 'cleared') told.client?.push(event.data.topic)
      newest.event(event)
    },
  }
  const feed = library.subscribe('home/#', { on })
  await eventually(() => newest.size === 3 && feed.state.phase === 'live', 'the values are known')
  await eventually(() => sse.of('ready').length === 1 && ready.length === 2, 'all are ready')

  await other.publishAsync('home/lamp/power', '', { qos: 1 })
  await other.publishAsync('home/door/state', '', { qos: 1, retain: true })
  await lamp.endAsync()
  await eventually(async () => (await removeClient(hub, 'lamp')).status === 200, 'removed, once it has left')
  const expected = ['home/door/state', 'home/lamp/power']
  const topicsOf = () => sse.of('cleared').map(({ data }) => (JSON.parse(data) as { readonly topic: string }).topic)
  const isTold = () => [topicsOf(), ...Object.values(told)].every(topics => topics.length === 2)
  await eventually(isTold, 'all are told')
  told.sse = topicsOf()
  for (const [kind, topics] of Object.entries(told)) t.same(topics, expected, kind)
  t.equal(newest.size, 1)
  t.equal(gone.length, 2)

  // A topic that has a value again is a topic as any other.
  await other.publishAsync('home/door/state', '2', { qos: 1, retain: true })
  await eventually(() => newest.size === 2, 'the topic is back')
  const late = stream(hub)
  t.teardown(() => late.close())
  await eventually(() => late.of('ready').length === 1, 'ready')
  t.equal(late.of('values').length, 2)
  t.same(late.of('cleared'), [], 'a feed that begins now never knew of it')
})

t.test('what is read again from the spool says the same as what was live', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'lamp' })
  await device.publishAsync('home/begin', '0', { qos: 1 })
  const live = stream(hub)
  t.teardown(() => live.close())
  await eventually(() => live.of('ready').length === 1, 'ready')
  const payloads = ['{"a":1,"b":"on"}', '{"a":null,"b":"on"}', 'unavailable', '', '{"a":', '{}', '3', '{"a":2}']
  for (let n = 0; n < 60; n++) {
    const [topic, payload] = [`home/t${n % 3}`, payloads[n % payloads.length] as string]
    await device.publishAsync(topic, payload, { qos: 1, retain: n % 2 === 1 })
  }
  await device.publishAsync('home/end', '1', { qos: 1 })
  await device.endAsync()
  const last = () => live.events.at(-1)?.data ?? ''
  await eventually(() => last().includes('home/end'), 'all has come')
  await eventually(async () => (await removeClient(hub, 'lamp')).status === 200, 'removed')
  await eventually(() => live.events.at(-1)?.event === 'cleared', 'told')

  const again = stream(hub, '&after=1')
  t.teardown(() => again.close())
  await eventually(() => again.of('ready').length === 1, 'ready')
  const saidBy = (from: EventStream) =>
    from.events
      .filter(({ event }) => event === 'live' || event === 'cleared')
      .map(({ event, data }) => {
        const { received: _, ...said } = JSON.parse(data) as LiveEvent & { readonly received: number }
        return { event, ...said }
      })
  const ofMessages = (from: EventStream) => saidBy(from).filter(({ sequence }) => sequence > 1 && sequence < 62)
  const said = ofMessages(live)
  t.ok(said.some(({ event }) => event === 'cleared'))
  t.ok(
    said.some(({ values }) => values?.length === 0),
    'an absent value among them',
  )
  // The topic that the last of them has cleared is told once more: with that number, or a later one if the message behind
  // was handled in the same batch.
  const isRepeated = (one: object, i: number, all: readonly object[]) =>
    JSON.stringify(one) === JSON.stringify(all[i - 1])
  const repeated = ofMessages(again).filter(isRepeated)
  t.ok(repeated.length <= 1 && repeated.every(({ event, topic }) => event === 'cleared' && topic === 'home/t2'))
  t.same(
    ofMessages(again).filter((one, i, all) => !isRepeated(one, i, all)),
    said,
  )
  const gone = (from: EventStream) => {
    const all = saidBy(from).filter(({ event, sequence }) => event === 'cleared' && sequence === 62)
    return all.map(({ topic }) => topic).sort()
  }
  t.ok(gone(live).includes('home/end'), 'the device was removed')
  // One topic had been cleared before, which is told once more.
  t.match(
    gone(again),
    gone(live).filter(topic => topic !== 'home/t2'),
  )
})
