import type { Answer } from '../contract/contract.js'
import { bytes, count, many, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags, usage } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { age, instant, instantHelp } from './instant.js'
import { follow } from './job.js'
import { printJson } from './print.js'

/* `telehub spool …`: the spool of a running hub. */

const replayFlags = {
  from: { value: 'TIME', help: 'messages received from this time on (needed)' },
  to: { value: 'TIME', help: 'messages received before this time; default: now' },
  topic: { value: 'FILTER', help: 'only messages whose topic matches this filter' },
  ...hubFlags,
} as const satisfies Flags

export const spoolCommands: readonly Command[] = [
  command({
    name: 'spool replay',
    summary:
      'handle messages again that the spool (spool.keep) and the archive (spool.archive) have, as under a new mapping',
    about: instantHelp,
    flags: replayFlags,
    examples: ['telehub spool replay --from 2h --topic "home/#"'],
    run: replay,
  }),
  command({
    name: 'spool',
    summary: 'show the segments and cursors of the spool, the archive, and how far the cursors are behind',
    flags: hubFlags,
    examples: ['telehub spool'],
    run: show,
  }),
]

async function show(call: Call<typeof hubFlags>): Promise<number> {
  const { out, now } = call.terminal
  const spool = await hubOf(call).ask('GET /api/spool', {})
  if (call.flags.json) return printJson(out, spool)
  const percent = Math.round((100 * spool.bytes) / spool.limit)
  const kept = spool.keptBytes > 0 ? `, of that ${bytes(spool.keptBytes)} kept for replays` : ''
  out(`spool ${bytes(spool.bytes)} of ${bytes(spool.limit)} (${percent} %)${kept}\n`)
  if (spool.archive) showArchive(spool.archive, out)
  const cursors = spool.cursors.map(({ name, sequence, lag, oldest }) => [
    name,
    count(sequence),
    count(lag),
    oldest === undefined ? 'at the end' : `since ${age(now() - oldest)}`,
  ])
  out('\n')
  out(table(['cursor', 'next', 'messages behind', ''], cursors))
  const segments = spool.segments.map(({ segment, bytes: size, from, to, kept }) => [
    count(segment),
    bytes(size),
    from === undefined ? '' : time(from),
    to === undefined ? 'being written' : time(to),
    kept ? 'kept' : '',
  ])
  out(`\n${table(['segment', 'size', 'from', 'to', ''], segments)}`)
  return 0
}

function showArchive(archive: NonNullable<Answer<'GET /api/spool'>['archive']>, out: (text: string) => void): void {
  const { bytes: used, limit, keepMs, rawBytes, messages, from, to, givenUp } = archive
  const kept = `archive ${bytes(used)} of ${bytes(limit)}, kept for ${age(keepMs)}`
  out(messages === 0 ? `${kept}: empty\n` : `${kept}: ${count(messages)} messages, ${bytes(rawBytes)} raw`)
  if (messages > 0) out(from && to ? `, from ${time(from)} to ${time(to)}\n` : '\n')
  if (givenUp > 0) out(`${many(givenUp, 'segment')} not kept for as long, for want of room\n`)
}

async function replay(call: Call<typeof replayFlags>): Promise<number> {
  const { flags, terminal } = call
  const from = instant('from', flags.from, terminal.now())
  if (from === undefined) throw usage('telehub spool replay needs --from TIME', 'spool replay')
  const to = instant('to', flags.to, terminal.now())
  if (to !== undefined && to < from) throw usage('--to is before --from')
  return follow(call, 'POST /api/spool/replay', { from, to, topic: flags.topic }, 'rejected')
}
