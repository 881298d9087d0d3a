import { plain } from '../observe/log.js'
import { isTopicFilter } from '../topics.js'
import { type Call, command, type Flags, usage } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'

/* `telehub tail`: the readings of a running hub, as they arrive. */

const tailFlags = { ...hubFlags, json: { help: 'print each message as a line of JSON' } } as const satisfies Flags

export const tailCommand = command({
  name: 'tail',
  takes: ['[FILTER]'],
  summary: 'show readings as they arrive, decoded, until it is stopped',
  about: 'FILTER is a topic filter in which + is one level and # the rest; without, all topics are shown.',
  flags: tailFlags,
  examples: ['telehub tail', "telehub tail 'home/+/freezer/#'"],
  run: tail,
})

/** A message of `/api/live`, as far as shown. */
interface LiveMessage {
  readonly topic: string
  readonly time: number
  readonly quality: string
  readonly values: readonly { readonly field: string; readonly value: unknown; readonly unit?: string }[]
}

async function tail(call: Call<typeof tailFlags>): Promise<number> {
  const { out } = call.terminal
  const filter = call.args[0] ?? '#'
  if (!isTopicFilter(filter))
    throw usage(`FILTER: given ${JSON.stringify(filter)}, allowed is a topic filter such as home/+/#`)
  for await (const { event, data } of hubOf(call).events('GET /api/live', { topic: filter })) {
    if (call.flags.json) {
      if (event === 'live') out(`${data}\n`)
      continue
    }
    if (event === 'live') out(`${lineOf(JSON.parse(data) as LiveMessage)}\n`)
    else if (event === 'behind') out('# this terminal is too slow: messages are left out\n')
    else if (event === 'error') out(`# ${plain(data)}\n`)
  }
  out('# the hub has closed the connection\n')
  return 1
}

function lineOf({ topic, time, quality, values }: LiveMessage): string {
  const shown = values.map(
    ({ field, value, unit }) =>
      `${field} ${typeof value === 'string' ? value : JSON.stringify(value)}${unit ? ` ${unit}` : ''}`,
  )
  const at = new Date(time).toISOString().slice(11, 23)
  return plain([at, topic, shown.join(', '), ...(quality === 'good' ? [] : [`(${quality})`])].join('  '))
}
