import { createHash, createHmac, pbkdf2Sync, randomBytes, randomInt } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Authority } from '../../src/auth/authority.js'
import { keptKey } from '../../src/auth/kept-key.js'
import type { ScramStep } from '../../src/auth/principal.js'
import { hashSecret } from '../../src/passwords/passwords.js'
import {
  Challenge,
  type ClientFirst,
  isScram,
  iterations,
  makeScram,
  parseScram,
  preparePassword,
  readClientFirst,
  type ScramSecret,
} from '../../src/passwords/scram.js'
import { makePairing } from '../../src/users/users.js'
import { authorityParts } from '../fixtures/authority.js'
import { ScramClient } from '../fixtures/scram.js'
import { usersFile } from '../fixtures/users.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

function secretOf(password: string, salt: string, count: number): ScramSecret {
  const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), count, 32, 'sha256')
  const mac = (text: string) => createHmac('sha256', salted).update(text).digest()
  const stored = createHash('sha256').update(mac('Client Key')).digest('base64')
  const secret = parseScram(`SCRAM-SHA-256$${count}:${salt}$${stored}:${mac('Server Key').toString('base64')}`)
  if (!secret) throw new Error('it is none')
  return secret
}

function begun(text: string | Buffer): ClientFirst {
  const first = readClientFirst(Buffer.from(text))
  if (typeof first === 'string') throw new Error(first)
  return first
}

const made = makeScram('correct horse')
const secret = parseScram(made) as ScramSecret

t.test('the example of RFC 7677, byte for byte', async t => {
  const nonce = 'rOprNGfwEbeRWgbNEkqO'
  const client = new ScramClient('user', 'pencil', { nonce })
  t.equal(client.first.toString(), 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO')
  const hub = new Challenge(
    begun(client.first),
    secretOf('pencil', 'W22ZaJ0SNY7soEsUEjb6gQ==', 4096),
    '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  )
  t.equal(hub.text, 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096')
  const final =
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ='
  t.equal(client.final(Buffer.from(hub.text)).toString(), final)
  t.equal(hub.answer(Buffer.from(final)).toString(), 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')
})

t.test('what is kept: one line, another one each time, and nothing else is one', async t => {
  t.match(made, /^SCRAM-SHA-256\$100000:[\w+/]{22}==\$[\w+/]{43}=:[\w+/]{43}=$/)
  t.not(makeScram('correct horse'), made)
  t.same(secret, secretOf('correct horse', secret.salt.toString('base64'), iterations))
  t.ok(isScram(made))
  for (const bad of [
    '',
    'correct horse',
    made.replace('256', '1'),
    made.replace('SCRAM', 'scram'),
    made.replace('100000', '-1'),
    made.replace('100000', '1e5'),
    made.replace('100000', '99999999'),
    made.replace(':', ''),
    made.slice(0, -1),
    `${made}=`,
    `${made}\n`,
    ` ${made}`,
    made.replace(/\$[^$]*$/, '$'),
    made.replace('==$', '$'),
    `${made}${'A'.repeat(100_000)}`,
  ]) {
    t.equal(parseScram(bad), undefined, JSON.stringify(bad.slice(0, 60)))
    t.notOk(isScram(bad), JSON.stringify(bad.slice(0, 60)))
  }
  const fewer = made.replace('100000', '4096')
  t.equal(parseScram(fewer)?.iterations, 4096)
  t.notOk(isScram(fewer), 'all users have the same')
})

t.test('passwords are prepared by RFC 4013', async t => {
  for (const [given, prepared] of [
    ['I\u00adX', 'IX'],
    ['user', 'user'],
    ['USER', 'USER'],
    ['\u00aa', 'a'],
    ['\u2168', 'IX'],
    ['a\u00a0b', 'a b'],
    ['Zu\u0308rich', 'Z\u00fcrich'],
    ['\u0007', undefined],
    ['pass\u007fword', undefined],
    ['\u0627\u0031', undefined],
    ['\u{1f600}'.repeat(8), undefined],
    ['\ud800'.repeat(8), undefined],
    ['\u00ad', undefined],
    ['', undefined],
  ] as const) {
    t.equal(await preparePassword(given), prepared, JSON.stringify(given))
  }
})

t.test('client-first: what is one, and what is refused in words', async t => {
  t.same(begun('n,,n=a,r=x'), { name: 'a', header: 'n,,', bare: 'n=a,r=x', nonce: 'x' })
  t.match(begun('y,,n=a,r=x'), { header: 'y,,' }, 'it could bind channels, and knows that we cannot')
  t.match(begun('n,a=a=2Cb,n=a=2Cb,r=x'), { name: 'a,b', header: 'n,a=a=2Cb,' })
  t.equal(begun('n,,n=a=3D=2C=3Db,r=x').name, 'a=,=b')
  t.equal(begun('n,,n=z\u00fcrich,r=x').name, 'z\u00fcrich')
  t.match(begun('n,,n=a,r=x,e=unknown=1,f=y'), { bare: 'n=a,r=x,e=unknown=1,f=y', nonce: 'x' })
  for (const [text, why] of [
    ['', /not a valid SCRAM message/],
    ['n', /not a valid SCRAM message/],
    ['n,,', /not a valid SCRAM message/],
    ['n=a,r=x', /not a valid SCRAM message/],
    ['n,n=a,r=x', /not a valid SCRAM message/],
    ['x,,n=a,r=x', /not a valid SCRAM message/],
    ['N,,n=a,r=x', /not a valid SCRAM message/],
    ['p=tls-exporter,,n=a,r=x', /channel binding/],
    ['p=tls-unique,,n=a,r=x', /channel binding/],
    ['n,a=b,n=a,r=x', /another user/],
    ['n,a=,n=a,r=x', /another user/],
    ['n,b=a,n=a,r=x', /not a valid SCRAM message/],
    ['n,,r=x,n=a', /not a valid SCRAM message/],
    ['n,,n=a', /not a valid SCRAM message/],
    ['n,,n=a,r=', /not a valid SCRAM message/],
    ['n,,n=a,r=x y', /not a valid SCRAM message/],
    ['n,,n=a,r=\u00fc', /not a valid SCRAM message/],
    ['n,,n=,r=x', /name/],
    ['n,,n=a=b,r=x', /name/],
    ['n,,n=a=2c,r=x', /name/],
    ['n,,n=a=,r=x', /name/],
    ['n,,n=a\0,r=x', /not a valid SCRAM message/],
    ['n,,m=x,n=a,r=x', /not a valid SCRAM message/],
    ['n,,n=a,r=x,m=y', /extension/],
    ['n,,n=a,r=x,', /not a valid SCRAM message/],
    ['n,,n=a,r=x,e=', /not a valid SCRAM message/],
    ['n,,n=a,r=x,ee', /not a valid SCRAM message/],
    [`n,,n=a,r=${'x'.repeat(1_025)}`, /not a valid SCRAM message/],
    [`n,,n=${'a'.repeat(4_096)},r=x`, /not a valid SCRAM message/],
    [`n,,n=a,r=x${',a=b'.repeat(250_000)}`, /not a valid SCRAM message/],
  ] as const) {
    t.match(readClientFirst(Buffer.from(text)), why, JSON.stringify(text.slice(0, 60)))
  }
  t.match(readClientFirst(Buffer.from('n,,n=\xff,r=x', 'latin1')), /not a valid SCRAM message/, 'no UTF-8')
})

t.test('client-final: only the proof of this exchange, with nothing changed', async t => {
  const client = new ScramClient('a', 'correct horse')
  const hub = new Challenge(begun(client.first), secret)
  const asked = Buffer.from(hub.text)
  const right = client.final(asked)
  const signature = hub.answer(right)
  t.ok(client.believes(signature as Buffer))
  const again = new Challenge(begun(client.first), secret)
  t.match(again.answer(right), /nonce/, 'said again to another one')
  t.not(again.text, hub.text)
  const text = right.toString()
  for (const [changed, why] of [
    ['', /not a valid SCRAM message/],
    [text.slice(0, -1), /not a valid SCRAM message/],
    [`${text}=`, /not a valid SCRAM message/],
    [`${text},x=y`, /not a valid SCRAM message/],
    [text.replace('c=biws', 'c='), /channel binding/],
    [text.replace('c=biws', 'c=eSws'), /channel binding/],
    [text.replace('c=biws', 'c=biws='), /channel binding/],
    [text.replace('c=biws,', ''), /not a valid SCRAM message/],
    [text.replace(',r=', ',r=x'), /nonce/],
    [text.replace(/,r=.*,p/, ',r=,p'), /nonce/],
    [text.replace(/,p=.*/, ''), /not a valid SCRAM message/],
    [text.replace(/,p=.*/, `,p=${'A'.repeat(43)}=`), /wrong password/],
    [text.replace(',p=', ',x=y,p='), /wrong password/],
    [text.replace(',p=', ',m=y,p='), /extension/],
    [text.replace(',p=', `,x=${'y'.repeat(4_096)},p=`), /not a valid SCRAM message/],
    [`${text}\0`, /not a valid SCRAM message/],
  ] as const) {
    t.match(hub.answer(Buffer.from(changed)), why, JSON.stringify(changed.slice(0, 80)))
  }
  const extended = client.final(asked, unproved => `${unproved},x=y`)
  t.ok(client.believes(hub.answer(extended) as Buffer), 'an extension is passed over, and signed')
  t.match(hub.answer(new ScramClient('a', 'Correct horse').final(asked)), /wrong password/)
  for (const header of ['y,,', 'n,a=a,']) {
    const other = new ScramClient('a', 'correct horse', { header })
    const theirs = new Challenge(begun(other.first), secret)
    t.ok(other.believes(theirs.answer(other.final(Buffer.from(theirs.text))) as Buffer), header)
    const unbound = other.final(Buffer.from(theirs.text), unproved => unproved.replace(/^c=[^,]*/, 'c=biws'))
    t.match(theirs.answer(unbound), /channel binding/, `${header} is what was said before`)
  }
})

t.test('a password beyond ASCII, however it is typed', async t => {
  const kept = parseScram(makeScram((await preparePassword('Zu\u0308rich \u2168')) ?? '')) as ScramSecret
  const client = new ScramClient('a', 'Z\u00fcrich IX')
  const hub = new Challenge(begun(client.first), kept)
  t.ok(client.believes(hub.answer(client.final(Buffer.from(hub.text))) as Buffer))
})

t.test('random and damaged messages: never an exception, and never in', async t => {
  const client = new ScramClient('a', 'correct horse')
  const hub = new Challenge(begun(client.first), secret)
  const right = client.final(Buffer.from(hub.text))
  let refused = 0
  const rounds = 20_000
  for (let round = 0; round < rounds; round++) {
    const damaged = Buffer.from(round % 2 ? right : client.first)
    const at = randomInt(damaged.length)
    damaged[at] = (damaged[at] as number) ^ (1 + randomInt(255))
    for (const data of [damaged, randomBytes(randomInt(200)), damaged.subarray(0, at)]) {
      readClientFirst(data)
      if (typeof hub.answer(data) === 'string') refused++
    }
  }
  t.equal(refused, rounds * 3)
})

async function authority(t: Test, attempts = 20) {
  const users = await usersFile()
  await users.add('lamp', [], { scram: makeScram('correct horse'), password: hashSecret('correct horse') })
  await users.add('plain', [])
  const dir = await tempDir()
  const { options, listener, known, said, changes } = authorityParts(dir, attempts)
  const begin = (more: { readonly file?: string; readonly saltKey?: string } = {}) => {
    const one = new Authority({ file: users.file, ...options, ...more })
    one.reportTo(listener)
    one.start()
    t.teardown(() => one.stop())
    return one
  }
  const one = begin()
  const exchange = (address = '10.0.0.1', username?: string, of = one) => {
    const begun = of.exchange('SCRAM-SHA-256', { address, username })
    if (!begun) throw new Error('it is spoken')
    return begun
  }
  /** A whole exchange. */
  const come = (name: string, password: string, address?: string, username?: string) => {
    const client = new ScramClient(name, password)
    const hub = exchange(address, username)
    const first = hub.step(client.first)
    return { client, last: 'challenge' in first ? hub.step(client.final(first.challenge)) : first }
  }
  const changeAfter = async (act: () => Promise<unknown>) => {
    const before = changes()
    await act()
    await eventually(() => changes() > before, 'changed')
  }
  return { one, dir, users, known, said, begin, exchange, come, changeAfter }
}

const verdictOf = (step: ScramStep) => ('verdict' in step ? step.verdict : undefined)

const whyOf = (step: ScramStep) => {
  const verdict = verdictOf(step)
  return verdict && 'refused' in verdict ? `${verdict.refused}: ${verdict.why}` : 'no refusal'
}

t.test('an exchange with the hub: in with the password, which the hub proves to know, too', async t => {
  const { come, known, exchange, one, begin } = await authority(t)
  t.notOk(known.has('10.0.0.1', 'lamp'))
  const { client, last } = come('lamp', 'correct horse')
  t.match(verdictOf(last), { user: 'lamp', kind: 'device', login: undefined })
  t.ok('data' in last && client.believes(last.data))
  t.ok(known.has('10.0.0.1', 'lamp'), 'as with a password')
  t.match(verdictOf(come('lamp', 'correct horse', '10.0.0.1', 'lamp').last), { user: 'lamp' })
  t.match(verdictOf(come('lamp', 'correct horse', '10.0.0.1', '').last), { user: 'lamp' })
  t.match(whyOf(come('lamp', 'Correct horse').last), /^bad_credentials: .*wrong password/)
  t.match(whyOf(come('plain', 'the secret of plain').last), /^bad_credentials: "plain" has no password for SCRAM/)
  t.match(whyOf(come('nobody', 'correct horse').last), /^bad_credentials: there is no user "nobody"/)
  t.match(whyOf(come('LAMP', 'correct horse').last), /there is no user "LAMP"/)
  t.match(whyOf(come('lamp', 'correct horse', '10.0.0.1', 'plain').last), /a different name/)
  t.match(whyOf(exchange().step(undefined)), /^bad_credentials: its first message/)
  t.match(whyOf(exchange().step(Buffer.alloc(65_535, 'x'))), /^bad_credentials: its first message/)
  t.notMatch(whyOf(come('thk_abcdefgh_0123456789', 'x').last), /0123/, 'a key in the place of a name is not logged')
  for (const method of ['', 'PLAIN', 'scram-sha-256', 'SCRAM-SHA-1', 'SCRAM-SHA-256-PLUS']) {
    t.equal(one.exchange(method, { address: '10.0.0.1', username: undefined }), undefined, method)
  }
  const open = begin({ file: '' })
  t.equal(open.exchange('SCRAM-SHA-256', { address: '10.0.0.1', username: undefined }), undefined, 'nobody is asked')
})

t.test('what was said in one exchange is worth nothing in another, or twice', async t => {
  const { exchange } = await authority(t)
  const client = new ScramClient('lamp', 'correct horse')
  const hub = exchange()
  const asked = hub.step(client.first)
  if (!('challenge' in asked)) throw new Error('refused')
  const final = client.final(asked.challenge)
  t.match(verdictOf(hub.step(final)), { user: 'lamp' })
  t.match(whyOf(hub.step(final)), /is over/)
  t.match(whyOf(hub.step(client.first)), /is over/)
  const other = exchange()
  other.step(client.first)
  t.match(whyOf(other.step(final)), /nonce/)
  t.match(whyOf(other.step(final)), /is over/, 'one attempt each')
  const early = exchange()
  t.match(whyOf(early.step(final)), /not a valid SCRAM message/)
  const none = exchange()
  none.step(client.first)
  t.match(whyOf(none.step(undefined)), /not a valid SCRAM message/)
})

t.test('who is there cannot be asked: the same salt for a name each time, after a restart too', async t => {
  const { exchange, begin, dir, said } = await authority(t)
  const ask = (name: string, of?: Authority) => {
    const step = exchange('10.0.0.1', undefined, of).step(Buffer.from(`n,,n=${name},r=x`))
    if (!('challenge' in step)) throw new Error('refused')
    return /^r=x[\w+/]{24}(,s=([\w+/]{22}==),i=100000)$/.exec(step.challenge.toString())?.[1]
  }
  const names = ['lamp', 'plain', 'nobody', 'somebody', 'z\u00fcrich', 'x'.repeat(3_000)]
  const salts = names.map(name => ask(name))
  t.ok(salts.every(Boolean))
  t.equal(new Set(salts).size, names.length)
  t.same(
    names.map(name => ask(name)),
    salts,
  )
  const later = begin()
  t.same(
    names.map(name => ask(name, later)),
    salts,
  )
  t.equal(statSync(join(dir, 'salt.key')).mode & 0o777, 0o600)
  t.notMatch(said.join(), /could not be saved/)
  mkdirSync(join(dir, 'folder'))
  const forgetful = begin({ saltKey: join(dir, 'folder') })
  t.match(said.join(), /could not be saved, .*EISDIR/)
  t.equal(ask('lamp', forgetful), salts[0])
  t.equal(ask('nobody', forgetful), ask('nobody', forgetful))
})

t.test('a key that is kept: made once, for its owner alone, made anew when it is damaged', async t => {
  const path = join(await tempDir(), 'some.key')
  writeFileSync(`${path}.new`, 'half', { mode: 0o644 })
  const key = keptKey(path)
  t.equal(key.length, 32)
  t.same(keptKey(path), key)
  t.equal(statSync(path).mode & 0o777, 0o600)
  for (const damaged of ['', '\n', 'x', readFileSync(path, 'utf8').slice(5)]) {
    writeFileSync(path, damaged)
    chmodSync(path, 0o644)
    const other = keptKey(path)
    t.equal(other.length, 32)
    t.notSame(other, key)
    t.same(keptKey(path), other)
    t.equal(statSync(path).mode & 0o777, 0o600)
  }
  t.throws(() => keptKey(join(path, 'x')), { code: 'ENOTDIR' })
})

t.test('wrong proofs count as wrong passwords do, and what is given up as nothing', async t => {
  const { come, exchange, one } = await authority(t, 3)
  const first = (name: string) => exchange().step(new ScramClient(name, '').first)
  for (let n = 0; n < 10; n++) t.ok('challenge' in first('lamp'))
  for (const name of ['lamp', 'plain', 'nobody']) {
    // Five begin at once: no more than three are heard.
    const client = new ScramClient(name, 'wrong')
    const all = Array.from({ length: 5 }, () => exchange())
    const asked = all.map(hub => hub.step(client.first))
    const answers = all.map((hub, n) => {
      const step = asked[n] as ScramStep
      return 'challenge' in step ? whyOf(hub.step(client.final(step.challenge))).split(':')[0] : 'unheard'
    })
    t.same(answers, ['bad_credentials', 'bad_credentials', 'bad_credentials', 'busy', 'busy'], name)
    t.match(whyOf(first(name)), /^busy: too many failed attempts from 10\.0\.0\.1/)
  }
  t.match(whyOf(come('lamp', 'correct horse').last), /^busy/, 'the right one, too')
  t.match(verdictOf(come('lamp', 'correct horse', '10.0.0.2').last), { user: 'lamp' }, 'from elsewhere it is heard')
  const byPassword = await new Promise(resolve =>
    one.authenticate({ address: '10.0.0.1', username: 'nobody', password: 'x', certificate: [] }, resolve),
  )
  t.match(byPassword, { refused: 'busy' }, 'they are counted together')
  for (let n = 0; n < 10; n++) t.match(verdictOf(come('lamp', 'correct horse', '10.0.0.3').last), { user: 'lamp' })
})

t.test('a device that is paired again comes in by SCRAM with its new password alone', async t => {
  const { one, come, users } = await authority(t)
  const { code, pairing } = makePairing(Date.now())
  await users.edit(file => file.setPairing('lamp', pairing))
  const { password } = await one.redeem(code)
  const { client, last } = come('lamp', password)
  t.match(verdictOf(last), { user: 'lamp' })
  t.ok('data' in last && client.believes(last.data))
  t.match(whyOf(come('lamp', 'correct horse').last), /wrong password/)
})

t.test('who came in by SCRAM stays until the password, or what SCRAM has of it, is another one', async t => {
  const { come, users, changeAfter, one, exchange } = await authority(t)
  const enter = (password = 'correct horse') => {
    const verdict = verdictOf(come('lamp', password).last)
    if (!verdict || 'refused' in verdict) throw new Error('refused')
    return verdict
  }
  const before = enter()
  await changeAfter(() => users.edit(file => file.addRule('lamp', 'allow read x')))
  t.ok(before.isValid(), 'rules are another matter')
  t.ok(one.isStamp('lamp', before.stamp))

  const late = new ScramClient('lamp', 'correct horse')
  const hub = exchange()
  const asked = hub.step(late.first)
  if (!('challenge' in asked)) throw new Error('refused')
  await changeAfter(() =>
    users.edit(file => file.setPassword('lamp', hashSecret('correct horse'), makeScram('battery'))),
  )
  t.notOk(before.isValid())
  t.notOk(one.isStamp('lamp', before.stamp), 'nor does a login of it')
  t.match(whyOf(hub.step(late.final(asked.challenge))), /changed meanwhile/)
  t.match(whyOf(come('lamp', 'correct horse').last), /wrong password/)

  const second = enter('battery')
  const scram = one.user('lamp')?.scram ?? ''
  await changeAfter(() => users.edit(file => file.setPassword('lamp', hashSecret('another'), scram)))
  t.notOk(second.isValid(), 'the password alone')
  const third = enter('battery')
  await changeAfter(() => users.edit(file => file.setPassword('lamp', hashSecret('another'))))
  t.notOk(third.isValid(), 'SCRAM alone')
  t.match(whyOf(come('lamp', 'battery').last), /no password for SCRAM/)
  await changeAfter(() => users.edit(file => file.setPassword('lamp', hashSecret('another'), makeScram('another'))))
  const fourth = enter('another')
  await changeAfter(() => users.edit(file => file.removeUser('lamp')))
  t.notOk(fourth.isValid())
})

t.test('proofs of many sources have a limit together; a user who has come from there before is heard', async t => {
  const { exchange, come } = await authority(t)
  t.match(verdictOf(come('lamp', 'correct horse', '10.6.0.1').last), { user: 'lamp' })
  const guess = (address: string) => {
    const hub = exchange(address)
    hub.step(new ScramClient('lamp', 'x').first)
    return whyOf(hub.step(Buffer.from('c=biws,r=x,p=x')))
  }
  const answers = Array.from({ length: 700 }, (_, n) => guess(`10.7.${n >> 8}.${n & 255}`))
  t.equal(answers.filter(why => why.startsWith('bad_credentials')).length, 600, 'ten a second, as with passwords')
  t.match(answers.at(-1), /^busy: too many SCRAM attempts from all addresses together/)
  t.match(whyOf(come('lamp', 'correct horse', '10.8.0.1').last), /^busy/)
  t.match(verdictOf(come('lamp', 'correct horse', '10.6.0.1').last), { user: 'lamp' })
})
