import { HubError } from '../errors.js'
import { escaped, plain } from '../observe/log.js'
import { count, many, table, time } from '../runtime/terminal.js'
import type { HubClient } from './hub-client.js'

/* `telehub session`: the MQTT sessions of a running hub. */

export const sessionHelp = `  telehub session list     sessions of MQTT clients, kept or connected [--user U] [--device CLIENT] [--limit N]
  telehub session end ID   end the session of that client id, with what waits in it [--user U]`

interface Flags {
  readonly user?: string | boolean | undefined
  readonly device?: string | boolean | undefined
  readonly limit?: string | boolean | undefined
  readonly json?: string | boolean | undefined
}

/** Lists sessions, or ends the session of `id`. Resolves with the exit code. */
export async function session(
  hub: HubClient,
  id: string | undefined,
  flags: Flags,
  { out }: { readonly out: (text: string) => void },
): Promise<number> {
  return id === undefined ? list(hub, flags, out) : end(hub, id, flags, out)
}

async function list(hub: HubClient, { user, device, limit = '1000', json }: Flags, out: (text: string) => void) {
  const answer = await hub.ask('GET /api/sessions', {
    limit: Number(limit),
    user: typeof user === 'string' ? user : undefined,
    client: typeof device === 'string' ? device : undefined,
  })
  if (json) {
    out(`${escaped(JSON.stringify(answer, undefined, 2))}\n`)
    return 0
  }
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

async function end(hub: HubClient, id: string, { user, json }: Flags, out: (text: string) => void): Promise<number> {
  const owner = typeof user === 'string' ? user : await ownerOf(hub, id)
  const answer = await hub.ask('DELETE /api/sessions', { client: id, user: owner })
  if (json) out(`${JSON.stringify(answer)}\n`)
  else out(`the session of ${plain(id)}${owner && `, user ${plain(owner)},`} is ended\n`)
  return 0
}

/** Finds the user of the session, if only one user has a session of that client id. */
async function ownerOf(hub: HubClient, id: string): Promise<string> {
  const { sessions } = await hub.ask('GET /api/sessions', { client: id })
  const [first, second] = sessions
  if (!first) throw new HubError('not_found', `there is no session of client id ${plain(id)}`)
  if (!second) return first.user
  const users = sessions.map(({ user }) => plain(user) || '(none)').join(', ')
  throw new HubError('bad_settings', `users ${users} have sessions of client id ${plain(id)}; say which with --user`)
}
