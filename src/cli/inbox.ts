import type { Answer } from '../contract/contract.js'
import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { count, many, table } from '../runtime/terminal.js'
import { type Call, type Command, command } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { goesOn, watch } from './job.js'
import { printJson } from './print.js'

/* `telehub inbox …`: topics that no rule and no preset knows. */

export const inboxCommands: readonly Command[] = [
  command({
    name: 'inbox accept',
    takes: ['FILTER'],
    summary: 'save the rule that is proposed for a group of the inbox, and fill in the past',
    about:
      'FILTER is that of the group. The rule goes behind those that the hub keeps itself, as with telehub map apply: what ' +
      'the spool and the archive still have of these topics is stored by it instead of under the name of the topic, all at ' +
      'once, and telehub map undo takes that back. Then dead letters of these topics are replayed.',
    flags: hubFlags,
    examples: ["telehub inbox accept 'plant/+/status'"],
    run: accept,
  }),
  command({
    name: 'inbox',
    summary: 'list topics that no rule and no preset knows, in groups of one shape, with a rule for each',
    about: 'Their values are stored under the name of the topic where they can be read, and else are dead letters.',
    flags: hubFlags,
    examples: ['telehub inbox'],
    run: list,
  }),
]

type InboxGroup = Answer<'GET /api/inbox'>['groups'][number]

async function list(call: Call<typeof hubFlags>): Promise<number> {
  const { out } = call.terminal
  const answer = await hubOf(call).ask('GET /api/inbox', { limit: 50 })
  if (call.flags.json) return printJson(out, answer)
  const { groups, topics, more, incomplete } = answer
  if (groups.length === 0) {
    out('every topic has a rule or a preset\n')
    return 0
  }
  const rows = groups.map(group => [
    plain(group.filter),
    count(group.topics),
    `${group.rate.toFixed(1)}/s`,
    fateOf(group),
    plain(sampleOf(group)),
    plain(JSON.stringify(group.rule)),
  ])
  out(table(['topics', 'how many', 'rate', 'now', 'such as', 'proposed rule'], rows))
  out(`\n${many(topics, 'topic')}${more > 0 ? `, ${count(more)} more groups` : ''}`)
  out(`${incomplete ? '; there are more topics than were looked at' : ''}\n`)
  out(`telehub inbox accept '${plain(groups[0]?.filter ?? '')}' saves the first rule and fills in the past\n`)
  return 0
}

function fateOf({ fates, reasons }: InboxGroup): string {
  // After a start, or a change of the rules, nothing is known until the next message.
  if (fates.stored + fates.ignored + fates.refused === 0) return 'not known yet'
  if (fates.refused === 0) return fates.stored > 0 ? 'stored by topic' : 'not stored'
  return `dead: ${plain(Object.keys(reasons)[0] ?? '')}`
}

/** Longest sample that is shown, in characters. */
const longest = 40

function sampleOf({ sample }: InboxGroup): string {
  if (!sample) return ''
  const text = Buffer.from(sample.payload, 'base64').toString()
  return text.length > longest ? `${text.slice(0, longest)}…` : text
}

async function accept(call: Call<typeof hubFlags>): Promise<number> {
  const { args, flags, terminal } = call
  const hub = hubOf(call)
  const { groups } = await hub.ask('GET /api/inbox', { limit: 200 })
  const group = groups.find(({ filter }) => filter === args[0])
  if (!group) throw new HubError('not_found', `${args[0]}: there is no such group; telehub inbox lists them`)
  const { rules } = await hub.ask('GET /api/mapping', {})
  const own = rules.filter(({ place }) => place.from === 'hub').map(({ rule }) => rule)
  const topic = group.filter
  const asked = { rules: [...own, group.rule], from: 0, topic }
  const past = await watch(call, 'POST /api/mapping/apply', asked, goesOn)
  if (past.error) throw new HubError('bad_request', `the rule is not in force: ${plain(past.error)}`)
  const letters = await watch(call, 'POST /api/dead/replay', { topic })
  const { error } = letters
  if (flags.json) return printJson(terminal.out, { rule: group.rule, past, letters }) || (error ? 1 : 0)
  terminal.out(`${plain(JSON.stringify(group.rule))} is in force\n`)
  terminal.out(`past: ${many(past.stored, 'message')} stored; dead letters: ${count(letters.stored)} stored\n`)
  if (error) terminal.out(`stopped early: ${plain(error)}\n`)
  return error ? 1 : 0
}
