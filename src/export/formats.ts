import type { FieldValue, SeriesId } from '../model.js'
import { encodeKey, encodeSeries, quoteText } from '../store/line-protocol.js'
import type { RowChunk, RowSeries } from '../store/store.js'

/*
 * The texts of exported rows. Each is read back by `telehub import` to the same times, types and values.
 *
 *   csv     time,measurement,tags,field,type,value    RFC 4180, lines end in \r\n; tags are a JSON object
 *   jsonl   {"time":…,"measurement":…,"tags":{…},"field":…,"value":…}
 *   line    InfluxDB's line protocol, times in nanoseconds
 */

export const textFormats = ['csv', 'jsonl', 'line'] as const
export type TextFormat = (typeof textFormats)[number]

/** Makes texts of rows. */
export interface RowFormat {
  /** Beginning of the file. */
  readonly head: string
  /** Returns the lines of the rows. */
  lines(chunk: RowChunk, series: readonly RowSeries[]): string
}

/** Returns the writer of a format: one for each export, as names of series are remembered. */
export function rowFormat(format: TextFormat): RowFormat {
  return { csv: () => new CsvFormat(), jsonl: () => new JsonFormat(), line: () => new LineFormat() }[format]()
}

/** Texts by the position of the series. */
class Beginnings {
  readonly #texts: string[] = []
  readonly #make: (series: RowSeries) => string

  constructor(make: (series: RowSeries) => string) {
    this.#make = make
  }

  at(position: number, series: readonly RowSeries[]): string {
    const known = this.#texts[position]
    if (known !== undefined) return known
    const text = this.#make(series[position] as RowSeries)
    this.#texts[position] = text
    return text
  }
}

class CsvFormat implements RowFormat {
  readonly head = 'time,measurement,tags,field,type,value\r\n'
  readonly #names = new Beginnings(
    ({ measurement, tags, field, type }) => `,${cell(measurement)},${quoted(tagsJson(tags))},${cell(field)},${type},`,
  )

  lines({ series, times, values }: RowChunk, all: readonly RowSeries[]): string {
    let text = ''
    for (const [i, position] of series.entries()) {
      const value = values[i] as FieldValue
      const shown = typeof value === 'string' ? quoted(harmless(value)) : numberOrFlag(value)
      text += `${instant(times[i] as number)}${this.#names.at(position, all)}${shown}\r\n`
    }
    return text
  }
}

class JsonFormat implements RowFormat {
  readonly head = ''
  readonly #names = new Beginnings(
    ({ measurement, tags, field }) =>
      `","measurement":${JSON.stringify(measurement)},"tags":${tagsJson(tags)},"field":${JSON.stringify(field)},"value":`,
  )

  lines({ series, times, values }: RowChunk, all: readonly RowSeries[]): string {
    let text = ''
    for (const [i, position] of series.entries()) {
      const value = values[i] as FieldValue
      const shown = typeof value === 'string' ? JSON.stringify(value) : numberOrFlag(value)
      text += `{"time":"${instant(times[i] as number)}${this.#names.at(position, all)}${shown}}\n`
    }
    return text
  }
}

class LineFormat implements RowFormat {
  readonly head = ''
  readonly #names = new Beginnings(series => {
    const point = { ...series, fields: [], time: 0 }
    return `${encodeSeries(point)} ${encodeKey(series.field)}=`
  })

  lines({ series, times, values }: RowChunk, all: readonly RowSeries[]): string {
    let text = ''
    for (const [i, position] of series.entries()) {
      const value = values[i] as FieldValue
      const shown = typeof value === 'string' ? quoteText(value) : numberOrFlag(value)
      const time = times[i] as number
      text += `${this.#names.at(position, all)}${shown} ${time === 0 ? '0' : `${time}000`}\n`
    }
    return text
  }
}

/** Numbers in the shortest text that is read back as the same number: `-0` has a sign, too. */
function numberOrFlag(value: number | boolean): string {
  return Object.is(value, -0) ? '-0' : String(value)
}

/** Minute whose text was made last, as rows come in order of time. */
let knownMinute = Number.NaN
let minuteText = ''

/** Returns a time in RFC 3339 with microseconds; years before 0 and after 9999 as ECMAScript writes them. */
export function instant(time: number): string {
  const minute = Math.floor(time / 60_000_000)
  if (minute !== knownMinute) {
    minuteText = new Date(minute * 60_000).toISOString().slice(0, -7)
    knownMinute = minute
  }
  const rest = time - minute * 60_000_000
  const micros = String(rest).padStart(8, '0')
  return `${minuteText}${micros.slice(0, 2)}.${micros.slice(2)}Z`
}

/** Returns tags as a JSON object in the order of their names. Written by hand, as a tag may be called __proto__. */
function tagsJson(tags: SeriesId['tags']): string {
  return `{${tags.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`
}

/**
 * Puts an apostrophe before a text that a spreadsheet would take for a formula, so that what a device sends is not
 * executed on the machine of the reader (OWASP, CSV injection). Texts that begin so already get one more: reading
 * removes one, so every text comes back unchanged.
 */
function harmless(text: string): string {
  return /^'*[=+\-@\t\r\n|%]/.test(text) ? `'${text}` : text
}

/** Reverses {@link harmless}. */
export function unharmed(text: string): string {
  return /^'+[=+\-@\t\r\n|%]/.test(text) ? text.slice(1) : text
}

function cell(text: string): string {
  const safe = harmless(text)
  return /[",\r\n]|^\s|\s$/.test(safe) ? quoted(safe) : safe
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`
}
