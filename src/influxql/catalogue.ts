import type { SeriesId, Tags } from '../model.js'
import type { NamesQuery, NumberedSeries, SeriesReader } from '../store/store.js'
import { fulfilling, neededTags, passing, tagTests } from './conditions.js'
import { type Condition, type Source, StatementError } from './statement.js'

/** Decides which series the user may read. Undefined: all. */
export type MayRead = ((series: SeriesId) => boolean) | undefined

/** Maximum number of series that one statement looks at. */
const mostSeries = 100_000

/** The names of the series of a store, as far as a user may read them. */
export class Catalogue {
  readonly reader: SeriesReader
  readonly #mayRead: MayRead

  constructor(reader: SeriesReader, mayRead: MayRead) {
    this.reader = reader
    this.#mayRead = mayRead
  }

  /** Resolves with the names of the measurements that sources select, in order. Without sources: all of them. */
  async measurements(sources: readonly Source[]): Promise<readonly string[]> {
    const names = sources.flatMap(source => ('name' in source ? [source.name] : []))
    const patterns = sources.flatMap(source => ('pattern' in source ? [source.pattern] : []))
    const isNamed = sources.length > 0 && patterns.length === 0
    const found = await this.#names({ measurements: isNamed ? names : undefined, only: 'measurement' })
    const all = [...new Set(found.map(({ measurement }) => measurement))]
    if (sources.length === 0 || isNamed) return all.sort(byCodePoints)
    const matched = new Set(names)
    for (const value of patterns) {
      for (const name of await passing(this.reader, { operator: '=~', value }, all)) matched.add(name)
    }
    return all.filter(name => matched.has(name)).sort(byCodePoints)
  }

  /**
   * Resolves with the series of measurements that fulfil a condition. `only` leaves out names that do not matter. Throws
   * when the condition is on a field.
   */
  async series(
    measurements: readonly string[],
    condition: Condition | undefined,
    { fields, only }: Pick<NamesQuery, 'fields' | 'only'> = {},
  ): Promise<readonly NumberedSeries[]> {
    if (measurements.length === 0) return []
    await this.#checkTags(measurements, condition)
    const tags: Tags = neededTags(condition)
    const isWhole = only === 'tags' || tagTests(condition).length === 0
    const found = await this.#names({ measurements, fields, tags, only: isWhole ? only : undefined })
    return fulfilling(this.reader, condition, found)
  }

  async #checkTags(measurements: readonly string[], condition: Condition | undefined): Promise<void> {
    const tests = tagTests(condition)
    const isField = (name: string): never => {
      throw new StatementError(`${name} is a field: conditions on values of fields are not supported`)
    }
    for (const { tag } of tests) if (tag.of === 'field') isField(tag.name)
    const fields = tests.filter(({ tag }) => tag.of === undefined).map(({ tag }) => tag.name)
    const clashing = await this.#names({ measurements, fields, only: 'field' })
    if (clashing[0]) isField(clashing[0].field)
  }

  async #names(query: Omit<NamesQuery, 'limit'>): Promise<readonly NumberedSeries[]> {
    const mayRead = this.#mayRead
    const asked = mayRead ? { ...query, only: undefined } : query
    const found = await this.reader.names({ ...asked, limit: mostSeries + 1 })
    if (found.length > mostSeries) {
      throw new StatementError(`the statement looks at more than ${mostSeries} series; name a measurement, and tags`)
    }
    if (!mayRead) return found
    const readable: NumberedSeries[] = []
    for (const [i, series] of found.entries()) {
      // Other work of this thread must not wait for all of them.
      if (i % atOnce === atOnce - 1) await new Promise(resolve => setImmediate(resolve))
      if (mayRead(series)) readable.push(series)
    }
    return readable
  }
}

/** Series examined before other work of this thread gets a turn. */
const atOnce = 1_000

/** Orders texts as Go does, by their bytes in UTF-8. */
export function byCodePoints(a: string, b: string): number {
  if (a === b) return 0
  for (let i = 0; i < a.length && i < b.length; i++) {
    const [one, other] = [a.charCodeAt(i), b.charCodeAt(i)]
    if (one === other) continue
    // Halves of a surrogate pair stand for characters above all others.
    return rank(one) - rank(other)
  }
  return a.length - b.length
}

function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit
}
