import { describe } from '../errors.js'
import type { DeadLetter, Message } from '../model.js'
import type { SentenceLog } from '../observe/log.js'
import { fairCuts } from '../runtime/fair-cuts.js'
import { Slices } from '../runtime/slices.js'
import { accountOf, type Sharing } from '../runtime/user-shares.js'
import type { Letters } from './letter.js'
import type { LetterFile } from './letter-file.js'
import type { LetterFolder } from './letter-folder.js'
import type { LetterWriter } from './letter-writer.js'

/** A dead letter dropped because of the limit: the message, and the reason of the letter. */
export type DroppedLetter = Pick<Message, 'sequence' | 'receivedAt' | 'clientId' | 'hub'> &
  Pick<DeadLetter, 'reason' | 'partly'>

/** Accounts for letters that had to go for newer ones. */
export interface DroppedAccount {
  /** Called before letters are dropped. They are deleted when the promise resolves, and kept when it rejects. */
  dropped(letters: readonly DroppedLetter[]): void | Promise<void>
}

export interface LetterLimitOptions {
  readonly limitBytes: number
  /** Approximate number of bytes dropped at a time. */
  readonly fileBytes: number
  readonly sharing: Sharing
  readonly log: Pick<SentenceLog, 'warn'>
  readonly account: DroppedAccount
}

/** Drops the oldest letters of the users that use most of their share, while the size exceeds the limit. */
export class LetterLimit {
  readonly #options: LetterLimitOptions
  readonly #folder: LetterFolder
  readonly #writer: LetterWriter
  #trimming: Promise<void> | undefined
  #isEnding = false

  constructor(options: LetterLimitOptions, folder: LetterFolder, writer: LetterWriter) {
    this.#options = options
    this.#folder = folder
    this.#writer = writer
  }

  /** Stops dropping. A drop that is running is completed. */
  end(): void {
    this.#isEnding = true
  }

  get #bytes(): number {
    return this.#folder.bytes + this.#writer.pendingBytes
  }

  /**
   * Resolves when the size is within the limit, or nothing more can be dropped now. Runs once at a time; never rejects.
   */
  trim(): Promise<void> {
    if (this.#trimming) return this.#trimming
    if (this.#isEnding || this.#bytes <= this.#options.limitBytes) return Promise.resolve()
    this.#trimming = this.#dropOldest()
      .catch(error => this.#options.log.warn(`could not drop the oldest dead letters: ${describe(error)}`))
      .finally(() => {
        this.#trimming = undefined
      })
    return this.#trimming
  }

  /** Resolves when no drop is running. */
  async trimmed(): Promise<void> {
    await this.#trimming
  }

  /** Drops the oldest letters of the users that use most of their share, until the rest is within the limit. */
  async #dropOldest(): Promise<void> {
    const { limitBytes, log } = this.#options
    let count = 0
    const heaviest = new Set<string>()
    try {
      while (this.#bytes > limitBytes) {
        const used = this.#bytesOf()
        const isShared = used.size > 1
        // A compaction has to free enough to be worth its cost.
        const needed = Math.max(this.#bytes - limitBytes, isShared ? this.#options.fileBytes : 0)
        const cuts = isShared ? new Map(fairCuts(used, this.#options.sharing.shares, needed)) : undefined
        for (const account of cuts?.keys() ?? []) heaviest.add(account)
        const dropped = await this.#dropOnce(cuts, limitBytes - (isShared ? needed / 2 : 0))
        if (dropped === undefined) return
        count += dropped
      }
    } finally {
      if (count > 0)
        log.warn(
          `dropped the ${count} oldest dead letters${ofUsers(heaviest)}: the limit is ${limitBytes} bytes (dead.limit)`,
        )
    }
  }

  /**
   * Goes through the files once, oldest first, until no more than `enough` bytes are left. Without `cuts` whole files
   * are dropped. Resolves with the number of dropped letters; undefined when nothing can be dropped now.
   */
  async #dropOnce(cuts: Cuts | undefined, enough: number): Promise<number | undefined> {
    let [count, freed, isHeld] = [0, 0, false]
    for (const file of [...this.#folder.list]) {
      if (this.#bytes <= enough) break
      if (file.deleted || (cuts && !isCut(file, cuts))) continue
      // A sweep is about to remove letters of this file, which must not be counted twice.
      if (file.use.isHeld || (file.writing && !(cuts && (await this.#rolledFrom(file))))) {
        isHeld = true
        continue
      }
      const release = file.use.hold()
      const before = file.bytes
      try {
        count += await this.#dropFrom(file, cuts)
        freed += before - (file.deleted ? 0 : file.bytes)
      } finally {
        await file.closeGone()
        release()
      }
    }
    if (freed > 0) return count
    // No file could be compacted. Deleting the oldest file, of whichever user, needs no space.
    return cuts && !isHeld ? this.#dropOnce(undefined, this.#bytes - 1) : undefined
  }

  /** Moves writing to another file. Resolves with whether this file may be changed now. */
  async #rolledFrom(file: LetterFile): Promise<boolean> {
    if (this.#isEnding) return false
    await this.#writer.roll()
    return !file.writing && !file.use.isHeld
  }

  /** Drops the letters of a file that `cuts` demands, or all without `cuts`. Resolves with their number. */
  async #dropFrom(file: LetterFile, cuts: Cuts | undefined): Promise<number> {
    const letters = await file.read()
    await file.reconcile(letters)
    const isWhole = !cuts || isMostlyCut(file, cuts)
    const starts = isWhole ? letters.starts : await this.#due(letters, cuts)
    await this.#options.account.dropped(await droppedOf(letters, starts))
    if (isWhole) {
      for (const [account, bytes] of file.bytesOf) cuts?.set(account, (cuts.get(account) ?? 0) - bytes)
      await this.#folder.delete(file)
      return starts.length
    }
    await file.remove(letters, starts, () => false)
    try {
      await file.rewrite()
      this.#folder.changed()
    } catch (error) {
      this.#options.log.warn(`could not free the space of dropped dead letters: ${describe(error)}`)
    }
    return starts.length
  }

  /** Returns the offsets of the letters to drop, and subtracts each from the cut of its account. */
  async #due(letters: Letters, cuts: Cuts): Promise<number[]> {
    const due: number[] = []
    const slices = new Slices()
    for (const start of letters.starts) {
      const account = accountOf(this.#options.sharing.shares, letters.user(start))
      const left = cuts.get(account) ?? 0
      if (left > 0) {
        due.push(start)
        cuts.set(account, left - letters.size(start))
      }
      if (slices.isOver) await slices.turn()
    }
    return due
  }

  /** Bytes of letters by account. */
  #bytesOf(): Map<string, number> {
    const sum = new Map<string, number>()
    for (const { bytesOf } of this.#folder.list) {
      for (const [account, bytes] of bytesOf) sum.set(account, (sum.get(account) ?? 0) + bytes)
    }
    return sum
  }
}

/** Bytes to drop by account. */
type Cuts = Map<string, number>

/** Whether the file has letters of accounts in `cuts`. */
function isCut({ bytesOf }: LetterFile, cuts: Cuts): boolean {
  return [...bytesOf.keys()].some(account => (cuts.get(account) ?? 0) > 0)
}

/**
 * Whether every account of the file loses at least half of its bytes there, so that compacting costs more than it
 * keeps.
 */
function isMostlyCut({ bytesOf }: LetterFile, cuts: Cuts): boolean {
  return [...bytesOf].every(([account, bytes]) => (cuts.get(account) ?? 0) * 2 >= bytes)
}

const mostNamed = 5

function ofUsers(accounts: ReadonlySet<string>): string {
  if (accounts.size === 0) return ''
  const names = [...accounts].slice(0, mostNamed).map(account => JSON.stringify(account))
  const more = accounts.size > mostNamed ? ` and ${accounts.size - mostNamed} more` : ''
  return ` of the users that use most of their share (${names.join(', ')}${more})`
}

async function droppedOf(letters: Letters, starts: readonly number[]): Promise<DroppedLetter[]> {
  const dropped: DroppedLetter[] = []
  const slices = new Slices()
  for (const start of starts) {
    const letter = letters.at(start)
    if (letter) {
      const { sequence, receivedAt, clientId, hub } = letter.message
      dropped.push({
        sequence,
        receivedAt,
        clientId,
        ...(hub !== undefined && { hub }),
        reason: letter.reason,
        ...(letter.partly && { partly: true }),
      })
    }
    if (slices.isOver) await slices.turn()
  }
  return dropped
}
