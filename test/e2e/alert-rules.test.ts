import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { asAdmin, connectMqtt, eventually, history, type RunningHub, runCli, startHub } from '../harness.js'
import { freePort, tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

/** Rules whose findings come from afar: from the weeks before in the store, and from the hub itself. */

type Listed = Answer<'GET /api/alerts'>['alerts']

const alerts = async (hub: RunningHub, query = ''): Promise<Listed> =>
  (await hub.get<Answer<'GET /api/alerts'>>(`/api/alerts${query}`)).body.alerts

const minute = 60_000
const day = 86_400_000

t.test('outside its own usual: learned from the store, said in one sentence, the same in a back-test', async t => {
  const dir = await tempDir()
  const hub = await startHub(t, {}, dir)
  const meter = await connectMqtt(t, hub.mqttUrl, { clientId: 'meter' })
  const send = (power: number, time?: number) =>
    meter.publishAsync('home/hall/meter/telemetry', JSON.stringify({ power, time }), { qos: 1 })
  // Three weeks ago and a week ago, in this hour of the week: 100 W and 5 W around; at another hour of the day: 900 W.
  const now = Date.now()
  const hourBegin = now - (now % (60 * minute))
  let count = 0
  for (const ago of [21 * day, 7 * day]) {
    // Two hours, as this one may be over before the test is.
    for (let n = 0; n < 24; n++) {
      await send(100 + ((n % 3) - 1) * 5, hourBegin - ago + n * 5 * minute)
      await send(900, hourBegin - ago + 6 * 60 * minute + n * 5 * minute)
      count += 2
    }
  }
  const { key } = await eventually(async () => {
    const { body } = await hub.get<{ series: { key: string }[] }>('/api/series')
    const found = body.series.find(one => one.key.endsWith(' power'))
    return found && (await history(hub, found.key)).length === count && found
  }, 'the weeks before are stored')
  const rule = 'unusual: 6'
  writeFileSync(
    join(dir, 'alerts.yaml'),
    `zone: UTC\nrules:\n  odd: { field: power, ${rule} }\n  odder: { field: power, unusual: 1000 }\n`,
  )
  await eventually(
    async () => (await hub.get<{ rules: unknown[] }>('/api/alerts/rules')).body.rules.length === 2,
    'the rules',
  )
  // The usual is learned with the first readings, and 900 is usual at another hour only.
  const [odd] = await eventually(async () => {
    await send(108)
    await send(900)
    const all = await alerts(hub)
    return all.length > 0 && all
  }, 'it is found')
  t.match(odd, { rule: 'odd', state: 'firing', value: 900, series: key })
  t.match(
    odd?.sentence,
    /power is 900 W; usual at \w+ \d\d:00 is 100 W ± 5 W, so this is 160 times the usual distance$/,
  )
  await send(110)
  t.match(
    await eventually(async () => {
      const [first, ...others] = await alerts(hub, '?state=all')
      return first?.state === 'cleared' && [first, ...others]
    }, 'it is over'),
    [{ rule: 'odd' }],
    'the other rule, and what was usual, raise nothing',
  )
  const test = runCli(['alerts', 'test', 'odd', '--from', '1h', '--url', hub.httpUrl, '--data.dir', dir])
  t.equal(await test.exited, 0, test.stderr())
  t.match(test.stdout(), /odd would have fired \d+ times?, /)

  // After a restart it is learned again.
  await hub.kill()
  const again = await startHub(t, {}, dir)
  const meterAgain = await connectMqtt(t, again.mqttUrl, { clientId: 'meter' })
  await eventually(async () => {
    await meterAgain.publishAsync('home/hall/meter/telemetry', '{"power":900}', { qos: 1 })
    return (await alerts(again)).length > 0
  }, 'it is found again')
})

t.test('the hub itself: what is lost, dead letters, clocks of clients, the disk, and any', async t => {
  const small = await smallDisk(t, 300e6)
  const dir = small?.dir ?? (await tempDir())
  const names = ['residual', 'dead', 'clocks', ...(small ? ['disk'] : [])]
  const rules = [...names.map(name => `  hub-${name}: { hub: ${name} }`), '  hub-many-dead: { hub: dead, above: 2 }']
  writeFileSync(join(dir, 'alerts.yaml'), `rules:\n${rules.join('\n')}\n  hub-any: { hub: any }\n`)
  // A store that does not answer: what is published stays in the spool, and is damaged there.
  const first = await startHub(t, { 'influx.url': `http://127.0.0.1:${await freePort()}/telehub` }, dir)
  const device = await connectMqtt(t, first.mqttUrl, { clientId: 'device' })
  for (let n = 0; n < 3; n++) await device.publishAsync('lost', `{"value":${n}}`, { qos: 1 })
  t.notOk(
    (await alerts(first)).some(({ rule }) => rule === 'hub-residual' || rule === 'hub-dead'),
    'nothing is lost yet',
  )
  await first.kill()
  const segments = join(dir, 'spool')
  const segment = join(segments, readdirSync(segments).find(name => name.endsWith('.seg')) as string)
  const bytes = readFileSync(segment)
  bytes.fill(0xff, bytes.indexOf('{"value":1}'), bytes.indexOf('{"value":1}') + 5)
  writeFileSync(segment, bytes)

  const hub = await startHub(t, {}, dir)
  const client = await connectMqtt(t, hub.mqttUrl, { clientId: 'device' })
  const send = (reading: object | string) =>
    client.publishAsync('home/hall/device/telemetry', typeof reading === 'string' ? reading : JSON.stringify(reading), {
      qos: 1,
    })
  await send('{"broken":')
  await send({ level: 1, time: Date.now() + 3 * 60 * minute })
  const sentences = await eventually(async () => {
    const all = (await alerts(hub)).filter(({ state }) => state === 'firing')
    const byRule = Object.fromEntries(all.map(({ rule, sentence }) => [rule, sentence]))
    return names.every(name => byRule[`hub-${name}`]) && byRule
  }, 'all are found')
  t.match(sentences, {
    'hub-residual': /^1 message is missing in the balance sheet/,
    'hub-dead': /^1 message is in the dead letters/,
    'hub-clocks': /^The clock of 1 client is wrong/,
    ...(small && { 'hub-disk': /^The disk of data\.dir has \d+ MB free/ }),
  })
  t.equal(sentences['hub-many-dead'], undefined, 'only from the limit on')
  const any = (await alerts(hub)).filter(({ rule }) => rule === 'hub-any').map(({ series }) => series)
  for (const name of names) t.ok(any.includes(name), `any: ${name}`)

  // The clock of the client is right again.
  await send({ level: 1, time: Date.now() })
  await send('{"broken":')
  await send('{"broken":')
  await eventually(async () => {
    const open = (await alerts(hub)).map(({ rule }) => rule)
    return !open.includes('hub-clocks') && open.includes('hub-many-dead')
  }, 'the clock is right, and there are more dead letters')
  // What is still so after a start is one alert, not another one.
  const before = (await alerts(hub)).find(({ rule }) => rule === 'hub-residual')
  await hub.kill()
  const last = await startHub(t, {}, dir)
  const loud = await connectMqtt(t, last.mqttUrl, { clientId: 'device' })
  await loud.publishAsync(
    'home/hall/device/telemetry',
    JSON.stringify({ time: Date.now() + 3 * 60 * minute, level: 1 }),
    {
      qos: 1,
    },
  )
  await eventually(async () => (await alerts(last)).some(({ rule }) => rule === 'hub-clocks'), 'it looks at the hub')
  t.same(
    (await alerts(last, '?state=all')).filter(({ rule }) => rule === 'hub-residual').map(({ alert }) => alert),
    [before?.alert],
  )
})

t.test('a certificate that ends soon', async t => {
  const dir = await tempDir()
  const made = runCli(['cert', '--days', '5'], {}, dir)
  t.equal(await made.exited, 0, made.stderr())
  const certs = join(dir, 'certs')
  writeFileSync(join(dir, 'alerts.yaml'), 'rules:\n  hub-certificate: { hub: certificate, severity: critical }\n')
  const paths = { 'tls.cert': join(certs, 'server.pem'), 'tls.key': join(certs, 'server.key') }
  // The hub serves HTTP without TLS to the test.
  const hub = await startHub(t, paths, dir)
  const screen = await connectMqtt(t, hub.mqttUrl, { clientId: 'screen' })
  const seen: string[] = []
  screen.on('message', (_topic, payload) => seen.push(payload.toString()))
  await screen.subscribeAsync('$hub/alerts/#')
  const alert = JSON.parse(await eventually(() => seen[0], 'the alert')) as Record<string, unknown>
  t.match(alert, {
    rule: 'hub-certificate',
    severity: 'critical',
    state: 'firing',
    sentence: /certificate.*ends|expires/,
  })
})

t.test('rules by the area and the icon of a device on Home, which a person moves', async t => {
  const dir = await tempDir()
  writeFileSync(
    join(dir, 'alerts.yaml'),
    `rules:
  kitchen-hot: { field: temperature, area: kitchen, above: 30, notify: [siren] }
  freezer-warm: { field: temperature, icon: freezer, above: -15 }
  hall-hot: { field: temperature, area: [hall, attic], above: 30 }
`,
  )
  writeFileSync(join(dir, 'notify.yaml'), 'targets: { siren: { type: mqtt, topic: house/siren } }\nroutes: []\n', {
    mode: 0o600,
  })
  const hub = await startHub(t, {}, dir)
  const ask = async (method: string, path: string, body: unknown) => {
    const headers = { ...asAdmin(dir), 'content-type': 'application/json' }
    const response = await fetch(hub.httpUrl + path, { method, headers, body: JSON.stringify(body) })
    return (await response.json()) as Record<string, unknown>
  }
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'gateway' })
  const siren: string[] = []
  device.on('message', (_topic, payload) => siren.push(payload.toString()))
  await device.subscribeAsync('house/siren')
  const send = (name: string, temperature: number) =>
    device.publishAsync(`home/${name}/telemetry`, JSON.stringify({ temperature }), { qos: 1 })
  const open = async () => (await alerts(hub)).map(({ rule, device: of, series }) => `${rule} ${of} ${series}`).sort()
  const key = (room: string, name: string) => `gateway telemetry,device=${name},room=${room} temperature`
  const found = (what: string, expected: readonly string[]) =>
    eventually(async () => {
      await send('kitchen/oven', 40)
      await send('cellar/freezer', 40)
      await send('hall/lamp', 20)
      const all = await open()
      return JSON.stringify(all) === JSON.stringify([...expected].sort())
    }, what)
  await found('by area and icon', [`freezer-warm ${key('cellar', 'freezer')}`, `kitchen-hot ${key('kitchen', 'oven')}`])
  t.match(JSON.parse(await eventually(() => siren[0], 'the target of the rule')), {
    alerts: [{ rule: 'kitchen-hot', state: 'firing' }],
  })
  const check = (rule: object) =>
    ask('POST', '/api/alerts/check', { rule: { field: 'temperature', above: 1, ...rule } })
  await eventually(async () => (await check({})).count === 3, 'all stored')
  t.match(await check({ area: 'Kitchen' }), { count: 1, selected: [{ series: /oven/ }] })
  t.match(await check({ icon: 'freezer' }), { count: 1, selected: [{ series: /freezer/ }] })
  t.match(await check({ area: 'x*' }), { mistakes: [], count: 0 })
  t.match(await ask('POST', '/api/alerts/check', { rule: { offline: '1m', area: 'kitchen', notify: [''] } }), {
    mistakes: [{ path: ['area'] }, { path: ['notify'] }],
  })
  t.match(
    await ask('POST', '/api/alerts/test', { rule: { field: 'temperature', above: 30, area: 'kitchen' }, from: 0 }),
    {
      ...{ series: 1, count: 1 },
    },
  )

  const { body } = await hub.get<{ devices: { id: string; name: string }[] }>('/api/home')
  const oven = body.devices.find(({ id }) => id.includes('oven'))?.id ?? ''
  t.match(await ask('PATCH', '/api/boards', { devices: { [oven]: { area: 'Attic', icon: 'freezer' } } }), { undo: 1 })
  await found('moved', [
    `freezer-warm ${key('cellar', 'freezer')}`,
    `freezer-warm ${key('kitchen', 'oven')}`,
    `hall-hot ${key('kitchen', 'oven')}`,
  ])
  const gone = (await alerts(hub, '?state=all')).find(({ rule }) => rule === 'kitchen-hot')
  t.match(gone, { state: 'cleared', sentence: /the rule does not select it any more/ })
  await eventually(() => siren.length === 2, 'the target is told that it is over')
})
