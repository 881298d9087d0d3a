import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keepTimes } from '../../src/config/settings.js'
import type { Point, Tags } from '../../src/model.js'
import { Mapping } from '../../src/pipeline/mapping.js'
import { Expiry, graceUs } from '../../src/pipeline/retention/expiry.js'
import { KeepRules } from '../../src/pipeline/retention/keep-rules.js'
import { DuckDbStore } from '../../src/store/duckdb.js'

/*
 * Bytes of the store before and after retention: a month of readings of a home and a plant, made at speed. Prints what
 * each step took, and how long a write waited meanwhile. Run alone: node dist/test/bench/retention.js [devices].
 */

const day = 86_400_000_000
const begin = 19_700 * day
const days = 30
const everySeconds = 30
const devices = Number(process.argv[2] ?? 40)

const dir = await mkdtemp(join(tmpdir(), 'telehub-retention-'))
const store = new DuckDbStore({ path: join(dir, 'store.duckdb'), rollsUp: false })
await store.start()

const tags: readonly Tags[] = Array.from({ length: devices }, (_, i) => Object.freeze([['device', `d${i}`] as const]))

/** Readings of one moment: temperatures that wander, a power that jumps, and a counter. */
function moment(time: number, n: number): Point[] {
  return tags.map((own, i) => ({
    measurement: i % 2 ? 'home' : 'plant',
    tags: own,
    fields: [
      ['temperature', Math.round(210 + 30 * Math.sin(n / 500 + i) + Math.random() * 4) / 10],
      ['power', Math.random() < 0.1 ? Math.round(Math.random() * 20_000) / 10 : 3.5],
      ['energy', n * 10 + i],
    ],
    time,
  }))
}

const show = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
const seconds = (from: number) => `${((performance.now() - from) / 1_000).toFixed(1)} s`
const size = async (what: string) => {
  const { bytes, used } = await store.retention.size()
  const rows = (await store.retention.tables()).map(table => `${table.tier} ${table.rows} rows ${show(table.bytes)}`)
  console.log(`${what}: files ${show(bytes)}, in use ${show(used)}; ${rows.join(', ')}`)
}

let at = performance.now()
let points: Point[] = []
for (let n = 0; n < (days * 86_400) / everySeconds; n++) {
  points.push(...moment(begin + n * everySeconds * 1e6, n))
  if (points.length < 10_000) continue
  await store.write(points)
  points = []
  await store.rollUp()
}
await store.write(points)
console.log(`${days} days of ${devices * 3} series, one reading in ${everySeconds} s: written in ${seconds(at)}`)
await size('raw')
at = performance.now()
while (await store.rollUp());
console.log(`rolled up in ${seconds(at)}`)
await size('with roll-ups')

const now = begin + days * day
const rules = new KeepRules(
  new Mapping([], { depth: 16, fields: 100, inflated: 1e6 }),
  keepTimes('raw=7d,1m=14d') ?? {},
)
const log = { info: (line: string) => console.log(line), warn: (line: string) => console.log(line) }
const expiry = new Expiry({ store: store.retention, rules, limit: 0, log })
await expiry.pass(now)

// A hub goes on writing meanwhile.
let isDone = false
const waits: number[] = []
const writing = (async () => {
  for (let n = 0; !isDone; n++) {
    const from = performance.now()
    await store.write(moment(now + n * 1e6, n))
    waits.push(performance.now() - from)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
})()
at = performance.now()
await expiry.pass(now + graceUs)
console.log(`a pass with raw=7d,1m=14d took ${seconds(at)}`)
isDone = true
await writing
waits.sort((a, b) => a - b)
const part = (share: number) => `${Math.round(waits[Math.floor(waits.length * share)] ?? 0)} ms`
console.log(`${waits.length} writes meanwhile: median ${part(0.5)}, 99 % ${part(0.99)}, longest ${part(0.9999)}`)
await size('after retention')
await store.stop()
rmSync(dir, { recursive: true })
