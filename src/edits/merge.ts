/** Any JSON value. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonMap
export interface JsonMap {
  readonly [name: string]: JsonValue
}

export const isJsonMap = (value: unknown): value is JsonMap =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * Merges a patch into a value (RFC 7396): members are merged, null removes one, and all else is replaced. Maps that
 * become empty are removed.
 */
export function merged(value: JsonMap, patch: JsonMap): JsonMap {
  const members = new Map(Object.entries(value))
  for (const [name, given] of Object.entries(patch)) {
    const known = members.get(name)
    const next = isJsonMap(given) ? merged(isJsonMap(known) ? known : {}, given) : given
    if (next === null || (isJsonMap(next) && Object.keys(next).length === 0)) members.delete(name)
    else members.set(name, next)
  }
  return Object.fromEntries([...members].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Returns the patch that makes `before` of `after`. */
export function difference(after: JsonMap, before: JsonMap): JsonMap {
  const patch: Record<string, JsonValue> = {}
  for (const name of new Set([...Object.keys(after), ...Object.keys(before)])) {
    const [now, then] = [own(after, name), own(before, name)]
    if (JSON.stringify(now) === JSON.stringify(then)) continue
    if (then === undefined) Object.defineProperty(patch, name, { value: null, enumerable: true })
    else {
      const value = isJsonMap(now) && isJsonMap(then) ? difference(now, then) : then
      Object.defineProperty(patch, name, { value, enumerable: true })
    }
  }
  return patch
}

const own = (map: JsonMap, name: string): JsonValue | undefined => (Object.hasOwn(map, name) ? map[name] : undefined)
