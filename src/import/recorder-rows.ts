import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { type FileRow, jsonOf, type MappedRow, TopicTemplate } from './rows.js'

/*
 * The rows of a recorder database of Home Assistant (SQLite, schema 38 or newer, of 2023.4 and later): states with the
 * numbers among their attributes, then statistics of five minutes and of hours. Each becomes a message as the state
 * stream of Home Assistant publishes it, with its time, so that imported readings and those of the state stream are one
 * series. A position is `id:table`: the id of the row before, in the table of that number.
 */

/** Topic without --topic. {kind} is `state`, the name of an attribute, `statistics_5minute` or `statistics_hour`. */
const usualTopic = 'homeassistant/{domain}/{object_id}/{kind}'

/** Oldest schema that can be read: states name their entity in a table of its own. */
const oldestSchema = 38

/** Rows of one statement. */
const pageRows = 5_000

/** Attributes that are the same for ever, and describe an entity. */
const constants = /^(supported_features|assumed_state|editable|restored|id|(min|max)_.*|.*_step|step|min|max)$/

const statistics = (table: string) =>
  `SELECT s.id AS id, statistic_id AS entity, start_ts AS time, mean, min, max, state, sum FROM ${table} s
   LEFT JOIN statistics_meta m ON m.id = s.metadata_id WHERE s.id > ? ORDER BY s.id LIMIT ${pageRows}`

const tables = [
  {
    name: 'states',
    key: 'state_id',
    kind: 'state',
    page: `SELECT state_id AS id, entity_id AS entity, last_updated_ts AS time, state, attributes_id AS attributes
      FROM (SELECT state_id, metadata_id, last_updated_ts, state, attributes_id FROM states WHERE state_id > ?
        ORDER BY state_id LIMIT ${pageRows}) LEFT JOIN states_meta USING (metadata_id) ORDER BY state_id`,
  },
  {
    name: 'statistics_short_term',
    key: 'id',
    kind: 'statistics_5minute',
    page: statistics('statistics_short_term'),
  },
  { name: 'statistics', key: 'id', kind: 'statistics_hour', page: statistics('statistics') },
] as const

type RecorderRow = Readonly<Record<string, unknown>>

/** Reads the rows of a database, which must not be in use meanwhile. Throws an error for people. */
export async function* readRecorder(
  path: string,
  { topic = usualTopic, from }: { readonly topic: string | undefined; readonly from: string },
): AsyncGenerator<readonly FileRow[]> {
  const database = await RecorderDatabase.open(path)
  try {
    const messages = new StateMessages(database, new TopicTemplate(topic))
    const [behind = 0, first = 0] = from === '' ? [] : from.split(':').map(Number)
    const sizes = tables.map(({ name, key }) => database.number(`SELECT max(${key}) FROM ${name}`))
    const all = Math.max(
      1,
      sizes.reduce((sum, size) => sum + size, 0),
    )
    let done = 0
    for (const [step, table] of tables.entries()) {
      const isWanted = step >= first && messages.takes(table.kind)
      for (let id = step === first ? behind : 0; isWanted; ) {
        const page = database.rows(table.page, id)
        if (page.length === 0) break
        id = Number(page.at(-1)?.id)
        yield page.map((row): FileRow => {
          const place = Number(row.id)
          const at = { line: place, place, step, share: (done + place) / all }
          try {
            return { rows: messages.of(row, table.kind), ...at }
          } catch (error) {
            return { rows: [], mistake: `${table.name}: ${(error as Error).message}`, ...at }
          }
        })
      }
      done += sizes[step] ?? 0
    }
  } finally {
    database.close()
  }
}

/** Makes messages of rows, as the state stream publishes them. */
class StateMessages {
  readonly #database: RecorderDatabase
  readonly #topic: TopicTemplate
  /** Attributes of each entity that were given last: they come again only when they change. */
  readonly #given = new Map<string, unknown>()

  constructor(database: RecorderDatabase, topic: TopicTemplate) {
    this.#database = database
    this.#topic = topic
    topic.check(['domain', 'object_id', 'entity_id', 'kind'])
  }

  /** Whether there are messages of a kind: where the topic does not tell kinds apart, states alone. */
  takes(kind: string): boolean {
    return kind === 'state' || this.#topic.names('kind')
  }

  /** Throws an error for people. */
  of({ entity, time, state, attributes, ...numbers }: RecorderRow, kind: string): readonly MappedRow[] {
    if (typeof entity !== 'string') throw new Error('the row has no entity')
    if (typeof time !== 'number') throw new Error('the row has no time')
    const at = `"time":${JSON.stringify(timeOf(time))}`
    if (kind !== 'state') {
      const members = Object.entries({ ...numbers, id: null, state }).flatMap(([name, value]) =>
        typeof value === 'number' ? `${JSON.stringify(name)}:${value}` : [],
      )
      return members.length === 0 ? [] : [this.#message(entity, kind, `{${at},${members.join()}}`)]
    }
    const rows = this.takes('attribute') ? this.#attributes(entity, attributes, at) : []
    // The entity was removed.
    if (typeof state !== 'string' || state === '') return rows
    return [this.#message(entity, 'state', `{${at},"value":${jsonOf(state)}}`), ...rows]
  }

  #attributes(entity: string, id: unknown, at: string): readonly MappedRow[] {
    if (typeof id !== 'number' || this.#given.get(entity) === id) return []
    this.#given.set(entity, id)
    return Object.entries(this.#database.attributes(id)).flatMap(([name, value]) => {
      const isReading = typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))
      return isReading && !constants.test(name) ? this.#message(entity, name, `{${at},"value":${value}}`) : []
    })
  }

  #message(entity: string, kind: string, payload: string): MappedRow {
    const [, domain, object = ''] = /^(.*?)[.:](.*)$/.exec(entity) ?? ['', 'entity', entity]
    const named = { domain, object_id: object, entity_id: entity, kind }
    return { topic: this.#topic.fill(named).topic, payload }
  }
}

/** Returns seconds since the epoch as RFC 3339, exact to the microsecond. */
function timeOf(seconds: number): string {
  const micros = Math.round(seconds * 1e6)
  const digits = String(((micros % 1_000) + 1_000) % 1_000).padStart(3, '0')
  return `${new Date(Math.floor(micros / 1_000)).toISOString().slice(0, -1)}${digits}Z`
}

/** The part of a node-sqlite3-wasm database that is used: SQLite in WebAssembly, so that every Node reads one. */
interface Sqlite {
  exec(sql: string): void
  all(sql: string, values?: readonly unknown[]): unknown
  close(): void
}

/** A database that is only read. */
class RecorderDatabase {
  readonly #sqlite: Sqlite

  private constructor(sqlite: Sqlite) {
    this.#sqlite = sqlite
  }

  static async open(path: string): Promise<RecorderDatabase> {
    const { default: sqlite } = await import('node-sqlite3-wasm')
    if (!existsSync(path)) throw new Error('there is no such file')
    // SQLite in WebAssembly makes a folder beside the database for its lock: here beside a link, in a folder that is gone
    // as soon as the files are open.
    const folder = mkdtempSync(join(tmpdir(), 'telehub-import-'))
    let database: Sqlite | undefined
    try {
      for (const suffix of ['', '-wal', '-journal'])
        if (existsSync(path + suffix)) symlinkSync(resolve(path + suffix), join(folder, `recorder${suffix}`))
      const options = { readOnly: true, fileMustExist: true }
      database = new sqlite.Database(join(folder, 'recorder'), options) as unknown as Sqlite
      const opened = new RecorderDatabase(database)
      // The log of a database needs shared memory otherwise.
      database.exec('PRAGMA locking_mode = EXCLUSIVE')
      opened.#check()
      return opened
    } catch (error) {
      database?.close()
      throw error
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  rows(sql: string, after: number): readonly RecorderRow[] {
    return this.#sqlite.all(sql, [after]) as readonly RecorderRow[]
  }

  number(sql: string): number {
    const [row = {}] = this.#sqlite.all(sql) as readonly RecorderRow[]
    return Number(Object.values(row)[0] ?? 0)
  }

  /** Returns a set of attributes that states share. */
  attributes(id: number): RecorderRow {
    const [row] = this.rows('SELECT shared_attrs FROM state_attributes WHERE attributes_id = ?', id)
    try {
      const found: unknown = JSON.parse(String(row?.shared_attrs ?? '{}'))
      return typeof found === 'object' && found !== null ? (found as RecorderRow) : {}
    } catch {
      // A state is worth more than its attributes.
      return {}
    }
  }

  close(): void {
    this.#sqlite.close()
  }

  #check(): void {
    const has = (table: string) =>
      this.number(`SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '${table}'`) > 0
    if (!has('states') || !has('schema_changes')) throw new Error('it is no database of a recorder of Home Assistant')
    const schema = this.number('SELECT max(schema_version) FROM schema_changes')
    if (schema < oldestSchema)
      throw new Error(
        `the database has schema ${schema}, and ${oldestSchema} or newer can be read: start Home Assistant 2023.4 or newer on it once`,
      )
  }
}
