import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'
import type { Point, SeriesId } from '../../src/model.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import type { Aggregate } from '../../src/store/store.js'
import { startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { Sender } from './month-feed.js'
import { sample } from './sustained.js'

/*
 * What roll-ups cost and give: points written with and without them, by turns; the same over the whole way of a hub, from
 * MQTT to DuckDB; and a year of one series at one reading a second, among others, in 500 points.
 */

const second = 1e6
const minute = 60 * second
const start = Date.UTC(2025, 0, 1) * 1_000
const year = 365 * 86_400 * second

const devices = 1_000
const batch = 5_000
const rowsOfRound = 1_000_000
const rounds = 3

const asked = 500
const mostMs = 50
const leastRatio = 0.9

export async function history(): Promise<void> {
  const dir = await tempDir()
  try {
    await ingest(dir)
    await wholeWay(dir)
    await longSpan(join(dir, 'year.duckdb'))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function ingest(dir: string): Promise<void> {
  const rates = { without: [] as number[], with: [] as number[] }
  for (let round = 0; round < rounds; round++) {
    for (const kind of ['without', 'with'] as const) {
      let now = start
      const clock = { now: () => now / 1_000 }
      const store = new DuckDbStore({ path: join(dir, `${kind}-${round}.duckdb`), clock, rollsUp: false })
      await store.start()
      let rolling: Promise<unknown> = Promise.resolve()
      const began = performance.now()
      for (let rows = 0; rows < rowsOfRound; rows += batch) {
        const points = Array.from({ length: batch }, (_, n): Point => {
          const time = now + Math.floor(n / devices) * second + (n % devices)
          return { measurement: 'm', tags: tagsOf[n % devices] ?? [], fields: [['v', (rows + n) % 977]], time }
        })
        now += (batch / devices) * second
        await store.write(points)
        // As the store does by itself once a minute of readings: beside the writes.
        if (kind === 'with' && Math.floor(now / minute) > Math.floor((now - (batch / devices) * second) / minute)) {
          rolling = store.rollUp()
        }
      }
      await rolling
      rates[kind].push(rowsOfRound / ((performance.now() - began) / 1_000))
      await store.stop()
    }
  }
  const [plain, rolled] = [median(rates.without), median(rates.with)]
  say(`store.write without roll-ups: ${Math.round(plain).toLocaleString('en')} readings/s`)
  const ratio = rolled / plain
  say(
    `store.write with roll-ups: ${Math.round(rolled).toLocaleString('en')} readings/s, ${ratio.toFixed(2)} of that (at least ${leastRatio}: ${ratio >= leastRatio ? 'reached' : 'missed'})`,
  )
}

/** Devices that send a reading of two numbers a second each, in the time of the readings. */
const senders = 100
const messagesOfRound = 300_000

/** Messages stored a second by hubs that roll up and that do not, by turns. */
async function wholeWay(dir: string): Promise<void> {
  const turns = new URL('../../src/store/duckdb-roll-turns.js', import.meta.url).href
  const preload = (name: string, code: string) => {
    const file = join(dir, name)
    writeFileSync(file, code)
    return { NODE_OPTIONS: `--import ${pathToFileURL(file)}` }
  }
  const environments = {
    without: preload(
      'without.mjs',
      `import { RollUpTurns } from ${JSON.stringify(turns)}\nRollUpTurns.prototype.start = () => {}\n`,
    ),
    with: preload('with.mjs', ''),
  }
  const rates = { without: [] as number[], with: [] as number[] }
  for (let round = 0; round < rounds; round++) {
    for (const kind of round % 2 ? (['with', 'without'] as const) : (['without', 'with'] as const)) {
      const ends: (() => unknown)[] = []
      const hub = await startHub(
        { teardown: end => void ends.push(end) },
        {},
        join(dir, `${kind}-hub-${round}`),
        environments[kind],
      )
      const port = Number(new URL(hub.mqttUrl).port)
      const devicesOfHub = Array.from({ length: senders }, (_, n) => new Sender(port, `meter-${n}`))
      for (const one of devicesOfHub) await one.ready
      // The roll-ups begin ten seconds after the start.
      await sleep(11_000)
      const from = Date.now() - (messagesOfRound / senders) * 1_000
      const began = performance.now()
      for (let n = 0; n < messagesOfRound / senders; n++) {
        for (const [i, one] of devicesOfHub.entries())
          one.add(`hall/meter-${i}`, Buffer.from(`{"time":${from + n * 1_000},"power":${n % 977},"energy":${n}}`))
        if (n % 50 === 49) for (const one of devicesOfHub) await one.flush()
      }
      for (const one of devicesOfHub) await one.idle()
      const webSocketPort = Number(new URL(hub.httpUrl).port)
      while ((await sample({ webSocketPort })).stored < messagesOfRound) await sleep(50)
      rates[kind].push(messagesOfRound / ((performance.now() - began) / 1_000))
      for (const one of devicesOfHub) one.end()
      await hub.stop()
      for (const end of ends) await end()
      rmSync(hub.dir, { recursive: true, force: true })
    }
  }
  const [plain, rolled] = [median(rates.without), median(rates.with)]
  const ratio = rolled / plain
  say(`MQTT to DuckDB without roll-ups: ${Math.round(plain).toLocaleString('en')} messages/s`)
  say(
    `MQTT to DuckDB with roll-ups: ${Math.round(rolled).toLocaleString('en')} messages/s, ${ratio.toFixed(2)} of that (at least ${leastRatio}: ${ratio >= leastRatio ? 'reached' : 'missed'})`,
  )
}

const tagsOf = Array.from({ length: devices }, (_, n) => Object.freeze([['device', `d${n}`] as const]))

async function longSpan(path: string): Promise<void> {
  const series: SeriesId = { measurement: 'm', tags: tagsOf[0] ?? [], field: 'v' }
  const clock = { now: () => (start + year) / 1_000 }
  const store = new DuckDbStore({ path, clock, rollsUp: false })
  await store.start()
  await store.write([{ ...series, fields: [['v', 1]], time: start }])
  await store.stop()
  const instance = await DuckDBInstance.create(path)
  const connection = await instance.connect()
  await connection.run(
    `INSERT INTO numbers SELECT 1, ${start} + i * ${second}, sin(i / 7000) * 20 + i % 11 FROM range(1, ${year / second}) AS of(i)`,
  )
  connection.closeSync()
  instance.closeSync()
  await store.start()
  const query = { series, from: start, to: start + year, points: asked } as const
  const answer = async (what: string, fns: readonly Aggregate[], count: number) => {
    for (const fn of fns) {
      const times: number[] = []
      let windows = 0
      for (let n = 0; n < count; n++) {
        const began = performance.now()
        windows = (await store.history({ ...query, fn })).times.length
        times.push(performance.now() - began)
      }
      const ms = median(times)
      say(
        `a year at 1/s in ${asked} points, ${fn}, ${what}: ${ms.toFixed(1)} ms, ${windows} windows (at most ${mostMs} ms: ${ms <= mostMs ? 'reached' : 'missed'})`,
      )
    }
  }
  await answer('from raw readings', ['mean'], 3)
  const began = performance.now()
  let turns = 0
  let longest = 0
  for (let isMore = true; isMore; turns++) {
    const turn = performance.now()
    isMore = await store.rollUp()
    longest = Math.max(longest, performance.now() - turn)
  }
  say(
    `${(year / second).toLocaleString('en')} readings rolled up in ${((performance.now() - began) / 1_000).toFixed(1)} s, ${turns} turns, the longest of ${longest.toFixed(0)} ms`,
  )
  await answer('from roll-ups', ['mean', 'max', 'last'], 15)
  await store.stop()
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
