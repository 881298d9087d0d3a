import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { chainIds, isRevoked, revocationLists, subjectOf } from '../../src/transport/revocation.js'

const path = (name: string) => fileURLToPath(new URL(`../../../test/fixtures/tls/revocation/${name}`, import.meta.url))
const file = (name: string) => readFileSync(path(name))
const certificate = (name: string) => new X509Certificate(file(`${name}.pem`))

t.test('a list names its authority, its time and the certificates', async t => {
  const [list] = revocationLists(file('revoked.crl'))
  t.equal(list?.issuer, subjectOf(certificate('ca')))
  t.equal(list?.from, Date.UTC(2026, 0, 1))
  t.equal(list?.to, Date.UTC(2099, 11, 1), 'a time after 2049 has another form')
  t.same(
    [...(list?.serials ?? [])].sort(),
    ['revoked', 'intermediate'].map(name => certificate(name).serialNumber.toLowerCase()).sort(),
  )
  t.equal(revocationLists(file('ended.crl'))[0]?.to, Date.UTC(2020, 1, 1))
  t.equal(revocationLists(file('none.crl'))[0]?.serials.size, 0)
  const two = revocationLists(Buffer.concat([file('none.crl'), file('intermediate.crl')]))
  t.same(
    two.map(({ issuer }) => issuer),
    ['ca', 'intermediate'].map(name => subjectOf(certificate(name))),
  )
})

t.test('which certificates are revoked', async t => {
  const lists = revocationLists(file('revoked.crl'))
  for (const [name, is] of [
    ['revoked', true],
    ['intermediate', true],
    ['kept', false],
    ['ca', false],
  ] as const) {
    const [id] = chainIds(certificate(name))
    t.equal(id && isRevoked(id, lists), is, name)
    t.equal(id && isRevoked({ ...id, issuer: subjectOf(certificate('intermediate')) }, lists), false, 'of another CA')
  }
})

t.test('what is no list, and a list cut off or changed anywhere, ends with a sentence or is a list', async t => {
  t.throws(() => revocationLists(Buffer.from('')), { message: /^contains no revocation list in PEM/ })
  t.throws(() => revocationLists(file('ca.pem')), { message: /^contains no revocation list in PEM/ })
  t.throws(() => revocationLists(Buffer.alloc(16_000_001)), { message: /has 16000001 bytes, allowed are 16000000/ })
  const der = Buffer.from(String(file('revoked.crl')).replace(/-----[^-]+-----/g, ''), 'base64')
  const read = (bytes: Buffer) =>
    revocationLists(Buffer.from(`-----BEGIN X509 CRL-----\n${bytes.toString('base64')}\n-----END X509 CRL-----`))
  t.equal(read(der)[0]?.serials.size, 2)
  for (let length = 0; length < der.length; length++) {
    t.throws(() => read(der.subarray(0, length)), { message: 'contains a damaged revocation list' })
  }
  for (let at = 0; at < der.length; at++) {
    for (const byte of [0x00, 0x7f, 0x80, 0x84, 0xff]) {
      const changed = Buffer.from(der)
      changed[at] = byte
      try {
        read(changed)
      } catch (error) {
        if ((error as Error).message !== 'contains a damaged revocation list') t.fail(String(error))
      }
    }
  }
})
