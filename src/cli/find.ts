import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Answer } from '../contract/contract.js'
import { plain } from '../observe/log.js'
import { count, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags, usage } from './command.js'
import { limitOf } from './dead.js'
import { hubFlags, hubOf } from './hub-address.js'
import { instant, instantHelp } from './instant.js'
import { printJson } from './print.js'

/* `telehub find`: where is my message? */

const findFlags = {
  device: { value: 'CLIENT', help: 'messages of this client id' },
  topic: { value: 'FILTER', help: 'messages whose topic matches this filter' },
  packet: {
    value: 'ID',
    help: 'messages with this packet identifier (QoS 2 in a kept session: of others it is not kept)',
  },
  hash: { value: 'SHA256', help: 'messages whose payload has this SHA-256' },
  payload: { value: 'FILE', help: 'messages with the content of this file as payload' },
  sequence: { value: 'N', help: 'the message with this sequence number of the hub' },
  from: { value: 'TIME', help: 'messages received from this time on; default: an hour ago' },
  to: { value: 'TIME', help: 'messages received before this time; default: now' },
  limit: { value: 'N', help: 'at most so many messages; default 20' },
  ...hubFlags,
} as const satisfies Flags

export const findCommand: Command = command({
  name: 'find',
  summary: 'where is my message: received, on disk, published, confirmed, stored or dead, and when',
  about: `Looks through what the spool (spool.keep) and the archive (spool.archive) still have. Times that nobody wrote down are ranges.\n${instantHelp}`,
  flags: findFlags,
  examples: ['telehub find --device thermo-1 --from 2h', 'telehub find --topic "plant/#" --packet 17'],
  run: find,
})

type FindAnswer = Answer<'GET /api/find'>

async function find(call: Call<typeof findFlags>): Promise<number> {
  const { flags, terminal } = call
  const { device, topic, packet, sequence, payload } = flags
  const hash = payload === undefined ? flags.hash : createHash('sha256').update(readFileSync(payload)).digest('hex')
  if ([device, topic, packet, hash, sequence].every(value => value === undefined)) {
    throw usage('telehub find needs one of --device, --topic, --packet, --hash, --payload and --sequence', 'find')
  }
  const limit = Math.min(100, limitOf(flags.limit, 20))
  const [from, to] = [instant('from', flags.from, terminal.now()), instant('to', flags.to, terminal.now())]
  const asked = {
    device,
    topic,
    hash,
    packet: numberOf('packet', packet),
    sequence: numberOf('sequence', sequence),
    from,
    to,
  }
  const hub = hubOf(call)
  const messages: FindAnswer['messages'][number][] = []
  let last: FindAnswer | undefined
  for (let after: number | undefined; !last || (last.next !== undefined && messages.length < limit); ) {
    last = await hub.ask('GET /api/find', { ...asked, after, limit: limit - messages.length })
    messages.push(...last.messages)
    after = last.next
    if (after !== undefined) terminal.progress(`looked up to message ${count(after)} of ${count(last.accepted)}`)
  }
  terminal.progress('')
  if (flags.json) return printJson(terminal.out, { ...last, messages })
  if (messages.length === 0) {
    const oldest =
      last.oldest === undefined ? 'the spool is empty' : `the spool and the archive go back to ${time(last.oldest)}`
    terminal.out(`no such message in this time; ${oldest}\n`)
    return 1
  }
  for (const message of messages) {
    const { sequence, topic, clientId, qos, packet, size } = message
    const id = packet === undefined ? '' : `, packet ${packet}`
    terminal.out(
      `message ${count(sequence)} on ${plain(topic)} of ${plain(clientId)}: QoS ${qos}${id}, ${size} bytes\n`,
    )
    for (const hop of message.hops) terminal.out(`  ${hop.hop.padEnd(10)} ${whenOf(hop)}\n`)
  }
  return 0
}

function numberOf(flag: string, given: string | undefined): number | undefined {
  if (given === undefined) return undefined
  if (/^[1-9]\d{0,14}$/.test(given)) return Number(given)
  throw usage(`--${flag}: given ${JSON.stringify(given)}, allowed is a whole number from 1 on`)
}

function whenOf({
  at,
  after,
  before,
  isWaiting,
  reason,
  detail,
}: FindAnswer['messages'][number]['hops'][number]): string {
  if (isWaiting) return 'not yet'
  const exact = (ms: number) => new Date(ms).toISOString()
  const when = at === undefined ? `between ${exact(after ?? 0)} and ${exact(before ?? 0)}` : exact(at)
  return reason === undefined ? when : `${when}: ${plain(reason)}, ${plain(detail ?? '')}`
}
