import { plain } from '../observe/log.js'
import { table, time } from '../runtime/terminal.js'
import { type Call, type Command, command } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub outlets …`: other systems that get what devices publish. */

export const outletCommands: readonly Command[] = [
  command({
    name: 'outlets list',
    summary: 'list the outlets: how far behind each is, what became of its messages, and why one fails',
    about:
      'Outlets are in the settings (outlets); docs/outlets.md describes them. Their dead letters: telehub dead list --outlet NAME.',
    flags: hubFlags,
    examples: ['telehub outlets list'],
    run: list,
  }),
  command({
    name: 'outlets pause',
    takes: ['NAME'],
    summary: 'hold an outlet back: its messages wait in the spool until it is resumed, also over a restart',
    flags: hubFlags,
    examples: ['telehub outlets pause orders'],
    run: call => pause(call, true),
  }),
  command({
    name: 'outlets resume',
    takes: ['NAME'],
    summary: 'let an outlet go on that was paused',
    flags: hubFlags,
    examples: ['telehub outlets resume orders'],
    run: call => pause(call, false),
  }),
]

async function list(call: Call<typeof hubFlags>): Promise<number> {
  const { out, now } = call.terminal
  const answer = await hubOf(call).ask('GET /api/outlets', {})
  if (call.flags.json) return printJson(out, answer)
  const rows = answer.outlets.map(
    ({ name, kind, target, state, balance, bytesBehind, oldest, dead, detail = '', since }) => {
      const { behind, delivered, filtered, refused, skipped, lost, residual } = balance
      const age = oldest === undefined ? '' : `${Math.max(0, Math.round((now() - oldest) / 1_000))} s`
      const counts = [behind, bytesBehind, age, delivered, filtered, refused, dead.letters, skipped + lost, residual]
      const why = since === undefined ? detail : `since ${time(since)}: ${detail}`
      return [name, kind, target, state, ...counts.map(String), why].map(cell => plain(cell))
    },
  )
  const heads = ['outlet', 'kind', 'target', 'state', 'behind', 'bytes', 'age', 'delivered', 'filtered', 'refused']
  out(rows.length > 0 ? table([...heads, 'dead', 'skipped', 'missing', 'why'], rows) : 'no outlets\n')
  return 0
}

async function pause(call: Call<typeof hubFlags>, paused: boolean): Promise<number> {
  const { out } = call.terminal
  const outlet = call.args[0] as string
  const answer = await hubOf(call).ask('POST /api/outlets/pause', { outlet, paused })
  if (call.flags.json) return printJson(out, answer)
  out(`outlet ${plain(outlet)} ${paused ? 'is paused: its messages wait in the spool' : 'goes on'}\n`)
  return 0
}
