import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, history, type RunningHub, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

const at = Date.parse('2026-01-31T12:00:00Z')

/** Resolves when so many messages are stored. */
const stored = (hub: RunningHub, messages: number) =>
  eventually(
    async () => (await hub.get<{ stored: number }>('/api/balance')).body.stored === messages,
    `${messages} messages are stored`,
  )

interface Balance {
  readonly received: number
  readonly residual: number
  readonly imported: { readonly rows: number; readonly stored: number; readonly dead: number; readonly ignored: number }
}

/** The command in a folder of its own, where reports are written. */
async function place(t: Test, settings: Readonly<Record<string, string>> = {}) {
  const hub = await startHub(t, settings)
  const dir = await tempDir()
  const run = async (args: readonly string[], code = 0, of: RunningHub = hub) => {
    const cli = runCli([...args, '--url', of.httpUrl, '--data.dir', of.dir], {}, dir)
    t.equal(await cli.exited, code, cli.stderr())
    return cli.stdout()
  }
  const imported = async () => (await hub.get<Balance>('/api/balance')).body.imported
  return { hub, dir, run, imported }
}

t.test('what was exported comes back the same, in every format, and once', async t => {
  const { hub, dir, run } = await place(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  const rows = Array.from({ length: 500 }, (_, i) => ({
    ...{ time: at + i + (i % 7) / 1_000, n: i / 3, on: i % 2 === 0, text: `=${i},"ü\n'${i}\\ 😀` },
  }))
  await device.publishAsync('home/a', JSON.stringify(rows), { qos: 1 })
  await device.publishAsync('home/b,c d=e', '{"value":-0.5}', { qos: 1 })
  await stored(hub, 2)
  const whole = await run(['export', '--format', 'csv'])
  for (const format of ['csv', 'jsonl', 'line']) {
    const other = await startHub(t)
    const file = join(dir, `all.${format}`)
    await run(['export', '--out', file])
    t.match(await run(['import', file], 0, other), /1,501 rows: 1,501 stored, 0 refused, 0 ignored/, format)
    t.equal(await run(['export', '--format', 'csv'], 0, other), whole, format)
    t.match(await run(['import', file], 0, other), /was imported already/, format)
    t.match(await run(['import', file, '--again'], 0, other), /1,501 stored/, format)
    t.equal(await run(['export', '--format', 'csv'], 0, other), whole, `${format}, twice`)
    await other.stop()
  }
})

t.test('rows of other files by a mapping rule; a mistake in one stops no other, and is told by line', async t => {
  const { hub, dir, run, imported } = await place(t)
  const file = join(dir, 'weather.csv')
  await writeFile(
    file,
    `station;measured_at;temp;note
north/1;2025-06-01T00:00:00Z;21.5;"a;b"
north/1;2025-06-01T01:00:00Z;22;
south;2025-06-01T00:00:00Z;warm;
south;never;19;
south;2025-06-01T02:00:00Z
south;2025-06-01T03:00:00Z;18;last
`,
  )
  const rule =
    '{topic: "weather/{station}/hourly", measurement: weather, time: measured_at, fields: {temp: temperature, note: note}, types: {temp: number}}'
  const dry = await run(['import', file, '--map', rule, '--dry-run'], 1)
  t.match(dry, /line 4: .*\nline 5: /)
  t.match(dry, /6 rows: 3 would be stored, 3 refused/)
  t.match(dry, /line 6: bad_line: 2 cells/)
  t.same(await imported(), { rows: 0, stored: 0, dead: 0, ignored: 0 })
  t.match(await run(['import', file, '--map', rule], 1), /6 rows: 3 stored, 3 refused/)
  const report = readFileSync(join(dir, 'weather.csv.mistakes.jsonl'), 'utf8')
  t.same(
    report
      .trim()
      .split('\n')
      .map(line => (JSON.parse(line) as { line: number }).line)
      .sort(),
    [4, 5, 6],
  )
  t.same(await imported(), { rows: 6, stored: 3, dead: 3, ignored: 0 })
  t.same(await history(hub, 'weather,station=north%2F1 temperature'), [21.5, 22])
  t.same(await history(hub, 'weather,station=south note'), ['last'])
  t.match((await hub.get<Balance>('/api/balance')).body, { received: 0, residual: 0 })
  t.match((await hub.get<{ alerts: unknown[] }>('/api/alerts')).status, 200)

  const none = runCli(['import', file, '--url', hub.httpUrl, '--data.dir', hub.dir], {}, dir)
  t.equal(await none.exited, 1)
  t.match(none.stderr(), /the rows name no series: give a mapping rule with --map/)
  const wrong = runCli(['import', file, '--map', '{topic: a}', '--url', hub.httpUrl, '--data.dir', hub.dir], {}, dir)
  t.equal(await wrong.exited, 1)
  t.match(wrong.stderr(), /rule: measurement: missing/)
})

t.test('what influx_inspect has written, with escapes, several fields and lines without a time', async t => {
  const { hub, dir, run } = await place(t)
  const file = join(dir, 'old.lp')
  await writeFile(
    file,
    `# INFLUXDB EXPORT: 1677-09-21T00:12:43Z - 2262-04-11T23:47:16Z
# DDL
CREATE DATABASE telegraf WITH NAME autogen
# DML
# CONTEXT-DATABASE:telegraf
cpu,host=a\\ b,zone=x usage=0.5,idle=12i,ok=true,note="two
lines \\"quoted\\"" 1738324800000001000
cpu,host=c usage=1.5 1738324800000002999
cpu,host=c usage=2.5
cpu,host=c usage= 1
`,
  )
  t.match(await run(['import', file], 1), /7 rows: 5 stored, 2 refused/)
  t.same(await history(hub, 'cpu,host=a\\ b,zone=x note'), ['two\nlines "quoted"'])
  t.same(await history(hub, 'cpu,host=a\\ b,zone=x idle'), [12])
  t.same(await history(hub, 'cpu,host=c usage'), [1.5])
})

t.test('killed in the middle, hub or command: the same command again goes on, and each row counts once', async t => {
  const { hub, dir, run } = await place(t)
  const file = join(dir, 'big.lp')
  const rows = 300_000
  const lines = Array.from({ length: rows }, (_, i) => `m,n=${i % 50} v=${i} ${at + i}000000\n`)
  await writeFile(file, lines.join(''))
  const progress = async (of: RunningHub) => (await of.get<Balance>('/api/balance')).body.imported.rows
  const first = runCli(['import', file, '--url', hub.httpUrl, '--data.dir', hub.dir], {}, dir)
  await eventually(async () => (await progress(hub)) > 20_000, 'some rows')
  await first.kill()
  const second = runCli(['import', file, '--url', hub.httpUrl, '--data.dir', hub.dir], {}, dir)
  const before = await progress(hub)
  await eventually(async () => (await progress(hub)) > before + 20_000, 'more rows')
  await hub.kill()
  t.equal(await second.exited, 1)
  t.match(second.stderr(), /run the same command again/)
  const again = await startHub(t, {}, hub.dir)
  const told = await run(['import', file], 0, again)
  t.match(told, /goes on behind [\d,]+ rows/)
  t.match(told, /300,000 rows: 300,000 stored, 0 refused/)
  t.same((await again.get<Balance>('/api/balance')).body.imported, { rows, stored: rows, dead: 0, ignored: 0 })
  const out = join(dir, 'out.jsonl')
  t.match(await run(['export', '--out', out], 0, again), /^300,000 rows/)
  const values = readFileSync(out, 'utf8')
    .trim()
    .split('\n')
    .map(line => (JSON.parse(line) as { value: number }).value)
  t.equal(new Set(values).size, rows)
  t.notOk(existsSync(join(dir, 'big.lp.mistakes.jsonl')))
})

t.test('limits of series apply', async t => {
  const { dir, run } = await place(t, { 'limits.series': '10' })
  const file = join(dir, 'many.lp')
  await writeFile(file, Array.from({ length: 30 }, (_, i) => `m,n=${i} v=1 ${at + i}000000\n`).join(''))
  t.match(await run(['import', file], 1), /30 rows: 10 stored, 20 refused/)
  t.match(readFileSync(join(dir, 'many.lp.mistakes.jsonl'), 'utf8'), /"reason":"too_many_series"/)
})
