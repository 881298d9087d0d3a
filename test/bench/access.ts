import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { hashPassword } from '../../src/passwords/passwords.js'
import { editUsers, type UsersFile } from '../../src/users/users-file.js'
import { tempDir } from '../services/service.js'
import { startGenerator } from './generator.js'
import { Probe, type Served } from './overload.js'
import {
  type AccessResults,
  type AccessRow,
  figure,
  median,
  readResults,
  resultsFile,
  rounded,
  type Unit,
} from './results.js'
import { type Measurement, measurements } from './rows.js'
import { hubLimits, machine, startHub, type Target, version } from './targets.js'
import { monotonicMicros } from './wire.js'

/*
 * npm run bench -- access [--seconds 4] [words]: what users and rules cost, and whether who guesses passwords slows who knows
 * theirs. A run of all rows writes its part of test/bench/results.json.
 *
 * The load generators give no name: with auth.anonymous they are the user `anonymous`, whose rules are asked as those of
 * any other. `#` with a denial somewhere makes the hub ask for every single delivery.
 */

const rounds = 3

/** Those of a user as there are many, and of one whose every delivery is asked for. */
const rules = [
  ...Array.from({ length: 20 }, (_, n) => `allow publish plant/line-${n}/{client}/#`),
  'allow all #',
  'allow read $hub/#',
  'deny all admin/#',
  'deny read +/+/+/+/secret/#',
]

const shown = ['durable QoS 1 ingest, 100', 'QoS 0 to one subscriber', '100 WebSocket subscribers, saturated']

const guessesPerSecond = 1_000
const victim = 'victim'
/** Of a person's own choice: it is verified slowly when it comes for the first time. */
const good = { username: 'good', password: 'what it knows' }

export async function access(seconds: number, words: readonly string[]): Promise<void> {
  const isChosen = (name: string) => words.length === 0 || words.some(word => name.toLowerCase().includes(word))
  const rows: AccessRow[] = []
  const add = (row: AccessRow) => {
    rows.push(row)
    const of = (value: number) => figure(value, row.unit).padEnd(14)
    console.log(`${row.name.padEnd(62)} ${row.without} ${of(row.before)} ${row.with} ${of(row.after)}`)
  }
  for (const name of shown.filter(isChosen)) {
    const measurement = measurements.find(({ rows: [first] }) => first?.name.startsWith(name))
    if (!measurement) throw new Error(`there is no row ${name}`)
    add(await compared(measurement, seconds))
  }
  if (isChosen('wrong passwords')) for (const row of await guessed(Math.max(10, seconds * 5))) add(row)
  if (words.length > 0) return
  const results: AccessResults = {
    date: new Date().toISOString(),
    machine: machine(),
    telehub: version(),
    seconds,
    rows,
  }
  writeFileSync(resultsFile, `${JSON.stringify({ ...readResults(), access: results }, undefined, 2)}\n`)
}

/** In turn, several times: the median of each. */
async function compared({ rows: [row], measure }: Measurement, seconds: number): Promise<AccessRow> {
  if (!row) throw new Error('a measurement without a row')
  const figures: [open: number[], ruled: number[]] = [[], []]
  for (let round = 0; round < rounds; round++) {
    for (const [i, start] of [() => startHub(), ruledHub].entries()) {
      process.stderr.write(`${row.name}, ${i === 0 ? 'open' : 'with rules'} …\n`)
      const hub = await start()
      try {
        figures[i]?.push((await measure(hub, seconds)).figures[row.figure] ?? 0)
      } finally {
        await hub.stop()
      }
    }
  }
  const [before, after] = figures.map(median) as [number, number]
  return rowOf(row.name, row.unit, 'open', before, 'with rules', after)
}

/** A client that behaves, alone and while others guess. */
async function guessed(seconds: number): Promise<AccessRow[]> {
  const hub = await ruledHub()
  const probe = new Probe(hub.port, good)
  try {
    process.stderr.write(`a client that behaves, alone and beside ${guessesPerSecond} guesses/s, ${seconds} s each …\n`)
    await probe.warmUp()
    const alone = await probe.during(seconds)
    const guessers = await startGenerator({
      kind: 'guess',
      port: hub.port,
      username: victim,
      perSecond: guessesPerSecond,
    })
    const begin = monotonicMicros()
    const besides = probe.during(seconds)
    const { counts } = await guessers.run({ begin, end: begin + seconds * 1e6 })
    const served = await besides
    await guessers.end()
    if ((counts.letIn ?? 0) > 0) throw new Error(`${counts.letIn} guesses were let in`)
    process.stderr.write(`${counts.guessed} guesses, ${counts.refused} of them answered\n`)
    if (served.unserved > 0) throw new Error(`${served.unserved} of ${served.asked} not served`)
    return (['connect', 'roundTrip'] as const).flatMap(what =>
      (['p50', 'p99'] as const).map(part => {
        const name = `${what === 'connect' ? 'connecting' : 'QoS 1 round trip'} of a client that behaves, ${part}`
        const of = (from: Served) => from[what]?.[part] ?? Number.NaN
        return rowOf(name, 'ms', 'alone', of(alone), `beside ${guessesPerSecond} wrong passwords/s`, of(served))
      }),
    )
  } finally {
    probe.end()
    await hub.stop()
  }
}

function rowOf(name: string, unit: Unit, without: string, before: number, withIt: string, after: number): AccessRow {
  return { name, unit, without, before: rounded(before), with: withIt, after: rounded(after) }
}

async function ruledHub(): Promise<Target> {
  const file = join(await tempDir(), 'users.yaml')
  const user = (name: string, its: readonly string[], password = '') => ({
    name,
    kind: 'device' as const,
    password,
    clients: [],
    certificates: [],
    rules: its,
  })
  const password = await hashPassword('what nobody guesses')
  const known = await hashPassword(good.password)
  await editUsers(file, (users: UsersFile) => {
    users.addUser(user('anonymous', rules))
    users.addUser(user(good.username, rules, known))
    users.addUser(user(victim, [], password))
    for (let n = 0; n < 100; n++) users.addUser(user(`device-${n}`, ['allow all devices/{user}/#'], password))
  })
  return startHub([...hubLimits, '--auth.file', file, '--auth.anonymous', 'true'])
}
