import { createHmac } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Logins, tokenMs } from '../../src/auth/logins.js'
import { tempDir } from '../services/service.js'

const hour = 3_600_000
const loginMs = 30 * 24 * hour

const july = Date.UTC(2026, 6, 1)

/** Logins with clocks of their own: `now` is time that passes, `set` is by how much the wall clock was set. */
async function open(t: Test, dir?: string, at = july) {
  const folder = dir ?? (await tempDir())
  const clock = { now: at, set: 0 }
  const ended: string[] = []
  const path = join(folder, 'logins.json')
  const logins = new Logins({
    path,
    loginMs,
    clock: { now: () => clock.now + clock.set },
    monotonic: { now: () => clock.now - at + 1_000 },
  })
  logins.reportTo({ onLoginEnded: login => void ended.push(login) })
  logins.start()
  t.teardown(() => logins.stop())
  return { logins, clock, ended, path, dir: folder }
}

t.test('a login is found by its cookie, and by nothing else', async t => {
  const { logins } = await open(t)
  const { cookie, expires } = logins.begin('ann', 'stamp')
  t.equal(expires, july + loginMs)
  const found = logins.find(cookie)
  t.match(found, { user: 'ann', stamp: 'stamp', expires })
  t.not(logins.begin('ann', 'stamp').cookie, cookie)
  const rubbish = ['', 'x', '__proto__', 'constructor', `${cookie}x`, cookie.slice(1), `${cookie}\n`, '\0', '💥']
  for (const text of [...rubbish, 'x'.repeat(100_000), found?.login ?? '']) {
    t.equal(logins.find(text), undefined, JSON.stringify(text.slice(0, 40)))
  }
})

t.test('use makes it last, disuse ends it', async t => {
  const { logins, clock, ended } = await open(t)
  const { cookie } = logins.begin('ann', '')
  const login = logins.find(cookie)?.login ?? ''
  for (let i = 0; i < 5; i++) {
    clock.now += loginMs - 1
    t.equal(logins.find(cookie)?.expires, clock.now + loginMs)
  }
  clock.now += loginMs
  t.equal(logins.find(cookie), undefined)
  t.same(ended, [])
  logins.sweep()
  t.same(ended, [login])
  clock.set -= loginMs
  t.equal(logins.find(cookie), undefined, 'a clock that goes back brings none back')
})

t.test('a restart keeps logins, and not their tokens; what the file says opens nothing', async t => {
  const first = await open(t)
  const { cookie } = first.logins.begin('ann', 'stamp')
  const { login } = first.logins.find(cookie) ?? { login: '' }
  const gone = first.logins.begin('bob', 'stamp')
  first.logins.end(first.logins.find(gone.cookie)?.login ?? '')
  const { token } = first.logins.token(login)
  await first.logins.stop()
  t.equal(statSync(first.path).mode & 0o777, 0o600)
  const text = readFileSync(first.path, 'utf8')
  t.notMatch(text, cookie)
  t.notMatch(text, token)

  const { logins } = await open(t, first.dir)
  t.match(logins.find(cookie), { login, user: 'ann', stamp: 'stamp' })
  t.equal(logins.find(gone.cookie), undefined, 'ended is ended')
  t.equal(logins.verify(token), undefined, 'signed by another process')
  t.equal(logins.isAlive(login), false, 'no connection has survived')
  for (const { hash, login: name } of (JSON.parse(text) as { logins: { hash: string; login: string }[] }).logins) {
    t.equal(logins.find(hash), undefined)
    t.equal(logins.find(name), undefined)
  }
})

t.test('a file that others may read is mended with the next write', async t => {
  const dir = await tempDir()
  for (const name of ['logins.json', 'logins.json.new']) writeFileSync(join(dir, name), '{}', { mode: 0o644 })
  const { logins, path } = await open(t, dir)
  logins.begin('ann', '')
  await logins.stop()
  t.equal(statSync(path).mode & 0o777, 0o600)
})

t.test('a damaged file counts as none', async t => {
  for (const text of [
    '',
    '{',
    'null',
    '[]',
    '{"logins":7}',
    '{"logins":[null]}',
    '{"logins":[{"login":1,"used":"x"}]}',
  ]) {
    const dir = await tempDir()
    writeFileSync(join(dir, 'logins.json'), text)
    const { logins } = await open(t, dir)
    const { cookie } = logins.begin('ann', '')
    t.match(logins.find(cookie), { user: 'ann' }, text)
  }
})

t.test('no more than 100 logins of a user, and 10,000 in all: the one unused longest goes', async t => {
  const { logins, clock, ended, path } = await open(t)
  const kept = logins.begin('quiet', '').cookie
  const cookies: string[] = []
  for (let i = 0; i < 101; i++) {
    clock.now++
    cookies.push(logins.begin('ann', '').cookie)
    if (i === 50) logins.find(cookies[0] as string)
  }
  t.ok(logins.find(cookies[0] as string), 'used in between')
  t.equal(logins.find(cookies[1] as string), undefined)
  t.ok(logins.find(kept), 'that of another user stays')
  t.equal(ended.length, 1)

  clock.now++
  logins.find(kept)
  for (let i = 0; i < 10_000; i++) {
    clock.now++
    if (i % 100 === 0) logins.find(kept)
    logins.begin(`user${i}`, '')
  }
  t.ok(logins.find(kept), 'used again and again')
  t.equal(logins.find(cookies[100] as string), undefined)
  await logins.stop()
  t.equal(JSON.parse(readFileSync(path, 'utf8')).logins.length, 10_000)
})

t.test('a token is that of its login, for five minutes', async t => {
  const { logins, clock } = await open(t)
  const { login } = logins.find(logins.begin('ann', 'stamp').cookie) ?? { login: '' }
  const { token, expires } = logins.token(login)
  t.match(token, /^tht_/)
  t.equal(expires, clock.now + tokenMs)
  t.same(logins.verify(token), { login, user: 'ann', stamp: 'stamp' })
  clock.now = expires - 1
  t.ok(logins.verify(token))
  clock.now = expires
  t.equal(logins.verify(token), undefined, 'expired')
  const next = logins.token(login).token
  t.ok(logins.verify(next))
  t.equal(logins.verify(token), undefined, 'a new one does not revive the old')
  logins.end(login)
  t.equal(logins.verify(next), undefined, 'of a login that has ended')
  t.throws(() => logins.token(login))
  t.throws(() => logins.token('__proto__'))
})

t.test('a forged token is none', async t => {
  const { logins, clock } = await open(t)
  const other = await open(t)
  const { login } = logins.find(logins.begin('ann', '').cookie) ?? { login: '' }
  const { token } = logins.token(login)
  const [body = '', signature = ''] = token.slice(4).split('.')
  const bodyOf = (...parts: unknown[]) => Buffer.from(JSON.stringify(parts)).toString('base64url')
  const later = clock.now + 10 * tokenMs
  const signed = (text: string, key: string | Buffer) => createHmac('sha256', key).update(text).digest('base64url')
  const theirs = other.logins.find(other.logins.begin('ann', '').cookie)?.login ?? ''
  const attempts: [string, string][] = [
    ['empty', ''],
    ['the prefix alone', 'tht_'],
    ['no signature', `tht_${body}`],
    ['an empty signature', `tht_${body}.`],
    ['a short signature', token.slice(0, -1)],
    ['a long signature', `${token}A`],
    ['a line end behind it', `${token}\n`],
    ['another last character', token.slice(0, -2) + (token.at(-2) === 'A' ? 'B' : 'A') + token.at(-1)],
    ['another user', `tht_${bodyOf(login, 'root', later)}.${signature}`],
    ['a longer life', `tht_${bodyOf(login, 'ann', later)}.${signature}`],
    ['signed with nothing', `tht_${bodyOf(login, 'ann', later)}.${signed(bodyOf(login, 'ann', later), '')}`],
    [
      'signed with zeros',
      `tht_${bodyOf(login, 'ann', later)}.${signed(bodyOf(login, 'ann', later), Buffer.alloc(32))}`,
    ],
    ['of another hub', other.logins.token(theirs).token],
    ['no JSON', `tht_${Buffer.from('{').toString('base64url')}.${signature}`],
    ['signature and body exchanged', `tht_${signature}.${body}`],
    ['another prefix', `thk_${token.slice(4)}`],
    ['very long', `tht_${'A'.repeat(1_000_000)}.${signature}`],
    ['a second part behind', `${token}.${signature}`],
  ]
  for (const [name, forged] of attempts) t.equal(logins.verify(forged), undefined, name)
  t.ok(logins.verify(token), 'the real one is still good')
})

t.test('connections end when the page has not renewed its token in time; the cookie goes on', async t => {
  const { logins, clock, ended } = await open(t)
  const { cookie } = logins.begin('ann', '')
  const login = logins.find(cookie)?.login ?? ''
  t.equal(logins.isAlive(login), false, 'no token, no connection')
  logins.token(login)
  clock.now += tokenMs - 1
  logins.token(login)
  clock.now += tokenMs + 59_999
  t.ok(logins.isAlive(login), 'a minute late')
  logins.sweep()
  t.same(ended, [])
  clock.now++
  t.equal(logins.isAlive(login), false)
  logins.sweep()
  logins.sweep()
  t.same(ended, [login], 'told once')
  t.match(logins.find(cookie), { login }, 'a tab that slept may go on')
  const { token } = logins.token(login)
  t.ok(logins.isAlive(login))
  t.ok(logins.verify(token))
  logins.end(login)
  t.equal(logins.isAlive(login), false)
  t.same(ended, [login, login])
  logins.end(login)
  t.equal(ended.length, 2, 'an end is one end')
})

t.test('a login ends at its greatest age, however often it is used; the list says when', async t => {
  const path = join(await tempDir(), 'logins.json')
  let time = july
  const ended: string[] = []
  const options = {
    path,
    loginMs: 10_000,
    maxMs: 35_000,
    clock: { now: () => time },
    monotonic: { now: () => time },
  }
  const logins = new Logins(options)
  logins.reportTo({ onLoginEnded: login => void ended.push(login) })
  logins.start()
  const { cookie, expires } = logins.begin('ann', 'stamp', { address: '192.0.2.7', agent: 'Browser/1' })
  t.equal(expires, july + 10_000)
  for (let n = 0; n < 4; n++) {
    time += 8_000
    t.equal(logins.find(cookie)?.expires, Math.min(time + 10_000, july + 35_000))
  }
  const other = logins.begin('bob', 'stamp', { address: '192.0.2.8', agent: 'x'.repeat(1_000) })
  const [listed] = logins.list('ann')
  t.match(listed, { user: 'ann', began: july, used: july + 32_000, expires: july + 35_000, address: '192.0.2.7' })
  t.equal(logins.leftMs(listed?.login ?? ''), 3_000)
  t.same(
    logins
      .list()
      .map(({ user, agent }) => `${user} ${agent.length}`)
      .sort(),
    ['ann 9', 'bob 200'],
  )
  t.notMatch(JSON.stringify(logins.list()), cookie)
  time += 3_000
  t.equal(logins.find(cookie), undefined)
  logins.sweep()
  t.same(ended, [listed?.login])
  await logins.stop()
  const next = new Logins(options)
  next.start()
  t.match(next.list(), [{ user: 'bob', began: july + 32_000, address: '192.0.2.8' }], 'after a restart')
  t.ok(next.find(other.cookie))
  await next.stop()
})

t.test('a login outlives the setting of a clock that began in 1970, and a restart after it', async t => {
  const first = await open(t, undefined, 60_000)
  const { logins, clock, ended } = first
  const { cookie } = logins.begin('ann', 'stamp')
  const login = logins.find(cookie)?.login ?? ''
  const { token } = logins.token(login)
  logins.sweep()
  clock.now += hour / 60
  clock.set = july - clock.now
  t.ok(logins.isAlive(login), 'connections stay')
  t.match(logins.verify(token), { login }, 'the token is good')
  logins.sweep()
  t.same(ended, [])
  t.equal(logins.leftMs(login), loginMs - hour / 60)
  const times = { began: july - hour / 60, used: july - hour / 60, expires: july - hour / 60 + loginMs }
  t.match(logins.list(), [{ user: 'ann', ...times }], 'times as they were by the clock that is right')
  // Nothing has happened since but the setting of the clock.
  await logins.stop()

  const next = await open(t, first.dir, july + hour)
  t.match(next.logins.list(), [{ login, ...times }])
  next.clock.now = times.expires
  t.equal(next.logins.find(cookie), undefined, 'the time between counts')
})

t.test('time that passes ends a login and a token, whatever the clock is set to', async t => {
  for (const set of [-loginMs, 0, loginMs]) {
    const { logins, clock, ended } = await open(t)
    const { cookie } = logins.begin('ann', '')
    const login = logins.find(cookie)?.login ?? ''
    const { token } = logins.token(login)
    clock.set = set
    clock.now += tokenMs
    t.equal(logins.verify(token), undefined)
    t.ok(logins.isAlive(login))
    clock.now += 60_000
    t.notOk(logins.isAlive(login))
    clock.now += loginMs - tokenMs - 60_001
    t.equal(logins.leftMs(login), 1)
    clock.now++
    t.equal(logins.leftMs(login), 0)
    logins.sweep()
    t.same(ended, [login])
  }
})

t.test('a login of a file from 1970 counts from the start, as nobody knows its age', async t => {
  const first = await open(t, undefined, 60_000)
  const { cookie } = first.logins.begin('ann', 'stamp')
  await first.logins.stop()
  const { logins, clock } = await open(t, first.dir)
  t.equal(logins.list()[0]?.expires, july + loginMs)
  clock.now += loginMs
  t.equal(logins.find(cookie), undefined)
})
