import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import t, { type Test } from 'tap'
import { makeKey } from '../../src/users/users.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, history, type RunningHub, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

const hostile = '=1+1,"two"\nü 😀 \\'
const at = Date.parse('2026-01-31T12:00:00Z')

/** Resolves when so many messages are stored. */
const stored = (hub: RunningHub, messages: number) =>
  eventually(
    async () => (await hub.get<{ stored: number }>('/api/balance')).body.stored === messages,
    `${messages} messages are stored`,
  )

async function run(t: Test, args: readonly string[]) {
  const cli = runCli(args)
  t.equal(await cli.exited, 0, cli.stderr())
  return cli.stdout()
}

t.test('stored readings as CSV, JSON lines, line protocol and Parquet: times, types and texts as stored', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  const send = (topic: string, payload: object) => device.publishAsync(topic, JSON.stringify(payload), { qos: 1 })
  await send('home/kitchen', { time: at, temperature: 21.5, on: true, text: hostile })
  await send('home/kitchen', { time: at + 0.001, temperature: -0.1 })
  await send('home/bath', { time: at + 86_400_000, temperature: 1e21 })
  await stored(hub, 3)
  const place = ['--url', hub.httpUrl, '--data.dir', hub.dir]

  const csv = await run(t, ['export', 'measurement=home', '--from', '2026-01-01', ...place])
  const kitchen = 'home,"{""topic"":""home/kitchen""}"'
  t.same(
    csv.split('\r\n').sort(),
    [
      '',
      `2026-01-31T12:00:00.000000Z,${kitchen},on,boolean,true`,
      `2026-01-31T12:00:00.000000Z,${kitchen},temperature,number,21.5`,
      `2026-01-31T12:00:00.000000Z,${kitchen},text,text,"'=1+1,""two""\nü 😀 \\"`,
      `2026-01-31T12:00:00.000001Z,${kitchen},temperature,number,-0.1`,
      '2026-02-01T12:00:00.000000Z,home,"{""topic"":""home/bath""}",temperature,number,1e+21',
      'time,measurement,tags,field,type,value',
    ].sort(),
  )

  const select = '{field: [temp*], tags: {topic: home/kitchen}}'
  const lines = await run(t, ['export', select, '--format', 'jsonl', ...place])
  t.same(
    lines
      .trim()
      .split('\n')
      .map(line => JSON.parse(line)),
    [
      {
        time: '2026-01-31T12:00:00.000000Z',
        measurement: 'home',
        tags: { topic: 'home/kitchen' },
        field: 'temperature',
        value: 21.5,
      },
      {
        time: '2026-01-31T12:00:00.000001Z',
        measurement: 'home',
        tags: { topic: 'home/kitchen' },
        field: 'temperature',
        value: -0.1,
      },
    ],
  )
  t.equal(
    await run(t, ['export', 'tags.topic=home/bath', '--format', 'line', ...place]),
    'home,topic=home/bath temperature=1e+21 1769947200000000000\n',
  )

  const dir = await tempDir()
  const file = join(dir, 'all.parquet')
  t.match(await run(t, ['export', '--out', file, ...place]), /^5 rows, /)
  t.match(await run(t, ['export', '--partition', join(dir, 'parts'), ...place]), /^5 rows in 2 files/)
  t.same(readdirSync(join(dir, 'parts', 'measurement=home')), ['day=2026-01-31', 'day=2026-02-01'])
  const instance = await DuckDBInstance.create()
  const connection = await instance.connect()
  const rows = async (from: string) =>
    (await connection.runAndReadAll(`SELECT count(*)::INTEGER, sum(number), max(text) FROM ${from}`)).getRowsJson()
  const expected = [[5, 1e21, hostile]]
  t.same(await rows(`'${file}'`), expected)
  t.same(await rows(`read_parquet('${dir}/parts/*/*/*.parquet', hive_partitioning = true)`), expected)
  connection.closeSync()
  instance.closeSync()

  const wrong = runCli(['export', 'feild=temperature', ...place])
  t.equal(await wrong.exited, 1)
  t.match(wrong.stderr(), /there is no "feild".*allowed is such as field=temperature/)
  const nowhere = runCli(['export', '--out', join(dir, 'no', 'such.csv'), ...place])
  t.equal(await nowhere.exited, 1)
  t.match(nowhere.stderr(), /cannot be written/)
  t.same(readdirSync(join(hub.dir, 'exports')), [], 'no file is left')
})

t.test('who may read a part exports that part; the audit log has each export', async t => {
  const users = await usersFile()
  await users.add('anna', ['allow read home/#'], { kind: 'dashboard' })
  const { text: key, key: kept } = makeKey('', Date.now())
  await users.edit(file => file.addKey('anna', kept))
  await users.add('thermo', ['allow publish #'])
  const hub = await startHub(t, users.settings)
  const device = await connectMqtt(t, hub.mqttUrl, { username: 'thermo', password: passwordOf('thermo') })
  await device.publishAsync('home/a', '{"temperature":1}', { qos: 1 })
  await device.publishAsync('plant/b', '{"temperature":2}', { qos: 1 })
  await stored(hub, 2)
  const ask = async (headers: Readonly<Record<string, string>>) => {
    const answer = await fetch(`${hub.httpUrl}/api/export`, { headers })
    return { status: answer.status, text: await answer.text() }
  }
  const all = await ask(asAdmin(hub.dir))
  t.equal(all.text.trim().split('\n').length, 2)
  t.equal((await ask({})).status, 401)
  const part = await ask({ authorization: `Bearer ${key}` })
  t.match(part.text, /"home"/)
  t.notMatch(part.text, /plant/)
  const log = readFileSync(join(hub.dir, 'audit', readdirSync(join(hub.dir, 'audit'))[0] as string), 'utf8')
  t.match(log, /"event":"export".*"what":"export as jsonl","result":"ok","detail":"2 rows/)
})

t.test('a receiver that does not read holds the export back, and one that leaves ends it', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  const batch = Array.from({ length: 20_000 }, (_, i) => ({ time: at + i, value: i, text: 'x'.repeat(50) }))
  for (let i = 0; i < 10; i++) await device.publishAsync(`big/${i}`, JSON.stringify(batch), { qos: 1 })
  await stored(hub, 10)
  const begun = request(`${hub.httpUrl}/api/export`, { headers: asAdmin(hub.dir) })
  const seen = await new Promise<number>(resolve => {
    begun.on('response', response => {
      response.pause()
      resolve(response.statusCode ?? 0)
    })
    begun.end()
  })
  t.equal(seen, 200)
  await device.publishAsync('big/live', '{"value":1}', { qos: 1 })
  await eventually(async () => (await history(hub, 'big,topic=big/live value')).length === 1, 'ingest goes on')
  begun.destroy()
  const audit = () => readFileSync(join(hub.dir, 'audit', readdirSync(join(hub.dir, 'audit'))[0] as string), 'utf8')
  const line = await eventually(async () => /"result":"given up","detail":"(\d+) rows/.exec(audit()), 'the end')
  t.ok(Number(line[1]) < 400_000, `${line[1]} of 400,000 rows were read`)
  t.notOk(existsSync(join(hub.dir, 'exports', '1.parquet')))
})
