import { type KeyKind, kindOf } from './key-names.js'
import type { Members } from './members.js'
import { knownUnit, namedUnit } from './units.js'

/** Returns the units that members name, by the beginning of the names of those they are for. */
export function unitsIn(members: Members, keys: readonly string[]): ReadonlyMap<string, string> | undefined {
  let units: Map<string, string> | undefined
  for (const key of keys) {
    const { unitOf } = kindOf(key)
    if (unitOf === undefined) continue
    const value = members[key]
    if (typeof value !== 'string') continue
    const isForValue = unitOf === '' && keys.some(other => kindOf(other).isValue)
    const unit = unitOf !== '' ? knownUnit(value.trim()) : isForValue ? namedUnit(value) : undefined
    if (unit === undefined) continue
    units ??= new Map()
    units.set(unitOf, unit)
  }
  return units
}

/** Returns the unit for a member by the beginnings of names. */
export function unitFor(
  units: ReadonlyMap<string, string>,
  key: string,
  { isValue, unitOf }: KeyKind,
  keys: readonly string[],
): string | undefined {
  if (unitOf !== undefined) return undefined
  if (isValue && units.has('')) return units.get('')
  const name = plainName(key)
  for (const [beginning, unit] of units) {
    if (name === beginning) return unit
    // The unit of `temp` is not that of `temperature_alarm` where there is a `temp`.
    if (beginning.length >= 4 && isNamedAfter(name, beginning) && !keys.some(other => plainName(other) === beginning)) {
      return unit
    }
  }
  return undefined
}

/** Whether a unit called `beginning` is that of a name: `Temperature` and `DewPoint` of `TempUnit`. */
function isNamedAfter(name: string, beginning: string): boolean {
  if (name.startsWith(beginning) || (beginning.length >= 5 && name.endsWith(beginning))) return true
  return beginning.startsWith('temp') && /^(dewpoint|heatindex|windchill|feelslike)/.test(name)
}

function plainName(key: string): string {
  return key.toLowerCase().replace(/[^a-z\d]/g, '')
}
