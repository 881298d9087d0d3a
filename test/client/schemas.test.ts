import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fastify from 'fastify'
import t from 'tap'
import { password, startGuarded } from '../browser/guarded-hub.js'
import { connectMqtt, eventually } from '../harness.js'

const folder = fileURLToPath(new URL('../../../client/schemas/', import.meta.url))

/** Returns what is wrong with a message, as the validator of the hub's own API sees it. */
async function validator() {
  const app = fastify({ ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false } } })
  for (const name of ['last', 'presence', 'why', 'feed']) {
    const body: unknown = JSON.parse(readFileSync(`${folder}${name}.json`, 'utf8'))
    app.post(`/${name}`, { schema: { body } }, () => 'fits')
  }
  await app.ready()
  return async (name: string, message: unknown) => {
    const headers = { 'content-type': 'application/json' }
    const { body } = await app.inject({ method: 'POST', url: `/${name}`, headers, payload: JSON.stringify(message) })
    return body
  }
}

t.test('the messages of a running hub fit their schemas, and spoiled ones do not', async t => {
  const faultOf = await validator()
  const hub = await startGuarded(t)
  const login = (username: string) => ({ username, password, clientId: `${username}-1` })
  const screen = await connectMqtt(t, hub.mqttUrl, login('anna'))
  const messages = new Map<string, unknown[]>()
  screen.on('message', (topic, payload) => {
    const kind = topic.split('/')[1] ?? ''
    messages.set(kind, [...(messages.get(kind) ?? []), JSON.parse(payload.toString())])
  })
  const of = (kind: string) => (messages.get(kind) ?? []) as Record<string, unknown>[]
  await screen.subscribeAsync(['$hub/last/#', '$hub/presence/#', '$hub/why/#', '$hub/feed'])
  const device = await connectMqtt(t, hub.mqttUrl, login('thermo'))
  const publish = (payload: object) =>
    device.publishAsync('home/thermo/t1/telemetry', JSON.stringify(payload), { qos: 1 })
  await publish({ temperature: 21.5, on: true, mode: 'eco' })
  await publish({ time: Date.now() - 3_600_000, temperature: 20 })
  await publish({ time: 1_000, temperature: 19 })
  await publish({ time: Date.now() + 1e9, temperature: 18 })
  await device.publishAsync('not/mine', '1', { qos: 0 })
  await device.endAsync()
  await eventually(() => of('why').some(({ action }) => action === 'publish'), 'a refusal')
  await eventually(() => of('presence').some(({ online }) => online === false), 'a client is gone')
  await eventually(() => of('last').length > 0 && of('feed').length > 1, 'readings and notices')
  for (const [kind, all] of messages) {
    for (const message of all) t.equal(await faultOf(kind, message), 'fits', `${kind} ${JSON.stringify(message)}`)
    const [good] = all as [Record<string, unknown>]
    for (const name of Object.keys(good)) {
      const { [name]: _, ...without } = good
      const isOptional = ['clockError', 'absent', 'refused', 'behind', 'merged', 'dropped', 'waiting'].includes(name)
      if (!isOptional) t.not(await faultOf(kind, without), 'fits', `${kind} without ${name}`)
    }
    t.not(await faultOf(kind, { ...good, more: 1 }), 'fits', `${kind} with more`)
  }
  t.same([...messages.keys()].sort(), ['feed', 'last', 'presence', 'why'])
})
