import { Accounts, type PackedEntry, pack, unpack } from './accounts.js'
import { flat, pairs, Ranges } from './ranges.js'

/** One record of the journal. All changes of a record take effect at once. */
export interface SheetChange {
  /** Settled sequence numbers, as from, to, from, to … */
  readonly settled?: readonly number[]
  /** Sequence numbers that no accepted message was given, as from, to, from, to … */
  readonly never?: readonly number[]
  /** All messages before this sequence number are counted as received. */
  readonly next?: number
  /** Sequence numbers of dead letters that are stored or dropped now, as from, to, from, to … */
  readonly moved?: readonly number[]
  readonly rows?: readonly PackedEntry[]
  /** Number of further messages reported as lost. */
  readonly lost?: number
  /** Sequence numbers whose messages are reported as lost, as from, to, from, to … */
  readonly gone?: readonly number[]
}

/** The first record of each file. The accounts follow as {@link SnapshotRows}, then the changes. */
interface OpeningBalance {
  readonly since: number
  readonly base: number
  readonly again: number
  readonly never: number
  readonly settled: readonly number[]
  readonly highest: number
  readonly next: number
  readonly moved: readonly number[]
  /** The newest hour whose client rows were evicted. */
  readonly givenUp: number
  /** Absent in files of older versions, as is `gone`. */
  readonly lost?: number
  readonly gone?: readonly number[]
}

interface SnapshotRows {
  readonly kind: 'total' | 'hour' | 'client'
  readonly snapshot: readonly PackedEntry[]
}

/** A record of the journal. */
export type JournalledSheet = OpeningBalance | SnapshotRows | SheetChange

/** What the balance sheet has on disk. */
export class SheetState {
  accounts = new Accounts()
  settled = new Ranges()
  /** The highest settled number. Queues deliver in order, so no message before this one is in the queue any more. */
  highest = 0
  /** Sequence numbers of letters taken out of the dead letters; a crash may have left the letters there. */
  moved = new Ranges()
  /** Sequence numbers whose messages were reported as lost. */
  gone = new Ranges()
  /** Whether the first record of the journal was read. */
  hasOpening = false
  since = 0
  /** The last sequence number from before the sheet was opened. */
  base = 0
  /** Number of messages whose sequence numbers were given a second time. */
  again = 0
  never = 0
  lost = 0
  /** All messages before are counted. */
  saved = 1

  /** Opens the sheet: empty, as changes are of no use without the opening that they change. */
  open(base: number, since: number): void {
    this.accounts = new Accounts()
    this.settled = new Ranges()
    this.moved = new Ranges()
    this.gone = new Ranges()
    this.highest = 0
    this.never = 0
    this.lost = 0
    this.again = 0
    this.since = since
    this.base = base
    this.saved = base + 1
  }

  /** Returns whether messages are counted that were never accepted. */
  isBeyond(accepted: number): boolean {
    return this.settled.count > this.settled.upTo(accepted) || this.saved > accepted + 1
  }

  /** Forgets that sequence numbers above `accepted` are settled: they are given again. */
  cut(accepted: number): void {
    this.again += this.settled.cut(accepted)
    this.highest = Math.min(this.highest, accepted)
    this.saved = Math.min(this.saved, accepted + 1)
  }

  apply({ settled = [], never = [], next, moved = [], rows = [], lost = 0, gone = [] }: SheetChange): void {
    for (const [from, to] of pairs(gone)) this.gone.add(from, to)
    this.lost += lost
    for (const [from, to] of pairs(settled)) {
      this.settled.add(from, to)
      this.highest = Math.max(this.highest, to)
    }
    for (const [from, to] of pairs(never)) this.never += this.settled.add(from, to)
    for (const row of rows) this.accounts.apply(unpack(row))
    for (const [from, to] of pairs(moved)) this.moved.add(from, to)
    if (next !== undefined) this.saved = next
  }

  /** Restores a record of the journal. */
  read(record: JournalledSheet): void {
    if ('base' in record) {
      this.hasOpening = true
      const { since, base, again, never, settled, highest, next, moved, givenUp, lost = 0, gone = [] } = record
      this.since = since
      this.base = base
      this.again = again
      this.apply({ settled, moved, gone, next })
      this.never = never
      this.highest = highest
      this.accounts.givenUp = givenUp
      this.lost = lost
    } else if ('snapshot' in record) {
      for (const row of record.snapshot) this.accounts.restore(record.kind, unpack(row))
    } else this.apply(record)
  }

  /** Yields the records that a new file begins with. */
  *snapshot(): Generator<object> {
    const opening: OpeningBalance = {
      since: this.since,
      base: this.base,
      again: this.again,
      never: this.never,
      settled: flat(this.settled),
      highest: this.highest,
      next: this.saved,
      moved: flat(this.moved),
      givenUp: this.accounts.givenUp,
      lost: this.lost,
      gone: flat(this.gone),
    }
    yield opening
    let rows: PackedEntry[] = []
    let kind: SnapshotRows['kind'] = 'total'
    const part = (): SnapshotRows => ({ kind, snapshot: rows })
    for (const row of this.accounts.snapshot()) {
      if (row.kind !== kind || rows.length >= 1_000) {
        yield part()
        rows = []
        kind = row.kind
      }
      rows.push(pack(row.entry))
    }
    yield part()
  }
}
