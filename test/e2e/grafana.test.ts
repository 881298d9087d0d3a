import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parse } from 'yaml'
import { asAdmin, connectMqtt, eventually, history, startHub } from '../harness.js'

/** The dashboards and the provisioning of grafana/: every query is one that a hub answers, every metric one that it has. */

const folder = fileURLToPath(new URL('../../../grafana', import.meta.url))
const read = (name: string) => readFileSync(join(folder, name), 'utf8')

interface DataSource {
  readonly type: string
  readonly uid: string
}

interface Dashboard {
  readonly uid: string
  readonly panels: readonly {
    readonly id: number
    readonly title: string
    readonly datasource: DataSource
    readonly gridPos: Readonly<Record<'x' | 'y' | 'w' | 'h', number>>
    readonly targets: readonly { readonly datasource: DataSource; readonly query?: string; readonly expr?: string }[]
  }[]
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly query: string; readonly datasource: DataSource }[]
  }
}

const dashboards = readdirSync(join(folder, 'dashboards')).map(
  name => JSON.parse(read(`dashboards/${name}`)) as Dashboard,
)

/** Puts values in place of the variables of a dashboard and of those of Grafana, as Grafana does. */
function interpolated(query: string, variables: Readonly<Record<string, string>>): string {
  const now = Date.now()
  return query
    .replaceAll('$timeFilter', `time >= ${now - 3_600_000}ms and time <= ${now}ms`)
    .replaceAll('$__interval', '1m')
    .replace(/\$(\w+)/g, (text, name: string) => variables[name] ?? text)
}

t.test('the queries of the dashboards have answers, and the metrics are those of the hub', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  const rooms = ['kitchen', 'bath']
  for (let i = 0; i < 20; i++) {
    for (const room of rooms) {
      const payload = { temperature: 20 + i, ts: Math.floor(Date.now() / 1_000) - (20 - i) * 90 }
      await device.publishAsync(`home/${room}/${room}1/telemetry`, JSON.stringify(payload), { qos: 1 })
    }
  }
  for (const room of rooms) {
    const series = `telemetry,device=${room}1,room=${room} temperature`
    await eventually(async () => (await history(hub, series)).length === 20, 'all is stored')
  }
  const metrics = await (await fetch(`${hub.httpUrl}/metrics`, { headers: asAdmin(hub.dir) })).text()
  const known = new Set([...metrics.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name))
  const ask = async (q: string) => {
    const body = new URLSearchParams({ q, db: 'telehub', epoch: 'ms' })
    const answer = (await (await fetch(`${hub.httpUrl}/query`, { method: 'POST', body })).json()) as {
      readonly error?: string
      readonly results?: readonly { readonly error?: string; readonly series?: readonly { values: unknown[][] }[] }[]
    }
    t.equal(answer.error ?? answer.results?.find(({ error }) => error)?.error, undefined, q)
    const series = answer.results?.[0]?.series ?? []
    t.ok(series.length > 0, `${q} has an answer`)
    return series.flatMap(({ values }) => values)
  }

  let queries = 0
  for (const { panels, templating } of dashboards) {
    const variables: Record<string, string> = {}
    for (const { name, query } of templating.list) {
      const rows = await ask(interpolated(query, variables))
      // Of keys the last column of a row is the value; of fields the first is the name.
      const values = rows.map(row => String(query.includes('TAG VALUES') ? row[1] : row[0]))
      variables[name] = query.includes('TAG VALUES') ? `(${values.join('|')})` : (values[0] as string)
    }
    for (const { title, targets } of panels) {
      for (const { query, expr } of targets) {
        queries++
        if (query !== undefined) await ask(interpolated(query, variables))
        const names = [...(expr ?? '').matchAll(/\b(?:telehub|process|nodejs)_\w+/g)].map(([name]) => name)
        t.ok(query !== undefined || names.length > 0, title)
        for (const name of names) t.ok(known.has(name), `${title}: ${name}`)
      }
    }
  }
  t.ok(queries > 25)
})

t.test('the dashboards use the data sources that are provisioned, and their panels do not overlap', async t => {
  const { datasources } = parse(read('provisioning/datasources/telehub.yaml')) as { datasources: DataSource[] }
  const uids = new Map(datasources.map(({ uid, type }) => [uid, type]))
  t.equal(new Set(dashboards.map(({ uid }) => uid)).size, dashboards.length)
  for (const { uid, panels, templating } of dashboards) {
    const used = [...panels.flatMap(({ datasource, targets }) => [datasource, ...targets.map(one => one.datasource)])]
    for (const one of [...used, ...templating.list.map(({ datasource }) => datasource)]) {
      t.equal(uids.get(one.uid), one.type, `${uid}: ${one.uid}`)
    }
    t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)} ${y + Math.floor(i / w)}`),
    )
    t.equal(new Set(cells).size, cells.length, uid)
    t.ok(panels.every(({ gridPos: { x, w } }) => x + w <= 24))
  }
})

t.test('what docker-compose.yml mounts and sets is what the provisioning needs', async t => {
  const compose = readFileSync(join(folder, '../docker-compose.yml'), 'utf8')
  const mounted = [...compose.matchAll(/^ +- \.\/(grafana\/\S+?):(\S+):ro$/gm)]
  t.equal(mounted.length, 3)
  for (const [, path = ''] of mounted) t.ok(existsSync(join(folder, '..', path)), path)
  const { providers } = parse(read('provisioning/dashboards/telehub.yaml')) as {
    providers: { options: { path: string } }[]
  }
  t.ok(mounted.some(([, path, to]) => path === 'grafana/dashboards' && to === providers[0]?.options.path))
  const needed = [
    ...read('provisioning/datasources/telehub.yaml')
      .replace(/^ *#.*/gm, '')
      .matchAll(/\$(\w+)/g),
  ]
  t.equal(needed.length, 4)
  for (const [, name] of needed) t.match(compose, new RegExp(`^ +${name}: `, 'm'), `${name} is set`)
})
