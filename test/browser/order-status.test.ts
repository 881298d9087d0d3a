import t, { type Test } from 'tap'
import { eventually, startHub } from '../harness.js'
import { type RabbitServer, startRabbit } from '../services/rabbitmq.js'
import { freePort } from '../services/service.js'
import { openExample, runExample, serveExamples } from './examples.js'

/** A hub that pages of the origin may ask, on a port that stays when it is started again. */
async function settingsFor(origin: string, more: Readonly<Record<string, string>>) {
  return { 'ws.origins': origin, 'http.port': String(await freePort()), ...more }
}

async function follow(t: Test, url: string) {
  const { page, problems } = await openExample(t, url)
  const isLive = async () => (await page.locator('#state').getAttribute('data-phase')) === 'live'
  const orders = async () => (await page.locator('#orders tr').allTextContents()).sort()
  const shows = (...wanted: readonly RegExp[]) =>
    eventually(async () => {
      const rows = await orders()
      return rows.length === wanted.length && wanted.every((one, i) => one.test(rows[i] ?? ''))
    }, `${wanted}`)
  await eventually(isLive, 'live')
  return { page, problems, isLive, shows }
}

for (const [way, path] of [
  ['MQTT', ''],
  ['Socket.IO', 'socket-io.html'],
] as const) {
  t.test(`order status over ${way}: from RabbitMQ into the browser, also after a restart of the hub`, async t => {
    const rabbit: RabbitServer = await startRabbit()
    t.teardown(() => rabbit.stop())
    const origin = await serveExamples(t)
    const settings = await settingsFor(origin, { 'rabbitmq.url': rabbit.url })
    let hub = await startHub(t, settings)
    const publish = (order: string, status: string) =>
      runExample('order-status/back-end.mjs', [order, status], { RABBITMQ_URL: rabbit.url })
    await eventually(async () => {
      const { body } = await hub.get<Record<string, unknown>>('/readyz')
      return JSON.stringify(body).includes('"RabbitMQ"') && /RabbitMQ[^}]*up/.test(JSON.stringify(body))
    }, 'RabbitMQ is up')
    const { isLive, shows, problems } = await follow(t, `${origin}/order-status/${path}#hub=${hub.httpUrl}`)
    await publish('4711', 'packed')
    await shows(/^4711packed/)
    await publish('4711', 'on its way')
    await shows(/^4711on its way/)
    await hub.kill()
    await eventually(async () => !(await isLive()), 'the page says that the hub is gone')
    await publish('4712', 'packed')
    hub = await startHub(t, settings, hub.dir)
    await shows(/^4711on its way/, /^4712packed/)
    await eventually(isLive, 'live again')
    t.same(problems, [])
  })
}
