import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { count, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags, usage } from './command.js'
import { limitOf } from './dead.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub series …`: the series of a running hub. */

const listFlags = {
  search: { value: 'WORDS', help: 'only series whose names contain all these words' },
  after: { value: 'NEXT', help: 'continue behind a page: what that page showed as next' },
  limit: { value: 'N', help: 'at most so many series; default 100' },
  ...hubFlags,
} as const satisfies Flags

const dropFlags = {
  yes: { help: 'confirms: the readings cannot be brought back' },
  ...hubFlags,
} as const satisfies Flags

const types = ['number', 'boolean', 'text'] as const

export const seriesCommands: readonly Command[] = [
  command({
    name: 'series list',
    summary: 'list the series, each with its key and newest value',
    flags: listFlags,
    examples: ["telehub series list --search 'kitchen temperature'"],
    run: list,
  }),
  command({
    name: 'series show',
    takes: ['KEY'],
    summary: 'show one series',
    about: 'telehub series list shows the keys.',
    flags: hubFlags,
    examples: ["telehub series show 'home,topic=home/kitchen value'"],
    run: show,
  }),
  command({
    name: 'series rename',
    takes: ['KEY', 'NEW'],
    summary: 'give a series another measurement, other tags or another field',
    about: 'The readings stay. With DuckDB only.',
    flags: hubFlags,
    examples: ["telehub series rename 'home,topic=home/t value' 'climate,room=kitchen temperature'"],
    run: async call => {
      const [series = '', to = ''] = call.args
      await hubOf(call).ask('POST /api/series/rename', { series, to })
      return done(call, `${plain(series)} is ${plain(to)} now`)
    },
  }),
  command({
    name: 'series retype',
    takes: ['KEY', 'TYPE'],
    summary: 'give the field of a series another type: number, boolean or text',
    about:
      'Values that can be converted are; the others go to the field beside, such as value_str. Dead letters of type ' +
      'conflicts are replayed. With DuckDB only.',
    flags: hubFlags,
    examples: ["telehub series retype 'n,topic=n/flow value' number"],
    run: async call => {
      const [series = '', given] = call.args
      const type = types.find(one => one === given)
      if (!type) throw usage(`TYPE: given ${given}, allowed are ${types.join(', ')}`, 'series retype')
      const { replayed } = await hubOf(call).ask('POST /api/series/retype', { series, type })
      const left = '; another job is under way: telehub dead replay --reason type_conflict when that is done'
      return done(call, `${plain(series)} is a ${type} now${replayed ? '' : left}`)
    },
  }),
  command({
    name: 'series drop',
    takes: ['KEY'],
    summary: 'delete a series with all its readings',
    about: 'With DuckDB only.',
    flags: dropFlags,
    examples: ["telehub series drop 'home,topic=home/old value' --yes"],
    run: async call => {
      if (!call.flags.yes) throw usage('telehub series drop deletes readings: confirm with --yes', 'series drop')
      const [series = ''] = call.args
      await hubOf(call).ask('POST /api/series/drop', { series })
      return done(call, `${plain(series)} is deleted`)
    },
  }),
]

function done({ terminal }: Pick<Call<typeof hubFlags>, 'terminal'>, sentence: string): number {
  terminal.out(`${sentence}\n`)
  return 0
}

async function list(call: Call<typeof listFlags>): Promise<number> {
  const { search, after, limit, json } = call.flags
  const { out } = call.terminal
  const answer = await hubOf(call).ask('GET /api/series', { limit: limitOf(limit, 100), search, after })
  if (json) return printJson(out, answer)
  const rows = answer.series.map(({ key, type, unit = '', last }) => [
    plain(key),
    type,
    plain(`${last.value} ${unit}`.trim()),
    time(last.time),
  ])
  if (rows.length > 0) out(table(['key', 'type', 'newest value', 'at'], rows))
  const more = answer.next === undefined ? '' : `; there are more: --after '${plain(answer.next)}'`
  out(`${count(rows.length)} series${more}\n`)
  return 0
}

async function show(call: Call<typeof hubFlags>): Promise<number> {
  const [key = ''] = call.args
  const hub = hubOf(call)
  const search = key
    .replace(/\\/g, '')
    .split(/[\s,=]+/)
    .join(' ')
    .slice(0, 500)
  for (let after: string | undefined; ; ) {
    const answer = await hub.ask('GET /api/series', { search, after })
    const found = answer.series.find(one => one.key === key)
    if (found) return printJson(call.terminal.out, found)
    after = answer.next
    if (after === undefined) throw new HubError('not_found', `there is no series ${plain(key)}`)
  }
}
