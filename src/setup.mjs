// What `npm start`, `npm test` and the others call: makes a fresh clone runnable, then becomes the program asked for.
// Plain JavaScript on Node alone, because it runs before anything is installed or compiled. A production install
// does not need it: `node dist/bundle/cli.js start`.

import { spawn } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const at = (...parts) => join(root, ...parts)

const programs = {
  start: 'bundle/cli.js',
  devices: 'devices/fleet.js',
  test: 'test/run.js',
  bench: 'test/bench/bench.js',
  proof: 'test/proof/proof.js',
  simulate: 'test/simulate/simulate.js',
  readme: 'test/readme.js',
  pictures: 'test/pictures.js',
  sbom: 'test/sbom.js',
  shrinkwrap: 'test/shrinkwrap.js',
  'test-node': 'test/test-node.js',
}
const tsc = at('node_modules/typescript/bin/tsc')
const lock = at('dist.lock')
const fresh = at(`dist.${process.pid}`)

/** A step that failed: the sentence to print and the code to end with. */
class Failed extends Error {
  constructor(message, exitCode) {
    super(message)
    this.exitCode = exitCode
  }
}

const say = text => process.stderr.write(`${text}\n`)

async function main() {
  const [command = '', ...args] = process.argv.slice(2)
  if (!Object.hasOwn(programs, command) && command !== 'build' && command !== 'check') {
    throw new Failed(`usage: node src/setup.mjs ${Object.keys(programs).join('|')}|build|check [arguments]`, 2)
  }
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Failed(`telehub needs Node.js 20.19 or newer; this is ${process.versions.node}`, 1)
  }
  if (!isInstalled() || !isBuilt() || (command === 'test' && !isTapBuilt())) await locked(() => prepare(command))
  if (command === 'check') return check()
  if (command === 'build') return
  const file = at('dist', programs[command])
  if (!existsSync(file)) throw new Failed(`there is no ${relative(root, file)}: its source is missing`, 1)
  process.argv = [process.execPath, file, ...(command === 'start' ? ['start'] : []), ...args]
  await import(pathToFileURL(file).href)
}

/** Asks again what is needed: another set-up may have done it while this one waited for the lock. */
async function prepare(command) {
  if (!isInstalled()) {
    say('Installing packages (npm ci) …')
    // Left by a packing that was interrupted; npm would take it for the lock file, and it lists no tools.
    rmSync(at('npm-shrinkwrap.json'), { force: true })
    const npm = process.env.npm_execpath
    const [program, ...first] = npm?.endsWith('.js') ? [process.execPath, npm] : ['npm']
    await run('npm ci', program, [...first, 'ci', '--include=dev'])
  }
  if (command === 'test' && !isTapBuilt()) {
    say('Preparing tap …')
    await run('tap build', process.execPath, [at('node_modules/tap/dist/esm/run.mjs'), 'build'])
  }
  // `check` compiles by itself, and reports more than the first mistake.
  if (command !== 'check' && !isBuilt()) await build()
}

async function build() {
  say('Building …')
  for (const name of readdirSync(root)) {
    const pid = /^dist\.(\d+)(\.old)?$/.exec(name)?.[1]
    if (pid && !isAlive(Number(pid))) rmSync(at(name), { recursive: true, force: true })
  }
  // Before the compiler reads them: what is edited meanwhile counts as not yet built.
  const sources = listSources()
  try {
    await run('the build', process.execPath, [tsc, '-p', at('tsconfig.json'), '--outDir', fresh])
    await run('the build of the dashboard', process.execPath, [tsc, '-p', at('src/dashboard'), '--outDir', fresh])
    await run('the bundle', process.execPath, [at('src/setup/bundle.mjs'), fresh])
    await run('the bundle of the dashboard', process.execPath, [at('src/setup/bundle-dashboard.mjs'), fresh])
    for (const cli of ['src/cli.js', 'bundle/cli.js']) chmodSync(join(fresh, cli), 0o755)
    writeFileSync(join(fresh, '.built'), sources)
    replaceDist()
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
}

/** A running program never sees half a build: the whole folder is swapped. */
function replaceDist() {
  const old = `${fresh}.old`
  rmSync(old, { recursive: true, force: true })
  if (existsSync(at('dist'))) renameSync(at('dist'), old)
  renameSync(fresh, at('dist'))
  rmSync(old, { recursive: true, force: true })
}

async function check() {
  let failed
  const attempt = async (name, args) => {
    try {
      await run(name, process.execPath, args)
    } catch (error) {
      if (!(error instanceof Failed)) throw error
      say(error.message)
      failed ??= error
    }
  }
  await attempt('the type check', [tsc, '-p', at('tsconfig.json'), '--noEmit'])
  await attempt('the type check of the dashboard', [tsc, '-p', at('src/dashboard'), '--noEmit'])
  await attempt('the type check of the client', [tsc, '-p', at('client'), '--noEmit'])
  await attempt('the format and lint check', [at('node_modules/@biomejs/biome/bin/biome'), 'check'])
  if (!failed && !isBuilt()) await locked(build)
  if (!failed) await attempt('the architecture check', [at('dist/test/architecture.test.js')])
  if (failed) throw new Failed('The check found mistakes.', failed.exitCode)
  say('Checked: types, format, lint, architecture.')
}

/**
 * Are the packages of package-lock.json there? By date first, as a clone or a copy may have disturbed the dates
 * then by content: every package that is not optional, in the version that is locked.
 */
function isInstalled() {
  const hidden = at('node_modules/.package-lock.json')
  if (!existsSync(hidden) || !existsSync(tsc)) return false
  if (statSync(hidden).mtimeMs >= statSync(at('package-lock.json')).mtimeMs) return true
  const packagesOf = file => JSON.parse(readFileSync(file, 'utf8')).packages
  const there = packagesOf(hidden)
  return Object.entries(packagesOf(at('package-lock.json'))).every(
    ([path, wanted]) => path === '' || wanted.optional || there[path]?.version === wanted.version,
  )
}

/** tap is generated anew when its set of plugins differs from what it ships with (.taprc). */
function isTapBuilt() {
  const generated = at('node_modules/@tapjs/test/test-built/dist/esm/index.js')
  return existsSync(generated) && !/@tapjs\/(typescript|mock)/.test(readFileSync(generated, 'utf8'))
}

function isBuilt() {
  const mark = at('dist/.built')
  return existsSync(mark) && readFileSync(mark, 'utf8') === listSources()
}

/** Every source with its size and time, a line each: also notices what was removed or went back in time. */
function listSources() {
  const steps = readdirSync(at('src/setup')).map(name => `src/setup/${name}`)
  const files = ['tsconfig.json', 'package-lock.json', ...steps]
  for (const folder of ['src', 'devices', 'test', 'client/src']) {
    if (!existsSync(at(folder))) continue
    for (const entry of readdirSync(at(folder), { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || !/(\.tsx?|\.html|\.css|\.svg|\.png|\.webmanifest|tsconfig\.json)$/.test(entry.name))
        continue
      // `path` is what `parentPath` was called before Node 20.12; newer ones have dropped it.
      files.push(relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    }
  }
  const line = file => {
    const found = statSync(at(file), { throwIfNoEntry: false })
    return found ? `${file} ${found.size} ${found.mtimeMs}\n` : ''
  }
  return files.sort().map(line).join('')
}

/** One set-up at a time in this folder: `npm test` and `npm start` may begin together. */
async function locked(work) {
  for (let waited = 0; !takeLock(); waited += 100) {
    if (waited === 0) say('Waiting for another set-up in this folder …')
    const holder = lockHolder()
    if (holder === undefined || (holder > 0 && isAlive(holder) && waited < 600_000)) await sleep(100)
    else rmSync(lock, { force: true })
  }
  try {
    await work()
  } finally {
    rmSync(lock, { force: true })
  }
}

function takeLock() {
  try {
    const file = openSync(lock, 'wx')
    writeFileSync(file, String(process.pid))
    closeSync(file)
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  }
}

/** The process that holds the lock; undefined while it is being taken or let go; 0 when nobody can. */
function lockHolder() {
  try {
    const pid = Number(readFileSync(lock, 'utf8'))
    if (pid > 0) return pid
    return Date.now() - statSync(lock).mtimeMs > 5_000 ? 0 : undefined
  } catch {
    return undefined
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

/** Runs a step with its output on stderr: stdout belongs to the program. Ctrl-C and SIGTERM end the step, then us. */
async function run(name, program, args) {
  const child = spawn(program, args, {
    cwd: root,
    stdio: ['ignore', process.stderr, process.stderr],
    shell: process.platform === 'win32' && program === 'npm',
  })
  let received
  const pass = signal => {
    received = signal
    child.kill(signal)
  }
  process.on('SIGINT', pass).on('SIGTERM', pass)
  const [code, reason] = await new Promise(resolve => {
    child.once('error', error => resolve([127, error.message]))
    child.once('exit', (exitCode, signal) =>
      resolve([exitCode ?? 1, signal ? `ended by ${signal}` : `exit ${exitCode}`]),
    )
  })
  process.off('SIGINT', pass).off('SIGTERM', pass)
  if (received) throw new Failed('Stopped.', received === 'SIGINT' ? 130 : 143)
  if (code !== 0) throw new Failed(`telehub cannot go on: ${name} failed (${reason}); its output is above.`, code)
}

try {
  await main()
} catch (error) {
  if (!(error instanceof Failed)) throw error
  say(error.message)
  process.exitCode = error.exitCode
}
