import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, history, type RunningHub, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

async function telehub(...args: string[]): Promise<{ code: number | null; out: string; errors: string }> {
  const run = runCli(args)
  const code = await run.exited
  return { code, out: run.stdout(), errors: run.stderr() }
}

const backupOf = (hub: RunningHub, to: string) => telehub('backup', to, '--data.dir', hub.dir, '--url', hub.httpUrl)

/** Publishes numbers from 0 on until told to stop; resolves with how many were acknowledged. */
async function publishing(t: Test, hub: RunningHub) {
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'device' })
  let acknowledged = 0
  let isOver = false
  const loop = async (lane: number) => {
    for (let i = lane; !isOver; i += 8) {
      await device.publishAsync(`line/${lane}`, JSON.stringify({ value: i }), { qos: 1 })
      acknowledged++
    }
  }
  const lanes = Array.from({ length: 8 }, (_, lane) => loop(lane))
  return {
    get acknowledged() {
      return acknowledged
    },
    stop: async () => {
      isOver = true
      await Promise.all(lanes)
      await device.endAsync()
    },
  }
}

t.test('a running hub is backed up at one sequence, again at the cost of what changed, and restored', async t => {
  const hub = await startHub(t, { 'spool.segment': '65536' })
  const away = { clientId: 'away', clean: false }
  const reader = await connectMqtt(t, hub.mqttUrl, away)
  await reader.subscribeAsync('line/#', { qos: 1 })
  await reader.endAsync()
  const load = await publishing(t, hub)
  await eventually(() => load.acknowledged > 1_500, 'messages')
  const to = join(await tempDir(), 'backup')
  const before = load.acknowledged
  const first = await backupOf(hub, to)
  t.equal(first.code, 0, first.errors)
  t.match(first.out, /everything up to message [\d,]+, \d+ files/)
  t.match(first.out, 'keep it as safe as data.dir')
  await load.stop()
  const second = await backupOf(hub, to)
  t.equal(second.code, 0, second.errors)
  const third = await telehub('backup', to, '--data.dir', hub.dir, '--url', hub.httpUrl, '--json')
  const { sequence, bytes, written } = JSON.parse(third.out) as { sequence: number; bytes: number; written: number }
  t.equal(sequence, load.acknowledged)
  t.ok(sequence > before)
  t.ok(written < bytes / 2, `${written} of ${bytes} bytes were new`)
  for (const name of readdirSync(to, { recursive: true, encoding: 'utf8' })) {
    t.equal(statSync(join(to, name)).mode & 0o077, 0, name)
  }
  t.match((await telehub('backup', 'verify', to)).out, /^whole: \d+ files/)
  await hub.kill()

  const data = join(await tempDir(), 'data')
  const restored = await telehub('restore', to, '--to', data, '--json')
  t.equal(restored.code, 0, restored.errors)
  t.match(JSON.parse(restored.out), { received: sequence, dead: 0, residual: 0 })
  t.match((await telehub('restore', to, '--to', data)).errors, 'is not empty')
  const copy = await startHub(t, {}, data)
  const sheet = async () => (await copy.get<Record<string, number>>('/api/balance')).body
  await eventually(async () => (await sheet()).spool === 0, 'all is stored')
  t.match(await sheet(), { received: sequence, stored: sequence, residual: 0 })
  const values: number[] = []
  for (let lane = 0; lane < 8; lane++) {
    const stored = (await history(copy, `line,topic=line/${lane} value`)) as number[]
    t.same(stored, [...new Set(stored)])
    values.push(...stored)
  }
  t.equal(values.length, sequence)
  const { sessions } = (await copy.get<{ sessions: { clientId: string; queued: number }[] }>('/api/sessions')).body
  t.ok((sessions.find(({ clientId }) => clientId === 'away')?.queued ?? 0) > 0)
  const device = await connectMqtt(t, copy.mqttUrl, { clientId: 'later' })
  await device.publishAsync('line/0', '{"value": -1}', { qos: 1 })
  await eventually(async () => (await sheet()).stored === sequence + 1, 'one more')
  t.match(await sheet(), { received: sequence + 1, residual: 0 })
  const { cursors } = (await copy.get<{ cursors: { sequence: number }[] }>('/api/spool')).body
  t.ok((cursors[0]?.sequence ?? 0) > sequence + 10_000_000, 'no number is assigned twice')
  t.equal(await copy.stop(), 0)
})

t.test('a backup while a hub publishes at full speed restores every message up to its sequence', async t => {
  const hub = await startHub(t, { 'spool.segment': '65536', 'spool.keep': '1ms' })
  const load = await publishing(t, hub)
  const to = join(await tempDir(), 'backup')
  for (let round = 0; round < 2; round++) {
    await sleep(300)
    const acknowledged = load.acknowledged
    const made = await backupOf(hub, to)
    t.equal(made.code, 0, made.errors)
    const data = join(await tempDir(), 'data')
    const restored = await telehub('restore', to, '--to', data, '--json', '--new-id')
    const { sequence } = JSON.parse(restored.out) as { sequence: number }
    t.ok(sequence >= acknowledged, `${sequence} is behind the ${acknowledged} acknowledged before`)
    t.match(JSON.parse(restored.out), { received: sequence, residual: 0 })
    const copy = await startHub(t, {}, data)
    const sheet = async () => (await copy.get<Record<string, number>>('/api/balance')).body
    await eventually(async () => (await sheet()).spool === 0, 'all is stored')
    t.match(await sheet(), { received: sequence, stored: sequence, dead: 0, residual: 0 })
    let stored = 0
    for (let lane = 0; lane < 8; lane++) stored += (await history(copy, `line,topic=line/${lane} value`)).length
    t.equal(stored, sequence)
    t.not(identity(data), identity(hub.dir))
    await copy.kill()
  }
  await load.stop()
})

const identity = (dir: string) => (JSON.parse(readFileSync(join(dir, 'hub.json'), 'utf8')) as { id: string }).id
