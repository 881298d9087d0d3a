import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { replaceFileSync } from '../disk/replace-file.js'
import { describe } from '../errors.js'
import { type Message, messageId, type Outcome } from '../model.js'
import type { SentenceLog } from '../observe/log.js'
import { dropOldest } from '../runtime/drop-oldest.js'

/** Deaths of the process while one message was handled alone, after which that message is set aside. */
const deathsAlone = 3

/**
 * A message that ends the process does so at once: by running out of memory while it is decoded, or in native code. A
 * handler that is still waiting after this, with the event loop running, waits for a server or the disk.
 */
const suspicionMs = 2_000

/** Redeliveries after which a process without a record sets the first message aside. */
const redeliveriesAlone = 30

/** Maximum number of remembered messages that were set aside and may come to another consumer of the process. */
const maxCondemned = 1_000

/**
 * Lets only one consumer of a process handle messages at a time while any consumer is looking for the message that
 * ended the process. Otherwise another consumer could have caused the next death. Costs nothing once no consumer is
 * looking.
 */
export class Scrutiny {
  readonly #dir: string
  readonly #looking = new Set<string>()
  #turn: Promise<void> = Promise.resolve()
  #condemned: Set<string> | undefined
  #isOver = false

  /** @param dir The directory with the records of all consumers. */
  constructor(dir: string) {
    this.#dir = dir
  }

  path(name: string): string {
    return join(this.#dir, `${name}.handling`)
  }

  looks(name: string, isLooking: boolean): void {
    if (isLooking) this.#looking.add(name)
    else this.#looking.delete(name)
  }

  /** Resolves when the caller may handle messages. The returned function ends the turn and may be called twice. */
  async enter(): Promise<() => void> {
    if (this.#looking.size === 0) return () => {}
    const before = this.#turn
    let leave = () => {}
    this.#turn = new Promise(resolve => {
      leave = resolve
    })
    await before
    return leave
  }

  /**
   * Called when the process is about to end after an error. Messages in hand stay suspected and are never returned to
   * their consumer, and no more messages are handed over.
   */
  end(): void {
    this.#isOver = true
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** Whether any consumer is looking for the message that ended the process. */
  get isLooking(): boolean {
    return this.#looking.size > 0
  }

  /** Records a message that ends the process, so that the other consumers do not try that message again. */
  condemn(id: string): void {
    const all = this.#all()
    all.add(id)
    dropOldest(all, maxCondemned)
    replaceFileSync(join(this.#dir, 'condemned.json'), `${JSON.stringify([...all])}\n`)
  }

  isCondemned(id: string): boolean {
    return this.#all().has(id)
  }

  /** Whether any message was condemned. While false, ids of messages need not be made. */
  get hasCondemned(): boolean {
    return this.#all().size > 0
  }

  #all(): Set<string> {
    if (this.#condemned) return this.#condemned
    let ids: unknown
    try {
      ids = JSON.parse(readFileSync(join(this.#dir, 'condemned.json'), 'utf8'))
    } catch {
      ids = []
    }
    this.#condemned = new Set(Array.isArray(ids) ? ids.filter(id => typeof id === 'string') : [])
    return this.#condemned
  }
}

export interface SuspectsOptions {
  /** The consumer's name. */
  readonly name: string
  readonly scrutiny: Scrutiny
  /** Maximum number of messages handed over at a time when none is suspected. */
  readonly batch: number
  /** Why a message that was set aside is in the dead letters. Undefined: the consumer skips the message. */
  readonly reason: string | undefined
  /** Called when a message was set aside. */
  readonly blamed: (sentence: string) => void
  readonly log: Pick<SentenceLog, 'warn'>
  /** Milliseconds after which a waiting handler is no longer suspected. */
  readonly suspicionMs?: number
}

/** The record on disk, one line of JSON at the beginning of the file. */
interface SuspectRecord {
  /** Id of the first message in hand, or of the first suspect. */
  readonly first: string
  /** Number of suspected messages, from `first` on. */
  readonly suspects: number
  /** Number of messages in hand, from `first` on; 0 when no message is being handled. */
  readonly handling: number
  /** Maximum number of messages handed over at a time. */
  readonly limit: number
  /** Deaths of the process with `first` alone in hand. */
  readonly deaths: number
}

/**
 * Finds the message that ends the process, for one consumer. Before messages are handed over, a record on disk names
 * them. A process that starts and finds such a record knows that its predecessor died with these messages in hand. The
 * suspects are then halved, over as many lives of the process as needed, until one message alone is in hand. Only that
 * message is blamed, after three deaths, and set aside. Messages that were handled without a death are no longer
 * suspected, and twice as many are handed over each time.
 *
 * The record is not synced: it has to survive the process, not a loss of power.
 */
export class Suspects {
  readonly #options: SuspectsOptions
  #fd: number | undefined
  #limit: number
  #first = ''
  /** Number of suspects, from `#first` on, or from the next message on when `#first` is empty. */
  #suspects = 0
  #deaths = 0
  /** Whether a record of an earlier process was found. */
  #hasRecord = false
  #handed = 0
  #failed = false

  constructor(options: SuspectsOptions) {
    this.#options = options
    this.#limit = options.batch
  }

  /** Reads the record that the last process left. Called before any consumer of the process begins. */
  start(): void {
    const { name, scrutiny, batch } = this.#options
    const path = scrutiny.path(name)
    const written = read(path)
    this.#hasRecord = written !== undefined
    if (written) {
      const { first, suspects, handling, limit, deaths } = written
      this.#first = first
      this.#suspects = handling > 0 ? handling : suspects
      this.#limit = Math.min(batch, handling > 0 ? Math.max(1, handling >> 1) : limit)
      this.#deaths = handling === 1 ? deaths + 1 : handling > 1 ? 0 : deaths
    }
    scrutiny.looks(name, this.isLooking)
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
      this.#fd = openSync(path, written ? 'r+' : 'w+', 0o600)
      // A death before the first message reveals nothing new, and must not count as a death with messages in hand.
      if (written) this.#write(this.#first, this.#suspects, 0)
    } catch (error) {
      this.#fails(error)
    }
  }

  stop(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
    this.#options.scrutiny.looks(this.#options.name, false)
  }

  /** Whether the process died with messages of this consumer in hand and the one to blame is not found yet. */
  get isLooking(): boolean {
    return this.#limit < this.#options.batch || this.#suspects > 0
  }

  /** Whether this machine has no record, so that only the queue can know which messages came back. */
  get isBlind(): boolean {
    return !this.#hasRecord
  }

  /** Maximum number of messages to take from the queue. */
  get limit(): number {
    return this.#limit
  }

  /**
   * Returns how many of these, from the first on, to hand over next; 0 when the first one is to be set aside.
   * `redeliveries` is how often the first message came back to the queue, from any process.
   */
  next(left: readonly Message[], redeliveries: number): number {
    const { scrutiny } = this.#options
    const [front] = left
    if (!front) return 0
    if (scrutiny.hasCondemned) {
      const at = left.findIndex(message => scrutiny.isCondemned(messageId(message)))
      if (at >= 0) return at
    }
    if (!this.isLooking) {
      const isFirst = this.#handed === 0 && !this.#hasRecord
      return isFirst && redeliveries >= redeliveriesAlone && left.length === 1 ? 0 : left.length
    }
    if (this.#suspects > 0) {
      const at = this.#first === '' ? 0 : left.findIndex(message => messageId(message) === this.#first)
      // Messages before the suspects were handled already, or were not in hand.
      if (at > 0) return Math.min(at, this.#limit)
      if (at === 0) {
        this.#first = ''
        if (this.#suspects === 1) return this.#deaths >= deathsAlone ? 0 : 1
        return Math.min(left.length, Math.ceil(this.#suspects / 2))
      }
      // The suspects went to another process, or they were settled after all.
      if (this.#limit >= this.#options.batch && !isAhead(this.#first, left)) this.#suspects = 0
    }
    return Math.min(left.length, this.#limit)
  }

  /** Sets aside a message for which `next` returned 0, and returns the outcome. */
  blame(message: Message): Outcome {
    const { name, reason, scrutiny, blamed } = this.#options
    // Nobody would hear of it, and the next process would find it condemned, which is said once.
    if (scrutiny.isOver) return 'retry'
    const id = messageId(message)
    if (!scrutiny.isCondemned(id)) {
      try {
        scrutiny.condemn(id)
      } catch (error) {
        this.#fails(error)
      }
      blamed(
        `${name}: the process crashed repeatedly while it handled message ${id} of topic ${message.topic}; ` +
          (reason ? `it is now a dead letter (${reason})` : 'it is skipped'),
      )
      this.#suspects = 0
      this.#deaths = 0
      this.#first = ''
      this.#write(id, 0, 0)
    }
    return reason ? { reason, detail: 'the process crashed each time it handled this message alone' } : 'ack'
  }

  /** Hands messages over; a death of the process meanwhile will be blamed on these messages. */
  async watch<T>(part: readonly Message[], handle: () => Promise<T>): Promise<T> {
    const { name, scrutiny, suspicionMs: patience = suspicionMs } = this.#options
    const leave = await scrutiny.enter()
    if (scrutiny.isOver) return new Promise(() => {})
    const [front] = part
    const id = front ? messageId(front) : ''
    const inSuspects = this.#suspects > 0 && this.#first === ''
    this.#handed++
    this.#write(id, inSuspects ? this.#suspects : 0, part.length)
    const waits = setTimeout(() => {
      this.#write(id, inSuspects ? this.#suspects : 0, 0)
      leave()
    }, patience)
    try {
      return await handle()
    } finally {
      // An error in a callback that the handler left behind ends the process a moment later, when these messages must
      // still be in hand.
      if (scrutiny.isLooking) await new Promise(resolve => setImmediate(resolve))
      clearTimeout(waits)
      if (scrutiny.isOver) await new Promise(() => {})
      if (inSuspects) this.#suspects = Math.max(0, this.#suspects - part.length)
      if (this.#suspects === 0) this.#deaths = 0
      this.#limit = Math.min(this.#options.batch, this.#limit * 2)
      this.#write(id, 0, 0)
      if (!this.isLooking) scrutiny.looks(name, false)
      leave()
    }
  }

  #write(first: string, suspects: number, handling: number): void {
    if (this.#fd === undefined || this.#options.scrutiny.isOver) return
    const written: SuspectRecord = { first, suspects, handling, limit: this.#limit, deaths: this.#deaths }
    try {
      writeSync(this.#fd, `${JSON.stringify(written)}\n`, 0)
    } catch (error) {
      this.#fails(error)
    }
  }

  #fails(error: unknown): void {
    const { name, log } = this.#options
    if (!this.#failed) {
      log.warn(
        `${name}: a message that crashes the process would not be found, as its records cannot be written: ${describe(error)}`,
      )
    }
    this.#failed = true
  }
}

/** Returns undefined when no message has ever been handled here, or the record is damaged. */
function read(path: string): SuspectRecord | undefined {
  try {
    const [line = ''] = readFileSync(path, 'utf8').split('\n')
    const { first, suspects, handling, limit, deaths } = JSON.parse(line) as Record<string, unknown>
    const numbers = [suspects, handling, limit, deaths]
    if (typeof first !== 'string' || !numbers.every(n => Number.isSafeInteger(n) && (n as number) >= 0))
      return undefined
    return { first, suspects, handling, limit: Math.max(1, limit as number), deaths } as SuspectRecord
  } catch {
    return undefined
  }
}

/** Returns whether a message of this hub comes after all of these, so that its turn is still to come. */
function isAhead(id: string, messages: readonly Message[]): boolean {
  return Number(id) > (messages.at(-1)?.sequence ?? 0)
}
