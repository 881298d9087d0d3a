import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { asAdmin, connectMqtt, eventually, history, type RunningHub, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

type Listed = Answer<'GET /api/alerts'>

const alerts = async (hub: RunningHub, query = '') => (await hub.get<Listed>(`/api/alerts${query}`)).body

async function post(hub: RunningHub, path: string, body: unknown, method = 'POST') {
  const response = await fetch(hub.httpUrl + path, {
    method,
    headers: { ...asAdmin(hub.dir), ...(method === 'POST' && { 'content-type': 'application/json' }) },
    ...(method === 'POST' && { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

const telehub = async (hub: RunningHub, ...args: string[]) => {
  const run = runCli([...args, '--url', hub.httpUrl, '--data.dir', hub.dir])
  return { code: await run.exited, out: run.stdout(), error: run.stderr() }
}

const freezer = `rules:
  freezer-warm:
    measurement: telemetry
    field: temperature
    above: -15
    hysteresis: 1
    severity: critical
`

t.test('a freezer warms: raised, shown, acknowledged, kept over kill -9, and over when it is cold', async t => {
  const dir = await tempDir()
  const file = join(dir, 'alerts.yaml')
  let hub = await startHub(t, {}, dir)
  const screen = await connectMqtt(t, hub.mqttUrl, { clientId: 'screen' })
  const seen = new Map<string, string[]>()
  screen.on('message', (topic, payload) => seen.set(topic, [...(seen.get(topic) ?? []), payload.toString()]))
  await screen.subscribeAsync('$hub/alerts/#')
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'freezer' })
  const send = (temperature: number) =>
    device.publishAsync('home/kitchen/freezer/telemetry', JSON.stringify({ temperature }), { qos: 1 })
  await send(-18)
  t.same(await alerts(hub), { alerts: [], count: 0, mutes: [] })

  // The file is written while the hub runs.
  writeFileSync(file, freezer)
  await eventually(async () => (await hub.get<{ rules: unknown[] }>('/api/alerts/rules')).body.rules.length, 'the rule')
  await send(-17)
  await send(-7.3)
  const [fired] = await eventually(async () => {
    const { alerts: all } = await alerts(hub)
    return all.length > 0 && all
  }, 'an alert')
  t.match(fired, {
    rule: 'freezer-warm',
    severity: 'critical',
    state: 'firing',
    value: -7.3,
    past: false,
    muted: false,
    sentence: /is \u22127\.3 °C, above \u221215 °C/,
    definition: { above: -15, hysteresis: 1 },
  })
  t.same(
    fired?.points.map(([, value]) => value),
    [-17, -7.3],
    'the readings that decided',
  )
  const topic = `$hub/alerts/freezer-warm/${encodeURIComponent(fired?.series ?? '')
    .replace(/%2C/g, ',')
    .replace(/%3D/g, '=')
    .replace(/%20/g, ' ')}`
  t.match(JSON.parse((await eventually(() => seen.get(topic)?.[0], 'the topic')) as string), {
    state: 'firing',
    rule: 'freezer-warm',
  })

  const shown = await telehub(hub, 'alerts')
  t.match(shown.out, /critical {2}firing[\s\S]*above/)
  t.match(await telehub(hub, 'alerts', 'ack', fired?.alert ?? '', '--note', 'door'), {
    code: 0,
    out: /is acknowledged/,
  })
  t.match(await alerts(hub), { alerts: [{ state: 'acknowledged', by: 'anyone', note: 'door' }] })
  t.match(await post(hub, '/api/alerts/ack', { alert: fired?.alert }), { status: 404 })

  await hub.kill()
  hub = await startHub(t, {}, dir)
  t.match((await alerts(hub)).alerts, [{ alert: fired?.alert, state: 'acknowledged' }])
  const again = await connectMqtt(t, hub.mqttUrl, { clientId: 'freezer' })
  const retained: string[] = []
  again.on('message', (_topic, payload) => retained.push(payload.toString()))
  await again.subscribeAsync('$hub/alerts/#')
  await eventually(() => retained.some(text => text.includes('acknowledged')), 'the retained alert')
  // Above the limit less the hysteresis it goes on.
  await again.publishAsync('home/kitchen/freezer/telemetry', '{"temperature":-15.5}', { qos: 1 })
  await again.publishAsync('home/kitchen/freezer/telemetry', '{"temperature":-18}', { qos: 1 })
  const all = await eventually(async () => {
    const { alerts: some } = await alerts(hub, '?state=all')
    return some[0]?.state === 'cleared' && some
  }, 'the end')
  t.equal(all.length, 1)
  t.same(
    all[0]?.transitions.map(({ state }) => state),
    ['firing', 'acknowledged', 'cleared'],
  )
  t.same(
    all[0]?.transitions.map(({ sequence }) => sequence),
    [1, 2, 3],
  )
  t.equal(all[0]?.value, -18)
  await eventually(() => retained.at(-1) === '', 'nothing retained')
  const key = `telehub_alerts,device=freezer,rule=freezer-warm,series=${(fired?.series ?? '').replace(/[\\,= ]/g, '\\$&')},severity=critical state`
  t.same(
    await eventually(async () => {
      const states = await history(hub, key)
      return states.length === 3 && states
    }, 'the history'),
    ['firing', 'acknowledged', 'cleared'],
  )

  const tested = await telehub(hub, 'alerts', 'test', 'freezer-warm', '--from', '1h')
  t.match(tested.out, /freezer-warm would have fired 1 time, /, tested.error)
  const other = await post(hub, '/api/alerts/test', { rule: { field: 'temperature', below: -17.5 }, from: 0 })
  t.match(other, { status: 200, body: { count: 2, readings: 5 } })
})

t.test('a file with mistakes: all of them with their lines, an alarm, and the last good rules stay', async t => {
  const dir = await tempDir()
  const file = join(dir, 'alerts.yaml')
  writeFileSync(file, freezer)
  const hub = await startHub(t, {}, dir)
  writeFileSync(
    file,
    `${freezer}    for: soon\n  other:\n    feld: x\n    above: 1\n  twin: {above: 1}\n  twin: {above: 2}\n`,
  )
  const readMistakes = async () =>
    (await hub.get<{ mistakes: string[]; rules: { name: string }[] }>('/api/alerts/rules')).body
  let answer = await eventually(async () => {
    const body = await readMistakes()
    return body.mistakes.length > 0 && body
  }, 'mistakes')
  t.match(answer.mistakes, [/alerts\.yaml line 13: .*unique/])
  writeFileSync(file, `${freezer}    for: soon\n  other:\n    feld: x\n    above: 1\n`)
  answer = await eventually(async () => {
    const body = await readMistakes()
    return body.mistakes.length === 2 && body
  }, 'two mistakes')
  t.match(answer.mistakes, [
    /line 8: freezer-warm\.for: given "soon", allowed is a time/,
    /line 10: other\.feld: there is no "feld"; did you mean field\?/,
  ])
  t.match(answer.rules, [{ name: 'freezer-warm' }])
  await eventually(async () => {
    const { body } = await hub.get<{ alarms: { name: string; detail: string }[] }>('/readyz')
    return body.alarms.some(({ name, detail }) => name === 'alerts' && detail.includes('line 8'))
  }, 'the alarm')
  writeFileSync(file, freezer)
  await eventually(async () => (await readMistakes()).mistakes.length === 0, 'no mistakes')
})

t.test('rules, mutes and removal over the API; a rule that is removed clears its alerts', async t => {
  const hub = await startHub(t)
  t.match(await post(hub, '/api/alerts/rules', { name: 'hot', rule: { field: 'temperature', above: 'x', fro: 1 } }), {
    status: 400,
    body: { message: /hot\.fro: .*hot\.above: given "x", allowed is a number/ },
  })
  const made = await post(hub, '/api/alerts/rules', { name: 'hot', rule: { field: 'temperature', above: 30 } })
  t.match(made, { status: 200, body: { name: 'hot', source: 'api', severity: 'warning' } })
  t.match(await telehub(hub, 'alerts', 'mute', 'hot', '--for', '1h'), { code: 0, out: /muted/ })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'stove' })
  await device.publishAsync('home/kitchen/stove/telemetry', '{"temperature":90}', { qos: 1 })
  const [fired] = await eventually(async () => {
    const { alerts: all } = await alerts(hub)
    return all.length > 0 && all
  }, 'an alert')
  t.match(fired, { rule: 'hot', muted: true, state: 'firing', device: 'stove' })
  const { mutes } = await alerts(hub)
  t.match(await post(hub, '/api/alerts/unmute', { id: mutes[0]?.id }), { status: 200 })
  t.match(await post(hub, '/api/alerts/rules?name=hot', undefined, 'DELETE'), { status: 200 })
  t.match(
    await eventually(async () => {
      const { alerts: all } = await alerts(hub, '?state=all')
      return all[0]?.state === 'cleared' && all[0]
    }, 'the end'),
    { sentence: /the rule was removed/ },
  )
  t.match(await post(hub, '/api/alerts/rules?name=hot', undefined, 'DELETE'), { status: 404 })
  const audited = runCli(['audit', '--data.dir', hub.dir])
  t.equal(await audited.exited, 0)
  for (const what of ['change alert rule', 'mute alerts', 'remove alert rule']) t.match(audited.stdout(), what)
})

t.test(
  'a rule is checked while it is written; one that is off does nothing; alerts of a span; a mute counts at once',
  async t => {
    const dir = await tempDir()
    writeFileSync(join(dir, 'alerts.yaml'), freezer)
    const hub = await startHub(t, {}, dir)
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'freezer' })
    const send = (temperature: number) =>
      device.publishAsync('home/kitchen/freezer/telemetry', JSON.stringify({ temperature }), { qos: 1 })
    const check = async (rule: unknown, name?: string) =>
      (await post(hub, '/api/alerts/check', name === undefined ? { rule } : { name, rule })).body
    await send(-18)
    const warm = { field: 'temperature', device: 'freez*', above: -15 }
    await eventually(async () => (await check({ field: 'temperature', above: 1 })).count === 1, 'stored')
    t.match(await check({ field: 'temperature', tags: { device: 'freezer' }, above: 1 }), {
      ...{ mistakes: [], count: 1 },
      selected: [{ series: /temperature/, label: /freezer/, type: 'number', unit: '°C' }],
    })
    t.match(await check({ ...warm, device: 'nobody' }), { mistakes: [], count: 0, selected: [] })
    t.match(await check({ offline: '1m', device: 'freez*' }), { count: 1, selected: [{ series: 'freezer' }] })
    const wrong = { field: 'temperature', above: 1, below: 2, for: 'long', when: 'never', rates: 1, unless: 'nobody' }
    t.match(
      ((await check(wrong, 'freezer-warm')).mistakes as { path: string[] }[]).map(({ path }) => path.join('.')).sort(),
      ['below', 'for', 'name', 'rates', 'when'],
    )
    t.match(await check({ field: 'temperature', above: 1, unless: 'nobody' }), { mistakes: [{ path: ['unless'] }] })
    t.match(await check({ field: 'x' }), { mistakes: [{ path: [], sentence: /no condition/ }] })

    const own = { measurement: 'telemetry', field: 'temperature', above: -15 }
    t.match(await post(hub, '/api/alerts/rules', { name: 'own', rule: { ...own, enabled: false } }), { status: 200 })
    t.match((await hub.get('/api/alerts/rules')).body, {
      rules: [
        { name: 'freezer-warm', source: 'file', file: join(dir, 'alerts.yaml'), line: 3, enabled: true },
        { name: 'own', source: 'api', enabled: false, watched: 0 },
      ],
    })
    await send(-7)
    const fired = async () => (await alerts(hub)).alerts
    const [first] = await eventually(async () => (await fired()).length > 0 && (await fired()), 'an alert')
    t.match(await fired(), [{ rule: 'freezer-warm', muted: false }], 'the rule that is off does nothing')
    t.equal((await post(hub, '/api/alerts/rules', { name: 'own', rule: own })).status, 200)
    await send(-6)
    await eventually(async () => (await fired()).length === 2, 'both fire')
    t.equal((await post(hub, '/api/alerts/rules', { name: 'own', rule: { ...own, enabled: false } })).status, 200)
    await eventually(async () => (await fired()).length === 1, 'off: over')

    const { body } = await post(hub, '/api/alerts/mute', { rule: 'freezer-warm', series: first?.series })
    t.match(await fired(), [{ muted: true }])
    t.equal((await post(hub, '/api/alerts/unmute', { id: body.id })).status, 200)
    t.match(await fired(), [{ muted: false }])
    const { since = 0 } = first ?? {}
    t.equal((await alerts(hub, `?state=all&to=${since}`)).count, 0)
    t.equal((await alerts(hub, `?state=all&from=${since}&to=${since + 1}`)).count, 1)
    t.equal((await alerts(hub, `?state=all&from=${Date.now() + 60_000}`)).count, 1, 'only what is not over')
  },
)

t.test('tail shows readings as they arrive', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  const run = runCli(['tail', 'home/+/lamp/#', '--url', hub.httpUrl, '--data.dir', hub.dir])
  t.teardown(() => run.kill())
  await eventually(async () => {
    await device.publishAsync('home/attic/lamp/telemetry', '{"power":4.5,"on":true}', { qos: 1 })
    await device.publishAsync('home/attic/fan/telemetry', '{"power":9}', { qos: 1 })
    return run.stdout() !== ''
  }, 'a line')
  t.match(
    run.stdout(),
    /^\d\d:\d\d:\d\d\.\d{3} {2}home\/attic\/lamp\/telemetry {2}power 4\.5 W, on true|^\d.*on true, power 4\.5 W/,
  )
  t.notMatch(run.stdout(), 'fan')
})
