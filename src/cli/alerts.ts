import { readFileSync } from 'node:fs'
import { duration } from '../config/settings.js'
import { plain } from '../observe/log.js'
import { count, many, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags, usage } from './command.js'
import { limitOf } from './dead.js'
import { hubFlags, hubOf } from './hub-address.js'
import { instant, instantHelp } from './instant.js'
import { printJson } from './print.js'

/* `telehub alerts …`: the alerts of a running hub. */

const listFlags = {
  all: { help: 'also alerts that are over' },
  rule: { value: 'RULE', help: 'only alerts of this rule' },
  device: { value: 'DEVICE', help: 'only alerts of this device' },
  limit: { value: 'N', help: 'at most so many alerts; default 1000' },
  ...hubFlags,
} as const satisfies Flags

const ackFlags = { note: { value: 'TEXT', help: 'what is done about it' }, ...hubFlags } as const satisfies Flags

const muteFlags = {
  series: { value: 'KEY', help: 'only this series, as telehub alerts list --json shows it' },
  device: { value: 'DEVICE', help: 'only this device' },
  for: { value: 'TIME', help: 'so long, such as 2h; default: until --end' },
  note: { value: 'TEXT', help: 'why' },
  end: { value: 'ID', help: 'takes a mute back; telehub alerts list shows the ids' },
  ...hubFlags,
} as const satisfies Flags

const testFlags = {
  from: { value: 'TIME', help: 'beginning of the test; default: 30d' },
  to: { value: 'TIME', help: 'end of the test; default: now' },
  file: { value: 'FILE', help: 'takes the rule from this file, in JSON, whether it is in force or not' },
  ...hubFlags,
} as const satisfies Flags

export const alertCommands: readonly Command[] = [
  command({
    name: 'alerts list',
    alias: 'alerts',
    summary: 'list the alerts that are not over, and what is muted',
    flags: listFlags,
    examples: ['telehub alerts list', 'telehub alerts list --all --rule freezer-warm'],
    run: list,
  }),
  command({
    name: 'alerts ack',
    takes: ['ID'],
    summary: 'acknowledge an alert that is firing',
    about: 'telehub alerts list shows the ids.',
    flags: ackFlags,
    examples: ['telehub alerts ack 4MbXq0vY2LkP9s-T --note "door was open"'],
    run: acknowledge,
  }),
  command({
    name: 'alerts mute',
    takes: ['[RULE]'],
    summary: 'record alerts of a rule, a series or a device, and notify nobody',
    flags: muteFlags,
    examples: ['telehub alerts mute freezer-warm --for 2h --note defrosting', 'telehub alerts mute --end 1a2b3c4d'],
    run: mute,
  }),
  command({
    name: 'alerts test',
    takes: ['[RULE]'],
    summary: 'show when a rule would have fired, how often, and for how long',
    about: `Evaluates the readings in the store as the hub would have; changes nothing and notifies nobody.\n${instantHelp}`,
    flags: testFlags,
    examples: ['telehub alerts test freezer-warm --from 30d', 'telehub alerts test --file rule.json --from 7d'],
    run: test,
  }),
]

async function list(call: Call<typeof listFlags>): Promise<number> {
  const { all, rule, device, limit, json } = call.flags
  const { out } = call.terminal
  const asked = { state: all ? 'all' : 'open', rule, device, limit: limitOf(limit, 1_000) } as const
  const answer = await hubOf(call).ask('GET /api/alerts', asked)
  if (json) return printJson(out, answer)
  const rows = answer.alerts.map(({ alert, severity, state, since, by, muted, past, sentence }) => [
    alert,
    severity,
    by === undefined || state !== 'acknowledged' ? `${state}${past ? ' (past)' : ''}` : `acknowledged by ${plain(by)}`,
    time(since),
    muted ? 'muted' : '',
    plain(sentence),
  ])
  // The sentence is what matters, and is not cut as a cell is.
  for (const row of rows) out(`${row.slice(0, 5).filter(Boolean).join('  ')}\n    ${row[5]}\n`)
  if (answer.mutes.length > 0) {
    out('\n')
    const until = (at: number | undefined) => (at === undefined ? 'taken back' : time(at))
    const muted = answer.mutes.map(one => [
      one.id,
      plain([one.rule, one.series, one.device].filter(Boolean).join(' ')),
      `until ${until(one.until)}`,
      plain(one.by),
      plain(one.note ?? ''),
    ])
    out(table(['mute', 'of', '', 'by', 'note'], muted))
  }
  const shown = rows.length < answer.count ? `, ${count(rows.length)} shown; --limit shows more` : ''
  out(`${many(answer.count, 'alert')}${shown}\n`)
  return 0
}

async function acknowledge(call: Call<typeof ackFlags>): Promise<number> {
  const { out } = call.terminal
  const asked = { alert: call.args[0] as string, note: call.flags.note }
  const answer = await hubOf(call).ask('POST /api/alerts/ack', asked)
  if (call.flags.json) return printJson(out, answer)
  out(`${answer.alert} is acknowledged by ${plain(answer.by)}\n`)
  return 0
}

async function mute(call: Call<typeof muteFlags>): Promise<number> {
  const { flags, terminal, args } = call
  const { out } = terminal
  const { series, device, note, end } = flags
  const [rule] = args
  const isNamed = rule !== undefined || series !== undefined || device !== undefined
  if (end !== undefined) {
    if (isNamed || flags.for !== undefined) throw usage('--end takes back one mute, and goes with nothing else')
    const ended = await hubOf(call).ask('POST /api/alerts/unmute', { id: end })
    if (flags.json) return printJson(out, ended)
    out(`the mute ${ended.id} is taken back\n`)
    return 0
  }
  if (!isNamed) throw usage('telehub alerts mute needs a RULE, --series, --device, or --end', 'alerts mute')
  const ms = flags.for === undefined ? undefined : duration.parse(flags.for)
  if (flags.for !== undefined && !ms)
    throw usage(`--for: given ${JSON.stringify(flags.for)}, allowed is ${duration.allowed}`)
  const until = ms === undefined ? undefined : terminal.now() + ms
  const answer = await hubOf(call).ask('POST /api/alerts/mute', { rule, series, device, note, until })
  if (flags.json) return printJson(out, answer)
  const how =
    answer.until === undefined ? `telehub alerts mute --end ${answer.id} takes it back` : `until ${time(answer.until)}`
  out(`muted (${answer.id}), ${how}\n`)
  return 0
}

async function test(call: Call<typeof testFlags>): Promise<number> {
  const { flags, terminal, args } = call
  const { out } = terminal
  const now = terminal.now()
  const from = instant('from', flags.from ?? '30d', now) as number
  const to = instant('to', flags.to, now)
  if ((args[0] === undefined) === (flags.file === undefined))
    throw usage('telehub alerts test needs a RULE or --file', 'alerts test')
  const rule: unknown = flags.file === undefined ? args[0] : parsed(flags.file)
  const answer = await hubOf(call).ask('POST /api/alerts/test', { rule, from, to } as never)
  if (flags.json) return printJson(out, answer)
  const length = (ms: number) => {
    const minutes = Math.round(ms / 60_000)
    if (minutes < 1) return `${Math.round(ms / 1_000)} s`
    return minutes < 120 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`
  }
  for (const one of answer.alerts) {
    const lasted = one.to === undefined ? 'would still fire' : length(one.to - one.from)
    out(`${time(one.from)}  ${lasted}\n    ${plain(one.sentence)}\n`)
  }
  const more = answer.count > answer.alerts.length ? ` (the first ${count(answer.alerts.length)} are shown)` : ''
  const times = answer.count === 0 ? 'would not have fired' : `would have fired ${many(answer.count, 'time')}${more}`
  const lengths = answer.count === 0 ? '' : `, ${length(answer.total)} in all, ${length(answer.longest)} at most`
  out(
    `${plain(answer.rule)} ${times}${lengths}: ${many(answer.readings, 'reading')} of ${count(answer.series)} series since ${time(answer.from)}\n`,
  )
  if (answer.incomplete !== undefined) out(`${plain(answer.incomplete)}\n`)
  return 0
}

function parsed(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as unknown
  } catch (error) {
    throw usage(`--file: ${file} is no JSON file (${(error as Error).message})`)
  }
}
