import { setImmediate } from 'node:timers/promises'
import type { Key, Letters } from './letter.js'
import { Keys } from './letter-keys.js'
import { framesATurn } from './letter-scan.js'

/** What is known of the letters that are in a file without reading it. */
export class LetterTally {
  readonly #account: (user: string) => string
  #keys = new Keys()
  readonly #bytesOf = new Map<string, number>()
  #count = 0
  /** Of all letters. */
  bytes = 0

  /** `account` is the name under which the letters of a user are counted. */
  constructor(account: (user: string) => string) {
    this.#account = account
  }

  get count(): number {
    return this.#count
  }

  /** By account. */
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

  /** Resolves with where those begin that are there already, in this file or as `known` says. */
  async addAll(letters: Letters, known: (key: Key) => boolean): Promise<number[]> {
    const twice: number[] = []
    for (const [i, start] of letters.starts.entries()) {
      if (i % framesATurn === 0) await setImmediate()
      const key = letters.key(start)
      if (key !== undefined && (this.#keys.has(key) || known(key))) twice.push(start)
      else if (key !== undefined) this.#keys.add(key)
      this.#count++
      this.#counted(letters.user(start), letters.size(start))
    }
    this.#keys.shrink()
    return twice
  }

  /** Letters are gone; `putAgain` tells which are in the file a second time. */
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

  /** No more are to come: what is held in memory gets its smallest form. */
  shrink(): void {
    this.#keys.shrink()
  }

  #counted(user: string, bytes: number): void {
    this.bytes += bytes
    const account = this.#account(user)
    const left = (this.#bytesOf.get(account) ?? 0) + bytes
    if (left > 0) this.#bytesOf.set(account, left)
    else this.#bytesOf.delete(account)
  }
}
