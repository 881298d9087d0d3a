import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Alerts } from '../../src/alerts/alerts.js'
import { settingsTable } from '../../src/config/settings.js'
import type { Message } from '../../src/model.js'
import { BatchReadings } from '../../src/pipeline/alert-parts.js'
import { ReadingJson } from '../../src/pipeline/feeds/reading-json.js'
import { LivePusher } from '../../src/pipeline/live-pusher.js'
import { Mapping } from '../../src/pipeline/mapping.js'
import { Registry } from '../../src/pipeline/registry.js'
import { quietLog } from '../fixtures/quiet.js'
import { tempDir } from '../services/service.js'
import { median } from './results.js'

/*
 * What alert rules cost the live path: the same messages through what the processor thread does for the screen, without
 * rules and with 10,000 of them over 100,000 series. The time is that of the processor, so that a busy machine changes
 * little; both ways take turns.
 */

export const lines = 10_000
const devices = 5
const topics = lines * devices
/** Two values in a message. */
export const series = lines * devices * 2
const readingsPerSecond = 50_000
const mostPercent = 15
const rounds = 2
/** The snapshot of so many watches is written every 50 seconds, so that it has its usual part of the time. */
const measuredMs = 50_000
const batch = 500

// Garbage of the preparation is not to be counted.
setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const conditions = [
  '{ above: 99, for: 10m }',
  '{ below: -99, hysteresis: 2 }',
  '{ silent: 10m }',
  '{ rate: { above: 500, per: 1s } }',
  '{ above: 98, below: -98, severity: critical }',
]

export async function alertRules(): Promise<void> {
  const without: number[] = []
  const withRules: number[] = []
  for (let round = 0; round < rounds; round++) {
    without.push(await measure(0))
    withRules.push(await measure(lines))
  }
  const [before, after] = [median(without), median(withRules)]
  const percent = (after / before - 1) * 100
  const verdict = percent < mostPercent ? 'reached' : 'missed'
  const core = (micros: number) => ((micros * readingsPerSecond) / 1e4).toFixed(0)
  process.stdout.write(
    `${lines.toLocaleString('en')} alert rules over ${series.toLocaleString('en')} series: ${before.toFixed(2)} → ${after.toFixed(2)} µs a reading, ` +
      `+${percent.toFixed(1)} % (below ${mostPercent} %: ${verdict}); at ${readingsPerSecond.toLocaleString('en')} readings/s ${core(before)} → ${core(after)} % of a core\n`,
  )
}

/** Resolves with the microseconds of the processor for each reading. */
async function measure(rules: number): Promise<number> {
  const dir = await tempDir()
  const text = Array.from({ length: rules }, (_, n) => {
    const condition = (conditions[n % conditions.length] as string).slice(1, -1)
    return `  r${n}: { measurement: plant, tags: { line: l${n} }, ${condition} }`
  })
  writeFileSync(join(dir, 'alerts.yaml'), text.length > 0 ? `rules:\n${text.join('\n')}\n` : '')
  const { alerts, round } = await alertBench(dir)
  // Every series is met once before it is measured.
  await round()
  collectGarbage()
  const before = process.cpuUsage()
  const end = performance.now() + measuredMs
  let measured = 0
  for (; performance.now() < end; measured++) await round()
  const { user, system } = process.cpuUsage(before)
  await alerts.stop()
  rmSync(dir, { recursive: true, force: true })
  return (user + system) / (topics * 2 * measured)
}

/** Returns the alerts of the rules in a folder, started, and what sends a message of each device through the live path. */
export async function alertBench(dir: string) {
  const json = {
    ...{ depth: settingsTable['limits.jsonDepth'].default, fields: settingsTable['limits.jsonFields'].default },
    inflated: settingsTable['limits.inflated'].default,
  }
  const mapping = new Mapping([{ topic: 'plant/{line}/{device}/telemetry', measurement: 'plant' }], json)
  const readings = new BatchReadings(mapping)
  const registry = new Registry(join(dir, 'registry.json'))
  const delivery = { push: async () => {} }
  const store = { fieldOf: ({ field }: { readonly field: string }) => field }
  const pusher = new LivePusher({ mapping: readings, registry, json: new ReadingJson(mapping, store), delivery })
  const alerts = new Alerts({
    settings: { 'alerts.file': '', 'data.dir': dir },
    ...{ dir, delivery, log: quietLog, incidents: { report: () => {} } },
    naming: {
      describe: (id, source) => ({
        ...{ id, devices: source ? [source.clientId] : [], deviceClass: undefined },
        ...{ label: id.field, unit: undefined, device: source?.clientId },
      }),
      namesOf: clientId => [clientId],
    },
    readings: {
      measurementOf: topic => mapping.measurementOf(topic),
      known: message => {
        const reading = readings.known(message)
        return !reading || 'reason' in reading ? undefined : reading.points
      },
      pointsOf: message => {
        const reading = readings.again(message)
        return 'reason' in reading ? undefined : reading.points
      },
    },
    surroundings: { isCaughtUp: true, position: 0, devices: () => [], hubFindings: () => [], changes: 0 },
    store: {
      write: async () => [],
      history: async () => ({ times: [], values: [] }),
      series: async () => ({ series: [], next: undefined }),
    },
  })
  await alerts.start()
  let sequence = 0
  const round = async (offset = 0) => {
    for (let n = 0; n < topics; n += batch) {
      const messages = Array.from({ length: Math.min(batch, topics - n) }, (_, i) =>
        messageOf(n + i, ++sequence, offset),
      )
      readings.forget()
      await pusher.handle(messages)
      await alerts.handle(messages)
      // As between two batches of the spool.
      await new Promise(resolve => setImmediate(resolve))
    }
  }
  return { alerts, round }
}

function messageOf(n: number, sequence: number, offset: number): Message {
  const [line, device] = [Math.floor(n / devices) % lines, n % devices]
  const value = ((n * 7 + sequence) % 800) / 10 + offset
  return {
    ...{ sequence, receivedAt: Date.now() * 1_000 + (sequence % 1_000), topic: `plant/l${line}/d${device}/telemetry` },
    payload: Buffer.from(`{"temperature":${value},"pressure":${80 + offset * 2 - value}}`),
    ...{ qos: 1, retain: false, clientId: `c${line}-${device}`, user: '', packetId: 0 },
  }
}
