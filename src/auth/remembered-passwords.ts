import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { User } from '../users/users.js'

/**
 * The last correct password of each user, as a digest with a key of this process: a thousand devices that reconnect at
 * once are not verified again.
 */
export class RememberedPasswords {
  readonly #digests = new Map<string, Buffer>()
  readonly #key = randomBytes(32)

  /** Returns whether this is the last correct password of the user, and the user's hash is the same. */
  has(user: User, password: string): boolean {
    const known = this.#digests.get(user.name)
    return known !== undefined && timingSafeEqual(known, this.digest(user.password, password))
  }

  /** Remembers a password that the hash was verified against. */
  add(name: string, hash: string, password: string): void {
    this.#digests.set(name, this.digest(hash, password))
  }

  /** Forgets passwords of users that are gone. */
  forget(isThere: (name: string) => boolean): void {
    for (const name of this.#digests.keys()) if (!isThere(name)) this.#digests.delete(name)
  }

  digest(hash: string, password: string): Buffer {
    return createHmac('sha256', this.#key).update(hash).update('\0').update(password).digest()
  }
}
