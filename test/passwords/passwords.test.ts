import { createHash, scryptSync } from 'node:crypto'
import t from 'tap'
import {
  hashPassword,
  hashSecret,
  isHash,
  isSameText,
  isSecretHash,
  makeSecret,
  verifyPassword,
} from '../../src/passwords/passwords.js'

t.test('a password belongs to its hash alone, which is another one each time', async t => {
  const [one, other] = await Promise.all([hashPassword('correct horse'), hashPassword('correct horse')])
  t.not(one, other)
  t.ok(verifyPassword(one, 'correct horse'))
  t.ok(verifyPassword(other, 'correct horse'))
  for (const wrong of ['', 'correct hors', 'correct horse ', 'Correct horse', one])
    t.notOk(verifyPassword(one, wrong), wrong)
  t.ok(isHash(one))
  t.notOk(isSecretHash(one), 'and is slow to verify')
  t.match(one, /^scrypt\$ln=15,r=8,p=1\$[\w-]{22}\$[\w-]{43}$/)
})

t.test('the parameters of the text are those that count', async t => {
  const salt = Buffer.from('a salt of sixteen')
  for (const [ln, r, p] of [
    [1, 1, 1],
    [4, 8, 2],
    [10, 2, 16],
    [1, 1, 99],
    [15, 1, 1],
  ] as const) {
    const hash = scryptSync('pässword', salt, 32, { N: 2 ** ln, r, p }).toString('base64url')
    const text = `scrypt$ln=${ln},r=${r},p=${p}$${salt.toString('base64url')}$${hash}`
    t.ok(isHash(text))
    t.ok(verifyPassword(text, 'pässword'), text)
    t.notOk(verifyPassword(text.replace(`ln=${ln}`, `ln=${ln + 1}`), 'pässword'), 'another cost, another hash')
  }
})

t.test('one that would stop the hub, or is damaged, is no hash and opens nothing', async t => {
  const good = await hashPassword('a password')
  const secret = hashSecret('a secret')
  const bad = [
    '',
    'a password',
    good.replace('ln=15', 'ln=19'),
    good.replace('ln=15', 'ln=99'),
    good.replace('ln=15', 'ln=0'),
    good.replace('ln=15', 'ln=-1'),
    good.replace('ln=15', 'ln=1e9'),
    good.replace('r=8', 'r=65'),
    good.replace('r=8', 'r=0'),
    good.replace('p=1', 'p=99'),
    good.replace('p=1', 'p=0'),
    good.replace('ln=15,r=8', 'ln=16,r=1'),
    good.replace('scrypt', 'SCRYPT'),
    good.slice(0, -1),
    `${good}\n`,
    `${good}$`,
    good.replace(/\$[^$]+$/, '$'),
    good.replace(/\$[\w-]{22}\$/, '$$'),
    `${good}${'A'.repeat(100_000)}`,
    secret.slice(0, -1),
    `${secret}A`,
    `${secret}\n`,
    secret.replace('sha256', 'sha1'),
    'sha256$',
    `$2y$10$${'a'.repeat(53)}`,
    'PBKDF2$sha512$101$abc$def',
  ].filter(text => text !== good)
  for (const text of bad) {
    t.notOk(isHash(text), text.slice(0, 80))
    t.notOk(verifyPassword(text, 'a password'), text.slice(0, 80))
    t.notOk(verifyPassword(text, ''), text.slice(0, 80))
  }
  const costly = good.replace('ln=15,r=8,p=1', 'ln=18,r=8,p=16')
  t.notOk(isHash(costly), 'each in bounds, together too long')
  t.notOk(verifyPassword(costly, 'a password'))
})

t.test('the same letters typed on another keyboard are the same password', async t => {
  const composed = 'Caf\u00e9 zürich'.normalize('NFC')
  const decomposed = composed.normalize('NFD')
  t.not(composed, decomposed)
  t.ok(verifyPassword(await hashPassword(composed), decomposed))
  t.ok(verifyPassword(await hashPassword(decomposed), composed))
})

t.test('secrets: 160 bits at random, quick to verify', async t => {
  const made = new Set(Array.from({ length: 1_000 }, makeSecret))
  t.equal(made.size, 1_000)
  for (const secret of made) if (!/^[\w-]{27}$/.test(secret)) t.fail(secret)
  const [secret = ''] = made
  const hash = hashSecret(secret)
  t.equal(hash, `sha256$${createHash('sha256').update(secret).digest('base64url')}`)
  t.ok(isSecretHash(hash) && isHash(hash))
  t.ok(verifyPassword(hash, secret))
  t.notOk(verifyPassword(hash, `${secret} `))
  t.notOk(verifyPassword(hash, hash), 'who has the file cannot log in with it')
  t.ok(isSameText('a', 'a'))
  t.notOk(isSameText('a', 'ab'))
  t.notOk(isSameText('', 'a'))
})
