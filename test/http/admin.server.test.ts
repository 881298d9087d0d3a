import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AdminKey, adminKeyPath } from '../../src/auth/admin-key.js'
import { localKey } from '../../src/cli/hub-address.js'
import { runCli } from '../harness.js'
import { tempDir } from '../services/service.js'
import { type Guarded, startGuarded } from './guarded.js'

async function telehub(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const run = runCli(args, env)
  const code = await run.exited
  return { code, stdout: run.stdout(), stderr: run.stderr() }
}

const list = ({ url }: Guarded, dir: string, ...more: string[]) => [
  'dead',
  'list',
  '--url',
  url,
  '--data.dir',
  dir,
  ...more,
]

async function withKey(t: Test) {
  const dir = await tempDir()
  const key = new AdminKey(dir)
  key.start()
  return { dir, key, hub: await startGuarded(t, { adminKey: key.key }) }
}

t.test('the commands show a key: the flag, else the environment, else the file beside the data', async t => {
  const { dir, hub } = await withKey(t)
  const empty = await tempDir()
  const admin = await hub.set('adm', 'admin', 'x')
  const wide = await hub.set('svc', 'service', 'x')
  t.match(await telehub(list(hub, dir)), { code: 0, stdout: 'no dead letters\n' }, 'the file')
  t.match(await telehub(list(hub, empty, '--key', admin)), { code: 0 }, 'the flag')
  t.match(await telehub(list(hub, empty), { TELEHUB_KEY: admin }), { code: 0 }, 'the environment')
  t.match(await telehub(list(hub, dir, '--key', 'wrong'), { TELEHUB_KEY: admin }), { code: 1 }, 'the flag comes first')
  t.match(await telehub(list(hub, dir), { TELEHUB_KEY: 'wrong' }), { code: 1 }, 'then the environment')

  const none = await telehub(list(hub, empty))
  t.match(none, { code: 1, stderr: /needs a key; .*--key or TELEHUB_KEY/ })
  t.match(await telehub(list(hub, empty, '--key', 'wrong')), { code: 1, stderr: /rejects the key/ })
  const forbidden = await telehub(['dead', 'replay', '--all', '--url', hub.url, '--data.dir', empty, '--key', wide])
  t.match(forbidden, { code: 1, stderr: /refuses: user svc is a service; only an admin may do this/ })
  t.match(await telehub(list(hub, empty, '--key')), { code: 2, stderr: /--key: given nothing, it needs a value/ })
})

t.test('admin.key: for its owner alone, another one at each start', async t => {
  const { dir, key } = await withKey(t)
  const path = adminKeyPath(dir)
  t.equal(readFileSync(path, 'utf8'), `${key.key}\n`)
  t.equal(statSync(path).mode & 0o777, 0o600)
  chmodSync(path, 0o644)
  writeFileSync(`${path}.new`, '', { mode: 0o644 })
  const next = new AdminKey(dir)
  next.start()
  t.not(next.key, key.key)
  t.equal(statSync(path).mode & 0o777, 0o600)
})

t.test('admin.key is shown to this machine alone', async t => {
  const { dir, key } = await withKey(t)
  for (const url of ['http://127.0.0.1:8080', 'http://localhost', 'https://[::1]:1', 'http://127.0.0.2']) {
    t.equal(localKey(dir, url), key.key, url)
  }
  for (const url of [
    'http://192.0.2.1',
    'http://evil.example',
    'http://127.0.0.1.evil.example',
    'http://127.0.0.1@evil.example',
    'no',
  ]) {
    t.equal(localKey(dir, url), undefined, url)
  }
  t.equal(localKey(join(dir, 'nothing'), 'http://127.0.0.1'), undefined)
})
