import type { Files } from '../disk/files.js'
import type { Message } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { ClientRefusals } from '../observe/refusal-counts.js'
import type { Ledger, Settled } from '../queue/queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { type Counts, sum } from './accounts.js'
import { BalanceJournal } from './balance-journal.js'
import { BalanceRows, microsecondsPerHour } from './balance-rows.js'
import { flat, Ranges } from './ranges.js'
import { type JournalledSheet, type SheetChange, SheetState } from './sheet-state.js'
import { UnwrittenCounts } from './unwritten-counts.js'

/** Positions in the spool that the sheet is computed from. */
export interface PipelineOffsets {
  /** The last sequence number in the spool. */
  readonly accepted: number
  /** The last sequence number that has left the spool: stored, or confirmed by RabbitMQ. */
  readonly drained: number
  /** Whether messages go from the spool into RabbitMQ. */
  readonly queued: boolean
}

/** `received = stored + spool + queue + dead + dropped + refused + residual`, and residual should be 0. */
export interface Totals {
  /** Microseconds since the epoch. */
  readonly since: number
  readonly received: number
  readonly stored: number
  readonly spool: number
  readonly queue: number
  readonly dead: number
  readonly dropped: number
  readonly refused: number
  /** Messages that were accepted and passed on, with no known outcome. */
  readonly residual: number
  /** Messages in `dead` of which some values are stored, and only the others are not: no term of the sum. */
  readonly partly: number
  /** Messages in `stored` that are no readings, so that nothing of them was to be stored: no term of the sum. */
  readonly ignored: number
  /**
   * Messages that incidents report as lost: an explanation, not a term of the sum. Messages lost before they were
   * stored are in `residual` as well. Messages lost from a store or a session's queue are counted where they were.
   */
  readonly lost: number
  readonly reasons: {
    readonly dead: ReadonlyMap<string, number>
    readonly refused: ReadonlyMap<string, number>
  }
}

/** One line of the sheet: one hour. */
export interface SheetLine {
  /** The beginning of the hour, in microseconds since the epoch. */
  readonly hour: number
  readonly received: number
  readonly stored: number
  readonly dead: number
  readonly dropped: number
  readonly refused: number
  /** Messages in `dead` of which some values are stored. */
  readonly partly: number
  /** Messages in `stored` that are no readings. */
  readonly ignored: number
  /** Messages in the spool or the queue. */
  readonly waiting: number
  readonly residual: number
}

/** One line of the sheet: one client in one hour. */
export interface ClientLine extends SheetLine {
  readonly clientId: string
}

/** The fields of a message needed to account for the message; a receipt has no more. */
export type Accounted = Pick<Message, 'sequence' | 'receivedAt' | 'clientId' | 'hub'>

/** The outcome of a message; without a reason the message is stored. */
export interface AccountedOutcome {
  readonly message: Accounted
  readonly reason?: string | undefined
  readonly partly?: boolean | undefined
  /** True for a stored message that is no reading. */
  readonly ignored?: boolean | undefined
}

/** A dead letter, as far as needed to account for the letter. */
export interface AccountedLetter extends AccountedOutcome {
  readonly reason: string
}

export interface BalanceSheetOptions {
  readonly dir: string
  /** How far the spool was filled and drained, as of now; `drained` when the sheet is first opened is the opening. */
  readonly offsets: Pick<PipelineOffsets, 'accepted' | 'drained'>
  /** Microseconds since the epoch. */
  readonly clock: MicrosecondClock
  readonly incidents: IncidentReporter
  /** Size of the journal past which the file is written anew from memory. */
  readonly journalBytes?: number
  readonly files?: Files
}

/** Interval at which the counts of received and refused messages are written. */
const writeEveryMs = 1_000

/**
 * The balance sheet. Every accepted message has a sequence number, so the outcomes are sets of numbers. A number that
 * was passed on and is in no set is missing: the number of these is the residual.
 *
 * - Settled: on disk before the message is settled with the queue, so that a message delivered again after a crash is
 * recognised. Counted once.
 * - Received, by client and hour: summed up from the cursor `live`, which begins again at `saved` after a crash.
 * - Refused: reported by the broker. Refusals lost in a crash are missing on both sides of the sum.
 */
export class BalanceSheet implements Ledger {
  readonly name = 'balance'
  readonly #options: BalanceSheetOptions
  readonly #journal: BalanceJournal
  readonly #state = new SheetState()
  /** Settled sequence numbers on their way to the disk. */
  readonly #settling = new Set<Ranges>()
  readonly #unwritten = new UnwrittenCounts()
  /** Messages reported as lost since the last change that was written. */
  #unwrittenLost = 0
  /** All messages before are counted in memory. */
  #next = 1
  #writing = false
  #timer: NodeJS.Timeout | undefined

  constructor(options: BalanceSheetOptions) {
    this.#options = options
    this.#journal = new BalanceJournal({
      dir: options.dir,
      rotateBytes: options.journalBytes ?? 16e6,
      snapshot: () => this.#state.snapshot(),
      damaged: (sentence, bytes) =>
        options.incidents.report('balance_damaged', `the balance sheet: ${sentence}`, { bytes }),
      ...(options.files && { files: options.files }),
    })
  }

  async start(): Promise<void> {
    const { offsets, clock } = this.#options
    const state = this.#state
    const isThere = await this.#journal.load(record => state.read(record as JournalledSheet))
    const isNew = !state.hasOpening
    if (isNew) {
      if (isThere || offsets.drained > 0) this.#reportNew(isThere)
      state.open(offsets.drained, clock.now())
    }
    const isBeyond = state.isBeyond(offsets.accepted)
    if (isBeyond && !isNew) this.#forgetBeyond(offsets.accepted)
    if (isBeyond || isNew) this.#journal.begin()
    this.#next = state.saved
    this.#timer = setInterval(() => this.#write(), writeEveryMs)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#write()
    await this.#journal.close()
  }

  /** The first sequence number that is not counted as received on disk. The spool must stay readable from there. */
  get saved(): number {
    return this.#state.saved
  }

  /** The highest sequence number known to be stored or rejected. */
  get highest(): number {
    return this.#state.highest
  }

  /** Counts messages that the cursor `live` has read. Messages before `saved` may come again. */
  recordAccepted(messages: readonly Message[]): void {
    this.#next = this.#unwritten.receive(messages, this.#next)
  }

  refused(refusals: readonly ClientRefusals[]): void {
    const hour = Math.floor(this.#options.clock.now() / microsecondsPerHour)
    for (const { clientId, reasons } of refusals) this.#unwritten.refuse(hour, clientId, Object.entries(reasons))
  }

  /** Counts accepted messages that are known to be lost. The count is on disk within a second or two. */
  lost(messages: number): void {
    this.#unwrittenLost += messages
  }

  /**
   * Records that the messages with these sequence numbers cannot be read any more. Resolves with how many of them were
   * not recorded before: a reader that comes to the same gap again after a restart counts none.
   */
  async gone(from: number, to: number): Promise<number> {
    const count = this.#state.gone.add(from, to)
    // When the disk refuses this record, a restart counts the messages again, and nothing worse happens.
    if (count > 0) await this.#append({ gone: [from, to] }).catch(() => {})
    return count
  }

  /** Records sequence numbers that the disk refused: no accepted message ever had them. Resolves when durable. */
  async never(from: number, to: number): Promise<void> {
    if (to > this.#state.base) await this.#append({ never: [Math.max(from, this.#state.base + 1), to] })
  }

  /** Whether a message is known to be stored or rejected. */
  isSettled(sequence: number): boolean {
    return sequence <= this.#state.base || this.#state.settled.has(sequence)
  }

  unsettled(messages: readonly Message[]): readonly Message[] {
    if (areBehind(Math.max(this.#state.base, this.#state.highest), messages)) return messages
    const seen = new Set<number>()
    return messages.filter(({ sequence }) => {
      if (sequence <= this.#state.base) return true
      if (seen.has(sequence) || this.#state.settled.has(sequence)) return false
      seen.add(sequence)
      return true
    })
  }

  settle(settled: readonly Settled[]): Promise<void> {
    return this.settleAll(settled.map(({ message, rejection, ignored }) => ({ message, ...rejection, ignored })))
  }

  /** Like `settle`, for messages of which only a receipt is here. Messages that are settled already change nothing. */
  async settleAll(settled: readonly AccountedOutcome[]): Promise<void> {
    const fresh = new Ranges()
    const rows = new BalanceRows()
    for (const { message, reason, partly, ignored } of settled) {
      const { sequence, receivedAt, clientId } = message
      if (sequence <= this.#state.base || this.#state.settled.has(sequence) || fresh.has(sequence)) continue
      // A receipt is trusted, but not about a sequence number that was never accepted.
      if (this.#isSettling(sequence) || sequence > this.#options.offsets.accepted) continue
      fresh.add(sequence, sequence)
      if (reason === undefined) rows.settle(receivedAt, clientId, ignored ? 'ignored' : 'stored', sequence)
      else rows.die(receivedAt, clientId, { reason, partly }, sequence)
    }
    // Messages that another call is settling are on disk when this flush resolves.
    if (fresh.count === 0) return this.#journal.flush()
    this.#settling.add(fresh)
    try {
      await this.#append({ settled: flat(fresh), rows: rows.packed() })
    } finally {
      this.#settling.delete(fresh)
    }
  }

  /** Records dead letters that were stored or dropped. Resolves when that is durable; each letter counts once. */
  async moved(letters: readonly AccountedLetter[], to: 'stored' | 'dropped'): Promise<void> {
    const rows = new BalanceRows()
    const moved = new Ranges()
    const settled = new Ranges()
    const left = new Map(this.#state.accounts.total.dead)
    for (const { message, reason, partly } of letters) {
      const { sequence, receivedAt, clientId, hub } = message
      // A letter from before the sheet was opened, or of another hub, is in no row here.
      if (hub !== undefined || sequence <= this.#state.base || this.#state.moved.has(sequence) || moved.has(sequence))
        continue
      moved.add(sequence, sequence)
      if (!this.#state.settled.has(sequence)) {
        // The message has not been recorded as dead yet, and need not be any more.
        settled.add(sequence, sequence)
        rows.settle(receivedAt, clientId, to, sequence)
      } else if ((left.get(reason) ?? 0) > 0) {
        left.set(reason, (left.get(reason) ?? 0) - 1)
        rows.move(receivedAt, clientId, { reason, partly }, to)
      }
    }
    if (moved.count === 0) return
    await this.#append({ moved: flat(moved), settled: flat(settled), rows: rows.packed() })
  }

  sheet({ accepted, drained, queued }: PipelineOffsets): Totals {
    const { stored, dead, dropped, refused, partly, ignored } = this.#state.accounts.total
    const known = Math.max(this.#state.base, this.#state.highest)
    const left = Math.max(drained, known)
    const passed = queued ? known : left
    const refusedAll = sum(refused)
    return {
      since: this.#state.since,
      received: accepted - this.#state.base - this.#state.never + this.#state.again + refusedAll,
      stored,
      spool: accepted - left,
      queue: left - passed - (this.#state.settled.count - this.#state.settled.upTo(passed)),
      dead: sum(dead),
      dropped,
      refused: refusedAll,
      residual: passed - this.#state.base - this.#state.settled.upTo(passed),
      partly,
      ignored,
      lost: this.#state.lost + this.#unwrittenLost,
      reasons: { dead, refused },
    }
  }

  /** Returns the hub's lines, the newest hour first. */
  hours(limit: number): SheetLine[] {
    return this.#state.accounts.hours(limit).map(([hour, counts]) => this.#line(hour, counts))
  }

  /** Returns the clients' lines of the last `hours` hours, the newest hour first. */
  clients(hours: number, limit: number, clientId: string | undefined): ClientLine[] {
    const since = Math.floor(this.#options.clock.now() / microsecondsPerHour) - hours + 1
    const lines: ClientLine[] = []
    for (const [hour, client, counts] of this.#state.accounts.clients(since)) {
      if (lines.length >= limit) break
      if (clientId === undefined || client === clientId) lines.push({ clientId: client, ...this.#line(hour, counts) })
    }
    return lines
  }

  /**
   * Reports the open messages of a row only once the last settled one is counted as received. They are residual when
   * the last received one is not above the highest settled number, and waiting otherwise.
   */
  #line(hour: number, counts: Counts): SheetLine {
    const { received, stored, dropped, lastReceived, lastSettled, partly, ignored } = counts
    const dead = sum(counts.dead)
    const refused = sum(counts.refused)
    const open = received - stored - dead - dropped - refused
    const isCounted = lastSettled < this.#state.saved
    const isSettled = lastReceived <= this.#state.highest
    return {
      hour: hour * microsecondsPerHour,
      received,
      stored,
      dead,
      dropped,
      refused,
      partly,
      ignored,
      waiting: isCounted && !isSettled ? open : 0,
      residual: isCounted && isSettled ? open : 0,
    }
  }

  #isSettling(sequence: number): boolean {
    for (const ranges of this.#settling) if (ranges.has(sequence)) return true
    return false
  }

  #reportNew(isThere: boolean): void {
    const { dir, incidents } = this.#options
    incidents.report(
      'balance_lost',
      `the balance sheet in ${dir} ${isThere ? 'has lost its beginning' : 'is missing'} and starts again: messages received before are not counted`,
    )
  }

  /**
   * With `spool.fsync: interval` a loss of power may remove settled messages from the spool. They stay stored and
   * counted, but their sequence numbers are given again, and the new messages must not be taken for settled ones.
   */
  #forgetBeyond(accepted: number): void {
    this.#state.cut(accepted)
    const sentence = `the spool ends at message ${accepted}, although later messages were settled: the last messages of the spool were lost`
    this.#options.incidents.report('spool_cut', sentence)
  }

  /** Writes the messages received, refused and lost since the last write. */
  #write(): void {
    // One write at a time: `next` states that all earlier messages are in this group or an earlier one.
    if (this.#writing) return
    const next = this.#next
    const lost = this.#unwrittenLost
    const counts = this.#unwritten.take()
    const { rows } = counts
    if (rows.length === 0 && lost === 0) return
    this.#writing = true
    const written = () => {
      this.#writing = false
    }
    this.#append({ next, rows, ...(lost > 0 && { lost }) }).then(written, () => {
      written()
      this.#unwritten.putBack(counts)
    })
  }

  /** Resolves when the change is on disk. Memory changes only then, so that memory and disk agree. */
  #append(change: SheetChange): Promise<void> {
    return this.#journal.append(change, () => {
      this.#state.apply(change)
      this.#unwrittenLost -= change.lost ?? 0
    })
  }
}

/** Returns whether each message comes after all settled ones and after the message before, as nearly always. */
function areBehind(settled: number, messages: readonly Message[]): boolean {
  let last = settled
  for (const { sequence } of messages) {
    if (sequence <= last) return false
    last = sequence
  }
  return true
}
