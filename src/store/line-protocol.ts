import type { Fields, FieldValue, Point, Tags } from '../model.js'

/** Unit of a timestamp, as InfluxDB's `precision` names it. */
export type Precision = 'n' | 'u' | 'ms' | 's'

/** Fields whose values are whole numbers, stored as integers: with the letter that line protocol puts behind them. */
export type IntegerFields = ReadonlyMap<string, 'i' | 'u'>

/**
 * Encodes a point as a line of InfluxDB's line protocol with its time in microseconds (`precision=u`). Numbers are
 * floats, unless `integers` names their field; tags with an empty value are left out, as InfluxDB has no such thing.
 * {@link decodeStored} restores names and tag values exactly.
 */
export function encodeLine(point: Point, integers?: IntegerFields): string {
  let line = encodeSeries(point)
  let separator = ' '
  for (const [name, value] of point.fields) {
    line += `${separator}${encodeKey(name)}=${encodeValue(value)}`
    if (integers !== undefined) line += integers.get(name) ?? ''
    separator = ','
  }
  return `${line} ${point.time}\n`
}

/** Returns measurement and tags as they stand at the beginning of a line. */
export function encodeSeries({ measurement, tags }: Point): string {
  const known = Object.isFrozen(tags) ? encoded.get(tags) : undefined
  if (known?.measurement === measurement) return known.text
  let text = plain.test(measurement) ? measurement : storedMeasurement(measurement).replace(/[, ]/g, '\\$&')
  for (const [name, value] of tags) if (value !== '') text += `,${encodeKey(name)}=${encodeText(value)}`
  if (Object.isFrozen(tags)) encoded.set(tags, { measurement, text })
  return text
}

/** Encoded series by their tags. Frozen tags are shared by many points: they are encoded once. */
const encoded = new WeakMap<Tags, { readonly measurement: string; readonly text: string }>()

/** Matches a text that needs no escaping in any place. */
const plain = /^[\w./:-]+$/

/** Returns the name of a tag or field as written in a line. */
export function encodeKey(name: string): string {
  return plain.test(name) && name !== 'time' ? name : escapeText(storedKey(name))
}

function encodeText(text: string): string {
  return plain.test(text) ? text : escapeText(storedText(text))
}

/** Returns the measurement's name as InfluxDB stores it. A line that begins with # would be a comment. */
export function storedMeasurement(name: string): string {
  const stored = storedText(name)
  return stored.startsWith('#') ? `\\x23${stored.slice(1)}` : stored
}

/** Returns the name of a tag or field as stored by InfluxDB, which would drop those called `time`. */
export function storedKey(name: string): string {
  return name === 'time' ? '\\x74ime' : storedText(name)
}

/**
 * Returns a tag's value as stored by InfluxDB: control characters, and backslashes that no line can carry, as `\xHH`.
 */
export function storedText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get through
  return /[\\\x00-\x1f\x7f]/.test(text) ? text.replace(/[\x00-\x1f\x7f]|\\(?=[\\x,= "\x00-\x1f\x7f]|$)/g, hex) : text
}

/** Reverses the three functions above. */
export function decodeStored(text: string): string {
  if (!text.includes('\\x')) return text
  return text.replace(/\\x([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
}

function hex(char: string): string {
  return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
}

function escapeText(text: string): string {
  return /[,= ]/.test(text) ? text.replace(/[,= ]/g, '\\$&') : text
}

function encodeValue(value: FieldValue): string {
  return typeof value === 'string' ? quoteText(value) : String(value)
}

/** Returns a text value as written in a line. */
export function quoteText(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}

/**
 * Parses the points of a text in line protocol, in the order of the text. Tags are sorted by name, integers become
 * numbers, empty lines and comments are skipped. A line without a time gets `now` (microseconds). Throws an error that
 * names the line.
 */
export function parseLineProtocol(text: string, now: number, precision: Precision = 'n'): Point[] {
  const points: Point[] = []
  const scan = new Scanner(text)
  while (scan.skipToLine()) {
    try {
      points.push(parseLine(scan, now, precision))
    } catch (error) {
      throw new Error(`line ${scan.line}: ${(error as Error).message}`)
    }
  }
  return points
}

/** Walks over the text. `line` is the number of the current line. */
class Scanner {
  readonly #text: string
  #at = 0
  line = 1

  constructor(text: string) {
    this.#text = text
  }

  /** Returns the next character; empty at the end of the text. */
  peek(): string {
    return this.#text[this.#at] ?? ''
  }

  /** Returns whether the line is at the end; `\r\n` ends a line, too. */
  atEnd(): boolean {
    const rest = this.#text.slice(this.#at, this.#at + 2)
    return rest === '' || rest[0] === '\n' || rest === '\r' || rest === '\r\n'
  }

  take(): string {
    const char = this.peek()
    this.#at++
    if (char === '\n') this.line++
    return char
  }

  /** Skips to the first character of the next line that holds a point. Returns false when there is none. */
  skipToLine(): boolean {
    for (;;) {
      while (/\s/.test(this.peek())) this.take()
      if (this.peek() !== '#') return this.peek() !== ''
      while (this.peek() && this.peek() !== '\n') this.take()
    }
  }

  skipSpaces(): void {
    while (this.peek() === ' ' || this.peek() === '\t') this.take()
  }

  /** Reads up to one of `stops` or the end of the line. A backslash escapes the characters in `escapable`. */
  until(stops: string, escapable: string): string {
    let part = ''
    while (!this.atEnd() && !stops.includes(this.peek())) {
      const char = this.take()
      part += char === '\\' && this.peek() && escapable.includes(this.peek()) ? this.take() : char
    }
    return part
  }

  /** Reads a string in double quotes, which may hold line ends. */
  quoted(): string {
    this.take()
    let part = ''
    while (this.peek() !== '"') {
      if (!this.peek()) throw new Error('the string has no closing quote')
      const char = this.take()
      part += char === '\\' && (this.peek() === '"' || this.peek() === '\\') ? this.take() : char
    }
    this.take()
    return part
  }
}

function parseLine(scan: Scanner, fallback: number, precision: Precision): Point {
  const measurement = scan.until(', ', ', ')
  if (!measurement) throw new Error('the measurement has no name')
  const tags = parseTags(scan)
  scan.skipSpaces()
  const fields = parseFields(scan)
  scan.skipSpaces()
  const stamp = scan.until(' \t', '')
  scan.skipSpaces()
  if (!scan.atEnd()) throw new Error('there is text after the timestamp')
  return { measurement, tags, fields, time: stamp ? microseconds(stamp, precision) : fallback }
}

function parseTags(scan: Scanner): Tags {
  const tags: [string, string][] = []
  while (scan.peek() === ',') {
    scan.take()
    const name = scan.until(',= ', ',= ')
    if (!name || scan.peek() !== '=') throw new Error(`the tag '${name}' is not of the form name=value`)
    scan.take()
    const value = scan.until(',= ', ',= ')
    if (scan.peek() === '=') throw new Error(`the value of the tag '${name}' has an unescaped =`)
    if (!value) throw new Error(`the tag '${name}' has no value`)
    tags.push([name, value])
  }
  tags.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  refuseTwice('tag', tags)
  return tags
}

function parseFields(scan: Scanner): Fields {
  const fields: [string, FieldValue][] = []
  for (;;) {
    const name = scan.until(',= ', ',= ')
    if (!name && fields.length === 0 && scan.atEnd()) throw new Error('the point has no fields')
    if (!name || scan.peek() !== '=') throw new Error(`the field '${name}' is not of the form name=value`)
    scan.take()
    fields.push([name, scan.peek() === '"' ? scan.quoted() : parseValue(name, scan.until(', ', ''))])
    if (scan.peek() !== ',') break
    scan.take()
  }
  const sorted = fields.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  refuseTwice('field', sorted)
  return sorted
}

function refuseTwice(kind: string, sorted: readonly (readonly [string, FieldValue])[]): void {
  const twice = sorted.find(([name], i) => sorted[i + 1]?.[0] === name)
  if (twice) throw new Error(`the ${kind} '${twice[0]}' appears twice`)
}

function parseValue(name: string, text: string): FieldValue {
  if (/^(t|T|true|True|TRUE)$/.test(text)) return true
  if (/^(f|F|false|False|FALSE)$/.test(text)) return false
  const digits = /^([+-]?\d+)i$|^(\d+)u$|^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)$/.exec(text)
  const number = digits ? Number(digits[1] ?? digits[2] ?? digits[3]) : Number.NaN
  if (!Number.isFinite(number))
    throw new Error(`the value of the field '${name}' is not a number, boolean or "text": ${text}`)
  return number
}

function microseconds(stamp: string, precision: Precision): number {
  if (!/^-?\d{1,19}$/.test(stamp)) throw new Error(`the timestamp '${stamp}' is not a whole number`)
  const units = BigInt(stamp)
  const time =
    precision === 'n'
      ? (units - (((units % 1000n) + 1000n) % 1000n)) / 1000n
      : units * { u: 1n, ms: 1_000n, s: 1_000_000n }[precision]
  if (!Number.isSafeInteger(Number(time))) throw new Error(`the timestamp ${stamp} is out of range for its precision`)
  return Number(time)
}
