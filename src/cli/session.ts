import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { count, many, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags } from './command.js'
import { limitOf } from './dead.js'
import { hubFlags, hubOf } from './hub-address.js'
import type { HubClient } from './hub-client.js'
import { onlyUser } from './only-user.js'
import { printJson } from './print.js'

/* `telehub session …`: the MQTT sessions of a running hub. */

const listFlags = {
  user: { value: 'USER', help: 'only sessions of this user' },
  device: { value: 'CLIENT', help: 'only sessions of this client id' },
  limit: { value: 'N', help: 'at most so many sessions; default 1000' },
  ...hubFlags,
} as const satisfies Flags

const endFlags = {
  user: { value: 'USER', help: 'user of the session, when several have a session of that client id' },
  ...hubFlags,
} as const satisfies Flags

export const sessionCommands: readonly Command[] = [
  command({
    name: 'session list',
    summary: 'list the sessions of MQTT clients, kept or connected',
    flags: listFlags,
    examples: ['telehub session list --user thermo'],
    run: list,
  }),
  command({
    name: 'session end',
    takes: ['CLIENT'],
    summary: 'disconnect a client, and delete its session and queue',
    flags: endFlags,
    examples: ['telehub session end thermo-1'],
    run: end,
  }),
]

async function list(call: Call<typeof listFlags>): Promise<number> {
  const { user, device: client, limit, json } = call.flags
  const { out } = call.terminal
  const answer = await hubOf(call).ask('GET /api/sessions', { limit: limitOf(limit, 1_000), user, client })
  if (json) return printJson(out, answer)
  const rows = answer.sessions.map(({ clientId, user, connected, kept, absentSince, subscriptions, queued }) => [
    plain(clientId),
    plain(user),
    connected ? 'connected' : absentSince === undefined ? 'away' : `away since ${time(absentSince)}`,
    kept ? 'kept' : '',
    count(subscriptions),
    count(queued),
  ])
  if (rows.length > 0) out(table(['client id', 'user', 'client', '', 'subscriptions', 'queued'], rows))
  const shown = rows.length < answer.count ? `, ${count(rows.length)} shown; --limit shows more` : ''
  out(`${many(answer.count, 'session')}${shown}\n`)
  return 0
}

async function end(call: Call<typeof endFlags>): Promise<number> {
  const { out } = call.terminal
  const client = call.args[0] as string
  const hub = hubOf(call)
  const user = call.flags.user ?? (await ownerOf(hub, client))
  const answer = await hub.ask('DELETE /api/sessions', { client, user })
  if (call.flags.json) out(`${JSON.stringify(answer)}\n`)
  else out(`the session of ${plain(client)}${user && `, user ${plain(user)},`} is ended\n`)
  return 0
}

/** Finds the user of the session, if only one user has a session of that client id. */
async function ownerOf(hub: HubClient, client: string): Promise<string> {
  const { sessions } = await hub.ask('GET /api/sessions', { client })
  const user = onlyUser(sessions, `sessions of client id ${plain(client)}`)
  if (user === undefined) throw new HubError('not_found', `there is no session of client id ${plain(client)}`)
  return user
}
