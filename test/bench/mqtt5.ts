import { writeFileSync } from 'node:fs'
import {
  type Beside,
  change,
  figure,
  type Mqtt5Results,
  type Mqtt5Row,
  median,
  readResults,
  resultsFile,
  rounded,
  type Unit,
  verdict,
} from './results.js'
import { type Measured, measurements, type Saturation, saturate, toOne } from './rows.js'
import { type Candidate, candidates, machine, type Target, versions } from './targets.js'

/*
 * npm run bench -- mqtt5 [--seconds 4] [--only telehub,mosquitto,floor] [words]: what MQTT 5 costs beside 3.1.1, and what
 * shared subscriptions and topic aliases give. A run of all rows and all candidates writes its part of
 * test/bench/results.json.
 */

const rounds = 3

/** What is measured in two ways. */
interface Pair {
  readonly rows: readonly {
    readonly name: string
    readonly unit: Unit
    readonly figure: string
    /** The second way reaches at least so much of the first. */
    readonly atLeast?: number
  }[]
  readonly without: string
  readonly with: string
  readonly measure: readonly [before: Measure, after: Measure]
  /** The floor knows neither groups nor aliases. */
  readonly withoutFloor?: true
}

type Measure = (target: Target, seconds: number) => Promise<Measured>

/** MQTT 5 may cost so much that this is left. */
const atLeast = 0.85

/** Rows of the benchmark, by how their names begin. */
const shown = ['durable QoS 1 ingest, 100', 'QoS 0 to one subscriber', '100 WebSocket subscribers, saturated']

const members = 4
const topicAliases = 64
const topics = {
  names: Array.from({ length: 10 }, (_, n) => `plant/line-${n}/press-17/telemetry`),
  filter: 'plant/#',
}

function pairs(): readonly Pair[] {
  return [
    ...shown.map(inBothVersions),
    {
      rows: [{ name: 'QoS 1 deliveries', unit: '/s', figure: 'received' }],
      without: 'one subscriber',
      with: `a group of ${members}`,
      measure: [delivered({ subscribers: 1 }), delivered({ subscribers: members, group: 'bench' })],
      withoutFloor: true,
    },
    {
      rows: [
        { name: 'topic alias, one QoS 0 delivery on the wire', unit: 'bytes', figure: 'bytes' },
        { name: 'topic alias, QoS 0 deliveries', unit: '/s', figure: 'received' },
      ],
      without: 'no alias',
      with: `${topicAliases} aliases`,
      measure: [toSubscriber({}), toSubscriber({ topicAliases })],
      withoutFloor: true,
    },
  ]
}

function inBothVersions(beginning: string): Pair {
  const measurement = measurements.find(({ rows: [first] }) => first?.name.startsWith(beginning))
  const [row] = measurement?.rows ?? []
  if (!measurement || !row) throw new Error(`there is no row ${beginning}`)
  return {
    rows: [{ name: row.name, unit: row.unit, figure: row.figure, atLeast }],
    without: '3.1.1',
    with: '5',
    measure: [
      (target, seconds) => measurement.measure(target, seconds, 4),
      (target, seconds) => measurement.measure(target, seconds, 5),
    ],
  }
}

/** So few are under way that no queue overflows, and so many that each member always has some. */
function delivered(to: Pick<Saturation, 'subscribers' | 'group'>): Measure {
  return async (target, seconds) => {
    const measured = await saturate(target, seconds, { ...to, window: 1_000, batch: 8, qos: 1, version: 5 })
    const { received = 0, sent = 0 } = measured.figures
    // Else every member would get every message, and the group look fast.
    if (received > 1.2 * sent) throw new Error('more was delivered than published')
    return measured
  }
}

function toSubscriber(given: Pick<Saturation, 'topicAliases'>): Measure {
  return (target, seconds) => saturate(target, seconds, { ...toOne, ...given, payloadBytes: 64, topics, version: 5 })
}

export async function mqtt5(seconds: number, chosen: readonly Candidate[], words: readonly string[]): Promise<void> {
  const isChosen = ({ rows }: Pair) => {
    const isNamed = (word: string) => rows.some(({ name }) => name.toLowerCase().includes(word.toLowerCase()))
    return words.length === 0 || words.some(isNamed)
  }
  const chosenPairs = pairs().filter(isChosen)
  if (chosenPairs.length === 0) throw new Error(`no row contains ${words.join(' or ')}`)
  const date = new Date().toISOString()
  const rows: Mqtt5Row[] = []
  for (const pair of chosenPairs) {
    const measured = new Map<Candidate['name'], Beside[]>()
    const asked = chosen.filter(({ name }) => name !== 'floor' || !pair.withoutFloor)
    for (const candidate of asked) {
      try {
        measured.set(candidate.name, await inTurn(candidate, pair, seconds))
      } catch (error) {
        say(`${candidate.what} failed: ${(error as Error).message}`)
        process.exitCode = 1
      }
    }
    for (const row of rowsOf(pair, measured, asked)) {
      rows.push(row)
      if (asked.length > 0) console.log(printed(row))
    }
  }
  if (words.length > 0 || chosen.length < candidates.length) return
  const results: Mqtt5Results = { date, machine: machine(), versions: await versions(), seconds, rows }
  writeFileSync(resultsFile, `${JSON.stringify({ ...readResults(), mqtt5: results }, undefined, 2)}\n`)
  say('written to test/bench/results.json; npm run readme takes it over')
}

/** A second of each way, before anything counts: whoever comes first would find compilers and caches cold. */
const settleSeconds = 1

/** The medians for each row, of one server that stays the same. Each way goes first in turn. */
async function inTurn(candidate: Candidate, pair: Pair, seconds: number): Promise<Beside[]> {
  const ways: [before: Measured[], after: Measured[]] = [[], []]
  const target = await candidate.start()
  try {
    for (const measure of pair.measure) await measure(target, settleSeconds)
    for (let round = 0; round < rounds; round++) {
      for (const way of round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
        const measured = await pair.measure[way](target, seconds)
        ways[way].push(measured)
        say(`${candidate.what}, ${way === 0 ? pair.without : pair.with}: ${spoken(pair, measured)}`)
      }
    }
  } finally {
    await target.stop()
  }
  return pair.rows.map(({ name, figure }) => {
    const [before = 0, after = 0] = ways.map(way => rounded(median(way.map(({ figures }) => figures[figure] ?? 0))))
    if (!(before > 0 && after > 0)) throw new Error(`nothing came of ${name}`)
    return { before, after }
  })
}

function rowsOf(
  pair: Pair,
  measured: ReadonlyMap<Candidate['name'], readonly Beside[]>,
  asked: readonly Candidate[],
): Mqtt5Row[] {
  return pair.rows.map(({ name, unit, atLeast }, n) => {
    const [telehub, rival, floor] = (['telehub', 'mosquitto', 'floor'] as const).map(one => measured.get(one)?.[n])
    const isAsked = atLeast !== undefined && asked.some(({ name }) => name === 'telehub')
    return {
      name,
      unit,
      without: pair.without,
      with: pair.with,
      ...(telehub && { telehub }),
      ...(rival && { rival }),
      ...(floor && { floor }),
      ...(atLeast !== undefined && { target: `${atLeast} × ${pair.without}` }),
      // Who failed has not reached it.
      ...(isAsked && { reached: telehub !== undefined && telehub.after >= atLeast * telehub.before }),
    }
  })
}

function spoken({ rows }: Pair, { figures, cpu, note }: Measured): string {
  const each = rows.map(row => figure(figures[row.figure], row.unit)).join(', ')
  return `${each}${note ? ` (${note})` : ''} [cores ${cpu.server.toFixed(1)}+${cpu.generator.toFixed(1)}]`
}

function printed(row: Mqtt5Row): string {
  const of = (name: string, beside: Beside | undefined) =>
    beside &&
    `${name} ${row.without} ${figure(beside.before, row.unit)} ${row.with} ${figure(beside.after, row.unit)} ${change(row.unit, beside)}`
  return [
    row.name.padEnd(50),
    of('telehub', row.telehub),
    of('Mosquitto', row.rival),
    of('floor', row.floor),
    row.target && `${verdict(row) || 'target'}: ${row.target}`,
  ]
    .filter(Boolean)
    .join('  ')
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
