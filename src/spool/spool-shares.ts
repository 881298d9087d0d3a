import { HubError } from '../errors.js'
import type { PendingPublish } from '../model.js'
import { accountOf, type Sharing, shareOf } from '../runtime/user-shares.js'

export interface SpoolSharesOptions {
  /** spool.limit. */
  readonly limitBytes: number
  readonly spool: { readonly bytes: number }
  readonly sharing: Sharing
}

/** Bytes that users have added to one stretch of the spool. */
interface Stretch {
  bytes: number
  readonly users: Map<string, { bytes: number }>
}

/** Number of stretches in a full spool. */
const stretches = 64

/** Approximate bytes of a message beside payload and topic. */
const overheadBytes = 60

/**
 * Counts each user's part of the spool. The spool is freed from the old end, so bytes are counted by stretches, and the
 * oldest stretches are forgotten as the spool gets smaller. Messages that were there at the start count for no user.
 *
 * Any user may use the first half of the spool; the other half is for users within their share. So one user that sends
 * more than can be drained is refused while messages of the others are still kept.
 */
export class SpoolShares {
  readonly #options: SpoolSharesOptions
  /** Stretches, oldest first. */
  readonly #stretches: Stretch[] = []
  #current: Stretch = { bytes: 0, users: new Map() }
  #bytes = 0
  /** User of the last message. The next message is mostly from the same user. */
  #user: string | undefined
  #entry = { bytes: 0 }

  constructor(options: SpoolSharesOptions) {
    this.#options = options
  }

  /** Returns why a publish is refused while others are accepted. Undefined when the publish is accepted. */
  fault({ user, topic, payload }: PendingPublish): HubError | undefined {
    const { limitBytes, spool, sharing } = this.#options
    if (spool.bytes <= limitBytes / 2) return undefined
    const account = accountOf(sharing.shares, user)
    const most = shareOf(sharing.shares, account) * limitBytes
    if (most >= limitBytes) return undefined
    const used = this.used(account) + payload.length + topic.length + overheadBytes
    if (used <= most) return undefined
    const sentence = `the spool is more than half full, and user ${user} has used its share of it (spool.limit, limits.share)`
    return new HubError('spool_share', sentence)
  }

  /** Counts a publish that goes into the spool. */
  took({ user, topic, payload }: PendingPublish): void {
    if (user !== this.#user) this.#turnTo(user)
    const bytes = payload.length + topic.length + overheadBytes
    this.#entry.bytes += bytes
    this.#current.bytes += bytes
    if (this.#current.bytes >= this.#options.limitBytes / stretches) this.#next()
  }

  /** Returns the approximate bytes of a user in the spool. */
  used(account: string): number {
    this.#forget()
    const of = ({ users }: Stretch) => users.get(account)?.bytes ?? 0
    return this.#stretches.reduce((sum, stretch) => sum + of(stretch), of(this.#current))
  }

  #turnTo(user: string): void {
    const account = accountOf(this.#options.sharing.shares, user)
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

  /** Forgets stretches older than everything that the spool still has. */
  #forget(): void {
    const left = this.#options.spool.bytes
    for (let [oldest] = this.#stretches; oldest; [oldest] = this.#stretches) {
      if (this.#bytes + this.#current.bytes - oldest.bytes < left) return
      this.#stretches.shift()
      this.#bytes -= oldest.bytes
    }
  }
}
