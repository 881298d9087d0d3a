// The last step of the build, called by setup.mjs: `node src/setup/bundle.mjs DIST` makes DIST/bundle of what tsc has
// made in DIST/src. A hub that starts from these few files needs half the processor time of one that finds and loads
// a thousand. They are not minified and name their sources, so that an error can be read; `node --enable-source-maps`
// shows the lines of src/. DIST/src runs as well.

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { rolldown } from 'rolldown'
import { licences } from './licences.mjs'

const dist = resolve(process.argv[2])
const src = join(dist, 'src')
const bundle = join(dist, 'bundle')

/** The command, and the entries of threads, which `new Worker` looks for in the folder of the file that starts them. */
const input = {
  cli: join(src, 'cli.js'),
  'pipeline-worker': join(src, 'pipeline/pipeline-worker.js'),
  'users-thread': join(src, 'users/users-thread.js'),
  'verifier-thread': join(src, 'passwords/verifier-thread.js'),
}

/** Packages that read files beside their own code: native libraries, WebAssembly, pages. They are loaded from node_modules. */
const external = [/^@duckdb\/node-bindings/, /^@jitl\//, /^node-sqlite3-wasm$/, /^pino$/]

/** Own code, with the maps that tsc made. What it reads by relative addresses is looked for from DIST/src. */
const ownCode = {
  name: 'own-code',
  load(id) {
    if (!id.startsWith(src)) return null
    const code = readFileSync(id, 'utf8')
    const address = `new URL(${JSON.stringify(`../src/${relative(src, id).replaceAll('\\', '/')}`)}, import.meta.url).href`
    return {
      code: code.includes('new Worker(') ? code : code.replaceAll('import.meta.url', address),
      map: readFileSync(`${id}.map`, 'utf8'),
    }
  },
}

rmSync(bundle, { recursive: true, force: true })
// Strict: what several entries need is in files of its own. A thread that loads another entry would run it.
const build = await rolldown({
  input,
  external,
  platform: 'node',
  preserveEntrySignatures: 'strict',
  plugins: [ownCode],
})
const { output } = await build.write({
  dir: bundle,
  format: 'esm',
  sourcemap: true,
  chunkFileNames: ({ name }) => `${name.replace(/^\./, '')}-[hash].js`,
})
await build.close()
writeFileSync(join(bundle, 'LICENSES.txt'), licences(output.flatMap(({ moduleIds = [] }) => moduleIds)))
