import { InfluxDB } from 'influx'
import type { FieldValue } from '../model.js'
import { verdictWords } from './influx-answers.js'
import type { PointRefusal } from './influx-batch.js'
import { DatabaseMissing, type HttpAnswer, type InfluxConnection, unavailable } from './influx-connection.js'
import { InfluxPolicies, type RetentionPolicies } from './influx-policy.js'

/** Answer of `/query`, as far as read here. */
interface QueryAnswer {
  readonly results: readonly StatementResult[]
}

export interface StatementResult {
  readonly series?: readonly ResultSeries[]
  readonly error?: string
}

export interface ResultSeries {
  readonly name: string
  readonly tags?: Readonly<Record<string, string>>
  readonly values: readonly (readonly [time: number | string, value: FieldValue])[]
}

/** One kind of InfluxDB: the API of a version. All reject with `store_unavailable`. */
export interface InfluxServer {
  /** Version by the server's own word, such as `1.8.10`. */
  readonly version: string
  readonly policies: RetentionPolicies
  /** Resolves when the lines are stored, or with the refusal of some. Rejects with {@link DatabaseMissing}, too. */
  write(lines: string): Promise<PointRefusal | undefined>
  /** Resolves with one result a statement of InfluxQL. Empty when the database does not exist yet. */
  query(statements: readonly string[]): Promise<readonly StatementResult[]>
  createDatabase(): Promise<void>
}

/** Database and retention policy by which InfluxQL finds the readings. */
export interface QueryPlace {
  readonly database: string
  readonly policy?: string
}

/** InfluxQL over `/query` of 1.x and 2.x. */
export class InfluxQl {
  readonly #connection: InfluxConnection
  readonly #client: InfluxDB

  constructor(connection: InfluxConnection) {
    this.#connection = connection
    const { url, prefix, user, authorization, database, timeoutMs } = connection
    const protocol = url.protocol === 'https:' ? 'https' : 'http'
    const port = Number(url.port || { https: 443, http: 80 }[protocol])
    const headers = authorization === undefined || user ? {} : { authorization }
    this.#client = new InfluxDB({
      database,
      ...(user ? { username: user.name, password: user.password } : nobody),
      hosts: [{ host: url.hostname, port, protocol, path: prefix, options: { headers } }],
      pool: { maxRetries: 0, requestTimeout: timeoutMs, backoff: neverDisabled },
    })
  }

  async query(statements: readonly string[], place: QueryPlace): Promise<readonly StatementResult[]> {
    const { database, policy } = place
    const options = { precision: 'u', method: 'POST', database, ...(policy && { retentionPolicy: policy }) } as const
    const answer = await this.#connection.limited(
      signal => this.#client.queryRaw(statements.join('; '), { ...options, signal }) as Promise<QueryAnswer>,
    )
    return resultsOf(answer)
  }

  createDatabase(): Promise<void> {
    return this.#connection.limited(() => this.#client.createDatabase(this.#connection.database))
  }
}

/** No login: the client takes a text as a user, and replaces undefined by root. */
const nobody = { username: null, password: null } as unknown as { username: string; password: string }

/** Returns the results of an answer; empty when the database does not exist yet. */
export function resultsOf(answer: QueryAnswer): readonly StatementResult[] {
  if (!Array.isArray(answer?.results)) throw unavailable('InfluxDB did not answer: what came has no results')
  const error = answer.results.find(result => result.error)?.error
  if (error?.startsWith('database not found')) return []
  if (error) throw unavailable(`InfluxDB did not answer: ${error}`)
  return answer.results
}

/** InfluxDB 1.x, and 2.x for a user and a password. */
export class InfluxOne implements InfluxServer {
  readonly version: string
  readonly policies: RetentionPolicies
  readonly #connection: InfluxConnection
  readonly #influxQl: InfluxQl

  constructor(connection: InfluxConnection, version: string) {
    this.version = version
    this.#connection = connection
    this.#influxQl = new InfluxQl(connection)
    this.policies = new InfluxPolicies(
      statement => this.query([statement]),
      () => `"${connection.database.replace(/["\\]/g, '\\$&')}"`,
    )
  }

  async write(lines: string): Promise<PointRefusal | undefined> {
    const { database } = this.#connection
    const path = `/write?db=${encodeURIComponent(database)}&precision=u`
    const answer = await this.#connection.send(path, lines)
    return refusalOf(answer, this.#connection)
  }

  query(statements: readonly string[]): Promise<readonly StatementResult[]> {
    return this.#influxQl.query(statements, { database: this.#connection.database })
  }

  createDatabase(): Promise<void> {
    return this.#influxQl.createDatabase()
  }
}

/** Returns the refusal of points in the answer to a write, undefined when all are stored. Throws for any other answer. */
export function refusalOf(answer: HttpAnswer, connection: InfluxConnection): PointRefusal | undefined {
  const { status, body } = answer
  // Only this status means stored: any web server answers 200.
  if (status === 204) return undefined
  if (status === 413) return { tooLarge: true, words: verdictWords(body) ?? (body.slice(0, 300) || 'no reason given') }
  const words = status === 400 || status === 422 ? verdictWords(body) : undefined
  // A shard that is being deleted is gone in a moment.
  if (words !== undefined && !pendingDeletion.test(words)) return { tooLarge: false, words }
  const isMissing = status === 404 && /database not found|bucket .* not found/.test(verdictWords(body) ?? body)
  if (isMissing) throw new DatabaseMissing(connection.database)
  throw connection.answered(answer)
}

/**
 * Words for a shard of a dropped database. The pattern begins at the start: further on the words may come from a
 * device.
 */
const pendingDeletion = /^(?:[\w ]+: )?(?:partial write: )?(?:engine: )?shard \d+ is pending deletion\b/

/**
 * Back-off that never disables the server: the client's pool would refuse queries for seconds after one failure. When
 * to try again is the caller's decision.
 */
const neverDisabled = {
  getDelay: () => 0,
  next: () => neverDisabled,
  reset: () => neverDisabled,
}
