import { Slices } from '../runtime/slices.js'
import { accountOf, type Sharing } from '../runtime/user-shares.js'
import type { Key, Letters } from './letter.js'
import { Keys } from './letter-keys.js'

/** Counts and keys of the letters in a file, held in memory. */
export class LetterTally {
  readonly #sharing: Sharing
  #keys = new Keys()
  readonly #bytesOf = new Map<string, number>()
  #count = 0
  /** Size of all letters. */
  bytes = 0

  /** @param sharing Tells the name under which the letters of a user are counted. */
  constructor(sharing: Sharing) {
    this.#sharing = sharing
  }

  get count(): number {
    return this.#count
  }

  /** Size of the letters by account. */
  get bytesOf(): ReadonlyMap<string, number> {
    return this.#bytesOf
  }

  has(key: Key): boolean {
    return this.#keys.has(key)
  }

  add(key: Key, user: string, bytes: number): void {
    this.#keys.add(key)
    this.#count++
    this.#counted(user, bytes)
  }

  /** Adds letters. Resolves with the offsets of duplicates: in this file, or by `known` elsewhere. */
  async addAll(letters: Letters, known: (key: Key) => boolean): Promise<number[]> {
    const twice: number[] = []
    const slices = new Slices()
    for (const start of letters.starts) {
      if (slices.isOver) await slices.turn()
      const key = letters.key(start)
      if (key !== undefined && (this.#keys.has(key) || known(key))) twice.push(start)
      else if (key !== undefined) this.#keys.add(key)
      this.#count++
      this.#counted(letters.user(start), letters.size(start))
    }
    this.#keys.shrink()
    return twice
  }

  /** Subtracts removed letters; `putAgain` tells which are in the file a second time. */
  remove(letters: Letters, starts: readonly number[], putAgain: (key: Key) => boolean): void {
    const keys = new Set<Key>()
    for (const start of starts) {
      this.#counted(letters.user(start), -letters.size(start))
      this.#count--
      const key = letters.key(start)
      if (key !== undefined && !putAgain(key)) keys.add(key)
    }
    this.#keys.delete(keys)
  }

  clear(): void {
    this.#count = this.bytes = 0
    this.#keys = new Keys()
    this.#bytesOf.clear()
  }

  /** Compacts the keys in memory. Called when no more letters are added. */
  shrink(): void {
    this.#keys.shrink()
  }

  #counted(user: string, bytes: number): void {
    this.bytes += bytes
    const account = accountOf(this.#sharing.shares, user)
    const left = (this.#bytesOf.get(account) ?? 0) + bytes
    if (left > 0) this.#bytesOf.set(account, left)
    else this.#bytesOf.delete(account)
  }
}
