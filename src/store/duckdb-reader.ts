import { describe, HubError } from '../errors.js'
import type { FieldType, FieldValue, Tags } from '../model.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { busiestSeries } from './duckdb-busiest.js'
import type { BoundValue, DuckDbFile, Value } from './duckdb-file.js'
import { guarded, read, type Table, tableOf, typed, unguarded } from './duckdb-sql.js'
import { rolledWindows } from './duckdb-windows.js'
import type {
  BusiestQuery,
  BusiestSeries,
  GroupQuery,
  GroupReading,
  NamesQuery,
  NumberedSeries,
  SeriesReader,
  WindowFunction,
  WindowQuery,
  WindowRow,
} from './store.js'

/** Time limit of one statement. */
const patienceMs = 20_000

/** Questions that may wait. */
const mostWaiting = 64

/** Readings whose values one statement may hold in memory, and bytes of texts that one may answer. */
const mostHeld = 5_000_000
const mostBytes = 64_000_000

/** What each function is in SQL, and when the reading was, for those that choose one. `$nth` is a number. */
const functionSql: Record<WindowFunction, readonly [value: string, time?: string]> = {
  mean: ['avg(value)'],
  median: ['median(value)'],
  min: ['min(value)', 'arg_min(time, row(value, time))'],
  max: ['max(value)', 'arg_max(time, row(value, -time))'],
  sum: ['sum(value)'],
  count: ['count(*)::DOUBLE'],
  // Of several at the same time the greatest, as InfluxDB chooses.
  first: ['arg_min(value, row(time, -value))', 'min(time)'],
  last: ['arg_max(value, row(time, value))', 'max(time)'],
  spread: ['max(value) - min(value)'],
  stddev: ['stddev_samp(value)'],
  // Of several as frequent the one that came first.
  mode: ['mode(value ORDER BY time, value)'],
  percentile: ['(list(value ORDER BY value, time))[$nth]', '(list(time ORDER BY value, time))[$nth]'],
  'count distinct': ['count(DISTINCT value)::DOUBLE'],
}
/** The first of texts, of which there is no negative: rows carry the first time of their window. */
const firstText = 'max(value) FILTER (time = first_time)'

/** Functions that hold every value in memory. */
const holding: ReadonlySet<WindowFunction> = new Set(['median', 'mode', 'percentile', 'count distinct'])

/** Functions whose result is a number, whatever the values are. */
const counting: ReadonlySet<WindowFunction> = new Set(['count', 'count distinct'])

/**
 * Reads many series at once, on a connection of its own: a question that takes long delays neither a write nor a chart
 * of the dashboard. One question is answered at a time.
 */
export class DuckDbReader implements SeriesReader {
  readonly #open: () => Promise<DuckDbFile>
  readonly #questions = new SerialQueue()
  #waiting = 0

  constructor(open: () => Promise<DuckDbFile>) {
    this.#open = open
  }

  /** Resolves when no question is being answered. */
  idle(): Promise<void> {
    return this.#questions.idle()
  }

  names({ measurements, fields, tags = [], only, limit }: NamesQuery): Promise<readonly NumberedSeries[]> {
    const values: BoundValue[] = []
    const bound = (value: BoundValue) => `$${values.push(value)}`
    const where = [
      ...(measurements ? [`measurement IN (SELECT unnest(${bound([...measurements])}))`] : []),
      ...(fields ? [`field IN (SELECT unnest(${bound([...fields])}))`] : []),
      // A quote inside a name or a value is escaped: no other text of tags contains this one.
      ...tags.map(pair => `contains(tags, ${bound(JSON.stringify(pair))})`),
    ]
    if (measurements?.length === 0 || fields?.length === 0) return Promise.resolve([])
    const columns = {
      measurement: "0, '', '[]', 'number', measurement",
      field: "0, field, '[]', type, measurement",
      tags: "0, '', tags, 'number', measurement",
    }
    const selected = only ? `DISTINCT ${columns[only]}` : 'id, field, tags, type, measurement'
    const [id, field, tagsColumn, type, measurement] = selected.replace('DISTINCT ', '').split(', ')
    const list = [id, guarded(`${field}`), tagsColumn, type, guarded(`${measurement}`)].join(', ')
    return this.ask(async file => {
      const [ids = [], names = [], texts = [], types = [], of = []] = await file.columns(
        'asker',
        `SELECT ${only ? 'DISTINCT ' : ''}${list} FROM series ${where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''}
         LIMIT ${bound(limit)}`,
        values,
      )
      return ids.map((id, i) => ({
        id: Number(id),
        measurement: unguarded(of[i]),
        tags: JSON.parse(String(texts[i])) as Tags,
        field: unguarded(names[i]),
        type: types[i] as FieldType,
      }))
    })
  }

  matching(pattern: string, texts: readonly string[]): Promise<readonly number[]> {
    if (texts.length === 0) return Promise.resolve([])
    return this.ask(async file => {
      const [found = []] = await file.columns(
        'asker',
        `SELECT i FROM (SELECT unnest($1) AS text, generate_subscripts($1, 1) AS i) WHERE regexp_matches(text, $2)`,
        [[...texts], pattern],
      )
      return found.map(i => Number(i) - 1)
    })
  }

  windows(query: WindowQuery): Promise<readonly WindowRow[]> {
    const { type, windows, functions, limit } = query
    const table = tableOf(type)
    const columns = functions.flatMap(({ name, nth, isTimed }) => {
      const [own, time = 'NULL'] = functionSql[name]
      const value = name === 'first' && table === 'texts' ? firstText : own
      const expressions = [counting.has(name) ? value : read(table, value), ...(isTimed ? [time] : ['NULL::BIGINT'])]
      return expressions.map(one =>
        one.replace('$nth', `greatest(0, floor(count(*) * ${finite(nth)} / 100 + 0.5))::BIGINT`),
      )
    })
    const needsFirstTime = table === 'texts' && functions.some(({ name }) => name === 'first')
    const { from, values } = selected(query)
    const window = windowSql(windows)
    const inner = needsFirstTime
      ? `(SELECT *, min(time) OVER (PARTITION BY g, w) AS first_time FROM (SELECT *, ${window} AS w ${from}))`
      : `(SELECT *, ${window} AS w ${from})`
    const fromReadings = `SELECT g, w, ${columns.join(', ')} FROM ${inner} GROUP BY g, w ORDER BY g, w`
    return this.ask(async file => {
      if (functions.some(({ name }) => holding.has(name))) await checkHeld(file, query)
      const [groups = [], numbers = [], ...results] = await file.inOneRead(async () => {
        const rolled = await rolledWindows(file, { ...query, window: windowSql(windows) })
        const bound = rolled === undefined ? values : values.slice(0, 2)
        const sql = `${rolled ?? fromReadings} LIMIT $${bound.push(limit)}`
        return file.columns('asker', sql, bound)
      }, 'asker')
      return groups.map((group, row) => ({
        group: Number(group),
        window: Number(numbers[row]),
        values: functions.map(({ name }, i) => readValue(results[2 * i]?.[row], counting.has(name) ? 'number' : type)),
        times: functions.map((_, i) => readNumber(results[2 * i + 1]?.[row])),
      }))
    })
  }

  distinct(query: Omit<WindowQuery, 'functions'>): Promise<readonly WindowRow[]> {
    const { type, windows, limit } = query
    const { from, values } = selected(query)
    return this.ask(async file => {
      await checkHeld(file, query)
      const [groups = [], numbers = [], found = []] = await file.columns(
        'asker',
        `SELECT g, ${windowSql(windows)} AS w, ${read(tableOf(type), 'value')} ${from}
         GROUP BY g, w, value ORDER BY g, w, min(time), value LIMIT $${values.push(limit)}`,
        values,
      )
      return groups.map((group, row) => ({
        group: Number(group),
        window: Number(numbers[row]),
        values: [readValue(found[row], type)],
        times: [],
      }))
    })
  }

  readings(
    query: GroupQuery & { readonly descending: boolean; readonly perGroup: number },
  ): Promise<readonly GroupReading[]> {
    const { type, descending, perGroup, limit } = query
    const table = tableOf(type)
    const { from, values } = selected(query)
    const order = descending ? 'time DESC, p DESC' : 'time, p'
    const some =
      perGroup < limit
        ? `QUALIFY row_number() OVER (PARTITION BY g ORDER BY ${order}) <= $${values.push(perGroup)}`
        : ''
    return this.ask(async file => {
      if (table === 'texts') await checkHeld(file, query)
      const [positions = [], times = [], found = []] = await file.columns(
        'asker',
        `SELECT p, time, ${read(table, 'value')} ${from} ${some} ORDER BY g, ${order} LIMIT $${values.push(limit)}`,
        values,
      )
      const converted = typed(found, type)
      return positions.map((position, i) => ({
        position: Number(position) - 1,
        time: Number(times[i]),
        value: converted[i] as FieldValue,
      }))
    })
  }

  busiest(query: BusiestQuery): Promise<BusiestSeries> {
    return this.ask(file => busiestSeries(file, query))
  }

  /** Answers one question after the other. Rejects with `overloaded` when too many wait. */
  async ask<T>(question: (file: DuckDbFile) => Promise<T>): Promise<T> {
    if (this.#waiting >= mostWaiting) {
      throw new HubError('overloaded', `${mostWaiting} queries wait to be answered; try again`, { retryAfterMs: 1_000 })
    }
    this.#waiting++
    try {
      const file = await this.#open()
      return await this.#questions.run(async () => {
        // Nothing is opened here: whoever closes the file waits for this question.
        if (!file.isOpen) throw new HubError('store_unavailable', 'the DuckDB store was closed; try again')
        let isLate = false
        const timer = setTimeout(() => {
          isLate = true
          file.interruptQuestion()
        }, patienceMs)
        try {
          return await question(file)
        } catch (error) {
          throw isLate ? tooLarge(`the query takes longer than ${patienceMs / 1_000} s`) : asHubError(error)
        } finally {
          clearTimeout(timer)
        }
      })
    } finally {
      this.#waiting--
    }
  }
}

/** Returns the readings that a query selects: `p`, `g`, `time` and `value`, and the values bound so far. */
function selected({ type, series, groups, from, to }: GroupQuery): { readonly from: string; values: BoundValue[] } {
  const lists = 'SELECT unnest($1) AS s, unnest($2) AS g, generate_subscripts($1, 1) AS p'
  return {
    from: `FROM ${tableOf(type)} JOIN (${lists}) ON series = s WHERE time >= $3 AND time < $4`,
    values: [series.map(BigInt), groups.map(BigInt), BigInt(from), BigInt(to)],
  }
}

/** Returns the number of the window that a time is in, in SQL. */
function windowSql(windows: WindowQuery['windows']): string {
  return windows ? `(time - (${BigInt(windows.origin)})) // ${BigInt(windows.width)}` : '0'
}

/** Throws `too_large` when a statement would hold too many values in memory. */
async function checkHeld(file: DuckDbFile, query: GroupQuery): Promise<void> {
  const table: Table = tableOf(query.type)
  const { from, values } = selected(query)
  const bytes = table === 'texts' ? 'sum(strlen(value))::DOUBLE' : '0'
  const [[count] = [], [sum] = []] = await file.columns('asker', `SELECT count(*), ${bytes} ${from}`, values)
  if (Number(count) > mostHeld || Number(sum ?? 0) > mostBytes) {
    throw tooLarge(`the query needs ${count} readings at once`)
  }
}

function tooLarge(sentence: string): HubError {
  return new HubError('too_large', `${sentence}; narrow the time range, or select fewer series`)
}

function asHubError(error: unknown): HubError {
  if (error instanceof HubError) return error
  const text = describe(error)
  // RE2 refused a pattern: the syntax, or the memory needed.
  if (/^Invalid Input Error/.test(text)) {
    return new HubError(
      'bad_request',
      `the regular expression is not valid: ${text.replace(/^Invalid Input Error: /, '')}`,
    )
  }
  if (/Out of Memory/i.test(text)) return tooLarge('the query needs too much memory')
  return new HubError('store_unavailable', `DuckDB did not answer: ${text}`, { cause: error })
}

function readValue(value: Value | undefined, type: FieldType): FieldValue | undefined {
  return value == null ? undefined : typed([value], type)[0]
}

function readNumber(value: Value | undefined): number | undefined {
  return value == null ? undefined : Number(value)
}

function finite(value: number): number {
  if (!Number.isFinite(value)) throw new HubError('bad_request', 'a percentile is a number')
  return value
}
