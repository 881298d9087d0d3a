import type { CommandEntry } from './command-entry.js'

/** Entries that have gone from a lane before their room is freed. */
const compactedFrom = 1_000

/** The commands that wait until one client has room, in the order of their numbers, each once. */
export class Lane {
  readonly #entries: CommandEntry[] = []
  /** Number of entries at the front that have gone. */
  #at = 0

  /** The command with the lowest number. Undefined: the lane is empty. */
  get first(): CommandEntry | undefined {
    return this.#entries[this.#at]
  }

  /** Adds a command, unless the lane has it. */
  add(entry: CommandEntry): void {
    const entries = this.#entries
    const at = this.#placeOf(entry.subject.number)
    if (entries[at] === entry) return
    // A command that comes back goes where it was.
    if (at === this.#at && at > 0) entries[--this.#at] = entry
    else entries.splice(at, 0, entry)
  }

  /** Removes and returns the command with the lowest number. */
  take(): CommandEntry | undefined {
    const { first } = this
    if (first) this.#at++
    if (this.#at > compactedFrom && this.#at * 2 > this.#entries.length) {
      this.#entries.splice(0, this.#at)
      this.#at = 0
    }
    return first
  }

  /** Returns the index of the first command with that number, or a higher one. */
  #placeOf(number: number): number {
    const numberAt = (at: number) => this.#entries[at]?.subject.number ?? Infinity
    let low = this.#at
    let high = this.#entries.length
    // Most commands are newer than all that wait.
    if (high > low && numberAt(high - 1) < number) return high
    while (low < high) {
      const middle = (low + high) >>> 1
      if (numberAt(middle) < number) low = middle + 1
      else high = middle
    }
    return low
  }
}
