import { plain } from '../observe/log.js'
import { many, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub notify …`: the targets of notifications. */

export const notifyCommands: readonly Command[] = [
  command({
    name: 'notify list',
    summary: 'list the targets of notifications, what waits for each, and why one fails',
    about: 'Targets and routes are in notify.file; docs/notifications.md describes them.',
    flags: hubFlags,
    examples: ['telehub notify list'],
    run: listTargets,
  }),
  command({
    name: 'notify test',
    takes: ['TARGET'],
    summary: 'send a test to a target of notify.file, and say what came of it',
    flags: hubFlags,
    examples: ['telehub notify test mail'],
    run: testTarget,
  }),
]

async function listTargets(call: Call<typeof hubFlags>): Promise<number> {
  const { out } = call.terminal
  const answer = await hubOf(call).ask('GET /api/notify', {})
  if (call.flags.json) return printJson(out, answer)
  const rows = answer.targets.map(({ target, type, waiting, sent, failed, givenUp, trouble = '', since }) =>
    [target, type, `${waiting}`, `${sent}`, `${failed}`, `${givenUp}`, since ? time(since) : '', trouble].map(cell =>
      plain(cell),
    ),
  )
  const heads = ['target', 'type', 'waiting', 'sent', 'failed', 'given up', 'fails since', 'why']
  out(rows.length > 0 ? table(heads, rows) : 'no targets\n')
  return 0
}

async function testTarget(call: Call<typeof hubFlags>): Promise<number> {
  const { out } = call.terminal
  const target = call.args[0] as string
  const answer = await hubOf(call).ask('POST /api/notify/test', { target })
  if (call.flags.json) return printJson(out, answer)
  out(`the test was taken: ${plain(target)}, ${many(answer.sent, 'receiver')}\n`)
  return 0
}
