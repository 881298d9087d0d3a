import { dirname } from 'node:path'
import { getHeapStatistics } from 'node:v8'
import { setAside } from '../disk/damaged.js'
import { type Files, nodeFiles, readWholeSync, syncDirectory } from '../disk/files.js'
import { replaceInPieces } from '../disk/replace-file.js'
import { TextPieces } from '../disk/text-pieces.js'
import { describe } from '../errors.js'
import {
  type ClientClock,
  type ClientPresence,
  type Device,
  isAssignedClientId,
  isInletClientId,
  type Message,
  requestClientId,
} from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { FairSet } from '../runtime/fair-set.js'
import { type Sharing, unsharing } from '../runtime/user-shares.js'
import { ClearedTopics } from './cleared-topics.js'

/**
 * Most clients, and most topics with a last reading, that are remembered. Beyond this the silent ones are removed, of the
 * user with the most for its share.
 */
export interface RegistryLimits {
  readonly devices: number
  readonly topics: number
}
const defaultLimits: RegistryLimits = { devices: 100_000, topics: 400_000 }

/** Most characters of names, and of readings: the snapshot is read as one text of limited length, and escapes are longer. */
const maxDeviceCharacters = 16e6
const maxReadingCharacters = 100e6

/** Largest part of the heap that readings take. To read their snapshot takes more than as much again. */
const shareOfHeap = 1 / 12

const saveEveryMs = 5_000

/** Characters of snapshots written per second, which limits how often a snapshot is written. */
const charactersPerSecond = 2e6

/** A device as kept here, changing with every message. */
type DeviceEntry = { -readonly [key in keyof Device]: Device[key] }

interface Snapshot {
  /** First sequence number whose message is not in this snapshot. */
  readonly next: number
  readonly devices: readonly Device[]
  /** Last readings. The user is missing in snapshots of older versions, and where clients need not authenticate. */
  readonly last: readonly (readonly [topic: string, json: string, user?: string, client?: string])[]
  /** As in {@link ClearedTopics}. Missing in snapshots of older versions. */
  readonly cleared?: readonly (readonly [topic: string, from: number])[]
}

export interface RegistryOptions {
  readonly limits?: RegistryLimits
  readonly files?: Files
  readonly incidents?: IncidentReporter
  /** Shares of users. Default: clients need not authenticate. */
  readonly sharing?: Sharing
}

interface LastReading {
  readonly json: string
  readonly user: string
  /** The client that published the message. */
  readonly client: string
}

/**
 * Every device, and the last reading of each topic, with times. Kept in memory, and saved every few seconds with the
 * matching place in the spool: after a crash the live cursor goes back to that place, and nothing is missing or counted
 * twice.
 */
export class Registry {
  readonly #path: string
  readonly #limits: RegistryLimits
  readonly #maxCharacters: number
  readonly #files: Files
  readonly #incidents: IncidentReporter | undefined
  #devices = new Map<string, DeviceEntry>()
  #last = new Map<string, LastReading>()
  /** Topics with a last reading, the longest silent first. */
  #topics: FairSet<string>
  /** Shares of users. */
  readonly sharing: Sharing
  #cleared = new ClearedTopics()
  #deviceCharacters = 0
  #readingCharacters = 0
  #next = 0
  #saved = 0
  #dirty = false
  #timer: NodeJS.Timeout | undefined
  #saving: Promise<void> = Promise.resolve()
  #isSaving = false
  /** Timer checks to skip after a large snapshot. */
  #passes = 0

  constructor(path: string, options: RegistryOptions = {}) {
    this.#path = path
    this.#limits = { ...defaultLimits, ...options.limits }
    this.#maxCharacters = Math.min(maxReadingCharacters, getHeapStatistics().heap_size_limit * shareOfHeap)
    this.#files = options.files ?? nodeFiles
    this.#incidents = options.incidents
    this.sharing = options.sharing ?? unsharing
    this.#topics = new FairSet(this.sharing)
  }

  /**
   * Reads the snapshot. Returns the first sequence number that is not in the snapshot, 0 without a snapshot. A damaged
   * snapshot is set aside: devices and last readings fill up again as devices send.
   */
  start(): number {
    try {
      const text = readWholeSync(this.#path, this.#files)
      if (text !== undefined) this.#restore(JSON.parse(text.toString('utf8')) as Partial<Snapshot>)
    } catch (error) {
      this.#incidents?.report(
        'registry_damaged',
        `${this.#path} cannot be read (${describe(error)}); devices and last readings appear again once they send; ${setAside(this.#path, this.#files)}`,
      )
    }
    this.#timer = setInterval(() => {
      if (this.#passes > 0) this.#passes--
      else if (!this.#isSaving) this.#save()
    }, saveEveryMs)
    return this.#next
  }

  #restore({ next, devices, last, cleared = [] }: Partial<Snapshot>): void {
    if (!Number.isSafeInteger(next) || !Array.isArray(devices) || !Array.isArray(last)) {
      throw new Error('it lacks next, devices or last')
    }
    const knownDevices = new Map<string, DeviceEntry>()
    const knownLast = new Map<string, LastReading>()
    const topics = new FairSet<string>(this.sharing)
    let [deviceCharacters, readingCharacters] = [0, 0]
    for (const one of devices) {
      const device = restored(one)
      if (isAssignedClientId(device.clientId)) continue
      knownDevices.set(device.clientId, device)
      deviceCharacters += nameLength(device)
    }
    for (const [topic, json, user = '', client = ''] of last) {
      if ([topic, json, user, client].some(text => typeof text !== 'string')) {
        throw new Error('a last reading is not a text')
      }
      knownLast.set(topic, { json, user, client })
      topics.add(topic, user)
      readingCharacters += topic.length + json.length
    }
    this.#devices = knownDevices
    this.#last = knownLast
    this.#topics = topics
    this.#cleared = new ClearedTopics(cleared)
    this.#deviceCharacters = deviceCharacters
    this.#readingCharacters = readingCharacters
    this.#next = next as number
    this.#saved = isNameOnDisk(this.#path, this.#files) ? this.#next : 0
    this.#dirty = this.#saved === 0
  }

  /** First sequence number that is not in the snapshot on disk. The spool must stay readable from there. */
  get saved(): number {
    return this.#saved
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#save()
    await this.#saving
  }

  recordMessage(message: Message): void {
    const { clientId, user, receivedAt, sequence } = message
    if (sequence < this.#next) return
    this.#next = sequence + 1
    this.#dirty = true
    const known = this.#devices.get(clientId)
    if (known) {
      this.#rename(known, user)
      known.lastSeen = receivedAt
      known.messages++
      return
    }
    // A client without an id of its own is in the list while it is connected; a user who publishes over HTTP is none.
    // An inlet speaks for devices of another broker.
    if (isAssignedClientId(clientId) || clientId === requestClientId(user) || isInletClientId(clientId)) return
    this.#add({ clientId, user, online: false, since: receivedAt, lastSeen: receivedAt, messages: 1 })
  }

  /**
   * Notes what the newest message of a topic says of the client's clock.
   * @param error Microseconds by which the clock is wrong. Undefined: nothing is wrong with the time of this message
   */
  noteClock(clientId: string, topic: string, error: number | undefined): void {
    const known = this.#devices.get(clientId)
    if (!known || (error === undefined && known.clock?.topic !== topic)) return
    this.#deviceCharacters -= nameLength(known)
    known.clock = error === undefined ? undefined : { error, topic }
    this.#deviceCharacters += nameLength(known)
    this.#dirty = true
  }

  setPresence({ clientId, user, online, since, isForgotten }: ClientPresence): void {
    const known = this.#devices.get(clientId)
    this.#dirty = true
    if (isForgotten) {
      if (known) this.#remove(known)
    } else if (known) {
      this.#rename(known, user)
      Object.assign(known, { online, since })
    } else this.#add({ clientId, user, online, since, lastSeen: 0, messages: 0 })
  }

  /**
   * Sets the newest reading of a topic, as pushed, with the user who sent it. Returns the topics that were removed to
   * make room.
   */
  setLastReading(topic: string, json: string, user = '', client = ''): readonly string[] {
    this.#forgetReading(topic)
    this.#cleared.delete(topic)
    this.#last.set(topic, { json, user, client })
    this.#topics.add(topic, user)
    this.#readingCharacters += topic.length + json.length
    if (this.#last.size <= this.#limits.topics && this.#readingCharacters <= this.#maxCharacters) return none
    // Several are removed at once: the first key of a map from which many were removed is found ever more slowly.
    const most = this.#limits.topics - Math.floor(this.#limits.topics / 20)
    const maxCharacters = this.#maxCharacters * 0.95
    const forgotten: string[] = []
    while (this.#last.size > most || this.#readingCharacters > maxCharacters) {
      const silent = this.#topics.first
      if (silent === undefined || silent === topic) break
      this.#forgetReading(silent)
      forgotten.push(silent)
    }
    return forgotten
  }

  /** Forgets a client that is gone. Returns whether it was known. On disk once {@link flush} has resolved. */
  removeDevice(clientId: string, user: string): boolean {
    const named = [clientId, `${user}/${clientId}`].flatMap(name => this.#devices.get(name) ?? [])
    const own = named.filter(device => device.user === user)
    for (const device of own) this.#remove(device)
    return own.length > 0
  }

  /** Resolves when the file has everything, or the disk refuses; then the file is written later. */
  async flush(): Promise<void> {
    await this.#saving
    this.#save()
    await this.#saving
  }

  /** Returns the newest reading of a topic, as pushed. */
  lastReading(topic: string): string | undefined {
    return this.#last.get(topic)?.json
  }

  /** Returns a client by its id. */
  device(clientId: string): Device | undefined {
    return this.#devices.get(clientId)
  }

  /** Changes what is told of the newest reading of a topic. */
  amendLastReading(topic: string, json: string): void {
    const known = this.#last.get(topic)
    if (known === undefined) return
    this.#readingCharacters += json.length - known.json.length
    this.#last.set(topic, { ...known, json })
    this.#dirty = true
  }

  /** Forgets the reading of a topic. Returns whether there was one. */
  clearLastReading(topic: string): boolean {
    this.#cleared.add(topic, this.#next)
    this.#dirty = true
    return this.#forgetReading(topic)
  }

  /** First sequence number of a message that was not recorded. */
  get next(): number {
    return this.#next
  }

  /** The topics whose newest reading was cleared. */
  get cleared(): ClearedTopics {
    return this.#cleared
  }

  /** Returns the topics whose newest reading is from this client. */
  topicsOf(client: string, user: string): readonly string[] {
    const own = [...this.#last].filter(([, reading]) => reading.client === client && reading.user === user)
    return own.map(([topic]) => topic)
  }

  devices(): readonly Device[] {
    return [...this.#devices.values()].sort((a, b) => (a.clientId < b.clientId ? -1 : 1))
  }

  *last(): Iterable<readonly [topic: string, json: string, client: string]> {
    for (const [topic, { json, client }] of this.#last) yield [topic, json, client]
  }

  #add(device: DeviceEntry): void {
    if (this.#devices.size >= this.#limits.devices || this.#deviceCharacters > maxDeviceCharacters) this.#forgetSilent()
    this.#devices.set(device.clientId, device)
    this.#deviceCharacters += nameLength(device)
  }

  #remove(device: DeviceEntry): void {
    this.#dirty = true
    this.#devices.delete(device.clientId)
    this.#deviceCharacters -= nameLength(device)
  }

  #rename(device: DeviceEntry, user: string): void {
    this.#deviceCharacters += user.length - device.user.length
    device.user = user
  }

  #forgetReading(topic: string): boolean {
    const known = this.#last.get(topic)
    if (known === undefined) return false
    this.#last.delete(topic)
    this.#topics.delete(topic)
    this.#readingCharacters -= topic.length + known.json.length
    return true
  }

  /**
   * Removes a tenth of the devices, so that not every new device has to examine all: the silent ones of the users with
   * the most for their share.
   */
  #forgetSilent(): void {
    const bySilence = [...this.#devices.values()].sort((a, b) => lastHeard(a) - lastHeard(b))
    const silent = new FairSet<DeviceEntry>(this.sharing)
    for (const device of bySilence) silent.add(device, device.user)
    for (let left = Math.max(1, Math.floor(this.#devices.size / 10)); left > 0; left--) {
      const device = silent.first
      if (!device) return
      silent.delete(device)
      this.#remove(device)
    }
  }

  #save(): void {
    if (!this.#dirty) return
    this.#dirty = false
    const next = this.#next
    // Devices are serialized at once, as they change with every message. For readings a newer one does as well.
    const devices = JSON.stringify([...this.#devices.values()])
    const last = [...this.#last].map(recorded)
    const cleared = JSON.stringify(this.#cleared)
    this.#isSaving = true
    this.#saving = this.#saving
      .then(async () => {
        const head = `{"next":${next},"devices":${devices},"last":[`
        const pieces = new TextPieces(textsOf(head, last, `],"cleared":${cleared}}`))
        await replaceInPieces(this.#path, pieces, { files: this.#files })
        this.#passes = Math.floor((pieces.length / charactersPerSecond) * (1_000 / saveEveryMs))
        this.#saved = next
      })
      .catch(() => {
        this.#dirty = true
      })
      .finally(() => {
        this.#isSaving = false
      })
  }
}

const none: readonly never[] = []

/** Yields the texts of a snapshot. */
function* textsOf(head: string, last: Snapshot['last'], end: string): Generator<string> {
  yield head
  for (const [i, reading] of last.entries()) yield `${i > 0 ? ',' : ''}${JSON.stringify(reading)}`
  yield end
}

/** Returns a reading as in the snapshot. */
function recorded([topic, { json, user, client }]: readonly [string, LastReading]): Snapshot['last'][number] {
  return client === '' ? (user === '' ? [topic, json] : [topic, json, user]) : [topic, json, user, client]
}

function nameLength({ clientId, user, clock }: Device): number {
  return clientId.length + user.length + (clock?.topic.length ?? 0)
}

/**
 * Whether the name of a file is on disk. The previous process may have ended between the renaming of the file and the
 * sync of its name.
 */
function isNameOnDisk(path: string, files: Files): boolean {
  try {
    syncDirectory(dirname(path), files)
    return true
  } catch {
    return false
  }
}

/** Returns a device of a snapshot. Throws when it is none. */
function restored({ clientId, user, since, lastSeen, messages, clock }: Device): DeviceEntry {
  if (typeof clientId !== 'string' || typeof user !== 'string') throw new Error('a device has no name')
  if (![since, lastSeen, messages].every(Number.isFinite)) throw new Error(`device ${clientId} has no times`)
  // The broker announces online devices once more after this start.
  return { clientId, user, online: false, since, lastSeen, messages, ...(isClock(clock) && { clock }) }
}

function isClock(clock: ClientClock | undefined): clock is ClientClock {
  return typeof clock?.topic === 'string' && Number.isFinite(clock.error)
}

function lastHeard({ lastSeen, since }: Device): number {
  return Math.max(lastSeen, since)
}
