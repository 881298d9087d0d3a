import type { DuckDbFile } from './duckdb-file.js'
import { nothingArchived, type RollUpState, rangesOf, sourcesOf, type TimeSpan, within } from './duckdb-history.js'
import { ceilTo, floorTo, levels, unpacked } from './duckdb-rollups.js'
import { tableOf } from './duckdb-sql.js'
import type { WindowFunction, WindowQuery } from './store.js'

/** Parts from which rows of readings, or of roll-ups, are merged, by the names that {@link finals} use. */
const columns = {
  n: ['count(*)', 'sum(count)'],
  s: ['sum(value)', 'sum(sum)'],
  least: ['min(value)', 'min(min)'],
  most: ['max(value)', 'max(max)'],
  // Of several at the same time the greatest, as InfluxDB chooses.
  f: ['arg_min(value, row(time, -value))', 'arg_min(first, row(first_time, -first))'],
  ft: ['min(time)', 'min(first_time)'],
  l: ['arg_max(value, row(time, value))', 'arg_max(last, row(last_time, last))'],
  lt: ['max(time)', 'max(last_time)'],
} as const

type PartColumn = keyof typeof columns

/** Value of each function from these parts, and its time where roll-ups know that. */
const finals: Partial<Record<WindowFunction, readonly [needs: readonly PartColumn[], value: string, time?: string]>> = {
  mean: [['s', 'n'], 'sum(s) / sum(n)'],
  min: [['least'], 'min(least)'],
  max: [['most'], 'max(most)'],
  sum: [['s'], 'sum(s)'],
  count: [['n'], 'sum(n)::DOUBLE'],
  spread: [['least', 'most'], 'max(most) - min(least)'],
  first: [['f', 'ft'], 'arg_min(f, row(ft, -f))', 'min(ft)'],
  last: [['l', 'lt'], 'arg_max(l, row(lt, l))', 'max(lt)'],
}

/** A question about windows, and how the rows of a part are selected and numbered, in SQL. */
export interface RolledQuestion extends WindowQuery {
  /** Windows by their number: an expression of `time`. */
  readonly window: string
}

/**
 * Returns the SQL of the windows `g`, `w`, and a value and a time for each function, as far as possible from roll-ups.
 * Undefined where the readings must answer: for windows that are not whole buckets, functions that no roll-up knows, and
 * series of which not the same is left. `$1`, `$2`: series and groups. The caller runs it in the same transaction.
 */
export async function rolledWindows(file: DuckDbFile, question: RolledQuestion): Promise<string | undefined> {
  const { type, windows, functions, window } = question
  if (tableOf(type) === 'texts' || question.to <= question.from) return undefined
  const wanted = functions.map(({ name, isTimed }) => {
    const final = finals[name]
    return final && (!isTimed || final[2] !== undefined) ? ([final, isTimed] as const) : undefined
  })
  const isWhole = (width: number) => !windows || (windows.width % width === 0 && windows.origin % width === 0)
  const level = levels.findLastIndex(({ width }) => isWhole(width))
  if (level < 0 || !wanted.every(one => one !== undefined)) return undefined
  const known = await stateOf(file, question)
  if (!known) return undefined
  const { raw, rolled } = sourcesOf(
    { ...known, from: question.from, to: question.to, archived: nothingArchived },
    level,
  )
  if (rolled.every(spans => spans.length === 0)) return undefined
  const needed = [...new Set(wanted.flatMap(([[needs]]) => needs))]
  const part = (table: string, spans: readonly TimeSpan[], form: 0 | 1) =>
    `SELECT g, ${window} AS w, ${needed.map(name => `${columns[name][form]} AS ${name}`).join(', ')}
     FROM ${table} JOIN (SELECT unnest($1) AS s, unnest($2) AS g) ON series = s WHERE ${within(spans)} GROUP BY g, w`
  const parts = [
    ...(raw.length > 0 ? [part('numbers', raw, 0)] : []),
    ...levels.flatMap((one, i) => (rolled[i]?.length ? [part(unpacked(one), rolled[i], 1)] : [])),
  ]
  const results = wanted.flatMap(([[, value, time], isTimed]) => [value, isTimed ? `${time}` : 'NULL::BIGINT'])
  return `SELECT g, w, ${results.join(', ')} FROM (${parts.join(' UNION ALL ')}) GROUP BY g, w ORDER BY g, w`
}

/** Returns how far the roll-ups of all these series are right. Undefined when it is not the same for all. */
async function stateOf(file: DuckDbFile, { series, from, to }: WindowQuery): Promise<RollUpState | undefined> {
  const day = levels[2].width
  const names = ['raw', ...levels.map(({ column }) => column)]
  const greatest = names.map(name => `max(${name})`).join(', ')
  const ids = series.map(BigInt)
  const [kinds = [], ...found] = await file.columns(
    'asker',
    `SELECT 'until', until, NULL, NULL, NULL, 0 FROM rolled
     UNION ALL SELECT 'all', ${greatest}, 0 FROM dropped WHERE series = 0
     UNION ALL SELECT 'own', *, count(*) FROM (SELECT ${greatest} FROM dropped
       WHERE series <> 0 AND series IN (SELECT unnest($1)) GROUP BY series) GROUP BY ALL
     UNION ALL SELECT 'stale', hour, NULL, NULL, NULL, 0 FROM (SELECT DISTINCT hour FROM stale
       WHERE series IN (SELECT unnest($1)) AND hour >= $2 AND hour < $3)`,
    [ids, BigInt(floorTo(from, day)), BigInt(ceilTo(to, day))],
  )
  const rows = kinds.map((kind, row) => ({
    kind,
    times: [0, 1, 2, 3].map(column => (found[column]?.[row] == null ? undefined : Number(found[column]?.[row]))),
    count: Number(found[4]?.[row] ?? 0),
  }))
  const own = rows.filter(({ kind }) => kind === 'own')
  if (own.length > 1 || (own[0] && own[0].count !== new Set(series).size)) return undefined
  const gone = rows.filter(({ kind }) => kind === 'own' || kind === 'all')
  const latest = (column: number) =>
    Math.max(Number.NEGATIVE_INFINITY, ...gone.map(({ times }) => times[column] ?? Number.NEGATIVE_INFINITY))
  return {
    until: rows.find(({ kind }) => kind === 'until')?.times[0] ?? Number.NEGATIVE_INFINITY,
    dropped: { raw: latest(0), byLevel: levels.map((_, i) => latest(i + 1)) },
    stale: rangesOf(rows.filter(({ kind }) => kind === 'stale').map(({ times }) => times[0] ?? 0)),
  }
}
