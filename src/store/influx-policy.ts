/** The default policy of a database. */
export interface DefaultPolicy {
  readonly name: string
  /** Milliseconds that points are kept; `Infinity`: for ever. */
  readonly keptMs: number
}

/** Retention policies of a server. All reject with `store_unavailable`. */
export interface RetentionPolicies {
  /** Resolves with the default policy. Undefined while there is no database. */
  usual(): Promise<DefaultPolicy | undefined>
  /** Changes how long a policy keeps points. What is older goes soon, without a way back. */
  alter(name: string, keptMs: number): Promise<void>
}

type PolicyQuestion = (statement: string) => Promise<readonly { readonly series?: readonly unknown[] }[]>

/** Retention policies over InfluxDB's 1.x API. */
export class InfluxPolicies implements RetentionPolicies {
  readonly #query: PolicyQuestion
  readonly #database: () => string

  /** @param database Returns the name of the database, quoted. */
  constructor(query: PolicyQuestion, database: () => string) {
    this.#query = query
    this.#database = database
  }

  async usual(): Promise<DefaultPolicy | undefined> {
    const [result] = await this.#query(`SHOW RETENTION POLICIES ON ${this.#database()}`)
    const [found] = (result?.series ?? []) as { readonly columns: string[]; readonly values?: unknown[][] }[]
    if (!found) return undefined
    const at = (name: string) => found.columns.indexOf(name)
    const row = found.values?.find(one => one[at('default')] === true)
    return row && { name: String(row[at('name')]), keptMs: policyMs(String(row[at('duration')])) }
  }

  async alter(name: string, keptMs: number): Promise<void> {
    const quoted = `"${name.replace(/["\\]/g, '\\$&')}"`
    const duration = keptMs === Number.POSITIVE_INFINITY ? 'INF' : `${Math.ceil(keptMs / hourMs)}h`
    await this.#query(
      `ALTER RETENTION POLICY ${quoted} ON ${this.#database()} DURATION ${duration} SHARD DURATION ${shardHours(keptMs)}h`,
    )
  }
}

const hourMs = 3_600_000

/** Returns the span of a shard, by the rule of InfluxDB. Shards go as a whole, and must not be longer. */
function shardHours(keptMs: number): number {
  if (keptMs < 48 * hourMs) return 1
  return keptMs <= 180 * 24 * hourMs ? 24 : 7 * 24
}

const unitsMs: Readonly<Record<string, number>> = { w: 6048e5, d: 864e5, h: hourMs, m: 6e4, s: 1e3, ms: 1 }

/** Milliseconds of a duration as InfluxDB shows one, such as `2160h0m0s`. `0s` is for ever. */
export function policyMs(shown: string): number {
  let ms = 0
  for (const [, number = '', unit = ''] of shown.matchAll(/(\d+)(ms|[wdhms])/g))
    ms += Number(number) * (unitsMs[unit] ?? 0)
  return ms === 0 ? Number.POSITIVE_INFINITY : ms
}
