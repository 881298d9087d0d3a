import { HubError } from '../errors.js'
import type { PendingPublish } from '../model.js'
import { accountOf, shareOf, type UserShares } from '../runtime/user-shares.js'

export interface SpoolSharesOptions {
  /** spool.limit. */
  readonly limitBytes: number
  /** What the spool has, as of now. */
  readonly bytes: () => number
  readonly shares: () => UserShares
}

/** What users have added to the spool in one stretch of it. */
interface Stretch {
  bytes: number
  readonly users: Map<string, { bytes: number }>
}

/** Stretches of a full spool. */
const stretches = 64

/** What a message takes beside its payload and topic, about. */
const overheadBytes = 60

/**
 * What of the spool is of which user. The spool is freed from its old end, so what users have is counted by stretches,
 * and the oldest stretches are forgotten as the spool gets smaller. What was there at the start counts for no user.
 *
 * Half of the spool is for anybody; the other half is for users within their share. So one user that sends more than can
 * be drained is refused while the others are still kept.
 */
export class SpoolShares {
  readonly #options: SpoolSharesOptions
  /** The oldest first, the one that is being filled last. */
  readonly #stretches: Stretch[] = []
  #current: Stretch = { bytes: 0, users: new Map() }
  #bytes = 0
  /** The user of the last message: the next one is mostly of the same. */
  #user: string | undefined
  #entry = { bytes: 0 }

  constructor(options: SpoolSharesOptions) {
    this.#options = options
  }

  /** Why a publish is refused while others are taken; undefined when it is not. */
  fault({ user, topic, payload }: PendingPublish): HubError | undefined {
    const { limitBytes, bytes, shares } = this.#options
    if (bytes() <= limitBytes / 2) return undefined
    const account = accountOf(shares(), user)
    const most = shareOf(shares(), account) * limitBytes
    if (most >= limitBytes) return undefined
    const used = this.used(account) + payload.length + topic.length + overheadBytes
    if (used <= most) return undefined
    const sentence = `the spool is more than half full, and user ${user} has its share of it (spool.limit, limits.share)`
    return new HubError('spool_share', sentence)
  }

  /** A publish goes into the spool. */
  took({ user, topic, payload }: PendingPublish): void {
    if (user !== this.#user) this.#turnTo(user)
    const bytes = payload.length + topic.length + overheadBytes
    this.#entry.bytes += bytes
    this.#current.bytes += bytes
    if (this.#current.bytes >= this.#options.limitBytes / stretches) this.#next()
  }

  /** Bytes of a user that are in the spool, about. */
  used(account: string): number {
    this.#forget()
    const of = ({ users }: Stretch) => users.get(account)?.bytes ?? 0
    return this.#stretches.reduce((sum, stretch) => sum + of(stretch), of(this.#current))
  }

  #turnTo(user: string): void {
    const account = accountOf(this.#options.shares(), user)
    let entry = this.#current.users.get(account)
    if (!entry) {
      entry = { bytes: 0 }
      this.#current.users.set(account, entry)
    }
    this.#user = user
    this.#entry = entry
  }

  #next(): void {
    this.#stretches.push(this.#current)
    this.#bytes += this.#current.bytes
    this.#current = { bytes: 0, users: new Map() }
    this.#user = undefined
    this.#forget()
  }

  /** What is older than all that the spool still has. */
  #forget(): void {
    const left = this.#options.bytes()
    for (let [oldest] = this.#stretches; oldest; [oldest] = this.#stretches) {
      if (this.#bytes + this.#current.bytes - oldest.bytes < left) return
      this.#stretches.shift()
      this.#bytes -= oldest.bytes
    }
  }
}
