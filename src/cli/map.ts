import { readFileSync } from 'node:fs'
import { plain } from '../observe/log.js'
import { type Call, command, type Flags } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub map try`: what a running hub would make of a message. */

const tryFlags = {
  file: { value: 'FILE', help: 'takes the payload from this file, whatever its bytes are' },
  ...hubFlags,
} as const satisfies Flags

export const mapTryCommand = command({
  name: 'map try',
  takes: ['TOPIC', '[PAYLOAD]'],
  summary: 'show what the mapping makes of a message, and store nothing',
  about: 'Shows which rule or preset decides, the points with time and units, and why there are none.',
  flags: tryFlags,
  examples: [`telehub map try tele/plug/SENSOR '{"Time":"2026-01-01T12:00:00","ENERGY":{"Power":12}}'`],
  run: tryOut,
})

async function tryOut(call: Call<typeof tryFlags>): Promise<number> {
  const { args, flags, terminal } = call
  const [topic = '', payload = ''] = args
  const bytes = flags.file === undefined ? Buffer.from(payload) : readFileSync(flags.file)
  const answer = await hubOf(call).ask('POST /api/map/try', { topic, payload: bytes.toString('base64') })
  const { out } = terminal
  if (flags.json) return printJson(out, answer)
  const { rule, preset, outcome, ignored, reason, detail, quality, points, absent = [], described = [] } = answer
  const by = rule ? `rule ${rule}` : preset ? `preset ${preset}` : 'the default: first level and topic'
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
