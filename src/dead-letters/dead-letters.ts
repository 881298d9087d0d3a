import { type Files, nodeFiles } from '../disk/files.js'
import { describe, HubError } from '../errors.js'
import type { DeadLetter } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { type DeadLetterFilter, type DeadLetters, heldBytes } from '../queue/queue.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { Slices } from '../runtime/slices.js'
import { type Sharing, unsharing } from '../runtime/user-shares.js'
import { EncodedLetter, type Key, keyOf } from './letter.js'
import type { LetterFile } from './letter-file.js'
import { LetterFolder } from './letter-folder.js'
import { type DroppedLetter, LetterLimit } from './letter-limit.js'
import { type Handle, LetterSweep } from './letter-sweep.js'
import { LetterWriter } from './letter-writer.js'

export type { DroppedLetter }

export interface DeadLetterFilesOptions {
  readonly dir: string
  /**
   * Beyond this size the oldest letters of the users that use most of their share are dropped, about a file at a time.
   */
  readonly limitBytes: number
  /** Current shares of the users. Without, all letters count for one user. */
  readonly sharing?: Sharing
  /** Receives sentences for operators about letters dropped, space not freed, and a disk that refuses writes. */
  readonly log: Pick<SentenceLog, 'warn'>
  readonly incidents: IncidentReporter
  /**
   * Called before letters are dropped because of the limit, which may happen at the start. They are deleted when the
   * promise resolves; after a crash in between, or a rejection, the function is called for them again. The function
   * must not wait for `put`.
   */
  readonly dropped: (letters: readonly DroppedLetter[]) => void | Promise<void>
  readonly files?: Files
}

/** Maximum number of bytes of the messages in one list. Further letters are left out. */
const mostListed = 64e6

const largestFileBytes = 32e6

/**
 * Dead letters without RabbitMQ: append-only files, oldest first; `letter-names.ts` draws them. A removal is a mark
 * with the offset of the letter, so a letter that is put again later is not affected. A file whose letters are all
 * removed is deleted, and one with mostly removed letters is compacted. Beyond the limit the oldest letters of the
 * users that use most of their share are dropped, and the files are compacted.
 *
 * Guarantees after any disk error, crash or loss of power: a letter whose `put` resolved is found once after a restart,
 * and a letter whose removal resolved is not, unless another copy is in a file that could not be read at that time. A
 * rejected `put` may have stored the letter, and a rejected sweep may have removed letters answered with `true`:
 * calling again repairs both.
 *
 * Damage never prevents the start. Missing, damaged and unreadable letters are reported, the damaged file is copied,
 * and intact letters are kept. Removed letters reappear only when their marks are damaged or missing, which is
 * reported.
 *
 * The ids of all letters are held in memory to detect duplicates: eight bytes each. All files are read at the start,
 * one at a time.
 */
export class DeadLetterFiles implements DeadLetters {
  readonly name = 'dead letters'
  readonly #options: DeadLetterFilesOptions
  readonly #folder: LetterFolder
  readonly #writer: LetterWriter
  readonly #limit: LetterLimit
  readonly #sweep: LetterSweep
  readonly #ending = new AbortController()
  readonly #pending = new Map<Key, Promise<void>>()
  readonly #sweeping = new SerialQueue()
  /** Resolves when the files are read; undefined while the directory cannot be listed. */
  #opened: Promise<void> | undefined
  readonly #securing = new Map<LetterFile, Promise<void>>()

  constructor(options: DeadLetterFilesOptions) {
    const { dir, limitBytes, sharing = unsharing, log, incidents, files = nodeFiles } = options
    this.#options = options
    const fileBytes = Math.min(largestFileBytes, Math.ceil(limitBytes / 8))
    const ground = { dir, files, sharing, log, incidents }
    this.#folder = new LetterFolder(ground)
    this.#writer = new LetterWriter(this.#folder, ground, fileBytes)
    this.#sweep = new LetterSweep(this.#folder, {
      tidy: file => this.#tidy(file),
      pending: key => this.#pending.get(key),
    })
    this.#limit = new LetterLimit({ limitBytes, fileBytes, sharing, log, account: options }, this.#folder, this.#writer)
  }

  /** Never rejects because of the disk. When the files cannot be opened, each `put` tries again. */
  async start(): Promise<void> {
    try {
      await this.#open()
    } catch (error) {
      this.#options.incidents.report(
        'dead_letters_unreadable',
        `${this.#options.dir} cannot be read (${describe(error)}): until it can, dead letters are neither shown nor written`,
      )
    }
  }

  /** Ends a running sweep before the next batch, and commits the letters that were put. */
  async stop(): Promise<void> {
    this.#ending.abort()
    this.#limit.end()
    await this.#sweeping.idle()
    await this.#writer.close()
    await this.#limit.trimmed()
    await Promise.allSettled(this.#securing.values())
    if (this.#opened) await this.#folder.close()
  }

  /** Size of all files and of the letters that wait to be written. */
  get bytes(): number {
    return this.#folder.bytes + this.#writer.pendingBytes
  }

  /** Number of letters. */
  get count(): number {
    return this.#folder.count
  }

  async put(letters: readonly DeadLetter[]): Promise<void> {
    if (this.#ending.signal.aborted) throw new HubError('stopping', 'dead letters are closed')
    await this.#open()
    await Promise.all(letters.map(letter => this.#put(letter)))
    // Waits until the excess is dropped, so that letters that come fast cannot outgrow the limit.
    await this.#limit.trim()
  }

  async list(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]> {
    const found: DeadLetter[] = []
    let bytes = 0
    const slices = new Slices()
    for (const file of this.#folder.holding(filter).reverse()) {
      if (found.length >= limit || bytes >= mostListed) break
      const letters = await this.#folder.read(file)
      if (!letters) continue
      for (const start of letters.starts.toReversed()) {
        if (found.length >= limit || bytes >= mostListed) break
        const letter = letters.matching(start, filter)
        if (letter) {
          found.push(letter)
          bytes += heldBytes(letter.message)
        }
        if (slices.isOver) await slices.turn()
      }
    }
    return found
  }

  /** Runs sweeps one after the other. Letters put after the sweep began are not handed over. */
  sweep(filter: DeadLetterFilter, handle: Handle, signal: AbortSignal): Promise<void> {
    const either = AbortSignal.any([signal, this.#ending.signal])
    return this.#sweeping.run(() => this.#sweep.run(filter, handle, either))
  }

  #open(): Promise<void> {
    if (!this.#opened) {
      const opened = this.#openFiles()
      this.#opened = opened
      opened.catch(() => {
        this.#opened = undefined
      })
    }
    return this.#opened
  }

  async #openFiles(): Promise<void> {
    try {
      await this.#folder.open()
    } catch (error) {
      throw new HubError('spool_failed', `could not open the dead letters: ${describe(error)}`, { cause: error })
    }
    for (const file of this.#folder.list) await this.#tidy(file)
    this.#writer.open()
    await this.#limit.trim()
  }

  async #put(letter: DeadLetter): Promise<void> {
    const key = keyOf(letter.message)
    const pending = this.#pending.get(key)
    if (pending) return pending
    const holder = this.#sweep.isInHand(key) ? undefined : this.#folder.list.find(file => file.has(key))
    if (holder) return holder.isSure ? undefined : this.#secure(holder)
    const committed = this.#append(new EncodedLetter(letter))
    this.#pending.set(key, committed)
    return committed
  }

  async #append(letter: EncodedLetter): Promise<void> {
    try {
      const file = await this.#writer.append(letter)
      this.#sweep.wasPut(letter.key, file)
    } finally {
      this.#pending.delete(letter.key)
    }
  }

  /**
   * Compacts a file for which a restart might find other letters: written by a crashed process, or a removal failed.
   */
  #secure(file: LetterFile): Promise<void> {
    const known = this.#securing.get(file)
    if (known) return known
    if (file.use.isHeld) return Promise.reject(new HubError('spool_failed', `${file.path} is being compacted`))
    const release = file.use.hold()
    const rewrite = async () => {
      if (file.writing) await this.#writer.roll()
      await file.rewrite()
    }
    const securing = rewrite().finally(() => {
      this.#securing.delete(file)
      this.#folder.changed()
      release()
    })
    this.#securing.set(file, securing)
    return securing
  }

  /** Frees the space of removed letters. A failure costs only space, and is retried later. */
  async #tidy(file: LetterFile): Promise<void> {
    // Unreadable parts may be readable at the next start.
    if (file.deleted || file.damage.isUnread || (file.count > 0 ? !file.isMostlyGone : file.writing && file.end === 0))
      return
    try {
      if (file.writing) await this.#writer.roll()
      if (file.count > 0) await file.rewrite()
      else await this.#folder.delete(file)
    } catch (error) {
      this.#options.log.warn(`could not free the space of removed dead letters: ${describe(error)}`)
    }
  }
}
