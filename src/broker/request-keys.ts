import { createHash } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { type Files, nodeFiles } from '../disk/files.js'
import { SnapshotLog } from '../disk/snapshot-log.js'
import { describe, HubError } from '../errors.js'
import { type Message, type PublishSink, type Replay, requestClientId } from '../model.js'
import { decodeProperties, encodeProperties } from '../mqtt/message-properties.js'
import type { Counters } from '../observe/counters.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { Slices } from '../runtime/slices.js'
import type { MicrosecondClock } from '../runtime/time.js'

/*
 * The idempotency keys of requests to publish: a request that is sent again with its key is not carried out again.
 *
 * A key is kept with the message itself: the spool has it as a user property, so key and message are on disk together
 * or not at all. A journal beside the spool remembers what the spool forgets: frames of commit-log.ts that hold JSON,
 *
 *     {"k": key, "b": body, "u": user, "t": time, "n": messages, "r": [[index, sequence, count], …]}
 *     {"p": position}       everything up to this sequence number of the spool is in the journal
 *
 * After a crash the spool is read from the last position on. Key and body are hashes of 128 bits.
 */

/** User property of a message that came with a key: `key.body.index.count`. */
export const requestProperty = 'telehub-request'

/** Most bytes of that property, as encoded. */
export const requestPropertyBytes = 100

/** How long a key is kept, in microseconds. */
const keptFor = 24 * 3_600e6

/** Keys that are kept of one user, and of all. Beyond that the oldest of that user, or of the user with most, is forgotten. */
const mostOfUser = 20_000
const mostOfAll = 50_000

const usualSweepMs = 5_000

const rotateBytes = 8e6
const sliceMs = 5

/** A key as the caller gives it, and the bytes that the key stands for. */
export interface RequestKey {
  readonly key: string
  /** Everything by which two requests with the same key are told apart. */
  readonly body: readonly (string | Uint8Array)[]
}

/** Messages `count` from `index` on have the sequence numbers from `sequence` on. */
type Run = readonly [index: number, sequence: number, count: number]

/** A request as far as the messages are on disk. */
export interface KeyedRequest {
  readonly key: string
  readonly body: string
  readonly user: string
  /** Microseconds since the epoch. */
  readonly at: number
  /** Number of messages. */
  readonly count: number
  runs: readonly Run[]
  /** Resolves when the request is carried out. Undefined once that is so. */
  running: Promise<void> | undefined
  /** Ends `running`. */
  over: () => void
  /** Last sequence number on disk when the request began to run. */
  since: number
}

export interface RequestKeysOptions {
  readonly dir: string
  readonly sink: Pick<PublishSink, 'sequence' | 'replay'>
  readonly clock: MicrosecondClock
  readonly counters: Pick<Counters, 'giveUp'>
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'warn'>
  readonly files?: Files
  /** Interval at which old keys are forgotten, and the position is written. */
  readonly sweepMs?: number
}

export class RequestKeys {
  readonly #options: RequestKeysOptions
  readonly #journal: SnapshotLog
  /** Requests of each user by key, the oldest first. */
  readonly #users = new Map<string, Map<string, KeyedRequest>>()
  readonly #running = new Set<KeyedRequest>()
  #count = 0
  #position = 0
  #replay: Replay | undefined
  #timer: NodeJS.Timeout | undefined
  #isStopping = false
  #ready: Promise<void> = Promise.resolve()

  constructor(options: RequestKeysOptions) {
    this.#options = options
    const { dir, files = nodeFiles, incidents } = options
    this.#journal = new SnapshotLog({
      dir,
      files,
      fsync: 'interval',
      rotateBytes,
      snapshot: () => this.#snapshot(),
      // Nothing may be missing in front of a position.
      refused: () => this.#journal.rewriteNext(),
      damaged: (sentence, bytes) => incidents.report('request_keys_damaged', sentence, { bytes }),
    })
  }

  /** Begins to read what is kept. To be called before the readers of the spool begin, which delete what they have passed. */
  start(): void {
    this.#replay = this.#options.sink.replay(0)
    this.#ready = this.#load()
    this.#ready.catch(error => {
      if (!this.#isStopping) this.#options.log.warn(`the keys of requests cannot be read: ${describe(error)}`)
    })
  }

  /** Resolves when the journal is written. */
  async stop(): Promise<void> {
    this.#isStopping = true
    clearInterval(this.#timer)
    const isRead = await this.#ready.then(
      () => true,
      () => false,
    )
    if (!isRead) return
    this.#writePosition()
    await this.#journal.close()
  }

  /**
   * Resolves with the request of this key, begun or complete, once no other is being carried out with it. One that is
   * not complete is the caller's to carry out and to `leave`. Rejects with `key_reused` when the key belongs to another
   * request.
   */
  async enter(user: string, { key: given, body: parts }: RequestKey, count: number): Promise<KeyedRequest> {
    await this.#ready.catch(error => {
      throw new HubError('overloaded', `the keys of requests cannot be read: ${describe(error)}`, { cause: error })
    })
    const key = hashOf([user, '\0', given])
    const body = hashOf(parts)
    for (;;) {
      const known = this.#find(user, key)
      if (known && (known.body !== body || known.count !== count)) {
        throw new HubError('key_reused', 'this Idempotency-Key belongs to another request; each request has its own')
      }
      if (known && isComplete(known)) return known
      if (!known?.running) return this.#begin(known ?? this.#add({ key, body, user, count, at: this.#now() }))
      await known.running
    }
  }

  /** Ends the work on a request that {@link enter} has returned. Messages in `sequences` are on disk; 0 is none. */
  leave(request: KeyedRequest, sequences: readonly number[]): void {
    request.runs = runsOf(sequences)
    this.#running.delete(request)
    request.running = undefined
    if (request.runs.length === 0) this.#remove(request)
    else this.#journal.append(bodyOf(recordOf(request)))
    request.over()
  }

  #begin(request: KeyedRequest): KeyedRequest {
    request.running = new Promise(resolve => {
      request.over = resolve
    })
    request.since = this.#options.sink.sequence
    this.#running.add(request)
    return request
  }

  #now(): number {
    return this.#options.clock.now()
  }

  #find(user: string, key: string): KeyedRequest | undefined {
    const found = this.#users.get(user)?.get(key)
    if (!found || found.running || found.at > this.#now() - keptFor) return found
    this.#remove(found)
    return undefined
  }

  #add(given: Pick<KeyedRequest, 'key' | 'body' | 'user' | 'at' | 'count'>): KeyedRequest {
    const { user, key } = given
    const ofUser = this.#users.get(user) ?? new Map<string, KeyedRequest>()
    if (ofUser.size >= mostOfUser) this.#forgetOldest(ofUser)
    else if (this.#count >= mostOfAll) this.#forgetOldest([...this.#users.values()].reduce(larger))
    const request: KeyedRequest = { ...given, runs: [], running: undefined, over: () => {}, since: 0 }
    this.#users.set(user, ofUser)
    ofUser.set(key, request)
    this.#count++
    return request
  }

  #forgetOldest(requests: ReadonlyMap<string, KeyedRequest>): void {
    for (const request of requests.values()) {
      if (request.running) continue
      this.#remove(request)
      this.#options.counters.giveUp('request_keys')
      return
    }
  }

  #remove({ user, key }: KeyedRequest): void {
    const ofUser = this.#users.get(user)
    if (!ofUser?.delete(key)) return
    this.#count--
    if (ofUser.size === 0) this.#users.delete(user)
  }

  // — the journal —

  async #load(): Promise<void> {
    const replay = this.#replay as Replay
    try {
      const isThere = await this.#journal.load(body => this.#restore(body))
      if (isThere) await this.#readSpool(replay)
      else {
        this.#position = this.#options.sink.sequence
        this.#journal.begin()
      }
    } finally {
      replay.close()
      this.#replay = undefined
    }
    this.#timer = setInterval(() => this.#sweep(), this.#options.sweepMs ?? usualSweepMs).unref()
  }

  #restore(body: Buffer): void {
    const { p, k, b, u, t, n, r } = JSON.parse(body.toString()) as Partial<RequestRecord & { p: number }>
    if (p !== undefined) this.#position = p
    if (k === undefined || b === undefined || u === undefined || !r || t === undefined || n === undefined) return
    if (t <= this.#now() - keptFor) return
    const known = this.#users.get(u)?.get(k)
    if (known && known.body !== b) this.#remove(known)
    const request = this.#users.get(u)?.get(k) ?? this.#add({ key: k, body: b, user: u, at: t, count: n })
    request.runs = r
  }

  /** Finds the keys that the journal had not got before a crash. */
  async #readSpool(replay: Replay): Promise<void> {
    const slices = new Slices(sliceMs, () => {
      if (this.#isStopping) throw new HubError('stopping', 'the hub stops')
    })
    replay.skipTo(this.#position)
    const found = new Set<KeyedRequest>()
    for (let next = replay.next(); next; next = replay.next()) {
      const request = next === 'passed' ? undefined : this.#restoreMessage(next)
      if (request) found.add(request)
      if (slices.isOver) await slices.turn()
    }
    for (const request of found) this.#journal.append(bodyOf(recordOf(request)))
    await turn()
  }

  #restoreMessage(message: Message): KeyedRequest | undefined {
    const { clientId, properties, receivedAt, sequence, user } = message
    if (!properties?.includes(requestProperty) || clientId !== requestClientId(user)) return undefined
    const texts = decodeProperties(properties)?.userProperties?.find(([name]) => name === requestProperty)
    const [key = '', body = '', ...numbers] = texts?.[1].split('.') ?? []
    const [index = -1, count = 0] = numbers.map(Number)
    if (key === '' || !(index >= 0 && index < count) || receivedAt <= this.#now() - keptFor) return undefined
    const known = this.#users.get(user)?.get(key)
    const request = known ?? this.#add({ key, body, user, at: receivedAt, count })
    if (request.body !== body || request.count !== count) return undefined
    const sequences = sequencesOf(request)
    sequences[index] = sequence
    request.runs = runsOf(sequences)
    return request
  }

  #sweep(): void {
    const oldest = this.#now() - keptFor
    for (const requests of this.#users.values()) {
      for (const request of requests.values()) {
        if (request.at > oldest || request.running) break
        this.#remove(request)
      }
    }
    this.#writePosition()
  }

  #writePosition(): void {
    const position = this.#reached()
    if (position <= this.#position) return
    this.#position = position
    this.#journal.append(bodyOf({ p: position }))
  }

  /** Returns the sequence number up to which the journal has all keys. */
  #reached(): number {
    let reached = this.#options.sink.sequence
    for (const { since } of this.#running) reached = Math.min(reached, since)
    return reached
  }

  *#snapshot(): Generator<Buffer> {
    for (const requests of this.#users.values()) {
      for (const request of requests.values()) if (request.runs.length > 0) yield bodyOf(recordOf(request))
    }
    yield bodyOf({ p: this.#position })
  }
}

interface RequestRecord {
  readonly k: string
  readonly b: string
  readonly u: string
  readonly t: number
  readonly n: number
  readonly r: readonly Run[]
}

function recordOf({ key, body, user, at, count, runs }: KeyedRequest): RequestRecord {
  return { k: key, b: body, u: user, t: at, n: count, r: runs }
}

function bodyOf(record: RequestRecord | { readonly p: number }): Buffer {
  return Buffer.from(JSON.stringify(record))
}

/** Returns 128 bits of SHA-256, without the dot that separates the parts of the property. */
function hashOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('base64url').slice(0, 22)
}

const larger = (one: Map<string, KeyedRequest>, other: Map<string, KeyedRequest>) =>
  other.size > one.size ? other : one

export function isComplete({ count, runs }: KeyedRequest): boolean {
  return runs.reduce((sum, [, , many]) => sum + many, 0) === count
}

/** Returns the sequence number of each message of a request; 0 for one that is not on disk. */
export function sequencesOf({ count, runs }: KeyedRequest): number[] {
  const sequences = new Array<number>(count).fill(0)
  for (const [index, sequence, many] of runs) for (let i = 0; i < many; i++) sequences[index + i] = sequence + i
  return sequences
}

function runsOf(sequences: readonly number[]): Run[] {
  const runs: [index: number, sequence: number, count: number][] = []
  for (const [index, sequence] of sequences.entries()) {
    const last = runs.at(-1)
    if (sequence === 0) continue
    if (last && last[0] + last[2] === index && last[1] + last[2] === sequence) last[2]++
    else runs.push([index, sequence, 1])
  }
  return runs
}

/** Returns encoded properties with the user property that keeps a key with the message. */
export function withKey({ key, body, count }: KeyedRequest, index: number, properties: Buffer | undefined): Buffer {
  const value = `${key}.${body}.${index}.${count}`
  const own = encodeProperties({ userProperties: [[requestProperty, value]] }) as Buffer
  return properties ? Buffer.concat([properties, own]) : own
}
