import {
  type AnyRequest,
  acceptedOf,
  deltaMessage,
  deltaOf,
  documentsOf,
  documentText,
  parseDocument,
  readRequest,
  type ShadowDocument,
  ShadowFault,
  tokenOf,
  type UpdateRequest,
  updated,
  updateOf,
  wholeOf,
} from './shadow-document.js'
import type { JournalFile, KeptRecord, ShadowJournal } from './shadow-journal.js'
import type { ShadowName, ShadowVerb } from './shadow-topics.js'

/** One shadow: its document, and the requests that wait for it. */
export class Shadow implements ShadowName, KeptRecord {
  readonly thing: string
  readonly name: string
  /** The user that the shadow counts for. */
  readonly creator: string
  /** Whose client has claimed the thing by its name. Empty: nobody's. */
  owner = ''
  /** Version of the document, or of the one that was deleted; 0 before the first. */
  version = 0
  /** The document as text. Undefined while there is none. */
  document: string | undefined
  /** Seconds since the epoch at which the document was deleted; 0 while there is one. */
  deleted = 0
  /** Number of the last change, over all shadows. */
  change = 0
  file: JournalFile | undefined
  bytes = 0
  pending = 0
  isDoubtful = false
  isBusy = false
  /** Undefined while nothing waits, as there may be many shadows. */
  waiting: ShadowRequest[] | undefined

  constructor({ thing, name }: ShadowName, creator: string) {
    this.thing = thing
    this.name = name
    this.creator = creator
  }

  toText(): string {
    return recordText(this)
  }
}

/** One request about a shadow. */
export interface ShadowRequest {
  readonly verb: ShadowVerb
  readonly payload: Uint8Array
  /** The user that becomes the owner of the thing, if the thing has none. Empty: none does. */
  readonly claimedBy: string
  /** Called once. Rejected requests have a fault; `unsaved` when the disk refused, and the request is to come again. */
  done(result: ShadowResult, unsaved?: Error): void
}

/** What became of a request. */
export interface ShadowResult {
  /** Undefined: accepted. */
  readonly fault?: ShadowFault
  /** The answer to who asked. */
  readonly answer: object
  /** What others are told, by the end of the topic. */
  readonly told?: readonly (readonly [topic: 'update/delta' | 'update/documents', message: object])[]
}

/** The rest of the hub, as a shadow needs it. */
export interface ShadowKeeper {
  readonly journal: Pick<ShadowJournal, 'append'>
  /** Seconds since the epoch. */
  now(): number
  /** Returns why a shadow may not grow by these bytes. Undefined when the shadow may. */
  roomFault(shadow: Shadow, bytes: number): string | undefined
  /** Returns the number of the next change. */
  nextChange(): number
  /** Called when a changed shadow is on disk, before the requests are done. `before`: bytes of the earlier document. */
  changed(shadow: Shadow, before: number): void
  /** Called when a shadow has no more requests. */
  idle(shadow: Shadow): void
}

/** Requests that are carried out together. */
const mostTogether = 64

/** Carries out what waits for a shadow, in order. All that waits is on disk by one record. */
export function runShadow(shadow: Shadow, keeper: ShadowKeeper): void {
  if (shadow.isBusy) return
  const requests = shadow.waiting?.splice(0, mostTogether) ?? []
  if (requests.length === 0) {
    shadow.waiting = undefined
    keeper.idle(shadow)
    return
  }
  shadow.isBusy = true
  const draft = new Draft(shadow, keeper)
  const results = requests.map(request => draft.carryOut(request))
  const finish = (error?: Error) => {
    if (!error && draft.isChanged) draft.apply()
    for (const [i, request] of requests.entries()) {
      const result = results[i] as ShadowResult
      if (error && !result.fault) request.done(rejected(new ShadowFault(500, 'Internal service failure')), error)
      else request.done(result)
    }
    shadow.isBusy = false
    runShadow(shadow, keeper)
  }
  if (draft.isChanged) keeper.journal.append(shadow, draft.text, finish)
  else finish()
}

/** The state of a shadow while requests are carried out, before that state is on disk. */
class Draft {
  readonly #shadow: Shadow
  readonly #keeper: ShadowKeeper
  #document: ShadowDocument | undefined
  #version: number
  #owner: string
  #deleted: number
  #change = 0
  isChanged = false

  constructor(shadow: Shadow, keeper: ShadowKeeper) {
    this.#shadow = shadow
    this.#keeper = keeper
    this.#document = shadow.document === undefined ? undefined : parseDocument(shadow.document)
    this.#version = shadow.version
    this.#owner = shadow.owner
    this.#deleted = shadow.deleted
  }

  carryOut({ verb, payload, claimedBy }: ShadowRequest): ShadowResult {
    let request: AnyRequest = {}
    try {
      request = readRequest(payload)
      const token = tokenOf(request)
      if (verb === 'update') return this.#update(updateOf(request), claimedBy)
      if (!this.#document) throw new ShadowFault(404, `No shadow exists with name: '${shownName(this.#shadow)}'`)
      return verb === 'get' ? { answer: withToken(wholeOf(this.#document), token) } : this.#delete(token)
    } catch (error) {
      if (error instanceof ShadowFault) return rejected(error, request, this.#keeper.now())
      throw error
    }
  }

  #update(asked: UpdateRequest, claimedBy: string): ShadowResult {
    const before = this.#document
    const now = this.#keeper.now()
    const after = updated(before, this.#version, asked, now)
    const fault = this.#keeper.roomFault(this.#shadow, documentText(after).length)
    if (fault) throw new ShadowFault(429, fault)
    this.#document = after
    this.#version = after.version
    this.#owner ||= claimedBy
    this.#deleted = 0
    this.#touch()
    const delta = deltaOf(after)
    const { clientToken } = asked
    return {
      answer: withToken(acceptedOf(asked, after), clientToken),
      told: [
        ...(delta ? [['update/delta', withToken(deltaMessage(after, delta), clientToken)] as const] : []),
        ['update/documents', withToken(documentsOf(before, after), clientToken)],
      ],
    }
  }

  #delete(clientToken: string | undefined): ShadowResult {
    const now = this.#keeper.now()
    const answer = withToken({ version: this.#version, timestamp: now }, clientToken)
    this.#document = undefined
    this.#deleted = now
    this.#touch()
    return { answer }
  }

  #touch(): void {
    this.isChanged = true
    if (this.#change === 0) this.#change = this.#keeper.nextChange()
  }

  get text(): string {
    const { thing, name, creator } = this.#shadow
    const document = this.#document && documentText(this.#document)
    return recordText({
      ...{ thing, name, creator, owner: this.#owner, change: this.#change, version: this.#version },
      ...{ deleted: this.#deleted, document },
    })
  }

  apply(): void {
    const shadow = this.#shadow
    const before = shadow.document?.length ?? 0
    shadow.document = this.#document && documentText(this.#document)
    shadow.version = this.#version
    shadow.owner = this.#owner
    shadow.deleted = this.#deleted
    shadow.change = this.#change
    this.#keeper.changed(shadow, before)
  }
}

/** Returns the answer to a request that is refused, as `…/rejected` has it. */
export function rejected(fault: ShadowFault, request: AnyRequest = {}, timestamp?: number): ShadowResult {
  const { clientToken } = request
  const { code, message } = fault
  const token = typeof clientToken === 'string' && clientToken.length <= 64 ? clientToken : undefined
  return { fault, answer: withToken({ code, message, ...(timestamp !== undefined && { timestamp }) }, token) }
}

function withToken<T extends object>(message: T, clientToken: string | undefined): T {
  return clientToken === undefined ? message : { ...message, clientToken }
}

/** Returns the name of a shadow in the texts of AWS: the thing, and behind a tilde the name of the shadow. */
function shownName({ thing, name }: ShadowName): string {
  return name === '' ? thing : `${thing}~${name}`
}

// — records —

type Kept = Pick<Shadow, 'thing' | 'name' | 'creator' | 'owner' | 'change' | 'version' | 'deleted' | 'document'>

/** Returns the record of a shadow on disk: names and numbers, then the document as it is. */
function recordText({ thing, name, creator, owner, change, version, deleted, document }: Kept): string {
  const head = { k: thing, n: name, u: creator, o: owner, c: change, v: version, x: deleted }
  const text = JSON.stringify(head)
  return document === undefined ? text : `${text.slice(0, -1)},"d":${document}}`
}

/** Reverses the record of a shadow; or returns the number of the last change of which everybody was told. */
export function readRecord(text: string): Kept | number | undefined {
  const { k, n, u, o, c, v, x, d, p } = JSON.parse(text) as Readonly<Record<string, unknown>>
  if (typeof p === 'number') return p
  const isRecord = typeof k === 'string' && typeof n === 'string' && typeof u === 'string' && typeof o === 'string'
  if (!isRecord || typeof c !== 'number' || typeof v !== 'number' || typeof x !== 'number') return undefined
  const document = d === undefined ? undefined : JSON.stringify(d)
  return { thing: k, name: n, creator: u, owner: o, change: c, version: v, deleted: x, document }
}
