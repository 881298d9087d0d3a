import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { movedClock } from '../fixtures/moved-clock.js'
import { asAdmin, connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

/** The wall clock jumps by an hour, forwards and backwards: by hand, by NTP, by a machine that slept. */

const hour = 3_600_000

type Listed = Answer<'GET /api/alerts'>['alerts']

const openAlerts = async (hub: RunningHub): Promise<Listed> =>
  (await hub.get<Answer<'GET /api/alerts'>>('/api/alerts')).body.alerts

const states = async (hub: RunningHub) =>
  Object.fromEntries((await openAlerts(hub)).map(({ rule, state }) => [rule, state]))

const rules = `rules:
  hot: { field: temperature, above: 30 }
  long-hot: { field: temperature, above: 30, for: 10m }
  quiet: { device: talker, silent: 10m }
  quiet-device: { device: talker, silent: 10m, of: device }
  no-rhythm: { device: talker, silent: usual }
  gone: { device: leaver, silent: 2s, of: device }
`

async function withAlerts(t: Test) {
  const dir = await tempDir()
  writeFileSync(join(dir, 'alerts.yaml'), rules)
  const clock = movedClock(t)
  let hub = await startHub(t, {}, dir, clock.environment)
  const send = async (clientId: string, temperature: number) => {
    const device = await connectMqtt(t, hub.mqttUrl, { clientId })
    await device.publishAsync(`home/hall/${clientId}/telemetry`, JSON.stringify({ temperature }), { qos: 1 })
    await device.endAsync()
  }
  return {
    clock,
    send,
    hub: () => hub,
    /** Time goes on, and the rules see that: a device that was heard of falls silent. */
    silence: async (what: string) => {
      await send('leaver', 20)
      await eventually(async () => (await states(hub)).gone === undefined, `${what}: it is heard of`)
      return eventually(async () => {
        const all = await states(hub)
        return all.gone === 'firing' && all
      }, `${what}: it is silent`)
    },
    restart: async () => {
      await hub.stop()
      hub = await startHub(t, {}, dir, clock.environment)
    },
  }
}

t.test('a jump is no silence and no time that a value holds, and silence after it is found as before', async t => {
  const { clock, hub, send, silence } = await withAlerts(t)
  // Enough for a rhythm.
  for (let n = 0; n < 12; n++) await send('talker', 20)
  await send('talker', 35)
  const still = { hot: 'firing', 'long-hot': 'pending', gone: 'firing' }
  t.same(await silence('before'), still)
  let jumps = 0
  for (const [what, offset] of [
    ['forwards', hour],
    ['backwards', 0],
    ['backwards again', -hour],
  ] as const) {
    clock.moveTo(offset)
    jumps++
    await eventually(async () => {
      const { body } = await hub().get<{ incidents: { kind: string; count: number }[] }>('/readyz')
      return body.incidents.some(({ kind, count }) => kind === 'clock_jump' && count === jumps)
    }, `${what}: the hub has seen it`)
    t.same(await silence(what), still, what)
    const fired = (await openAlerts(hub())).find(({ rule }) => rule === 'gone')
    const off = Math.abs((fired?.since ?? 0) - (Date.now() + offset))
    t.ok(off < hour / 2, `${what}: the alert has the time of the clock`)
    // Readings that the clock gives an earlier time than those before are no late ones.
    await send('talker', 20)
    await eventually(async () => (await states(hub())).hot === undefined, `${what}: it is cool`)
    await send('talker', 35)
    await eventually(async () => (await states(hub())).hot === 'firing', `${what}: it is hot`)
  }
})

t.test('the clock is an hour earlier, or later, at the next start', async t => {
  const { clock, hub, send, silence, restart } = await withAlerts(t)
  for (let n = 0; n < 12; n++) await send('talker', 20)
  await send('talker', 35)
  const still = { hot: 'firing', 'long-hot': 'pending', gone: 'firing' }
  t.same(await silence('before'), still)
  for (const [what, offset] of [
    ['an hour earlier', -hour],
    ['an hour later', 0],
  ] as const) {
    clock.moveTo(offset)
    await restart()
    t.same(await silence(what), still, what)
    await send('talker', 20)
    await eventually(async () => (await states(hub())).hot === undefined, `${what}: it is cool`)
    await send('talker', 35)
    await eventually(async () => (await states(hub())).hot === 'firing', `${what}: it is hot`)
  }
})

interface Command {
  readonly id: string
  readonly state: string
}

async function command(hub: RunningHub, topic: string, expiry: number): Promise<Command> {
  const response = await fetch(`${hub.httpUrl}/api/commands`, {
    method: 'POST',
    headers: { ...asAdmin(hub.dir), 'content-type': 'application/json' },
    body: JSON.stringify({ topic, payload: 'ON', expiry, wait: 0 }),
  })
  return (await response.json()) as Command
}

t.test('a command has the time that it was given, whatever the clock says', async t => {
  const clock = movedClock(t)
  const hub = await startHub(t, {}, undefined, clock.environment)
  const stateOf = async ({ id }: Command) => (await hub.get<Command>(`/api/commands/${id}`)).body.state
  const isExpired = async (one: Command) => (await stateOf(one)) === 'expired'
  const long = await command(hub, 'cmnd/sleeper/POWER', 1_800)
  for (const offset of [hour, 0, -hour, 0]) {
    clock.moveTo(offset)
    // Expires after the jump, by the time that has really passed: then the hub has looked at all others, too.
    const short = await command(hub, 'cmnd/nobody/POWER', 1)
    await eventually(() => isExpired(short), `${offset}: the short one expires`)
    t.equal(await stateOf(long), 'queued', `${offset}: the long one waits`)
  }
  const overJump = await command(hub, 'cmnd/nobody/POWER', 2)
  clock.moveTo(-hour)
  await eventually(() => isExpired(overJump), 'an hour more is not given')
  clock.moveTo(hour)
  const sleeper = await connectMqtt(t, hub.mqttUrl, { clientId: 'sleeper' })
  const got: string[] = []
  sleeper.on('message', (_topic, payload) => got.push(payload.toString()))
  await sleeper.subscribeAsync('cmnd/sleeper/#', { qos: 1 })
  await eventually(() => got.length > 0, 'the device gets it when it wakes')
  t.same(got, ['ON'], 'once')
})
