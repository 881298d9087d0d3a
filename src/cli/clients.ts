import { duration } from '../config/settings.js'
import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { bytes, count, many, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags, usage } from './command.js'
import { limitOf } from './dead.js'
import { hubFlags, hubOf } from './hub-address.js'
import type { HubClient } from './hub-client.js'
import { age } from './instant.js'
import { onlyUser } from './only-user.js'
import { printJson } from './print.js'

/* `telehub clients …`: the MQTT clients of a running hub, how much they say and take, and how to end that. */

const sorts = ['name', 'in', 'out', 'queue', 'since'] as const
export const banKinds = ['client', 'user', 'address'] as const

const listFlags = {
  search: { value: 'TEXT', help: 'only clients whose id, user or address contains this' },
  sort: { value: 'BY', help: `${sorts.join(', ')}; default: name` },
  limit: { value: 'N', help: 'at most so many clients; default 1000' },
  ...hubFlags,
} as const satisfies Flags

const kickFlags = {
  user: { value: 'USER', help: 'user of the client, when several have connected a client of that id' },
  ...hubFlags,
} as const satisfies Flags

const banFlags = {
  kind: { value: 'KIND', help: `what NAME is: ${banKinds.join(', ')}; default: client` },
  for: { value: 'TIME', help: 'how long, such as 2h or 30d' },
  ...hubFlags,
} as const satisfies Flags

export const clientCommands: readonly Command[] = [
  command({
    name: 'clients list',
    alias: 'clients',
    summary: 'list the MQTT clients: address, version, subscriptions, queue and traffic',
    about: 'Traffic is that since the list was last asked for, or since the client has connected.',
    flags: listFlags,
    examples: ['telehub clients list --sort in', 'telehub clients list --search 192.0.2.'],
    run: list,
  }),
  command({
    name: 'clients kick',
    takes: ['CLIENT'],
    summary: 'close the connection of a client; its session stays, and it may come back',
    flags: kickFlags,
    examples: ['telehub clients kick thermo-1'],
    run: kick,
  }),
  command({
    name: 'clients ban',
    takes: ['NAME'],
    summary: 'refuse a client id, a user or an address for a time, and disconnect who is connected',
    about:
      'telehub ban list shows the bans, and telehub ban lift ends one. This machine and trusted proxies cannot be banned.',
    flags: banFlags,
    examples: ['telehub clients ban thermo-1 --for 2h', 'telehub clients ban 203.0.113.5 --kind address --for 30d'],
    run: ban,
  }),
]

async function list(call: Call<typeof listFlags>): Promise<number> {
  const { search, sort: given = 'name', limit, json } = call.flags
  const { out, now } = call.terminal
  const sort = wordOf('sort', given, sorts)
  const answer = await hubOf(call).ask('GET /api/clients', { search, sort, limit: limitOf(limit, 1_000) })
  if (json) return printJson(out, answer)
  const rows = answer.clients.map(one => {
    const { clientId, user, address = '', connected, version = '', since, absentSince } = one
    const began = connected ? since : absentSince
    const traffic = (perSecond: number) => (connected ? `${bytes(Math.round(perSecond))}/s` : '')
    return [
      plain(clientId),
      plain(user),
      `${connected ? 'connected' : 'away'}${began === undefined ? '' : ` ${age(now() - began)}`}`,
      plain(address),
      version,
      count(one.subscriptions),
      `${count(one.queued)}${one.isFull ? ' (full)' : ''}`,
      traffic(one.bytesInPerSecond),
      traffic(one.bytesOutPerSecond),
    ]
  })
  const head = ['client id', 'user', 'for', 'address', 'MQTT', 'subscriptions', 'queued', 'in', 'out']
  if (rows.length > 0) out(table(head, rows))
  const shown = rows.length < answer.count ? `, ${count(rows.length)} shown; --limit shows more` : ''
  out(`${many(answer.count, 'client')}${shown}; ${count(answer.connected)} of all are connected\n`)
  return 0
}

async function kick(call: Call<typeof kickFlags>): Promise<number> {
  const { out } = call.terminal
  const client = call.args[0] as string
  const hub = hubOf(call)
  const user = call.flags.user ?? (await userOf(hub, client))
  const answer = await hub.ask('POST /api/clients/disconnect', { client, user })
  if (call.flags.json) return printJson(out, answer)
  out(`${plain(client)}${user && `, user ${plain(user)},`} is disconnected\n`)
  return 0
}

async function ban(call: Call<typeof banFlags>): Promise<number> {
  const { out } = call.terminal
  const { kind: given = 'client', for: length, json } = call.flags
  const name = call.args[0] as string
  const kind = wordOf('kind', given, banKinds)
  const ms = length === undefined ? undefined : duration.parse(length)
  if (!ms) {
    const what = length === undefined ? 'is missing' : `given ${JSON.stringify(length)}`
    throw usage(`--for: ${what}, allowed is ${duration.allowed}`, 'clients ban')
  }
  const seconds = Math.max(1, Math.round(ms / 1_000))
  const answer = await hubOf(call).ask('POST /api/bans', { kind, name, seconds })
  if (json) return printJson(out, answer)
  const { ban: made, disconnected } = answer
  out(
    `${made.kind} ${plain(made.name)} is banned until ${time(made.until)}; ${many(disconnected, 'client')} disconnected\n`,
  )
  return 0
}

/** Returns a word that a flag takes. Throws when it takes another. */
export function wordOf<const T extends string>(flag: string, given: string, words: readonly T[]): T {
  const found = words.find(word => word === given)
  if (found === undefined) throw usage(`--${flag}: given ${JSON.stringify(given)}, allowed is ${words.join(', ')}`)
  return found
}

/** Finds the user of a connected client, if only one user has connected a client of that id. */
async function userOf(hub: HubClient, client: string): Promise<string> {
  const { clients } = await hub.ask('GET /api/clients', { search: client.slice(0, 500), limit: 1_000 })
  const meant = clients.filter(({ clientId, connected }) => clientId === client && connected)
  const user = onlyUser(meant, `clients with the id ${plain(client)}`)
  if (user === undefined) throw new HubError('not_found', `no client ${plain(client)} is connected`)
  return user
}
