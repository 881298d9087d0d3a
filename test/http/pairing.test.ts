import t from 'tap'
import { type Guarded, startGuarded } from './guarded.js'

t.test('guessing codes', async t => {
  const hub = await startGuarded(t)
  const codes = async (from: string, of: Guarded) =>
    (await of.post('/api/pair', { code: 'AAAA-AAAA-AAAA' }, { 'x-forwarded-for': from })).status
  for (let i = 0; i < 10; i++) t.equal(await codes(`192.0.2.${i}`, hub), 403)
  t.equal(await codes('192.0.2.99', hub), 429, 'another address that nobody vouches for is none')
  const waits = await hub.post('/api/pair', { code: 'ABCD-EFGH-JKMN' })
  t.equal(waits.status, 429, 'the right one, too')
  t.ok(Number(waits.headers.get('retry-after')) > 0)

  const proxied = await startGuarded(t, { proxies: ['127.0.0.1'] })
  for (let i = 0; i < 10; i++) t.equal(await codes(`2001:db8:0:7::${i}`, proxied), 403)
  t.equal(await codes('[2001:db8:0:7:ffff:1:2:3]:443', proxied), 429, 'who has one line has all addresses of it')
  t.equal(await codes('2001:db8:0:8::1', proxied), 403, 'the next line')
  for (let i = 0; i < 150; i++) t.equal(await codes(`192.0.2.${i}`, proxied), 403)
  t.equal(await codes('192.0.2.200', proxied), 403, 'many others take nothing from anyone')
  t.equal(await codes('::ffff:192.0.2.201', proxied), 403)
})

t.test('pairing', async t => {
  const hub = await startGuarded(t)
  for (const code of ['', 'ABCD', 'ABCD-EFGH-JKMX', 'A'.repeat(60)]) {
    t.equal((await hub.post('/api/pair', { code })).status, 403, code)
  }
  t.same(hub.reached, ['redeem ABCDEFGHJKMX'], 'what cannot be one is not looked up')
  const paired = await hub.post('/api/pair', { code: ' abcd efgh-jkmn ' })
  t.match(await paired.json(), { user: 'thermo', password: 'made' })
  t.equal(paired.headers.get('cache-control'), 'no-store')
})
