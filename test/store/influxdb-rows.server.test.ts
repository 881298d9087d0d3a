import t from 'tap'
import { InfluxStore } from '../../src/store/influxdb.js'
import { rowsContract } from '../contract/rows.js'
import { startInflux } from '../services/influxdb.js'

const influx = await startInflux()
t.teardown(() => influx.stop())
let databases = 0

rowsContract(t, async t => {
  const store = new InfluxStore({ url: `${influx.url}/rows${process.pid}-${databases++}` })
  await store.start()
  t.teardown(() => store.stop())
  return store
})
