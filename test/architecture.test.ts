import { readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = join(root, 'src')

interface Import {
  readonly from: string
  readonly to: string
  /** Types vanish when compiled: they couple no program, only its reader. */
  readonly typeOnly: boolean
}

const files = (readdirSync(folder, { recursive: true }) as string[])
  .map(name => normalize(name))
  .filter(name => name.endsWith('.ts'))
const hubFiles = files.filter(name => !name.startsWith('dashboard/'))

function importsOf(file: string): Import[] {
  const source = readFileSync(join(folder, file), 'utf8')
  const found = [...source.matchAll(/^(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm)]
  const dynamic = [...source.matchAll(/\bimport\('([^']+)'\)/g)].map(([, to]) => [undefined, undefined, to] as const)
  return [...found, ...dynamic].map(([, type, to = '']) => ({
    from: file,
    to: to.startsWith('.') ? normalize(join(dirname(file), to)).replace(/\.js$/, '.ts') : to,
    typeOnly: type !== undefined,
  }))
}

const imports = hubFiles.flatMap(importsOf)
const ours = imports.filter(({ to }) => hubFiles.includes(to))
const builtin = (to: string) => to.startsWith('node:') || builtinModules.includes(to)
const packages = imports.filter(({ to }) => !to.endsWith('.ts') && !builtin(to))

/** Pure words and formats: anyone may use them. They use each other and nothing else. */
const nouns = ['model.ts', 'topics.ts', 'errors.ts', 'properties.ts', 'queue/codec.ts', 'store/line-protocol.ts']
/** Below everything that does something: they use nouns, each other, Node and their one package. */
const ground = [
  'alarms.ts',
  'auth/admin-key.ts',
  'auth/attempts.ts',
  'auth/authority.ts',
  'auth/bans.ts',
  'auth/client-ids.ts',
  'auth/file-lock.ts',
  'auth/kept-key.ts',
  'auth/logins.ts',
  'auth/passwords.ts',
  'auth/rules.ts',
  'auth/scram.ts',
  'auth/sources.ts',
  'auth/user-shares.ts',
  'auth/user-changes.ts',
  'auth/users-file.ts',
  'auth/users-thread.ts',
  'auth/users.ts',
  'auth/verifier-thread.ts',
  'auth/verifier.ts',
  'config.ts',
  'config/kinds.ts',
  'config/reload.ts',
  'disk/damaged.ts',
  'disk/files.ts',
  'disk/frame-file.ts',
  'disk/probe.ts',
  'disk/replace-file.ts',
  'disk/retried-write.ts',
  'explain.ts',
  'identity.ts',
  'journal.ts',
  'lifecycle.ts',
  'link.ts',
  'lock.ts',
  'log.ts',
  'metrics.ts',
  'observe/audit-chain.ts',
  'observe/audit-log.ts',
  'observe/audit.ts',
  'observe/event-loop-delay.ts',
  'observe/incidents.ts',
  'priority.ts',
  'proxy.ts',
  'refusal-counts.ts',
  'retry.ts',
  'runtime/addresses.ts',
  'runtime/fair-cuts.ts',
  'revocation.ts',
  'runtime/fair-set.ts',
  'runtime/open-files.ts',
  'runtime/clock.ts',
  'runtime/shared-pool.ts',
  'runtime/suspects.ts',
  'runtime/thread-exit.ts',
  'snapshot-log.ts',
  'terminal.ts',
  'tls.ts',
  'watch.ts',
]
/** The composition: the only files that know two technologies. */
const composition = ['hub.ts', 'processing.ts', 'processor-offers.ts', 'processor-thread.ts', 'targets.ts']
const entries = [
  'admin.ts',
  'certificates.ts',
  'cli.ts',
  'cli/audit.ts',
  'cli/doctor.ts',
  'cli/healthcheck.ts',
  'cli/session.ts',
  'thread.ts',
  'user-admin.ts',
]
/** Entries that lead to others, a file for each command. */
const commands = ['cli.ts', 'admin.ts']
/** Looks at what all others have made: it may read with the readers of each. */
const inspection = 'doctor'
const ports = ['queue/queue.ts', 'store/store.ts']
const stages = ['broker', 'ingest', 'process', 'push', 'http']
/** Files of an adapter's folder that serve its adapters alone. */
const adapterFolders = ['queue', 'store']

const stageOf = (file: string) => stages.find(stage => file.startsWith(`${stage}/`))

t.test('every file has its place', async t => {
  for (const file of hubFiles) {
    const placed =
      nouns.includes(file) ||
      ground.includes(file) ||
      stageOf(file) !== undefined ||
      adapterFolders.includes(dirname(file)) ||
      composition.includes(file) ||
      dirname(file) === inspection ||
      entries.includes(file)
    t.ok(placed, file)
  }
})

t.test('imports point one way', async t => {
  for (const { from, to } of ours) {
    const common = nouns.includes(to) || ground.includes(to)
    const stage = stageOf(from)
    let allowed: boolean
    if (nouns.includes(from)) allowed = nouns.includes(to)
    else if (ground.includes(from)) allowed = common
    else if (ports.includes(from)) allowed = common
    else if (stage) allowed = common || ports.includes(to) || stageOf(to) === stage
    else if (adapterFolders.includes(dirname(from))) allowed = common || dirname(to) === dirname(from)
    else if (composition.includes(from)) allowed = !entries.includes(to) && dirname(to) !== inspection
    else if (dirname(from) === inspection) allowed = !entries.includes(to) && !composition.includes(to)
    else
      allowed =
        common ||
        composition.includes(to) ||
        dirname(to) === inspection ||
        (commands.includes(from) && entries.includes(to))
    t.ok(allowed, `${from} imports ${to}`)
  }
})

t.test('nouns touch neither packages nor the system', async t => {
  for (const { from, to } of imports.filter(one => nouns.includes(one.from)))
    t.notOk(builtin(to), `${from} imports ${to}`)
  for (const { from, to } of packages) t.notOk(nouns.includes(from), `${from} imports ${to}`)
})

t.test('each package is known to one file', async t => {
  const users = new Map<string, Set<string>>()
  for (const { from, to } of packages) {
    const name = to
      .split('/')
      .slice(0, to.startsWith('@') ? 2 : 1)
      .join('/')
    users.set(name, (users.get(name) ?? new Set()).add(from))
  }
  for (const [name, by] of users) {
    // Aedes' packet type is the broker's own coin.
    if (name === 'aedes')
      t.ok(
        [...by].every(file => stageOf(file) === 'broker'),
        `${name}: ${[...by]}`,
      )
    else if (name === 'fastify')
      t.ok(
        [...by].every(file => stageOf(file) === 'http'),
        `${name}: ${[...by]}`,
      )
    else if (name === 'yaml')
      t.ok(
        [...by].every(file => file === 'config.ts' || dirname(file) === 'auth'),
        `${name}: ${[...by]}`,
      )
    else t.equal(by.size, 1, `${name}: ${[...by].join(', ')}`)
  }
})

t.test('no cycles at run time', async t => {
  const next = new Map<string, string[]>()
  for (const { from, to, typeOnly } of ours) if (!typeOnly) next.set(from, [...(next.get(from) ?? []), to])
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) t.fail([...path.slice(path.indexOf(file)), file].join(' → '))
    if (done.has(file) || path.includes(file)) return
    for (const to of next.get(file) ?? []) visit(to, [...path, file])
    done.add(file)
  }
  for (const file of hubFiles) visit(file, [])
  t.equal(done.size, hubFiles.length)
})

t.test('the dashboard knows nothing of the hub', async t => {
  for (const file of files.filter(name => name.startsWith('dashboard/'))) {
    for (const { to } of importsOf(file)) {
      t.ok(to.startsWith('dashboard/') || to === 'mqtt' || to === 'uplot', `${file} imports ${to}`)
    }
  }
})

t.test('no file over 600 lines, no drawers, no barrels', async t => {
  const devices = (readdirSync(join(root, 'devices')) as string[]).filter(name => name.endsWith('.ts'))
  for (const path of [...files.map(name => join('src', name)), ...devices.map(name => join('devices', name))]) {
    const lines = readFileSync(join(root, path), 'utf8').split('\n').length
    t.ok(lines <= 600, `${path}: ${lines} lines`)
    t.notMatch(path, /(^|\/)(utils?|helpers?|common|misc|types|index)\.ts$/)
  }
})

t.test('settings come in through the front door', async t => {
  for (const file of hubFiles) {
    if (file === 'cli.ts' || file === 'config.ts') continue
    t.notMatch(readFileSync(join(folder, file), 'utf8'), /process\.(env|argv)/, file)
  }
  t.equal(relative(root, folder), 'src')
})
