import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/*
 * npm run sbom [-- FILE]: what the hub is made of when it runs, in CycloneDX 1.5, from the lock file alone; the same each
 * time. (npm's own `npm sbom --omit dev` leaves out whatever the tests use too.)
 */

interface Locked {
  readonly version: string
  readonly integrity?: string
  readonly license?: string
  readonly dev?: boolean
  readonly optional?: boolean
  readonly hasInstallScript?: boolean
  readonly resolved?: string
  readonly os?: readonly string[]
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

/** By path: `node_modules/a/node_modules/b`; '' is the hub. */
export type Packages = Readonly<Record<string, Locked>>

export interface Component {
  readonly 'bom-ref': string
  readonly name: string
  readonly version: string
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[]
}

export interface Sbom {
  readonly components: readonly Component[]
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[]
}

const root = fileURLToPath(new URL('../..', import.meta.url))

export const readLock = (): Packages => JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8')).packages

export function sbom(packages: Packages): Sbom {
  const hub = packages[''] as Locked
  const paths = Object.keys(packages).filter(path => path !== '' && !packages[path]?.dev)
  const refOf = (path: string) => purl(nameOf(path), packages[path]?.version ?? '')
  // Two folders may hold the same package.
  const components = new Map(paths.map(path => [refOf(path), component(path, packages[path] as Locked)]))
  const dependencies = new Map<string, Set<string>>()
  for (const path of ['', ...paths]) {
    const { dependencies: needed, optionalDependencies, peerDependencies } = packages[path] as Locked
    const ref = path === '' ? purl('telehub', hub.version) : refOf(path)
    const found = dependencies.get(ref) ?? new Set<string>()
    for (const name of Object.keys({ ...needed, ...optionalDependencies, ...peerDependencies })) {
      const at = resolve(packages, path, name)
      if (at !== undefined) found.add(refOf(at))
    }
    dependencies.set(ref, found)
  }
  const ref = purl('telehub', hub.version)
  const own = { type: 'application', 'bom-ref': ref, name: 'telehub', version: hub.version, purl: ref }
  return {
    ...{ bomFormat: 'CycloneDX', specVersion: '1.5', version: 1, metadata: { component: own } },
    components: [...components.values()],
    dependencies: [...dependencies].map(([ref, on]) => ({ ref, dependsOn: [...on].sort() })),
  }
}

function component(path: string, { version, integrity, license, optional }: Locked): Component {
  const ref = purl(nameOf(path), version)
  const hashes = (integrity ?? '').split(' ').flatMap(one => {
    const [, bits, base64] = /^sha(\d+)-(.+)$/.exec(one) ?? []
    return base64 ? [{ alg: `SHA-${bits}`, content: Buffer.from(base64, 'base64').toString('hex') }] : []
  })
  return {
    ...{ type: 'library', 'bom-ref': ref, name: nameOf(path), version, scope: optional ? 'optional' : 'required' },
    ...{ purl: ref, ...(hashes.length > 0 && { hashes }) },
    ...(license && { licenses: [/\s/.test(license) ? { expression: license } : { license: { id: license } }] }),
  }
}

const nameOf = (path: string) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)

const purl = (name: string, version: string) => `pkg:npm/${name.replace('@', '%40')}@${encodeURIComponent(version)}`

/** As Node looks: in the package's own folder, then outwards. */
function resolve(packages: Packages, from: string, name: string): string | undefined {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('node_modules/') - 1))) {
    const path = `${at === '' ? '' : `${at}/`}node_modules/${name}`
    if (packages[path]) return path
    if (at === '') return undefined
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = `${JSON.stringify(sbom(readLock()), undefined, 2)}\n`
  const [, , file] = process.argv
  if (file) writeFileSync(file, text)
  else process.stdout.write(text)
}
