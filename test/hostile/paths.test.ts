import { existsSync, readdirSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import { generate } from 'mqtt-packet'
import t from 'tap'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { attempts, stillServes } from './attempts.js'

/** Client ids, users, topics and URLs on their way to names of files. */

const names: readonly (readonly [attempt: string, text: string])[] = [
  ['a path up', '../../etc/passwd'],
  ['a path up, further', `${'../'.repeat(20)}tmp/telehub-hostile`],
  ['a path from the root', '/tmp/telehub-hostile'],
  ['a path of Windows', '..\\..\\telehub-hostile'],
  ['a drive', 'C:telehub-hostile'],
  ['a device', 'CON'],
  ['another device', 'NUL.txt'],
  ['this folder', '.'],
  ['the folder above', '..'],
  ['a hidden file', '.telehub-hostile'],
  ['a home', '~root'],
  ['a variable', '%TEMP%'],
  ['a stream', 'a:b'],
  ['a name longer than names are', 'n'.repeat(300)],
  ['a line end', 'a\nb'],
  ['an escape', '%2e%2e%2f%2e%2e%2fetc%2fpasswd'],
  ...attempts.filter(([, text]) => !text.includes('\0')),
]

const filesOf = (folder: string) => readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()

/** As it is: `fetch` would tidy the path first. */
function rawGet(hub: RunningHub, path: string): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(hub.httpUrl)
  return new Promise((resolve, reject) => {
    const asked = request({ hostname, port, path }, response => {
      let body = ''
      response.on('data', chunk => {
        body += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
    })
    asked.on('error', reject).end()
  })
}

t.test('no name of a device becomes the name of a file', async t => {
  const outer = await tempDir()
  const dir = `${outer}/a/b/data`
  const hub = await startHub(t, {}, dir)
  const talk = async (name: string) => {
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: name, username: name, clean: false })
    const topic = /[+#]/.test(name) || name.startsWith('$') ? 'x' : name.split('/').slice(0, 30).join('/')
    await device.subscribeAsync('some/#', { qos: 1 })
    await device.publishAsync(topic, '{"v":1}', { qos: 1, retain: true })
    await device.publishAsync(topic, '{broken', { qos: 1 })
    await device.endAsync()
  }
  await talk('calm')
  const dead = async () => (await hub.get<{ dead: unknown[] }>('/api/dead?limit=1000')).body.dead.length
  await eventually(async () => (await dead()) === 1, 'the dead letter is there')
  const kinds = (files: readonly string[]) => [...new Set(files.map(file => file.replace(/\d+/g, 'N')))].sort()
  const before = kinds(filesOf(outer))
  for (const [, name] of names) await talk(name)
  await eventually(async () => (await dead()) === names.length + 1, 'all are dead letters')
  await stillServes(t, hub)
  t.equal(await hub.stop(), 0)
  const known = /^(a|a\/b|a\/b\/data(\/[a-z.]+|\/(spool|sessions|balance|dead)\/[a-zN.-]+)?)$/
  const after = kinds(filesOf(outer))
  t.same(
    after.filter(file => !before.includes(file) && !known.test(file)),
    [],
    'no other file',
  )
  t.notOk(existsSync('/tmp/telehub-hostile'))
  t.notOk(readdirSync(dirname(outer)).includes('telehub-hostile'))

  const again = await startHub(t, {}, dir)
  interface Device {
    readonly clientId: string
    readonly user: string
  }
  const { devices } = (await again.get<{ devices: Device[] }>('/api/devices')).body
  const ids = devices.map(({ clientId }) => clientId)
  for (const [attempt, name] of names) t.ok(ids.includes(name), `${attempt}: known by its name after a restart`)
  t.ok(
    devices.every(({ clientId, user }) => user === clientId || user === ''),
    'and by nobody else’s',
  )
})

t.test('U+0000 in a client id, user or topic closes the connection', async t => {
  const hub = await startHub(t)
  const { hostname, port } = new URL(hub.mqttUrl)
  const hello = (clientId: string, username: string) =>
    generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId, username, keepalive: 0 })
  const publish = { cmd: 'publish', topic: 'a\0b', payload: '1', qos: 0, dup: false, retain: false } as const
  for (const [attempt, ...packets] of [
    ['as client id', hello('a\0b', 'u')],
    ['as user', hello('c', 'a\0b')],
    ['as topic', hello('c', 'u'), generate(publish)],
  ] as const) {
    const socket = connect(Number(port), hostname)
    t.teardown(() => socket.destroy())
    socket.on('error', () => {}).resume()
    const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
    for (const packet of packets) socket.write(packet)
    await closed
    t.pass(attempt)
  }
  t.same((await hub.get('/api/series')).body, { series: [] }, 'nothing was stored')
  await stillServes(t, hub)
})

t.test('no URL reaches a file that is not the dashboard’s', async t => {
  const hub = await startHub(t)
  const paths = [
    '/../package.json',
    '/../../../../../../etc/passwd',
    '/..%2f..%2f..%2fetc%2fpasswd',
    '/%2e%2e/%2e%2e/package.json',
    '/%2e%2e%5c%2e%2e%5cpackage.json',
    '/vendor/../../package.json',
    '/vendor/..%2f..%2fpackage.json',
    '/vendor/swagger-ui.js/../../../package.json',
    '//etc/passwd',
    '/.//../hub.js',
    '/%00',
    '/index.html%00.css',
    '/main.js/',
    '/../hub.js',
    '/..\\hub.js',
    '/__proto__',
    '/constructor',
    '/vendor/__proto__',
    '/api/__proto__',
    '/api/dead/constructor',
    'http://127.0.0.1/../package.json',
    '/%',
    '/%ff',
    `/${'a/'.repeat(5_000)}`,
  ]
  for (const path of paths) {
    const { status, body } = await rawGet(hub, path)
    t.ok(status >= 400 && status < 500, `${path.slice(0, 60)}: ${status}`)
    t.notMatch(body, /root:|"dependencies"|startHub/, `${path.slice(0, 60)}: nothing of a file`)
  }
  await stillServes(t, hub)
})
