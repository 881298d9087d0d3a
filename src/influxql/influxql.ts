import type { SeriesReader } from '../store/store.js'
import { Catalogue, type MayRead } from './catalogue.js'
import { type Epoch, epochs } from './moments.js'
import { type BoundValues, parseStatements } from './parser.js'
import { seriesJson } from './results.js'
import { faultOfStatement, select } from './select.js'
import { show } from './show.js'
import { type QueryStatement, SyntaxFault } from './statement.js'

/*
 * The part of InfluxQL that Grafana's query builder and the clients of InfluxDB 1.x use to read:
 *
 *     text ─ lexer, parser ─► statements ─ catalogue: which series, by names, tags and rights ─► reads of the store
 *          ─ evaluation: fill, functions of sequences, arithmetic ─► rows ─ results ─► JSON
 */

/** The parameters of `/query`. */
export interface InfluxQuestion {
  readonly q: string
  /** The database for statements that name none. */
  readonly db?: string | undefined
  readonly epoch?: string | undefined
  /** Values for the `$names` of the query, as JSON. */
  readonly params?: string | undefined
}

/** The one database, and the retention policy that it says to have. */
export const database = 'telehub'

export interface InfluxAnswer {
  readonly status: 200 | 400
  /** The body, in the form of InfluxDB 1.x. */
  readonly json: string
}

/**
 * Answers a request to `/query`. `now`: microseconds since the epoch. Rejects with failures that are not of the
 * statements, such as `store_unavailable`.
 */
export async function answerInfluxQl(
  { q, db, epoch, params }: InfluxQuestion,
  { reader, mayRead, now }: { readonly reader: SeriesReader; readonly mayRead: MayRead; readonly now: number },
): Promise<InfluxAnswer> {
  const nanoseconds = BigInt(Math.round(now)) * 1_000n
  let statements: readonly QueryStatement[]
  try {
    statements = parseStatements(q, nanoseconds, boundOf(params))
    if (statements.length === 0) throw new SyntaxFault('missing required parameter "q"')
  } catch (error) {
    if (!(error instanceof SyntaxFault)) throw error
    return { status: 400, json: JSON.stringify({ error: error.message }) }
  }
  const unit = epochs.find(one => one === epoch)
  const catalogue = new Catalogue(reader, mayRead)
  const results: string[] = []
  let hasFailed = false
  for (const [id, statement] of statements.entries()) {
    const answer = hasFailed
      ? { error: 'not executed' }
      : await answerStatement(statement, { catalogue, db, unit, now: nanoseconds })
    if ('error' in answer) hasFailed = true
    const rest =
      'error' in answer ? `,"error":${JSON.stringify(answer.error)}` : answer.series && `,"series":[${answer.series}]`
    results.push(`{"statement_id":${id}${rest}}`)
  }
  return { status: 200, json: `{"results":[${results.join(',')}]}\n` }
}

interface Asking {
  readonly catalogue: Catalogue
  readonly db: string | undefined
  readonly unit: Epoch | undefined
  /** Nanoseconds since the epoch. */
  readonly now: bigint
}

async function answerStatement(
  statement: QueryStatement,
  { catalogue, db, unit, now }: Asking,
): Promise<{ readonly error: string } | { readonly series: string }> {
  const isNeeded = statement.kind === 'select' || statement.what !== 'DATABASES'
  const named = statement.database ?? db
  if (isNeeded && !named) return { error: 'database name required' }
  if (isNeeded && named !== database) return { error: `database not found: ${named}; the hub has one, ${database}` }
  try {
    const found =
      statement.kind === 'select' ? await select(statement, catalogue, now) : await show(statement, catalogue, database)
    const series = seriesJson(found, unit)
    return series === undefined ? { error: 'the answer is too long; select less' } : { series }
  } catch (error) {
    const fault = faultOfStatement(error)
    if (fault === undefined) throw error
    return { error: fault }
  }
}

function boundOf(params: string | undefined): BoundValues {
  if (params === undefined || params === '') return {}
  try {
    const given: unknown = JSON.parse(params)
    if (typeof given === 'object' && given !== null && !Array.isArray(given)) {
      // Without a prototype: a name such as constructor is bound to nothing.
      return Object.assign(Object.create(null), given) as BoundValues
    }
  } catch {
    // The same sentence as for other JSON.
  }
  throw new SyntaxFault('error parsing query parameters: params is not a JSON object')
}
