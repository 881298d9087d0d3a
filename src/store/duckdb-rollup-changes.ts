import type { DuckDbFile } from './duckdb-file.js'
import { redoMarks } from './duckdb-roller.js'
import { levels, mergedRows, packed, rollUpTables } from './duckdb-rollups.js'

/*
 * Roll-ups when an operator changes a series, within the transaction of the change. What can be made from raw readings
 * is marked, and rolled up anew later.
 */

/** Resolves with the time before which everything is rolled up. Undefined when nothing is. */
async function rolledUntil(file: DuckDbFile): Promise<number | undefined> {
  const [[until] = []] = await file.columns('writer', 'SELECT until FROM rolled')
  return until == null ? undefined : Number(until)
}

/** The time before which the raw readings of a series are gone, in SQL. */
function goneBefore(id: number): string {
  return `(SELECT coalesce(max(raw), ${Number.MIN_SAFE_INTEGER}) FROM dropped WHERE series IN (0, ${id}))`
}

/** Deletes the roll-ups of a series, and what is noted of them. */
export async function deleteRollUps(file: DuckDbFile, id: number): Promise<void> {
  await file.run(rollUpTables.map(table => `DELETE FROM ${table} WHERE series = ${id}`).join(';'))
}

/** Rolls up what waits for that: to be called before readings move from one of these series to another. */
export async function settleRollUps(file: DuckDbFile, ids: readonly number[]): Promise<void> {
  const until = await rolledUntil(file)
  if (until === undefined || ids.length === 0) return
  const some = `series IN (${ids.join(', ')})`
  for (let left = Number.POSITIVE_INFINITY; left > 0; ) {
    await redoMarks(file, some, until)
    const [[count] = []] = await file.columns('writer', `SELECT count(*) FROM stale WHERE ${some}`)
    left = Number(count)
  }
}

/** Marks all hours of which the raw readings have changed, as far as there are, or were, any. */
export async function markRollUps(file: DuckDbFile, id: number): Promise<void> {
  const until = await rolledUntil(file)
  if (until === undefined) return
  const [minutes, { width }] = levels
  const range = `WHERE series = ${id} AND time < ${until} AND time >= ${goneBefore(id)}`
  await file.run(
    `INSERT INTO stale SELECT DISTINCT ${id}, time - ((time % ${width}) + ${width}) % ${width} FROM
       (SELECT time FROM numbers ${range} UNION ALL SELECT time FROM ${minutes.table} ${range})`,
  )
}

/** Resolves with whether there are roll-ups of readings that retention has deleted. */
export async function hasRollUpsAlone(file: DuckDbFile, id: number): Promise<boolean> {
  const exist = levels.map(({ table }) => `EXISTS (FROM ${table} WHERE series = ${id} AND time < ${goneBefore(id)})`)
  const [[found] = []] = await file.columns('writer', `SELECT ${exist.join(' OR ')}`)
  return found === true
}

/**
 * Adds the roll-ups of a series to those of another. Both must be settled, and the raw readings are moved by the caller.
 * What is gone of one is gone of both then: a raw reading beside roll-ups alone would be taken for one that came late.
 */
export async function moveRollUps(file: DuckDbFile, from: number, to: number): Promise<void> {
  await file.run(
    `INSERT INTO dropped SELECT ${to}, raw, minutes, hours, days FROM dropped WHERE series = ${from};
     DELETE FROM numbers WHERE series = ${to} AND time < ${goneBefore(to)}`,
  )
  for (const level of levels) {
    const both = `series IN (${from}, ${to})`
    await file.run(
      `CREATE OR REPLACE TEMP TABLE added AS ${packed(mergedRows(level, both, level.width, String(to)))};
       DELETE FROM ${level.table} WHERE ${both};
       INSERT INTO ${level.table} FROM added;
       DROP TABLE added`,
    )
  }
  await deleteRollUps(file, from)
}
