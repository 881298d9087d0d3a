import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { connectMqtt, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../..', import.meta.url))
const tsc = join(root, 'node_modules/typescript/bin/tsc')

/** The first example in TypeScript of the README, as a program for this hub. */
function exampleFor(httpUrl: string): string {
  const [, example = ''] = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, 'client/README.md'), 'utf8')) ?? []
  return example.replace('http://127.0.0.1:8080', httpUrl)
}

t.test('the package is installed without a registry, has its types, and its example runs', async t => {
  const dir = await tempDir()
  const { stdout } = await run('npm', ['pack', './client', '--json', '--pack-destination', dir], { cwd: root })
  const packed = Object.values(JSON.parse(stdout.slice(stdout.search(/^[[{]/m))) as object)[0] as {
    readonly filename: string
    readonly files: readonly { readonly path: string }[]
  }
  t.ok(packed.files.every(({ path }) => /^(dist\/[\w-]+\.(js|d\.ts)|schemas\/[\w-]+\.json|[\w.]+)$/.test(path)))
  const app = join(dir, 'app')
  await mkdir(app)
  await writeFile(join(app, 'package.json'), '{ "private": true, "type": "module" }')
  const tarball = join(dir, packed.filename)
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', tarball], { cwd: app })
  t.same(
    readdirSync(join(app, 'node_modules')).filter(name => !name.startsWith('.')),
    ['@telehub'],
    'without any other package',
  )

  const built = join(app, 'node_modules/@telehub/client/dist')
  const scripts = readdirSync(built).filter(name => name.endsWith('.js'))
  const size = scripts.reduce((sum, name) => sum + gzipSync(readFileSync(join(built, name))).length, 0)
  t.ok(size <= 12 * 1024, `${size} bytes in ${scripts.length} files, each compressed`)
  t.comment(`${size} bytes in ${scripts.length} files, each compressed with gzip`)

  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  await device.publishAsync('home/hall/t2/telemetry', '{"temperature":19}', { qos: 1 })
  await writeFile(join(app, 'example.ts'), exampleFor(hub.httpUrl))
  const options = ['--strict', '--target', 'es2022', '--module', 'nodenext', '--exactOptionalPropertyTypes']
  await run(process.execPath, [tsc, ...options, '--types', '', '--lib', 'es2023,dom,dom.iterable', 'example.ts'], {
    cwd: app,
  })
  const { stdout: said } = await run(process.execPath, ['example.js'], { cwd: app })
  t.match(said, /^start \{\}\nvalues [\s\S]*topic: 'home\/hall\/t2\/telemetry'/)
  t.match(said, /^telemetry,device=t\d,room=\w+ temperature (19|21\.5) °C good \d+$/m)
})
