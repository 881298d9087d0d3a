import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/*
 * npm run test:node -- MAJOR [arguments of npm test]: runs the tests on another version of Node, the newest of this major
 * that the npm registry has. It comes in the packages which the npm package `node` consists of, one for each platform.
 */

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Where the `node` of this major is; it is installed when it is not there. */
function install(major: string): string {
  const name = `node-${process.platform}-${process.arch}`
  const folder = join(root, 'node_modules/.cache', `node-${major}`)
  const binary = join(folder, 'node_modules', name, 'bin/node')
  if (existsSync(binary)) return binary
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{}\n')
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${major}`]
  const { status } = spawnSync('npm', args, { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0 || !existsSync(binary)) throw new Error(`npm could not install ${name}@${major}`)
  return binary
}

const [, , major = '', ...args] = process.argv
if (/^\d+$/.test(major)) {
  const binary = install(major)
  const version = spawnSync(binary, ['--version'], { encoding: 'utf8' }).stdout.trim()
  process.stderr.write(`Node ${version}\n`)
  const child = spawn(binary, ['src/setup.mjs', 'test', ...args], {
    cwd: root,
    stdio: 'inherit',
    // What the tests start as `node` is this one, too.
    env: { ...process.env, PATH: `${dirname(binary)}${delimiter}${process.env.PATH ?? ''}` },
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  child.once('exit', code => {
    process.exitCode = code ?? 1
  })
} else {
  process.stderr.write(
    `npm run test:node: given ${major || 'nothing'}, allowed is a major version of Node such as 22\n`,
  )
  process.exitCode = 2
}
