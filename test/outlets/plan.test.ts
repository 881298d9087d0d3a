import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readOutlets } from '../../src/outlets/plan.js'
import { tempDir } from '../services/service.js'

const none = () => undefined

t.test('an outlet with nothing but what is needed', async t => {
  const { outlets, faults } = readOutlets([{ name: 'orders', kind: 'webhook', url: 'https://example.org/in' }], none)
  t.same(faults, [])
  t.match(outlets, [
    { name: 'orders', topics: ['#'], exclude: [], from: 'now', limit: undefined, whenFull: 'wait', deadBytes: 100e6 },
  ])
  t.equal(outlets[0]?.target.shown, 'https://example.org')
})

t.test('limits in bytes and in time, filters as a list or with commas', async t => {
  const { outlets } = readOutlets(
    [
      {
        name: 'a',
        kind: 'webhook',
        url: 'http://a',
        topics: ['plant/#', 'home/+/t'],
        exclude: 'plant/log/#',
        limit: '2GB',
      },
      { name: 'b', kind: 'webhook', url: 'http://b', limit: '6h', whenFull: 'skip', from: 'oldest' },
    ],
    none,
  )
  t.match(outlets, [
    { topics: ['plant/#', 'home/+/t'], exclude: ['plant/log/#'], limit: { bytes: 2e9 } },
    { limit: { ms: 6 * 3_600_000 }, whenFull: 'skip', from: 'oldest' },
  ])
})

t.test('all mistakes at once, and no secret in any of them', async t => {
  const { faults } = readOutlets(
    [
      { name: 'Orders', kind: 'webhok', from: 'yesterday' },
      { name: 'a', kind: 'webhook', url: 'https://u:top-secret@x/y', topics: ['a/#/b'], limit: 'much', dead: 5 },
      { name: 'a', kind: 'webhook', url: 'gopher://top-secret' },
    ],
    none,
  )
  const all = faults.join('\n')
  for (const expected of [
    'outlets: number 1.name: given "Orders", allowed is a lower-case letter',
    'outlets: number 1.kind: given "webhok", allowed is one of kafka, mqtt, webhook',
    'outlets: number 1.from: given "yesterday", allowed is one of now, oldest',
    'outlets: a.topics: given "a/#/b"',
    'outlets: a.limit: given "much", allowed is a size such as 2GB, or a time such as 6h',
    'outlets: a.dead: given "5"',
    'outlets: a: another has this name',
    'outlets: a.url: not allowed, allowed is an address that begins with https:// or http://',
  ])
    t.match(all, expected)
  t.notMatch(all, 'top-secret')
})

t.test('secrets from the environment, and from a file that nobody else may read', async t => {
  const path = join(await tempDir(), 'key')
  writeFileSync(path, 'from-a-file\n', { mode: 0o600 })
  const outlet = { name: 'a', kind: 'webhook', url: 'https://x/$' + '{HOOK}', secret: `\${file:${path}}` }
  const { outlets, faults } = readOutlets([outlet], name => (name === 'HOOK' ? 'from-the-environment' : undefined))
  t.same(faults, [])
  t.ok(outlets[0]?.secrets.includes('from-a-file'))
  t.ok(outlets[0]?.secrets.includes('from-the-environment'))

  const open = join(await tempDir(), 'open')
  writeFileSync(open, 'seen by all', { mode: 0o644 })
  const { faults: wrong } = readOutlets([{ ...outlet, secret: `\${file:${open}}` }], none)
  t.match(wrong.join('\n'), 'other users of this machine may read it')
  t.match(wrong.join('\n'), 'HOOK}" is not set in the environment of the hub')
})
