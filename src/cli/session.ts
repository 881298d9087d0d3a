import { HubError } from '../errors.js'
import { escaped, plain } from '../observe/log.js'
import { count, many, table, time } from '../runtime/terminal.js'

/* `telehub session`: the MQTT sessions of a running hub. */

export const sessionHelp = `  telehub session list     sessions of MQTT clients, kept or connected [--user U] [--device CLIENT] [--limit N]
  telehub session end ID   end the session of that client id, with what waits in it [--user U]`

/** The calls that this command makes to the hub. */
interface Asked {
  get<T>(path: string): Promise<T>
  delete<T>(path: string): Promise<T>
}

interface Flags {
  readonly user?: string | boolean | undefined
  readonly device?: string | boolean | undefined
  readonly limit?: string | boolean | undefined
  readonly json?: string | boolean | undefined
}

interface SessionsAnswer {
  readonly count: number
  readonly sessions: readonly {
    readonly clientId: string
    readonly user: string
    readonly connected: boolean
    readonly kept: boolean
    readonly absentSince?: number
    readonly subscriptions: number
    readonly queued: number
  }[]
}

/** Lists sessions, or ends the session of `id`. Resolves with the exit code. */
export async function session(
  hub: Asked,
  id: string | undefined,
  flags: Flags,
  { out }: { readonly out: (text: string) => void },
): Promise<number> {
  return id === undefined ? list(hub, flags, out) : end(hub, id, flags, out)
}

async function list(hub: Asked, { user, device, limit = '1000', json }: Flags, out: (text: string) => void) {
  const query = new URLSearchParams({ limit: String(limit) })
  if (user !== undefined) query.set('user', String(user))
  if (device !== undefined) query.set('client', String(device))
  const answer = await hub.get<SessionsAnswer>(`/api/sessions?${query}`)
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

async function end(hub: Asked, id: string, { user, json }: Flags, out: (text: string) => void): Promise<number> {
  const owner = typeof user === 'string' ? user : await ownerOf(hub, id)
  const query = new URLSearchParams({ client: id, user: owner })
  const answer = await hub.delete<{ ended: boolean }>(`/api/sessions?${query}`)
  if (json) out(`${JSON.stringify(answer)}\n`)
  else out(`the session of ${plain(id)}${owner && `, user ${plain(owner)},`} is ended\n`)
  return 0
}

/** Finds the user of the session, if only one user has a session of that client id. */
async function ownerOf(hub: Asked, id: string): Promise<string> {
  const { sessions } = await hub.get<SessionsAnswer>(`/api/sessions?${new URLSearchParams({ client: id })}`)
  const [first, second] = sessions
  if (!first) throw new HubError('not_found', `there is no session of client id ${plain(id)}`)
  if (!second) return first.user
  const users = sessions.map(({ user }) => plain(user) || '(none)').join(', ')
  throw new HubError('bad_settings', `users ${users} have sessions of client id ${plain(id)}; say which with --user`)
}
