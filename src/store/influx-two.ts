import type { PointRefusal } from './influx-batch.js'
import { DatabaseMissing, type HttpAnswer, type InfluxConnection, unavailable } from './influx-connection.js'
import type { DefaultPolicy, RetentionPolicies } from './influx-policy.js'
import { InfluxQl, type InfluxServer, type QueryPlace, refusalOf, type StatementResult } from './influx-server.js'

interface InfluxBucket {
  readonly id: string
  readonly orgID: string
  readonly name: string
  readonly retentionRules?: readonly { readonly everySeconds?: number }[]
}

interface BucketMapping {
  readonly database: string
  readonly retention_policy: string
  readonly default?: boolean
}

/**
 * InfluxDB 2.x: written by `/api/v2/write`, asked in InfluxQL by `/query`, which finds a bucket by a mapping of database
 * and retention policy (DBRP). 2.x makes one for most buckets; the hub makes the missing ones.
 */
export class InfluxTwo implements InfluxServer {
  readonly version: string
  readonly policies: RetentionPolicies = { usual: () => this.#usual(), alter: (_, keptMs) => this.#alter(keptMs) }
  readonly #connection: InfluxConnection
  readonly #influxQl: InfluxQl
  #place: QueryPlace | undefined

  constructor(connection: InfluxConnection, version: string) {
    this.version = version
    this.#connection = connection
    this.#influxQl = new InfluxQl(connection)
    if (connection.org === '') {
      throw unavailable(
        `what answers at ${connection.place} is InfluxDB ${version}, which needs the organisation of the bucket: set influx.org`,
      )
    }
  }

  async write(lines: string): Promise<PointRefusal | undefined> {
    const { org, database } = this.#connection
    const path = `/api/v2/write?org=${encodeURIComponent(org)}&bucket=${encodeURIComponent(database)}&precision=us`
    try {
      return refusalOf(await this.#connection.send(path, lines), this.#connection)
    } catch (error) {
      if (error instanceof DatabaseMissing) this.#place = undefined
      throw error
    }
  }

  async query(statements: readonly string[]): Promise<readonly StatementResult[]> {
    this.#place ??= await this.#find()
    return this.#place === undefined ? [] : this.#influxQl.query(statements, this.#place)
  }

  async createDatabase(): Promise<void> {
    const { org, database } = this.#connection
    const found = await this.#json<{ readonly orgs?: readonly { readonly id: string }[] }>(
      `/api/v2/orgs?org=${encodeURIComponent(org)}`,
    )
    const orgID = found?.orgs?.[0]?.id
    if (orgID === undefined)
      throw unavailable(`InfluxDB has no organisation '${org}': check influx.org and influx.token`)
    await this.#done(
      await this.#connection.ask('/api/v2/buckets', 'POST', { orgID, name: database, retentionRules: [] }),
    )
  }

  /** Returns database and policy that stand for the bucket. Undefined while there is no bucket. */
  async #find(): Promise<QueryPlace | undefined> {
    const { database } = this.#connection
    const bucket = await this.#bucket()
    if (!bucket) return undefined
    const { id: bucketID, orgID } = bucket
    const question = `/api/v2/dbrps?orgID=${orgID}&bucketID=${bucketID}`
    const { content = [] } = (await this.#json<{ readonly content?: readonly BucketMapping[] }>(question)) ?? {}
    const known = content.find(one => one.default) ?? content[0]
    if (known) return { database: known.database, policy: known.retention_policy }
    const made = { bucketID, orgID, database, retention_policy: 'autogen', default: true }
    await this.#done(await this.#connection.ask('/api/v2/dbrps', 'POST', made))
    return { database, policy: 'autogen' }
  }

  async #bucket(): Promise<InfluxBucket | undefined> {
    const { org, database } = this.#connection
    const question = `/api/v2/buckets?org=${encodeURIComponent(org)}&name=${encodeURIComponent(database)}`
    const found = await this.#json<{ readonly buckets?: readonly InfluxBucket[] }>(question)
    return found?.buckets?.find(({ name }) => name === database)
  }

  async #usual(): Promise<DefaultPolicy | undefined> {
    const bucket = await this.#bucket()
    if (!bucket) return undefined
    const seconds = bucket.retentionRules?.[0]?.everySeconds ?? 0
    return { name: bucket.name, keptMs: seconds === 0 ? Number.POSITIVE_INFINITY : seconds * 1_000 }
  }

  async #alter(keptMs: number): Promise<void> {
    const bucket = await this.#bucket()
    if (!bucket) return
    const everySeconds = keptMs === Number.POSITIVE_INFINITY ? 0 : Math.ceil(keptMs / 1_000)
    const change = { retentionRules: [{ type: 'expire', everySeconds }] }
    await this.#done(await this.#connection.ask(`/api/v2/buckets/${bucket.id}`, 'PATCH', change))
  }

  /** Resolves with the answer to a question; undefined when what is asked for is not there. */
  async #json<T>(path: string): Promise<T | undefined> {
    const answer = await this.#connection.ask(path)
    if (answer.status === 404) return undefined
    await this.#done(answer)
    return JSON.parse(answer.body) as T
  }

  async #done(answer: HttpAnswer): Promise<void> {
    if (answer.status < 200 || answer.status >= 300) throw this.#connection.answered(answer)
  }
}
