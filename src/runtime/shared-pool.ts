import { accountOf, type Sharing, shareOf, type UserShares } from './user-shares.js'

/** How much of a pool one user takes. */
export interface Use {
  readonly user: string
  readonly amount: number
}

interface AccountUse {
  readonly user: string
  amount: number
  share: number
  /** Index of the entry in the heap. */
  at: number
}

/**
 * Counts what each user takes of a pool that all users share, in units of the caller, and knows which user takes most
 * in proportion to the user's share: when room is needed, that user has to give some up. Counting costs O(log users);
 * `heaviest` costs nothing.
 */
export class SharedPool {
  readonly #sharing: Sharing
  #shares: UserShares
  readonly #entries = new Map<string, AccountUse>()
  /** A binary heap, the heaviest first. */
  readonly #heap: AccountUse[] = []
  #total = 0

  /** @param shares Returns the current shares: another object when the users file has changed. */
  constructor(sharing: Sharing) {
    this.#sharing = sharing
    this.#shares = sharing.shares
  }

  /** Changes the amount of a user by a positive or negative number. A user with nothing left is removed. */
  add(user: string, amount: number): void {
    const account = this.accountOf(user)
    this.#set(account, (this.#entries.get(account)?.amount ?? 0) + amount)
  }

  used(user: string): number {
    return this.#entries.get(this.accountOf(user))?.amount ?? 0
  }

  get total(): number {
    return this.#total
  }

  /** The user that takes most in proportion to the user's share. Undefined when the pool is empty. */
  get heaviest(): string | undefined {
    this.#weigh()
    return this.#heap[0]?.user
  }

  /** Whether no user takes more than this one, in proportion to their shares. */
  isHeaviest(user: string): boolean {
    const entry = this.#entries.get(this.accountOf(user))
    const [heaviest] = this.#heap
    return entry !== undefined && heaviest !== undefined && weightOf(entry) >= weightOf(heaviest)
  }

  /**
   * Whether a user may take `amount` more of a pool of `limit` from which nothing can be taken back. Any user may while
   * half of the pool stays free; the other half is for users within their share.
   */
  admits(user: string, amount: number, limit: number): boolean {
    if (this.#total + amount > limit) return false
    if (this.#total + amount <= limit / 2) return true
    const account = this.accountOf(user)
    return this.used(user) + amount <= limit * shareOf(this.#shares, account)
  }

  /** The `most` users with the largest amounts, in descending order. */
  top(most: number): Use[] {
    return this.#heap
      .map(({ user, amount }) => ({ user, amount }))
      .sort((a, b) => b.amount - a.amount)
      .slice(0, most)
  }

  /** The name under which a user is counted. */
  accountOf(user: string): string {
    this.#weigh()
    return accountOf(this.#shares, user)
  }

  /** Rebuilds the heap when the shares have changed. */
  #weigh(): void {
    const shares = this.#sharing.shares
    if (shares === this.#shares) return
    this.#shares = shares
    for (const entry of this.#heap) entry.share = shareOf(shares, entry.user)
    for (let at = this.#heap.length >> 1; at-- > 0; ) this.#sink(this.#heap[at] as AccountUse)
  }

  #set(account: string, amount: number): void {
    const known = this.#entries.get(account)
    this.#total += amount - (known?.amount ?? 0)
    if (!known) {
      if (amount <= 0) return
      const entry = { user: account, amount, share: shareOf(this.#shares, account), at: this.#heap.length }
      this.#entries.set(account, entry)
      this.#heap.push(entry)
      this.#rise(entry)
      return
    }
    const isMore = amount > known.amount
    known.amount = amount
    if (amount <= 0) this.#remove(known)
    else if (isMore) this.#rise(known)
    else this.#sink(known)
  }

  #remove(entry: AccountUse): void {
    this.#entries.delete(entry.user)
    const last = this.#heap.pop() as AccountUse
    if (last === entry) return
    this.#put(last, entry.at)
    this.#rise(last)
    this.#sink(last)
  }

  #rise(entry: AccountUse): void {
    while (entry.at > 0) {
      const parent = this.#heap[(entry.at - 1) >> 1] as AccountUse
      if (weightOf(parent) >= weightOf(entry)) return
      this.#swap(entry, parent)
    }
  }

  #sink(entry: AccountUse): void {
    for (;;) {
      const left = this.#heap[2 * entry.at + 1]
      const right = this.#heap[2 * entry.at + 2]
      const heavier = right && left && weightOf(right) > weightOf(left) ? right : left
      if (!heavier || weightOf(heavier) <= weightOf(entry)) return
      this.#swap(entry, heavier)
    }
  }

  #swap(a: AccountUse, b: AccountUse): void {
    const { at } = a
    this.#put(a, b.at)
    this.#put(b, at)
  }

  #put(entry: AccountUse, at: number): void {
    entry.at = at
    this.#heap[at] = entry
  }
}

function weightOf({ amount, share }: AccountUse): number {
  return amount / share
}
