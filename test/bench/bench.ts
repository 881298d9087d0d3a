import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { access } from './access.js'
import { act } from './act.js'
import { data } from './data.js'
import { history } from './history.js'
import { hubs } from './hubs.js'
import { kafka } from './kafka.js'
import { month } from './month.js'
import { mqtt5 } from './mqtt5.js'
import { outletsBench } from './outlets.js'
import { overload } from './overload.js'
import { pipeline } from './pipeline.js'
import { push } from './push.js'
import { comparison, figure, type Results, type Row, readResults, resultsFile, rounded, verdict } from './results.js'
import { type Measured, type Measurement, measurements } from './rows.js'
import { screen } from './screen.js'
import { sessions } from './sessions.js'
import { type Candidate, candidates, machine, versions } from './targets.js'

/*
 * npm run bench [-- [words] [--seconds 4] [--only telehub,mosquitto,floor]]: measures all rows, or those whose name
 * contains one of the words, in one run on this machine. A run of all rows and all candidates writes
 * test/bench/results.json, from which npm run readme makes docs/benchmarks.md and the ten rows of the README.
 *
 * npm run bench -- overload [--seconds 60] [--close]: the floods of overload.ts.
 *
 * npm run bench -- pipeline [--seconds 60] [--backlog 2000000] [words]: what is behind the broker, of pipeline.ts.
 *
 * npm run bench -- access [--seconds 4] [words]: what users and rules cost, of access.ts.
 *
 * npm run bench -- mqtt5 [--seconds 4] [--only telehub,mosquitto,floor] [words]: MQTT 5 beside 3.1.1, of mqtt5.ts.
 *
 * npm run bench -- sessions [--sessions 100000] [--retained 300000]: what much state costs, of sessions.ts.
 *
 * npm run bench -- act: a command's way to a device and back, of act.ts.
 *
 * npm run bench -- outlets [--seconds 6]: what outlets cost, and a frozen one the others, of outlets.ts.
 * npm run bench -- history: what roll-ups cost and give, of history.ts.
 * npm run bench -- data: readings out of the hub in bulk and in, of data.ts.
 * npm run bench -- kafka: the adapter of Kafka beside its client library alone, of kafka.ts.
 * npm run bench -- month [--days 30] [--dir DIR]: a month of the simulated home and plant through the hub, of month.ts.
 *
 * npm run bench -- hubs [--seconds 10]: one hub, and two of a cluster, of hubs.ts.
 * npm run bench -- push [--seconds 10]: readings to screens of each kind, of push.ts.
 * npm run bench -- screen [--seconds 10]: Home and the wall of values in Chromium, of screen.ts.
 *
 * Linux only: processes agree on the monotonic clock, and /proc says what they use. The hub's data go where TMPDIR says,
 * which should be a disk.
 */

type Name = Candidate['name']

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      seconds: { type: 'string' },
      only: { type: 'string' },
      close: { type: 'boolean' },
      backlog: { type: 'string' },
      sessions: { type: 'string' },
      retained: { type: 'string' },
      days: { type: 'string' },
      dir: { type: 'string' },
    },
    allowPositionals: true,
  })
  const given = values.seconds === undefined ? undefined : Number(values.seconds)
  if (given !== undefined && !(given > 0)) throw new Error('--seconds: allowed is a number above 0')
  const backlog = Number(values.backlog ?? 2_000_000)
  if (!(Number.isInteger(backlog) && backlog > 0)) throw new Error('--backlog: allowed is a whole number above 0')
  if (positionals[0] === 'pipeline') return pipeline({ seconds: given ?? 60, backlog, words: positionals.slice(1) })
  if (positionals[0] === 'act') return act()
  if (positionals[0] === 'history') return history()
  if (positionals[0] === 'outlets') return outletsBench(given ?? 6)
  if (positionals[0] === 'data') return data()
  if (positionals[0] === 'kafka') return kafka()
  if (positionals[0] === 'month') return month({ days: Number(values.days ?? 30), dir: values.dir })
  if (positionals[0] === 'hubs') return hubs(given ?? 10)
  if (positionals[0] === 'push') return push(given ?? 10)
  if (positionals[0] === 'screen') return screen(given ?? 10)
  if (positionals[0] === 'sessions') {
    return sessions({ sessions: Number(values.sessions ?? 100_000), retained: Number(values.retained ?? 300_000) })
  }
  if (positionals[0] === 'access') return access(given ?? 4, positionals.slice(1))
  if (positionals[0] === 'overload') return overload(given ?? 60, values.close ? 'close' : 'reset')

  const names = values.only?.split(',') ?? candidates.map(({ name }) => name)
  const unknown = names.find(name => !candidates.some(candidate => candidate.name === name))
  if (unknown) throw new Error(`--only: given ${unknown}, allowed are ${candidates.map(({ name }) => name).join(', ')}`)
  const chosenOnes = candidates.filter(({ name }) => names.includes(name))
  if (positionals[0] === 'mqtt5') return mqtt5(given ?? 4, chosenOnes, positionals.slice(1))
  const words = positionals.map(word => word.toLowerCase())
  const isChosen = (name: string) => words.length === 0 || words.some(word => name.toLowerCase().includes(word))
  const chosen = measurements.filter(({ rows }) => rows.some(row => isChosen(row.name)))
  if (chosen.length === 0) throw new Error(`no row contains ${positionals.join(' or ')}`)

  const seconds = given ?? 4
  const date = new Date().toISOString()
  const rows: Row[] = []
  let failures = 0
  for (const [n, measurement] of chosen.entries()) {
    const measured = new Map<Name, Measured>()
    // One after the other in each row: a machine that becomes slower or faster meanwhile favours neither for long.
    for (const candidate of chosenOnes) {
      if (candidate.name === 'floor' && measurement.withoutFloor) continue
      say(`${n + 1} of ${chosen.length}: ${measurement.rows[0]?.name.replace(/, p\d+$/, '')} · ${candidate.what} …`)
      try {
        measured.set(candidate.name, await measure(candidate, measurement, seconds))
      } catch (error) {
        failures++
        say(`${candidate.what} failed: ${(error as Error).message}`)
      }
    }
    for (const row of rowsOf(measurement, measured, rows)) {
      rows.push(row)
      if (isChosen(row.name)) console.log(printed(row))
    }
  }
  // A part of the rows is for whoever is tuning, and no result to publish.
  if (words.length === 0 && names.length === candidates.length) {
    const results: Results = {
      // The chapters of other runs stay.
      ...readResults(),
      date,
      machine: machine(),
      versions: await versions(),
      seconds,
      rows,
    }
    writeFileSync(resultsFile, `${JSON.stringify(results, undefined, 2)}\n`)
    say('written to test/bench/results.json; npm run readme takes it over')
  }
  if (failures > 0) process.exitCode = 1
}

async function measure(candidate: Candidate, { measure }: Measurement, seconds: number): Promise<Measured> {
  const target = await candidate.start()
  try {
    return await measure(target, seconds)
  } finally {
    await target.stop()
  }
}

function rowsOf(measurement: Measurement, measured: ReadonlyMap<Name, Measured>, before: readonly Row[]): Row[] {
  const [telehub, rival, floor] = (['telehub', 'mosquitto', 'floor'] as const).map(name => measured.get(name))
  return measurement.rows.map(({ name, unit, figure, target }) => {
    const [ours, theirs, least] = [telehub, rival, floor].map(one => one && rounded(one.figures[figure] ?? 0))
    // Who failed has not reached it.
    const reached = telehub ? target?.reached(telehub, rival, before) : target && false
    return {
      name,
      unit,
      ...(ours !== undefined && { telehub: ours }),
      ...(theirs !== undefined && { rival: theirs }),
      ...(least !== undefined && { floor: least }),
      ...(ours !== undefined && theirs && { ratio: rounded(ours / theirs) }),
      ...(target && { target: target.text }),
      ...(reached !== undefined && { reached }),
      ...(telehub?.note !== undefined && { note: telehub.note }),
      cpu: {
        ...(telehub && { telehub: shares(telehub) }),
        ...(rival && { rival: shares(rival) }),
        ...(floor && { floor: shares(floor) }),
      },
    }
  })
}

const shares = ({ cpu }: Measured) => ({ server: rounded(cpu.server), generator: rounded(cpu.generator) })

function printed(row: Row): string {
  const of = (name: string, value: number | undefined) =>
    value === undefined ? '' : `${name} ${figure(value, row.unit)}`.padEnd(name.length + 13)
  return [
    row.name.padEnd(70),
    of('telehub', row.telehub),
    of('Mosquitto', row.rival),
    of('floor', row.floor),
    comparison(row).padEnd(9),
    row.target ? `${verdict(row) || 'target'}: ${row.target}` : '',
    row.note ?? '',
    cpuOf(row),
  ]
    .filter(Boolean)
    .join('  ')
}

/** Cores in use: by the server + by the load generator. */
function cpuOf({ cpu }: Row): string {
  const both = Object.entries(cpu).map(([name, { server, generator }]) => {
    return `${name} ${server.toFixed(1)}+${generator.toFixed(1)}`
  })
  return `[cores ${both.join(', ')}]`
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

main().catch((error: unknown) => {
  say(`bench: ${(error as Error).message}`)
  process.exitCode = 1
})
