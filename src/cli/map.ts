import { readFileSync } from 'node:fs'
import { readYamlText } from '../config/config.js'
import { ruleMistakes } from '../config/settings.js'
import type { Answer, JobProgress } from '../contract/contract.js'
import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { count, many, table } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags, usage } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { instant, instantHelp } from './instant.js'
import { goesOn, watch } from './job.js'
import { printJson } from './print.js'

/* `telehub map …`: what a running hub would make of a message, and the rules that say so. */

const tryFlags = {
  file: { value: 'FILE', help: 'takes the payload from this file, whatever its bytes are' },
  ...hubFlags,
} as const satisfies Flags

const rulesFlags = {
  yaml: { help: 'prints all as the setting mapping of a telehub.yaml, as telehub process on another machine needs it' },
  ...hubFlags,
} as const satisfies Flags

const diffFlags = {
  from: { value: 'TIME', help: 'messages received from this time on (needed)' },
  to: { value: 'TIME', help: 'messages received before this time; default: now' },
  topic: { value: 'FILTER', help: 'only messages whose topic matches this filter' },
  ...hubFlags,
} as const satisfies Flags

const undoFlags = {
  rules: { help: 'takes only the last change of the rules back' },
  from: { value: 'TIME', help: 'with --rules: stores again what was received from this time on; default: nothing' },
  ...hubFlags,
} as const satisfies Flags

export const mapCommands: readonly Command[] = [
  command({
    name: 'map try',
    takes: ['TOPIC', '[PAYLOAD]'],
    summary: 'show what the mapping makes of a message, and store nothing',
    about: 'Shows which rule or preset decides, the points with time and units, and why there are none.',
    flags: tryFlags,
    examples: [`telehub map try tele/plug/SENSOR '{"Time":"2026-01-01T12:00:00","ENERGY":{"Power":12}}'`],
    run: tryOut,
  }),
  command({
    name: 'map rules',
    summary: 'list the mapping rules in their order: those that the hub keeps itself, then those of the settings',
    about: 'The first rule whose topic matches decides. The dashboard makes rules (Map this), and the hub keeps them.',
    flags: rulesFlags,
    examples: ['telehub map rules', 'telehub map rules --yaml'],
    run: listRules,
  }),
  command({
    name: 'map diff',
    takes: ['FILE'],
    summary: 'show what other rules would have made of the raw past (spool and archive), and store nothing',
    about:
      'FILE has the rules as a list, or under `mapping:` as in telehub.yaml. They stand for those that the hub keeps itself, ' +
      `before those of its settings. ${instantHelp}`,
    flags: diffFlags,
    examples: ['telehub map diff new.yaml --from 7d', 'telehub map diff new.yaml --from 2h --topic "plant/#"'],
    run: diff,
  }),
  command({
    name: 'map apply',
    takes: ['FILE'],
    summary: 'put the rules of a file in force, for the raw past (spool and archive), too, all at once',
    about:
      'FILE as for map diff. What the new rules make of the messages of the span is made aside, and then takes the place of ' +
      'what the rules before have made of them, in one transaction; readings that only those made are removed. What comes ' +
      'is by the new rules from then on. The hub goes on by itself when this command ends, and after a restart; on an ' +
      'error nothing is changed. InfluxDB has no transactions: there the past is stored again by the new rules, message by ' +
      `message, and what only the rules before made stays. ${instantHelp}`,
    flags: diffFlags,
    examples: ['telehub map apply new.yaml --from 7d'],
    run: apply,
  }),
  command({
    name: 'map past',
    summary: 'show the last map apply, or its undo, and how far it is',
    about: 'Both go on in the hub, whether the command that began them is there or not.',
    flags: hubFlags,
    examples: ['telehub map past'],
    run: past,
  }),
  command({
    name: 'map undo',
    summary: 'take the last map apply back, within a day: the rules, and the readings as they were',
    about:
      'What came since is made anew by the rules before. When there is no map apply to take back, or with --rules: takes ' +
      `the last change of the rules back, whoever made it; up to 50 are kept. ${instantHelp}`,
    flags: undoFlags,
    examples: ['telehub map undo', 'telehub map undo --rules --from 7d'],
    run: undo,
  }),
]

async function listRules(call: Call<typeof rulesFlags>): Promise<number> {
  const { flags, terminal } = call
  const { out } = terminal
  const answer = await hubOf(call).ask('GET /api/mapping', {})
  if (flags.json) return printJson(out, answer)
  const { rules, file, mistakes } = answer
  if (flags.yaml) {
    // JSON is YAML, and as JSON any text stays what it is.
    out(rules.length === 0 ? 'mapping: []\n' : 'mapping:\n')
    for (const { rule } of rules) out(`  - ${plain(JSON.stringify(rule))}\n`)
    return 0
  }
  const rows = rules.map(({ place, rule: { topic, measurement, ignore, ...more } }) => [
    placeText(place),
    plain(String(topic)),
    ignore === true ? 'not stored' : measurement === undefined ? 'stored less often' : plain(String(measurement)),
    plain(Object.keys(more).join(', ')),
  ])
  if (rows.length > 0) out(table(['rule', 'topic', 'measurement', 'more'], rows))
  if (rules.some(({ place }) => place.from === 'hub')) out(`rules of the hub are in ${plain(file)}\n`)
  for (const mistake of mistakes) out(`mistake: ${plain(mistake)}\n`)
  return mistakes.length > 0 ? 1 : 0
}

/** Reads rules of a YAML file. Throws with the line of a mistake. */
function rulesIn(file: string): readonly Readonly<Record<string, unknown>>[] {
  const { value, mistakes, lineOf } = readYamlText(readFileSync(file, 'utf8'))
  const [mistake] = mistakes
  if (mistake) throw new HubError('bad_request', `${file}:${mistake.line}: ${mistake.sentence}`)
  const isMap = typeof value === 'object' && value !== null && 'mapping' in value
  const rules: unknown = isMap ? value.mapping : value
  if (!Array.isArray(rules))
    throw new HubError('bad_request', `${file}: allowed is a list of rules, or mapping: with one`)
  for (const [i, rule] of rules.entries()) {
    const [wrong] = ruleMistakes(rule)
    if (!wrong) continue
    const place = [...(isMap ? ['mapping'] : []), i, ...(wrong.key === undefined ? [] : [wrong.key])]
    const key = wrong.key === undefined ? '' : `${wrong.key}: `
    throw new HubError('bad_request', `${file}:${lineOf(place)}: ${key}${wrong.sentence}`)
  }
  return rules as readonly Readonly<Record<string, unknown>>[]
}

/** Returns the span of the past that the flags name. */
function spanOf({ flags, terminal }: Call<typeof diffFlags>, name: string) {
  const from = instant('from', flags.from, terminal.now())
  if (from === undefined) throw usage(`telehub ${name} needs --from TIME`, name)
  const to = instant('to', flags.to, terminal.now())
  if (to !== undefined && to < from) throw usage('--to is before --from')
  return { from, to, topic: flags.topic }
}

async function apply(call: Call<typeof diffFlags>): Promise<number> {
  const { args, flags, terminal } = call
  const rules = rulesIn(args[0] ?? '')
  const span = spanOf(call, 'map apply')
  const last = await watch(call, 'POST /api/mapping/apply', { rules, ...span }, goesOn)
  if (flags.json) return printJson(terminal.out, last) || (last.error ? 1 : 0)
  if (last.error) {
    terminal.out(`nothing was changed: ${plain(last.error)}\n`)
    return 1
  }
  terminal.out(`the rules are in force, for the past, too: ${pastText(last)}\n`)
  terminal.out('telehub map undo takes all of it back within a day\n')
  return 0
}

function pastText({ stored, kept, dropped }: JobProgress): string {
  return (
    `${many(stored, 'message')} stored, ${count(kept)} rejected, ` +
    `${many(dropped, 'reading')} removed that only the rules before made`
  )
}

async function undo(call: Call<typeof undoFlags>): Promise<number> {
  const { flags, terminal } = call
  const from = instant('from', flags.from, terminal.now())
  const { change } = await hubOf(call).ask('GET /api/mapping/past', {})
  if (!flags.rules && from === undefined && change?.until !== undefined && change.until > terminal.now()) {
    const last = await watch(call, 'POST /api/mapping/apply/undo', {}, goesOn)
    if (flags.json) return printJson(terminal.out, last) || (last.error ? 1 : 0)
    if (last.error) terminal.out(`nothing was changed: ${plain(last.error)}\n`)
    else terminal.out('the rules before are in force, and the past is as it was\n')
    return last.error ? 1 : 0
  }
  const answer = await hubOf(call).ask('POST /api/mapping/undo', {})
  const last = from === undefined ? undefined : await watch(call, 'POST /api/spool/replay', { from })
  if (flags.json) return printJson(terminal.out, last ?? answer) || (last?.error ? 1 : 0)
  terminal.out('the rules before are in force\n')
  if (last) terminal.out(`past: ${many(last.stored, 'message')} stored, ${count(last.kept)} rejected\n`)
  if (last?.error) terminal.out(`the past is stored in part only: ${plain(last.error)}\n`)
  return last?.error ? 1 : 0
}

const phases = {
  applying: 'rules are being put in force for the past',
  done: 'rules are in force for the past',
  undoing: 'rules for the past are being taken back',
  undone: 'rules for the past were taken back',
  failed: 'rules for the past were not put in force',
  final: 'rules are in force for the past, and no undo is kept any more',
} as const

async function past(call: Call<typeof hubFlags>): Promise<number> {
  const { out } = call.terminal
  const answer = await hubOf(call).ask('GET /api/mapping/past', {})
  if (call.flags.json) return printJson(out, answer)
  const { change, progress } = answer
  if (!change) {
    out('no rules were put in force for the past yet\n')
    return 0
  }
  const { phase, at, by, from, to, topic, until, error } = change
  const iso = (time: number) => new Date(time).toISOString()
  out(`${phases[phase]} (${iso(at)}${by ? `, by ${plain(by)}` : ''})\n`)
  out(`from ${iso(from)}${to === undefined ? '' : ` to ${iso(to)}`}${topic === undefined ? '' : `, ${plain(topic)}`}: `)
  out(`${pastText(progress)}\n`)
  if (until !== undefined) out(`telehub map undo takes it back until ${iso(until)}\n`)
  if (error !== undefined) out(`${plain(error)}\n`)
  return phase === 'failed' ? 1 : 0
}

async function diff(call: Call<typeof diffFlags>): Promise<number> {
  const { args, flags, terminal } = call
  const rules = rulesIn(args[0] ?? '')
  const span = spanOf(call, 'map diff')
  const last = await watch(call, 'POST /api/mapping/diff', { rules, ...span })
  const { out } = terminal
  if (flags.json) return printJson(out, last) || (last.error ? 1 : 0)
  if (last.diff) showDiff(last.diff, out)
  if (last.error) out(`the comparison stopped early: ${plain(last.error)}\n`)
  return last.error ? 1 : 0
}

type Diff = NonNullable<JobProgress['diff']>

function showDiff(diff: Diff, out: (text: string) => void): void {
  const { before, after, series, fates } = diff
  const row = (name: string, of: (tally: Diff['before']) => number) => [name, count(of(before)), count(of(after))]
  const reasons = [...new Set([...Object.keys(before.reasons), ...Object.keys(after.reasons)])].sort()
  const rows = [
    row('messages', ({ messages }) => messages),
    row('stored', ({ stored }) => stored),
    row('ignored', ({ ignored }) => ignored),
    row('dead', ({ dead }) => dead),
    ...reasons.map(reason => row(`  ${plain(reason)}`, tally => tally.reasons[reason] ?? 0)),
    row('points', ({ points }) => points),
    ['series', count(series.before), count(series.after)],
  ]
  out(table(['', 'now', 'new'], rows))
  out(
    `\n${count(series.same)} series stay, ${count(series.appear)} appear, ${count(series.vanish)} vanish, ` +
      `${count(series.retyped)} change type${diff.incomplete ? ' (there were too many series to compare all)' : ''}\n`,
  )
  for (const kind of ['appear', 'vanish', 'retyped'] as const) {
    if (diff[kind].length === 0) continue
    const samples = diff[kind].map(({ series: key, topic, types, before: old, after: fresh }) => [
      plain(key),
      types,
      plain([old, fresh].map(value => (value === undefined ? '' : JSON.stringify(value))).join(' → ')),
      plain(topic),
    ])
    const title = { appear: 'appears', vanish: 'vanishes', retyped: 'changes type' }[kind]
    out(`\n${table([title, 'type', 'value', 'on'], samples)}`)
    const more = series[kind] - samples.length
    if (more > 0) out(`and ${count(more)} more\n`)
  }
  if (fates.length === 0) return
  const changes = fates.map(fate => [count(fate.messages), plain(fate.before), plain(fate.after), plain(fate.topic)])
  out(`\n${table(['messages', 'now', 'new', 'such as'], changes)}`)
}

function placeText({ from, number }: Answer<'GET /api/mapping'>['rules'][number]['place']): string {
  return `${from === 'hub' ? 'hub' : 'settings'} ${number}`
}

async function tryOut(call: Call<typeof tryFlags>): Promise<number> {
  const { args, flags, terminal } = call
  const [topic = '', payload = ''] = args
  const bytes = flags.file === undefined ? Buffer.from(payload) : readFileSync(flags.file)
  const answer = await hubOf(call).ask('POST /api/map/try', { topic, payload: bytes.toString('base64') })
  const { out } = terminal
  if (flags.json) return printJson(out, answer)
  const { rule, place, preset, outcome, ignored, reason, detail, quality, points, absent = [], described = [] } = answer
  const from = place ? ` (${placeText(place)})` : ''
  const by = rule ? `rule ${rule}${from}` : preset ? `preset ${preset}` : 'the default: first level and topic'
  out(`decided by  ${plain(by)}\noutcome     ${outcome}${ignored ? ` (${ignored})` : ''}\n`)
  if (reason !== undefined) out(`reason      ${plain(reason)}: ${plain(detail ?? '')}\n`)
  if (quality !== undefined && quality !== 'good') out(`quality     ${quality}\n`)
  for (const { measurement, tags, fields, time } of points) {
    const named = Object.entries(tags).map(([name, value]) => `${name}=${value}`)
    out(`\n${plain([measurement, ...named].join(' '))}   ${new Date(time).toISOString()}\n`)
    for (const { name, value, unit = '' } of fields)
      out(`  ${plain(`${name} = ${JSON.stringify(value)} ${unit}`.trimEnd())}\n`)
  }
  for (const key of absent) out(`no value    ${plain(key)}\n`)
  for (const { name, id, entities } of described) out(`described   ${plain(name ?? id)}, ${entities.length} values\n`)
  return outcome === 'dead' ? 1 : 0
}
