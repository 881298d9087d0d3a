import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, metric, residentMegabytes, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { witness } from './witness.js'

/** What somebody without a name can do before CONNECT, or over HTTP. */

const cli = fileURLToPath(new URL('../../bundle/cli.js', import.meta.url))

function dial(t: Test, url: string): Socket {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  socket.resume()
  t.teardown(() => socket.destroy())
  return socket
}

const upgrade =
  'GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: mqtt\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

/** The head of a masked binary frame, with a mask of zeros. */
function frameHead(length: number): Buffer {
  const head = Buffer.alloc(14)
  head[0] = 0x82
  head[1] = 0xff
  head.writeBigUInt64BE(BigInt(length), 2)
  return head
}

t.test(
  '120 strangers over WebSocket send nearly all of a frame of 2 MB: they are cut off, and memory stays',
  async t => {
    const hub = await startHub(t)
    const good = await witness(t, hub)
    const before = residentMegabytes(hub)
    const strangers = await Promise.all(
      Array.from({ length: 120 }, async () => {
        const socket = dial(t, hub.webSocketUrl)
        socket.write(upgrade)
        await once(socket, 'data')
        socket.write(Buffer.concat([frameHead(2_000_000), Buffer.alloc(1_990_000, 'x')]))
        return socket
      }),
    )
    await eventually(() => strangers.every(({ destroyed }) => destroyed), 'all are cut off')
    const after = residentMegabytes(hub)
    t.ok(after < before + 100, `${before} MB before, ${after} MB after`)
    await good.end(5_000)
  },
)

t.test('limits.helloMemory: what strangers may make the hub hold over TCP and WebSocket together', async t => {
  const hub = await startHub(t, { 'limits.helloMemory': '1MB', 'limits.connect': '10m' })
  const good = await witness(t, hub)
  const begun = Buffer.concat([Buffer.from([0x10, 0xe0, 0xd4, 0x03]), Buffer.alloc(50_000)])
  const frame = Buffer.concat([frameHead(60_000), Buffer.alloc(50_000)])
  for (let n = 0; n < 50; n++) {
    dial(t, hub.mqttUrl).write(begun)
    const socket = dial(t, hub.webSocketUrl)
    socket.write(upgrade)
    socket.once('data', () => socket.write(frame))
  }
  await eventually(
    async () => (await metric(hub, 'telehub_refused_total{reason="gave_way"}')) >= 75,
    'all but those that 1 MB is enough for give way',
  )
  await connectMqtt(t, hub.mqttUrl, { clientId: 'comes' })
  await connectMqtt(t, hub.webSocketUrl, { clientId: 'comes too' })
  await good.end()
})

t.test('http.connections: the one idle longest gives way, and MQTT is not touched', async t => {
  const hub = await startHub(t, { 'http.connections': '20', 'http.address': '15' })
  const good = await witness(t, hub)
  const idle: Socket[] = []
  for (let n = 0; n < 30; n++) {
    const socket = dial(t, hub.httpUrl)
    await once(socket, 'connect')
    socket.write('GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
    await once(socket, 'data')
    idle.push(socket)
  }
  await eventually(() => idle.filter(({ destroyed }) => destroyed).length >= 15, 'so many of one address')
  t.ok(idle[0]?.destroyed, 'the oldest first')
  t.notOk(idle[29]?.destroyed)
  t.ok((await metric(hub, 'telehub_refused_total{reason="http_gave_way"}')) >= 15, 'and they are counted')
  await connectMqtt(t, hub.webSocketUrl, { clientId: 'dashboard' })
  await good.end()
})

t.test('where few files may be open, strangers over HTTP do not keep MQTT out', async t => {
  const dir = await tempDir()
  const args = ['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', dir, '--http.address', '100000']
  const hub = spawn('sh', ['-c', 'ulimit -n 400; exec "$0" "$@"', process.execPath, cli, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(async () => {
    hub.kill('SIGKILL')
    if (hub.exitCode === null) await once(hub, 'exit')
  })
  let said = ''
  hub.stdout.on('data', chunk => {
    said += chunk
  })
  let logged = ''
  hub.stderr.on('data', chunk => {
    logged += chunk
  })
  const ready = await eventually(() => /^telehub ready .*$/m.exec(said)?.[0], 'it is ready')
  const mqttUrl = /mqtt:\/\/\S+/.exec(ready)?.[0] ?? ''
  const httpUrl = /http:\/\/\S+/.exec(ready)?.[0] ?? ''
  t.match(logged, /may open 400 files/)
  const strangers = Array.from({ length: 600 }, () => dial(t, httpUrl))
  await eventually(() => strangers.filter(({ destroyed }) => destroyed).length >= 500, 'most give way')
  await sleep(100)
  for (let n = 0; n < 20; n++) {
    const client = await connectMqtt(t, mqttUrl, { clientId: `device ${n}` })
    await client.publishAsync('still', 'here', { qos: 1 })
  }
  t.equal((await fetch(`${httpUrl}/healthz`)).status, 200)
})
