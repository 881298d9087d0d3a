import type { FieldValue, Tags } from '../model.js'

/* Rows as the readers of files give them, and what several readers use. */

/** The name of a series. Readers give rows of one series the same object, which is quicker to find than its text. */
export interface SeriesName {
  readonly measurement: string
  readonly tags: Tags
  readonly field: string
}

/** A row that names a series. */
export interface NamedRow {
  readonly of: SeriesName
  /** Microseconds since the epoch. */
  readonly time: number
  readonly value: FieldValue
}

/** A row that a mapping is to read. */
export interface MappedRow {
  readonly topic: string
  /** JSON. */
  readonly payload: string
}

export interface FileRow {
  /** A record of line protocol may hold several. */
  readonly rows: readonly (NamedRow | MappedRow)[]
  /** Why the record holds none. */
  readonly mistake?: string
  readonly line: number
  /** Place at which reading can begin again behind this record: two numbers that the reader understands, for {@link positionOf}. */
  readonly place: number
  readonly step: number
  /** Share of the file that the reader has read, from 0 to 1. Undefined: `place` is a byte of the file. */
  readonly share?: number
}

/** Returns the position behind a row, as readers take one. */
export function positionOf({ place, step }: Pick<FileRow, 'place' | 'step'>): string {
  return `${place}:${step}`
}

/** Sentence for rows that name no series, when nothing says how to read them. */
export const needsTopic =
  'the rows name no series: give a mapping rule with --map, or a topic with --topic, such as home/{room}/climate'

/** Values by text: names come again and again. */
export class NameMemory<Value> {
  readonly #known = new Map<string, Value>()
  readonly #make: (text: string) => Value

  constructor(make: (text: string) => Value) {
    this.#make = make
  }

  of(text: string): Value {
    const known = this.#known.get(text)
    if (known !== undefined) return known
    if (this.#known.size >= 100_000) this.#known.clear()
    const value = this.#make(text)
    this.#known.set(text, value)
    return value
  }
}

/** A topic with columns in braces. */
export class TopicTemplate {
  readonly text: string
  readonly isFixed: boolean
  readonly #names: readonly string[]

  constructor(text: string) {
    this.text = text
    this.#names = [...text.matchAll(/\{([^}]+)\}/g)].map(([, name = '']) => name)
    this.isFixed = this.#names.length === 0
    if (/[+#]|\.\.\.\}/.test(text.replace(/\{[^}]+\.\.\.\}/g, '…}')) || text.includes('...}'))
      throw new Error(`the topic ${text} has wildcards: give one with --topic, with columns in braces`)
  }

  /** Whether the topic names a column. */
  names(column: string): boolean {
    return this.#names.includes(column)
  }

  check(columns: readonly string[]): void {
    const missing = this.#names.find(name => !columns.includes(name))
    if (missing !== undefined) throw new Error(`the topic names {${missing}}; the columns are ${columns.join(', ')}`)
  }

  fill(row: Readonly<Record<string, unknown>>): { readonly topic: string; readonly used: ReadonlySet<string> } {
    const topic = this.text.replace(/\{([^}]+)\}/g, (_, name: string) => {
      const value = row[name]
      if (value === undefined || value === '' || typeof value === 'object')
        throw new Error(`the row has no ${name}, which the topic needs`)
      // One level of a topic, whatever the value is.
      return String(value).replace(
        /[%/+#\0]/g,
        char => `%${char.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`,
      )
    })
    return { topic, used: new Set(this.#names) }
  }
}

/** Returns the tags of a JSON object. Throws an error for people. */
export function tagsOf(given: unknown): Tags {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw new Error('tags are no JSON object')
  const tags = Object.entries(given)
  if (!tags.every(([, value]) => typeof value === 'string')) throw new Error('the value of a tag is no text')
  return tags as [string, string][]
}

/** Returns a cell as JSON: numbers and booleans as such, everything else as a text. */
export function jsonOf(cell: string): string {
  return /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false)$/.test(cell) ? cell : JSON.stringify(cell)
}
