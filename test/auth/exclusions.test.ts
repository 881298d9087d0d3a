import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Bans } from '../../src/auth/bans.js'
import { Exclusions } from '../../src/auth/exclusions.js'
import { tempDir } from '../services/service.js'

t.test('a ban holds until its time, over a restart, and can be lifted', async t => {
  const path = join(await tempDir(), 'bans.imposed.json')
  let now = 1_000
  const clock = { now: () => now }
  const bans = new Exclusions(path, clock)
  bans.start()
  bans.impose('client', 'lamp', 500, 'root')
  bans.impose('user', 'anna', 5_000, 'root')
  bans.impose('address', '2001:db8:1:2:3::4', 5_000, 'root')
  t.match(bans.fault('', 'lamp'), /client id/)
  t.match(bans.fault('anna', 'x'), /user/)
  t.equal(bans.fault('', 'anna'), undefined)
  t.ok(bans.hasAddress('2001:db8:1:2:ffff::1'), 'the network of an IPv6 address')
  t.notOk(bans.hasAddress('2001:db8:1:3::1'))
  await bans.stop()
  now = 2_000
  const again = new Exclusions(path, clock)
  again.start()
  t.equal(again.fault('', 'lamp'), undefined, 'over')
  t.match(again.list(), [{ kind: 'user', name: 'anna', by: 'root' }, { kind: 'address' }])
  t.ok(again.lift('user', 'anna'))
  t.notOk(again.lift('user', 'anna'))
  t.equal(again.fault('anna', 'x'), undefined)
  for (let i = 0; again.list().length < 1_000; i++) again.impose('client', `c${i}`, 1_000, '')
  t.throws(() => again.impose('client', 'one more', 1_000, ''), { code: 'too_many' })
  await again.stop()
})

t.test('files of bans that are damaged are reported and set aside, and hold no bans', async t => {
  const dir = await tempDir()
  const reports: string[] = []
  const incidents = { report: (code: string, text: string) => void reports.push(`${code} ${text}`) }
  const paths = ['bans.json', 'bans.imposed.json'].map(name => join(dir, name))
  for (const path of paths) writeFileSync(path, '{"bans":[{"kind":"us')
  const bans = new Bans({
    ...{ path: paths[0] as string, failures: 3, firstMs: 60_000, exempt: [], clock: Date, incidents },
    audit: { repeated: () => {} },
    log: { info: () => {} },
  })
  bans.start()
  t.same([bans.list(), bans.imposed], [[], []])
  t.equal(reports.length, 2)
  t.ok(
    reports.every(text => /^bans_damaged .*cannot be read .*the damaged file is /.test(text)),
    reports.join('\n'),
  )
  for (const path of paths) t.ok(existsSync(`${path}.bad`), `${path} is kept`)
  await bans.stop()
})
