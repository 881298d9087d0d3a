/**
 * Numbers of messages by outcome. `dead` counts messages in the dead letters, `dropped` those removed from there, `partly` the
 * messages in the dead letters of which some values are stored, and `ignored` the stored ones that are no readings.
 */
export interface Counts {
  readonly received: number
  readonly stored: number
  readonly dead: ReadonlyMap<string, number>
  readonly dropped: number
  readonly partly: number
  readonly ignored: number
  readonly refused: ReadonlyMap<string, number>
  /** The highest sequence number received, and the highest one settled. */
  readonly lastReceived: number
  readonly lastSettled: number
}

class AccountRow implements Counts {
  received = 0
  stored = 0
  dropped = 0
  partly = 0
  ignored = 0
  lastReceived = 0
  lastSettled = 0
  dead: Map<string, number> = none
  refused: Map<string, number> = none
}

/** Most rows have neither dead letters nor refusals. */
const none: Map<string, number> = new Map()

/** A change to one row. */
export interface RowChange {
  /** Hour of receipt, in hours since the epoch. */
  readonly hour: number
  readonly client: string
  readonly received?: number
  readonly stored?: number
  readonly dropped?: number
  readonly dead?: Readonly<Record<string, number>>
  readonly refused?: Readonly<Record<string, number>>
  readonly lastReceived?: number
  readonly lastSettled?: number
  readonly partly?: number
  readonly ignored?: number
}

/** An entry in its compact form on disk, where there are many: by position, in the order of {@link RowChange}. */
export type PackedEntry = readonly [
  hour: number,
  client: string,
  received: number,
  stored: number,
  dropped: number,
  dead: Readonly<Record<string, number>> | 0,
  refused: Readonly<Record<string, number>> | 0,
  lastReceived: number,
  lastSettled: number,
  /** Absent when both are 0. */
  partly?: number,
  ignored?: number,
]

export function pack(entry: RowChange): PackedEntry {
  const { hour, client, received = 0, stored = 0, dropped = 0, dead = 0, refused = 0 } = entry
  const { lastReceived = 0, lastSettled = 0, partly = 0, ignored = 0 } = entry
  const packed = [hour, client, received, stored, dropped, dead, refused, lastReceived, lastSettled] as const
  if (ignored > 0) return [...packed, partly, ignored]
  return partly === 0 ? packed : [...packed, partly]
}

export function unpack(packed: PackedEntry): RowChange {
  const [hour, client, received, stored, dropped, dead, refused, lastReceived, lastSettled, partly = 0, ignored = 0] =
    packed
  const reasons = { ...(dead && { dead }), ...(refused && { refused }) }
  return { hour, client, received, stored, dropped, ...reasons, lastReceived, lastSettled, partly, ignored }
}

/** Hours of the whole hub that are kept: 90 days. */
const hoursKept = 90 * 24

/**
 * The columns of the balance sheet: the hub's sum, the hub per hour, and each client per hour. The number of client
 * rows is bounded, and the oldest hour is evicted first. Sums and hours of the hub stay whole.
 */
export class Accounts {
  readonly total = new AccountRow()
  readonly #hours = new Map<number, AccountRow>()
  readonly #clients = new Map<number, Map<string, AccountRow>>()
  readonly #rowsKept: number
  #rows = 0
  /** The newest hour whose client rows were evicted. Late entries for hours up to this one are in the sums alone. */
  givenUp = 0

  constructor(rowsKept = 100_000) {
    this.#rowsKept = rowsKept
  }

  apply(entry: RowChange): void {
    add(this.total, entry)
    add(this.#hour(entry.hour), entry)
    const row = this.#client(entry.hour, entry.client)
    if (row) add(row, entry)
  }

  /** Returns the newest hours first, at most `limit`. */
  hours(limit: number): readonly (readonly [hour: number, counts: Counts])[] {
    return [...this.#hours].sort(([a], [b]) => b - a).slice(0, limit)
  }

  /** Yields the clients of the hours from `since` on, the newest hour first. */
  *clients(since: number): Generator<readonly [hour: number, client: string, counts: Counts]> {
    const hours = [...this.#clients].filter(([hour]) => hour >= since).sort(([a], [b]) => b - a)
    for (const [hour, clients] of hours) for (const [client, counts] of clients) yield [hour, client, counts]
  }

  /** Yields entries that rebuild the accounts: the sum, the hours of the hub, and the client rows that are left. */
  *snapshot(): Generator<{ readonly kind: 'total' | 'hour' | 'client'; readonly entry: RowChange }> {
    yield { kind: 'total', entry: entryOf(0, '', this.total) }
    for (const [hour, row] of this.#hours) yield { kind: 'hour', entry: entryOf(hour, '', row) }
    for (const [hour, clients] of this.#clients) {
      for (const [client, row] of clients) yield { kind: 'client', entry: entryOf(hour, client, row) }
    }
  }

  /** Adds one part of a snapshot. */
  restore(kind: 'total' | 'hour' | 'client', entry: RowChange): void {
    const row =
      kind === 'total' ? this.total : kind === 'hour' ? this.#hour(entry.hour) : this.#client(entry.hour, entry.client)
    if (row) add(row, entry)
  }

  #hour(hour: number): AccountRow {
    let row = this.#hours.get(hour)
    if (!row) {
      row = new AccountRow()
      this.#hours.set(hour, row)
      if (this.#hours.size > hoursKept) this.#hours.delete(Math.min(...this.#hours.keys()))
    }
    return row
  }

  /** Returns undefined when the hour was evicted, or when there is no room and no older hour to evict. */
  #client(hour: number, client: string): AccountRow | undefined {
    if (hour <= this.givenUp) return undefined
    let clients = this.#clients.get(hour)
    let row = clients?.get(client)
    if (row) return row
    if (this.#rows >= this.#rowsKept) {
      const oldest = Math.min(...this.#clients.keys())
      if (hour < oldest || (hour === oldest && this.#clients.size === 1)) return undefined
      this.#rows -= this.#clients.get(oldest)?.size ?? 0
      this.#clients.delete(oldest)
      this.givenUp = oldest
      clients = this.#clients.get(hour)
    }
    if (!clients) {
      clients = new Map()
      this.#clients.set(hour, clients)
    }
    row = new AccountRow()
    clients.set(client, row)
    this.#rows++
    return row
  }
}

function add(row: AccountRow, entry: RowChange): void {
  row.received += entry.received ?? 0
  row.stored += entry.stored ?? 0
  row.dropped += entry.dropped ?? 0
  row.partly += entry.partly ?? 0
  row.ignored += entry.ignored ?? 0
  row.lastReceived = Math.max(row.lastReceived, entry.lastReceived ?? 0)
  row.lastSettled = Math.max(row.lastSettled, entry.lastSettled ?? 0)
  row.dead = addReasons(row.dead, entry.dead)
  row.refused = addReasons(row.refused, entry.refused)
}

function addReasons(to: Map<string, number>, from: Readonly<Record<string, number>> | undefined): Map<string, number> {
  if (!from) return to
  const sum = to === none ? new Map<string, number>() : to
  for (const [reason, count] of Object.entries(from)) {
    const now = (sum.get(reason) ?? 0) + count
    if (now === 0) sum.delete(reason)
    else sum.set(reason, now)
  }
  return sum
}

function entryOf(hour: number, client: string, row: AccountRow): RowChange {
  const { received, stored, dropped, lastReceived, lastSettled, partly, ignored, dead, refused } = row
  return {
    hour,
    client,
    received,
    stored,
    dropped,
    lastReceived,
    lastSettled,
    partly,
    ignored,
    ...(dead.size > 0 && { dead: Object.fromEntries(dead) }),
    ...(refused.size > 0 && { refused: Object.fromEntries(refused) }),
  }
}

/** Returns the sum over all reasons. */
export function sum(reasons: ReadonlyMap<string, number>): number {
  let all = 0
  for (const count of reasons.values()) all += count
  return all
}
