import { HubError } from '../errors.js'
import type { PointRefusal } from './influx-batch.js'
import type { InfluxConnection } from './influx-connection.js'
import type { RetentionPolicies } from './influx-policy.js'
import { type InfluxServer, refusalOf, resultsOf, type StatementResult } from './influx-server.js'

/** Questions that are under way at a time. */
const together = 8

/**
 * InfluxDB 3 (Core, Enterprise): written by `/api/v3/write_lp`, asked in InfluxQL by `/query`, one statement a request.
 * The first write makes a database.
 */
export class InfluxThree implements InfluxServer {
  readonly version: string
  readonly policies: RetentionPolicies
  readonly #connection: InfluxConnection

  constructor(connection: InfluxConnection, version: string) {
    this.version = version
    this.#connection = connection
    const sentence =
      `InfluxDB ${version} deletes by the retention period that its database was made with, which the hub does not change: ` +
      `influxdb3 update database --retention-period 90d ${connection.database}`
    const refuse = async (): Promise<never> => {
      throw new HubError('bad_request', sentence)
    }
    this.policies = { usual: refuse, alter: refuse }
  }

  async write(lines: string): Promise<PointRefusal | undefined> {
    const { database } = this.#connection
    const options = 'precision=microsecond&accept_partial=true'
    const answer = await this.#connection.send(`/api/v3/write_lp?db=${encodeURIComponent(database)}&${options}`, lines)
    const refusal = refusalOf(answer, this.#connection)
    return refusal && { ...refusal, ...linesOf(answer.body) }
  }

  async query(statements: readonly string[]): Promise<readonly StatementResult[]> {
    const results: StatementResult[] = []
    for (let i = 0; i < statements.length; i += together)
      results.push(...(await Promise.all(statements.slice(i, i + together).map(one => this.#ask(one)))).flat())
    return results
  }

  async #ask(statement: string): Promise<readonly StatementResult[]> {
    const { database } = this.#connection
    const path = `/query?db=${encodeURIComponent(database)}&epoch=u&q=${encodeURIComponent(statement)}`
    const answer = await this.#connection.ask(path)
    // The database comes into being with the first write.
    if (answer.status === 404 && /database.*not found|not found.*database/i.test(answer.body)) return []
    if (answer.status !== 200) throw this.#connection.answered(answer)
    return resultsOf(JSON.parse(answer.body) as Parameters<typeof resultsOf>[0])
  }

  /** Does nothing: the first write makes the database. */
  async createDatabase(): Promise<void> {}
}

/** Returns the refused lines that an answer names: `{"data": [{"line_number": 2, "error_message": "…"}]}`. */
function linesOf(body: string): Pick<PointRefusal, 'lines'> {
  const { data } = JSON.parse(body) as { readonly data?: unknown }
  if (!Array.isArray(data)) return {}
  const lines = data.flatMap((one: { readonly line_number?: unknown; readonly error_message?: unknown } | null) =>
    typeof one?.line_number === 'number' && typeof one.error_message === 'string'
      ? [{ line: one.line_number, words: one.error_message }]
      : [],
  )
  return lines.length > 0 && lines.length === data.length ? { lines } : {}
}
