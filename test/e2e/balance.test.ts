import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connectMqtt, eventually, history, metric, type RunningHub, runCli, startHub } from '../harness.js'

interface Sheet {
  received: number
  stored: number
  spool: number
  queue: number
  dead: number
  dropped: number
  refused: number
  residual: number
  reasons: { dead: Record<string, number>; refused: Record<string, number> }
  hours: { hour: number; received: number; stored: number; residual: number }[]
  devices: (Omit<Sheet, 'reasons'> & { clientId: string; waiting: number })[]
}

const balance = async (hub: RunningHub, query = '') => (await hub.get<Sheet>(`/api/balance${query}`)).body

const sumOf = ({ stored, spool, queue, dead, dropped, refused }: Sheet) =>
  stored + spool + queue + dead + dropped + refused

/** The telehub command against a hub; what it printed, and how it ended. */
async function telehub(hub: RunningHub, ...args: string[]) {
  const run = runCli([...args, '--url', hub.httpUrl])
  const code = await run.exited
  return { code, stdout: run.stdout(), stderr: run.stderr() }
}

t.test('the sheet adds up: stored, dead, refused; in all, by device, and as metrics', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'dev-1' })
  await Promise.all(Array.from({ length: 300 }, (_, n) => device.publishAsync('a', String(n), { qos: 1 })))
  const odd = await connectMqtt(t, hub.mqttUrl, { clientId: 'odd' })
  for (let n = 0; n < 5; n++) await odd.publishAsync('odd', '{"broken', { qos: 1 })
  await odd.publishAsync('a', Buffer.from([0xff]), { qos: 1 })
  const thief = await connectMqtt(t, hub.mqttUrl, { clientId: 'thief' })
  const closed = new Promise<void>(resolve => thief.once('close', () => resolve()))
  thief.publish('$SYS/fake', 'x', { qos: 1 })
  await closed

  const sheet = await eventually(async () => {
    const found = await balance(hub)
    const isCounted = found.devices.reduce((all, row) => all + row.received, 0) === 307
    return found.spool === 0 && found.refused === 1 && isCounted && found
  }, 'all is counted')
  t.match(sheet, { received: 307, stored: 300, spool: 0, queue: 0, dead: 6, dropped: 0, refused: 1, residual: 0 })
  t.same(sheet.reasons, { dead: { bad_json: 5, not_utf8: 1 }, refused: { not_permitted: 1 } })
  t.equal(sumOf(sheet), sheet.received)
  t.match(
    sheet.devices.find(row => row.clientId === 'odd'),
    { received: 6, dead: 6, stored: 0, waiting: 0, residual: 0 },
  )
  t.match(sheet.hours[0], { residual: 0 })
  t.match((await balance(hub, '?device=thief')).devices, [{ clientId: 'thief', received: 1, refused: 1 }])
  t.equal(await metric(hub, 'telehub_balance_messages{term="stored"}'), 300)
  t.equal(await metric(hub, 'telehub_balance_messages{term="residual"}'), 0)
})

t.test('what was acknowledged before the question is in the sheet', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  const short: string[] = []
  for (let round = 0, sent = 0; round < 50; round++) {
    for (let n = 0; n < 3; n++, sent++) await device.publishAsync('a', String(n), { qos: 1 })
    const { received } = await balance(hub)
    if (received < sent) short.push(`${received} of ${sent} received`)
  }
  t.same(short, [])
})

t.test(
  'killed in the middle, again and again: nothing is missing in the sheet, and nothing is there twice',
  async t => {
    let hub = await startHub(t)
    let acknowledged = 0
    for (let round = 0; round < 5; round++) {
      const device = await connectMqtt(t, hub.mqttUrl, { clientId: `dev-${round}` })
      let running = true
      const streams = Array.from({ length: 50 }, async (_, stream) => {
        for (let n = 0; running; n++) {
          const payload = stream === 0 ? '{"broken' : String(n)
          const sent = device.publishAsync(`s/${stream}`, payload, { qos: 1 })
          await Promise.race([
            sent.then(() => acknowledged++),
            new Promise<void>(resolve => device.once('close', () => resolve())),
          ])
        }
      })
      await sleep(100 + 170 * round)
      await hub.kill()
      running = false
      device.end(true)
      await Promise.allSettled(streams)
      hub = await startHub(t, {}, hub.dir)
    }
    const sheet = await eventually(async () => {
      const found = await balance(hub)
      const counted = found.devices.reduce((all, row) => all + row.received, 0)
      return found.spool === 0 && counted === found.received && found
    }, 'all is settled and counted')
    t.equal(sheet.residual, 0)
    t.equal(sumOf(sheet), sheet.received)
    t.ok(
      sheet.received >= acknowledged && acknowledged > 500,
      `${acknowledged} acknowledged, ${sheet.received} received`,
    )
    const { body } = await hub.get<{ dead: unknown[] }>('/api/dead?limit=100000')
    t.equal(body.dead.length, sheet.dead, 'each dead letter is there once')
    for (const row of sheet.devices) {
      t.match(row, { waiting: 0, residual: 0, received: row.stored + row.dead }, row.clientId)
    }
    // A stop in good order changes nothing.
    t.equal(await hub.stop(), 0)
    const again = await startHub(t, {}, hub.dir)
    t.match(await balance(again), { received: sheet.received, stored: sheet.stored, dead: sheet.dead, residual: 0 })
  },
)

t.test('dead letters: listed, shown, replayed after a fix, dropped', async t => {
  const first = await startHub(t)
  const device = await connectMqtt(t, first.mqttUrl, { clientId: 'odd' })
  for (const text of ['{"one', '{"two']) await device.publishAsync('odd', text, { qos: 1 })
  const other = await connectMqtt(t, first.mqttUrl, { clientId: 'other', protocolVersion: 5 })
  const properties = { contentType: 'text/odd', userProperties: { from: 'the\u001bpast' }, messageExpiryInterval: 9 }
  await other.publishAsync('other', '{"three', { qos: 1, properties })
  await eventually(async () => (await balance(first)).dead === 3, 'three dead letters')

  const listed = await telehub(first, 'dead', 'list', '--device', 'odd', '--json')
  t.equal(listed.code, 0, listed.stderr)
  const { dead } = JSON.parse(listed.stdout) as { dead: { id: string; reason: string; payload: string }[] }
  t.same(
    dead.map(letter => [letter.reason, Buffer.from(letter.payload, 'base64').toString()]),
    [
      ['bad_json', '{"two'],
      ['bad_json', '{"one'],
    ],
  )
  t.match((await telehub(first, 'dead', 'list')).stdout, /other .*not valid JSON/)
  t.match(await telehub(first, 'dead', 'show', dead[0]?.id ?? ''), { code: 0, stdout: /topic +odd\n.*\n\{"two\n/s })
  const shown = JSON.parse((await telehub(first, 'dead', 'list', '--device', 'other', '--json')).stdout).dead[0]
  t.match(shown, { contentType: 'text/odd', userProperties: [['from', 'the\u001bpast']], expiresAt: Number })
  t.match(await telehub(first, 'dead', 'show', shown.id), {
    stdout: /^property +from: the.?past\ncontent type +text\/odd\nexpires at +20/m,
  })
  t.match(await telehub(first, 'dead', 'show', '999'), { code: 1, stderr: /no dead letter 999/ })
  t.match(await telehub(first, 'dead', 'list', '--reason', 'type_conflict'), { stdout: 'no dead letters\n' })

  // Nothing was mended: they stay.
  t.match(await telehub(first, 'dead', 'replay', '--all'), { code: 0, stdout: /^3 messages, 3 rejected again\n/ })
  t.match(await balance(first), { dead: 3, stored: 0 })
  t.match(await telehub(first, 'dead', 'replay'), { code: 2, stderr: /needs an ID, a filter/ })
  t.match(await telehub(first, 'dead', 'drop', '--all'), { code: 2, stderr: /--yes/ })
  await first.stop()

  const config = join(first.dir, 'mended.yaml')
  await writeFile(config, 'mapping:\n  - {topic: odd, measurement: odd, decoder: value}\n')
  const second = await startHub(t, { config }, first.dir)
  t.match(await telehub(second, 'dead', 'replay', '--device', 'odd'), { code: 0, stdout: /^2 messages, 2 stored\n/ })
  t.same(await history(second, 'odd value'), ['{"one', '{"two'])
  t.match(await balance(second), { received: 3, dead: 1, stored: 2, dropped: 0, residual: 0 })
  t.match(await telehub(second, 'dead', 'drop', '--reason', 'bad_json', '--yes'), { code: 0, stdout: /1 dropped/ })
  t.match(await balance(second), { received: 3, dead: 0, stored: 2, dropped: 1, residual: 0 })
  t.same((await second.get('/api/dead')).body, { dead: [] })
  await second.kill()
  const third = await startHub(t, { config }, first.dir)
  t.same((await third.get('/api/dead')).body, { dead: [] })
  t.match(await balance(third), { received: 3, dead: 0, stored: 2, dropped: 1, residual: 0 })
})

t.test('pages of other sites cannot drop dead letters', async t => {
  const hub = await startHub(t)
  const post = (headers: Record<string, string>, body = '{"all":true}') =>
    fetch(`${hub.httpUrl}/api/dead/drop`, { method: 'POST', headers, body }).then(({ status }) => status)
  t.equal(await post({ 'content-type': 'application/json', origin: 'https://evil.example' }), 403)
  t.equal(await post({ 'content-type': 'text/plain' }), 415)
  t.equal(await post({ 'content-type': 'application/json', origin: hub.httpUrl }), 200)
  t.equal(await post({ 'content-type': 'application/json' }, '{"reson":"x"}'), 400, 'a mistyped filter is not all')
  t.equal(await post({ 'content-type': 'application/json' }, '{}'), 400, 'nothing is not all')
  t.equal((await hub.get('/api/dead?reson=x')).status, 400)
})

t.test('the spool shows itself, and what it has kept is replayed under a new mapping', async t => {
  const first = await startHub(t, { 'spool.keep': '1h' })
  const device = await connectMqtt(t, first.mqttUrl, { clientId: 'dev' })
  for (let n = 0; n < 20; n++) await device.publishAsync(`plant/${n % 2}/press`, String(n), { qos: 1 })
  await eventually(async () => (await balance(first)).stored === 20, 'stored')
  const shown = await telehub(first, 'spool')
  t.match(shown, { code: 0, stdout: /^spool .* of 10\.0 GB.*live.*record.*segment/s })
  await first.stop()
  const config = join(first.dir, 'new.yaml')
  await writeFile(config, 'mapping:\n  - {topic: "plant/{line}/press", measurement: press, fields: {value: bar}}\n')
  const second = await startHub(t, { config, 'spool.keep': '1h' }, first.dir)
  const replayed = await telehub(second, 'spool', 'replay', '--from', '1h', '--topic', 'plant/1/#')
  t.match(replayed, { code: 0, stdout: /10 stored/ })
  t.same(await history(second, 'press,line=1 bar'), [1, 3, 5, 7, 9, 11, 13, 15, 17, 19])
  t.same(await history(second, 'press,line=0 bar'), [])
  t.match(await balance(second), { received: 20, stored: 20, residual: 0 }, 'it is not received twice')
  t.match(await telehub(second, 'spool', 'replay'), { code: 2, stderr: /--from/ })
  t.match(await telehub(second, 'spool', 'replay', '--from', 'yesterday'), {
    code: 2,
    stderr: /given yesterday, allowed/,
  })
})

t.test('a command for a hub that is not there says so', async t => {
  const run = runCli(['dead', 'list', '--url', 'http://127.0.0.1:1'])
  t.equal(await run.exited, 1)
  t.match(run.stderr(), /no hub answers at http:\/\/127\.0\.0\.1:1 .*--url/)
})

t.test('SIGTERM: what was acknowledged is stored before the hub ends, or it says where it is', async t => {
  const first = await startHub(t)
  const device = await connectMqtt(t, first.mqttUrl, { clientId: 'dev' })
  await Promise.all(Array.from({ length: 20_000 }, (_, n) => device.publishAsync('d', String(n), { qos: 1 })))
  t.equal(await first.stop(), 0)
  t.notMatch(first.log(), /not stored yet/)
  // Nobody listens there.
  const away = { 'influx.url': 'http://127.0.0.1:2/telehub' }
  const second = await startHub(t, away, first.dir)
  t.match(await balance(second), { received: 20_000, stored: 20_000, spool: 0, residual: 0 })
  const again = await connectMqtt(t, second.mqttUrl, { clientId: 'dev' })
  for (let n = 0; n < 7; n++) await again.publishAsync('d', String(n), { qos: 1 })
  const ready = await eventually(async () => {
    const { body } = await second.get<{ waiting: object[]; dependencies: object[] }>('/readyz')
    return body.waiting.length > 0 && body
  }, 'the hub says what waits for what')
  t.match(ready.waiting, [{ consumer: 'record', target: 'InfluxDB', detail: /ECONNREFUSED/ }])
  t.match(ready.dependencies, [
    { name: 'InfluxDB', state: 'down', detail: /ECONNREFUSED/, since: Number, retryAt: Number },
  ])
  t.equal(await metric(second, 'telehub_waiting{consumer="record",target="InfluxDB"}'), 1)
  t.equal(await second.stop(), 0)
  t.match(second.log(), /not stored yet: 7 in the spool \(record waits for InfluxDB\); the next start continues/)
  const third = await startHub(t, {}, first.dir)
  await eventually(async () => (await balance(third)).spool === 0, 'the next start goes on')
  t.match(await balance(third), { received: 20_007, stored: 20_007, residual: 0 })
})
