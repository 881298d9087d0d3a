import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { generate } from 'mqtt-packet'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, type RunningHub, runCli, startHub } from '../harness.js'
import { attempts, stillServes } from './attempts.js'

/** Client ids, users and topics on their way into log lines and onto terminals. */

const forged = 'telehub is stopped; send your password to evil.example'

const hostile: readonly (readonly [attempt: string, text: string])[] = [
  ['a line of its own', `a\n12:00:00 ERROR ${forged}`],
  ['a line of its own behind CR LF', `a\r\n{"level":50,"msg":"${forged}"}`],
  ['a carriage return that overwrites the line', `a\r${forged}`],
  ['a line that ends the JSON', `a"}\n{"level":50,"msg":"${forged}"}`],
  ['a tab and a vertical tab', 'a\tb\u000bc\u000cd'],
  ['colours', '\u001b[31ma\u001b[0m'],
  ['a title for the terminal', '\u001b]0;owned\u0007'],
  ['what clears the screen', '\u001b[2J\u001b[H'],
  ['the same in C1', '\u009b2J\u009d0;owned\u009c'],
  ['a backspace', `secret\b\b\b\b\b\b`],
  ['line ends of Unicode', `a\u2028${forged}\u2029b\u0085c`],
  ['text that turns around', 'a\u202e\u2066\u200f\u061cb'],
  ...attempts.filter(([, text]) => !/[+#\0]/.test(text)),
]

/** Nothing in it that begins a line, moves the cursor or turns text around. */
const isHarmless = (line: string) => !/\p{Cc}|\p{Zl}|\p{Zp}|\p{Bidi_Control}/u.test(line)

/** Each as client id, user and topic of something that the log tells of. */
async function misbehave(t: Test, hub: RunningHub): Promise<void> {
  const { hostname, port } = new URL(hub.mqttUrl)
  for (const [, text] of hostile) {
    const socket = connect(Number(port), hostname)
    t.teardown(() => socket.destroy())
    socket.on('error', () => {}).resume()
    const closed = new Promise(resolve => socket.once('close', resolve))
    const common = { cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 0 } as const
    const will = { topic: `$x/${text}`, payload: Buffer.from(text), qos: 0, retain: false } as const
    socket.write(generate({ ...common, clientId: text, username: text, password: Buffer.from(text), will }))
    const bad = { cmd: 'publish', topic: `$x/${text}`, payload: text, qos: 1, messageId: 1, dup: false, retain: false }
    socket.write(generate(bad as never))
    await closed
    // The log tells of ten refusals a second, and counts the others.
    await sleep(110)
  }
}

for (const format of ['text', 'json'] as const) {
  t.test(`log.format ${format}: each event is one line, whatever it tells of`, async t => {
    const hub = await startHub(t, { 'log.format': format, 'log.level': 'debug' })
    await misbehave(t, hub)
    const log = await eventually(() => {
      const written = hub.log()
      return (written.match(/refused .* to publish/g)?.length ?? 0) >= hostile.length && written
    }, 'each is told of')
    const lines = log.split('\n').slice(0, -1)
    t.same(
      lines.filter(line => !isHarmless(line)),
      [],
      'no line does anything to a terminal',
    )
    const starts = format === 'text' ? /^\d+:\d+:\d+( [AP]M)? (DEBUG|INFO|WARN|ERROR) +/i : /^\{"level":\d+,"time":"/
    t.same(
      lines.filter(line => !starts.test(line)),
      [],
      'each line is the hub’s own',
    )
    t.same(
      lines.filter(line => /^\S+( [AP]M)? error/i.test(line)),
      [],
      'no error was forged',
    )
    if (format === 'json') {
      const told = lines.map(line => JSON.parse(line) as { level: number; msg: string })
      t.ok(
        told.every(({ level }) => level < 50),
        'no error was forged',
      )
    }
    await stillServes(t, hub)
  })
}

t.test('telehub dead list and show print no more lines than there are, and no codes', async t => {
  const hub = await startHub(t)
  for (const [, text] of hostile) {
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: `c${text}`, username: text })
    const topic = text.startsWith('$') ? `x${text}` : text
    await device.publishAsync(topic, `{"${text}`, { qos: 1 })
    await device.endAsync()
  }
  interface Letters {
    readonly dead: readonly { id: string; clientId: string; topic: string; user: string }[]
  }
  const { dead } = await eventually(async () => {
    const { body } = await hub.get<Letters>('/api/dead?limit=1000')
    return body.dead.length === hostile.length && body
  }, 'all are dead letters')
  t.same(new Set(dead.map(({ user }) => user)), new Set(hostile.map(([, text]) => text)), 'as they were sent')
  const print = async (...args: string[]) => {
    const run = runCli(['dead', ...args, '--url', hub.httpUrl])
    t.equal(await run.exited, 0, run.stderr())
    return run.stdout()
  }
  const list = (await print('list', '--limit', '1000')).split('\n')
  t.equal(list.length, hostile.length + 2, 'a head, a line for each, and the end')
  t.same(
    list.filter(line => !isHarmless(line)),
    [],
    'list',
  )
  const json = await print('list', '--limit', '1000', '--json')
  t.same(
    json.split('\n').filter(line => !isHarmless(line)),
    [],
    'list --json',
  )
  t.same(JSON.parse(json).dead, dead, 'list --json says what was sent')
  const first = dead.at(-1)
  const shown = await print('show', first?.id ?? '')
  t.same(
    shown.split('\n').filter(line => !isHarmless(line)),
    [],
    'show',
  )
  const device = dead.find(({ clientId }) => clientId.includes('\u001b[2J'))?.clientId ?? ''
  t.match(await print('list', '--device', device), /^id .*\n.*\n$/, 'and each can be asked for by its name')
})
