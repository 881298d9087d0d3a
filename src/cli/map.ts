import { readFileSync } from 'node:fs'
import type { Answer } from '../contract/contract.js'
import { plain } from '../observe/log.js'
import { table } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
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
    ignore === true ? 'not stored' : plain(String(measurement)),
    plain(Object.keys(more).join(', ')),
  ])
  if (rows.length > 0) out(table(['rule', 'topic', 'measurement', 'more'], rows))
  if (rules.some(({ place }) => place.from === 'hub')) out(`rules of the hub are in ${plain(file)}\n`)
  for (const mistake of mistakes) out(`mistake: ${plain(mistake)}\n`)
  return mistakes.length > 0 ? 1 : 0
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
