import type { FieldType, Tags } from '../model.js'
import type { BoundValue, DuckDbFile } from './duckdb-file.js'
import { guarded, unguarded } from './duckdb-sql.js'
import type { BusiestQuery, BusiestSeries } from './store.js'

/** Bytes of a row of numbers: number of the series, time and value. A text has its own length for the value. */
const numberBytes = 20
const textBytes = 12

/** Counts the readings of a span by series, and returns the series with the most. */
export async function busiestSeries(
  file: DuckDbFile,
  { from, to, limit, series }: BusiestQuery,
): Promise<BusiestSeries> {
  const values: BoundValue[] = [BigInt(from), BigInt(to)]
  const where = 'WHERE time >= $1 AND time < $2'
  const names = series
    ? `WHERE measurement = $${values.push(series.measurement)} AND tags = $${values.push(JSON.stringify(series.tags))}
       AND field = $${values.push(series.field)}`
    : ''
  const counts = `
    SELECT series AS s, count(*) AS n, count(*) * ${numberBytes} AS b FROM numbers ${where} GROUP BY series
    UNION ALL SELECT series, count(*), count(*) * ${textBytes} + sum(strlen(value)) FROM texts ${where} GROUP BY series`
  const [ids = [], fields = [], tags = [], types = [], measurements = [], points = [], bytes = [], ...sums] =
    await file.columns(
      'asker',
      `SELECT id, ${guarded('field')}, tags, type, ${guarded('measurement')}, sum(n)::DOUBLE AS points, sum(b)::DOUBLE,
         (count(*) OVER ())::DOUBLE, (sum(sum(n)) OVER ())::DOUBLE, (sum(sum(b)) OVER ())::DOUBLE
       FROM (${counts}) JOIN series ON id = s ${names}
       GROUP BY id, field, tags, type, measurement ORDER BY points DESC, id LIMIT $${values.push(limit)}`,
      values,
    )
  const [all, allPoints, allBytes] = sums.map(column => Number(column[0] ?? 0))
  return {
    ...{ series: all ?? 0, points: allPoints ?? 0, bytes: allBytes ?? 0 },
    busiest: ids.map((id, i) => ({
      id: Number(id),
      measurement: unguarded(measurements[i]),
      tags: JSON.parse(String(tags[i])) as Tags,
      field: unguarded(fields[i]),
      type: types[i] as FieldType,
      points: Number(points[i]),
      bytes: Number(bytes[i]),
    })),
  }
}
