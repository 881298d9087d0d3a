import type { Answer } from '../contract/contract.js'
import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { bytes, count, table } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub noise …`: series with many points, and rules that store less of them. */

const listFlags = {
  hours: { value: 'N', help: 'of the last N hours, at most 168; default: 24' },
  ...hubFlags,
} as const satisfies Flags

const fixFlags = {
  deadband: {
    value: 'NUMBER',
    help: 'difference up to which a value counts as unchanged; default: what noise proposes',
  },
  ...hubFlags,
} as const satisfies Flags

export const noiseCommands: readonly Command[] = [
  command({
    name: 'noise fix',
    takes: ['SERIES'],
    summary: 'write a rule of the hub that stores less of a series',
    about:
      'The rule is for the topic of the series: values that repeat are not stored, except once an hour, and numbers only ' +
      'when they differ by more than the dead band. How messages are read stays as it is; the screen shows all. ' +
      'telehub map rules lists the rules, and the dashboard takes a change back.',
    flags: fixFlags,
    examples: [
      `telehub noise fix 'plant,machine=press rpm'`,
      `telehub noise fix --deadband 0.5 'home,topic=home/oven t'`,
    ],
    run: fix,
  }),
  command({
    name: 'noise',
    summary: 'list the series with the most points a day, and what storing only changes would leave of them',
    about: 'Tries onChange and dead bands on what is stored (embedded store only), and stores nothing.',
    flags: listFlags,
    examples: ['telehub noise', 'telehub noise --hours 1'],
    run: list,
  }),
]

type NoisyRow = Answer<'GET /api/noise'>['rows'][number]

async function list(call: Call<typeof listFlags>): Promise<number> {
  const { flags, terminal } = call
  const { out } = terminal
  const hours = flags.hours === undefined ? 24 : Number(flags.hours)
  const answer = await hubOf(call).ask('GET /api/noise', { hours })
  if (flags.json) return printJson(out, answer)
  const { rows, series, points, bytes: size } = answer
  out(`${count(points)} points in ${count(hours)} h of ${count(series)} series, ${bytes(size)} before compression\n`)
  if (rows.length === 0) return 0
  const shown = rows.map(row => [plain(row.series), count(row.points), bytes(row.bytes), proposal(row)])
  out(`\n${table(['series', 'points', 'size', 'with a rule'], shown)}`)
  const worth = rows.find(({ rule }) => rule)
  if (worth) out(`\ntelehub noise fix ${plain(quoted(worth.series))} writes the rule for the first of them\n`)
  return 0
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function proposal({ rule, tried, points, unit = '' }: NoisyRow): string {
  if (!rule) return 'nothing to gain'
  const deadband = Object.values((rule.deadband ?? {}) as Record<string, number>)[0]
  const trial = tried.find(one => one.deadband === deadband)
  if (!trial) return ''
  const error = trial.error === 0 ? 'nothing lost' : `largest error ${trial.error} ${plain(unit)}`.trimEnd()
  const how = deadband === undefined ? 'on change' : `dead band ${deadband}`
  return `${count(points)} → ${count(trial.points)}, ${error} (${how})`
}

async function fix(call: Call<typeof fixFlags>): Promise<number> {
  const { args, flags, terminal } = call
  const deadband = flags.deadband === undefined ? undefined : Number(flags.deadband)
  if (deadband !== undefined && !(deadband >= 0))
    throw new HubError('bad_request', `--deadband: given ${flags.deadband}, allowed is a number of at least 0`)
  const saved = await hubOf(call).ask('POST /api/noise/fix', { series: args, deadband })
  if (flags.json) return printJson(terminal.out, saved)
  for (const rule of saved.written) terminal.out(`${plain(JSON.stringify(rule))}\n`)
  terminal.out('in force; telehub map rules lists them\n')
  return 0
}
