import { execFile } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { parse } from 'yaml'
import { loadSettings } from '../src/config/config.js'
import { tempDir } from './services/service.js'

/** What only breaks on somebody else's machine: the container, the compose file, the commands. */

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (name: string) => readFileSync(join(root, name), 'utf8')

interface Service {
  readonly image?: string
  readonly build?: string
  readonly environment?: Readonly<Record<string, string>>
  readonly ports?: readonly string[]
  readonly volumes?: readonly string[]
  readonly depends_on?: Readonly<Record<string, { readonly required: boolean }>>
  readonly healthcheck?: { readonly test: readonly string[] }
  readonly cap_drop?: readonly string[]
  readonly security_opt?: readonly string[]
  readonly read_only?: boolean
  readonly tmpfs?: readonly string[]
  readonly mem_limit?: string
  readonly profiles?: readonly string[]
}

/** Variables of the environment that must be set, with what Docker Compose says when one is not. */
const required = /\$\{(\w+):\?([^}]*)\}/g

/** As Docker Compose reads the file when the passwords are set. */
const compose: { readonly services: Readonly<Record<string, Service>>; readonly volumes: object } = parse(
  read('docker-compose.yml')
    .replace(required, 'secret')
    .replace(/\$\{\w+_PASSWORD\}/g, 'secret'),
)
const services = Object.entries(compose.services)

/** `[instruction, rest of the line]`, continued lines joined. */
const dockerfile = read('Dockerfile')
  .replace(/^#.*\n/gm, '')
  .replace(/\\\n\s*/g, '')
  .split('\n')
  .filter(Boolean)
  .map(line => /^(\w+)\s+(.*)$/.exec(line)?.slice(1) as [string, string])
const lastStage = dockerfile.slice(dockerfile.findLastIndex(([instruction]) => instruction === 'FROM'))
const last = (instruction: string) => lastStage.findLast(([name]) => name === instruction)?.[1] ?? ''

const scripts: Readonly<Record<string, string>> = JSON.parse(read('package.json')).scripts

t.test('compose: the settings of the hub are settings there are', async t => {
  const environment = compose.services.hub?.environment ?? {}
  t.ok(Object.keys(environment).every(name => name.startsWith('TELEHUB_')))
  const settings = loadSettings({ environment })
  for (const url of [...settings['rabbitmq.url'], settings['influx.url']]) {
    t.ok(Object.hasOwn(compose.services, new URL(url).hostname), `${url} is one of the services`)
  }
  t.ok(
    compose.services.hub?.volumes?.some(volume => volume.endsWith(`:${settings['data.dir']}`)),
    'data is kept',
  )
})

t.test(
  'compose: every service is asked how it is, keeps its data, and is reachable from this machine alone',
  async t => {
    t.same(
      services.map(([name]) => name),
      ['hub', 'rabbitmq', 'kafka', 'influxdb', 'prometheus', 'grafana'],
    )
    for (const [name, { healthcheck, ports = [], volumes = [], image, build }] of services) {
      t.ok((healthcheck?.test.length ?? 0) > 1, `${name} has a health check`)
      t.ok(ports.length > 0 && ports.every(port => port.startsWith('127.0.0.1:')), `${name} is published to loopback`)
      // Files of this folder are mounted to be read alone.
      const written = volumes.filter(volume => !/^\.\/.*:ro$/.test(volume))
      const named = written.map(volume => volume.split(':')[0] as string)
      t.ok(
        named.length > 0 && named.every(volume => Object.hasOwn(compose.volumes, volume)),
        `${name} has a named volume`,
      )
      t.ok(build === '.' || /:v?\d/.test(image ?? ''), `${name} says which version`)
    }
  },
)

t.test('compose: who nobody asked is on this machine, and has no rights there', async t => {
  const { environment = {}, ports = [], cap_drop, security_opt } = compose.services.hub ?? {}
  const settings = loadSettings({ environment })
  t.ok(settings['auth.file'] || (settings['auth.anonymous'] && ports.every(port => port.startsWith('127.0.0.1:'))))
  t.same(cap_drop, ['ALL'])
  t.same(security_opt, ['no-new-privileges:true'])
  // What the comment says to write instead.
  const [, file = ''] = /^# +TELEHUB_AUTH_FILE: (\S+)$/m.exec(read('docker-compose.yml')) ?? []
  const { TELEHUB_AUTH_ANONYMOUS: _, ...others } = environment
  t.throws(() => loadSettings({ environment: others }), { code: 'bad_settings' })
  t.equal(loadSettings({ environment: { ...others, TELEHUB_AUTH_FILE: file } })['auth.file'], file)
  t.ok(file.startsWith(`${settings['data.dir']}/`), 'in the volume')
})

t.test('MQTT over TLS: what the comments of compose and Dockerfile say of it is so', async t => {
  const text = read('docker-compose.yml')
  const [, published = '', inside = ''] = /^ +# - "127\.0\.0\.1:(\S+):(\d+)"$/m.exec(text) ?? []
  t.equal(published, `\${MQTTS_PORT:-${inside}}`)
  t.ok(last('EXPOSE').split(/\s+/).includes(inside), 'the image exposes it')
  for (const file of [text, read('Dockerfile')]) {
    const [, names = '', port] = /once (.*) \((\d+)\) are set/.exec(file) ?? []
    t.same(names.match(/TELEHUB_\w+/g), ['TELEHUB_TLS_CERT', 'TELEHUB_TLS_KEY', 'TELEHUB_MQTTS_PORT'])
    t.equal(port, inside)
  }
  const environment = { TELEHUB_TLS_CERT: 'a', TELEHUB_TLS_KEY: 'b', TELEHUB_MQTTS_PORT: inside }
  t.equal(loadSettings({ environment })['mqtts.port'], Number(inside))
})

t.test('the health check of the container is the command that asks with the settings of the hub', async t => {
  const program = (JSON.parse(last('ENTRYPOINT')) as string[]).at(-1)
  const command = ['node', program, 'healthcheck']
  t.same(JSON.parse(last('HEALTHCHECK').replace(/^.*?CMD /, '')), command)
  t.same(compose.services.hub?.healthcheck?.test, ['CMD', ...command], 'in both places')
})

t.test('every image is named by version and digest', async t => {
  const images = [
    ...dockerfile.filter(([instruction]) => instruction === 'FROM').map(([, rest]) => rest.split(/\s/)[0]),
    ...services.filter(([, { profiles }]) => !profiles).flatMap(([, { image }]) => image ?? []),
  ]
  t.equal(images.length, 4)
  for (const image of images) t.match(image, /^[a-z]+:\d+\.\d+\.\d+[\w-]*@sha256:[\da-f]{64}$/)
  // Those of a profile by version at least.
  const others = services.filter(([, { profiles }]) => profiles).map(([, { image }]) => image)
  t.equal(others.length, 3)
  for (const image of others) t.match(image, /^[a-z]+\/[a-z]+:v?\d+\.\d+\.\d+(@sha256:[\da-f]{64})?$/)
})

t.test('compose: nothing has a password that is written in the file', async t => {
  const text = read('docker-compose.yml')
  t.notMatch(text, /guest/)
  const inUrls = [...text.matchAll(/\b(?:amqp|http):\/\/\w+:([^@\n]*)@/g)].map(([, password]) => password)
  t.equal(inUrls.length, 2)
  for (const password of inUrls) t.match(password, /^\$\{\w+_PASSWORD:\?[^}]+\}$/)
  const variables = [...text.matchAll(required)].map(([, name]) => name)
  t.same([...new Set(variables)].sort(), ['INFLUX_ADMIN_PASSWORD', 'INFLUX_PASSWORD', 'RABBITMQ_PASSWORD'])
  for (const [, name, sentence] of text.matchAll(required)) t.match(sentence, 'docker-compose.yml says how', `${name}`)
  // The line at the head of the file, as a shell runs it.
  const [, line = ''] = /^# +(\(umask 077; .*\))$/m.exec(text) ?? []
  const dir = await tempDir()
  await promisify(execFile)('sh', ['-c', line], { cwd: dir })
  const made = readFileSync(join(dir, '.env'), 'utf8')
  t.equal(statSync(join(dir, '.env')).mode & 0o777, 0o600)
  for (const name of new Set(variables)) t.match(made, new RegExp(`^${name}=[\\da-f]{48}$`, 'm'), `${name}`)
  t.match(read('.gitignore'), /^\.env$/m)
})

t.test('compose: the hub writes to its volume alone, and nothing takes all of the memory', async t => {
  const { read_only, tmpfs } = compose.services.hub ?? {}
  t.equal(read_only, true)
  t.same(tmpfs, ['/tmp'])
  for (const [name, { mem_limit }] of services) t.match(mem_limit, /^\d+g$/, `${name}`)
})

t.test('compose: the hub starts without the others', async t => {
  const needs = Object.entries(compose.services.hub?.depends_on ?? {})
  t.same(
    needs.map(([name, { required }]) => [name, required]),
    [
      ['rabbitmq', false],
      ['influxdb', false],
    ],
  )
})

t.test('Dockerfile: what is copied is there and not ignored', async t => {
  const allowed = read('.dockerignore')
    .split('\n')
    .filter(line => line.startsWith('!'))
    .map(line => line.slice(1))
  const copied = dockerfile
    .filter(([instruction, rest]) => instruction === 'COPY' && !rest.startsWith('--from'))
    .flatMap(([, rest]) => rest.split(/\s+/).slice(0, -1))
  t.ok(copied.includes('package-lock.json') && copied.includes('src'))
  for (const path of copied) {
    t.ok(existsSync(join(root, path)), `${path} exists`)
    t.ok(allowed.includes(path), `${path} is let through by .dockerignore`)
  }
})

t.test('Dockerfile: runs the program of the package as nobody special, and can be asked and stopped', async t => {
  t.not(last('USER'), '')
  t.notMatch(last('USER'), /^(root|0)\b/)
  t.equal(last('STOPSIGNAL'), 'SIGTERM')
  t.equal(last('VOLUME'), '/data')
  const program = (JSON.parse(last('ENTRYPOINT')) as string[]).at(-1)
  t.equal(program, JSON.parse(read('package.json')).bin.telehub)
  t.same(JSON.parse(last('CMD')), ['start'])
})

t.test('Dockerfile: its environment is settings there are; nobody gets in unasked by default', async t => {
  const given = Object.fromEntries(
    last('ENV')
      .split(/\s+/)
      .map(pair => pair.split('=') as [string, string]),
  )
  t.throws(() => loadSettings({ environment: given }), { code: 'bad_settings', message: /auth\.anonymous/ })
  const settings = loadSettings({ environment: { ...given, TELEHUB_AUTH_ANONYMOUS: 'true' } })
  t.equal(settings['data.dir'], last('VOLUME'))
  const exposed = last('EXPOSE').split(/\s+/).map(Number)
  t.same(exposed, [settings['mqtt.port'], settings['http.port'], 8883], 'and mqtts, where it is usual')
})

t.test('container, package and README name the same versions of Node, and the tests can be run on each', async t => {
  const { engines } = JSON.parse(read('package.json'))
  const majors = engines.node.split(' || ').map((range: string) => /^\^(\d+)\.\d+\.\d+$/.exec(range)?.[1])
  t.same(majors, ['20', '22', '24'])
  const [, rest = ''] = dockerfile.find(([instruction]) => instruction === 'FROM') ?? []
  t.match(rest, new RegExp(`^node:${majors.at(-1)}\\.`), 'the container has the newest')
  t.match(read('README.md'), 'Node.js 22 or 24')
  for (const major of majors.slice(1)) t.match(read('CONTRIBUTING.md'), `npm run test:node -- ${major}`)
})

t.test('every command we name is there', async t => {
  const known = read('src/setup.mjs')
  for (const [name, command] of Object.entries(scripts)) {
    const [, file, argument] = /^node (\S+)(?: ([\w-]+))?/.exec(command) ?? []
    if (!file) continue
    t.ok(existsSync(join(root, file)), `${name}: ${file}`)
    t.match(known, new RegExp(`\\b${argument}\\b`), `${name}: ${file} knows ${argument}`)
  }
  const docs = readdirSync(join(root, 'docs'))
    .filter(name => name.endsWith('.md'))
    .map(name => `docs/${name}`)
  for (const page of ['README.md', 'CONTRIBUTING.md', 'devices/README.md', ...docs, '.ci/run'].filter(page =>
    existsSync(join(root, page)),
  )) {
    const named = [...read(page).matchAll(/\bnpm (?:run ([\w:]+)|(start|test)\b)/g)].map(found => found[1] ?? found[2])
    for (const name of new Set(named)) t.ok(Object.hasOwn(scripts, name as string), `${page}: npm run ${name}`)
  }
  t.doesNotThrow(() => accessSync(join(root, '.ci/run'), constants.X_OK), '.ci/run is executable')
})
