import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Bans } from '../../src/auth/bans.js'
import { quietLog } from '../fixtures/quiet.js'
import { tempDir } from '../services/service.js'

const minute = 60_000
const day = 864e5

async function begin(path?: string) {
  let time = Date.parse('2026-01-31T12:00:00Z')
  const changes: string[] = []
  const one = new Bans({
    path: path ?? join(await tempDir(), 'bans.json'),
    failures: 10,
    firstMs: 10 * minute,
    exempt: ['192.0.2.1', '2001:db8:f::/48'],
    clock: { now: () => time },
    audit: { repeated: ({ result, address }) => void changes.push(`${result} ${address}`) },
    log: quietLog,
  })
  one.start()
  const fail = (address: string, times = 10) => {
    for (let n = 0; n < times; n++) one.failed(address)
  }
  const pass = (ms: number) => {
    time += ms
  }
  return { one, changes, fail, pass }
}

t.test('each ban of a source is twice as long as the one before, up to a day', async t => {
  const { one, changes, fail, pass } = await begin()
  t.teardown(() => one.stop())
  fail('198.51.100.7', 9)
  t.equal(one.leftMs('198.51.100.7'), 0)
  for (const minutes of [10, 20, 40, 80, 160, 320, 640, 1_280, 1_440, 1_440]) {
    fail('198.51.100.7', 10)
    t.equal(one.leftMs('198.51.100.7'), minutes * minute)
    fail('198.51.100.7', 100)
    t.equal(one.leftMs('198.51.100.7'), minutes * minute, 'what fails during a ban does not make it longer')
    pass(minutes * minute)
    t.equal(one.leftMs('198.51.100.7'), 0, 'it ends')
  }
  t.equal(changes.length, 10)
  pass(8 * day)
  fail('198.51.100.7')
  t.equal(one.leftMs('198.51.100.7'), 10 * minute, 'after a quiet week it begins anew')
})

t.test('failures that are rare are none; other sources are not meant', async t => {
  const { one, fail, pass } = await begin()
  t.teardown(() => one.stop())
  for (let n = 0; n < 100; n++) {
    fail('198.51.100.7', 1)
    pass(70_000)
  }
  t.same(one.list(), [])
  fail('198.51.100.7')
  t.equal(one.leftMs('198.51.100.8'), 0)
})

t.test('IPv6 by its first 64 bits; this machine and proxies never', async t => {
  const { one, fail } = await begin()
  t.teardown(() => one.stop())
  for (let n = 0; n < 10; n++) fail(`2001:db8:1:2::${n}`, 1)
  t.ok(one.leftMs('2001:db8:1:2:ffff::1') > 0)
  t.equal(one.leftMs('2001:db8:1:3::1'), 0)
  for (const address of ['127.0.0.1', '127.9.9.9', '::1', '192.0.2.1', '2001:db8:f:1::1']) {
    fail(address, 1_000)
    t.equal(one.leftMs(address), 0, address)
  }
})

t.test('lists and lifts, and both outlast a restart', async t => {
  const path = join(await tempDir(), 'bans.json')
  const { one, changes, fail } = await begin(path)
  fail('198.51.100.7')
  fail('2001:db8::5')
  t.match(one.list(), [
    { source: '2001:db8:0:0', times: 1 },
    { source: '198.51.100.7', times: 1 },
  ])
  await one.stop()
  const { one: next, changes: later } = await begin(path)
  t.equal(next.list().length, 2)
  t.equal(next.lift('2001:db8::7'), true, 'by an address')
  t.equal(next.lift('198.51.100.8'), false)
  t.equal(next.leftMs('2001:db8::5'), 0)
  await next.stop()
  const { one: last } = await begin(path)
  t.match(last.list(), [{ source: '198.51.100.7' }])
  await last.stop()
  t.same([...changes, ...later], ['banned 198.51.100.7', 'banned 2001:db8:0:0', 'lifted 2001:db8:0:0'])
})

t.test('any number of sources: what is remembered is bounded; a damaged file holds no bans', async t => {
  const path = join(await tempDir(), 'bans.json')
  writeFileSync(path, '{"bans":[{"source":"x y","since":1,"until":9e15,"times":1},null]}')
  const { one, fail } = await begin(path)
  t.same(one.list(), [])
  for (let n = 0; n < 12_000; n++) fail(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`)
  t.equal(one.list().length, 10_000)
  await one.stop()
})
