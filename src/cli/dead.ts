import type { DeadLetterRow } from '../contract/contract.js'
import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { many, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags, type FlagValues, usage } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import type { HubClient } from './hub-client.js'
import { instant, instantHelp } from './instant.js'
import { follow } from './job.js'
import { printJson } from './print.js'

/* `telehub dead …`: the dead letters of a running hub. */

const filterFlags = {
  outlet: { value: 'NAME', help: 'letters that this outlet has refused; without: those that could not be stored' },
  reason: { value: 'REASON', help: 'only letters with this reason, such as no_reading' },
  device: { value: 'CLIENT', help: 'only letters of this client id' },
  topic: { value: 'FILTER', help: 'only letters on topics that the filter matches, such as plant/+/#' },
  from: { value: 'TIME', help: 'only letters that failed at this time or later' },
  to: { value: 'TIME', help: 'only letters that failed before this time' },
} as const satisfies Flags

const listFlags = {
  ...filterFlags,
  limit: { value: 'N', help: 'at most so many letters; default 100' },
  ...hubFlags,
} as const satisfies Flags

const moveFlags = { ...filterFlags, all: { help: 'all letters' }, ...hubFlags } as const satisfies Flags
const showFlags = { outlet: filterFlags.outlet, ...hubFlags } as const satisfies Flags
const dropFlags = {
  ...moveFlags,
  yes: { help: 'confirms: dropped letters cannot be brought back' },
} as const satisfies Flags

export const deadCommands: readonly Command[] = [
  command({
    name: 'dead list',
    summary: 'list dead letters with their reasons, the newest first',
    about: instantHelp,
    flags: listFlags,
    examples: ['telehub dead list --reason no_reading --from 2h'],
    run: list,
  }),
  command({
    name: 'dead show',
    takes: ['ID'],
    summary: 'show a dead letter with its payload',
    about: 'telehub dead list shows the ids.',
    flags: showFlags,
    examples: ['telehub dead show 4711'],
    run: show,
  }),
  command({
    name: 'dead replay',
    takes: ['[ID]'],
    summary: 'handle dead letters again, after a fix; those that are stored now are removed',
    about: `Selects one letter by its id, those that match all flags, or all of them. ${instantHelp}`,
    flags: moveFlags,
    examples: [
      'telehub dead replay --device thermo-1',
      "telehub dead replay --topic 'plant/+/oven/#'",
      'telehub dead replay --all',
    ],
    run: call => move(call, 'replay'),
  }),
  command({
    name: 'dead drop',
    takes: ['[ID]'],
    summary: 'delete dead letters; the balance sheet counts them as dropped',
    about: `Selects one letter by its id, those that match all flags, or all of them. ${instantHelp}`,
    flags: dropFlags,
    examples: ['telehub dead drop 4711 --yes', 'telehub dead drop --reason no_reading --yes'],
    run: call => {
      if (!call.flags.yes) throw usage('telehub dead drop deletes letters: confirm with --yes', 'dead drop')
      return move(call, 'drop')
    },
  }),
]

async function list(call: Call<typeof listFlags>): Promise<number> {
  const { flags, terminal } = call
  const { out, now } = terminal
  const asked = { limit: limitOf(flags.limit, 100), ...filterOf(flags, now()) }
  const answer = await hubOf(call).ask('GET /api/dead', asked)
  if (flags.json) return printJson(out, answer)
  if (answer.dead.length === 0) {
    out('no dead letters\n')
    return 0
  }
  const rows = answer.dead.map(({ id, failedAt, reason, clientId, topic, detail }) => [
    plain(id),
    time(failedAt),
    plain(reason),
    plain(clientId),
    plain(topic),
    plain(detail),
  ])
  out(table(['id', 'when', 'reason', 'device', 'topic', 'detail'], rows))
  return 0
}

async function show(call: Call<typeof showFlags>): Promise<number> {
  const { out } = call.terminal
  const letter = await find(hubOf(call), call.args[0] as string, call.flags.outlet)
  if (call.flags.json) return printJson(out, letter)
  const payload = Buffer.from(letter.payload, 'base64')
  const text = payload.toString('utf8')
  const isText = Buffer.from(text).equals(payload)
  const rows: [string, string][] = [
    ['id', plain(letter.id)],
    ['reason', plain(letter.reason)],
    ['detail', plain(letter.detail)],
    ['failed at', `${time(letter.failedAt)}, tried ${many(letter.attempts, 'time')}`],
    ['topic', plain(letter.topic)],
    ['device', `${plain(letter.clientId)}${letter.user ? `, user ${plain(letter.user)}` : ''}`],
    ['QoS', `${letter.qos}${letter.retain ? ', retained' : ''}`],
    ['received at', `${time(letter.receivedAt)}, sequence ${letter.sequence}`],
    ...propertyRows(letter),
    ['payload', `${payload.length} bytes${isText ? '' : ', not text: in hexadecimal'}`],
  ]
  for (const [name, value] of rows) out(`${name.padEnd(14)} ${value}\n`)
  out(`\n${isText ? plain(text, true) : payload.toString('hex')}\n`)
  return 0
}

function propertyRows(letter: DeadLetterRow): [string, string][] {
  const { contentType, responseTopic, correlationData, userProperties = [], expiresAt } = letter
  const rows: [string, string][] = userProperties.map(([name, value]) => [
    'property',
    `${plain(name)}: ${plain(value)}`,
  ])
  if (contentType !== undefined) rows.push(['content type', plain(contentType)])
  if (responseTopic !== undefined) rows.push(['response topic', plain(responseTopic)])
  if (correlationData !== undefined) rows.push(['correlation', `${plain(correlationData)} (base64)`])
  if (expiresAt !== undefined) rows.push(['expires at', time(expiresAt)])
  return rows
}

async function find(hub: HubClient, id: string, outlet?: string): Promise<DeadLetterRow> {
  const { dead } = await hub.ask('GET /api/dead', { id, outlet })
  if (dead[0]) return dead[0]
  throw new HubError('not_found', `there is no dead letter ${plain(id)}; telehub dead list shows all`)
}

async function move(call: Call<typeof moveFlags>, kind: 'replay' | 'drop'): Promise<number> {
  const { args, flags, terminal } = call
  const [id] = args
  const { outlet } = flags
  const filter = { id, ...filterOf(flags, terminal.now()) }
  const isFiltered = Object.entries(filter).some(([name, value]) => name !== 'outlet' && value !== undefined)
  const name = `dead ${kind}`
  if (flags.all && isFiltered) {
    throw usage(`telehub ${name}: given --all with an ID or a filter, allowed is one of them`, name)
  }
  if (!flags.all && !isFiltered) {
    throw usage(`telehub ${name} needs an ID, a filter (--reason, --device, --topic, --from, --to), or --all`, name)
  }
  if (id !== undefined) await find(hubOf(call), id, outlet)
  return follow(call, `POST /api/dead/${kind}`, flags.all ? { all: true, outlet } : filter, 'rejected again')
}

function filterOf({ outlet, reason, device, topic, from, to }: FlagValues<typeof filterFlags>, now: number) {
  return { outlet, reason, device, topic, from: instant('from', from, now), to: instant('to', to, now) }
}

/** Returns the number of rows to show. */
export function limitOf(given: string | undefined, usual: number): number {
  if (given === undefined) return usual
  if (/^[1-9]\d{0,5}$/.test(given) && Number(given) <= 100_000) return Number(given)
  throw usage(`--limit: given ${JSON.stringify(given)}, allowed is a whole number from 1 to 100000`)
}
