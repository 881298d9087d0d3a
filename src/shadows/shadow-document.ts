/*
 * The document of one shadow, and what requests make of it: pure. The rules are those that AWS documents under "Device
 * Shadow service documents" and "Device Shadow error messages", so that its device SDKs work unchanged.
 */

export type ShadowValue = null | boolean | number | string | readonly ShadowValue[] | ShadowObject
/** Without a prototype: a device may name a property `__proto__`. */
export interface ShadowObject {
  readonly [name: string]: ShadowValue
}

/** When each value was last set: seconds since the epoch, in objects and arrays of the shape of the values. */
type Stamps = number | readonly Stamps[] | StampsObject
interface StampsObject {
  readonly [name: string]: Stamps
}

export const sections = ['desired', 'reported'] as const
export type Section = (typeof sections)[number]

/** A section that has no value is left out. */
export type ShadowState = { readonly [S in Section]?: ShadowObject }
type SectionStamps = { readonly [S in Section]?: StampsObject }

/** The document as it is kept. */
export interface ShadowDocument {
  readonly state: ShadowState
  readonly stamps: SectionStamps
  /** Ascends by one with every update, also over a deletion. */
  readonly version: number
  /** Seconds since the epoch. */
  readonly timestamp: number
}

/** A request that is refused, with the code and the text that AWS documents. */
export class ShadowFault extends Error {
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.name = 'ShadowFault'
    this.code = code
  }
}

/** Largest state, in bytes of JSON. Metadata does not count. */
export const maxStateBytes = 8_192

/** Largest request. White space, client token and version come on top of the state. */
export const maxRequestBytes = 2 * maxStateBytes

/** Most levels of names inside `desired` or `reported`. */
const maxLevels = 8

const maxTokenBytes = 64

/** What a request to update asks for. */
export interface UpdateRequest {
  /** A section that is null is removed. */
  readonly state: { readonly [S in Section]?: ShadowObject | null }
  readonly version?: number | undefined
  readonly clientToken?: string | undefined
}

export type AnyRequest = Readonly<Record<string, unknown>>

/** Reads the JSON of a request. Throws a {@link ShadowFault}. Nothing at all is an empty request. */
export function readRequest(payload: Uint8Array): AnyRequest {
  if (payload.length > maxRequestBytes) throw new ShadowFault(413, 'The payload exceeds the maximum size allowed')
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(payload)
  } catch {
    throw new ShadowFault(415, 'Unsupported documented encoding; supported encoding is UTF-8')
  }
  if (text.trim() === '') return {}
  let request: unknown
  try {
    request = JSON.parse(text)
  } catch {
    throw new ShadowFault(400, 'Invalid JSON')
  }
  if (!isObject(request)) throw new ShadowFault(400, 'Invalid JSON')
  return request
}

/** Returns the client token of a request. Undefined when there is none. Throws a {@link ShadowFault}. */
export function tokenOf(request: AnyRequest): string | undefined {
  const { clientToken } = request
  if (clientToken === undefined || clientToken === null) return undefined
  if (typeof clientToken === 'string' && Buffer.byteLength(clientToken) <= maxTokenBytes) return clientToken
  throw new ShadowFault(400, 'Invalid clientToken')
}

/** Returns what a request to update asks for. Throws a {@link ShadowFault}. */
export function updateOf(request: AnyRequest): UpdateRequest {
  const clientToken = tokenOf(request)
  const { state, version } = request
  if (version !== undefined && version !== null && !(Number.isSafeInteger(version) && (version as number) >= 0)) {
    throw new ShadowFault(400, 'Invalid version')
  }
  if (state === undefined) throw new ShadowFault(400, 'Missing required node: state')
  if (!isObject(state)) throw new ShadowFault(400, 'State node must be an object')
  const asked: { [S in Section]?: ShadowObject | null } = {}
  for (const [name, value] of Object.entries(state)) {
    if (name !== 'desired' && name !== 'reported') throw new ShadowFault(400, 'State contains an invalid node')
    if (value !== null && !isObject(value)) {
      throw new ShadowFault(400, `${name === 'desired' ? 'Desired' : 'Reported'} node must be an object`)
    }
    asked[name] = value === null ? null : (checked(value, 0, false) as ShadowObject)
  }
  return { state: asked, version: (version as number | null) ?? undefined, clientToken }
}

/** Returns a value without prototypes. Throws when it is nested too deeply, or cannot be kept. */
function checked(value: unknown, level: number, isInArray: boolean): ShadowValue {
  if (Array.isArray(value) || isObject(value)) {
    if (level > maxLevels) {
      throw new ShadowFault(400, `JSON contains too many levels of nesting; maximum is ${maxLevels}`)
    }
    if (Array.isArray(value)) return value.map(item => checked(item, level + 1, true))
    const copy = empty<ShadowValue>()
    for (const [name, item] of Object.entries(value)) copy[name] = checked(item, level + 1, isInArray)
    return copy
  }
  const isKept = typeof value === 'number' ? Number.isFinite(value) : !(value === null && isInArray)
  if (!isKept) throw new ShadowFault(400, 'State contains an invalid node')
  return value as ShadowValue
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function empty<Value>(): Record<string, Value> {
  return Object.create(null) as Record<string, Value>
}

/**
 * Returns the document after an update at `now` (seconds since the epoch). `version` is that of the document, or of one
 * that was deleted; 0 before the first. Throws a {@link ShadowFault}.
 */
export function updated(
  document: ShadowDocument | undefined,
  version: number,
  asked: UpdateRequest,
  now: number,
): ShadowDocument {
  if (asked.version !== undefined && asked.version !== version) throw new ShadowFault(409, 'Version conflict')
  const state: { [S in Section]?: ShadowObject } = {}
  const stamps: { [S in Section]?: StampsObject } = {}
  for (const section of sections) {
    const patch = asked.state[section]
    const [old, oldStamps] = [document?.state[section], document?.stamps[section]]
    const merged =
      patch === null ? undefined : patch ? merge(old, oldStamps, patch, now) : old && { state: old, stamps: oldStamps }
    if (!merged || Object.keys(merged.state).length === 0) continue
    state[section] = merged.state
    stamps[section] = merged.stamps ?? empty()
  }
  if (Buffer.byteLength(JSON.stringify(state)) > maxStateBytes) {
    throw new ShadowFault(413, 'The payload exceeds the maximum size allowed')
  }
  return { state, stamps, version: version + 1, timestamp: now }
}

/** Sets what the patch names; null removes. Objects are merged, arrays replaced. */
function merge(
  old: ShadowObject | undefined,
  oldStamps: StampsObject | undefined,
  patch: ShadowObject,
  now: number,
): { readonly state: ShadowObject; readonly stamps: StampsObject } {
  const state = Object.assign(empty<ShadowValue>(), old)
  const stamps = Object.assign(empty<Stamps>(), oldStamps)
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) {
      delete state[name]
      delete stamps[name]
    } else if (isObject(value)) {
      const [before, beforeStamps] = [state[name], stamps[name]]
      const isMerged = isObject(before)
      const inner = merge(
        isMerged ? before : undefined,
        isMerged ? (beforeStamps as StampsObject) : undefined,
        value as ShadowObject,
        now,
      )
      state[name] = inner.state
      stamps[name] = inner.stamps
    } else {
      state[name] = value
      stamps[name] = stampsOf(value, now)
    }
  }
  return { state, stamps }
}

function stampsOf(value: ShadowValue, now: number): Stamps {
  if (Array.isArray(value)) return value.map(item => stampsOf(item as ShadowValue, now))
  if (!isObject(value)) return now
  const stamps = empty<Stamps>()
  for (const [name, item] of Object.entries(value)) if (item !== null) stamps[name] = stampsOf(item as ShadowValue, now)
  return stamps
}

/** What is desired and not reported so, with the stamps of the desired values. */
export interface Delta {
  readonly state: ShadowObject
  readonly stamps: StampsObject
}

/** Returns the difference. Undefined when everything desired is reported. */
export function deltaOf({ state, stamps }: ShadowDocument): Delta | undefined {
  return state.desired && difference(state.desired, state.reported, stamps.desired ?? empty())
}

function difference(
  desired: ShadowObject,
  reported: ShadowObject | undefined,
  stamps: StampsObject,
): Delta | undefined {
  const state = empty<ShadowValue>()
  const found = empty<Stamps>()
  let isEmpty = true
  for (const [name, value] of Object.entries(desired)) {
    const other = reported && Object.hasOwn(reported, name) ? reported[name] : undefined
    const stamp = stamps[name] ?? 0
    if (isObject(value) && isObject(other)) {
      const inner = difference(value as ShadowObject, other as ShadowObject, stamp as StampsObject)
      if (!inner) continue
      state[name] = inner.state
      found[name] = inner.stamps
    } else if (other !== undefined && isSame(value, other)) continue
    else {
      state[name] = value
      found[name] = stamp
    }
    isEmpty = false
  }
  return isEmpty ? undefined : { state, stamps: found }
}

function isSame(one: ShadowValue, other: ShadowValue): boolean {
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((item, i) => isSame(item as ShadowValue, other[i] as ShadowValue))
  }
  if (!isObject(one) || !isObject(other)) return one === other
  const names = Object.keys(one)
  return (
    names.length === Object.keys(other).length &&
    names.every(name => Object.hasOwn(other, name) && isSame(one[name] as ShadowValue, other[name] as ShadowValue))
  )
}

// — answers —

/** Returns the metadata of AWS: `{"timestamp": …}` in place of each value. */
function metadataOf(stamps: Stamps): ShadowValue {
  if (typeof stamps === 'number') return { timestamp: stamps }
  if (Array.isArray(stamps)) return stamps.map(item => metadataOf(item as Stamps))
  const metadata = empty<ShadowValue>()
  for (const [name, item] of Object.entries(stamps)) metadata[name] = metadataOf(item as Stamps)
  return metadata
}

function metadataOfAll(stamps: SectionStamps): ShadowObject {
  const metadata = empty<ShadowValue>()
  for (const section of sections) if (stamps[section]) metadata[section] = metadataOf(stamps[section])
  return metadata
}

/** Returns the document with the difference, as `get/accepted` has it. */
export function wholeOf(document: ShadowDocument) {
  const { state, stamps, version, timestamp } = document
  const delta = deltaOf(document)
  return {
    state: { ...state, ...(delta && { delta: delta.state }) },
    metadata: metadataOfAll(stamps),
    version,
    timestamp,
  }
}

/** Returns what `update/accepted` says: the values of the request. */
export function acceptedOf({ state }: UpdateRequest, { version, timestamp }: ShadowDocument) {
  const metadata = empty<ShadowValue>()
  for (const section of sections) {
    const asked = state[section]
    if (asked) metadata[section] = metadataOf(stampsOf(asked, timestamp))
  }
  return { state, metadata, version, timestamp }
}

/** Returns what `update/delta` says. */
export function deltaMessage({ version, timestamp }: ShadowDocument, { state, stamps }: Delta) {
  return { version, timestamp, state, metadata: metadataOf(stamps) }
}

/** Returns what `update/documents` says: the document before and after an update. */
export function documentsOf(before: ShadowDocument | undefined, after: ShadowDocument) {
  const half = ({ state, stamps, version }: ShadowDocument) => ({ state, metadata: metadataOfAll(stamps), version })
  return {
    previous: before ? half(before) : { state: {}, metadata: {}, version: after.version - 1 },
    current: half(after),
    timestamp: after.timestamp,
  }
}

// — as text —

/** Returns the text in which a document is kept. */
export function documentText({ state, stamps, version, timestamp }: ShadowDocument): string {
  return JSON.stringify({ v: version, t: timestamp, s: state, m: stamps })
}

/** Reverses {@link documentText}. */
export function parseDocument(text: string): ShadowDocument {
  const { v, t, s, m } = JSON.parse(text) as { v: number; t: number; s: ShadowState; m: SectionStamps }
  return { state: s, stamps: m, version: v, timestamp: t }
}
