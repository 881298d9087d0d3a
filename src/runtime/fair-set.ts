import { SharedPool, type Use } from './shared-pool.js'
import type { UserShares } from './user-shares.js'

/**
 * Keys of many users in the order in which they came, for what is bounded in all: when there are too many, `first` is
 * the one to go, the oldest key of the user that has most for its share.
 */
export class FairSet<K> implements Iterable<K> {
  readonly #pool: SharedPool
  /** The account of each key, in the order of the keys. */
  readonly #accounts = new Map<K, string>()
  readonly #byAccount = new Map<string, Set<K>>()

  /** As in {@link SharedPool}. */
  constructor(shares: () => UserShares) {
    this.#pool = new SharedPool(shares)
  }

  /** A key that is there already becomes the youngest one. */
  add(key: K, user: string): void {
    this.delete(key)
    const account = this.#pool.accountOf(user)
    this.#accounts.set(key, account)
    const keys = this.#byAccount.get(account)
    if (keys) keys.add(key)
    else this.#byAccount.set(account, new Set([key]))
    this.#pool.add(user, 1)
  }

  delete(key: K): boolean {
    const account = this.#accounts.get(key)
    if (account === undefined) return false
    this.#accounts.delete(key)
    const keys = this.#byAccount.get(account)
    keys?.delete(key)
    if (keys?.size === 0) this.#byAccount.delete(account)
    this.#pool.add(account, -1)
    return true
  }

  has(key: K): boolean {
    return this.#accounts.has(key)
  }

  get size(): number {
    return this.#accounts.size
  }

  /** The key that gives way when there are too many; undefined when there is none. */
  get first(): K | undefined {
    const [oldest] = this.#accounts
    // Among users that have as much, the oldest key of all.
    if (oldest && this.#pool.isHeaviest(oldest[1])) return oldest[0]
    const { heaviest } = this.#pool
    const [first] = (heaviest === undefined ? undefined : this.#byAccount.get(heaviest)) ?? []
    return first
  }

  /** As of {@link SharedPool.top}. */
  top(most: number): Use[] {
    return this.#pool.top(most)
  }

  [Symbol.iterator](): IterableIterator<K> {
    return this.#accounts.keys()
  }
}
