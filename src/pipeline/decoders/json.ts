import { readFlat } from './flat.js'
import { type Sample, Undecodable } from './sample.js'
import { looksLikeSenml, readSenml } from './senml.js'
import { looksLikeTelegraf, readTelegraf } from './telegraf.js'
import type { Tree } from './tree.js'
import { type JsonLimits, LongInteger, readTree, type TreeOptions, tooDeep, tooManyFields } from './tree-reader.js'

/**
 * Decodes JSON, or lines of JSON, in which also `nan`, `inf`, `undefined` and `None` may stand for a value that is absent. Whole numbers
 * of more digits than a float holds are texts of their digits.
 */
export function decodeJson(text: string, options: ReadOptions): Sample[] {
  const tree = parseLines(text, options.json)
  if (looksLikeSenml(tree)) return readSenml(tree as Tree, options.receivedAt, options.json)
  if (looksLikeTelegraf(tree)) return readTelegraf(tree)
  const flat = readFlat(tree, options)
  if (flat) return [flat]
  try {
    return readTree(tree, text.length, { ...options, isExact: false, parseInner: innerParser(options.json) })
  } catch (error) {
    if (error !== LongInteger) throw error
    const exact = parseLines(quoteLongIntegers(text), options.json)
    return readTree(exact, text.length, { ...options, isExact: true, parseInner: innerParser(options.json) })
  }
}

/** Options without what the format of the payload decides. */
export type ReadOptions = Omit<TreeOptions, 'isExact' | 'parseInner'>

/** Returns what parses JSON within a text of JSON. */
export function innerParser(limits: JsonLimits): TreeOptions['parseInner'] {
  return text => {
    try {
      return parseJson(quoteLongIntegers(text), limits) as object
    } catch (error) {
      if (error instanceof Undecodable) return undefined
      throw error
    }
  }
}

/** Parses JSON, or an array of the objects where each line is one. */
function parseLines(text: string, limits: JsonLimits): unknown {
  try {
    return parseJson(text, limits)
  } catch (error) {
    if (!(error instanceof Undecodable) || !text.includes('\n')) throw error
    // No regular expression here: one for blanks with a line's end between them takes quadratic time.
    const lines = text
      .split('\n')
      .map(line => line.trim())
      .filter(line => line !== '')
    if (lines.length < 2 || !lines.every(line => line.startsWith('{') && line.endsWith('}'))) throw error
    return lines.map(line => parseJson(line, limits))
  }
}

/** Parses JSON, also with words for absent numbers. Throws {@link Undecodable}. */
export function parseJson(text: string, limits: Pick<JsonLimits, 'depth' | 'fields'>): unknown {
  if (text.length > worthScanning) refuseHuge(text, limits)
  try {
    return JSON.parse(text)
  } catch (error) {
    const repaired = nullWords(text)
    if (repaired !== undefined) {
      try {
        return JSON.parse(repaired)
      } catch {
        // The first error names the place in the text as it was sent.
      }
    }
    throw new Undecodable('bad_json', `not valid JSON: ${(error as Error).message}`)
  }
}

const absentNumber =
  /(?<![\w.])[+-]?(?:nan(?:\((?:ind|snan|0x[\da-f]+)\))?|inf(?:inity)?|1\.#(?:q?nan|ind|inf)0*|undefined|none)(?![\w.])/gi

/** Replaces words for absent numbers outside of strings by `null`. Undefined when there are none. */
function nullWords(text: string): string | undefined {
  const replaced = outsideStrings(text, part => part.replace(absentNumber, 'null'))
  return replaced === text ? undefined : replaced
}

const longInteger = /(?<![\w.+-])-?\d{16,}(?![\d.eE])/g

function quoteLongIntegers(text: string): string {
  return outsideStrings(text, part =>
    part.replace(longInteger, found => (Number.isSafeInteger(Number(found)) ? found : `"${found}"`)),
  )
}

/** Replaces what is between the strings of a JSON text. */
function outsideStrings(text: string, replace: (part: string) => string): string {
  let replaced = ''
  let from = 0
  for (let quote = text.indexOf('"'); quote >= 0; quote = text.indexOf('"', from)) {
    const end = endOfString(text, quote) + 1
    replaced += replace(text.slice(from, quote)) + text.slice(quote, end)
    from = end
  }
  return replaced + replace(text.slice(from))
}

/** Shorter payloads take no time worth saving. */
const worthScanning = 65_536

/**
 * Refuses a payload with far too much before parsing: an object of a million names takes seconds. Members that are null
 * count here. The elements of an array may be of any number.
 */
function refuseHuge(text: string, { depth, fields }: Pick<JsonLimits, 'depth' | 'fields'>): void {
  /** Commas so far, of each object and array that is open; -1 for an array. */
  const open: number[] = []
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (char === '"') i = endOfString(text, i)
    else if (char === '[' || char === '{') {
      open.push(char === '[' ? -1 : 0)
      if (open.length > depth + 1) throw tooDeep(depth)
    } else if (char === ']' || char === '}') open.pop()
    else if (char === ',' && (open.at(-1) ?? -1) >= 0) {
      const commas = (open.pop() as number) + 1
      if (commas >= fields) throw tooManyFields(fields)
      open.push(commas)
    }
  }
}

/**
 * Returns the position of the quote that ends the string which begins at `start`; the end of the text when there is
 * none.
 */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0
    while (text[at - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return at
  }
  return text.length
}
