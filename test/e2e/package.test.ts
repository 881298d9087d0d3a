import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { tempDir } from '../services/service.js'
import { shrinkwrap } from '../shrinkwrap.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../..', import.meta.url))

t.test('npm pack: what is published has its versions with it, and nothing that only builds or tests', async t => {
  const dir = await tempDir()
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', dir], { cwd: root })
  t.notOk(existsSync(join(root, 'npm-shrinkwrap.json')), 'npm would prefer it to package-lock.json here')
  const { filename, files } = packed(stdout)
  await run('tar', ['-xzf', join(dir, filename), '-C', dir])
  const read = (name: string) => readFileSync(join(dir, 'package', name), 'utf8')
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  t.same(JSON.parse(read('npm-shrinkwrap.json')), shrinkwrap(lock))
  const { bin, engines } = JSON.parse(read('package.json'))
  t.match(read(bin.telehub), /^#!\/usr\/bin\/env node\n/)
  t.ok(engines.node)
  t.same(
    files.filter(({ path }) => /\.map$|^(dist\/)?(test|src)\//.test(path) && !path.startsWith('dist/src/')),
    [],
  )
  for (const name of [
    'LICENSE',
    'README.md',
    'docs/settings.md',
    'SECURITY.md',
    'grafana/dashboards/home.json',
    'dist/devices/fleet.js',
  ])
    t.ok(existsSync(join(dir, 'package', name)), name)
})

interface Packed {
  readonly filename: string
  readonly files: readonly { readonly path: string }[]
}

/** npm prints a list, newer ones an object by name; the scripts of the package may print before it. */
function packed(output: string): Packed {
  const json: unknown = JSON.parse(output.slice(output.search(/^[[{]/m)))
  return Object.values(json as Record<string, Packed>)[0] as Packed
}
