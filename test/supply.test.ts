import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { readLock, sbom } from './sbom.js'
import { shrinkwrap } from './shrinkwrap.js'

/** What others have made and we run: exactly these versions, each with its hash, and nothing runs when it is installed. */

const root = fileURLToPath(new URL('../..', import.meta.url))
const manifest: Record<'dependencies' | 'devDependencies' | 'overrides', Record<string, string | object>> = JSON.parse(
  readFileSync(`${root}package.json`, 'utf8'),
)
const packages = readLock()
const locked = Object.entries(packages).filter(([path]) => path !== '')
const isExact = (version: unknown) => typeof version === 'string' && /^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)

t.test('package.json names exact versions, and the lock file has these', async t => {
  for (const kind of ['dependencies', 'devDependencies'] as const) {
    t.same(packages['']?.[kind], manifest[kind], `${kind} agree`)
    for (const [name, version] of Object.entries(manifest[kind])) {
      t.ok(isExact(version), `${name} ${version}`)
      t.equal(packages[`node_modules/${name}`]?.version, version, name)
    }
  }
  const overrides = Object.values(manifest.overrides).flatMap(one =>
    typeof one === 'string' ? one : Object.values(one),
  )
  for (const version of overrides) t.ok(isExact(version) || version.startsWith('$'), `override ${version}`)
})

/** Programs for systems other than the one the lock file was made on, of which npm did not learn the hash. */
const prebuilt = /^node_modules\/(@biomejs\/cli|@duckdb\/node-bindings)-(android|darwin|linux|win32)-/

t.test('every package has its hash, and comes from the registry', async t => {
  for (const [path, { integrity, resolved, os, optional }] of locked) {
    if (prebuilt.test(path)) t.ok(optional && os, `${path} is for one system alone`)
    else t.match(integrity, /^sha512-[\w+/]{86}==/, path)
    t.notMatch(resolved ?? '', /^(git|file|http:)/, path)
  }
})

t.test('who installs the package gets the versions of the lock file', async t => {
  const { packages: installed } = shrinkwrap({ packages })
  t.same(
    Object.keys(installed).filter(path => path !== ''),
    locked.filter(([, { dev }]) => !dev).map(([path]) => path),
  )
  for (const [path, { dev }] of locked) if (!dev) t.same(installed[path], packages[path], path)
  t.notOk(installed['']?.devDependencies)
  t.same(packages['']?.dependencies, manifest.dependencies)
  // npm heeds the overrides of the package that is worked on alone, not those of one that is installed.
  for (const name of Object.keys(manifest.overrides)) {
    const isShipped = locked.some(([path, { dev }]) => !dev && path.endsWith(`node_modules/${name}`))
    t.notOk(isShipped, `${name} is overridden for the tests alone`)
  }
})

t.test('nothing runs when it is installed', async t => {
  t.same(
    locked.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => path),
    [],
  )
})

t.test('the bill of materials is whole', async t => {
  const { components, dependencies } = sbom(packages)
  const refs = new Set(components.map(one => one['bom-ref']))
  t.equal(refs.size, components.length)
  for (const name of Object.keys(manifest.dependencies))
    t.ok(
      components.some(one => one.name === name),
      name,
    )
  t.notOk(
    components.some(one => one.name === 'typescript'),
    'without what only builds and tests',
  )
  const [hub, ...others] = dependencies
  t.equal(hub?.dependsOn.length, Object.keys(manifest.dependencies).length)
  const reached = new Set<string>()
  const visit = (ref: string): void => {
    if (reached.has(ref)) return
    reached.add(ref)
    for (const next of others.find(one => one.ref === ref)?.dependsOn ?? []) visit(next)
  }
  for (const ref of hub?.dependsOn ?? []) visit(ref)
  t.same([...reached].sort(), [...refs].sort(), 'each is there because another needs it')
  t.equal(JSON.stringify(sbom(packages)), JSON.stringify(sbom(packages)))
  const ws = components.find(one => one.name === 'ws')
  t.match(ws?.hashes, [{ alg: 'SHA-512', content: /^[\da-f]{128}$/ }])
})
