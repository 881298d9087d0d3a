import { join } from 'node:path'
import t from 'tap'
import { connectMqtt, eventually, runCli, startHub } from '../harness.js'
import { freePort, tempDir } from '../services/service.js'
import { openExample, serveExamples } from './examples.js'

t.test('a page on another origin shows history, then live readings, also after a restart of the hub', async t => {
  const origin = await serveExamples(t)
  const dir = await tempDir()
  const file = join(dir, 'users.yaml')
  const user = async (...args: string[]) => {
    const run = runCli(['user', ...args, '--auth.file', file])
    t.equal(await run.exited, 0, run.stderr())
    return run.stdout()
  }
  await user('add', 'sensors', '--allow', 'publish home/#', '--generate')
  await user('add', 'page', '--kind', 'service', '--allow', 'read home/#', '--generate')
  const [key = ''] = /thk_\S+/.exec(await user('key', 'add', 'page')) ?? []
  const [sensorKey = ''] = /thk_\S+/.exec(await user('key', 'add', 'sensors')) ?? []
  const settings = { 'auth.file': file, 'ws.origins': origin, 'http.port': String(await freePort()) }
  let hub = await startHub(t, settings, dir)
  const publish = async (temperature: number) => {
    const device = await connectMqtt(t, hub.mqttUrl, { username: 'sensors', password: sensorKey })
    await device.publishAsync('home/kitchen/t1/telemetry', JSON.stringify({ temperature }), { qos: 1 })
    await device.endAsync()
  }
  await publish(19)
  await publish(20)
  await eventually(async () => {
    const { body } = await hub.get<{ series: { last: { value: number } }[] }>('/api/series')
    return body.series[0]?.last.value === 20
  }, 'stored')

  const { page, problems } = await openExample(t, `${origin}/plain-page/#hub=${hub.httpUrl}&key=${key}&topic=home/%23`)
  const textOf = async (selector: string) => (await page.locator(selector).allTextContents()).join(' ')
  const isLive = async () => (await page.locator('#state').getAttribute('data-phase')) === 'live'
  await eventually(isLive, 'live')
  t.match(await textOf('#readings tr'), /20history.* .*19history/)
  t.match(await textOf('#tiles'), /temperature20 °Cgood/)
  await publish(21)
  await eventually(async () => /temperature21 °C/.test(await textOf('#tiles')), 'the tile')
  t.match(await textOf('#readings tr'), /21live/)

  // A page that stands still, as in a debugger, is behind until it has what it missed, and says so.
  await page.evaluate(`window.phases = []
    new MutationObserver(() => window.phases.push(document.getElementById('state').dataset.phase))
      .observe(document.getElementById('state'), { attributes: true })`)
  const still = page.evaluate(`{ const end = performance.now() + 8000; while (performance.now() < end); }`)
  for (const temperature of [30, 31, 32]) await publish(temperature)
  await still
  await eventually(async () => /temperature32 °C/.test(await textOf('#tiles')), 'the tile')
  await eventually(isLive, 'live again')
  t.equal((await page.evaluate<string[]>('window.phases'))[0], 'behind')

  await hub.kill()
  await eventually(async () => !(await isLive()), 'the page says that the hub is gone')
  hub = await startHub(t, settings, dir)
  await publish(22)
  await eventually(async () => /temperature22 °C/.test(await textOf('#tiles')), 'the tile')
  await eventually(isLive, 'live again')
  const values = (await page.locator('#readings tr td:nth-child(3)').allTextContents()).map(Number)
  t.same(values, [22, 32, 31, 30, 21, 20, 19], 'each reading once')
  t.same(problems, [])
})
