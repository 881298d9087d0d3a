import t from 'tap'
import { startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { mappingFile, publishAll, readings, stillServes, storedExactly } from './attempts.js'

/** Topics, names and values of devices on their way through line protocol into a real InfluxDB. */

const influx = await startInflux()
t.teardown(() => influx.stop())

async function ask(database: string, q: string): Promise<string[]> {
  const answer = await fetch(`${influx.url}/query?db=${database}`, { method: 'POST', body: new URLSearchParams({ q }) })
  const { results } = (await answer.json()) as { results: { series?: { values?: string[][] }[] }[] }
  return results.flatMap(({ series = [] }) => series.flatMap(({ values = [] }) => values.map(([first = '']) => first)))
}

t.test('what was sent is stored as it was sent, and nothing else', async t => {
  const database = `hostile${process.pid}`
  const hub = await startHub(t, { 'influx.url': `${influx.url}/${database}`, config: await mappingFile() })
  const before = await ask(database, 'SHOW DATABASES')
  const sent = readings()
  await publishAll(t, hub, sent)
  await storedExactly(t, hub, sent)
  const measurements = await ask(database, 'SHOW MEASUREMENTS')
  t.equal(measurements.length, new Set(sent.map(({ series }) => series.measurement)).size, 'no other measurement')
  t.same(await ask(database, 'SHOW DATABASES'), [...new Set([...before, database])], 'no database came or went')
  await stillServes(t, hub)
})
