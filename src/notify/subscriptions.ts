import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { type Files, readWholeSync } from '../disk/files.js'
import { replaceFile } from '../disk/replace-file.js'
import { describe, HubError } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { isPublic } from './http-call.js'

/** A browser that receives notifications, as its push service and the Push API describe it. */
export interface PushSubscription {
  readonly endpoint: string
  /** Public key (P-256, uncompressed) and secret of the browser, in base64url (RFC 8291 §3.1). */
  readonly p256dh: string
  readonly auth: string
}

export interface KnownSubscription extends PushSubscription {
  readonly id: string
  readonly user: string
  /** Milliseconds since the epoch. */
  readonly created: number
  /** User-Agent of the browser. */
  readonly agent: string
}

/** Most subscriptions of one user, and of all. */
export const maxOfUser = 20
const maxInAll = 1_000
const maxEndpoint = 2_000
const maxAgent = 300

export interface SubscriptionsOptions {
  readonly path: string
  readonly incidents: IncidentReporter
  readonly files?: Files
}

/** The browsers that have subscribed, in a file of mode 0600 that is replaced as a whole: endpoints are secrets. */
export class Subscriptions {
  readonly #options: SubscriptionsOptions
  readonly #known = new Map<string, KnownSubscription>()
  readonly #changes = new SerialQueue()

  constructor(options: SubscriptionsOptions) {
    this.#options = options
  }

  /** Reads the file. A damaged one is reported, and browsers subscribe again. */
  start(): void {
    const { path, incidents, files } = this.#options
    try {
      const text = readWholeSync(path, files)?.toString() ?? '[]'
      for (const one of JSON.parse(text) as readonly KnownSubscription[]) this.#known.set(one.id, one)
    } catch (error) {
      incidents.report('notify_damaged', `${path} is damaged (${describe(error)}); browsers have to subscribe again`)
    }
  }

  get(id: string): KnownSubscription | undefined {
    return this.#known.get(id)
  }

  /** Returns the subscriptions of some users; of all without. */
  of(users?: readonly string[]): readonly KnownSubscription[] {
    const all = [...this.#known.values()]
    return users ? all.filter(({ user }) => users.includes(user)) : all
  }

  /**
   * Keeps a subscription. Resolves with the id when it is on disk. A browser that subscribes again keeps its id. Rejects
   * with `bad_request`, or with `too_many`.
   *
   * @param allowsPrivate Whether the push service may be at an address that is not public.
   */
  add(
    given: PushSubscription & Pick<KnownSubscription, 'user' | 'agent' | 'created'>,
    allowsPrivate: boolean,
  ): Promise<string> {
    const fault = faultOf(given, allowsPrivate)
    if (fault) throw new HubError('bad_request', fault)
    const { endpoint, p256dh, auth, user, created } = given
    const id = createHash('sha256').update(endpoint).digest('base64url').slice(0, 22)
    return this.#changes.run(async () => {
      const before = this.#known.get(id)
      const others = before?.user === user ? -1 : 0
      if (this.of([user]).length + others >= maxOfUser) {
        throw new HubError('too_many', `user ${user} has ${maxOfUser} subscriptions; end one of them first`)
      }
      if (this.#known.size + others >= maxInAll) throw new HubError('too_many', `there are ${maxInAll} subscriptions`)
      await this.#change(() => {
        this.#known.set(id, { id, user, endpoint, p256dh, auth, created, agent: given.agent.slice(0, maxAgent) })
      })
      return id
    })
  }

  /** Ends a subscription. Resolves with it when the file is written; undefined when there is none. */
  remove(id: string, user?: string): Promise<KnownSubscription | undefined> {
    return this.#changes.run(async () => {
      const known = this.#known.get(id)
      if (!known || (user !== undefined && known.user !== user)) return undefined
      await this.#change(() => {
        this.#known.delete(id)
      })
      return known
    })
  }

  async stop(): Promise<void> {
    await this.#changes.idle()
  }

  /** Changes the map and the file, or neither. */
  async #change(change: () => void): Promise<void> {
    const { path, files } = this.#options
    const before = [...this.#known]
    change()
    try {
      await replaceFile(path, `${JSON.stringify([...this.#known.values()])}\n`, {
        mode: 0o600,
        ...(files && { files }),
      })
    } catch (error) {
      this.#known.clear()
      for (const [id, one] of before) this.#known.set(id, one)
      throw new HubError('data_dir_unusable', `the subscription could not be written: ${describe(error)}`, {
        cause: error,
      })
    }
  }
}

/** Returns why a subscription is not accepted. What a name resolves to is checked at each sending. */
function faultOf({ endpoint, p256dh, auth }: PushSubscription, allowsPrivate: boolean): string | undefined {
  const url = endpoint.length <= maxEndpoint && URL.canParse(endpoint) ? new URL(endpoint) : undefined
  if (url?.protocol !== 'https:' || url.username || url.password) {
    return 'endpoint: allowed is an https:// address without a user'
  }
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const isOwn = isIP(host)
    ? !isPublic(host)
    : !host.includes('.') || /\.(?:local|localhost|internal|lan|home\.arpa)$/.test(host)
  if (isOwn && !allowsPrivate) {
    return 'endpoint: push services are on the public internet; private: true of the target in notify.file allows others'
  }
  const key = Buffer.from(p256dh, 'base64url')
  if (key.length !== 65 || key[0] !== 4) return 'keys.p256dh: allowed is a point on P-256, uncompressed, in base64url'
  if (Buffer.from(auth, 'base64url').length !== 16) return 'keys.auth: allowed are 16 bytes in base64url'
  return undefined
}
