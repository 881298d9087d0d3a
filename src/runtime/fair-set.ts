import { OldestKey } from './drop-oldest.js'
import { SharedPool, type Use } from './shared-pool.js'
import type { Sharing } from './user-shares.js'

/** The keys of one account, oldest first. */
interface AccountKeys<K> {
  readonly keys: Set<K>
  readonly oldest: OldestKey<K>
}

/**
 * Keys of many users in the order in which they were added, for sets whose total size is bounded. When there are too
 * many, `first` is the key to evict: the oldest key of the user with most keys for the share of that user.
 */
export class FairSet<K> implements Iterable<K> {
  readonly #pool: SharedPool
  /** The account of each key, oldest key first. */
  readonly #accounts = new Map<K, string>()
  readonly #oldest = new OldestKey(this.#accounts)
  readonly #byAccount = new Map<string, AccountKeys<K>>()

  /** @param shares The current shares, as for {@link SharedPool}. */
  constructor(sharing: Sharing) {
    this.#pool = new SharedPool(sharing)
  }

  /** Adds a key as the youngest one, even when the set has that key already. */
  add(key: K, user: string): void {
    this.delete(key)
    const account = this.#pool.accountOf(user)
    this.#accounts.set(key, account)
    const own = this.#byAccount.get(account)
    if (own) own.keys.add(key)
    else {
      const keys = new Set([key])
      this.#byAccount.set(account, { keys, oldest: new OldestKey(keys) })
    }
    this.#pool.add(user, 1)
  }

  delete(key: K): boolean {
    const account = this.#accounts.get(key)
    if (account === undefined) return false
    this.#accounts.delete(key)
    this.#oldest.deleted(key)
    const own = this.#byAccount.get(account)
    own?.keys.delete(key)
    own?.oldest.deleted(key)
    if (own?.keys.size === 0) this.#byAccount.delete(account)
    this.#pool.add(account, -1)
    return true
  }

  has(key: K): boolean {
    return this.#accounts.has(key)
  }

  get size(): number {
    return this.#accounts.size
  }

  /** The key to evict when there are too many. Undefined when the set is empty. */
  get first(): K | undefined {
    const oldest = this.#oldest.key
    if (oldest === undefined) return undefined
    // Among users that use equally much for their shares, the oldest key of all goes.
    if (this.#pool.isHeaviest(this.#accounts.get(oldest) ?? '')) return oldest
    const { heaviest } = this.#pool
    return heaviest === undefined ? undefined : this.#byAccount.get(heaviest)?.oldest.key
  }

  /** The `most` users with the largest numbers of keys, see {@link SharedPool.top}. */
  top(most: number): Use[] {
    return this.#pool.top(most)
  }

  [Symbol.iterator](): IterableIterator<K> {
    return this.#accounts.keys()
  }
}
