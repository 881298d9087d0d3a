/** A line of a JSON text that is laid out for people. */
export interface JsonLine {
  readonly depth: number
  readonly text: string
  /** Path of the value that stands on the line, such as `p.bar` or `list[2].t`. */
  readonly path: string
  /** Whether a value without members stands there. */
  readonly isPlain: boolean
}

/** Most lines that are laid out. */
const mostLines = 2_000

const tokens = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[{}[\],:]/g

interface Open {
  readonly kind: '{' | '['
  readonly path: string
  index: number
  key: string
}

/**
 * Lays a JSON text out, a value a line. Undefined when the text is no JSON. Numbers stay as they were written, with all
 * of their digits.
 */
export function jsonLines(text: string): readonly JsonLine[] | undefined {
  try {
    JSON.parse(text)
  } catch {
    return undefined
  }
  const lines: JsonLine[] = []
  const open: Open[] = []
  let label = ''
  const found = text.match(tokens) ?? []
  const pathOf = () => {
    const parent = open.at(-1)
    if (!parent) return ''
    if (parent.kind === '[') return `${parent.path}[${parent.index}]`
    return parent.path === '' ? parent.key : `${parent.path}.${parent.key}`
  }
  for (let i = 0; i < found.length && lines.length < mostLines; i++) {
    const token = found[i] as string
    const parent = open.at(-1)
    if (token === ',') {
      if (parent) parent.index++
      continue
    }
    if (token === ':') continue
    if (token === '}' || token === ']') {
      open.pop()
      const comma = found[i + 1] === ',' ? ',' : ''
      lines.push({ depth: open.length, text: `${token}${comma}`, path: '', isPlain: false })
      continue
    }
    if (parent?.kind === '{' && label === '' && found[i + 1] === ':') {
      parent.key = JSON.parse(token) as string
      label = `${token}: `
      continue
    }
    const path = pathOf()
    const next = found[i + 1]
    if (token === '{' || token === '[') {
      const end = token === '{' ? '}' : ']'
      if (next === end) {
        const comma = found[i + 2] === ',' ? ',' : ''
        lines.push({ depth: open.length, text: `${label}${token}${end}${comma}`, path, isPlain: true })
        i++
      } else {
        lines.push({ depth: open.length, text: label + token, path, isPlain: false })
        open.push({ kind: token, path, index: 0, key: '' })
      }
    } else {
      lines.push({ depth: open.length, text: `${label}${token}${next === ',' ? ',' : ''}`, path, isPlain: true })
    }
    label = ''
  }
  return lines
}

/** A difference between two payloads. */
export interface Change {
  readonly kind: 'added' | 'removed' | 'changed'
  /** Path of the value; empty: the payload as a whole. */
  readonly path: string
  readonly before: string
  readonly now: string
}

/** Returns what is different, by path where both are JSON, else as a whole. */
export function changesBetween(before: string, now: string): readonly Change[] {
  if (before === now) return []
  const [old, fresh] = [valuesOf(before), valuesOf(now)]
  if (!old || !fresh) return [{ kind: 'changed', path: '', before, now }]
  const changes: Change[] = []
  for (const [path, value] of fresh) {
    const was = old.get(path)
    if (was === undefined) changes.push({ kind: 'added', path, before: '', now: value })
    else if (was !== value) changes.push({ kind: 'changed', path, before: was, now: value })
  }
  for (const [path, value] of old) if (!fresh.has(path)) changes.push({ kind: 'removed', path, before: value, now: '' })
  return changes
}

/** Returns the plain values of a JSON text by path, as they were written. */
function valuesOf(text: string): ReadonlyMap<string, string> | undefined {
  const lines = jsonLines(text)
  if (!lines) return undefined
  const values = new Map<string, string>()
  for (const { path, text, isPlain } of lines) {
    if (!isPlain) continue
    const own = text.replace(/,$/, '')
    values.set(path, own.replace(/^"(?:[^"\\]|\\.)*": /, ''))
  }
  return values
}
