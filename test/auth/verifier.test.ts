import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Authority } from '../../src/auth/authority.js'
import type { BansOptions } from '../../src/auth/bans.js'
import { KnownSources } from '../../src/auth/known-sources.js'
import type { Credentials, Verdict } from '../../src/auth/principal.js'
import { hashPassword } from '../../src/passwords/passwords.js'
import { Verifier } from '../../src/passwords/verifier.js'
import { sourceOf } from '../../src/runtime/addresses.js'
import { Attempts } from '../../src/runtime/attempts.js'
import { ClientIds } from '../../src/users/client-ids.js'
import { makeKey, type User } from '../../src/users/users.js'
import { authorityParts } from '../fixtures/authority.js'
import { usersFile } from '../fixtures/users.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const slow = await hashPassword('right')

t.test('addresses take turns: who floods waits behind nobody but itself', async t => {
  const verifier = new Verifier()
  t.teardown(() => verifier.stop())
  const answered: string[] = []
  const verify = (address: string, password = 'wrong') =>
    verifier.verify({
      source: address,
      isKnown: false,
      hash: slow,
      password,
      isGone: () => false,
      done: isRight => answered.push(`${address} ${isRight}`),
    })
  let taken = 0
  for (let n = 0; n < 100; n++) if (verify('10.0.0.1')) taken++
  t.ok(taken > 1 && taken < 50, `${taken} of one address wait`)
  t.equal(verify('10.0.0.2', 'right'), true)
  await eventually(() => answered.includes('10.0.0.2 true'), 'the other one')
  t.ok(answered.indexOf('10.0.0.2 true') <= 2, answered.join())
  await verifier.stop()
  t.equal(answered.length, taken + 1, 'each is answered once, also by the end')
  t.ok(answered.includes('10.0.0.1 undefined'))
  t.equal(verify('10.0.0.3'), false, 'nothing is taken any more')
})

t.test('so many wait in all, and no more', async t => {
  const verifier = new Verifier()
  const job = { isKnown: false, hash: slow, password: 'x', isGone: () => false, done: () => {} }
  let taken = 0
  for (let n = 0; n < 1_000; n++) {
    if (verifier.verify({ ...job, source: `10.0.${n >> 8}.${n & 255}` })) taken++
  }
  t.ok(taken > 100 && taken < 300, `${taken}`)
  await verifier.stop()
})

t.test('attempts: so many at once, then as they come back; a clock that jumps gives nothing away', async t => {
  const attempts = new Attempts(6)
  const take = (now: number, source = 'a') => attempts.take(source, now)
  t.same(
    Array.from({ length: 8 }, () => take(1_000_000)),
    [0, 0, 0, 0, 0, 0, 10_000, 10_000],
  )
  t.equal(take(1_000_000, 'b'), 0, 'of each source')
  t.equal(take(1_009_000), 1_000)
  t.equal(take(1_010_000), 0)
  t.ok(take(1_010_000) > 0)
  t.ok(take(0) > 0, 'set back')
  attempts.giveBack('a')
  t.equal(take(0), 0)
  t.equal(take(1e12), 0, 'jumped forward')
  t.same(
    Array.from({ length: 6 }, () => take(1e12) > 0),
    [false, false, false, false, false, true],
    'but never more',
  )
  for (let n = 0; n < 250_000; n++) attempts.take(`source ${n}`, 1e12)
  t.equal(take(1e12), 0, 'who tried longest ago is forgotten, and memory with it')
})

t.test('client ids: bound, reserved, and free', async t => {
  const user = (name: string, ...clients: string[]): [string, User] => [
    name,
    {
      name,
      kind: 'device',
      password: '',
      scram: '',
      keys: [],
      pairing: undefined,
      clients,
      certificates: [],
      wildcards: undefined,
      share: undefined,
      conflate: false,
      rules: [],
    },
  ]
  const all = [
    user('free'),
    user('bound', 'bound-*', '{user}'),
    user('inner', 'a*b*c'),
    user('all', '*-all'),
    user('__proto__'),
  ]
  const ids = new ClientIds({ users: new Map(all), everyone: [] })
  const may = (name: string, ...clientIds: string[]) => clientIds.map(one => ids.fault(name, one) === undefined)
  t.same(may('bound', 'bound-1', 'bound', 'bound-', 'bound1', 'x', ''), [true, true, true, false, false, false])
  t.same(may('free', 'bound-1', 'bound', 'inner', 'x', 'free', '__proto__'), [false, false, false, true, true, false])
  t.same(may('inner', 'abc', 'axbxc', 'ac', 'abcabc', 'ab'), [true, true, false, true, false])
  t.same(may('free', 'axbxc', 'x-all', 'all', 'a'), [false, false, false, true])
  t.same(may('nobody', 'bound-1', 'x'), [false, true])
  for (const [clientId, other] of [
    ['bound-1', 'bound (bound-*)'],
    ['inner', 'another user'],
    ['axc', undefined],
    ['abxc', 'inner (a*b*c)'],
  ] as const) {
    const { reason, detail } = ids.fault('free', clientId) ?? {}
    t.equal(reason, other && `user free may not use the client id ${clientId}; choose another, such as free`)
    t.ok(other === undefined || detail?.includes(other), `for the log: ${detail}`)
  }
})

async function authority(t: Test, attempts = 20, banned: Partial<BansOptions> = {}) {
  const users = await usersFile()
  await users.add('slow', [], { password: slow })
  await users.add('quick', [])
  const dir = await tempDir()
  const { options, listener, bans, known, said, changes } = authorityParts(dir, attempts, banned)
  const one = new Authority({ file: users.file, ...options })
  one.reportTo(listener)
  one.start()
  t.teardown(() => one.stop())
  const ask = (shown: Partial<Credentials>) =>
    new Promise<Verdict>(resolve =>
      one.authenticate(
        { address: '10.0.0.1', username: undefined, password: undefined, certificate: [], ...shown },
        resolve,
      ),
    )
  return { one, users, ask, said, bans, known, changes }
}

t.test('a password that was right is not verified again, and one that changed is', async t => {
  const { one, users, ask, changes } = await authority(t)
  const first = await ask({ username: 'slow', password: 'right' })
  t.match(first, { user: 'slow', kind: 'device' })
  let at = 'later'
  one.authenticate({ address: '10.0.0.1', username: 'slow', password: 'right', certificate: [] }, () => {
    at = 'at once'
  })
  t.equal(at, 'at once')
  t.match(await ask({ username: 'slow', password: 'Right' }), { refused: 'bad_credentials' })
  t.match(await ask({ username: 'slow', password: 'right' }), { user: 'slow' }, 'a wrong one forgets nothing')
  const other = await hashPassword('other')
  await users.edit(file => file.setPassword('slow', other))
  await eventually(changes, 'changed')
  t.equal('isValid' in first && first.isValid(), false)
  t.match(await ask({ username: 'slow', password: 'right' }), { refused: 'bad_credentials' })
  t.match(await ask({ username: 'slow', password: 'other' }), { user: 'slow' })
})

t.test('who knows its password is let in while another guesses it from elsewhere', async t => {
  const { ask } = await authority(t, 3)
  const guesses = Array.from({ length: 50 }, (_, n) => ask({ address: '10.9.9.9', username: 'slow', password: `${n}` }))
  t.match(await ask({ username: 'slow', password: 'right' }), { user: 'slow' })
  const answers = await Promise.all(guesses)
  t.equal(answers.filter(one => 'refused' in one && one.refused === 'busy').length, 47)
  t.match(
    await ask({ address: '10.9.9.9', username: 'slow', password: 'right' }),
    { refused: 'busy' },
    'who has guessed is not told when it is right',
  )
})

t.test('who came in from there before is heard before strangers, after a restart as well', async t => {
  const dir = await tempDir()
  const path = join(dir, 'known.json')
  const first = new KnownSources(path)
  first.start()
  first.add('10.0.0.1', 'slow')
  await first.stop()
  t.notMatch(readFileSync(path, 'utf8'), /slow|10\.0/)
  const second = new KnownSources(path)
  second.start()
  t.teardown(() => second.stop())
  t.same(
    [second.has('10.0.0.1', 'slow'), second.has('10.0.0.2', 'slow'), second.has('10.0.0.1', 'quick')],
    [true, false, false],
  )
  writeFileSync(path, '{')
  const damaged = new KnownSources(path)
  damaged.start()
  t.notOk(damaged.has('10.0.0.1', 'slow'))
  await damaged.stop()

  const verifier = new Verifier()
  const order: string[] = []
  const verify = (source: string, isKnown: boolean) =>
    verifier.verify({ source, isKnown, hash: slow, password: 'x', isGone: () => false, done: () => order.push(source) })
  for (let n = 0; n < 300; n++) verify(`10.1.${n >> 8}.${n & 255}`, false)
  t.equal(verify('10.0.0.1', true), true, 'a place is free for it')
  await eventually(() => order.includes('10.0.0.1'), 'heard')
  t.equal(order.indexOf('10.0.0.1'), 1, 'behind the one that was being verified')
  await verifier.stop()
})

t.test('a full lane: the longest queue gives way to a new source; who is gone is passed over', async t => {
  const verifier = new Verifier()
  const answers: string[] = []
  let gone = false
  const verify = (source: string) =>
    verifier.verify({
      source,
      isKnown: false,
      hash: slow,
      password: 'x',
      isGone: () => gone,
      done: isRight => answers.push(`${source} ${isRight}`),
    })
  for (let n = 0; n < 40; n++) for (let times = 0; times < 20; times++) verify(`10.0.0.${n}`)
  t.equal(verify('10.9.9.9'), true)
  t.ok(
    answers.some(text => text.endsWith('undefined')),
    'one of the others is told to come again',
  )
  gone = true
  await eventually(() => answers.includes('10.9.9.9 undefined'), 'all are passed over')
  await verifier.stop()
})

t.test('a thousand devices of one user with one password are verified once', async t => {
  const { ask } = await authority(t, 3)
  const answers = await Promise.all(
    Array.from({ length: 1_000 }, (_, n) =>
      ask({ address: `10.2.${n >> 8}.${n & 255}`, username: 'slow', password: 'right' }),
    ),
  )
  t.ok(answers.every(one => 'user' in one))
})

t.test('a name that is there is refused as one that is not: neither sooner nor with another answer', async t => {
  const { ask, users, changes } = await authority(t, 3)
  await users.add('made', [])
  await eventually(changes, 'changed')
  for (const username of ['slow', 'made', 'nobody', '', 'x'.repeat(60_000)]) {
    const answers: string[] = []
    for (let n = 0; n < 5; n++) {
      const verdict = await ask({ address: '10.3.0.1', username, password: `wrong ${n}` })
      answers.push('refused' in verdict ? verdict.refused : 'let in')
    }
    t.same(answers, ['bad_credentials', 'bad_credentials', 'bad_credentials', 'busy', 'busy'], username.slice(0, 9))
  }
  t.match(await ask({ address: '10.3.0.1', username: 'made', password: 'the secret of made' }), { user: 'made' })
})

t.test(
  'many names of one address: past fifty times what one name may fail nobody of it is heard but who is known',
  async t => {
    const { ask } = await authority(t, 1)
    t.match(await ask({ address: '10.4.0.1', username: 'slow', password: 'right' }), { user: 'slow' })
    const batch = (first: number) =>
      Promise.all(
        Array.from({ length: 25 }, (_, n) =>
          ask({ address: '10.4.0.1', username: `stranger ${first + n}`, password: 'x' }),
        ),
      )
    await batch(0)
    await batch(25)
    const last = await batch(50)
    const unheard = last.filter(one => 'why' in one && /too many failed/.test(one.why))
    t.equal(unheard.length, 25)
    t.match(await ask({ address: '10.4.0.1', username: 'slow', password: 'right' }), { user: 'slow' })
  },
)

t.test('a line of IPv6 counts as one', async t => {
  t.equal(sourceOf('2001:db8:1:2:3:4:5:6'), sourceOf('2001:db8:1:2::9'))
  t.equal(sourceOf('2001:db8::1'), sourceOf('2001:0db8:0:0:ffff::'))
  t.not(sourceOf('2001:db8:1:2::'), sourceOf('2001:db8:1:3::'))
  t.equal(sourceOf('fe80::1%eth0'), 'fe80:0:0:0')
  t.equal(sourceOf('::1'), '0:0:0:0')
  t.equal(sourceOf('10.0.0.1'), '10.0.0.1')
})

t.test('a key in the place of a name is not logged', async t => {
  const { ask } = await authority(t)
  const verdict = await ask({ username: 'thk_abcdefgh_0123456789', password: 'x' })
  t.notMatch('why' in verdict ? verdict.why : '', /0123/)
})

t.test('certificates: the name of the user, or one that its entry gives; nothing else', async t => {
  const { ask, users, changes } = await authority(t)
  await users.add('gate', [], { password: '', certificates: ['gate.example.org'] })
  await eventually(changes, 'changed')
  t.match(await ask({ certificate: ['gate.example.org'] }), { user: 'gate' })
  t.match(await ask({ certificate: ['x', 'gate'] }), { user: 'gate' })
  t.match(await ask({ certificate: ['gate'], username: 'gate' }), { user: 'gate' })
  t.match(await ask({ certificate: ['gate'], username: 'quick' }), { refused: 'bad_credentials' }, 'another name')
  t.match(await ask({ certificate: ['GATE', 'gate.example.org.evil', '__proto__'] }), { refused: 'bad_credentials' })
  t.match(await ask({ username: 'gate', password: '' }), { refused: 'bad_credentials' })
})

t.test('files of users that cannot be', async t => {
  const { users, said, one } = await authority(t)
  for (const text of ['', '\0', '{', 'users: {a: 1}', '- x', `a: &x [*x]`, 'users:\n  '.repeat(1_000)]) {
    const before = said.length
    writeFileSync(users.file, text)
    await eventually(
      () => said.slice(before).some(line => line.includes('were rejected')),
      JSON.stringify(text.slice(0, 20)),
    )
    t.ok(one.user('quick'), 'who was there before is')
  }
})

t.test('a ban is about guessing: what cannot be guessed, and who has come from there before, is let in', async t => {
  const { ask, bans, known, users, changes } = await authority(t, 1_000, { failures: 5, firstMs: 60_000 })
  const { text, key } = makeKey('', Date.now())
  await users.edit(file => file.addKey('quick', key))
  await eventually(changes, 'the key is known')
  const address = '10.5.0.1'
  known.add(address, 'slow')
  for (let n = 0; n < 5; n++) {
    t.match(await ask({ address, username: 'stranger', password: `${n}` }), { refused: 'bad_credentials' })
  }
  t.equal(bans.leftMs(address), 60_000)
  t.match(await ask({ address, username: 'stranger', password: 'x' }), {
    refused: 'busy',
    why: /banned/,
    retryAfterMs: 60_000,
  })
  t.match(await ask({ address: '10.5.0.2', username: 'stranger', password: 'x' }), { refused: 'bad_credentials' })
  t.match(await ask({ address, username: '', password: text }), { user: 'quick' }, 'an API key')
  t.match(await ask({ address, certificate: ['quick'] }), { user: 'quick' }, 'a certificate')
  t.match(
    await ask({ address, username: 'slow', password: 'right' }),
    { user: 'slow' },
    'who has come from there before',
  )
  for (const password of ['thk_abcdefgh_x', 'thk_nonsense']) {
    for (let n = 0; n < 3; n++) await ask({ address: '10.5.0.3', password })
  }
  t.ok(bans.leftMs('10.5.0.3') > 0, 'wrong API keys count')
  for (let n = 0; n < 20; n++) await ask({ address: '10.5.0.4', username: 'quick' })
  for (let n = 0; n < 20; n++) await ask({ address: '10.5.0.4', username: 'quick', password: 'tht_old.token' })
  t.equal(bans.leftMs('10.5.0.4'), 0, 'no password, and tokens that are over, are no guesses')
})
