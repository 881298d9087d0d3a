import type { FieldValue } from '../model.js'
import { type Epoch, momentJson } from './moments.js'

/** One series of an answer. Times are big integers, in nanoseconds since the epoch. */
export interface AnsweredSeries {
  readonly name?: string
  readonly tags?: readonly (readonly [name: string, value: string])[]
  readonly columns: readonly string[]
  readonly rows: readonly (readonly Cell[])[]
}

export type Cell = FieldValue | bigint | null

/** Maximum length of an answer, in characters. */
const longest = 100_000_000

/** Returns the JSON of the series of a statement. Undefined when the answer would be too long. */
export function seriesJson(series: readonly AnsweredSeries[], epoch: Epoch | undefined): string | undefined {
  const parts: string[] = []
  let length = 0
  for (const { name, tags, columns, rows } of series) {
    const values: string[] = []
    for (const row of rows) {
      const cells = row.map(cell => (typeof cell === 'bigint' ? momentJson(cell, epoch) : JSON.stringify(cell)))
      const text = `[${cells.join(',')}]`
      length += text.length
      if (length > longest) return undefined
      values.push(text)
    }
    const members = [
      ...(name !== undefined ? [`"name":${JSON.stringify(name)}`] : []),
      ...(tags ? [`"tags":{${tags.map(pair => pair.map(text => JSON.stringify(text)).join(':')).join(',')}}`] : []),
      `"columns":${JSON.stringify(columns)}`,
      `"values":[${values.join(',')}]`,
    ]
    parts.push(`{${members.join(',')}}`)
  }
  return parts.join(',')
}
