import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Alerts, type AlertsOptions } from '../../src/alerts/alerts.js'
import type { AlertTransition } from '../../src/alerts/transition.js'
import type { Files } from '../../src/disk/files.js'
import type { Message } from '../../src/model.js'
import { KilledFiles } from '../fixtures/killed-files.js'
import { Random } from '../fixtures/packets.js'
import { quietLog } from '../fixtures/quiet.js'
import { tempDir } from '../services/service.js'

/*
 * A kill between any two operations of the disk: a scenario of readings, acknowledgements and restarts is run again and
 * again, and killed one operation later each time. Whatever the place, the alerts come out as without a kill: each step
 * once, in order, without gaps, and nobody was told of a step that is not on disk.
 */

const began = Date.now() * 1_000 - 30e6
const values = [1, 20, 20, 3, 25, 26, 1, 1, 30, 2, 40]
const messages: Message[] = values.map((value, i) => ({
  sequence: i + 1,
  receivedAt: began + i * 1e6,
  topic: 'home',
  payload: Buffer.from(String(value)),
  ...{ qos: 1, retain: false, clientId: 'c', user: '', packetId: 0 },
}))

/** Messages by their place, `ack` of what fires, and a restart in order. */
const steps: readonly (number | 'ack' | 'restart')[] = [
  1,
  2,
  'ack',
  3,
  4,
  5,
  'restart',
  6,
  'ack',
  7,
  8,
  9,
  'restart',
  10,
  11,
]

class Life {
  readonly told: AlertTransition[] = []
  readonly alerts: Alerts

  constructor(dir: string, files: Files, position: number) {
    const options: AlertsOptions = {
      settings: { 'alerts.file': '', 'data.dir': dir },
      dir,
      files,
      naming: {
        describe: id => ({ id, devices: [], deviceClass: undefined, label: 'It', unit: undefined, device: undefined }),
        namesOf: id => [id],
      },
      readings: {
        measurementOf: () => 'home',
        known: () => undefined,
        pointsOf: ({ payload, receivedAt }) => [
          { measurement: 'home', tags: [], fields: [['value', Number(payload.toString())]], time: receivedAt },
        ],
      },
      surroundings: { isCaughtUp: true, position, devices: () => [], hubFindings: () => [], changes: 0 },
      store: {
        write: async () => [],
        history: async () => ({ times: [], values: [] }),
        series: async () => ({ series: [], next: undefined }),
      },
      delivery: { push: async () => {} },
      incidents: { report: () => {} },
      log: quietLog,
    }
    this.alerts = new Alerts(options)
    this.alerts.reportTo({ changed: transition => this.told.push(transition) })
  }
}

async function run(
  t: Test,
  killedAfter: number,
  isPowerLoss: boolean,
): Promise<{ isKilled: boolean; steps: string[] }> {
  const root = await tempDir()
  const dir = join(root, 'data')
  const attic = join(root, 'attic')
  mkdirSync(attic)
  mkdirSync(join(dir, 'alerts'), { recursive: true })
  writeFileSync(join(dir, 'alerts.yaml'), 'rules: {high: {field: value, above: 10, hysteresis: 5}}')
  const files = new KilledFiles(new Random(killedAfter), attic)
  let handled = 0
  let life = new Life(dir, files, handled)
  const told: AlertTransition[] = []
  await life.alerts.start()
  files.left = killedAfter
  let isKilled = false

  const again = async () => {
    told.push(...life.told)
    life = new Life(dir, files, handled)
    await life.alerts.start()
    // The spool is read again from the place that the alerts have saved.
    const from = Math.min(life.alerts.saved, handled + 1)
    for (const message of messages.slice(from - 1, handled)) await life.alerts.handle([message])
  }
  const die = async () => {
    isKilled = true
    files.left = Number.POSITIVE_INFINITY
    files.off()
    await life.alerts.stop().catch(() => {})
    files.on()
    if (isPowerLoss) files.cut()
    await again()
  }
  const flushed = async () => {
    for (let n = 0; n < 100 && life.alerts.pending > 0 && files.left > 0; n++)
      await new Promise(resolve => setTimeout(resolve, 1))
  }
  for (const step of steps) {
    if (step === 'restart') {
      await life.alerts.stop().catch(() => {})
      if (files.left <= 0) await die()
      else await again()
    } else if (step === 'ack') {
      const open = async () => (await life.alerts.after(0, 100)).transitions.at(-1)
      await flushed()
      if (files.left <= 0) await die()
      await flushed()
      const last = await open()
      const done = life.alerts.acknowledge(last?.alert ?? '', 'anna').then(
        () => true,
        () => false,
      )
      await flushed()
      if (files.left <= 0) {
        await die()
        await flushed()
        // Whoever got no answer asks again; one that is acknowledged says so.
        if ((await open())?.state === 'firing') await life.alerts.acknowledge(last?.alert ?? '', 'anna')
      } else t.ok(await done)
    } else {
      await life.alerts.handle([messages[step - 1] as Message])
      handled = step
      await flushed()
      if (files.left <= 0) await die()
    }
  }
  await flushed()
  const { transitions, oldest } = await life.alerts.after(0, 100)
  t.equal(oldest, 1)
  t.same(
    transitions.map(({ sequence }) => sequence),
    transitions.map((_, i) => i + 1),
    'no gaps',
  )
  for (const one of told) t.same(transitions[one.sequence - 1], one, 'what was told is on disk')
  await life.alerts.stop()
  return { isKilled, steps: transitions.map(({ state, alert }) => `${state} ${alert}`) }
}

for (const isPowerLoss of [false, true]) {
  t.test(`${isPowerLoss ? 'a loss of power' : 'kill -9'} between any two operations of the disk`, async t => {
    const { steps: expected } = await run(t, Number.POSITIVE_INFINITY, false)
    t.same(
      expected.map(step => step.split(' ')[0]),
      ['firing', 'acknowledged', 'cleared', 'firing', 'acknowledged', 'cleared', 'firing', 'cleared', 'firing'],
    )
    let kills = 0
    for (let after = 1; ; after++) {
      const { isKilled, steps: found } = await run(t, after, isPowerLoss)
      t.same(found, expected, `killed at operation ${after}`)
      if (!isKilled) break
      kills++
    }
    t.ok(kills > 20, `${kills} places`)
  })
}
