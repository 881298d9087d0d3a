import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import type { FieldValue } from '../model.js'
import { decodeStored } from '../store/line-protocol.js'
import type { FileRow, NamedRow } from './rows.js'

/* The rows of a database of InfluxDB 1.x, over its query API: measurement by measurement, in chunks of 10,000 rows. */

const chunkRows = 10_000

interface Chunk {
  readonly results?: readonly {
    readonly series?: readonly {
      readonly name: string
      readonly tags?: Readonly<Record<string, string>>
      readonly columns: readonly string[]
      readonly values: readonly (readonly (FieldValue | null)[])[]
    }[]
    readonly error?: string
  }[]
  readonly error?: string
}

/** Whether a file is the address of a database: `http://user:pass@host:8086/database`. */
export function isInfluxUrl(file: string): boolean {
  return /^https?:\/\/[^/]+\/[^/?]+$/.test(file)
}

/** A database that rows are read from. */
class InfluxDatabase {
  readonly #url: string
  readonly #headers: Readonly<Record<string, string>>
  readonly #database: string

  constructor(address: string) {
    const url = new URL(address)
    this.#database = decodeURIComponent(url.pathname.slice(1))
    this.#url = `${url.origin}/query`
    const login = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
    this.#headers = url.username ? { authorization: `Basic ${Buffer.from(login).toString('base64')}` } : {}
  }

  /** Asks, and yields the answer in chunks. Throws an error for people. */
  async *ask(q: string): AsyncGenerator<Chunk> {
    const form = { db: this.#database, q, epoch: 'u', chunked: 'true', chunk_size: String(chunkRows) }
    const response = await fetch(this.#url, {
      method: 'POST',
      headers: this.#headers,
      body: new URLSearchParams(form),
      redirect: 'manual',
    })
    if (!response.ok || !response.body)
      throw new Error(`InfluxDB answers ${response.status}: ${(await response.text()).slice(0, 300)}`)
    for await (const line of createInterface({ input: Readable.fromWeb(response.body as never) })) {
      if (line === '') continue
      const chunk = JSON.parse(line) as Chunk
      const error = chunk.error ?? chunk.results?.find(result => result.error)?.error
      if (error !== undefined) throw new Error(`InfluxDB answers: ${error}`)
      yield chunk
    }
  }

  async measurements(): Promise<readonly string[]> {
    const names: string[] = []
    for await (const { results } of this.ask('SHOW MEASUREMENTS'))
      for (const { values } of results?.[0]?.series ?? []) names.push(...values.map(([name]) => String(name)))
    return names.sort()
  }
}

/**
 * Reads the rows of a database. A position is `measurement:row`, counted from 0: reading goes on behind as many rows of
 * that measurement, in the order in which InfluxDB answers.
 */
export async function* readInflux(address: string, from: string): AsyncGenerator<readonly FileRow[]> {
  const database = new InfluxDatabase(address)
  const [first = 0, skipped = 0] = from === '' ? [] : from.split(':').map(Number)
  for (const [at, name] of (await database.measurements()).entries()) {
    if (at < first) continue
    const left = at === first ? skipped : 0
    let row = 0
    const quoted = name.replace(/["\\]/g, '\\$&')
    for await (const { results } of database.ask(`SELECT *::field FROM "${quoted}" GROUP BY *`)) {
      const rows: FileRow[] = []
      for (const series of results?.[0]?.series ?? []) {
        const tags = Object.entries(series.tags ?? {})
          .filter(([, value]) => value !== '')
          .map(([tag, value]) => [decodeStored(tag), decodeStored(value)] as const)
        const measurement = decodeStored(series.name)
        const names = series.columns.map((field, i) =>
          i === 0 ? undefined : { measurement, tags, field: decodeStored(field) },
        )
        for (const values of series.values) {
          if (++row <= left) continue
          const time = Number(values[0])
          const named = names.flatMap((of, i): NamedRow[] => {
            const value = values[i]
            return !of || value === null || value === undefined ? [] : [{ of, time, value }]
          })
          rows.push({ rows: named, line: row, place: at, step: row })
        }
      }
      if (rows.length > 0) yield rows
    }
  }
}
