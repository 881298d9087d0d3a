// A step of the build, called by setup.mjs: `node src/setup/bundle-dashboard.mjs DIST` makes DIST/bundle/dashboard, the
// folder that the hub serves, of what tsc has made in DIST/src/dashboard. What a page loads first is in two or three
// files: a browser that asks for eighty, six at a time, needs a second longer. The rest is loaded when it is needed.

import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'
import { licences } from './licences.mjs'

const dist = resolve(process.argv[2])
const sources = fileURLToPath(new URL('../dashboard', import.meta.url))
const compiled = join(dist, 'src/dashboard')
const folder = join(dist, 'bundle/dashboard')

/** Modules of the pages. The sign-in page, the page for pairing and that without a hub are for everybody. */
const forAll = ['login', 'pair', 'offline']
const entries = ['main', 'docs', ...forAll]
/** Scripts that are no modules. */
const scripts = ['early.js', 'service-worker.js']

const options = {
  input: Object.fromEntries(entries.map(name => [name, join(compiled, `${name}.js`)])),
  platform: 'browser',
  resolve: { alias: { '@telehub/client': join(dist, 'client/src/client.js') } },
}

const chunks = await chunksOf({})
const shared = modulesLoadedBy(forAll)
const core = modulesLoadedBy(['main'])
const groups = [
  { name: 'shared', test: id => shared.has(id), priority: 2 },
  { name: 'core', test: id => core.has(id), priority: 1 },
]
const output = await chunksOf({ codeSplitting: { groups } }, true)

rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
for (const { fileName, code, map } of output) {
  writeFileSync(join(folder, fileName), map ? `${code}\n//# sourceMappingURL=${fileName}.map\n` : code)
  if (map) writeFileSync(join(folder, `${fileName}.map`), map.toString())
}
for (const name of scripts) cpSync(join(compiled, name), join(folder, name))
for (const name of readdirSync(sources)) {
  if (/\.(html|css|svg|png|webmanifest)$/.test(name)) cpSync(join(sources, name), join(folder, name))
}
writeFileSync(join(folder, 'LICENSES.txt'), licences(output.flatMap(({ moduleIds }) => moduleIds)))

async function chunksOf(more, isMinified = false) {
  const build = await rolldown(options)
  const { output } = await build.generate({
    ...{ format: 'esm', sourcemap: 'hidden', minify: isMinified, chunkFileNames: '[name]-[hash].js' },
    ...more,
  })
  await build.close()
  return output.filter(({ type }) => type === 'chunk')
}

/** Returns the modules that these entries load before they run. An entry stays in a file of its own, as it acts when loaded. */
function modulesLoadedBy(names) {
  const byFile = new Map(chunks.map(chunk => [chunk.fileName, chunk]))
  const files = new Set(names.map(name => `${name}.js`))
  for (const file of files) for (const next of byFile.get(file).imports) files.add(next)
  const modules = [...files].flatMap(file => byFile.get(file).moduleIds)
  return new Set(modules.filter(id => !Object.values(options.input).includes(id)))
}
