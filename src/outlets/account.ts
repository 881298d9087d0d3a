import { constants } from 'node:fs'
import { crc32 } from 'node:zlib'
import { type Files, nodeFiles, openToChange, readWholeSync, writeWholeSync } from '../disk/files.js'
import type { Message } from '../model.js'
import type { Ledger, Settled } from '../queue/queue.js'
import { readUInt64, writeUInt64 } from '../spool/message-codec.js'

/**
 * Outcomes of the messages of one outlet, up to a sequence number:
 *
 *     account   ┌──────────────────────────┬────────────┬───────────┐
 *               │ ten numbers, each u64    │ number u32 │ crc32 u32 │   two slots, written in turn:
 *               └──────────────────────────┴────────────┴───────────┘   the whole one with the higher number counts
 *     The ten numbers are in the order of `terms`.
 */
const terms = [
  /** The last sequence number from before the outlet. */
  'begin',
  /** Everything up to this sequence number is accounted for. */
  'upTo',
  'delivered',
  'filtered',
  'refused',
  'skipped',
  'lost',
  'never',
  /** Dead letters that were delivered after all, and those that were dropped: parts of `refused`. */
  'replayed',
  'dropped',
] as const

type Term = (typeof terms)[number]
type Numbers = Readonly<Record<Term, number>>

const numberAt = terms.length * 8
const slotBytes = numberAt + 8

/**
 * The account of an outlet: `received = delivered + filtered + refused + skipped + lost + behind + residual`, and
 * residual should be 0.
 */
export type OutletBalance = {
  /** Messages that the hub has accepted since there is the outlet. */
  readonly received: number
  readonly delivered: number
  /** Messages of other topics. */
  readonly filtered: number
  /** Messages that the target will never take: dead letters, and those that were replayed or dropped since. */
  readonly refused: number
  readonly replayed: number
  readonly dropped: number
  /** Messages given up as the outlet was too far behind. */
  readonly skipped: number
  /** Messages that could not be read any more. */
  readonly lost: number
  /** Messages that the outlet has yet to pass. */
  readonly behind: number
  readonly residual: number
}

/**
 * Keeps account of what became of each message of one outlet. On disk before a message is settled with the spool, so
 * that a message which comes again after a crash is recognised; as with the cursors, a loss of power may take the last
 * second.
 */
export class OutletAccount implements Ledger {
  readonly #path: string
  readonly #files: Files
  readonly #slot = Buffer.alloc(slotBytes)
  #numbers: Numbers = Object.fromEntries(terms.map(term => [term, 0])) as Record<Term, number>
  /** Number of writes. */
  #written = 0
  #fd: number | undefined
  #isOpen = false

  constructor(path: string, files: Files = nodeFiles) {
    this.#path = path
    this.#files = files
  }

  /**
   * Opens the account. Returns false when there was none, or none that is whole: then a new one begins behind `passed`, which
   * is the last sequence number that the cursor has passed.
   */
  open(passed: number): boolean {
    const file = readWholeSync(this.#path, this.#files) ?? Buffer.alloc(0)
    let isFound = false
    for (const at of [0, slotBytes]) {
      const slot = file.subarray(at, at + slotBytes)
      if (slot.length < slotBytes || crc32(slot.subarray(0, slotBytes - 4)) !== slot.readUInt32LE(slotBytes - 4))
        continue
      const number = slot.readUInt32LE(numberAt)
      if (isFound && this.#written > number) continue
      isFound = true
      this.#written = number
      this.#numbers = Object.fromEntries(terms.map((term, i) => [term, readUInt64(slot, i * 8)])) as Record<
        Term,
        number
      >
    }
    // Twice, so that the file has the full size, and later writes need no more room on the disk.
    if (!isFound) for (let i = 0; i < 2; i++) this.#change({ begin: passed, upTo: passed })
    this.#isOpen = true
    return isFound
  }

  /** Begins a new account behind `passed`, and forgets all numbers before. */
  beginAgain(passed: number): void {
    const none = Object.fromEntries(terms.map(term => [term, 0])) as Record<Term, number>
    this.#change({ ...none, begin: passed, upTo: passed })
  }

  close(): void {
    if (this.#fd !== undefined) this.#files.closeSync(this.#fd)
    this.#fd = undefined
  }

  /** The last sequence number that is accounted for. */
  get upTo(): number {
    return this.#numbers.upTo
  }

  /** @param accepted The last sequence number in the spool */
  balance(accepted: number): OutletBalance {
    const { begin, upTo, delivered, filtered, refused, skipped, lost, never, replayed, dropped } = this.#numbers
    const behind = Math.max(0, accepted - upTo)
    const passed = upTo - begin - never
    const residual = passed - delivered - filtered - refused - skipped - lost
    return {
      received: passed + behind,
      ...{ delivered, filtered, refused, replayed, dropped, skipped, lost, behind, residual },
    }
  }

  unsettled(messages: readonly Message[]): readonly Message[] {
    const { upTo } = this.#numbers
    return (messages[0]?.sequence ?? 0) > upTo ? messages : messages.filter(({ sequence }) => sequence > upTo)
  }

  async settle(settled: readonly Settled[]): Promise<void> {
    const { upTo, delivered, filtered, refused } = this.#numbers
    const counts = { upTo, delivered, filtered, refused }
    for (const { message, rejection, ignored } of settled) {
      // Given up meanwhile, and counted so.
      if (message.sequence <= upTo) continue
      counts.upTo = Math.max(counts.upTo, message.sequence)
      if (rejection) counts.refused++
      else if (ignored) counts.filtered++
      else counts.delivered++
    }
    if (counts.upTo > upTo) this.#change(counts)
  }

  /**
   * Counts the sequence numbers up to `to` that are not accounted for. Returns how many these are.
   *
   * @param as Of what is counted: `never`: no message had these numbers
   */
  pass(to: number, as: 'skipped' | 'lost' | 'never' | 'delivered'): number {
    const count = to - this.#numbers.upTo
    if (count <= 0) return 0
    this.#change({ upTo: to, [as]: this.#numbers[as] + count })
    return count
  }

  /** Counts dead letters that are none any more. Without effect while the account is not open. */
  moved(letters: number, to: 'replayed' | 'dropped'): void {
    if (letters > 0 && this.#isOpen) this.#change({ [to]: this.#numbers[to] + letters })
  }

  /** Changes memory once the file has the change. Throws what the disk throws. */
  #change(change: Partial<Numbers>): void {
    const numbers = { ...this.#numbers, ...change }
    const slot = this.#slot
    for (const [i, term] of terms.entries()) writeUInt64(slot, numbers[term], i * 8)
    slot.writeUInt32LE((this.#written + 1) >>> 0, numberAt)
    slot.writeUInt32LE(crc32(slot.subarray(0, slotBytes - 4)), slotBytes - 4)
    this.#fd ??= this.#files.openSync(this.#path, openToChange | constants.O_CREAT)
    writeWholeSync(this.#files, this.#fd, slot, ((this.#written + 1) % 2) * slotBytes)
    this.#written++
    this.#numbers = numbers
  }
}
