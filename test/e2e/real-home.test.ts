import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { asAdmin, eventually, startHub } from '../harness.js'

/* The simulated homes of `npm run devices`, as separate processes, on a hub without configuration. */

const fleet = fileURLToPath(new URL('../../devices/fleet.js', import.meta.url))

function startFleet(t: Test, url: string, args: readonly string[]) {
  const child = spawn(process.execPath, [fleet, '--url', url, ...args], { stdio: 'ignore' })
  const ended = new Promise<number | null>(resolve => child.once('exit', resolve))
  t.teardown(async () => {
    child.kill('SIGINT')
    await ended
  })
  return {
    end: () => {
      child.kill('SIGINT')
      return ended
    },
  }
}

t.test('a home as real firmware speaks: all is stored, described, and answers commands', async t => {
  const hub = await startHub(t)
  const admin = asAdmin(hub.dir)
  const ask = async (path: string, body?: object) => {
    const headers = { ...admin, 'content-type': 'application/json' }
    const answer = await fetch(
      `${hub.httpUrl}${path}`,
      body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers },
    )
    return (await answer.json()) as Record<string, unknown>
  }
  const home = startFleet(t, hub.mqttUrl, ['--home', 'real'])
  await eventually(async () => {
    const { series } = (await ask('/api/series?limit=1000')) as { series: readonly { measurement: string }[] }
    return series.length > 60
  }, 'the values of the home are stored')

  const commands: readonly (readonly [topic: string, payload: unknown])[] = [
    ['zigbee2mqtt/Living room lamp/set', { state: 'ON', brightness: 120 }],
    ['zigbee2mqtt/Front door lock/set', { state: 'UNLOCK' }],
    ['cmnd/tasmota_9CF9D1/POWER', 'OFF'],
    ['shellyplus1pm-a8032abe54dc/command/switch:0', 'on'],
    ['shellies/shelly1pm-C45BBE6A2E1F/relay/0/command', 'off'],
    ['greenhouse/switch/pump/command', 'ON'],
  ]
  for (const [topic, payload] of commands) {
    t.match(await ask('/api/commands', { topic, payload, wait: 20 }), { state: 'answered' }, topic)
  }
  t.same(await ask('/api/dead'), { dead: [] }, 'nothing is a dead letter')
  t.equal(await home.end(), 0, 'everything was acknowledged')
})

t.test('a plant: forty machines with thirty values each', async t => {
  const hub = await startHub(t)
  startFleet(t, hub.mqttUrl, ['--home', 'plant'])
  await eventually(async () => {
    const answer = await fetch(`${hub.httpUrl}/api/series?limit=5000`, { headers: asAdmin(hub.dir) })
    const { series } = (await answer.json()) as { series: readonly { measurement: string; field: string }[] }
    return series.length >= 1_200
  }, 'all values of all machines are stored')
  t.pass('stored')
})
