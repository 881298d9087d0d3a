import { plain } from '../observe/log.js'
import { many, table, time } from '../runtime/terminal.js'
import { banKinds, wordOf } from './clients.js'
import { type Call, type Command, command, type Flags, usage } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub login …` and `telehub ban …`: browsers that are signed in, and addresses that are banned. */

const listFlags = { user: { value: 'USER', help: 'only logins of this user' }, ...hubFlags } as const satisfies Flags
const liftFlags = {
  kind: { value: 'KIND', help: `of a ban that an administrator has imposed: ${banKinds.join(', ')}` },
  ...hubFlags,
} as const satisfies Flags
const endFlags = { user: { value: 'USER', help: 'all logins of this user' }, ...hubFlags } as const satisfies Flags

export const accessCommands: readonly Command[] = [
  command({
    name: 'login list',
    summary: 'list the browsers that are signed in, since when and from where',
    flags: listFlags,
    examples: ['telehub login list --user alice'],
    run: listLogins,
  }),
  command({
    name: 'login end',
    takes: ['[ID]'],
    summary: 'sign a browser out: one login, or all of a user',
    about: 'telehub login list shows the ids.',
    flags: endFlags,
    examples: ['telehub login end --user alice'],
    run: endLogins,
  }),
  command({
    name: 'ban list',
    summary:
      'list the addresses that are banned after too many failures, what administrators have banned, and until when',
    flags: hubFlags,
    examples: ['telehub ban list'],
    run: listBans,
  }),
  command({
    name: 'ban lift',
    takes: ['NAME'],
    summary: 'end the ban of an address, or with --kind one that an administrator has imposed',
    flags: liftFlags,
    examples: ['telehub ban lift 203.0.113.5', 'telehub ban lift thermo-1 --kind client'],
    run: liftBan,
  }),
]

async function listLogins(call: Call<typeof listFlags>): Promise<number> {
  const { user, json } = call.flags
  const { out } = call.terminal
  const answer = await hubOf(call).ask('GET /api/logins', {})
  const logins = answer.logins.filter(one => user === undefined || one.user === user)
  if (json) return printJson(out, { logins })
  const rows = logins.map(({ id, user, began, used, expires, address, agent }) =>
    [id, user, time(began), time(used), time(expires), address, agent].map(cell => plain(cell)),
  )
  out(rows.length > 0 ? table(['id', 'user', 'began', 'used', 'ends', 'from', 'browser'], rows) : 'no logins\n')
  return 0
}

async function endLogins(call: Call<typeof endFlags>): Promise<number> {
  const { user, json } = call.flags
  const { out } = call.terminal
  const [id] = call.args
  if ((id === undefined) === (user === undefined)) {
    throw usage('telehub login end needs an ID, or --user USER for all logins of a user', 'login end')
  }
  const answer = await hubOf(call).ask('POST /api/logins/end', id === undefined ? { user } : { id })
  if (json) return printJson(out, answer)
  out(`${many(answer.ended, 'login')} ended\n`)
  return 0
}

async function listBans(call: Call<typeof hubFlags>): Promise<number> {
  const { out } = call.terminal
  const answer = await hubOf(call).ask('GET /api/bans', {})
  if (call.flags.json) return printJson(out, answer)
  const guessed = answer.bans.map(({ source, since, until, times }) => [
    ...['address', plain(source), time(since), time(until)],
    many(times, 'time'),
  ])
  const imposed = answer.imposed.map(({ kind, name, since, until, by }) => [
    ...[kind, plain(name), time(since), time(until)],
    `by ${plain(by)}`,
  ])
  const rows = [...guessed, ...imposed]
  out(rows.length > 0 ? table(['what', 'name', 'since', 'until', 'banned'], rows) : 'no bans\n')
  return 0
}

async function liftBan(call: Call<typeof liftFlags>): Promise<number> {
  const { out } = call.terminal
  const { kind: given } = call.flags
  const kind = given === undefined ? undefined : wordOf('kind', given, banKinds)
  const answer = await hubOf(call).ask('POST /api/bans/lift', { source: call.args[0] as string, kind })
  if (call.flags.json) return printJson(out, answer)
  out(`the ban of ${plain(answer.lifted)} is lifted\n`)
  return 0
}
