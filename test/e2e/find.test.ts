import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { ProgressBook } from '../../src/pipeline/progress-book.js'
import { connectMqtt, eventually, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

type Found = Answer<'GET /api/find'>

t.test('a message is found by device, topic, packet, hash and sequence, with the time of each hop', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'thermo', clean: false })
  const began = Date.now()
  for (let i = 0; i < 30; i++) await device.publishAsync(`hall/${i % 3}`, `{"value": ${i}}`, { qos: i === 6 ? 2 : 1 })
  await device.publishAsync('hall/bad', '{"half', { qos: 1 })
  await device.publishAsync('hall/0', '{"value": 99}', { qos: 0 })
  const find = async (query: Record<string, string | number>) => {
    const asked = new URLSearchParams(
      Object.entries(query).map(([name, value]): [string, string] => [name, String(value)]),
    )
    return (await hub.get<Found>(`/api/find?${asked}`)).body
  }
  const all = await eventually(async () => {
    const found = await find({ device: 'thermo', limit: 100 })
    return found.messages.length === 32 && !found.messages.some(({ hops }) => hops.some(hop => hop.isWaiting)) && found
  }, 'all are settled')
  t.notOk(all.next)
  for (const [i, { sequence, packet, qos, hops, size }] of all.messages.entries()) {
    t.equal(sequence, i + 1)
    t.equal(packet !== undefined, qos === 2)
    t.ok(size > 0)
    const [received, onDisk, last] = hops
    t.match(
      [received, onDisk],
      [
        { hop: 'received', at: Number },
        { hop: 'on disk', after: Number, before: Number },
      ],
    )
    t.ok((received?.at ?? 0) >= began - 1 && (received?.at ?? 0) <= Date.now())
    t.ok((onDisk?.before ?? 0) >= (onDisk?.after ?? Number.POSITIVE_INFINITY))
    if (i === 30) t.match(last, { hop: 'dead', at: Number, reason: 'bad_json' })
    else t.match(last, { hop: 'stored', after: Number, before: Number })
  }
  const seventh = all.messages[6]
  t.same(
    (await find({ packet: seventh?.packet ?? 0 })).messages.map(({ sequence }) => sequence),
    [7],
  )
  const hash = createHash('sha256').update('{"value": 6}').digest('hex')
  t.same(
    (await find({ hash })).messages.map(({ sequence }) => sequence),
    [7],
  )
  t.same(
    (await find({ sequence: 9 })).messages.map(({ topic }) => topic),
    ['hall/2'],
  )
  t.same((await find({ topic: 'hall/+', device: 'nobody' })).messages, [])
  t.same((await find({ topic: 'hall/0', to: began - 1_000 })).messages, [])

  const pages: number[] = []
  for (let after: number | undefined = 0; after !== undefined; ) {
    const page: Found = await find({ topic: 'hall/1', limit: 4, after })
    pages.push(...page.messages.map(({ sequence }) => sequence))
    after = page.next
  }
  t.same(pages, [2, 5, 8, 11, 14, 17, 20, 23, 26, 29])

  const file = join(await tempDir(), 'payload')
  writeFileSync(file, '{"half')
  const run = runCli(['find', '--payload', file, '--data.dir', hub.dir, '--url', hub.httpUrl])
  t.equal(await run.exited, 0, run.stderr())
  t.match(run.stdout(), /message 31 on hall\/bad of thermo: QoS 1, 6 bytes/)
  t.match(run.stdout(), /dead {7}\d{4}-.*: bad_json/)
})

t.test('a reader finds messages on the topics that it may read', async t => {
  const dir = await tempDir()
  const users = join(dir, 'users.yaml')
  const run = async (...args: string[]) => {
    const command = runCli(['user', ...args, '--auth.file', users, '--data.dir', dir])
    t.equal(await command.exited, 0, command.stderr())
    return command.stdout()
  }
  const password = /(\S+)\s*$/.exec(await run('add', 'thermo', '--allow', 'publish #', '--generate'))?.[1] ?? ''
  await run('add', 'etl', '--kind', 'service', '--allow', 'read hall/#', '--generate')
  const key = /\bth\w_\S+/.exec(await run('key', 'add', 'etl'))?.[0] ?? ''
  const hub = await startHub(t, { 'auth.file': users }, dir)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd', username: 'thermo', password })
  for (const topic of ['hall/a', 'cellar/b']) await device.publishAsync(topic, '{"value": 1}', { qos: 1 })
  const headers = { authorization: `Bearer ${key}` }
  const answer = await fetch(`${hub.httpUrl}/api/find?device=d`, { headers })
  t.equal(answer.status, 200)
  const { messages } = (await answer.json()) as Found
  t.same(
    messages.map(({ topic }) => topic),
    ['hall/a'],
  )
})

t.test('times that nobody wrote down lie between two looks', async t => {
  const book = new ProgressBook()
  t.same(book.passed('settled', 5), { after: undefined, before: undefined })
  book.note({ at: 1_000, onDisk: 10, drained: 5, settled: 4 })
  book.note({ at: 1_500, onDisk: 20, drained: 20, settled: 20 })
  book.note({ at: 2_000, onDisk: 30, drained: 20, settled: 10 })
  t.same(book.passed('settled', 5), { after: 1_000, before: 2_000 })
  t.same(book.passed('settled', 11), { after: 2_000, before: undefined })
  t.same(book.passed('onDisk', 3), { after: undefined, before: 1_000 })
})
