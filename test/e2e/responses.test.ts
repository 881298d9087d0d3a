import { connect, type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt'
import t from 'tap'
import { asAdmin, connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'

/** The client that asks for a command with a response topic, and what reaches it. (MQTT 5 §4.10) */

const kept: IClientOptions = {
  ...{ protocolVersion: 5, clientId: 'asker', clean: false, reconnectPeriod: 0 },
  properties: { sessionExpiryInterval: 3_600 },
}

async function comeAsAsker(t: Parameters<typeof connectMqtt>[0], hub: RunningHub, options: IClientOptions = kept) {
  const client = connect(hub.mqttUrl, options)
  client.on('error', () => {})
  t.teardown(() => client.endAsync(true).catch(() => {}))
  const responses: IPublishPacket[] = []
  // A kept session sends at once.
  client.on('message', (_topic, _payload, packet) => responses.push(packet))
  await new Promise<void>(resolve => client.once('connect', () => resolve()))
  return { client, responses }
}

/** A device that answers when it is told to. */
async function comeAsDevice(t: Parameters<typeof connectMqtt>[0], hub: RunningHub) {
  const client = await connectMqtt(t, hub.mqttUrl, { protocolVersion: 5, clientId: 'lamp', reconnectPeriod: 0 })
  const asked: string[] = []
  client.on('message', (_topic, _payload, { properties }) => asked.push(properties?.responseTopic ?? ''))
  await client.subscribeAsync('lamp/set', { qos: 1 })
  const answer = async () => {
    const topic = await eventually(() => asked.at(-1), 'the command')
    await client.publishAsync(topic, 'done', { qos: 1 })
  }
  return { client, answer }
}

const ask = (client: MqttClient, correlation: string) =>
  client.publishAsync('$hub/command/lamp/set', 'on', {
    ...{ qos: 1, properties: { responseTopic: 'replies/asker', correlationData: Buffer.from(correlation) } },
  })

const correlations = (responses: readonly IPublishPacket[]) =>
  responses.map(({ properties }) => properties?.correlationData?.toString())

async function answeredCount(hub: RunningHub): Promise<number> {
  const response = await fetch(`${hub.httpUrl}/api/commands?state=answered`, { headers: asAdmin(hub.dir) })
  return ((await response.json()) as { commands: unknown[] }).commands.length
}

t.test('an asker that has left gets the response when it is back', async t => {
  const hub = await startHub(t)
  const first = await comeAsAsker(t, hub)
  const lamp = await comeAsDevice(t, hub)
  await first.client.subscribeAsync('replies/#', { qos: 1 })
  const watcher = await connectMqtt(t, hub.mqttUrl, { clientId: 'watcher' })
  const watched: string[] = []
  watcher.on('message', topic => watched.push(topic))
  await watcher.subscribeAsync('replies/#')
  await ask(first.client, 'one')
  first.client.stream.destroy()
  await lamp.answer()
  await eventually(async () => (await answeredCount(hub)) === 1, 'it is answered')
  const again = await comeAsAsker(t, hub)
  const [response] = await eventually(() => again.responses.length > 0 && again.responses, 'the response')
  t.equal(String(response?.payload), 'done')
  t.equal(response?.qos, 1)
  t.same(response?.properties?.correlationData, Buffer.from('one'))
  t.match(response?.properties?.userProperties, { 'telehub-state': 'answered' })
  t.same(watched, [], 'nobody else sees it')
})

t.test('an asker without room gets the response when it has room', async t => {
  const hub = await startHub(t)
  const properties = { sessionExpiryInterval: 3_600, receiveMaximum: 1 }
  const { client, responses } = await comeAsAsker(t, hub, { ...kept, properties })
  const lamp = await comeAsDevice(t, hub)
  await client.subscribeAsync(['replies/#', 'other'], { qos: 1 })
  let release = () => {}
  const held = client.handleMessage
  client.handleMessage = (packet, done) => {
    release = () => {
      client.handleMessage = held
      done()
    }
    responses.push(packet)
  }
  await lamp.client.publishAsync('other', 'fills the window', { qos: 1 })
  await eventually(() => responses.length > 0, 'the other message')
  // While it handles a message, the client reads nothing else.
  const asked = ask(client, 'two')
  await lamp.answer()
  await eventually(async () => (await answeredCount(hub)) === 1, 'it is answered')
  release()
  await asked
  await eventually(() => correlations(responses).includes('two'), 'the response')
  t.equal(correlations(responses).filter(one => one === 'two').length, 1)
})

t.test('kill -9 right after the answer: the response comes after the restart', async t => {
  let hub = await startHub(t)
  const asker = await comeAsAsker(t, hub)
  await asker.client.subscribeAsync('replies/#', { qos: 1 })
  for (const round of ['a', 'b', 'c']) {
    const here = round === 'a' ? asker : await comeAsAsker(t, hub)
    const lamp = await comeAsDevice(t, hub)
    await ask(here.client, round)
    if (round !== 'c') here.client.stream.destroy()
    // Acknowledged means that the answer is on disk.
    await lamp.answer()
    await hub.kill()
    hub = await startHub(t, {}, hub.dir)
    const again = await comeAsAsker(t, hub)
    const all = () => correlations([...here.responses, ...again.responses])
    await eventually(() => all().includes(round), `the response of ${round}`)
    t.pass(round)
    again.client.stream.destroy()
  }
})
