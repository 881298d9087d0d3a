import { createHash } from 'node:crypto'
import { readWholeSync } from '../disk/files.js'
import { StateFile } from '../disk/state-file.js'
import { sourceOf } from '../runtime/addresses.js'
import { dropOldest } from '../runtime/drop-oldest.js'
import type { Part } from '../runtime/lifecycle.js'

/** Maximum number of pairs remembered. Beyond this, the pair used longest ago is forgotten. */
const maxPairs = 100_000

const saveEveryMs = 60_000

/**
 * Sources from which each user has authenticated. Logins from there are checked first while others guess. The pairs
 * survive a restart in a file, as hashes.
 */
export class KnownSources implements Part {
  readonly name = 'known sources'
  readonly #path: string
  /** Hashes of pairs, ordered by last use, oldest first. */
  #pairs = new Set<string>()
  readonly #file: StateFile

  constructor(path: string) {
    this.#path = path
    this.#file = new StateFile(path, () => JSON.stringify([...this.#pairs]))
  }

  /** Loads the pairs. A file that is missing or damaged costs nothing but the order of checks. */
  start(): void {
    try {
      const known: unknown = JSON.parse(readWholeSync(this.#path)?.toString('utf8') ?? '')
      if (Array.isArray(known)) this.#pairs = new Set(known.filter(one => typeof one === 'string').slice(-maxPairs))
    } catch {
      this.#pairs = new Set()
    }
    this.#file.saveEvery(saveEveryMs)
  }

  stop(): Promise<void> {
    return this.#file.stop()
  }

  has(address: string, user: string): boolean {
    return this.#pairs.has(hashOf(address, user))
  }

  /** Returns true if any user has authenticated from this source. */
  hasSource(address: string): boolean {
    return this.#pairs.has(hashOf(address, ''))
  }

  add(address: string, user: string): void {
    for (const pair of [hashOf(address, user), hashOf(address, '')]) {
      this.#pairs.delete(pair)
      this.#pairs.add(pair)
    }
    dropOldest(this.#pairs, maxPairs)
    this.#file.changed()
  }
}

function hashOf(address: string, user: string): string {
  return createHash('sha256')
    .update(`${sourceOf(address)} ${user}`)
    .digest('base64url')
    .slice(0, 22)
}
