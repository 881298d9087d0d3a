import { setImmediate } from 'node:timers/promises'
import { type Files, nodeFiles } from '../disk/files.js'
import { describe, HubError } from '../errors.js'
import type { DeadLetter } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { type DeadLetterFilter, type DeadLetters, heldBytes } from '../queue/queue.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { type Sharing, unsharing } from '../runtime/user-shares.js'
import { EncodedLetter, type Key, keyOf } from './letter.js'
import type { LetterFile } from './letter-file.js'
import { LetterFolder } from './letter-folder.js'
import { type DroppedLetter, LetterLimit } from './letter-limit.js'
import { framesATurn } from './letter-scan.js'
import { type Handle, LetterSweep } from './letter-sweep.js'
import { LetterWriter } from './letter-writer.js'

export type { DroppedLetter }

export interface DeadLetterFilesOptions {
  readonly dir: string
  /** Past it the oldest letters of the user with most for its share go, about a file's worth at a time. */
  readonly limitBytes: number
  /** As of now; without it all letters are of one user. */
  readonly sharing?: Sharing
  /** Something a person should know that is no loss: letters dropped, space not freed, a disk that refuses. */
  readonly log: Pick<SentenceLog, 'warn'>
  readonly incidents: IncidentReporter
  /**
   * Letters that go because of the limit, at the start already. They go once this resolves; after a crash in between, and
   * after a rejection, it is called for them again. It must not wait for `put`.
   */
  readonly dropped: (letters: readonly DroppedLetter[]) => void | Promise<void>
  readonly files?: Files
}

/** Bytes of messages that a list holds; what is above is left out. */
const mostListed = 64e6

const largestFileBytes = 32e6

/**
 * Dead letters without a RabbitMQ: append-only files, oldest first; `letter-names.ts` draws them. A letter is named by its
 * place in them, so one that is put again after its removal is not gone. A file whose letters are all gone is deleted;
 * one that is mostly gone is written anew. Past the limit the users with most for their share lose their oldest letters,
 * and what is left of a file is written anew.
 *
 * Whatever the disk refuses, and whenever the process or the power ends: a letter whose `put` resolved is there after a
 * restart, once, and one whose removal resolved is not, unless a file that could not be read then has it, too. A put that rejected may have kept its letter, and a sweep that
 * rejected may have removed what was answered `true`: putting and sweeping again makes it good.
 *
 * Damage never keeps it from starting. What is missing by the index, damaged or unreadable is reported, with a copy of the
 * file as it was, and what is whole is kept. Letters that were removed are there again only when the marks of their
 * removal are damaged or missing, which is reported, too.
 *
 * Held in memory are the ids, to see what is put twice: eight bytes for each letter. All files are read at the start,
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
  /** Resolves when the files are read; undefined while the disk does not even say which there are. */
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

  /** Whatever the disk says, it starts; what it could not do then is tried again with each letter that is put. */
  async start(): Promise<void> {
    try {
      await this.#open()
    } catch (error) {
      this.#options.incidents.report(
        'dead_letters_unreadable',
        `${this.#options.dir} cannot be read (${describe(error)}): no dead letter is shown, and none can be put until it can`,
      )
    }
  }

  /** Ends a sweep before its next batch, and commits what was put. */
  async stop(): Promise<void> {
    this.#ending.abort()
    this.#limit.end()
    await this.#sweeping.idle()
    await this.#writer.close()
    await this.#limit.trimmed()
    await Promise.allSettled(this.#securing.values())
    if (this.#opened) await this.#folder.close()
  }

  /** Of all files, and of what waits to be written. */
  get bytes(): number {
    return this.#folder.bytes + this.#writer.pendingBytes
  }

  /** Letters there are. */
  get count(): number {
    return this.#folder.count
  }

  async put(letters: readonly DeadLetter[]): Promise<void> {
    if (this.#ending.signal.aborted) throw new HubError('stopping', 'dead letters are closed')
    await this.#open()
    await Promise.all(letters.map(letter => this.#put(letter)))
    // So much as was put too much is gone when this resolves: however fast they come, they do not outgrow the limit.
    await this.#limit.trim()
  }

  async list(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]> {
    const found: DeadLetter[] = []
    let bytes = 0
    for (const file of this.#folder.holding(filter).reverse()) {
      if (found.length >= limit || bytes >= mostListed) break
      const letters = await this.#folder.read(file)
      if (!letters) continue
      let seen = 0
      for (const start of letters.starts.toReversed()) {
        if (found.length >= limit || bytes >= mostListed) break
        const letter = letters.matching(start, filter)
        if (letter) {
          found.push(letter)
          bytes += heldBytes(letter.message)
        }
        if (++seen % framesATurn === 0) await setImmediate()
      }
    }
    return found
  }

  /** One after the other. What is put after it began is not handed over. */
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

  /** The process before put its letters there, or a removal was refused: it is not known what a restart would find. */
  #secure(file: LetterFile): Promise<void> {
    const known = this.#securing.get(file)
    if (known) return known
    if (file.use.isHeld) return Promise.reject(new HubError('spool_failed', `${file.path} is being written anew`))
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

  /** Frees the space of what is gone. What fails here costs space only, and is tried again. */
  async #tidy(file: LetterFile): Promise<void> {
    // What cannot be read may be read by the next start.
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
