/** A JSON object. */
export type Members = Readonly<Record<string, unknown>>

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

export function isMembers(value: unknown): value is Members {
  return isObject(value) && !Array.isArray(value)
}

/** Returns the member at a flattened name; members whose own names contain dots are found, too. */
export function memberAt(root: Members, name: string): { readonly of: Members; readonly key: string } | undefined {
  if (Object.hasOwn(root, name)) return { of: root, key: name }
  for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
    const inner = Object.hasOwn(root, name.slice(0, dot)) ? root[name.slice(0, dot)] : undefined
    const found = isObject(inner) ? memberAt(inner as Members, name.slice(dot + 1)) : undefined
    if (found) return found
  }
  return undefined
}

/** Whether a text in JSON looks like JSON itself: an object, or an array of objects. */
export function isEmbedded(text: string): boolean {
  const first = text.charCodeAt(0)
  if (first !== brace && first !== bracket) return false
  return first === brace ? text.endsWith('}') : /^\[\s*\{/.test(text) && text.endsWith(']')
}

const brace = 0x7b
const bracket = 0x5b

/** Removes blanks, and the NULs with which C pads and ends texts. */
export function trimmed(text: string): string {
  const last = text.charCodeAt(text.length - 1)
  const first = text.charCodeAt(0)
  // Nearly all texts are as they should be.
  if (first > 32 && last > 32 && first < 0xa0 && last < 0xa0) return text
  let end = text.length
  while (end > 0 && (text.charCodeAt(end - 1) === 0 || /\s/.test(text[end - 1] as string))) end--
  return text.slice(0, end).trimStart()
}
