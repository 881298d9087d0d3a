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
  /** Types vanish when compiled. */
  readonly typeOnly: boolean
}

const files = (readdirSync(folder, { recursive: true }) as string[])
  .map(name => normalize(name))
  .filter(name => /\.tsx?$/.test(name))
const hubFiles = files.filter(name => !name.startsWith('dashboard/'))

function importsOf(file: string): Import[] {
  const source = readFileSync(join(folder, file), 'utf8')
  const found = source.matchAll(/^(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm)
  const dynamic = [...source.matchAll(/\bimport\('([^']+)'\)/g)].map(([, to]) => ['', undefined, to] as const)
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

/** The words of the hub, at the root of `src`: anyone may use them. */
const words = ['model.ts', 'topics.ts', 'errors.ts']
/** Pure formats: they use words and each other, no package and no Node but Buffer. */
const formats = [
  'mqtt/message-properties.ts',
  'mqtt/message-row.ts',
  'spool/message-codec.ts',
  'store/line-protocol.ts',
]
/** The whole on one page, and where a command begins. */
const roots = ['hub.ts', 'cli.ts']

/** What each folder may import beside itself, words and formats. A folder is below those it imports. */
const layers: Readonly<Record<string, readonly string[]>> = {
  // The questions of the HTTP API: for the hub as schemas, for commands and dashboard as types.
  contract: [],
  runtime: [],
  config: ['access', 'runtime'],
  mqtt: [],
  observe: ['config', 'runtime'],
  disk: ['observe', 'runtime'],
  queue: ['disk', 'observe', 'runtime'],
  // What a rule of a user allows, and hashes of passwords: pure, or nearly so.
  access: [],
  passwords: ['runtime'],
  users: ['access', 'disk', 'observe', 'passwords', 'runtime'],
  auth: ['access', 'config', 'disk', 'observe', 'passwords', 'runtime', 'users'],
  transport: ['config', 'disk', 'mqtt', 'observe', 'runtime'],
  sessions: ['access', 'auth', 'disk', 'mqtt', 'observe', 'runtime'],
  spool: ['config', 'disk', 'observe', 'queue', 'runtime'],
  store: ['disk', 'observe', 'runtime'],
  influxql: ['store'],
  // Alert rules: evaluated over the readings of the live path, and over history. In the processor thread.
  alerts: ['access', 'config', 'contract', 'disk', 'observe', 'runtime', 'store'],
  // Readings in bulk, out of the hub.
  export: ['alerts', 'observe', 'runtime', 'store'],
  // The rows of files: read by the command, stored by the hub.
  import: ['store'],
  // What people change over the API or by hand, in a file with undo; and what they change about the screen.
  edits: ['config', 'disk', 'observe', 'runtime'],
  boards: ['config', 'contract', 'disk', 'edits', 'observe', 'runtime'],
  accounting: ['disk', 'observe', 'queue', 'runtime'],
  // The port between the hubs of a cluster, and what a hub knows of the others. RabbitMQ is behind the port.
  cluster: ['config', 'disk', 'observe', 'queue', 'runtime'],
  rabbitmq: ['cluster', 'queue', 'runtime'],
  kafka: ['queue', 'runtime'],
  'dead-letters': ['disk', 'observe', 'queue', 'runtime'],
  broker: ['access', 'auth', 'config', 'disk', 'mqtt', 'observe', 'runtime', 'sessions', 'transport', 'users'],
  // Clients of other MQTT brokers, for inlets and outlets; and what comes from there, in the broker thread.
  remote: ['config'],
  inlets: ['config', 'disk', 'observe', 'remote', 'runtime'],
  shadows: ['broker', 'config', 'disk', 'observe', 'runtime'],
  // Who is told of alerts.
  notify: ['access', 'alerts', 'config', 'disk', 'observe', 'runtime'],
  // Other systems that get what devices publish: what all have in common, and a file for each kind.
  outlets: ['config', 'dead-letters', 'disk', 'kafka', 'observe', 'queue', 'remote', 'runtime'],
  // The processor thread, and its link to the broker thread.
  pipeline: [
    ...['config', 'disk', 'observe', 'runtime', 'access', 'users', 'broker', 'queue', 'spool', 'store', 'accounting'],
    ...['cluster', 'rabbitmq', 'kafka', 'dead-letters', 'contract', 'influxql', 'alerts', 'notify', 'boards', 'edits'],
    ...['export', 'outlets'],
  ],
  // What is told to devices, and what became of it.
  commands: [
    'access',
    'auth',
    'broker',
    'cluster',
    'config',
    'contract',
    'disk',
    'mqtt',
    'observe',
    'pipeline',
    'queue',
    'rabbitmq',
    'runtime',
    'users',
  ],
  push: ['access', 'config', 'pipeline', 'runtime', 'users'],
  http: [
    ...[
      'access',
      'auth',
      'commands',
      'config',
      'contract',
      'observe',
      'pipeline',
      'push',
      'queue',
      'runtime',
      'transport',
      'users',
    ],
  ],
  // Copies of a data directory, made in a process of their own.
  backup: ['accounting', 'disk', 'runtime', 'spool'],
  // Looks at what all others have made, with the readers of each.
  doctor: [
    ...['inlets', 'remote'],
    ...[
      'access',
      'config',
      'dead-letters',
      'disk',
      'observe',
      'pipeline',
      'rabbitmq',
      'kafka',
      'runtime',
      'sessions',
      'spool',
    ],
    ...['store', 'transport', 'users', 'contract'],
  ],
  cli: [
    ...[
      'access',
      'auth',
      'backup',
      'config',
      'contract',
      'disk',
      'doctor',
      'observe',
      'passwords',
      'runtime',
      'transport',
    ],
    ...['users', 'notify', 'import'],
  ],
}

/** Folders of tools: any file of theirs may be imported. */
const open = ['runtime', 'mqtt', 'observe', 'disk']
/** The others have a door, the file of their name, and at most two files more that may be imported from outside. */
const doors: Readonly<Record<string, readonly string[]>> = {
  contract: ['contract.ts', 'publish.ts', 'schema.ts'],
  config: ['config.ts', 'settings.ts', 'reload.ts'],
  access: ['rules.ts'],
  passwords: ['passwords.ts', 'scram.ts', 'verifier.ts'],
  users: ['users.ts', 'users-file.ts', 'user-directory.ts'],
  auth: ['admission.ts', 'principal.ts', 'admin-key.ts'],
  queue: ['queue.ts', 'suspects.ts', 'service-queue.ts'],
  store: ['store.ts', 'duckdb.ts', 'influxdb.ts'],
  influxql: ['influxql.ts'],
  alerts: ['alerts.ts', 'transition.ts'],
  edits: ['edit-file.ts'],
  backup: ['backup.ts'],
  export: ['exports.ts', 'nightly.ts'],
  import: ['row-files.ts', 'influx-rows.ts', 'row-batch.ts'],
  boards: ['boards.ts'],
  spool: ['spool.ts', 'ingest.ts', 'cursors.ts'],
  accounting: ['balance-sheet.ts', 'ledgers.ts', 'receipts.ts'],
  cluster: ['cluster.ts', 'bus.ts', 'hub-settings.ts'],
  rabbitmq: ['rabbitmq.ts', 'service-queue.ts', 'bus.ts'],
  kafka: ['kafka.ts', 'outlet.ts'],
  'dead-letters': ['dead-letters.ts'],
  sessions: ['sessions.ts', 'fan-out.ts', 'session-name.ts'],
  transport: ['connections.ts', 'listeners.ts', 'tls.ts'],
  broker: ['broker.ts', 'broker-settings.ts'],
  commands: ['commands.ts', 'command.ts', 'command-row.ts'],
  push: ['feeds.ts'],
  remote: ['remote-broker.ts', 'address.ts'],
  inlets: ['inlets.ts', 'plan.ts'],
  shadows: ['shadows.ts'],
  notify: ['notify.ts'],
  outlets: ['outlets.ts', 'plan.ts', 'kind.ts'],
  http: ['server.ts', 'http-settings.ts', 'health.ts'],
  cli: ['commands.ts', 'command.ts'],
  doctor: ['doctor.ts'],
  pipeline: ['pipeline-thread.ts', 'pipeline-api.ts', 'record-process.ts'],
}

const folderOf = (file: string) => (file.includes('/') ? (file.split('/')[0] as string) : '')

t.test('every file has its place', async t => {
  for (const file of hubFiles) {
    const folder = folderOf(file)
    t.ok(folder === '' ? words.includes(file) || roots.includes(file) : folder in layers, file)
  }
  t.ok(
    readdirSync(folder, { withFileTypes: true }).filter(entry => entry.isFile()).length <= 6,
    'six files at the root',
  )
  t.same([...open, ...Object.keys(doors)].sort(), Object.keys(layers).sort())
})

t.test('imports point one way', async t => {
  for (const { from, to } of ours) {
    let isAllowed: boolean
    if (words.includes(to)) isAllowed = true
    else if (formats.includes(to)) isAllowed = !words.includes(from)
    else if (roots.includes(from)) isAllowed = to !== 'cli.ts'
    else if (words.includes(from) || formats.includes(from)) isAllowed = false
    else isAllowed = folderOf(from) === folderOf(to) || layers[folderOf(from)]?.includes(folderOf(to)) === true
    t.ok(isAllowed, `${from} imports ${to}`)
  }
})

t.test('no folder is above and below another', async t => {
  const above = (folder: string, path: readonly string[]): void => {
    t.notOk(path.includes(folder), [...path, folder].join(' → '))
    if (!path.includes(folder)) for (const next of layers[folder] ?? []) above(next, [...path, folder])
  }
  for (const folder of Object.keys(layers)) above(folder, [])
})

t.test('a folder is entered by its door', async t => {
  for (const { from, to } of ours) {
    const folder = folderOf(to)
    const through = doors[folder]
    // The doctor reads what others have written with their own readers.
    if (!through || folder === folderOf(from) || folderOf(from) === 'doctor' || formats.includes(to)) continue
    t.ok(through.includes(to.slice(folder.length + 1)), `${from} imports ${to}`)
  }
  for (const [folder, files] of Object.entries(doors)) t.ok(files.length <= 3, folder)
})

t.test('words and formats touch neither packages nor the system', async t => {
  const pure = imports.filter(
    ({ from }) => words.includes(from) || formats.includes(from) || folderOf(from) === 'contract',
  )
  for (const { from, to } of pure) t.ok(to.endsWith('.ts'), `${from} imports ${to}`)
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
        [...by].every(file => folderOf(file) === 'broker'),
        `${name}: ${[...by]}`,
      )
    else if (name === 'fastify')
      t.ok(
        [...by].every(file => folderOf(file) === 'http'),
        `${name}: ${[...by]}`,
      )
    else if (name === 'yaml')
      t.ok(
        [...by].every(file => ['config', 'users', 'notify', 'alerts'].includes(folderOf(file))),
        `${name}: ${[...by]}`,
      )
    else t.equal(by.size, 1, `${name}: ${[...by].join(', ')}`)
  }
})

t.test('no cycles, not of types either', async t => {
  const next = new Map<string, string[]>()
  for (const { from, to } of ours) next.set(from, [...(next.get(from) ?? []), to])
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

t.test('the dashboard knows nothing of the hub but the types of its API', async t => {
  for (const file of files.filter(name => name.startsWith('dashboard/'))) {
    for (const { to, typeOnly } of importsOf(file)) {
      const isOwn =
        to.startsWith('dashboard/') || ['uplot', 'uqr', 'preact', 'preact/hooks', '@telehub/client'].includes(to)
      t.ok(isOwn || (typeOnly && to === 'contract/contract.ts'), `${file} imports ${to}`)
    }
  }
})

t.test('the client imports nothing but itself, so that it is installed without any other package', async t => {
  const client = join(root, 'client/src')
  for (const file of readdirSync(client)) {
    const source = readFileSync(join(client, file), 'utf8')
    for (const [, to = ''] of source.matchAll(/from '([^']+)'|import\('([^']+)'\)/g))
      t.match(to, /^\.\/[\w-]+\.js$/, file)
    t.ok(source.split('\n').length <= 600, file)
  }
})

t.test('commands start without the schemas: the types of the API are enough for them', async t => {
  const ofApi = ours.filter(({ from, to }) => ['cli', 'doctor'].includes(folderOf(from)) && folderOf(to) === 'contract')
  t.ok(ofApi.length > 0)
  for (const { from, to, typeOnly } of ofApi) t.ok(typeOnly, `${from} imports ${to}`)
})

t.test('no file over 600 lines, no drawers, no barrels', async t => {
  const devices = (readdirSync(join(root, 'devices')) as string[]).filter(name => name.endsWith('.ts'))
  for (const path of [...files.map(name => join('src', name)), ...devices.map(name => join('devices', name))]) {
    const lines = readFileSync(join(root, path), 'utf8').split('\n').length
    t.ok(lines <= 600, `${path}: ${lines} lines`)
    t.notMatch(path, /(^|\/)(utils?|helpers?|common|misc|types|index)\.ts$/)
  }
})

/** Classes that are still to be split. This list only ever gets shorter. */
const longClasses: readonly string[] = ['DuckDbStore']

t.test('no class over 300 lines', async t => {
  const tooLong = new Set<string>()
  for (const file of files) {
    const lines = readFileSync(join(folder, file), 'utf8').split('\n')
    for (const [start, line] of lines.entries()) {
      const [, name] = /^(?:export )?(?:abstract )?class (\w+)/.exec(line) ?? []
      if (!name || line.endsWith('}')) continue
      const length = lines.indexOf('}', start) + 1 - start
      if (length > 300) tooLong.add(name)
      t.ok(length <= 300 || longClasses.includes(name), `${file}: class ${name} has ${length} lines`)
    }
  }
  t.same([...tooLong].sort(), longClasses, 'a class that is short by now leaves the list')
})

t.test('settings come in through the front door', async t => {
  for (const file of hubFiles) {
    if (file === 'cli.ts' || file === 'config/config.ts') continue
    t.notMatch(readFileSync(join(folder, file), 'utf8'), /process\.(env|argv)/, file)
  }
  t.equal(relative(root, folder), 'src')
})

/** The bodies of the interfaces and object types in a source, by name; without comments. */
function typesOf(source: string): (readonly [name: string, body: string])[] {
  const text = source.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
  return [...text.matchAll(/\b(?:interface|type) (\w+)[^\n{=]*=?[^\n{=]*\{\n/g)].map(found => {
    const start = found.index + found[0].length
    let end = start
    for (let depth = 1; depth > 0 && end < text.length; end++) {
      if (text[end] === '{') depth++
      else if (text[end] === '}') depth--
    }
    return [found[1] as string, text.slice(start, end - 1)]
  })
}

/** Members that are functions, written as `done: () => void` or as `done(): void`, also in objects within. */
const callback = /(?:^|\{|;)\s*(?:readonly )?\w+\??(?::\s*\(?\((?:[^()]|\([^()]*\))*\)\s*=>|(?:<[^>]*>)?\()/gm

t.test('parts are given parts: few callbacks in options', async t => {
  const found = hubFiles.flatMap(file =>
    typesOf(readFileSync(join(folder, file), 'utf8'))
      .filter(([name]) => name.endsWith('Options'))
      .flatMap(([name, body]) => [...body.matchAll(callback)].map(([text]) => `${file} ${name} ${text.trim()}`)),
  )
  t.ok(found.length < 40, `${found.length} callbacks: ${found.join('\n')}`)
})

t.test('the hub on one page, and what is behind the spool on one of its own', async t => {
  for (const [file, most] of [
    ['hub.ts', 150],
    ['pipeline/pipeline.ts', 175],
  ] as const) {
    const lines = readFileSync(join(folder, file), 'utf8').trimEnd().split('\n')
    t.ok(lines.length <= most, `${file}: ${lines.length} lines`)
  }
})
