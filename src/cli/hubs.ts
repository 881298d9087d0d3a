import { plain } from '../observe/log.js'
import { count, table } from '../runtime/terminal.js'
import { type Call, type Command, command } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { age } from './instant.js'
import { printJson } from './print.js'

/* `telehub hubs`: the hubs of a cluster. */

export const hubsCommand: Command = command({
  name: 'hubs',
  summary: 'list the hubs of the cluster: version, address, state and lag',
  about:
    'A hub is silent when it was not heard for 5 s, and away after 10 s: it, or its way to RabbitMQ, is down. LAG is the number of its messages that other hubs do not have yet.',
  flags: hubFlags,
  examples: ['telehub hubs', 'telehub hubs --url http://hub-2:8080'],
  run: list,
})

async function list(call: Call<typeof hubFlags>): Promise<number> {
  const { out, now } = call.terminal
  const answer = await hubOf(call).ask('GET /api/hubs', {})
  if (call.flags.json) return printJson(out, answer)
  const { hubs } = answer
  if (hubs.length === 0) {
    out('this hub is alone: cluster.name is not set\n')
    return 0
  }
  const rows = hubs.map(({ id, version, address, startedAt, state, heardAt, lag }) => [
    plain(id),
    plain(version),
    plain(address),
    state === 'self' ? 'this one' : state,
    age(now() - startedAt),
    state === 'self' ? '' : `${age(now() - heardAt)} ago`,
    count(lag),
  ])
  out(table(['hub', 'version', 'address', 'state', 'runs for', 'heard', 'lag'], rows))
  return 0
}
