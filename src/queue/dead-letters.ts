import { closeSync, existsSync, openSync, readdirSync, rmSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { accountOf, type UserShares, unshared } from '../auth/user-shares.js'
import { isDiskError } from '../disk/retried-write.js'
import { describe, HubError } from '../errors.js'
import { CommitLog, syncDirectory } from '../journal.js'
import type { DeadLetter, Message } from '../model.js'
import { unlessAborted } from '../retry.js'
import { fairCuts } from '../runtime/fair-cuts.js'
import {
  EncodedLetter,
  framesATurn,
  type Key,
  keyOf,
  keyOfId,
  LetterFile,
  type Letters,
  parseName,
} from './letter-file.js'
import { type DeadLetterFilter, type DeadLetters, heldBytes } from './queue.js'

/** A dead letter that had to go for newer ones: which message it was, and why it was one. */
export type DroppedLetter = Pick<Message, 'sequence' | 'receivedAt' | 'clientId' | 'hub'> & Pick<DeadLetter, 'reason'>

export interface DeadLetterFilesOptions {
  readonly dir: string
  /** Past it the oldest letters of the user with most for its share go, about a file's worth at a time. */
  readonly limitBytes: number
  /** As of now; without it all letters are of one user. */
  readonly shares?: () => UserShares
  /** Something a person should know: damage found, letters dropped. */
  readonly warn: (sentence: string) => void
  /**
   * Letters that go because of the limit, at the start already. They go once this resolves; after a crash in between, and
   * after a rejection, it is called for them again. It must not wait for `put`.
   */
  readonly dropped: (letters: readonly DroppedLetter[]) => void | Promise<void>
}

/** Bytes of messages that a list holds; what is above is left out. */
const mostListed = 64e6

type Handle = Parameters<DeadLetters['sweep']>[1]

/** A log, and the file it writes to now. */
interface Writer {
  readonly log: CommitLog
  file: LetterFile
}

/** Where a letter is in its file. */
interface Found {
  readonly start: number
  readonly letter: DeadLetter
}

const largestFileBytes = 32e6
const batchSize = 500

/**
 * Dead letters without a RabbitMQ: append-only files, oldest first; `letter-file.ts` draws them. A letter is named by its
 * place in them, so one that is put again after its removal is not gone. A file whose letters are all gone is deleted;
 * one that is mostly gone is written anew. Past the limit the users with most for their share lose their oldest letters,
 * and what is left of a file is written anew.
 *
 * Held in memory are the ids, to see what is put twice: eight bytes for each letter. All files are read at the start,
 * one at a time.
 */
export class DeadLetterFiles implements DeadLetters {
  readonly name = 'dead letters'
  readonly #options: DeadLetterFilesOptions
  readonly #fileBytes: number
  readonly #shares: () => UserShares
  readonly #ending = new AbortController()
  /** Ascending by number: by age. */
  #files: LetterFile[] = []
  #number = 0
  #writer: Writer | undefined
  readonly #pending = new Map<Key, Promise<void>>()
  /** What a sweep has handed over, and where it was put again meanwhile: that one is not meant by the answer. */
  readonly #inHand = new Map<Key, LetterFile | undefined>()
  #sweeping: Promise<unknown> = Promise.resolve()
  #trimming: Promise<void> | undefined

  constructor(options: DeadLetterFilesOptions) {
    this.#options = options
    this.#shares = options.shares ?? (() => unshared)
    this.#fileBytes = Math.min(largestFileBytes, Math.ceil(options.limitBytes / 8))
  }

  async start(): Promise<void> {
    await unlessRefused(() => mkdir(this.#options.dir, { recursive: true, mode: 0o700 }))
    this.#files = this.#found()
    for (const [i, file] of this.#files.entries()) {
      const earlier = this.#files.slice(0, i)
      const isNewest = i === this.#files.length - 1
      const twice = await file.load(isNewest, key => earlier.some(one => one.has(key)), this.#options.warn)
      if (twice.length > 0) await unlessRefused(async () => file.remove(await file.read(), twice, () => true))
      await file.closeGone()
    }
    for (const file of [...this.#files]) await unlessRefused(() => this.#tidy(file))
    const newest = this.#files.at(-1)
    // A log may become twice as long as it was when it was opened.
    const fits = newest && newest.end < this.#fileBytes / 2
    try {
      this.#writer = this.#open(fits ? { file: newest, fd: openSync(newest.path, 'r+') } : this.#create())
    } catch (error) {
      if (!isDiskError(error)) throw error
      this.#options.warn(
        `no dead letter can be put into ${this.#options.dir} (${describe(error)}); tried again with each`,
      )
      // The first letter asks for a new file.
      this.#writer = this.#open({ file: newest ?? this.#file(this.#number), fd: -1 })
    }
    await unlessRefused(() => this.#trim())
  }

  /** Ends a sweep before its next batch, and commits what was put. */
  async stop(): Promise<void> {
    this.#ending.abort()
    await this.#sweeping
    await this.#writer?.log.close()
    this.#writer = undefined
    await this.#trimming
  }

  /** Of all files, and of what waits to be written. */
  get bytes(): number {
    return this.#files.reduce((sum, file) => sum + file.bytes, this.#writer?.log.pendingBytes ?? 0)
  }

  /** Letters there are. */
  get count(): number {
    return this.#files.reduce((sum, file) => sum + file.count, 0)
  }

  async put(letters: readonly DeadLetter[]): Promise<void> {
    await Promise.all(letters.map(letter => this.#put(letter)))
    // So much as was put too much is gone when this resolves: however fast they come, they do not outgrow the limit.
    await this.#trim()
  }

  async list(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]> {
    const found: DeadLetter[] = []
    let bytes = 0
    for (const file of this.#holding(filter).reverse()) {
      if (found.length >= limit || bytes >= mostListed) break
      const letters = await file.read()
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
    const sweep = this.#sweeping.then(() => this.#sweep(filter, handle, either))
    this.#sweeping = sweep.catch(() => {})
    return sweep
  }

  #put(letter: DeadLetter): Promise<void> {
    const writer = this.#writer
    if (!writer || this.#ending.signal.aborted)
      return Promise.reject(new HubError('stopping', 'dead letters are closed'))
    const key = keyOf(letter.message)
    const pending = this.#pending.get(key)
    if (pending) return pending
    if (!this.#inHand.has(key) && this.#files.some(file => file.has(key))) return Promise.resolve()
    const committed = this.#append(writer, new EncodedLetter(letter))
    this.#pending.set(key, committed)
    return committed
  }

  async #sweep(filter: DeadLetterFilter, handle: Handle, signal: AbortSignal): Promise<void> {
    const files = this.#holding(filter).map(file => ({ file, end: file.end }))
    for (const { file, end } of files) {
      // It is being dropped.
      while (file.busy) await this.#trimming
      if (signal.aborted) return
      if (file.deleted) continue
      file.busy = true
      try {
        await this.#sweepFile(file, end, filter, handle, signal)
      } finally {
        await file.closeGone()
        await this.#tidy(file)
        file.busy = false
      }
    }
  }

  async #sweepFile(
    file: LetterFile,
    end: number,
    filter: DeadLetterFilter,
    handle: Handle,
    signal: AbortSignal,
  ): Promise<void> {
    const letters = await file.read()
    let batch: Found[] = []
    for (const [i, start] of letters.starts.entries()) {
      if (signal.aborted || start >= end) break
      const letter = letters.matching(start, filter)
      if (letter) batch.push({ start, letter })
      if (batch.length === batchSize) {
        await this.#handOver(file, letters, batch, handle, signal)
        batch = []
      }
      if (i % framesATurn === 0) await setImmediate()
    }
    if (batch.length > 0 && !signal.aborted) await this.#handOver(file, letters, batch, handle, signal)
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
      await Promise.allSettled(batch.map(({ letter }) => this.#pending.get(keyOf(letter.message))))
      const putAgain = (letter: DeadLetter) => this.#inHand.get(keyOf(letter.message)) !== undefined
      const gone = batch.filter(({ letter }, i) => answers[i] === true || putAgain(letter))
      try {
        const starts = gone.map(({ start }) => start)
        await file.remove(letters, starts, key => this.#inHand.get(key) === file)
      } finally {
        this.#inHand.clear()
      }
    }
  }

  /** Frees the space of what is gone. What fails here costs space only, and is tried again. */
  async #tidy(file: LetterFile): Promise<void> {
    if (file.count > 0 ? !file.isMostlyGone : file.writing && file.end === 0) return
    try {
      if (file.writing) await this.#roll()
      if (file.count > 0) await file.rewrite()
      else await this.#delete(file)
    } catch (error) {
      this.#options.warn(`could not free the space of removed dead letters: ${describe(error)}`)
    }
  }

  /** One at a time; never fails. */
  #trim(): Promise<void> {
    if (this.#trimming) return this.#trimming
    if (this.bytes <= this.#options.limitBytes) return Promise.resolve()
    this.#trimming = this.#dropOldest()
      .catch(error => this.#options.warn(`could not drop the oldest dead letters: ${describe(error)}`))
      .finally(() => {
        this.#trimming = undefined
      })
    return this.#trimming
  }

  /** The oldest letters of those with most for their share, until the rest is within the limit. */
  async #dropOldest(): Promise<void> {
    const { limitBytes, warn } = this.#options
    let count = 0
    const heaviest = new Set<string>()
    try {
      while (this.bytes > limitBytes) {
        const used = this.#bytesOf()
        const isShared = used.size > 1
        // A file that is written anew has to free a good part of what writing costs.
        const needed = Math.max(this.bytes - limitBytes, isShared ? this.#fileBytes : 0)
        const cuts = isShared ? new Map(fairCuts(used, this.#shares(), needed)) : undefined
        for (const account of cuts?.keys() ?? []) heaviest.add(account)
        const dropped = await this.#dropOnce(cuts, limitBytes - (isShared ? needed / 2 : 0))
        if (dropped === undefined) return
        count += dropped
      }
    } finally {
      if (count > 0)
        warn(
          `dropped the ${count} oldest dead letters${ofUsers(heaviest)}: the limit is ${limitBytes} bytes (dead.limit)`,
        )
    }
  }

  /**
   * One round through the files, oldest first, until no more than `enough` bytes are left. Without `cuts` whole files go.
   * Resolves with the number of letters that are gone; undefined when there is nothing that may go now.
   */
  async #dropOnce(cuts: Cuts | undefined, enough: number): Promise<number | undefined> {
    let [count, freed, isHeld] = [0, 0, false]
    for (const file of [...this.#files]) {
      if (this.bytes <= enough) break
      if (file.deleted || (cuts && !isCut(file, cuts))) continue
      // What a sweep has in hand is about to be removed, and must not be counted twice.
      if (file.busy || (file.writing && !(cuts && (await this.#rolledFrom(file))))) {
        isHeld = true
        continue
      }
      file.busy = true
      const before = file.bytes
      try {
        count += await this.#dropFrom(file, cuts)
        freed += before - (file.deleted ? 0 : file.bytes)
      } finally {
        await file.closeGone()
        file.busy = false
      }
    }
    if (freed > 0) return count
    // No file can be written anew: what can be had without is the oldest file, of whichever user.
    return cuts && !isHeld ? this.#dropOnce(undefined, this.bytes - 1) : undefined
  }

  /** Whether letters are put into another file from now on. */
  async #rolledFrom(file: LetterFile): Promise<boolean> {
    if (this.#ending.signal.aborted) return false
    await this.#roll()
    return !file.writing && !file.busy
  }

  /** Drops letters of a file, and takes them off `cuts`; without, all of them. Resolves with how many. */
  async #dropFrom(file: LetterFile, cuts: Cuts | undefined): Promise<number> {
    const letters = await file.read()
    const isWhole = !cuts || isMostlyCut(file, cuts)
    const starts = isWhole ? letters.starts : await this.#due(letters, cuts)
    await this.#options.dropped(await droppedOf(letters, starts))
    if (isWhole) {
      for (const [account, bytes] of file.bytesOf) cuts?.set(account, (cuts.get(account) ?? 0) - bytes)
      await this.#delete(file)
      return starts.length
    }
    await file.remove(letters, starts, () => false)
    try {
      await file.rewrite()
    } catch (error) {
      this.#options.warn(`could not free the space of dropped dead letters: ${describe(error)}`)
    }
    return starts.length
  }

  /** Where the letters begin that are to go, each of them taken off the cut of its account. */
  async #due(letters: Letters, cuts: Cuts): Promise<number[]> {
    const due: number[] = []
    for (const [i, start] of letters.starts.entries()) {
      const account = accountOf(this.#shares(), letters.user(start))
      const left = cuts.get(account) ?? 0
      if (left > 0) {
        due.push(start)
        cuts.set(account, left - letters.size(start))
      }
      if (i % framesATurn === 0) await setImmediate()
    }
    return due
  }

  /** Bytes of letters by account. */
  #bytesOf(): Map<string, number> {
    const sum = new Map<string, number>()
    for (const { bytesOf } of this.#files) {
      for (const [account, bytes] of bytesOf) sum.set(account, (sum.get(account) ?? 0) + bytes)
    }
    return sum
  }

  async #delete(file: LetterFile): Promise<void> {
    try {
      await file.delete()
    } finally {
      if (file.deleted) this.#files = this.#files.filter(one => one !== file)
    }
  }

  /** Oldest first. */
  #holding({ id }: DeadLetterFilter): LetterFile[] {
    if (id === undefined) return [...this.#files]
    const key = keyOfId(id)
    return this.#files.filter(file => file.has(key))
  }

  /** The files there are, oldest first; what a crash left besides is removed. */
  #found(): LetterFile[] {
    const { dir } = this.#options
    const all = existsSync(dir) ? readdirSync(dir) : []
    const names = all.flatMap(name => parseName(name) ?? [])
    const newest = new Map<number, number>()
    for (const { number, generation, kind } of names) {
      this.#number = Math.max(this.#number, number)
      if (kind === 'log') newest.set(number, Math.max(newest.get(number) ?? 0, generation))
    }
    for (const name of all) {
      const parsed = parseName(name)
      if (!parsed) continue
      if (parsed.kind === 'new' || newest.get(parsed.number) !== parsed.generation) {
        try {
          rmSync(join(dir, name))
        } catch (error) {
          if (!isDiskError(error)) throw error
        }
      }
    }
    return [...newest].sort(([a], [b]) => a - b).map(([number, generation]) => this.#file(number, generation))
  }

  #file(number: number, generation?: number): LetterFile {
    return new LetterFile(this.#options.dir, user => accountOf(this.#shares(), user), number, generation)
  }

  #create(): { file: LetterFile; fd: number } {
    const { dir } = this.#options
    const file = this.#file(++this.#number)
    const fd = openSync(file.path, 'wx')
    try {
      syncDirectory(dir)
    } catch (error) {
      closeSync(fd)
      rmSync(file.path, { force: true })
      throw error
    }
    this.#files.push(file)
    return { file, fd }
  }

  #open({ file, fd }: { file: LetterFile; fd: number }): Writer {
    const log = new CommitLog({
      fsync: 'group',
      rotateBytes: this.#fileBytes,
      rotate: async () => {
        const next = this.#create()
        writer.file.writing = false
        writer.file = next.file
        writer.file.writing = true
        return { fd: next.fd, end: 0 }
      },
    })
    const writer = { log, file }
    file.writing = true
    log.open(fd, file.end)
    return writer
  }

  #append(writer: Writer, letter: EncodedLetter): Promise<void> {
    return new Promise((resolve, reject) => {
      writer.log.append(letter.length, letter, writeLetter, (_, error) => {
        this.#pending.delete(letter.key)
        if (error) return reject(error)
        writer.file.added(letter, writer.log.end)
        if (this.#inHand.has(letter.key)) this.#inHand.set(letter.key, writer.file)
        resolve()
      })
    })
  }

  /** Goes on in a new file. Resolves when the one before is closed. */
  async #roll(): Promise<void> {
    const before = this.#writer
    if (!before) return
    this.#writer = this.#open(this.#create())
    await before.log.close()
    before.file.writing = false
  }
}

/** A disk that refuses writes does not keep the hub from starting: the next start, or the next letter, tries again. */
async function unlessRefused(act: () => unknown): Promise<void> {
  try {
    await act()
  } catch (error) {
    if (!isDiskError(error)) throw error
  }
}

const writeLetter = (letter: EncodedLetter, target: Buffer, at: number) => letter.write(target, at)

/** Bytes that accounts are still to give up. */
type Cuts = Map<string, number>

/** Whether the file has letters of accounts that are to give up some. */
function isCut({ bytesOf }: LetterFile, cuts: Cuts): boolean {
  return [...bytesOf.keys()].some(account => (cuts.get(account) ?? 0) > 0)
}

/** Whether every account of the file is to give up at least half of what it has there: writing the rest anew costs more. */
function isMostlyCut({ bytesOf }: LetterFile, cuts: Cuts): boolean {
  return [...bytesOf].every(([account, bytes]) => (cuts.get(account) ?? 0) * 2 >= bytes)
}

const mostNamed = 5

function ofUsers(accounts: ReadonlySet<string>): string {
  if (accounts.size === 0) return ''
  const names = [...accounts].slice(0, mostNamed).map(account => JSON.stringify(account))
  const more = accounts.size > mostNamed ? ` and ${accounts.size - mostNamed} more` : ''
  return ` of the users with most for their share (${names.join(', ')}${more})`
}

async function droppedOf(letters: Letters, starts: readonly number[]): Promise<DroppedLetter[]> {
  const dropped: DroppedLetter[] = []
  for (const [i, start] of starts.entries()) {
    const letter = letters.at(start)
    if (letter) {
      const { sequence, receivedAt, clientId, hub } = letter.message
      dropped.push({ sequence, receivedAt, clientId, ...(hub !== undefined && { hub }), reason: letter.reason })
    }
    if (i % framesATurn === 0) await setImmediate()
  }
  return dropped
}
