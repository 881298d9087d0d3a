import { execFile, spawn } from 'node:child_process'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { startRabbit } from '../services/rabbitmq.js'
import { pythonModule, tempDir } from '../services/service.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../..', import.meta.url))

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())

/** The examples in a folder of their own, with their packages, as somebody has them who takes them along. */
const folder = await tempDir()
await cp(join(root, 'examples/back-ends'), folder, { recursive: true, filter: from => !/node_modules|dist/.test(from) })
await cp(join(root, '.npmrc'), join(folder, '.npmrc'))
await run('npm', ['ci', '--prefer-offline', '--no-audit', '--no-fund'], { cwd: folder })

/** A program that runs until the test stops it. */
interface BackEnd {
  stop(signal: NodeJS.Signals): Promise<void>
}

async function start(t: Test, command: string, args: readonly string[]): Promise<BackEnd> {
  const child = spawn(command, args, {
    cwd: folder,
    env: { ...process.env, RABBITMQ_URL: rabbit.url },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  child.stdout.on('data', part => (said += part))
  child.stderr.on('data', part => (said += part))
  const gone = new Promise<void>(resolve => child.once('exit', () => resolve()))
  t.teardown(() => child.kill('SIGKILL'))
  await eventually(
    () => {
      if (child.exitCode !== null) throw new Error(`${command} has ended: ${said}`)
      return /^ready$/m.test(said)
    },
    `${command} ${args.join(' ')} is ready: ${said}`,
  )
  return {
    stop: async signal => {
      child.kill(signal)
      await gone
    },
  }
}

const hub = await startHub(t, { 'rabbitmq.url': rabbit.url })

/** What all of them do: warn of hot rooms, of no others; and what came while they were dead is not lost. */
async function warns(t: Test, library: string, command: string, args: readonly string[]): Promise<void> {
  const device = await connectMqtt(t, hub.mqttUrl)
  const screen = await connectMqtt(t, hub.mqttUrl)
  const seen: string[] = []
  screen.on('message', (topic, payload, { qos }) => seen.push(`${topic} ${payload} ${qos}`))
  await screen.subscribeAsync(`warnings/${library}/#`, { qos: 1 })
  const publish = (room: string, text: string) => device.publishAsync(`home/${room}/t1/telemetry`, text, { qos: 1 })
  const warning = (room: string, temperature: number) =>
    `warnings/${library}/${room} ${JSON.stringify({ room, temperature })} 1`
  const flat = (text: string) => text.replace(/": /g, '":').replace(/, "/g, ',"')
  const has = (room: string, temperature: number) => () => seen.map(flat).includes(warning(room, temperature))

  let backEnd = await start(t, command, args)
  await publish('cellar', '{"temperature": 12}')
  await publish('attic', '{"temperature": 31.5}')
  await eventually(has('attic', 31.5), `${library} warns`)
  await backEnd.stop('SIGKILL')
  await publish('hall', '{"temperature": 35}')
  backEnd = await start(t, command, args)
  await eventually(has('hall', 35), `${library} goes on where it was`)
  t.notOk(
    seen.some(one => one.includes('cellar')),
    'no warning of a cool room',
  )
  const late = await connectMqtt(t, hub.mqttUrl)
  const retained: string[] = []
  late.on('message', (topic, _, { retain }) => retained.push(`${topic} ${retain}`))
  await late.subscribeAsync(`warnings/${library}/#`)
  await eventually(() => retained.length >= 2, 'the warnings are retained')
  t.same(retained.sort(), [`warnings/${library}/attic true`, `warnings/${library}/hall true`])
  await backEnd.stop('SIGTERM')
}

t.test('amqplib', async t => {
  await warns(t, 'amqplib', process.execPath, ['with-amqplib.mjs'])
})

t.test('rabbitmq-client', async t => {
  await warns(t, 'rabbitmq-client', process.execPath, ['with-rabbitmq-client.mjs'])
})

t.test('pika', async t => {
  await pythonModule('pika', 'python3-pika')
  await warns(t, 'pika', '/usr/bin/python3', ['with_pika.py'])
})

t.test('a NestJS microservice', async t => {
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const types = join(root, 'node_modules/@types')
  await run(process.execPath, [tsc, '-p', 'nest', '--typeRoots', types], { cwd: folder })
  await warns(t, 'nest', process.execPath, ['nest/dist/main.js'])
})
