import { createHash } from 'node:crypto'
import { HubError } from '../errors.js'
import { OldestKey } from '../runtime/drop-oldest.js'
import type { DeviceCommand, ListedCommand } from './command.js'
import type { CommandEntry } from './command-entry.js'

/** Commands that may be under way at a time, of all users. */
const mostOpen = 100_000
/** Bytes of the commands that are under way, of one user and of all. */
const openBytesOfUser = 32e6
const openBytes = 128e6
/** Commands that are over and remembered: of one user, of all, and how many bytes. */
const overOfUser = 5_000
const mostOver = 20_000
const overBytes = 64e6

/** Use of the list by one user. */
interface UserUse {
  open: number
  openBytes: number
  /** Commands that are over, the oldest first. */
  readonly over: Set<CommandEntry>
  readonly oldest: OldestKey<CommandEntry>
}

/** The commands that are known: those under way, and some of those that are over. */
export class CommandList {
  /** In the order of their numbers. */
  readonly #all = new Map<string, CommandEntry>()
  readonly #open = new Set<CommandEntry>()
  /** The oldest first. */
  readonly #over = new Set<CommandEntry>()
  readonly #oldest = new OldestKey(this.#over)
  readonly #users = new Map<string, UserUse>()
  readonly #keys = new Map<string, CommandEntry>()
  readonly #sizes = new Map<CommandEntry, number>()
  #openBytes = 0
  #overBytes = 0

  get size(): number {
    return this.#all.size
  }

  /** Number of commands that are under way. */
  get openCount(): number {
    return this.#open.size
  }

  all(): Iterable<CommandEntry> {
    return this.#all.values()
  }

  /** The commands that are under way, in the order in which they were asked for. */
  open(): Iterable<CommandEntry> {
    return this.#open
  }

  /** The commands that are over, the oldest first. */
  over(): Iterable<CommandEntry> {
    return this.#over
  }

  find(id: string): CommandEntry | undefined {
    return this.#all.get(id)
  }

  /** Returns commands that are on disk, the newest first, for which `isWanted` is true, and at most `most`. */
  newest(isWanted: (command: ListedCommand) => boolean, most: number): readonly DeviceCommand[] {
    const found: DeviceCommand[] = []
    for (const entry of [...this.#all.values()].reverse()) {
      if (found.length >= most) break
      if (entry.isKept && isWanted(entry)) found.push(entry.view())
    }
    return found
  }

  /** Returns the command of an idempotency key. Throws `key_reused` when that is another one. */
  keyed(key: string | undefined, body: string | undefined): CommandEntry | undefined {
    const known = key === undefined ? undefined : this.#keys.get(key)
    if (known && known.subject.body !== body) {
      throw new HubError('key_reused', 'this Idempotency-Key belongs to another request; each request has its own')
    }
    return known
  }

  /** Throws `too_many` or `overloaded` when there is no room for a command of this user. */
  admit(user: string, bytes: number, mostOfUser: number): void {
    const use = this.#users.get(user)
    if (use && use.open >= mostOfUser) {
      const sentence = `user ${user || '(none)'} has ${use.open} commands under way, limits.commands allows ${mostOfUser}`
      throw new HubError('too_many', sentence, { retryAfterMs: 1_000 })
    }
    if (use && use.openBytes + bytes > openBytesOfUser) {
      const sentence = `the commands of user ${user || '(none)'} that are under way have more than ${openBytesOfUser} bytes`
      throw new HubError('too_many', sentence, { retryAfterMs: 1_000 })
    }
    if (this.#open.size < mostOpen && this.#openBytes + bytes <= openBytes) return
    throw new HubError('overloaded', 'more commands are under way than the hub can take now', { retryAfterMs: 5_000 })
  }

  add(entry: CommandEntry): void {
    const { key, user } = entry.subject
    this.#all.set(entry.id, entry)
    if (key !== undefined) this.#keys.set(key, entry)
    const use = this.#useOf(user)
    this.#sizes.set(entry, entry.bytes)
    if (entry.isOver) this.#settle(entry, use)
    else {
      this.#open.add(entry)
      use.open++
      use.openBytes += entry.bytes
      this.#openBytes += entry.bytes
    }
  }

  /** Called when a command is over. */
  ended(entry: CommandEntry): void {
    if (!this.#open.has(entry)) return
    const use = this.#leave(entry)
    entry.shrink()
    this.#settle(entry, use)
  }

  remove(entry: CommandEntry): void {
    const { key, user } = entry.subject
    if (this.#open.has(entry)) this.#leave(entry)
    if (this.#over.delete(entry)) this.#overBytes -= this.#sizes.get(entry) ?? 0
    this.#oldest.deleted(entry)
    this.#users.get(user)?.over.delete(entry)
    this.#users.get(user)?.oldest.deleted(entry)
    this.#all.delete(entry.id)
    this.#sizes.delete(entry)
    if (key !== undefined && this.#keys.get(key) === entry) this.#keys.delete(key)
    const use = this.#users.get(user)
    if (use && use.open === 0 && use.over.size === 0) this.#users.delete(user)
  }

  /** Returns a command that is over and to be forgotten, as there are too many, or it ended before `before`. */
  excess(before: number): CommandEntry | undefined {
    const oldest = this.#oldest.key
    if (!oldest) return undefined
    if ((oldest.overAt ?? 0) < before || this.#over.size > mostOver || this.#overBytes > overBytes) return oldest
    for (const one of this.#users.values()) if (one.over.size > overOfUser) return one.oldest.key
    return undefined
  }

  #leave(entry: CommandEntry): UserUse {
    const use = this.#useOf(entry.subject.user)
    const bytes = this.#sizes.get(entry) ?? 0
    this.#open.delete(entry)
    use.open--
    use.openBytes -= bytes
    this.#openBytes -= bytes
    return use
  }

  #settle(entry: CommandEntry, use: UserUse): void {
    const { bytes } = entry
    this.#sizes.set(entry, bytes)
    this.#overBytes += bytes
    this.#over.add(entry)
    use.over.add(entry)
  }

  #useOf(user: string): UserUse {
    let use = this.#users.get(user)
    if (!use) {
      const over = new Set<CommandEntry>()
      use = { open: 0, openBytes: 0, over, oldest: new OldestKey(over) }
      this.#users.set(user, use)
    }
    return use
  }
}

/** Returns 128 bits of the SHA-256 of texts and bytes. */
export function hashOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('base64url').slice(0, 22)
}
