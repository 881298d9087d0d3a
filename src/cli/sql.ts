import { plain } from '../observe/log.js'
import { count, table } from '../runtime/terminal.js'
import { command, type Flags, usage } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub sql`: questions to the embedded store. */

const sqlFlags = {
  csv: { help: 'print the answer as CSV' },
  limit: { value: 'N', help: 'at most so many rows; default 1000' },
  ...hubFlags,
} as const satisfies Flags

export const sqlCommand = command({
  name: 'sql',
  takes: ['SELECT'],
  summary: 'ask the embedded store in SQL: it only reads',
  about:
    'Tables: readings (time, measurement, tags, field, type, number, boolean, text, us) and series (measurement, tags, field, type).\n' +
    "tags is a map: tags['room']. us is the time in microseconds: conditions on it are the quickest. The SQL is that of DuckDB.\n" +
    'At most 20 s, 512 MB of memory and 16 MB of answer. With DuckDB only, for admins.',
  flags: sqlFlags,
  examples: [
    "telehub sql \"SELECT tags['topic'] AS topic, avg(number) FROM readings WHERE field = 'temperature' GROUP BY ALL\"",
  ],
  run: async call => {
    const [sql = ''] = call.args
    const { json, csv, limit: given } = call.flags
    const { out } = call.terminal
    if (json && csv) throw usage('--csv and --json exclude each other', 'sql')
    const limit = given === undefined ? 1_000 : Number(given)
    if (!Number.isInteger(limit) || limit < 1 || limit > 100_000)
      throw usage(`--limit: given ${given}, allowed is 1 to 100000`)
    const answer = await hubOf(call).ask('POST /api/sql', { sql, limit })
    if (json) return printJson(out, answer)
    const names = answer.columns.map(({ name }) => name)
    const rows = answer.rows.map(row => row.map(textOf))
    if (csv) {
      for (const row of [names, ...rows]) out(`${row.map(cell).join(',')}\r\n`)
      return 0
    }
    out(
      table(
        names.map(name => plain(name)),
        rows.map(row => row.map(text => plain(text))),
      ),
    )
    out(`${count(rows.length)} rows${answer.isWhole ? '' : '; there are more: --limit'}\n`)
    return 0
  },
})

function textOf(value: unknown): string {
  if (value === null || value === undefined) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function cell(text: string): string {
  // A spreadsheet would take such a text for a formula.
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
