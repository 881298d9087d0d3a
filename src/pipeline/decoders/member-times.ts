import { type KeyKind, kindOf, otherTime } from './key-names.js'
import { isMembers, type Members, memberAt } from './members.js'
import { isClockLike, isDate, isTimeOfDay, joined, parseTime, type ReadTime } from './time.js'

/** Before this time a clock was not set; times under names that are not sure must be later. */
const earliest = 946_684_800e6
const ahead = 300e6
/** How far a clock on the wall can be ahead of UTC. */
const furthestZone = 14 * 3_600e6
const year = 366 * 86_400e6

/** A member whose time the mapping names. */
export interface NamedTime {
  readonly of: Members
  readonly key: string
  readonly time: ReadTime
}

/** Finds the times in one payload. */
export class MemberTimes {
  /** Flattened names that the mapping gives. Undefined: the usual ones. */
  readonly #names: readonly string[] | undefined
  readonly #latest: number

  /** @param receivedAt Time of receipt in microseconds */
  constructor(names: readonly string[] | undefined, receivedAt: number) {
    this.#names = names
    this.#latest = receivedAt + ahead
  }

  /**
   * Returns the time in a member, if the member is one. Only the outermost time may be one of a clock that is not set:
   * further in such a number is something else.
   */
  in(members: Members, key: string, isOutermost: boolean): ReadTime | undefined {
    if (this.#names) return undefined
    const { time: rank, isSureTime, isUtc } = kindOf(key)
    if (rank === otherTime) return undefined
    const value = members[key]
    let time = parseTime(value, isUtc)
    if (!time && typeof value === 'string' && isTimeOfDay(value)) {
      time = parseTime(joined(members.date ?? members.Date ?? members.DATE, value), isUtc)
    }
    return this.isPlausible(time) || (isSureTime && isOutermost) ? time : undefined
  }

  /** Returns the time at a flattened name that the mapping gives. */
  named(root: unknown): NamedTime | undefined {
    if (!isMembers(root)) return undefined
    for (const name of this.#names ?? none) {
      const found = memberAt(root, name)
      const time = found && parseTime(found.of[found.key])
      if (!time) continue
      return { ...found, time }
    }
    return undefined
  }

  /** Whether the names of all members are times: recent ones, as other numbers could be those of devices. */
  areTimes(keys: readonly string[]): boolean {
    const first = keys[0]
    if (first === undefined || first.length < 10 || !/^\d/.test(first)) return false
    return keys.every(key => {
      const time = key.length >= 10 ? parseTime(key) : undefined
      return this.isPlausible(time) && (!/^[\d.]+$/.test(key) || time.time > this.#latest - year)
    })
  }

  isPlausible(time: ReadTime | undefined): time is ReadTime {
    return time !== undefined && time.time >= earliest && time.time <= this.#latest + (time.isLocal ? furthestZone : 0)
  }

  /**
   * Returns the name of the member that holds a column of times, one for each element of the columns beside it.
   * Undefined when the object has no columns.
   */
  columnOf(members: Members, keys: readonly string[]): string | undefined {
    if (this.#names) return undefined
    for (const key of keys) {
      const column = members[key]
      if (!Array.isArray(column) || column.length === 0 || kindOf(key).time === 0) continue
      if (column.every(one => isWide(one) && this.isPlausible(parseTime(one)))) return key
    }
    return undefined
  }

  /** Returns the name of the member with the time of an element. */
  keyOf(element: Members, name: string): string | undefined {
    if (this.#names) {
      return this.#names.find(field => parseTime(element[field]) !== undefined)
    }
    let best: string | undefined
    let rank = Number.POSITIVE_INFINITY
    const keys = Object.keys(element)
    for (const key of keys) {
      const { time, isSureTime } = kindOf(key)
      if (time === 0 || time >= rank || time === otherTime) continue
      const read = parseTime(element[key])
      if (!read || !((isSureTime && name === '') || this.isPlausible(read))) continue
      best = key
      rank = time
    }
    if (best !== undefined || element.t === undefined) return best
    const isTimed = keys.some(key => kindOf(key).isValue) && isWide(element.t) && this.isPlausible(parseTime(element.t))
    return isTimed ? 't' : undefined
  }

  /** Whether a member is another time of the reading, or the time of a day: no value that anybody wants to see drawn. */
  isLeftOver(value: unknown, kind: KeyKind): boolean {
    if (typeof value === 'string' && (isTimeOfDay(value) || isDate(value) || isClockLike(value))) return true
    const time = isWide(value) ? parseTime(value, kind.isUtc) : undefined
    return time !== undefined && time.time >= earliest && time.time <= this.#latest + furthestZone
  }
}

const none: readonly never[] = []

/** Whether a value is long enough for a time, and no number that could be anything. */
export function isWide(value: unknown): boolean {
  if (typeof value === 'object') return value !== null && parseTime(value) !== undefined
  return typeof value === 'string' ? value.length >= 9 : typeof value === 'number' && value >= 1e8
}
