import t from 'tap'
import { history, runCli, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { tempDir } from '../services/service.js'

const influx = await startInflux()
t.teardown(() => influx.stop())
const database = `import${process.pid}`
const at = 1_738_324_800_000

t.test('a database of InfluxDB, with every type, and again after an interruption', async t => {
  const post = (path: string, body: string | URLSearchParams) =>
    fetch(`${influx.url}/${path}`, { method: 'POST', body })
  await post('query', new URLSearchParams({ q: `CREATE DATABASE "${database}"` }))
  const lines = [
    `odd\\ name,tag\\ one=a\\,b f=1.5,i=7i,s="two\nlines \\"q\\"",b=true ${at}001`,
    `odd\\ name f=-0.25 ${at}002`,
    ...Array.from({ length: 25_000 }, (_, i) => `many,n=${i % 2} v=${i} ${at + i}000`),
  ]
  t.equal((await post(`write?db=${database}&precision=u`, lines.join('\n'))).status, 204)
  const hub = await startHub(t)
  const dir = await tempDir()
  const run = async (args: readonly string[]) => {
    const cli = runCli(
      ['import', `${influx.url}/${database}`, ...args, '--url', hub.httpUrl, '--data.dir', hub.dir],
      {},
      dir,
    )
    t.equal(await cli.exited, 0, cli.stderr())
    return cli.stdout()
  }
  t.match(await run([]), /25,005 rows: 25,005 stored, 0 refused/)
  const odd = 'odd\\ name,tag\\ one=a\\,b'
  t.same(await history(hub, `${odd} f`), [1.5])
  t.same(await history(hub, `${odd} i`), [7])
  t.same(await history(hub, `${odd} s`), ['two\nlines "q"'])
  t.same(await history(hub, `${odd} b`), [true])
  t.same(await history(hub, 'odd\\ name f'), [-0.25])
  t.equal((await history(hub, 'many,n=1 v')).length, 12_500)
  t.match(await run([]), /was imported already/)
  t.match(await run(['--again']), /25,005 stored/)
  t.equal((await history(hub, 'many,n=0 v')).length, 12_500)
})
