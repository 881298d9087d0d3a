import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { connectMqtt, eventually, history, runCli, startHub } from '../harness.js'

t.test('the busiest series are listed, tried with dead bands, and fixed by one command', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'oven' })
  const values = Array.from({ length: 400 }, (_, n) => 200 + ((n * 7) % 10) / 100 + (n % 100 === 0 ? 5 : 0))
  for (const value of values)
    await device.publishAsync('plant/oven', JSON.stringify({ temperature: value, state: 'on' }), { qos: 1 })
  await device.publishAsync('plant/quiet', '1', { qos: 1 })
  const noise = () => hub.get<Answer<'GET /api/noise'>>('/api/noise')
  await eventually(async () => (await noise()).body.points === 801, 'stored')

  const { body } = await noise()
  t.match(body, { series: 3, points: 801 })
  const row = body.rows.find(({ series }) => series.endsWith(' temperature'))
  t.match(row, { points: 400, readings: 400, type: 'number' })
  for (const { deadband = 0, points, error } of row?.tried ?? []) {
    // The plain computation, by hand.
    let [kept, worst, last] = [0, 0, undefined as number | undefined]
    for (const value of values) {
      if (last !== undefined && (deadband > 0 ? Math.abs(value - last) <= deadband : value === last))
        worst = Math.max(worst, Math.abs(value - last))
      else {
        kept++
        last = value
      }
    }
    t.equal(points, kept, `dead band ${deadband}`)
    t.equal(error, Number(worst.toPrecision(6)))
  }
  t.match(body.rows.find(({ series }) => series.endsWith(' state'))?.tried, [{ points: 1, error: 0 }])
  const rule = { topic: 'plant/oven', onChange: { heartbeat: '1h' }, deadband: { temperature: 0.2 } }
  t.same(row?.rule, rule, 'the most exact one that leaves a tenth')

  const cli = async (...args: string[]) => {
    const run = runCli([...args, '--url', hub.httpUrl, '--data.dir', hub.dir])
    const code = await run.exited
    t.equal(code, 0, run.stderr())
    return run.stdout()
  }
  t.match(
    await cli('noise'),
    /plant,topic=plant\/oven temperature +400 +\S+ ?\S* +400 → \d+, largest error 0\.\d+ \(dead band 0\.2\)/,
  )
  await cli('noise', 'fix', 'plant,topic=plant/oven temperature')
  t.match((await hub.get<Answer<'GET /api/mapping'>>('/api/mapping')).body.rules[0], { place: { from: 'hub' }, rule })
  t.match(await cli('map', 'rules'), /plant\/oven +stored less often/)

  const key = 'plant,topic=plant/oven temperature'
  for (const value of [200, 200.1, 203, 203.05])
    await device.publishAsync('plant/oven', JSON.stringify({ temperature: value, state: 'on' }), { qos: 1 })
  await device.publishAsync('plant/quiet', '2', { qos: 1 })
  await eventually(async () => (await history(hub, 'plant,topic=plant/quiet value')).length === 2, 'all handled')
  t.same((await history(hub, key)).slice(-2), [200, 203], 'in the same series as before, and less of it')
  await cli('noise', 'fix', key, '--deadband', '10')
  const { rules } = (await hub.get<Answer<'GET /api/mapping'>>('/api/mapping')).body
  t.same(
    rules.filter(({ place }) => place.from === 'hub').map(one => one.rule),
    [{ ...rule, deadband: { temperature: 10 } }],
  )
})
