import { constants, copyFileSync, existsSync, openSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { isDiskError } from '../disk/retried-write.js'
import { describe, HubError, systemCode } from '../errors.js'
import { CommitLog, frameAt, frameHeaderBytes, nextFrame, syncDirectory } from '../journal.js'
import { type DeadLetter, type Message, messageId } from '../model.js'
import { decodeMessage, encodedLength, encodeMessage, sequenceAt, userAt } from './codec.js'
import { type DeadLetterFilter, fits } from './queue.js'

/**
 * One file of dead letters, and the one beside it that tells which of them are gone.
 *
 *     dead/0000000001.log      letters, in the order they came
 *          0000000001.gone     where those begin in it that are gone
 *          0000000002.3.log    rewritten three times without what was gone; 0000000002.3.gone belongs to this one alone
 *          0000000002.4.new    being rewritten
 *
 *     .log  ┌─────────────────┬──────────────────────────────────────────────────┬───────────────────┐
 *           │ JSON length u32 │ {hub?, reason, detail, failedAt, attempts} UTF-8 │ message: codec.ts │   the body of a
 *           └─────────────────┴──────────────────────────────────────────────────┴───────────────────┘   frame: journal.ts
 *     .gone ┌────────────┐
 *           │ offset u32 │   the body of a frame; one each, so that damage brings back one letter
 *           └────────────┘
 *
 * A crash may leave, and a start removes: `.new`; a `.log` of which there is a later one; a `.gone` without its `.log`.
 */
const namePattern = /^(\d{10})(?:\.(\d+))?\.(log|gone|new)$/

export interface FileName {
  readonly number: number
  readonly generation: number
  readonly kind: 'log' | 'gone' | 'new'
}

export function parseName(name: string): FileName | undefined {
  const [, number, generation = '0', kind] = namePattern.exec(name) ?? []
  if (number === undefined) return undefined
  return { number: Number(number), generation: Number(generation), kind: kind as FileName['kind'] }
}

/** Names a message as `messageId` does; that of this hub is its number alone, because there may be millions. */
export type Key = number | string

export function keyOf(message: Pick<Message, 'hub' | 'sequence'>): Key {
  return message.hub === undefined ? message.sequence : messageId(message)
}

export function keyOfId(id: string): Key {
  return /^\d+$/.test(id) ? Number(id) : id
}

/** The letters of a file that were there when it was read. */
export class Letters {
  readonly #bytes: Buffer
  /** Where each begins, ascending. */
  readonly starts: readonly number[]

  constructor(bytes: Buffer, starts: readonly number[]) {
    this.#bytes = bytes
    this.starts = starts
  }

  body(start: number): Buffer {
    const at = start + frameHeaderBytes
    return this.#bytes.subarray(at, at + this.#bytes.readUInt32LE(start))
  }

  /** Undefined when it is of a later version. Payload and properties are views into the whole file. */
  at(start: number): DeadLetter | undefined {
    const body = this.body(start)
    const headEnd = endOfHead(body)
    const message = decodeMessage(body.subarray(headEnd))
    if (!message) return undefined
    const { hub, ...rest } = JSON.parse(body.toString('utf8', 4, headEnd)) as Head
    return { message: { ...message, ...(hub !== undefined && { hub }) }, ...rest }
  }

  /** The same if it is meant, with copies that may be kept. */
  matching(start: number, filter: DeadLetterFilter): DeadLetter | undefined {
    // Before anything is parsed.
    if (filter.id !== undefined && this.key(start) !== keyOfId(filter.id)) return undefined
    const letter = this.at(start)
    if (!letter || !fits(letter, filter)) return undefined
    const { payload, properties } = letter.message
    const copies = { payload: Buffer.from(payload), ...(properties && { properties: Buffer.from(properties) }) }
    return { ...letter, message: { ...letter.message, ...copies } }
  }

  /** Bytes in the file. */
  size(start: number): number {
    return frameHeaderBytes + this.#bytes.readUInt32LE(start)
  }

  /** As `keyOf` of its message, parsed only if need be, and without a view: a start asks for all there are. */
  key(start: number): Key | undefined {
    const bytes = this.#bytes
    const at = start + frameHeaderBytes
    const end = start + this.size(start)
    if (end - at < 4) return undefined
    if (bytes.compare(hubFirst, 0, hubFirst.length, at + 4, Math.min(at + 4 + hubFirst.length, end)) === 0) {
      const message = this.at(start)?.message
      return message && keyOf(message)
    }
    return sequenceAt(bytes, at + 4 + bytes.readUInt32LE(at), end)
  }

  /** The user that published the message; empty when that cannot be read. */
  user(start: number): string {
    const at = start + frameHeaderBytes
    const end = start + this.size(start)
    return end - at < 4 ? '' : (userAt(this.#bytes, at + 4 + this.#bytes.readUInt32LE(at), end) ?? '')
  }
}

interface Head extends Omit<DeadLetter, 'message'> {
  readonly hub?: string
}

/** The end of the body when it is none of ours. */
function endOfHead(body: Buffer): number {
  return body.length < 4 ? body.length : Math.min(4 + body.readUInt32LE(), body.length)
}

const hubFirst = Buffer.from('{"hub":')

/** A letter on its way into a file. */
export class EncodedLetter {
  readonly key: Key
  readonly length: number
  readonly user: string
  readonly #head: Buffer
  readonly #message: Message

  constructor({ message, reason, detail, failedAt, attempts }: DeadLetter) {
    const { hub } = message
    this.key = keyOf(message)
    this.user = message.user
    this.#message = message
    const head = { ...(hub !== undefined && { hub }), reason, detail, failedAt, attempts } satisfies Head
    this.#head = Buffer.from(JSON.stringify(head))
    this.length = 4 + this.#head.length + encodedLength(message)
  }

  write(target: Buffer, at: number): void {
    target.writeUInt32LE(this.#head.length, at)
    this.#head.copy(target, at + 4)
    encodeMessage(this.#message, target, at + 4 + this.#head.length)
  }
}

export class LetterFile {
  readonly number: number
  readonly #dir: string
  #generation: number
  /** Bytes that are letters which are there. */
  #liveBytes = 0
  #end = 0
  #goneEnd = 0
  #count = 0
  readonly #keys = new Keys()
  readonly #account: (user: string) => string
  /** Bytes of the letters that are there, by account. */
  readonly #bytesOf = new Map<string, number>()
  #gone: CommitLog | undefined
  #writing = false
  /** Somebody is about to change or delete it: no one else may. */
  busy = false
  #deleted = false

  /** `account` is the name under which the letters of a user are counted. */
  constructor(dir: string, account: (user: string) => string, number: number, generation = 0) {
    this.#dir = dir
    this.#account = account
    this.number = number
    this.#generation = generation
  }

  get path(): string {
    return this.#path('log')
  }

  /** On disk, with what tells which are gone. */
  get bytes(): number {
    return this.#end + this.#goneEnd
  }

  /** End of the last letter. */
  get end(): number {
    return this.#end
  }

  /** Letters are being put into it. */
  get writing(): boolean {
    return this.#writing
  }

  set writing(writing: boolean) {
    this.#writing = writing
    if (!writing) this.#keys.shrink()
  }

  get deleted(): boolean {
    return this.#deleted
  }

  /** Letters that are there. */
  get count(): number {
    return this.#count
  }

  /** More than half of it is letters that are gone. */
  get isMostlyGone(): boolean {
    return this.#liveBytes * 2 < this.#end
  }

  /** Bytes of the letters that are there, by account. */
  get bytesOf(): ReadonlyMap<string, number> {
    return this.#bytesOf
  }

  has(key: Key): boolean {
    return this.#keys.has(key)
  }

  /** It has been appended, and ends at `end` now. */
  added({ key, length, user }: EncodedLetter, end: number): void {
    this.#keys.add(key)
    this.#count++
    this.#counted(user, frameHeaderBytes + length)
    this.#end = end
  }

  /**
   * Reads what a restart has to know, and cuts off what a crash left unfinished. Resolves with where letters begin that
   * are there already, in this file or as `known` says.
   */
  async load(isNewest: boolean, known: (key: Key) => boolean, warn: (sentence: string) => void): Promise<number[]> {
    const size = statSync(this.path).size
    this.#end = size
    this.#goneEnd = Infinity
    const { letters, end, damaged } = await this.#read()
    if (damaged || (!isNewest && end < size)) this.#keepBad(warn)
    if (end < size) {
      try {
        truncateSync(this.path, end)
        warn(`cut ${size - end} bytes of an unfinished write off ${this.path}`)
      } catch (error) {
        // They are not read, and nothing is written behind them.
        if (!isDiskError(error)) throw error
      }
    }
    this.#end = end
    const gone = await this.#readGone()
    this.#goneEnd = gone.end
    if (gone.damaged) warn(`${this.#path('gone')} is damaged; some dead letters that were removed are there again`)
    const twice: number[] = []
    for (const [i, start] of letters.starts.entries()) {
      if (i % framesATurn === 0) await setImmediate()
      const key = letters.key(start)
      if (key !== undefined && (this.#keys.has(key) || known(key))) twice.push(start)
      else if (key !== undefined) this.#keys.add(key)
      this.#count++
      this.#counted(letters.user(start), letters.size(start))
    }
    this.#keys.shrink()
    return twice
  }

  /** The letters that are there. None when it was deleted meanwhile. */
  async read(): Promise<Letters> {
    while (!this.#deleted) {
      try {
        return (await this.#read()).letters
      } catch (error) {
        // Rewritten meanwhile: it has another name.
        unlessMissing(error)
      }
    }
    return new Letters(Buffer.alloc(0), [])
  }

  /** Resolves when these are gone for good; rejects with `spool_failed`, and all of them are there. */
  async remove(letters: Letters, starts: readonly number[], putAgain: (key: Key) => boolean): Promise<void> {
    if (starts.length === 0) return
    try {
      await this.#appendGone(starts)
    } catch (error) {
      await this.closeGone()
      throw error
    }
    const keys = new Set<Key>()
    for (const start of starts) {
      this.#counted(letters.user(start), -letters.size(start))
      this.#count--
      const key = letters.key(start)
      if (key !== undefined && !putAgain(key)) keys.add(key)
    }
    this.#keys.delete(keys)
  }

  /** Lets go of what `remove` keeps open. */
  async closeGone(): Promise<void> {
    const gone = this.#gone
    this.#gone = undefined
    await gone?.close()
  }

  /** Deletes it. The letters go first: without what tells which are gone, all of them would be there again. */
  async delete(): Promise<void> {
    await this.closeGone()
    rmSync(this.path)
    this.#deleted = true
    syncDirectory(this.#dir)
    rmSync(this.#path('gone'), { force: true })
  }

  /** Writes it anew without what is gone. Until the new one is named and its name is on disk, the old one counts. */
  async rewrite(): Promise<void> {
    const letters = await this.read()
    await this.closeGone()
    const [oldLog, oldGone, temporary] = [this.path, this.#path('gone'), this.#path('new', this.#generation + 1)]
    const path = this.#path('log', this.#generation + 1)
    let end: number
    try {
      end = await writeAll(temporary, letters)
      renameSync(temporary, path)
      syncDirectory(this.#dir)
    } catch (error) {
      for (const left of [temporary, path]) rmSync(left, { force: true })
      throw error
    }
    this.#generation++
    this.#end = this.#liveBytes = end
    this.#goneEnd = 0
    for (const left of [oldLog, oldGone]) rmSync(left, { force: true })
  }

  #counted(user: string, bytes: number): void {
    this.#liveBytes += bytes
    const account = this.#account(user)
    const left = (this.#bytesOf.get(account) ?? 0) + bytes
    if (left > 0) this.#bytesOf.set(account, left)
    else this.#bytesOf.delete(account)
  }

  async #appendGone(starts: readonly number[]): Promise<void> {
    this.#gone ??= this.#openGone()
    const gone = this.#gone
    await new Promise<void>((resolve, reject) => {
      // Appended in one turn, so it is one group: all of them or none.
      for (const start of starts) {
        gone.append(4, start, writeOffset, (_, error) => (error ? reject(error) : resolve()))
      }
    })
    this.#goneEnd = gone.end
  }

  #openGone(): CommitLog {
    const log = new CommitLog({ fsync: 'group', rotateBytes: Infinity, rotate: noOther })
    try {
      const path = this.#path('gone')
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT)
      log.open(fd, this.#goneEnd)
      // What a write left that failed and could not be undone.
      truncateSync(path, this.#goneEnd)
      if (this.#goneEnd === 0) syncDirectory(this.#dir)
    } catch (error) {
      void log.close()
      throw new HubError('spool_failed', `could not remove dead letters: ${describe(error)}`, { cause: error })
    }
    return log
  }

  async #read(): Promise<{ letters: Letters; end: number; damaged: boolean }> {
    // As it is now: what a rewrite changes meanwhile is of another file.
    const [path, size] = [this.path, this.#end]
    // In this order: a letter that is removed between the two is one that was still there.
    const { offsets } = await this.#readGone()
    const bytes = (await readFile(path)).subarray(0, size)
    const starts: number[] = []
    let end = 0
    let damaged = false
    for (let seen = 1; ; seen++) {
      const frame = frameAt(bytes, end) ?? nextFrame(bytes, end)
      if (!frame) break
      damaged ||= frame.start !== end
      if (!offsets.has(frame.start)) starts.push(frame.start)
      end = frame.end
      if (seen % framesATurn === 0) await setImmediate()
    }
    return { letters: new Letters(bytes, starts), end, damaged }
  }

  async #readGone(): Promise<{ offsets: Set<number>; end: number; damaged: boolean }> {
    const offsets = new Set<number>()
    let end = 0
    let damaged = false
    // Behind it may be what a write left that failed.
    const size = this.#goneEnd
    const file = size === 0 ? undefined : await readFile(this.#path('gone')).catch(unlessMissing)
    const bytes = file?.subarray(0, size) ?? Buffer.alloc(0)
    for (let frame = nextFrame(bytes, 0); frame; frame = nextFrame(bytes, end)) {
      damaged ||= frame.start !== end
      if (frame.body.length === 4) offsets.add(frame.body.readUInt32LE())
      end = frame.end
    }
    return { offsets, end, damaged }
  }

  #keepBad(warn: (sentence: string) => void): void {
    const copy = `${this.path}.bad`
    // Told once, not at every start.
    if (existsSync(copy)) return
    try {
      copyFileSync(this.path, copy)
      warn(`${this.path} is damaged; its whole dead letters are kept, the file as it was is ${copy}`)
    } catch (error) {
      warn(`${this.path} is damaged; its whole dead letters are kept; it could not be copied: ${describe(error)}`)
    }
  }

  #path(kind: FileName['kind'], generation = this.#generation): string {
    return join(this.#dir, nameOf({ number: this.number, generation, kind }))
  }
}

function nameOf({ number, generation, kind }: FileName): string {
  return `${String(number).padStart(10, '0')}${generation > 0 ? `.${generation}` : ''}.${kind}`
}

/** After so many the event loop gets its turn: a file may have a hundred thousand. */
export const framesATurn = 1_000

const writeOffset = (offset: number, target: Buffer, at: number) => target.writeUInt32LE(offset, at)

function unlessMissing(error: unknown): undefined {
  if (systemCode(error) !== 'ENOENT') throw error
}

async function noOther(): Promise<never> {
  throw new Error('the file before could not be written to')
}

/** Writes a new file of these letters, and syncs it. Resolves with its size. */
async function writeAll(path: string, letters: Letters): Promise<number> {
  const log = new CommitLog({ fsync: 'group', rotateBytes: Infinity, rotate: noOther })
  log.open(openSync(path, 'w'), 0)
  let failed: Error | undefined
  for (const start of letters.starts) {
    const body = letters.body(start)
    log.append(body.length, body, copyBody, (_, error) => {
      failed ??= error
    })
    if (log.pendingBytes >= 1 << 20) await log.flush()
    if (failed) break
  }
  await log.close()
  if (failed) throw failed
  return log.end
}

const copyBody = (body: Buffer, target: Buffer, at: number) => body.copy(target, at)

/** A set of keys: eight bytes each for messages of this hub, outside the heap, once they are many. */
class Keys {
  #sorted = new Float64Array(0)
  readonly #recent = new Set<number>()
  readonly #others = new Set<string>()

  has(key: Key): boolean {
    if (typeof key === 'string') return this.#others.has(key)
    if (this.#recent.has(key)) return true
    // Nearly always: a message that was never seen is a later one.
    if (key > (this.#sorted.at(-1) ?? -1)) return false
    return this.#sorted[this.#from(key)] === key
  }

  add(key: Key): void {
    if (typeof key === 'string') this.#others.add(key)
    else if (!this.has(key)) {
      this.#recent.add(key)
      if (this.#recent.size > Math.max(1_000, this.#sorted.length)) this.shrink()
    }
  }

  delete(keys: ReadonlySet<Key>): void {
    let [least, most] = [Infinity, -Infinity]
    for (const key of keys) {
      if (typeof key === 'string') this.#others.delete(key)
      else if (!this.#recent.delete(key)) {
        least = Math.min(least, key)
        most = Math.max(most, key)
      }
    }
    if (least > most) return
    const sorted = this.#sorted
    const end = this.#from(most + 1)
    let kept = this.#from(least)
    for (let i = kept; i < end; i++) {
      const key = sorted[i] as number
      if (!keys.has(key)) sorted[kept++] = key
    }
    sorted.copyWithin(kept, end)
    this.#sorted = sorted.subarray(0, sorted.length - (end - kept))
  }

  /** Where the first key is that is no less than this one. */
  #from(key: number): number {
    let [low, high] = [0, this.#sorted.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#sorted[middle] as number) < key) low = middle + 1
      else high = middle
    }
    return low
  }

  shrink(): void {
    const all = new Float64Array(this.#sorted.length + this.#recent.size)
    all.set(this.#sorted)
    let at = this.#sorted.length
    for (const key of this.#recent) all[at++] = key
    this.#sorted = all.sort()
    this.#recent.clear()
  }
}
