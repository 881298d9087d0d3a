import { join } from 'node:path'
import t from 'tap'
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
