import { HubError } from '../errors.js'
import type { DeadLetter } from '../model.js'
import type { DeadLetterFilter, DeadLetters } from '../queue/queue.js'
import { unlessAborted } from '../runtime/retry.js'
import { Slices } from '../runtime/slices.js'
import { type Key, keyOf, type Letters } from './letter.js'
import type { LetterFile } from './letter-file.js'
import type { LetterFolder } from './letter-folder.js'

export type Handle = Parameters<DeadLetters['sweep']>[1]

/** A letter and its offset in the file. */
interface Found {
  readonly start: number
  readonly letter: DeadLetter
}

const batchSize = 500

export interface LetterSweepOptions {
  /** Called after each file. Never rejects. */
  readonly tidy: (file: LetterFile) => Promise<void>
  /** Returns the running `put` of a letter. */
  readonly pending: (key: Key) => Promise<void> | undefined
}

/** Hands over letters and removes them, a file at a time. One sweep at a time. */
export class LetterSweep {
  readonly #folder: LetterFolder
  readonly #options: LetterSweepOptions
  /**
   * Letters handed over, with the file into which a letter was put again meanwhile: the answer does not apply to that
   * copy.
   */
  readonly #inHand = new Map<Key, LetterFile | undefined>()

  constructor(folder: LetterFolder, options: LetterSweepOptions) {
    this.#folder = folder
    this.#options = options
  }

  /** Whether a letter was handed over and the answer is pending. */
  isInHand(key: Key): boolean {
    return this.#inHand.has(key)
  }

  wasPut(key: Key, file: LetterFile): void {
    if (this.#inHand.has(key)) this.#inHand.set(key, file)
  }

  /** Resolves when all matching letters were handed over. Rejects at the end when some files could not be read. */
  async run(filter: DeadLetterFilter, handle: Handle, signal: AbortSignal): Promise<void> {
    const files = this.#folder.holding(filter).map(file => ({ file, end: file.end }))
    const unread: string[] = []
    for (const { file, end } of files) {
      // The limit may be dropping letters of this file.
      await file.use.released()
      if (signal.aborted) return
      if (file.deleted) continue
      const release = file.use.hold()
      try {
        if (!(await this.#sweepFile(file, end, filter, handle, signal))) unread.push(file.path)
      } finally {
        await file.closeGone()
        await this.#options.tidy(file)
        this.#folder.changed()
        release()
      }
    }
    if (unread.length > 0) throw new HubError('spool_failed', `some dead letters could not be read: ${unread}`)
  }

  /** Resolves with false when the file cannot be read. */
  async #sweepFile(
    file: LetterFile,
    end: number,
    filter: DeadLetterFilter,
    handle: Handle,
    signal: AbortSignal,
  ): Promise<boolean> {
    const letters = await this.#folder.read(file)
    if (!letters) return false
    let batch: Found[] = []
    const slices = new Slices()
    for (const start of letters.starts) {
      if (signal.aborted || start >= end) break
      const letter = letters.matching(start, filter)
      if (letter) batch.push({ start, letter })
      if (batch.length === batchSize) {
        await this.#handOver(file, letters, batch, handle, signal)
        batch = []
      }
      if (slices.isOver) await slices.turn()
    }
    if (batch.length > 0 && !signal.aborted) await this.#handOver(file, letters, batch, handle, signal)
    return true
  }

  async #handOver(
    file: LetterFile,
    letters: Letters,
    batch: readonly Found[],
    handle: Handle,
    signal: AbortSignal,
  ): Promise<void> {
    for (const { letter } of batch) this.#inHand.set(keyOf(letter.message), undefined)
    let answers: readonly boolean[] = []
    try {
      answers = (await unlessAborted(handle(batch.map(({ letter }) => letter)), signal)) ?? []
    } finally {
      await Promise.allSettled(batch.map(({ letter }) => this.#options.pending(keyOf(letter.message))))
      const putAgain = (letter: DeadLetter) => this.#inHand.get(keyOf(letter.message)) !== undefined
      const isInFile = (key: Key) => this.#inHand.get(key) === file
      const startsOf = (found: readonly Found[]) => found.map(({ start }) => start)
      try {
        await file.supersede(letters, startsOf(batch.filter(({ letter }) => putAgain(letter))), isInFile)
        await this.#removeSuperseded(file)
        const isGone = ({ letter }: Found, i: number) => answers[i] === true && !putAgain(letter)
        await file.remove(letters, startsOf(batch.filter(isGone)), isInFile)
      } finally {
        this.#inHand.clear()
      }
    }
  }

  /** Removes hidden duplicates: once their other copy is removed, the next start must not find them. */
  async #removeSuperseded(held: LetterFile): Promise<void> {
    for (const file of this.#folder.list.filter(one => one.hasSuperseded)) {
      if (file !== held) await file.use.released()
      const release = file === held ? () => {} : file.use.hold()
      try {
        await file.removeSuperseded()
      } finally {
        if (file !== held) await file.closeGone()
        release()
      }
    }
  }
}
