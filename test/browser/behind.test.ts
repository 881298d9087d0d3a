import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connectMqtt, eventually, metric, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

/** What the page showed at one moment, as it saw that itself. */
interface Sample {
  readonly state: string
  readonly color: string
  readonly door: string
  readonly load: string
}

/** Looks now; `watch()` looks at what each frame is about to paint. */
const sampler = `
  const connection = document.querySelector('#connection')
  const dot = connection.querySelector('.dot')
  const valueOf = topic => document.querySelector('.tile[data-series$="topic=' + topic + ' value"] .tile-value').textContent
  globalThis.samples = []
  const look = () => {
    const { backgroundColor: color } = getComputedStyle(dot)
    samples.push({ state: connection.dataset.state, color, door: valueOf('home/door'), load: valueOf('load/n0') })
  }
  // Sizes are observed after all that the frame calls, and before it paints.
  const probe = document.body.appendChild(document.createElement('i'))
  probe.style.cssText = 'position: fixed; height: 1px'
  let frames = 0
  // The first frame had begun before the page was paused: animations have the time of then.
  new ResizeObserver(() => frames > 1 && look()).observe(probe)
  const frame = () => {
    probe.style.width = 1 + (++frames % 2) + 'px'
    requestAnimationFrame(frame)
  }
  globalThis.watch = () => requestAnimationFrame(frame)
  look()
`

t.test('a tab that its debugger stalls ends with the right values, and is never green while behind', async t => {
  const hub = await startHub(t, { 'limits.outbox': '64KB', 'limits.stuck': '10m' })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  const topics = Array.from({ length: 20 }, (_, n) => `load/n${n}`)
  for (const topic of ['home/door', ...topics]) await device.publishAsync(topic, '{"value":0}', { qos: 1 })
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  const tile = (topic: string) => page.locator(`.tile[data-series$="topic=${topic} value"]`)
  await tile('home/door').waitFor()
  await tile('load/n19').waitFor()
  const isLive = async () => (await page.locator('#connection').getAttribute('data-state')) === 'live'
  await eventually(isLive, 'live')

  await page.evaluate(sampler)
  const samples = () => page.evaluate<Sample[]>('samples')
  const [first] = await samples()
  t.match(first, { state: 'live', door: '0' })

  const debug = await page.context().newCDPSession(page)
  const paused = new Promise<string>(resolve =>
    debug.once('Debugger.paused', ({ callFrames: [frame] }) => resolve(frame?.callFrameId ?? '')),
  )
  await debug.send('Debugger.enable')
  await debug.send('Debugger.pause')
  const callFrameId = await paused
  await device.publishAsync('home/door', '{"value":1}', { qos: 1 })
  const text = 'x'.repeat(1_000)
  const pausedAt = performance.now()
  // Each value is pushed with its topic on $hub/last; the sockets of hub and browser hold some megabytes.
  let round = 0
  while ((await metric(hub, 'telehub_merged_total')) < 1_000 || performance.now() - pausedAt < 5_000) {
    round++
    await Promise.all(topics.map(one => device.publishAsync(one, `{"value":${round},"text":"${text}"}`, { qos: 1 })))
  }
  t.equal(await metric(hub, 'telehub_dropped_total'), 0)
  // A page is behind from three seconds on. A value that was published later than that may be on its way to a green page.
  await sleep(3_500)
  await debug.send('Debugger.evaluateOnCallFrame', { callFrameId, expression: 'watch()' })
  await debug.send('Debugger.resume')
  await debug.send('Debugger.disable')
  await eventually(async () => (await samples()).at(-1)?.load === String(round), 'the values are right')
  await eventually(isLive, 'live again')
  const all = await samples()
  const late = all.slice(1).filter(({ door, load }) => door !== '1' || load !== String(round))
  t.ok(late.length > 0, `${late.length} samples of the time between`)
  t.same(
    late.filter(({ color }) => color === first?.color),
    [],
    'none of them green',
  )
  t.comment([...new Set(all.map(({ state }) => state))].join(', '))
  t.ok(all.some(({ state }) => state === 'behind' || state === 'checking'))
  t.match(all.at(-1), { state: 'live', color: first?.color, door: '1' }, 'green in the end')
  t.same(problems, [])
})
