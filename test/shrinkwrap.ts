import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/*
 * What `npm pack` and `npm publish` run first: writes npm-shrinkwrap.json, which is package-lock.json without what only
 * builds and tests. With this file in the package, `npm install -g telehub` gets the versions that were tested; without it
 * npm would choose newer ones, and pay no heed to the overrides of package.json. With --remove: takes the file away again,
 * as npm would prefer it to package-lock.json in this folder.
 */

const root = fileURLToPath(new URL('../..', import.meta.url))

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly devDependencies?: unknown }>>
}

/** The content of npm-shrinkwrap.json for a package-lock.json. */
export function shrinkwrap(lock: Lock): Lock {
  const kept = Object.entries(lock.packages).filter(([, { dev }]) => !dev)
  const packages = Object.fromEntries(kept.map(([path, { devDependencies: _, ...entry }]) => [path, entry]))
  return { ...lock, packages }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = `${root}npm-shrinkwrap.json`
  if (process.argv[2] === '--remove') rmSync(file, { force: true })
  else {
    const lock = JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8')) as Lock
    writeFileSync(file, `${JSON.stringify(shrinkwrap(lock), undefined, 2)}\n`)
  }
}
