import type { Answer } from '../contract/contract.js'
import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { many, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub share …`: links that share a board of a running hub. */

const listFlags = { ...hubFlags } as const satisfies Flags

const addFlags = {
  days: { value: 'N', help: 'days until the link ends, at most 366; default 7' },
  ...hubFlags,
} as const satisfies Flags

export const shareCommands: readonly Command[] = [
  command({
    name: 'share list',
    summary: 'list the links that share a board',
    flags: listFlags,
    examples: ['telehub share list'],
    run: list,
  }),
  command({
    name: 'share add',
    takes: ['BOARD'],
    summary: 'make a link that shows one board without a login until a date',
    flags: addFlags,
    examples: ['telehub share add "Living room" --days 30'],
    run: add,
  }),
  command({
    name: 'share end',
    takes: ['ID'],
    summary: 'end a link at once',
    flags: listFlags,
    examples: ['telehub share end 0a1b2c3d4e5f6071'],
    run: end,
  }),
]

async function list(call: Call<typeof listFlags>): Promise<number> {
  const { out } = call.terminal
  const hub = hubOf(call)
  const answer = await hub.ask('GET /api/shares', {})
  if (call.flags.json) return printJson(out, answer)
  const { boards } = await hub.ask('GET /api/boards', {})
  const rows = answer.shares.map(({ id, board, by, expires }) => [
    id,
    plain(boards[board]?.name ?? `${board} (deleted)`),
    plain(by),
    `until ${time(expires)}`,
  ])
  if (rows.length > 0) out(table(['id', 'board', 'by', ''], rows))
  out(`${many(rows.length, 'link')}\n`)
  return 0
}

async function add(call: Call<typeof addFlags>): Promise<number> {
  const { out } = call.terminal
  const days = Number(call.flags.days ?? 7)
  if (!(days > 0 && days <= 366)) {
    throw new HubError('bad_request', `--days: given ${call.flags.days}, allowed are numbers up to 366`)
  }
  const hub = hubOf(call)
  const board = boardIn(await hub.ask('GET /api/boards', {}), call.args[0] as string)
  const answer = await hub.ask('POST /api/shares', { board, expires: Date.now() + days * 86_400_000 })
  if (call.flags.json) return printJson(out, answer)
  out(`link ${answer.id}, until ${time(answer.expires)}; the address is shown only now:\n${hub.at(answer.path)}\n`)
  return 0
}

/** Returns the id of the board that is named by its id or by its name. */
function boardIn({ boards }: Answer<'GET /api/boards'>, given: string): string {
  if (Object.hasOwn(boards, given)) return given
  const all = Object.entries(boards).map(([id, { name = id }]) => ({ id, name }))
  const named = all.filter(({ name }) => name === given)
  if (named.length === 1 && named[0]) return named[0].id
  if (named.length > 1) {
    const ids = named.map(({ id }) => id).join(', ')
    throw new HubError(
      'bad_request',
      `several boards have the name ${JSON.stringify(given)}: give one of the ids ${ids}`,
    )
  }
  const names = all.map(({ name }) => JSON.stringify(name)).join(', ')
  const rest = names ? `there are ${names}` : 'there is none yet: make one on the page Home with Edit'
  throw new HubError('not_found', `there is no board ${JSON.stringify(given)}; ${rest}`)
}

async function end(call: Call<typeof listFlags>): Promise<number> {
  const id = call.args[0] as string
  const answer = await hubOf(call).ask('POST /api/shares/end', { id })
  if (call.flags.json) return printJson(call.terminal.out, answer)
  call.terminal.out(`link ${plain(id)} is ended\n`)
  return 0
}
