import { type Stats, statSync } from 'node:fs'
import { basename } from 'node:path'
import { Access, type AccessRule, type Reads, readsByClient } from '../access/rules.js'
import { WatchedFiles } from '../disk/watched-files.js'
import { describe, HubError, systemCode } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { SentenceLog } from '../observe/log.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { UserShares } from '../runtime/user-shares.js'
import { type ClientFault, ClientIds } from './client-ids.js'
import { type Explanation, explain, type Question } from './explain.js'
import { userChanges } from './user-changes.js'
import { parseUsers, readUsersText, type User, type Users } from './users.js'
import { findPairing } from './users-file.js'
import { type EditTask, inUsersThread, type UsersEdited } from './users-task.js'

export type { ClientFault } from './client-ids.js'
export type { Explanation, Question } from './explain.js'
export type { UsersEdited } from './users-task.js'

export interface UsersListener {
  /** Called when users, their rights or their shares have changed: permissions must be asked for again. */
  onUsersChanged(): void
}

export interface UserDirectoryOptions {
  /** Path of the users file. */
  readonly file: string
  /** Share of a user without one in the users file, as a fraction of 1. */
  readonly share: number
  /** Records which users a changed file has changed. */
  readonly audit?: Pick<Auditor, 'record'>
  readonly log: SentenceLog
}

/** Interval of checks for a changed file, in milliseconds. A change is seen within twice this time. */
const watchMs = 250

/** Users of one file change that get an audit line each. The others are counted in one line. */
const toldChanges = 200

/**
 * The users of the users file, and what they may do. Follows every change of the file. When the file cannot be read, the
 * users before the change stay in effect.
 */
export class UserDirectory {
  readonly #options: UserDirectoryOptions
  readonly #listeners: UsersListener[] = []
  #users: Users = { users: new Map(), everyone: [] }
  /** Names of users by the names in certificates, and by the ids of API keys. */
  #named: ReadonlyMap<string, string> = new Map()
  #keys: ReadonlyMap<string, string> = new Map()
  #clientIds = new ClientIds(this.#users)
  #shares: UserShares
  /** Rules of the users looked up so far, by name. */
  readonly #rules = new Map<string, RulesOfUser>()
  #watch: WatchedFiles | undefined
  readonly #reloading = new SerialQueue()
  readonly #editing = new SerialQueue()
  /** State of the file at the last reading. */
  #mark = ''
  /** Version of the file that is in effect. */
  #version = ''
  /** Why the file as it is now is not in effect. */
  #trouble: string | undefined
  #stopped = false

  constructor(options: UserDirectoryOptions) {
    this.#options = options
    this.#shares = { isOpen: options.file === '', usual: options.share, own: new Map() }
  }

  /** Adds listeners, which are called in the order given. */
  reportTo(...listeners: readonly UsersListener[]): void {
    this.#listeners.push(...listeners)
  }

  /** @throws `HubError` `bad_settings` when the file cannot be read, or has faults */
  start(): void {
    const { file, log } = this.#options
    // Watches before the first reading: a change made meanwhile is read again.
    this.#watch = new WatchedFiles({ paths: [file], changed: () => void this.reload(), everyMs: watchMs })
    this.#watch.start()
    let read: Read
    try {
      this.#look()
      read = parseUsers(readUsersText(file), basename(file))
    } catch (error) {
      throw new HubError('bad_settings', `auth.file: ${this.#hint(error)}`, { cause: error })
    }
    if ('faults' in read) throw new HubError('bad_settings', read.faults.map(fault => `auth.file: ${fault}`).join('\n'))
    this.#take(read.users, read.version)
    if (this.#users.users.size === 0) {
      log.warn(
        `auth.file: ${file} has no users, so nobody can log in; telehub user add NAME --kind admin makes the first`,
      )
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#watch?.stop()
    await this.#reloading.idle()
  }

  user(name: string): User | undefined {
    return this.#users.users.get(name)
  }

  /** Returns the name of the user that a name in a certificate stands for. */
  certified(name: string): string | undefined {
    return this.#named.get(name)
  }

  /** Returns the name of the user with the API key of that id. */
  ownerOfKey(id: string): string | undefined {
    return this.#keys.get(id)
  }

  /** Current shares. They change with the users file. */
  get shares(): UserShares {
    return this.#shares
  }

  /** Returns why a user may not connect with this client id. Undefined when the id is allowed. */
  clientFault(name: string, clientId: string): ClientFault | undefined {
    return this.#clientIds.fault(name, clientId)
  }

  /** Turns a one-time code into credentials, and resolves when they are on disk. Throws a `HubError`. */
  async redeem(code: string, clock: MillisecondClock): Promise<Redeemed> {
    const { file } = this.#options
    const isThere = () => findPairing(this.#users, code, clock.now()) !== undefined
    // A code that was made a moment ago may not have been read yet.
    if (!isThere() && this.#isChanged()) await this.reload()
    if (!isThere()) {
      throw new HubError(
        'forbidden',
        'this code is wrong, already used, or expired; telehub device pair makes a new one',
      )
    }
    // One code at a time: the second caller finds the code used.
    const redeemed = await this.#editing.run(() =>
      inUsersThread<{ user: string; password: string }>({ kind: 'redeem', file, code, now: clock.now() }),
    )
    await this.reload()
    const user = this.user(redeemed.user)
    if (!user) throw new HubError('forbidden', `user ${redeemed.user} was removed meanwhile`)
    return { user, password: redeemed.password }
  }

  /** The users in effect, and the file that they come from. */
  get state(): UsersState {
    return { ...this.#users, file: this.#options.file, version: this.#version, trouble: this.#trouble }
  }

  /**
   * Edits the users file in a thread, one edit at a time, and resolves when the edit is in effect. Rejects with `changed`
   * when the file is no longer of the version given, and with the faults of a file that was edited by hand.
   */
  async edit(task: Omit<EditTask, 'kind' | 'file'>): Promise<UsersEdited> {
    const { file } = this.#options
    const edited = await this.#editing.run(() => inUsersThread<UsersEdited>({ kind: 'edit', file, ...task }))
    await this.reload()
    return edited
  }

  /** Explains what a user may do, by the users in effect. `wildcards`: the setting limits.wildcards. */
  explain(question: Question, wildcards: number): Explanation {
    return explain(this.#users, basename(this.#options.file), wildcards, question)
  }

  /** Returns what a user may do through one client, as of now. */
  access(name: string, clientId: string, shownAs: string): Access {
    const known = this.#rules.get(name) ?? this.#rulesOf(name)
    const access = new Access(name, clientId, known.rules, known.reads, shownAs)
    access.conflates = this.user(name)?.conflate === true
    if (!known.byClient) known.reads = access.reads
    return access
  }

  #rulesOf(name: string): RulesOfUser {
    const user = this.user(name)
    const rules = user ? [...user.rules, ...this.#users.everyone] : []
    const made: RulesOfUser = { rules, byClient: readsByClient(rules), reads: undefined }
    if (user) this.#rules.set(name, made)
    return made
  }

  /** Returns whether the file has changed since the last reading. */
  #isChanged(): boolean {
    try {
      return markOf(statSync(this.#options.file)) !== this.#mark
    } catch {
      return false
    }
  }

  /** Reads the file in a thread of its own, one reading at a time: the broker keeps running meanwhile. */
  reload(): Promise<void> {
    return this.#reloading.run(async () => {
      const { file, log } = this.#options
      try {
        this.#look()
        const read = await inUsersThread<Read>({ kind: 'read', file })
        if ('faults' in read) throw new Error(summary(read.faults))
        const { users, version } = read
        // An editor may write an empty file first. An operator who wants no users can stop the hub.
        if (users.users.size === 0 && this.#users.users.size > 0) throw new Error('it contains no users')
        if (this.#stopped) return
        const changes = userChanges(this.#users, users)
        this.#take(users, version)
        this.#trouble = undefined
        log.info(`auth.file: ${file} was read again: ${users.users.size} users`)
        this.#tell(changes)
        for (const listener of this.#listeners) listener.onUsersChanged()
      } catch (error) {
        this.#trouble = this.#hint(error)
        log.warn(
          `auth.file: the changes to ${file} were rejected, and the previous version stays in use: ${this.#trouble}`,
        )
      }
    })
  }

  /** Tells the listeners that rights have changed which are in no users file. */
  tellRights(): void {
    for (const listener of this.#listeners) listener.onUsersChanged()
  }

  #hint(error: unknown): string {
    const { file } = this.#options
    if (systemCode(error) !== 'ENOENT') return `${file}: ${describe(error)}`
    return `there is no file ${file}; telehub user add NAME --kind admin makes it`
  }

  /** Notes the state of the file right before a reading. Warns when other users of this machine may read the file. */
  #look(): void {
    const { file, log } = this.#options
    const stats = statSync(file)
    if (!stats.isFile()) throw new Error('it is no file')
    this.#mark = markOf(stats)
    if ((stats.mode & 0o077) === 0) return
    log.warn(`auth.file: ${file} can be read by other users of this machine; chmod 600 ${file} prevents that`)
  }

  #tell(changes: readonly string[]): void {
    const { audit, file } = this.#options
    const more = changes.length - toldChanges
    for (const what of changes.slice(0, toldChanges)) audit?.record({ event: 'users', result: 'ok', via: 'file', what })
    const what = `${more} more changes of ${file}`
    if (more > 0) audit?.record({ event: 'users', result: 'ok', via: 'file', what, count: more })
  }

  #take(users: Users, version: string): void {
    this.#users = users
    this.#version = version
    this.#rules.clear()
    const all = [...users.users.values()]
    this.#named = new Map([
      ...all.flatMap(({ name, certificates }) => certificates.map(one => [one, name] as const)),
      ...all.map(({ name }) => [name, name] as const),
    ])
    this.#keys = new Map(all.flatMap(({ name, keys }) => keys.map(({ id }) => [id, name] as const)))
    this.#clientIds = new ClientIds(users)
    const own = all.flatMap(({ name, share }) => (share === undefined ? [] : [[name, share / 100] as const]))
    this.#shares = { ...this.#shares, own: new Map(own) }
  }
}

/** User with the credentials that a pairing code became. */
export interface Redeemed {
  readonly user: User
  readonly password: string
}

/** The users in effect. */
export interface UsersState extends Users {
  /** Path; empty when authentication is off. */
  readonly file: string
  readonly version: string
  /** Why the file as it is now is not in effect. Undefined when the file is. */
  readonly trouble: string | undefined
}

interface RulesOfUser {
  readonly rules: readonly AccessRule[]
  readonly byClient: boolean
  /**
   * Permissions to read, shared by all clients of the user. Undefined before the first client, and when the rules name
   * the client.
   */
  reads: Reads | undefined
}

type Read = ReturnType<typeof parseUsers>

function markOf({ ino, size, mtimeMs }: Stats): string {
  return `${ino} ${size} ${mtimeMs}`
}

function summary([first = '', ...more]: readonly string[]): string {
  return more.length > 0 ? `${first} (and ${more.length} more)` : first
}
