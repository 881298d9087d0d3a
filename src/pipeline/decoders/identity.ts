import { kindOf, lastSureIdentity } from './key-names.js'
import { isMembers, type Members, memberAt, trimmed } from './members.js'

/** Longest identity of an element. */
const maxIdentity = 200

/** Returns the path of the member by which elements are told apart: all of them have it, and each another one. */
export function identityOf(elements: readonly Members[], isBatch: boolean): string | undefined {
  const first = elements[0] as Members
  const candidates: { readonly path: string; readonly rank: number }[] = []
  for (const key of Object.keys(first)) {
    const rank = kindOf(key).identity
    if (rank > 0) candidates.push({ path: key, rank })
    const inner = first[key]
    // As in the Things Stack: {gateway_ids: {gateway_id}}.
    if (!isMembers(inner) || !/ids?$/i.test(key)) continue
    for (const one of Object.keys(inner)) {
      const innerRank = kindOf(one).identity
      if (innerRank > 0) candidates.push({ path: `${key}.${one}`, rank: 1_000 + innerRank })
    }
  }
  candidates.sort((a, b) => a.rank - b.rank)
  for (const { path, rank } of candidates) {
    // Readings one after the other may be numbered, and each of another type.
    if (isBatch && rank > lastSureIdentity && rank < 1_000) continue
    const texts = elements.map(element => identityAt(element, path)?.text)
    if (texts.includes(undefined) || (isBatch && texts.some(text => uuid.test(text ?? '')))) continue
    if (isBatch || new Set(texts).size === texts.length) return path
  }
  return undefined
}

const uuid = /^[\da-f]{8}-[\da-f]{4}-/i

/** Names of the numbers of devices, which may be large. */
const ofDevices =
  /(?:^|\.)(?:(?:node|device|dev|sensor|gateway|gw|meter)[_-]?id|serial|serial[_-]?(?:number|no)|sn|addr|address)$/i

export interface ElementIdentity {
  readonly key: string
  readonly text: string
}

export function identityAt(element: Members, path: string): ElementIdentity | undefined {
  const found = memberAt(element, path)
  const value = found?.of[found.key]
  // A larger number is that of a record, not of a device, unless its name says so.
  const isIdentity =
    typeof value === 'string'
      ? value !== ''
      : Number.isInteger(value) && (Math.abs(value as number) < 1e6 || ofDevices.test(path))
  if (!found || !isIdentity) return undefined
  const text = trimmed(String(value))
  return text === '' || text.length > maxIdentity ? undefined : { key: path.split('.')[0] as string, text }
}
