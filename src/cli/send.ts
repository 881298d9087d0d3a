import { setTimeout as sleep } from 'node:timers/promises'
import { duration } from '../config/settings.js'
import type { CommandRow } from '../contract/contract.js'
import { plain } from '../observe/log.js'
import { many, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags, usage } from './command.js'
import { limitOf } from './dead.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub send` and `telehub commands …`: commands to devices, by a running hub. */

const sendFlags = {
  wait: { help: 'wait until the command is over; the exit code is 0 if the device has it, or has done it' },
  expiry: { value: 'TIME', help: 'after this time the command is never sent; default: commands.expiry' },
  topic: { help: 'the first argument is a topic, although it has no /' },
  device: { help: 'the first argument is a device, although it has a /' },
  entity: { value: 'NAME', help: 'which value of the device, where it takes commands for several' },
  client: { value: 'CLIENT', help: 'only this client is meant, of those that subscribe to the topic' },
  ...hubFlags,
} as const satisfies Flags

const listFlags = {
  topic: { value: 'FILTER', help: 'only commands to these topics' },
  client: { value: 'CLIENT', help: 'only commands for this client id' },
  state: { value: 'STATE', help: 'only commands in this state, such as queued or expired' },
  open: { help: 'only commands that are under way' },
  limit: { value: 'N', help: 'at most so many commands; default 100' },
  ...hubFlags,
} as const satisfies Flags

export const deviceCommandCommands: readonly Command[] = [
  command({
    name: 'send',
    takes: ['TOPIC|DEVICE', '[PAYLOAD]'],
    summary: 'send a command to a device, and wait for its answer with --wait',
    about:
      'What has a / is a topic; anything else is the id or name of a device that discovery describes. The command is held back ' +
      'while the device is away. Without PAYLOAD the payload is empty.',
    flags: sendFlags,
    examples: [
      'telehub send cmnd/plug1/POWER ON --wait --expiry 30s',
      'telehub send "Desk lamp" \'{"state":"ON"}\' --wait',
    ],
    run: send,
  }),
  command({
    name: 'commands list',
    alias: 'commands',
    summary: 'list commands to devices with their states, the newest first',
    flags: listFlags,
    examples: ['telehub commands list --open'],
    run: list,
  }),
  command({
    name: 'commands show',
    takes: ['ID'],
    summary: 'show a command with its payload, its times and its answer',
    flags: hubFlags,
    examples: ['telehub commands show 4b1d0c8e5f7a92d3e610'],
    run: async call => {
      print(call, await hubOf(call).ask('GET /api/commands/:id', { id: call.args[0] as string }))
      return 0
    },
  }),
  command({
    name: 'commands cancel',
    takes: ['ID'],
    summary: 'cancel a command that the device does not have yet',
    flags: hubFlags,
    examples: ['telehub commands cancel 4b1d0c8e5f7a92d3e610'],
    run: async call => {
      print(call, await hubOf(call).ask('DELETE /api/commands/:id', { id: call.args[0] as string }))
      return 0
    },
  }),
]

/** Longest time that one request waits, in milliseconds. */
const mostWaitMs = 300_000

/** Pause between two looks at a command that takes longer than one request may wait. */
const lookMs = 1_000

async function send(call: Call<typeof sendFlags>): Promise<number> {
  const [where = '', payload = ''] = call.args
  const { wait, expiry, topic, device, entity, client } = call.flags
  const expiryMs = expiry === undefined ? undefined : duration.parse(expiry)
  if (expiry !== undefined && !expiryMs) throw usage(`--expiry: given ${expiry}, allowed is ${duration.allowed}`)
  const isTopic = topic === true || (device !== true && where.includes('/'))
  const hub = hubOf(call)
  let sent = await hub.ask('POST /api/commands', {
    ...(isTopic ? { topic: where } : { device: where }),
    ...{ payload, encoding: 'text', entity, client },
    ...(expiryMs !== undefined && { expiry: expiryMs / 1_000 }),
    wait: wait ? Math.min(mostWaitMs, expiryMs ?? mostWaitMs) / 1_000 : 0,
  })
  while (wait && !sent.over) {
    await sleep(lookMs)
    sent = await hub.ask('GET /api/commands/:id', { id: sent.id })
  }
  print(call, sent)
  return wait && !['answered', 'delivered', 'sent'].includes(sent.state) ? 1 : 0
}

async function list(call: Call<typeof listFlags>): Promise<number> {
  const { topic, client, state, open, limit, json } = call.flags
  const { out } = call.terminal
  const asked = { topic, client, state: state as CommandRow['state'] | undefined, open, limit: limitOf(limit, 100) }
  const answer = await hubOf(call).ask('GET /api/commands', asked)
  if (json) return printJson(out, answer)
  const rows = answer.commands.map(one => [
    one.id,
    time(one.askedAt),
    plain(one.topic),
    plain(one.payload.slice(0, 40)),
    plain(one.user),
    one.over ? one.state : `${one.state} …`,
  ])
  if (rows.length > 0) out(table(['id', 'asked', 'topic', 'payload', 'user', 'state'], rows))
  out(`${many(rows.length, 'command')}\n`)
  return 0
}

function print(call: Call<typeof hubFlags>, row: CommandRow): void {
  const { out } = call.terminal
  if (call.flags.json) return void printJson(out, row)
  const {
    id,
    topic,
    payload,
    user,
    via,
    state,
    over,
    reason,
    askedAt,
    expiresAt,
    sentAt,
    deliveredAt,
    overAt,
    answer,
  } = row
  const lines: [string, string | undefined][] = [
    ['state', `${state}${over ? '' : ' …'}${reason === undefined ? '' : `: ${reason}`}`],
    ['answer', answer?.payload],
    ['topic', topic],
    ['payload', payload],
    ['asked', `${time(askedAt)} over ${via}${user && ` by ${user}`}`],
    ['expires', time(expiresAt)],
    ['sent', sentAt === undefined ? undefined : `${time(sentAt)}${row.sends > 1 ? `, ${row.sends} times` : ''}`],
    ['delivered', deliveredAt === undefined ? undefined : time(deliveredAt)],
    ['over', overAt === undefined ? undefined : time(overAt)],
  ]
  out(`command ${id}\n`)
  for (const [name, value] of lines) if (value !== undefined) out(`  ${name.padEnd(10)}${plain(value)}\n`)
}
