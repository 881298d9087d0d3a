import { readFileSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { systemCode } from '../errors.js'
import type { Device, Message } from '../model.js'

/** More clients or topics than this are not remembered: the one that has been silent longest goes. */
const defaultLimit = 100_000

const saveEveryMs = 5_000

interface Snapshot {
  /** The first sequence number whose message is not in here. */
  readonly next: number
  readonly devices: readonly Device[]
  readonly last: readonly (readonly [topic: string, json: string])[]
}

/**
 * What each device last said and when. In memory, saved every few seconds with the place in the spool it belongs to:
 * after a crash the live cursor goes back to that place, and nothing is missing or counted twice.
 */
export class Registry {
  readonly #path: string
  readonly #limit: number
  #devices = new Map<string, Device>()
  #last = new Map<string, string>()
  #next = 0
  #dirty = false
  #timer: NodeJS.Timeout | undefined
  #saving: Promise<void> = Promise.resolve()

  constructor(path: string, limit = defaultLimit) {
    this.#path = path
    this.#limit = limit
  }

  /** Reads the snapshot. Returns the first sequence number that is not in it, 0 when there is none. */
  start(): number {
    try {
      const {
        next = 0,
        devices = [],
        last = [],
      } = (JSON.parse(readFileSync(this.#path, 'utf8')) ?? {}) as Partial<Snapshot>
      // Who was online then is announced again by the broker.
      this.#devices = new Map(devices.map(device => [device.clientId, { ...device, online: false }]))
      this.#last = new Map(last)
      this.#next = next
    } catch (error) {
      if (systemCode(error) !== 'ENOENT' && !(error instanceof SyntaxError)) throw error
    }
    this.#timer = setInterval(() => this.#save(), saveEveryMs)
    return this.#next
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#save()
    await this.#saving
  }

  saw(message: Message): void {
    const { clientId, user, receivedAt, sequence } = message
    if (sequence < this.#next) return
    const known = this.#devices.get(clientId)
    this.#devices.delete(clientId)
    this.#devices.set(clientId, {
      clientId,
      user,
      online: known?.online ?? false,
      since: known?.since ?? receivedAt,
      lastSeen: receivedAt,
      messages: (known?.messages ?? 0) + 1,
    })
    this.#forgetOldest()
    this.#next = sequence + 1
    this.#dirty = true
  }

  present(clientId: string, user: string, online: boolean, since: number): void {
    const known = this.#devices.get(clientId)
    this.#devices.set(clientId, {
      clientId,
      user,
      online,
      since,
      lastSeen: known?.lastSeen ?? 0,
      messages: known?.messages ?? 0,
    })
    this.#forgetOldest()
    this.#dirty = true
  }

  /** The newest reading of a topic, as it is pushed. Returns the topic that was forgotten for it, if one was. */
  said(topic: string, json: string): string | undefined {
    this.#last.delete(topic)
    this.#last.set(topic, json)
    if (this.#last.size <= this.#limit) return undefined
    const [longest] = this.#last.keys()
    if (longest !== undefined) this.#last.delete(longest)
    return longest
  }

  devices(): readonly Device[] {
    return [...this.#devices.values()].sort((a, b) => (a.clientId < b.clientId ? -1 : 1))
  }

  last(): Iterable<readonly [topic: string, json: string]> {
    return this.#last
  }

  #forgetOldest(): void {
    if (this.#devices.size > this.#limit) this.#devices.delete(this.#devices.keys().next().value as string)
  }

  #save(): void {
    if (!this.#dirty) return
    this.#dirty = false
    const snapshot: Snapshot = { next: this.#next, devices: [...this.#devices.values()], last: [...this.#last] }
    this.#saving = this.#saving
      .then(() => replaceFile(this.#path, JSON.stringify(snapshot)))
      .catch(() => {
        this.#dirty = true
      })
  }
}

/** Readers of `path` see the old text or the new, whole, whatever happens in between. */
async function replaceFile(path: string, text: string): Promise<void> {
  const file = await open(`${path}.new`, 'w')
  try {
    await file.writeFile(text)
    await file.datasync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
}
