import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { HubError } from '../errors.js'
import type { Tags } from '../model.js'
import { type DuckDbFile, sizeOf, type Value } from './duckdb-file.js'
import { guarded, unguarded } from './duckdb-sql.js'
import type {
  DropRow,
  DropSlice,
  ExpiryReason,
  KeptTier,
  RetainedSeries,
  RetentionChange,
  RetentionState,
  RollUpProgress,
  RowRate,
  StoreRetention,
  StoreSize,
  TableSize,
} from './retention.js'

/*
 * The tables of the retention, beside those of the readings:
 *
 *     retention_classes   one row a class: how long, since when, and before when each tier is gone
 *     retention_members   one row a series that is in another class than 0
 *     retention_state     one row
 *     retention_drops     what was deleted, one row a day, tier and reason; written together with the deletion
 *
 * A class and no column of the series: the series of one rule change together, and most stores have no such rule.
 */
const schema = `
  CREATE TABLE IF NOT EXISTS retention_classes (id INTEGER NOT NULL, keep VARCHAR NOT NULL, since BIGINT NOT NULL,
    raw BIGINT, minutes BIGINT, hours BIGINT, days BIGINT);
  CREATE TABLE IF NOT EXISTS retention_members (series INTEGER NOT NULL, class INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS retention_state (assigned INTEGER NOT NULL, seen BIGINT);
  CREATE TABLE IF NOT EXISTS retention_drops (day BIGINT NOT NULL, tier VARCHAR NOT NULL, why VARCHAR NOT NULL,
    readings BIGINT NOT NULL, series INTEGER NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL);
  INSERT INTO retention_state SELECT 0, NULL WHERE NOT EXISTS (FROM retention_state);
`

/** A tier: the tables, which have columns `series` and `time`, and the column that tells before when all is gone. */
interface TierTables {
  readonly name: KeptTier
  readonly tables: readonly string[]
  readonly column: 'raw' | 'minutes' | 'hours' | 'days'
}

const raw: TierTables = { name: 'raw', tables: ['numbers', 'texts'], column: 'raw' }
const tiers: readonly TierTables[] = [
  raw,
  { name: '1m', tables: ['numbers_1m'], column: 'minutes' },
  { name: '1h', tables: ['numbers_1h'], column: 'hours' },
  { name: '1d', tables: ['numbers_1d'], column: 'days' },
]
const columns = tiers.map(({ column }) => column)

function tierOf(name: KeptTier): TierTables {
  return tiers.find(one => one.name === name) ?? raw
}

/** Rows that one turn deletes at most, if they are spread evenly over their day: some 100 ms of the writer's time. */
const rowsPerTurn = 250_000
/** Row groups, of 122,880 rows each, that one turn moves. */
const groupsPerTurn = 2
/** Free bytes of the disk without which nothing is moved: the log of one turn, and the blocks that the rows move to. */
const roomToMove = 64e6

const hourUs = 3_600_000_000
const dayUs = 24 * hourUs

/** Access to the file of a store. Implemented by `DuckDbStore`. */
export interface DuckDbAccess {
  readonly path: string
  /** Runs work between two writes. The file is opened anew after work that fails, so that nothing stays half done. */
  between<T>(work: (file: DuckDbFile) => Promise<T>): Promise<T>
  /** Runs a question that may take long beside the writes. */
  ask<T>(question: (file: DuckDbFile) => Promise<T>): Promise<T>
  /** Before when everything is rolled up, and the time of the newest reading; not finite when there is none. */
  rolled(): { readonly until: number; readonly newest: number }
}

/**
 * Retention in a DuckDB file. A deletion is a transaction, whole or undone after a kill. Freed blocks are used
 * again by later writes; only when many are free are rows moved, with DELETE and INSERT in one transaction each, from
 * the end of the file into free blocks, which lets a checkpoint cut the file. So no second file is needed, and no more
 * disk than the log of one turn.
 */
export class DuckDbRetention implements StoreRetention {
  readonly #access: DuckDbAccess
  /** Before when texts, and numbers in every tier, are gone, by class. */
  #textsFrom = new Map<number, number>()
  #numbersFrom = new Map<number, number>()
  /** Classes of series that are not in class 0, and the highest series that is in a class. */
  #classes = new Map<number, number>()
  #assigned = 0

  constructor(access: DuckDbAccess) {
    this.#access = access
  }

  /** Creates the tables that are missing, and reads what {@link from} needs. Called when the file is opened. */
  async load(file: DuckDbFile): Promise<void> {
    await file.run(schema)
    await this.#read(file)
  }

  /**
   * Returns the time before which readings of a series are refused, as there is no tier left for them. Late numbers for
   * which the raw readings are gone still go into the roll-ups; texts have none.
   */
  from(series: number, isText: boolean): number {
    const times = isText ? this.#textsFrom : this.#numbersFrom
    if (times.size === 0 || series > this.#assigned) return Number.NEGATIVE_INFINITY
    return times.get(this.#classes.get(series) ?? 0) ?? Number.NEGATIVE_INFINITY
  }

  state(): Promise<RetentionState> {
    return this.#access.between(async file => {
      const [ids = [], keeps = [], since = [], ...from] = await file.columns(
        'writer',
        `SELECT id, keep, since, ${columns.join(', ')} FROM retention_classes ORDER BY id`,
      )
      const [[assigned] = [], [seen] = []] = await file.columns('writer', 'SELECT assigned, seen FROM retention_state')
      return {
        classes: ids.map((id, i) => ({
          id: Number(id),
          keep: String(keeps[i]),
          since: Number(since[i]),
          from: Object.fromEntries(
            tiers.flatMap(({ name }, at) => (from[at]?.[i] == null ? [] : [[name, Number(from[at]?.[i])]])),
          ),
        })),
        assigned: Number(assigned ?? 0),
        seen: known(seen),
      }
    })
  }

  change({ classes = [], members = [], assigned, seen }: RetentionChange): Promise<void> {
    return this.#access.between(async file => {
      await file.run('BEGIN TRANSACTION')
      for (const { id, keep, since, from } of classes) {
        await file.run(`DELETE FROM retention_classes WHERE id = ${id}`)
        const times = tiers.map(({ name }) => from[name] ?? 'NULL').join(', ')
        await file.columns('writer', `INSERT INTO retention_classes VALUES (${id}, $1, ${since}, ${times})`, [keep])
      }
      if (members.length > 0) {
        // From now on what is gone is not the same for all: each series that there is gets a note.
        const greatest = columns.map(column => `max(${column}) AS ${column}`).join(', ')
        await file.run(
          `INSERT INTO dropped SELECT id, gone.* FROM series, (SELECT ${greatest} FROM dropped WHERE series = 0) AS gone
             WHERE EXISTS (FROM dropped WHERE series = 0);
           DELETE FROM dropped WHERE series = 0`,
        )
        const lists = [members.map(([one]) => BigInt(one)), members.map(([, to]) => BigInt(to))]
        await file.columns(
          'writer',
          'DELETE FROM retention_members WHERE series IN (SELECT unnest($1))',
          lists.slice(0, 1),
        )
        await file.columns(
          'writer',
          'INSERT INTO retention_members SELECT s, c FROM (SELECT unnest($1) AS s, unnest($2) AS c) WHERE c <> 0',
          lists,
        )
      }
      if (assigned !== undefined) await file.run(`UPDATE retention_state SET assigned = ${assigned}`)
      if (seen !== undefined) await file.run(`UPDATE retention_state SET seen = ${Math.floor(seen)}`)
      await file.run('COMMIT')
      await this.#read(file)
    })
  }

  series(after: number, limit: number): Promise<readonly RetainedSeries[]> {
    return this.#access.ask(async file => {
      const [ids = [], measurements = [], tags = [], fields = [], classes = []] = await file.columns(
        'asker',
        `SELECT id, ${guarded('measurement')}, tags, ${guarded('field')}, coalesce(class, 0) FROM series
         LEFT JOIN retention_members AS members ON members.series = id WHERE id > $1 ORDER BY id LIMIT $2`,
        [after, limit],
      )
      return ids.map((id, i) => ({
        id: Number(id),
        retentionClass: Number(classes[i]),
        series: {
          measurement: unguarded(measurements[i]),
          tags: JSON.parse(String(tags[i])) as Tags,
          field: unguarded(fields[i]),
        },
      }))
    })
  }

  plan(tier: KeptTier, retentionClass: number | undefined, before: number): Promise<readonly DropSlice[]> {
    return this.#access.ask(async file => {
      const hours = new Map<number, number>()
      for (const table of tierOf(tier).tables) {
        const [found = [], counts = []] = await file.columns(
          'asker',
          `SELECT (time - (time % ${hourUs} + ${hourUs}) % ${hourUs}) // ${hourUs} AS hour, count(*) FROM ${table}
           WHERE time < $1 ${of(retentionClass)} GROUP BY hour`,
          [BigInt(Math.floor(before))],
        )
        for (const [i, hour] of found.entries())
          hours.set(Number(hour), (hours.get(Number(hour)) ?? 0) + Number(counts[i]))
      }
      const slices: { -readonly [Key in keyof DropSlice]: DropSlice[Key] }[] = []
      for (const [hour, readings] of [...hours].sort(([a], [b]) => a - b)) {
        const last = slices.at(-1)
        const [from, to] = [hour * hourUs, (hour + 1) * hourUs]
        // Hours and days go by whole days; for a day of raw readings one slice may be too much.
        const isSameDay = last !== undefined && Math.floor(last.from / dayUs) === Math.floor(from / dayUs)
        const isFine = tier === 'raw' || tier === '1m'
        if (last && isSameDay && !(isFine && last.readings + readings > rowsPerTurn)) {
          last.to = to
          last.readings += readings
        } else slices.push({ tier, retentionClass, from, to, readings })
      }
      // A day is gone as a whole, also the hours behind the last reading.
      for (const [i, slice] of slices.entries()) {
        const end = (Math.floor(slice.from / dayUs) + 1) * dayUs
        const next = slices[i + 1]
        if (next === undefined || next.from >= end) slice.to = Math.min(end, before)
      }
      return slices
    })
  }

  drop({ tier, retentionClass, from, to }: DropSlice, why: ExpiryReason, day: number): Promise<number | undefined> {
    return this.#access.between(async file => {
      const { tables, column } = tierOf(tier)
      const [[until] = [], [waiting] = []] = await file.columns(
        'writer',
        `SELECT (SELECT until FROM rolled), (SELECT min(hour) FROM stale)`,
      )
      const [[numbers] = []] = await file.columns('writer', 'SELECT count(*) FROM numbers')
      const isFree = Number(numbers) === 0 || (until != null && Number(until) >= to)
      if (!isFree || (waiting != null && Number(waiting) < to)) return undefined
      const where = `time >= ${from} AND time < ${to} ${of(retentionClass)}`
      let all = 0
      await file.run('BEGIN TRANSACTION')
      for (const table of tables) {
        const [[count] = [], [series] = [], [first] = [], [last] = []] = await file.columns(
          'writer',
          `SELECT count(*), count(DISTINCT series), min(time), max(time) FROM ${table} WHERE ${where}`,
        )
        if (!Number(count)) continue
        all += Number(count)
        await file.run(`DELETE FROM ${table} WHERE ${where}`)
        const own = `day = ${day} AND tier = '${tier}' AND why = '${why}'`
        await file.run(
          `INSERT INTO retention_drops SELECT ${day}, '${tier}', '${why}', 0, 0, ${first}, ${last}
             WHERE NOT EXISTS (FROM retention_drops WHERE ${own});
           UPDATE retention_drops SET readings = readings + ${count}, series = greatest(series, ${series}),
             first = least(first, ${first}), last = greatest(last, ${last}) WHERE ${own}`,
        )
      }
      await noteGone(file, column, retentionClass, to)
      await file.run('COMMIT')
      await this.#read(file)
      return all
    })
  }

  /** Deleted rows are in their blocks up to the next checkpoint. */
  settle(): Promise<void> {
    return this.#access.between(async file => {
      if (!(await isHeld(file))) await file.run('CHECKPOINT')
    })
  }

  dropped(): Promise<readonly DropRow[]> {
    return this.#access.between(droppedRows)
  }

  async size(): Promise<StoreSize> {
    const { path } = this.#access
    const { used } = await this.#access.between(blocksOf)
    const { bavail, bsize } = await statfs(dirname(path))
    const log = sizeOf(`${path}.wal`)
    return { bytes: sizeOf(path) + log, used: used + log, diskFree: bavail * bsize }
  }

  rolledUp(): Promise<RollUpProgress> {
    return this.#access.ask(file => progressOf(file, this.#access.rolled()))
  }

  tables(): Promise<readonly TableSize[]> {
    return this.#access.ask(async file => {
      const { size } = await blocksOf(file, 'asker')
      const sizes: TableSize[] = []
      for (const { name: tier, tables } of tiers) {
        let [rows, bytes] = [0, 0]
        let [oldest, newest]: (number | undefined)[] = []
        for (const table of tables) {
          const [[count] = [], [first] = [], [last] = []] = await file.columns(
            'asker',
            `SELECT count(*), min(time), max(time) FROM ${table}`,
          )
          const [[blocks] = []] = await file.columns(
            'asker',
            `SELECT count(DISTINCT block_id) FROM pragma_storage_info('${table}') WHERE persistent AND block_id >= 0`,
          )
          rows += Number(count)
          bytes += Number(blocks) * size
          oldest = smallest(oldest, known(first))
          newest = largest(newest, known(last))
        }
        sizes.push({ tier, rows, bytes, oldest, newest })
      }
      return sizes
    })
  }

  rates(from: number, to: number): Promise<readonly RowRate[]> {
    return this.#access.ask(async file => {
      const rates: RowRate[] = []
      for (const { name: tier, tables } of tiers) {
        const found = new Map<number, number>()
        for (const table of tables) {
          const [classes = [], counts = []] = await file.columns(
            'asker',
            `SELECT coalesce(class, 0) AS c, count(*) FROM ${table}
             LEFT JOIN retention_members AS members ON members.series = ${table}.series
             WHERE time >= $1 AND time < $2 GROUP BY c`,
            [BigInt(Math.floor(from)), BigInt(Math.floor(to))],
          )
          for (const [i, one] of classes.entries())
            found.set(Number(one), (found.get(Number(one)) ?? 0) + Number(counts[i]))
        }
        for (const [retentionClass, rows] of found)
          rates.push({ tier, retentionClass, perDay: (rows / (to - from)) * dayUs })
      }
      return rates
    })
  }

  async pack(): Promise<number> {
    const { path } = this.#access
    const { bavail, bsize } = await statfs(dirname(path))
    if (bavail * bsize < roomToMove) {
      const free = Math.floor((bavail * bsize) / 1e6)
      throw new HubError('store_unavailable', `the disk has ${free} MB free, too little to move rows within the store`)
    }
    const before = sizeOf(path)
    await this.#access.between(async file => {
      if (await isHeld(file)) return
      const { used, size } = await blocksOf(file)
      const [tables = []] = await file.columns(
        'writer',
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'main' AND NOT temporary",
      )
      const ends: EndRows[] = []
      for (const table of tables.map(String)) ends.push(...(await endOfFile(file, table, Math.ceil(used / size))))
      const last = ends.sort((a, b) => b.block - a.block).slice(0, groupsPerTurn)
      for (const table of new Set(last.map(range => range.table))) {
        const own = last.filter(range => range.table === table)
        const where = own.map(range => `rowid BETWEEN ${range.first} AND ${range.last}`).join(' OR ')
        await file.run(
          `BEGIN TRANSACTION; INSERT INTO ${table} SELECT * FROM ${table} WHERE ${where};
           DELETE FROM ${table} WHERE ${where}; COMMIT`,
        )
      }
      // Without a change a checkpoint does nothing, and what describes the tables stays at the end.
      await file.run('UPDATE retention_state SET assigned = assigned; CHECKPOINT')
    })
    return Math.max(0, before - sizeOf(path))
  }

  async #read(file: DuckDbFile): Promise<void> {
    const [ids = [], texts = [], numbers = []] = await file.columns(
      'writer',
      `SELECT id, raw, CASE WHEN raw IS NOT NULL AND minutes IS NOT NULL AND hours IS NOT NULL THEN days END FROM retention_classes`,
    )
    const byClass = (times: readonly Value[]) =>
      new Map(ids.flatMap((id, i) => (times[i] == null ? [] : [[Number(id), Number(times[i])] as const])))
    this.#textsFrom = byClass(texts)
    this.#numbersFrom = byClass(numbers)
    const [series = [], classes = []] = await file.columns('writer', 'SELECT series, class FROM retention_members')
    this.#classes = new Map(series.map((one, i) => [Number(one), Number(classes[i])]))
    const [[assigned] = []] = await file.columns('writer', 'SELECT assigned FROM retention_state')
    this.#assigned = Number(assigned ?? 0)
  }
}

async function progressOf(
  file: DuckDbFile,
  { until, newest }: ReturnType<DuckDbAccess['rolled']>,
): Promise<RollUpProgress> {
  const [[waiting] = []] = await file.columns('asker', 'SELECT count(DISTINCT (series, hour)) FROM stale')
  const isKnown = Number.isFinite(until) && Number.isFinite(newest)
  return {
    until: Number.isFinite(until) ? until : undefined,
    behind: isKnown ? Math.max(0, newest - until) : 0,
    waiting: Number(waiting ?? 0),
  }
}

/**
 * Notes before which time a tier is gone: for the class, and in the table `dropped` of the roll-ups, for all series or,
 * once some have times of their own, for each of the class.
 */
async function noteGone(
  file: DuckDbFile,
  column: string,
  retentionClass: number | undefined,
  to: number,
): Promise<void> {
  const [[members] = []] = await file.columns('writer', 'SELECT count(*) FROM retention_members')
  const isForAll = retentionClass === undefined || (retentionClass === 0 && Number(members) === 0)
  const others = columns.filter(one => one !== column).map(one => `${one} IS NULL`)
  const ids = isForAll
    ? 'SELECT 0'
    : `SELECT id FROM (SELECT id, id AS series FROM series) WHERE true ${of(retentionClass)}`
  await file.run(
    `DELETE FROM dropped WHERE series IN (${ids}) AND ${column} <= ${to} AND ${others.join(' AND ')};
     INSERT INTO dropped (series, ${column}) SELECT *, ${to} FROM (${ids});
     UPDATE retention_classes SET ${column} = greatest(coalesce(${column}, ${to}), ${to})
       ${retentionClass === undefined ? '' : `WHERE id = ${retentionClass}`}`,
  )
}

/** Returns the condition for the series of a class. Series that are in no class yet are in none of them. */
function of(retentionClass: number | undefined): string {
  if (retentionClass === undefined) return ''
  return retentionClass === 0
    ? `AND series <= (SELECT assigned FROM retention_state) AND series NOT IN (SELECT series FROM retention_members)`
    : `AND series IN (SELECT series FROM retention_members WHERE class = ${retentionClass})`
}

/** Returns whether a backup copies the file just now: then no checkpoint may change the file (`hold` of the store). */
async function isHeld(file: DuckDbFile): Promise<boolean> {
  const [[size] = []] = await file.columns('writer', "SELECT current_setting('wal_autocheckpoint')")
  return /[GT]i?B/.test(String(size))
}

async function droppedRows(file: DuckDbFile): Promise<readonly DropRow[]> {
  const [days = [], tier = [], why = [], readings = [], series = [], first = [], last = []] = await file.columns(
    'writer',
    'SELECT day, tier, why, readings, series, first, last FROM retention_drops ORDER BY day DESC, tier, why',
  )
  return days.map((day, i) => ({
    day: Number(day),
    tier: tier[i] as KeptTier,
    why: why[i] as ExpiryReason,
    readings: Number(readings[i]),
    series: Number(series[i]),
    first: Number(first[i]),
    last: Number(last[i]),
  }))
}

/** Returns bytes in used blocks, and the size of a block. */
async function blocksOf(file: DuckDbFile, by: 'writer' | 'asker' = 'writer') {
  const [[size] = [], [used] = []] = await file.columns(
    by,
    'SELECT block_size, used_blocks FROM pragma_database_size() LIMIT 1',
  )
  return { size: Number(size), used: Number(used) * Number(size) }
}

/** Rows of a table by their numbers, and the last block that they are in. */
interface EndRows {
  readonly table: string
  readonly first: number
  readonly last: number
  readonly block: number
}

/** Returns ranges of row numbers that are stored behind the block `from`, those at the very end first. */
async function endOfFile(file: DuckDbFile, table: string, from: number): Promise<EndRows[]> {
  const [firsts = [], lasts = [], blocks = []] = await file.columns(
    'writer',
    `WITH groups AS (
       SELECT row_group_id, max(block_id) AS block, sum(count) FILTER (column_id = 0 AND segment_type <> 'VALIDITY') AS rows
       FROM pragma_storage_info('${table}') GROUP BY row_group_id),
     places AS (SELECT *, sum(rows) OVER (ORDER BY row_group_id) AS behind FROM groups)
     SELECT (behind - rows)::BIGINT, (behind - 1)::BIGINT, block FROM places WHERE block >= ${from} ORDER BY block DESC LIMIT ${groupsPerTurn}`,
  )
  return firsts.map((first, i) => ({ table, first: Number(first), last: Number(lasts[i]), block: Number(blocks[i]) }))
}

function known(value: Value | undefined): number | undefined {
  return value == null ? undefined : Number(value)
}

function smallest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b)
}

function largest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b)
}
