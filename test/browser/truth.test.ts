import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

/* The screen, $hub/last, /api/series and the store tell the same. */

t.test('what the store refuses is marked on the tile with the reason, and not any more once it is stored', async t => {
  const hub = await startHub(t, { 'limits.series': '2' })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  const tile = (field: string) => page.locator(`.tile[data-series="a,topic=a/${field} value"]`)
  await device.publishAsync('a/one', '1', { qos: 1 })
  await device.publishAsync('a/two', '2', { qos: 1 })
  await tile('two').waitFor()
  await device.publishAsync('a/three', '3', { qos: 1 })
  const chip = tile('three').locator('.tile-quality')
  await eventually(() => chip.isVisible(), 'the third is marked')
  t.equal(await chip.textContent(), 'not stored')
  t.match(await chip.getAttribute('title'), /^Not stored \(too_many_series\): the message would begin 1 series/)
  t.equal(await tile('one').getAttribute('data-refused'), 'false')
  t.notOk(await tile('one').locator('.tile-quality').isVisible())
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT })

  // The newest message of a topic that is stored otherwise.
  await device.publishAsync('a/two', '{"broken', { qos: 1 })
  await eventually(() => tile('two').locator('.tile-quality').isVisible(), 'a dead letter is marked as well')
  await device.publishAsync('a/two', '4', { qos: 1 })
  await eventually(async () => !(await tile('two').locator('.tile-quality').isVisible()), 'stored again')
  t.same(problems, [])
})

t.test('a value of another type is the same series on the screen and in the store', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  await device.publishAsync('a/mode', '1', { qos: 1 })
  const keys = async () => {
    const { body } = await hub.get<{ series: { key: string }[] }>('/api/series')
    return body.series.map(({ key }) => key).sort()
  }
  await eventually(async () => (await keys()).length === 1, 'stored')
  await device.publishAsync('a/mode', 'auto', { qos: 1 })
  await eventually(async () => (await keys()).length === 2, 'stored beside')
  t.same(await keys(), ['a,topic=a/mode value', 'a,topic=a/mode value_str'])
  const { page } = await openDashboard(t, hub.httpUrl)
  await page.locator('.tile[data-series="a,topic=a/mode value_str"]').waitFor()
  t.equal(await page.locator('.tile').count(), 2)
})

t.test('a cleared retained message takes its tile away, also after a reload', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  const { page } = await openDashboard(t, hub.httpUrl)
  await device.publishAsync('x/name', 'Home', { qos: 1, retain: true })
  await device.publishAsync('x/other', '1', { qos: 1, retain: true })
  const tiles = page.locator('.tile')
  await eventually(async () => (await tiles.count()) === 2, 'two tiles')
  await device.publishAsync('x/name', '', { qos: 1, retain: true })
  await eventually(async () => (await tiles.count()) === 1, 'one tile')
  await page.reload()
  await eventually(async () => (await tiles.count()) === 1, 'one tile')
  t.match(await tiles.getAttribute('data-series'), 'x/other')
  const { body } = await hub.get<{ series: { cleared?: true }[] }>('/api/series')
  t.equal(body.series.filter(({ cleared }) => cleared).length, 1, 'what was stored stays stored')
  const { body: balance } = await hub.get<{ dead: number; residual: number }>('/api/balance')
  t.match(balance, { dead: 0, residual: 0 })
  await device.publishAsync('x/name', 'Work', { qos: 1, retain: true })
  await eventually(async () => (await tiles.count()) === 2, 'it is back')
})
