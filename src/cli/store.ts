import { bytes, count, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub store …`: how large the store of a running hub is, and will be. */

const forecastFlags = {
  keep: { value: 'TIMES', help: 'as store.keep: raw=90d,1m=2y; default: what is set' },
  ...hubFlags,
} as const satisfies Flags

export const storeCommands: readonly Command[] = [
  command({
    name: 'store forecast',
    summary: 'show how large the store becomes, from the rates of the last seven days, also with other times to keep',
    about: 'Changes nothing: the times are the setting store.keep.',
    flags: forecastFlags,
    examples: ['telehub store forecast --keep raw=90d,1m=2y'],
    run: call => show(call, call.flags.keep),
  }),
  command({
    name: 'store',
    summary: 'show how large the store is and will be, how long readings are kept, and what was deleted',
    flags: hubFlags,
    examples: ['telehub store'],
    run: call => show(call),
  }),
]

async function show(call: Call<typeof hubFlags>, keep?: string): Promise<number> {
  const { out } = call.terminal
  const store = await hubOf(call).ask('GET /api/store', { keep })
  if (call.flags.json) return printJson(out, store)
  const { forecast, deleted } = store
  out(`kept: ${store.keep === '' ? 'everything, for ever' : store.keep}\n`)
  if (store.held !== undefined) out(`nothing is deleted just now: ${store.held}\n`)
  if (store.bytes !== undefined) {
    const limit = store.limit > 0 ? `of ${bytes(store.limit)} (store.limit), ` : ''
    out(
      `${bytes(store.used ?? store.bytes)} in use, ${limit}${bytes(store.bytes)} of files, ${bytes(store.diskFree ?? 0)} free on the disk\n`,
    )
  }
  if (store.tables.length > 0) {
    const rows = store.tables.map(({ tier, rows, bytes: size, oldest, perDay, bytesPerDay }) => [
      tier,
      ...[count(rows), bytes(size), oldest === undefined ? '' : time(oldest)],
      ...[count(Math.round(perDay)), bytes(Math.round(bytesPerDay))],
    ])
    out(table(['what', 'rows', 'bytes', 'since', 'rows a day', 'bytes a day'], rows))
  }
  if (store.rolledUp) {
    const { until, behind, waiting } = store.rolledUp
    const hours = waiting > 0 ? `, ${count(waiting)} hours of a series wait to be rolled up anew` : ''
    out(
      until === undefined
        ? 'nothing is rolled up yet\n'
        : `rolled up to ${time(until)}, ${count(Math.round(behind / 1_000))} s behind the newest reading${hours}\n`,
    )
  }
  if (forecast) {
    for (const { days, bytes: size } of forecast.at) out(`in ${count(days)} days: ${bytes(size)}\n`)
    out(forecast.most === undefined ? 'it grows for ever\n' : `in the end: ${bytes(forecast.most)}\n`)
    if (forecast.fullInDays !== undefined) {
      out(`${store.limit > 0 ? 'store.limit or the disk' : 'the disk'} is full in ${count(forecast.fullInDays)} days\n`)
    }
  }
  for (const { tier, why, day, readings, from, to } of deleted.slice(0, 10)) {
    const reason = why === 'age' ? 'kept long enough' : 'store.limit'
    out(
      `deleted on ${time(day).slice(0, 10)}: ${count(readings)} (${tier}) of ${time(from)} to ${time(to)}: ${reason}\n`,
    )
  }
  return 0
}
