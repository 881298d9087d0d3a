import { isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'

/** A YAML text as values, and where each of them stands. */
export interface YamlText {
  readonly value: unknown
  /** Mistakes of the YAML itself, each with the line. */
  readonly mistakes: readonly { readonly line: number; readonly sentence: string }[]
  /** Returns the line of a value by the names on the way to it, or of the nearest one above that is there. */
  lineOf(path: readonly (string | number)[]): number
}

/** Reads a YAML text. A name that is given twice is a mistake, and so are aliases that would grow without limit. */
export function readYamlText(text: string): YamlText {
  const lines = new LineCounter()
  // The parser would compare each name of a map with all others.
  let document: ReturnType<typeof parseDocument>
  try {
    document = parseDocument(text, { uniqueKeys: false, lineCounter: lines, prettyErrors: false, logLevel: 'error' })
  } catch (error) {
    // Lists in lists by the thousand overflow the parser's stack.
    const why = error instanceof RangeError ? 'it is nested too deeply' : (error as Error).message
    return { value: undefined, mistakes: [{ line: 1, sentence: why }], lineOf: () => 1 }
  }
  const mistakes = document.errors.map(({ message, pos }) => ({
    line: lines.linePos(pos[0]).line,
    sentence: message.split('\n')[0] ?? message,
  }))
  for (const offset of repeatedNames(document.contents))
    mistakes.push({ line: lines.linePos(offset).line, sentence: 'a name is given twice; names must be unique' })
  let value: unknown
  if (mistakes.length === 0) {
    try {
      value = document.toJS({ maxAliasCount: 100 })
    } catch (error) {
      mistakes.push({ line: 1, sentence: (error as Error).message })
    }
  }
  const lineOf = (path: readonly (string | number)[]) => {
    for (let length = path.length; length > 0; length--) {
      const node = document.getIn(path.slice(0, length), true)
      const offset = isNode(node) ? node.range?.[0] : undefined
      if (offset !== undefined) return lines.linePos(offset).line
    }
    return 1
  }
  return { value, mistakes, lineOf }
}

/** Returns where names stand that a map has already. */
function repeatedNames(root: unknown): number[] {
  const found: number[] = []
  const waiting = [root]
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (isSeq(node)) waiting.push(...node.items)
    if (!isMap(node)) continue
    const names = new Set<unknown>()
    for (const { key, value } of node.items) {
      waiting.push(value)
      const name = isScalar(key) ? String(key.value) : key
      if (names.has(name) && isNode(key)) found.push(key.range?.[0] ?? 0)
      names.add(name)
    }
  }
  return found.sort((a, b) => a - b)
}
