import { byCodePoints, type Catalogue } from './catalogue.js'
import { passing } from './conditions.js'
import type { AnsweredSeries } from './results.js'
import type { ShowStatement } from './statement.js'

/** Most rows of an answer. */
const mostRows = 100_000

/** Answers SHOW statements. `database`: the name that the store is given. */
export async function show(
  statement: ShowStatement,
  catalogue: Catalogue,
  database: string,
): Promise<AnsweredSeries[]> {
  switch (statement.what) {
    case 'DATABASES':
      return [{ name: 'databases', columns: ['name'], rows: [[database]] }]
    case 'RETENTION POLICIES':
      return [
        {
          columns: ['name', 'duration', 'shardGroupDuration', 'replicaN', 'default'],
          rows: [['autogen', '0s', '168h0m0s', 1, true]],
        },
      ]
    case 'MEASUREMENTS':
      return showMeasurements(statement, catalogue)
    case 'FIELD KEYS':
      return showFields(statement, catalogue)
    case 'TAG KEYS':
      return showTagKeys(statement, catalogue)
    case 'TAG VALUES':
      return showTagValues(statement, catalogue)
    case 'SERIES':
      return showSeries(statement, catalogue)
  }
}

async function showMeasurements(statement: ShowStatement, catalogue: Catalogue): Promise<AnsweredSeries[]> {
  const { condition, measurement } = statement
  let names = await catalogue.measurements([])
  if (measurement) {
    const passed = await passing(catalogue.reader, measurement, names)
    names = names.filter(name => passed.has(name))
  }
  if (condition) {
    const found = await catalogue.series(names, condition, { only: 'tags' })
    names = distinct(found.map(one => one.measurement))
  }
  const rows = limited(names, statement).map(name => [name])
  return rows.length > 0 ? [{ name: 'measurements', columns: ['name'], rows }] : []
}

async function showFields(statement: ShowStatement, catalogue: Catalogue): Promise<AnsweredSeries[]> {
  const measurements = await catalogue.measurements(statement.sources)
  const found = await catalogue.series(measurements, undefined, { only: 'field' })
  const types = { number: 'float', text: 'string', boolean: 'boolean' } as const
  return measurements.flatMap(name => {
    const ofName = found.filter(({ measurement }) => measurement === name)
    const keys = distinct(ofName.map(({ field, type }) => JSON.stringify([field, types[type]])))
    return listed(
      name,
      ['fieldKey', 'fieldType'],
      limited(keys, statement).map(key => JSON.parse(key)),
    )
  })
}

async function showTagKeys(statement: ShowStatement, catalogue: Catalogue): Promise<AnsweredSeries[]> {
  const measurements = await catalogue.measurements(statement.sources)
  const found = await catalogue.series(measurements, statement.condition, { only: 'tags' })
  return measurements.flatMap(name => {
    const ofName = found.filter(({ measurement }) => measurement === name)
    const keys = distinct(ofName.flatMap(({ tags }) => tags.map(([key]) => key)))
    return listed(
      name,
      ['tagKey'],
      limited(keys, statement).map(key => [key]),
    )
  })
}

async function showTagValues(statement: ShowStatement, catalogue: Catalogue): Promise<AnsweredSeries[]> {
  const measurements = await catalogue.measurements(statement.sources)
  const found = await catalogue.series(measurements, statement.condition, { only: 'tags' })
  const names = distinct(found.flatMap(({ tags }) => tags.map(([key]) => key)))
  const wanted = new Set<string>()
  for (const test of statement.keys) for (const key of await passing(catalogue.reader, test, names)) wanted.add(key)
  return measurements.flatMap(name => {
    const pairs = found
      .filter(({ measurement }) => measurement === name)
      .flatMap(({ tags }) => tags.filter(([key]) => wanted.has(key)))
    const sorted = [...new Map(pairs.map(pair => [JSON.stringify(pair), pair])).values()].sort(
      ([a, one], [b, other]) => byCodePoints(a, b) || byCodePoints(one, other),
    )
    return listed(name, ['key', 'value'], limited(sorted, statement))
  })
}

async function showSeries(statement: ShowStatement, catalogue: Catalogue): Promise<AnsweredSeries[]> {
  const measurements = await catalogue.measurements(statement.sources)
  const found = await catalogue.series(measurements, statement.condition, { only: 'tags' })
  const keys = distinct(
    found.map(({ measurement, tags }) => {
      const pairs = tags.map(([name, value]) => `,${escaped(name, /[,= ]/g)}=${escaped(value, /[,= ]/g)}`)
      return escaped(measurement, /[, ]/g) + pairs.join('')
    }),
  )
  const rows = limited(keys, statement).map(key => [key])
  return rows.length > 0 ? [{ columns: ['key'], rows }] : []
}

function escaped(text: string, special: RegExp): string {
  return text.replace(special, '\\$&')
}

function listed(name: string, columns: readonly string[], rows: AnsweredSeries['rows']): AnsweredSeries[] {
  return rows.length > 0 ? [{ name, columns, rows }] : []
}

function distinct(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort(byCodePoints)
}

function limited<T>(rows: readonly T[], { limit = mostRows, offset }: ShowStatement): readonly T[] {
  return rows.slice(offset, offset + limit)
}
