import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { connectMqtt, eventually, startHub } from '../harness.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** The example, as users start it. */
async function startExample(t: Test, secret: string, port = 0) {
  const child = spawn(process.execPath, ['examples/webhook-receiver/receiver.mjs', String(port)], {
    cwd: root,
    env: { ...process.env, SECRET: secret },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill())
  let said = ''
  child.stdout.on('data', chunk => {
    said += chunk
  })
  const url = await eventually(() => /http:\/\/\S+/.exec(said)?.[0], 'the example listens')
  return {
    url,
    lines: () => said.split('\n').slice(1, -1),
    stop: () =>
      new Promise(resolve => {
        child.once('exit', resolve)
        child.kill()
      }),
  }
}

t.test('the example takes each message once, over its own restart, and refuses what is not from the hub', async t => {
  const example = await startExample(t, 'open-sesame')
  const outlet = { name: 'example', kind: 'webhook', url: example.url, secret: 'open-sesame', wait: '10ms', gzip: true }
  const hub = await startHub(t, { outlets: JSON.stringify([outlet]) })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'oven' })
  for (let n = 0; n < 20; n++) await device.publishAsync('plant/oven', n === 7 ? 'null' : `{"n":${n}}`, { qos: 1 })
  await eventually(() => example.lines().length === 19, 'all but one')
  t.match(example.lines()[0], /^\d{4}-\S+Z \S+-1 oven plant\/oven \{"n":0\}$/)
  const { body } = await hub.get<Answer<'GET /api/dead'>>('/api/dead?outlet=example')
  t.match(body.dead, [{ reason: 'http_422', detail: 'answers with 422: a payload of null' }])

  const post = (headers: Record<string, string>) => fetch(example.url, { method: 'POST', body: '[]', headers })
  const stamp = String(Math.floor(Date.now() / 1_000))
  t.equal((await post({})).status, 401)
  const forged = { 'webhook-id': '1', 'webhook-timestamp': stamp, 'webhook-signature': `v1,${'A'.repeat(43)}=` }
  t.equal((await post(forged)).status, 401)

  await example.stop()
  await device.publishAsync('plant/oven', '{"n":20}', { qos: 1 })
  const again = await startExample(t, 'open-sesame', Number(new URL(example.url).port))
  await eventually(() => again.lines().length === 1, 'what came meanwhile')
  t.match(again.lines()[0], /\{"n":20\}$/)
})

t.test('with another key nothing is taken, and nothing is lost', async t => {
  const example = await startExample(t, 'another')
  const outlet = { name: 'example', kind: 'webhook', url: example.url, secret: 'open-sesame', wait: '10ms' }
  const hub = await startHub(t, { outlets: JSON.stringify([outlet]) })
  const device = await connectMqtt(t, hub.mqttUrl)
  await device.publishAsync('plant/oven', '1', { qos: 1 })
  const [row] = await eventually(async () => {
    const { outlets } = (await hub.get<Answer<'GET /api/outlets'>>('/api/outlets')).body
    return outlets[0]?.state === 'down' && outlets
  }, 'down')
  t.match(row, { detail: /answers with 401/, balance: { behind: 1, refused: 0 } })
  t.same(example.lines(), [])
})
