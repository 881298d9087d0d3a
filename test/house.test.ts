import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parse } from 'yaml'
import { loadSettings } from '../src/config.js'
import { freePort } from './services/service.js'

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
}

const compose: { readonly services: Readonly<Record<string, Service>>; readonly volumes: object } = parse(
  read('docker-compose.yml'),
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
  for (const url of [settings['rabbitmq.url'], settings['influx.url']]) {
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
      ['hub', 'rabbitmq', 'influxdb'],
    )
    for (const [name, { healthcheck, ports = [], volumes = [], image, build }] of services) {
      t.ok((healthcheck?.test.length ?? 0) > 1, `${name} has a health check`)
      t.ok(ports.length > 0 && ports.every(port => port.startsWith('127.0.0.1:')), `${name} is published to loopback`)
      const named = volumes.map(volume => volume.split(':')[0] as string)
      t.ok(
        named.length > 0 && named.every(volume => Object.hasOwn(compose.volumes, volume)),
        `${name} has a named volume`,
      )
      t.ok(build === '.' || /:\d/.test(image ?? ''), `${name} says which version`)
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

t.test('the health check of the container asks over HTTP and HTTPS alike', async t => {
  const [program, , code = ''] = JSON.parse(last('HEALTHCHECK').replace(/^.*?CMD /, '')) as string[]
  t.equal(program, 'node')
  t.same(compose.services.hub?.healthcheck?.test, ['CMD', 'node', '-e', code], 'in both places')
  const pem = (name: string) => read(`test/cases/tls/${name}`)
  const answer = (status: number) => (_request: unknown, response: ServerResponse) => response.writeHead(status).end()
  for (const [server, expected] of [
    [createServer(answer(200)), 0],
    [createServer(answer(503)), 1],
    [createHttpsServer({ cert: pem('server.pem'), key: pem('server.key') }, answer(200)), 0],
    [undefined, 1],
  ] as const) {
    server?.listen(0, '127.0.0.1')
    if (server) await once(server, 'listening')
    const port = server ? (server.address() as { port: number }).port : await freePort()
    const run = spawn(process.execPath, ['-e', code.replace('8080', String(port))], { stdio: 'inherit' })
    const [exitCode] = await once(run, 'exit')
    t.equal(exitCode, expected)
    server?.close()
  }
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
  t.match(last('HEALTHCHECK'), '/healthz')
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

t.test('every command we name is there', async t => {
  const known = read('src/setup.mjs')
  for (const [name, command] of Object.entries(scripts)) {
    const [, file, argument] = /^node (\S+)(?: (\w+))?/.exec(command) ?? []
    if (!file) continue
    t.ok(existsSync(join(root, file)), `${name}: ${file}`)
    t.match(known, new RegExp(`\\b${argument}\\b`), `${name}: ${file} knows ${argument}`)
  }
  for (const page of ['README.md', 'CONTRIBUTING.md', 'devices/README.md', '.ci/run'].filter(page =>
    existsSync(join(root, page)),
  )) {
    const named = [...read(page).matchAll(/\bnpm (?:run ([\w:]+)|(start|test)\b)/g)].map(found => found[1] ?? found[2])
    for (const name of new Set(named)) t.ok(Object.hasOwn(scripts, name as string), `${page}: npm run ${name}`)
  }
  t.doesNotThrow(() => accessSync(join(root, '.ci/run'), constants.X_OK), '.ci/run is executable')
})
