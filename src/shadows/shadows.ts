import { join } from 'node:path'
import type { Broker, ServiceClient, ServicePublish, TopicService } from '../broker/broker.js'
import type { Settings } from '../config/settings.js'
import { describe, HubError } from '../errors.js'
import type { Outward } from '../model.js'
import { type Counters, increment } from '../observe/counters.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Part } from '../runtime/lifecycle.js'
import { SharedPool } from '../runtime/shared-pool.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { Sharing } from '../runtime/user-shares.js'
import { encodeLevel } from '../topics.js'
import { deltaMessage, deltaOf, parseDocument, ShadowFault } from './shadow-document.js'
import { ShadowJournal } from './shadow-journal.js'
import { readRecord, rejected, runShadow, Shadow, type ShadowKeeper, type ShadowResult } from './shadow-queue.js'
import {
  nameFault,
  type ShadowName,
  type ShadowVerb,
  shadowRequest,
  thingFault,
  thingOf,
  topicOfShadow,
} from './shadow-topics.js'

/** The broker, as shadows need it. */
type ShadowBroker = Pick<Broker, 'publishAll' | 'flushed' | 'services'>

/** Knows the users, and what is theirs. */
interface ShadowUsers extends Sharing {
  readonly open: boolean
  user(name: string): object | undefined
}

export interface ShadowsOptions {
  readonly dir: string
  /** Shadows, and bytes of their documents, that may be kept. */
  readonly limits: { readonly shadows: number; readonly bytes: number }
  readonly broker: ShadowBroker
  readonly authority: ShadowUsers
  readonly clock: MicrosecondClock
  readonly counters: Pick<Counters, 'refuse'>
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'warn'>
}

/** Requests that may wait for one shadow, and bytes of those that wait for any. */
const mostWaiting = 200
const mostWaitingBytes = 16e6

/** Seconds for which the version of a deleted shadow is kept, as AWS keeps it. */
const deletedFor = 48 * 3_600

/** Deleted shadows of which the version is kept. */
const mostDeleted = 10_000

/** Interval at which those versions are forgotten. */
const sweepMs = 60_000

/** Pause before it is written down that everybody was told of the changes so far. */
const toldMs = 1_000

export function shadowSettings(settings: Settings, dir: string) {
  return {
    dir: join(dir, 'shadows'),
    limits: { shadows: settings['limits.shadows'], bytes: settings['limits.shadowBytes'] },
  } satisfies Partial<ShadowsOptions>
}

/**
 * Desired and reported state of each device, as AWS IoT Device Shadow keeps it: the same topics, messages and errors. A
 * change is on disk before anybody is told. What is desired while a device sleeps is in the queue of its kept session,
 * and is told again after a crash of which it is not known whether it came before that.
 */
export class Shadows implements Part, TopicService, ShadowKeeper {
  readonly name = 'shadows'
  readonly journal: ShadowJournal
  /** Requests by outcome: `accepted`, or the code of the fault. */
  readonly requests = new Map<string, number>()
  readonly #options: ShadowsOptions
  /** Shadows of each thing, by name. The classic one has none. */
  readonly #things = new Map<string, Map<string, Shadow>>()
  /** Shadows that were deleted, the longest ago first. */
  readonly #deleted = new Set<Shadow>()
  readonly #perUser: SharedPool
  readonly #bytesPerUser: SharedPool
  #waitingBytes = 0
  #count = 0
  #changes = 0
  /** Number of the last change of which everybody was told, and of the one of which that is on disk. */
  #told = 0
  #toldOnDisk = 0
  #outlet: Promise<void> = Promise.resolve()
  #sweeping: NodeJS.Timeout | undefined
  #telling: NodeJS.Timeout | undefined
  #mark: ToldMark | undefined

  constructor(options: ShadowsOptions) {
    this.#options = options
    const { authority, dir, incidents } = options
    this.#perUser = new SharedPool(authority)
    this.#bytesPerUser = new SharedPool(authority)
    this.journal = new ShadowJournal({ dir, incidents })
  }

  /** Reads the shadows. Devices are told again of changes of which they may not have been told before a crash. */
  async start(): Promise<void> {
    this.#options.broker.services.add(this)
    this.#mark = new ToldMark(() => this.#toldOnDisk)
    await this.journal.load(text => this.#restore(text))
    for (const shadow of this.#all()) this.#tellAgain(shadow)
    this.#sweeping = setInterval(() => this.#forgetDeleted(this.now() - deletedFor, mostDeleted), sweepMs).unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#sweeping)
    clearTimeout(this.#telling)
    await this.#outlet
    await this.journal.close()
  }

  /** Shadows that have a document, and the bytes of all documents. */
  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytesPerUser.total
  }

  // — TopicService: what clients publish —

  takes(topic: string): boolean {
    return shadowRequest(topic) !== undefined
  }

  fault({ user, clientId }: ServiceClient, topic: string, byName: boolean): string | undefined {
    const thing = byName ? thingOf(topic) : undefined
    if (thing === undefined || thing === encodeLevel(user)) return undefined
    const { authority } = this.#options
    if (authority.user(clientId)) return `${clientId} is the name of another user, whose shadow this is`
    const owner = this.#ownerOf(thing)
    const isTaken = owner !== '' && owner !== user && authority.user(owner) !== undefined
    return isTaken ? `the shadow of ${thing} belongs to another user` : undefined
  }

  accept(publish: ServicePublish, done: (error?: Error) => void): void {
    const { topic, user, clientId } = publish
    const asked = shadowRequest(topic)
    if (!asked) {
      done()
      return
    }
    const payload = Buffer.from(publish.payload)
    const names = [user, clientId].filter(name => name !== '').map(encodeLevel)
    const claimedBy = names.includes(asked.thing) ? user : ''
    const raw = { topic, payload, qos: publish.qos, retain: false, ...kept(publish) }
    this.#ask(asked, { user, claimedBy, payload, raw }, (_result, error) => done(error))
  }

  // — callers without an MQTT connection —

  /**
   * Carries out a request of a user. Resolves with the answer and the status, as AWS has them; subscribers are told of a
   * change as always. Rejects when the disk refuses.
   */
  ask(verb: ShadowVerb, which: ShadowName, user: string, request: object): Promise<{ status: number; answer: object }> {
    const fault = thingFault(which.thing) ?? nameFault(which.name)
    if (fault) return Promise.reject(new HubError('bad_request', fault))
    const payload = Buffer.from(JSON.stringify(request))
    return new Promise((resolve, reject) => {
      this.#ask({ ...which, verb }, { user, claimedBy: '', payload, raw: undefined }, ({ fault, answer }, error) => {
        if (error) reject(error)
        else resolve({ status: fault?.code ?? 200, answer })
      })
    })
  }

  /** Returns the names of the shadows of a thing that have a document. The classic one is empty. */
  namesOf(thing: string): string[] {
    return [...(this.#things.get(thing)?.values() ?? [])].filter(one => one.document !== undefined).map(one => one.name)
  }

  // — carrying out —

  #ask(asked: ShadowName & { readonly verb: ShadowVerb }, asking: ShadowAsking, done: ShadowDone): void {
    const { payload, raw, claimedBy, user } = asking
    const shadow = this.#find(asked) ?? this.#add(new Shadow(asked, user))
    const bytes = payload.length + asked.thing.length
    const answered = (result: ShadowResult, unsaved?: Error) => {
      increment(this.requests, result.fault ? String(result.fault.code) : 'accepted')
      if (result.fault) this.#options.counters.refuse('shadow')
      const isTold = raw !== undefined || (asked.verb !== 'get' && !result.fault)
      this.#tell(shadow, isTold ? messagesOf(asked, result, raw) : [])
        .then(() => done(result, unsaved))
        .catch(error => done(result, error as Error))
    }
    shadow.waiting ??= []
    const isFull = this.#things.size > 2 * this.#options.limits.shadows && shadow.version === 0
    if (isFull || shadow.waiting.length >= mostWaiting || this.#waitingBytes + bytes > mostWaitingBytes) {
      answered(rejected(new ShadowFault(429, 'Too many requests'), {}, this.now()))
      if (!shadow.isBusy) this.idle(shadow)
      return
    }
    this.#waitingBytes += bytes
    shadow.waiting.push({
      ...{ verb: asked.verb, payload, claimedBy },
      done: (result, unsaved) => {
        this.#waitingBytes -= bytes
        answered(result, unsaved)
      },
    })
    runShadow(shadow, this)
  }

  /** Publishes messages behind earlier ones. Resolves when subscribers have them, or their queues. */
  #tell(shadow: Shadow, messages: readonly Outward[]): Promise<void> {
    const { change } = shadow
    const told = this.#outlet.then(async () => {
      if (messages.length > 0) await this.#options.broker.publishAll(messages)
      if (change <= this.#told) return
      this.#told = change
      this.#telling ??= setTimeout(() => void this.#writeTold(), toldMs).unref()
    })
    this.#outlet = told.catch(() => {})
    return told
  }

  /** Writes down that everybody was told of the changes so far: they need not be told again after a crash. */
  async #writeTold(): Promise<void> {
    const told = this.#told
    try {
      await this.#options.broker.flushed()
    } catch (error) {
      this.#options.log.warn(`devices will be told of changed shadows again after a crash: ${describe(error)}`)
    }
    this.#telling = undefined
    if (!this.#mark) return
    this.#toldOnDisk = told
    this.journal.append(this.#mark, this.#mark.toText(), () => {})
  }

  #tellAgain(shadow: Shadow): void {
    if (shadow.change <= this.#told || shadow.document === undefined) return
    const document = parseDocument(shadow.document)
    const delta = deltaOf(document)
    if (delta)
      void this.#tell(shadow, [outward(`${topicOfShadow(shadow)}/update/delta`, deltaMessage(document, delta))])
  }

  // — ShadowKeeper —

  now(): number {
    return Math.floor(this.#options.clock.now() / 1e6)
  }

  roomFault({ creator, document }: Shadow, bytes: number): string | undefined {
    const { limits } = this.#options
    const more = bytes - (document?.length ?? 0)
    if (document === undefined && !this.#perUser.admits(creator, 1, limits.shadows)) {
      return `Too many shadows (limits.shadows, ${limits.shadows})`
    }
    if (more <= 0 || this.#bytesPerUser.admits(creator, more, limits.bytes)) return undefined
    return `The shadows have too many bytes (limits.shadowBytes, ${limits.bytes})`
  }

  nextChange(): number {
    return ++this.#changes
  }

  changed(shadow: Shadow, before: number): void {
    const after = shadow.document?.length ?? 0
    this.#bytesPerUser.add(shadow.creator, after - before)
    const more = Number(after > 0) - Number(before > 0)
    this.#count += more
    if (more !== 0) this.#perUser.add(shadow.creator, more)
    this.#deleted.delete(shadow)
    if (shadow.deleted !== 0) this.#deleted.add(shadow)
  }

  idle(shadow: Shadow): void {
    if (shadow.version === 0 && !shadow.isDoubtful && shadow.pending === 0) {
      // What the disk refused is struck out on disk, and that stays until what is before it is gone.
      if (shadow.file) this.#deleted.add(shadow)
      else this.#remove(shadow)
    }
    if (this.#deleted.size > mostDeleted) this.#forgetDeleted(Number.POSITIVE_INFINITY, 1)
  }

  // — all shadows —

  *#all(): Generator<Shadow> {
    for (const named of this.#things.values()) yield* named.values()
  }

  #find({ thing, name }: ShadowName): Shadow | undefined {
    return this.#things.get(thing)?.get(name)
  }

  #add(shadow: Shadow): Shadow {
    const named = this.#things.get(shadow.thing)
    if (named) named.set(shadow.name, shadow)
    else this.#things.set(shadow.thing, new Map([[shadow.name, shadow]]))
    return shadow
  }

  #remove({ thing, name }: Shadow): void {
    const named = this.#things.get(thing)
    named?.delete(name)
    if (named?.size === 0) this.#things.delete(thing)
  }

  #ownerOf(thing: string): string {
    for (const { owner } of this.#things.get(thing)?.values() ?? []) if (owner !== '') return owner
    return ''
  }

  #restore(text: string): Shadow | ToldMark | undefined {
    const record = readRecord(text)
    if (typeof record === 'number') {
      this.#told = this.#toldOnDisk = record
      return this.#mark
    }
    if (!record) return undefined
    const shadow = this.#find(record) ?? this.#add(new Shadow(record, record.creator))
    const before = shadow.document?.length ?? 0
    const { owner, change, version, deleted, document } = record
    if (version === 0) {
      this.journal.forget(shadow)
      this.#remove(shadow)
      return undefined
    }
    Object.assign(shadow, { owner, change, version, deleted, document })
    this.#changes = Math.max(this.#changes, change)
    this.changed(shadow, before)
    return shadow
  }

  /** Forgets the versions of at most this many shadows that were deleted before a time, in seconds. */
  #forgetDeleted(before: number, most: number): void {
    for (const shadow of this.#deleted) {
      if (most <= 0 || shadow.deleted > before) return
      if (shadow.pending > 0 || shadow.isBusy || shadow.isDoubtful) continue
      this.#deleted.delete(shadow)
      this.journal.forget(shadow)
      this.#remove(shadow)
      most--
    }
  }
}

/** The record of how far everybody was told. */
class ToldMark {
  readonly #told: () => number
  file: Shadow['file']
  bytes = 0
  pending = 0
  isDoubtful = false

  constructor(told: () => number) {
    this.#told = told
  }

  toText(): string {
    return JSON.stringify({ p: this.#told() })
  }
}

/** Who asks, and the publish that asks: subscribers of its topic get it, too. */
interface ShadowAsking {
  readonly user: string
  readonly claimedBy: string
  readonly payload: Buffer
  readonly raw: Outward | undefined
}

type ShadowDone = (result: ShadowResult, error?: Error) => void

/** Returns what subscribers are told of a request and its result. */
function messagesOf(
  asked: ShadowName & { readonly verb: ShadowVerb },
  { fault, answer, told = [] }: ShadowResult,
  raw: Outward | undefined,
): Outward[] {
  const topic = topicOfShadow(asked)
  return [
    ...(raw ? [raw] : []),
    outward(`${topic}/${asked.verb}/${fault ? 'rejected' : 'accepted'}`, answer),
    ...told.map(([end, message]) => outward(`${topic}/${end}`, message)),
  ]
}

function outward(topic: string, message: object): Outward {
  return { topic, payload: Buffer.from(JSON.stringify(message)), qos: 1, retain: false }
}

function kept({ properties, expiresAt }: ServicePublish): Pick<Outward, 'properties' | 'expiresAt'> {
  return { ...(properties && { properties: Buffer.from(properties) }), ...(expiresAt !== undefined && { expiresAt }) }
}
