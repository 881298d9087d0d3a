import t from 'tap'
import {
  failuresOf,
  fill,
  messagesOf,
  once,
  payloadOf,
  type Run,
  readCases,
  type ShownDevice,
  type ShownSeries,
} from '../cases.js'
import { connectMqtt, eventually, startHub } from '../harness.js'

/** What real devices publish, to a fresh hub with default settings. */

t.test('what public bug reports tell of is right on a fresh hub, seen from outside', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  const run: Run = { word: 'e2e', now: Date.now() }
  const cases = readCases()
  const published = cases.flatMap(messagesOf).map(message => {
    const { retain = false } = message
    return device.publishAsync(fill(message.topic, run), payloadOf(message, run), { qos: 1, retain })
  })
  await Promise.all(published)
  const history = async (key: string) => {
    const to = run.now + 900_000
    const path = `/api/history?series=${encodeURIComponent(key)}&from=0&to=${to}&points=100000&fn=last`
    const { times, values } = (await hub.get<{ times: number[]; values: number[] }>(path)).body
    return times.map((time, i) => [time, values[i] as number] as const)
  }
  const failed = async () => {
    const asked = once(history)
    const { series } = (await hub.get<{ series: ShownSeries[] }>('/api/series?limit=100000')).body
    const { dead } = (await hub.get<{ dead: { topic: string; reason: string }[] }>('/api/dead?limit=5000')).body
    const { described } = (await hub.get<{ described: ShownDevice[] }>('/api/devices')).body
    const found: string[] = []
    for (const one of cases) {
      const failures = await failuresOf(one, run, { series, dead, described, history: asked })
      if (failures.length > 0) found.push(`${one.id}: ${failures.join('; ')}`)
    }
    return found
  }
  const isHandled = async () => (await hub.get<{ spool: number }>('/api/balance')).body.spool === 0
  await eventually(isHandled, 'every message is handled')
  let last: readonly string[] = []
  await eventually(async () => {
    last = await failed()
    return last.length === 0
  }, 'all cases hold').catch(() => {})
  t.same(last, [])
  const { ignored, residual } = (await hub.get<{ ignored: number; residual: number }>('/api/balance')).body
  t.ok(ignored > 0, 'commands and descriptions are counted')
  t.equal(residual, 0)
  const tried = await fetch(`${hub.httpUrl}/api/map/try`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ topic: 'cmnd/plug/POWER', payload: Buffer.from('ON').toString('base64') }),
  })
  t.match(await tried.json(), { preset: 'tasmota', outcome: 'ignored', ignored: 'command', points: [] })
})
