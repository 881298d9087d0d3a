import { HubError } from '../errors.js'
import { type FieldType, type SeriesId, seriesKey } from '../model.js'
import type { DuckDbFile } from './duckdb-file.js'
import { deleteRollUps, hasRollUpsAlone, markRollUps, moveRollUps, settleRollUps } from './duckdb-rollup-changes.js'
import { type Table, tableOf } from './duckdb-sql.js'
import { nameHashes, tagsText } from './known-series.js'
import { besideOf } from './points.js'
import type { SeriesChange } from './store.js'

/** A series of the database. */
interface StoredSeries {
  readonly id: number
  readonly type: FieldType
  readonly name: SeriesId
}

/** Texts that are numbers, as devices write them. */
const numberPattern = "'\\s*[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?\\s*'"

/** For each pair of types: which values can be converted, and how. A type not named here takes no values of the other. */
const conversions: Readonly<
  Record<string, { readonly from: Table; readonly to: Table; where: string; as: string } | undefined>
> = {
  'text number': {
    from: 'texts',
    to: 'numbers',
    where: `regexp_full_match(value, ${numberPattern}) AND isfinite(TRY_CAST(trim(value) AS DOUBLE))`,
    as: 'CAST(trim(value) AS DOUBLE)',
  },
  'text boolean': {
    from: 'texts',
    to: 'numbers',
    where: "lower(trim(value)) IN ('true', 'on', 'false', 'off')",
    as: "CASE WHEN lower(trim(value)) IN ('true', 'on') THEN 1 ELSE 0 END",
  },
  'boolean text': {
    from: 'numbers',
    to: 'texts',
    where: 'true',
    as: "CASE WHEN value = 1 THEN 'true' ELSE 'false' END",
  },
  'number text': {
    from: 'numbers',
    to: 'texts',
    where: 'true',
    as: 'CASE WHEN value = floor(value) AND abs(value) < 1e15 THEN CAST(CAST(value AS BIGINT) AS VARCHAR) ELSE CAST(value AS VARCHAR) END',
  },
  'boolean number': { from: 'numbers', to: 'numbers', where: 'true', as: 'value' },
  'number boolean': { from: 'numbers', to: 'numbers', where: 'value IN (0, 1)', as: 'value' },
}

/**
 * Changes a series in one transaction, which the caller begins and ends. `nextId`: a number that no series has. Returns
 * whether that number was taken.
 */
export async function changeSeries(file: DuckDbFile, change: SeriesChange, nextId: number): Promise<boolean> {
  const found = await find(file, change.series)
  if (!found) throw new HubError('not_found', `there is no series ${seriesKey(change.series)}`)
  if (change.kind === 'drop') {
    await file.run(`DELETE FROM ${tableOf(found.type)} WHERE series = ${found.id}`)
    await remove(file, found)
    return false
  }
  if (change.kind === 'rename') {
    if (await find(file, change.to)) {
      throw new HubError(
        'bad_request',
        `there is a series ${seriesKey(change.to)} already; drop it, or choose another name`,
      )
    }
    await rename(file, found, change.to)
    return false
  }
  return found.type === change.type ? false : retype(file, found, change.type, nextId)
}

/**
 * Gives the field to the type. Values that can be converted are, together with those that were stored beside for that
 * type; the others go beside.
 */
async function retype(file: DuckDbFile, old: StoredSeries, type: FieldType, nextId: number): Promise<boolean> {
  const { name } = old
  const beside = await find(file, { ...name, field: besideOf(name.field, type) })
  const target = beside?.type === type ? beside : undefined
  const id = target?.id ?? nextId
  const aside = { ...name, field: besideOf(name.field, old.type) }
  const there = await find(file, aside)
  const numeric = [old, target, there].flatMap(one => (one && tableOf(one.type) === 'numbers' ? [one.id] : []))
  await settleRollUps(file, numeric)
  const conversion = conversions[`${old.type} ${type}`]
  if (conversion) {
    const { from, to, where, as } = conversion
    await file.run(
      `INSERT INTO ${to} SELECT ${id}, time, ${as} FROM ${from} WHERE series = ${old.id} AND ${where}
         AND time NOT IN (SELECT time FROM ${to} WHERE series = ${id});
       DELETE FROM ${from} WHERE series = ${old.id} AND ${where}`,
    )
    if (from === to && where === 'true') await moveRollUps(file, old.id, id)
  }
  const table = tableOf(old.type)
  const [[readings] = []] = await file.columns('writer', `SELECT count(*) FROM ${table} WHERE series = ${old.id}`)
  if (Number(readings) === 0 && !(await hasRollUpsAlone(file, old.id))) await remove(file, old)
  else if (!there) {
    await rename(file, old, aside)
    await markRollUps(file, old.id)
  } else if (there.type === old.type) {
    await file.run(
      `DELETE FROM ${table} WHERE series = ${there.id} AND time IN (SELECT time FROM ${table} WHERE series = ${old.id});
       UPDATE ${table} SET series = ${there.id} WHERE series = ${old.id}`,
    )
    if (table === 'numbers') {
      await moveRollUps(file, old.id, there.id)
      await markRollUps(file, there.id)
    }
    await remove(file, old)
  } else throw new HubError('bad_request', `${seriesKey(aside)} is of another type: rename or drop that series first`)
  if (tableOf(type) === 'numbers') await markRollUps(file, id)
  if (target) await rename(file, target, name)
  else append(file, { id, type, name })
  return target === undefined
}

async function find(file: DuckDbFile, name: SeriesId): Promise<StoredSeries | undefined> {
  const own = named(name)
  const [first, second] = nameHashes(own.measurement, tagsText(own.tags), own.field)
  const [ids = [], types = [], seconds = []] = await file.columns(
    'writer',
    'SELECT id, type, second_hash FROM series WHERE first_hash = $1',
    [first],
  )
  const at = seconds.indexOf(second)
  return at < 0 ? undefined : { id: Number(ids[at]), type: types[at] as FieldType, name: own }
}

async function rename(file: DuckDbFile, { id, type }: StoredSeries, to: SeriesId): Promise<void> {
  await file.run(`DELETE FROM series WHERE id = ${id}`)
  append(file, { id, type, name: named(to) })
}

async function remove(file: DuckDbFile, { id }: StoredSeries): Promise<void> {
  await file.run(`DELETE FROM series WHERE id = ${id}; DELETE FROM retention_members WHERE series = ${id}`)
  await deleteRollUps(file, id)
}

function append(file: DuckDbFile, { id, type, name }: StoredSeries): void {
  const { measurement, tags, field } = name
  const [first, second] = nameHashes(measurement, tagsText(tags), field)
  file.append('series', [
    ['integer', [id]],
    ['text', [measurement]],
    ['text', [tagsText(tags)]],
    ['text', [field]],
    ['text', [type]],
    ['bigint', [first]],
    ['bigint', [second]],
  ])
}

/** A tag with no value is no tag. */
function named({ measurement, tags, field }: SeriesId): SeriesId {
  return { measurement, tags: tags.filter(([, value]) => value !== ''), field }
}
