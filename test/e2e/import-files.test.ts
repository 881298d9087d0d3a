import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import t, { type Test } from 'tap'
import { makeRecorder, type RecorderState } from '../fixtures/recorder.js'
import { connectMqtt, eventually, history, type RunningHub, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

/* Import of files that are read by an engine: Parquet, and the recorder database of Home Assistant. */

const at = Date.parse('2026-01-31T12:00:00Z') / 1_000

async function place(t: Test) {
  const hub = await startHub(t)
  const dir = await tempDir()
  const temporary = join(dir, 'tmp')
  mkdirSync(temporary)
  const run = async (args: readonly string[], code = 0, of: RunningHub = hub) => {
    const cli = runCli([...args, '--url', of.httpUrl, '--data.dir', of.dir], { TMPDIR: temporary }, dir)
    t.equal(await cli.exited, code, cli.stderr())
    return cli.stdout() + cli.stderr()
  }
  return { hub, dir, run, leftBehind: () => readdirSync(temporary) }
}

async function parquet(path: string, sql: string): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run(`COPY (${sql}) TO '${path}' (FORMAT parquet, ROW_GROUP_SIZE 10000)`)
  connection.closeSync()
  instance.closeSync()
}

t.test('a Parquet file of the export comes back the same', async t => {
  const { hub, dir, run } = await place(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  const rows = Array.from({ length: 500 }, (_, i) => ({
    ...{ time: at * 1_000 + i + (i % 7) / 1_000, n: i / 3, on: i % 2 === 0, text: `=${i},"ü\n'${i}\\ 😀` },
  }))
  await device.publishAsync('home/a', JSON.stringify(rows), { qos: 1 })
  await eventually(
    async () => (await hub.get<{ stored: number }>('/api/balance')).body.stored === 1,
    'the message is stored',
  )
  const whole = await run(['export', '--format', 'csv'])
  const file = join(dir, 'all.parquet')
  await run(['export', '--out', file])
  const other = await startHub(t)
  t.match(await run(['import', file, '--dry-run'], 0, other), /1,500 rows: 1,500 would be stored, 0 refused/)
  t.match(await run(['import', file], 0, other), /1,500 rows: 1,500 stored, 0 refused, 0 ignored/)
  t.equal(await run(['export', '--format', 'csv'], 0, other), whole)
  t.match(await run(['import', file], 0, other), /was imported already/)
})

t.test('a Parquet file of others by a rule: types, no value, nested columns, mistakes by row', async t => {
  const { hub, dir, run } = await place(t)
  const file = join(dir, 'weather.parquet')
  await parquet(
    file,
    `SELECT * FROM (VALUES
      ('north/1', TIMESTAMP '2025-06-01 00:00:00.000001', 21.5::FLOAT, 7::BIGINT, true, 1.25::DECIMAL(9, 2), {'a': 1, 'b': [2]}, 'x'::BLOB),
      ('south', TIMESTAMP '2025-06-01 01:00:00', 'nan'::FLOAT, NULL, false, NULL, NULL, NULL),
      (NULL, TIMESTAMP '2025-06-01 02:00:00', 20, 1, false, NULL, NULL, NULL),
      ('south', NULL, 20, 1, false, NULL, NULL, NULL))
      r(station, measured, temp, n, ok, cost, more, bytes)`,
  )
  const rule = '{topic: "weather/{station}", measurement: weather, time: measured}'
  const dry = await run(['import', file, '--map', rule, '--dry-run'], 1)
  t.match(dry, /line 3: bad_line: the row has no station/)
  t.match(dry, /line 4: no_time/)
  t.match(await run(['import', file, '--map', rule], 1), /4 rows: 2 stored, 2 refused/)
  const north = (field: string) => history(hub, `weather,station=north%2F1 ${field}`)
  t.same(await north('temp'), [21.5])
  t.same(await north('n'), [7])
  t.same(await north('ok'), [true])
  t.same(await north('cost'), [1.25])
  t.same(await north('more.a'), [1])
  t.same(await north('bytes'), [])
  t.match(await run(['import', file], 1), /the rows name no series: give a mapping rule with --map/)
  await writeFile(join(dir, 'no.parquet'), 'PAR1 no')
  t.match(await run(['import', join(dir, 'no.parquet')], 1), /no\.parquet: /)
})

const day: readonly RecorderState[] = [
  ['sensor.kueche_temperature', '21.5', 'temperature', at],
  ['binary_sensor.haustuer', 'off', 'door', at + 1.5],
  ['sensor.kueche_temperature', 'unavailable', 'temperature', at + 60],
  ['sensor.kueche_temperature', '21.75', 'temperature', at + 120.000001],
  ['climate.bad', 'heat', 'thermostat', at + 121],
  ['sensor.kueche_temperature', '22', 'lower', at + 180],
  ['binary_sensor.haustuer', 'on', 'door', at + 181],
  ['sensor.shelly_energy', '1234.567', 'energy', at + 200],
  ['sensor.shelly_energy', null, 'energy', at + 210],
  ['sensor.shelly_energy', '9', 'energy', null],
]

t.test('a recorder database of Home Assistant: the series of its state stream, attributes and statistics', async t => {
  const { hub, dir, run, leftBehind } = await place(t)
  const file = join(dir, 'home-assistant_v2.db')
  makeRecorder(
    join(dir, 'used.db'),
    {
      states: day,
      shortTerm: [['sensor.kueche_temperature', at - 300, 21, null, null]],
      statistics: [
        ['sensor.kueche_temperature', at - 7_200, 20.5, null, null],
        ['sensor.shelly_energy', at - 7_200, null, 1_200, 12.5],
        ['tibber:energy_consumption', at - 7_200, null, 3, 30],
      ],
    },
    file,
  )
  t.ok(existsSync(`${file}-wal`), 'the newest rows are in the log')
  const before = readFileSync(file)
  const dry = await run(['import', file, '--dry-run'], 1)
  t.match(dry, /line 10: bad_line: states: the row has no time/)
  // Nine states, of which one has no state and one says that there is no value, attributes when they change, four statistics.
  t.match(await run(['import', file], 1), /19 rows: 18 stored, 1 refused, 0 ignored/)
  t.same(readFileSync(file), before, 'the database is as it was')
  t.notOk(existsSync(`${file}.lock`))
  t.same(leftBehind(), [])
  const of = (topic: string, field = 'value') => history(hub, `homeassistant,topic=homeassistant/${topic} ${field}`)
  t.same(await of('sensor/kueche_temperature/state'), [21.5, 21.75, 22])
  t.same(await of('binary_sensor/haustuer/state'), [false, true])
  t.same(await of('climate/bad/state'), ['heat'])
  t.same(await of('climate/bad/current_temperature'), [20.4])
  t.same(await of('climate/bad/min_temp'), [])
  t.same(await of('sensor/kueche_temperature/battery'), [87, 86])
  t.same(await of('sensor/kueche_temperature/statistics_5minute', 'mean'), [21])
  t.same(await of('sensor/kueche_temperature/statistics_hour', 'max'), [21.5])
  t.same(await of('sensor/shelly_energy/statistics_hour', 'sum'), [12.5])
  t.same(await of('tibber/energy_consumption/statistics_hour', 'state'), [3])

  const device = await connectMqtt(t, hub.mqttUrl)
  await device.publishAsync('homeassistant/sensor/kueche_temperature/state', '23', { qos: 1 })
  await eventually(
    async () => (await of('sensor/kueche_temperature/state')).length === 4,
    'the state stream goes on in the same series',
  )
  const rule = '{topic: "ha/{domain}/{object_id}", measurement: ha, time: time}'
  t.match(await run(['import', file, '--map', rule], 1), /9 rows: 8 stored, 1 refused, 0 ignored/)
  t.same(await history(hub, 'ha,domain=sensor,object_id=kueche_temperature value'), [21.5, 21.75, 22])

  await writeFile(join(dir, 'other.db'), 'no database')
  t.match(await run(['import', join(dir, 'other.db')], 1), /other\.db: /)
  t.same(leftBehind(), [])
})

t.test('killed in the middle, the import of a recorder database and of Parquet goes on', async t => {
  const { hub, dir, run } = await place(t)
  const states = Array.from(
    { length: 60_000 },
    (_, i): RecorderState => [`sensor.s${i % 20}`, String(i / 10), 'energy', at + i],
  )
  const recorder = join(dir, 'home-assistant_v2.db')
  makeRecorder(recorder, { states, statistics: [['sensor.s1', at, 1, 2, 3]] })
  const file = join(dir, 'big.parquet')
  await parquet(
    file,
    `SELECT make_timestamptz(${at * 1e6}::BIGINT + range * 1000) AS time, 'm' AS measurement, '{"n":"' || (range % 50) || '"}' AS tags,
       'v' AS field, 'number' AS type, range::DOUBLE AS number, NULL::BOOLEAN AS boolean, NULL::VARCHAR AS text FROM range(300000)`,
  )
  let of = hub
  const progress = async () => (await of.get<{ imported: { rows: number } }>('/api/balance')).body.imported.rows
  for (const [name, rows] of [
    [recorder, 60_001],
    [file, 300_000],
  ] as const) {
    const began = await progress()
    const first = runCli(['import', name, '--url', of.httpUrl, '--data.dir', of.dir], {}, dir)
    await eventually(async () => (await progress()) > began, 'some rows')
    await first.kill()
    const second = runCli(['import', name, '--url', of.httpUrl, '--data.dir', of.dir], {}, dir)
    const before = await progress()
    await eventually(async () => (await progress()) > before, 'more rows')
    await of.kill()
    t.equal(await second.exited, 1)
    of = await startHub(t, {}, hub.dir)
    const told = await run(['import', name], 0, of)
    t.match(told, /goes on behind [\d,]+ rows/)
    t.match(told, `${rows.toLocaleString('en')} rows: ${rows.toLocaleString('en')} stored, 0 refused`)
    t.equal((await progress()) - began, rows)
  }
  const sql = async (query: string) => run(['sql', query, '--csv'], 0, of)
  t.match(
    await sql("SELECT count(*) AS n, sum(number) AS s FROM readings WHERE measurement = 'm'"),
    /300000,44999850000/,
  )
  t.match(await sql("SELECT count(*) AS n FROM readings WHERE measurement = 'homeassistant'"), /^n\r?\n60005/)
})
